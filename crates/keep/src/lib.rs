//! Descriptors that outlive a process: what must not be closed when a daemon dies lies with somebody who does not.
//!
//! That somebody is systemd's fd store (sd_notify(3), systemd.service(5) `FileDescriptorStoreMax=`) or, on machines without systemd, [`supervise()`], which
//! speaks the same protocol. The daemon does not see the difference:
//!
//! - at its start it asks [`received()`] for what an earlier process of its service had stored;
//! - it gives descriptors away with [`Keeper::store`] when it makes them, and takes them back with [`Keeper::remove`];
//! - it says how it is with [`Keeper::ready`] and the other words. Where nobody listens they all do nothing, and say so ([`Told::Nobody`]).
//!
//! This crate knows nothing of what the descriptors are. The rooms:
//!
//! - `keeper`, `received`: the daemon's side.
//! - `name`, `message`, `wire`: the protocol. One datagram is a few lines `KEY=value`, and perhaps descriptors.
//! - `supervise`: the other side: `socket` hears, `store` keeps, `life` and `backoff` decide, `signals` and `stage` are what the names say.
//! - `numbers`: descriptors by their number, the only unsafe code.
//!
//! The protocol is written out here and not taken from the crate sd-notify: the supervisor needs its other side anyway, and ours knows abstract addresses, waits
//! at most so long for a manager that is stuck, and hands out owned descriptors.

mod error;
mod keeper;
mod message;
mod name;
mod numbers;
mod received;
mod supervise;
mod wire;

pub use error::Error;
pub use keeper::{Keeper, Told};
pub use name::Name;
pub use received::{Received, received};
pub use supervise::{Options, exit_code, stage, supervise};
