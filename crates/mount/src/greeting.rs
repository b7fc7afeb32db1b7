//! What kernel and server tell each other once, in FUSE_INIT, and how a successor hears it again. Bytes only, no I/O.
//!
//! The layout is that of `fuse_in_header`, `fuse_init_in` and `fuse_init_out` in include/uapi/linux/fuse.h, in the machine's byte order.
//!
//! The kernel keeps for as long as the mount lives what the *first* server agreed to. So a successor is told that the kernel can do exactly that, and no
//! more: a newer version that would like more sees that it cannot have it, as it would on an older kernel.

use std::io;

use serde::{Deserialize, Serialize};

/// Opcode of the first request.
const FUSE_INIT: u32 = 26;
/// The major version of the protocol. Linux has had 7 since 2005.
const MAJOR: u32 = 7;
/// `fuse_in_header`.
const REQUEST_HEADER_BYTES: usize = 40;
/// `fuse_in_header` and `fuse_init_in`, as they are since 7.36 (Linux 5.17). Before, `flags2` and what follows is missing.
const REQUEST_BYTES: usize = 104;
/// `fuse_out_header`.
const REPLY_HEADER_BYTES: usize = 16;
/// Flag: `flags2` is valid.
const FUSE_INIT_EXT: u64 = 1 << 30;

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Major version of the protocol that the kernel speaks.
    major: u32,
    /// Minor version of the protocol that the kernel speaks.
    minor: u32,
    /// Bytes that the kernel would read ahead at most.
    max_readahead: u32,
    /// What the kernel can do: `flags` and, in the upper half, `flags2`.
    offered: u64,
    /// What the first server wanted of it: in force as long as the mount lives.
    agreed: u64,
}

impl Greeting {
    /// From the kernel's request and the first server's reply.
    pub(crate) fn of(request: &[u8], reply: &[u8]) -> io::Result<Greeting> {
        let word = |at| word(request, at).ok_or_else(|| invalid("the kernel's FUSE_INIT is too short"));
        if word(4)? != FUSE_INIT || word(REQUEST_HEADER_BYTES)? != MAJOR {
            return Err(invalid("the kernel does not begin with a FUSE_INIT of version 7"));
        }
        let (major, minor, max_readahead) = (word(REQUEST_HEADER_BYTES)?, word(44)?, word(48)?);
        // The older, shorter request ends here.
        let offered = flags(word(52)?, word(56).unwrap_or(0));
        Ok(Greeting { major, minor, max_readahead, offered, agreed: agreed(reply)? & offered })
    }

    /// The request that a successor hears: the kernel's, with nothing on offer but what was agreed.
    pub(crate) fn request(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        put(0, REQUEST_BYTES as u32);
        put(4, FUSE_INIT);
        put(8, 1); // `unique`, the number of the request
        put(40, self.major);
        put(44, self.minor);
        put(48, self.max_readahead);
        put(52, (self.agreed | FUSE_INIT_EXT) as u32);
        put(56, (self.agreed >> 32) as u32);
        bytes
    }

    /// What is in force and the successor, by its reply, would not have asked for. It will meet it all the same.
    pub(crate) fn unasked(&self, reply: &[u8]) -> io::Result<u64> {
        Ok(self.agreed & !agreed(reply)? & !FUSE_INIT_EXT)
    }
}

/// The flags of a server's reply; an error if it is a refusal.
fn agreed(reply: &[u8]) -> io::Result<u64> {
    let word = |at| word(reply, REPLY_HEADER_BYTES + at).ok_or_else(|| invalid("the server's reply to FUSE_INIT is too short"));
    if reply.get(4..8) != Some(&[0; 4]) {
        return Err(invalid("the server refused FUSE_INIT"));
    }
    Ok(flags(word(12)?, word(32)?))
}

fn flags(low: u32, high: u32) -> u64 {
    let low = u64::from(low);
    if low & FUSE_INIT_EXT == 0 { low } else { low | u64::from(high) << 32 }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting { major: 7, minor: 45, max_readahead: 131_072, offered: 0x05fd_73ff_fffb, agreed: 0x0100_4106_e009 }
    }

    fn reply(flags: u64) -> Vec<u8> {
        let words = [80, 0, 1, 0, 7, 40, 131_072, flags as u32, 0, 1 << 20, 1, 256, (flags >> 32) as u32, 0, 0, 0, 0, 0, 0, 0];
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn a_successor_hears_what_was_agreed_and_no_more() {
        let first = greeting();
        let heard = Greeting::of(&first.request(), &reply(u64::MAX)).unwrap();
        assert_eq!((heard.major, heard.minor, heard.max_readahead), (7, 45, 131_072));
        assert_eq!(heard.offered, first.agreed | FUSE_INIT_EXT);
        assert_eq!(heard.agreed, heard.offered);
        assert_eq!(first.unasked(&reply(first.agreed & !0x8)).unwrap(), 0x8);
    }

    #[test]
    fn an_old_kernel_has_the_lower_flags_only() {
        let mut request = greeting().request().to_vec();
        request.truncate(56);
        request[52..56].copy_from_slice(&0x0102_0003_u32.to_ne_bytes());
        assert_eq!(Greeting::of(&request, &reply(u64::MAX)).unwrap().offered, 0x0102_0003);
    }

    #[test]
    fn what_is_not_a_greeting_is_refused() {
        let request = greeting().request();
        assert!(Greeting::of(&request[..50], &reply(0)).is_err());
        assert!(Greeting::of(&[0; 104], &reply(0)).is_err());
        assert!(Greeting::of(&request, &reply(0)[..20]).is_err());
        let mut refusal = reply(0);
        refusal[4..8].copy_from_slice(&(-5_i32).to_ne_bytes());
        assert!(Greeting::of(&request, &refusal).is_err());
    }
}
