//! The text of a datagram: lines `KEY=value`, as sd_notify(3) has them. No I/O.

/// Longest datagram. systemd ignores what is longer (PIPE_BUF).
pub(crate) const BYTES_MAX: usize = 4096;

/// Longest status text that we send: fits a line of `systemctl status`, and leaves room.
const STATUS_BYTES_MAX: usize = 1024;

/// Lines with these assignments. Values come without newlines: names cannot have them, and texts go through [`one_line`].
pub(crate) fn compose(assignments: &[(&str, &str)]) -> String {
    assignments.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// A text that fits one line: cut, and control characters replaced.
pub(crate) fn one_line(text: &str) -> String {
    let mut end = text.len().min(STATUS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A datagram that may be looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    /// None if it contains NUL bytes. One at the end is forgiven: senders in C forget themselves.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Message<'a>> {
        let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
        (!text.contains(&0)).then_some(Message(text))
    }

    /// The value of the first line with this key, if it is text.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let value = self.0.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    }

    /// True for `key=1`.
    pub(crate) fn says(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_composed_is_understood() {
        let text = compose(&[("FDSTORE", "1"), ("FDNAME", "a=b c"), ("FDPOLL", "0")]);
        assert_eq!(text, "FDSTORE=1\nFDNAME=a=b c\nFDPOLL=0\n");
        let message = Message::parse(text.as_bytes()).unwrap();
        assert!(message.says("FDSTORE") && !message.says("FDPOLL") && !message.says("READY"));
        assert_eq!(message.get("FDNAME"), Some("a=b c"));
        assert_eq!(message.get("FDNAM"), None);
        assert_eq!(message.get("STATUS"), None);
    }

    #[test]
    fn garbage_is_no_trouble() {
        for garbage in [&b""[..], b"=", b"\n\n\n", b"READY", b"=1", b"READY=1=1", b"\xff\xfe=\xff", b" READY=1"] {
            assert!(!Message::parse(garbage).unwrap().says("READY"), "{garbage:?}");
        }
        assert!(Message::parse(b"READY=1\0").unwrap().says("READY"));
        assert!(Message::parse(b"READY=1\0FDSTORE=1").is_none());
        assert_eq!(Message::parse(b"STATUS=\xff\nREADY=1").unwrap().get("STATUS"), None);
    }

    #[test]
    fn a_status_is_one_short_line() {
        assert_eq!(one_line("two\nlines\0"), "two lines ");
        let long = one_line(&"\u{e9}".repeat(5000));
        assert!(long.len() <= STATUS_BYTES_MAX && long.len() > STATUS_BYTES_MAX - 4);
    }
}
