//! Which program a script is for. Pure.

/// Longest first line that Linux looks at (BINPRM_BUF_SIZE in include/uapi/linux/binfmts.h).
const LINE_BYTES_MAX: usize = 256;

/// The interpreter of a script by its first line, and its argument, which `env` takes for the program to start.
pub(crate) fn interpreter(head: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n').map(|end| &line[..end])?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Some((words.next()?, words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        assert_eq!(interpreter(b"#!/bin/sh\necho"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(interpreter(b"#! /usr/bin/env python3\n"), Some((&b"/usr/bin/env"[..], Some(&b"python3"[..]))));
        assert_eq!(interpreter(b"#!\n"), None);
        assert_eq!(interpreter(b"#!/bin/sh"), None, "a line that does not end");
        assert_eq!(interpreter(b"\x7fELF"), None);
        assert_eq!(interpreter(&[&b"#!"[..], &[b'a'; 300], b"\n"].concat()), None);
    }
}
