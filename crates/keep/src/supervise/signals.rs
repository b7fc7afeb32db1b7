//! Signals as bytes in pipes, so that one poll(2) waits for them too.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::Error;

/// What is heard, and passed on to the child.
const HEARD: [(i32, Signal); 3] = [(SIGTERM, Signal::TERM), (SIGINT, Signal::INT), (SIGHUP, Signal::HUP)];

/// The handlers; dropping this takes them away, and the signals do nothing then.
#[derive(Debug)]
pub(super) struct Signals(Vec<Pipe>);

#[derive(Debug)]
struct Pipe {
    signal: Signal,
    reader: UnixStream,
    handler: SigId,
}

impl Signals {
    pub(super) fn handle() -> Result<Signals, Error> {
        let pipe = |(number, signal)| {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            Ok(Pipe { signal, reader, handler: signal_hook::low_level::pipe::register(number, writer)? })
        };
        HEARD.into_iter().map(pipe).collect::<std::io::Result<_>>().map(Signals).map_err(|source| Error::Wait { source })
    }

    /// What to poll for.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|pipe| pipe.reader.as_fd())
    }

    /// The signals that came, each once however often it came.
    pub(super) fn take(&self) -> impl Iterator<Item = Signal> {
        let came = self.0.iter().filter(|pipe| matches!((&pipe.reader).read(&mut [0; 64]), Ok(1..)));
        came.map(|pipe| pipe.signal).collect::<Vec<_>>().into_iter()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for pipe in &self.0 {
            signal_hook::low_level::unregister(pipe.handler);
        }
    }
}
