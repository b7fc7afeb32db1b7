//! HTTP/1.1 over a unix socket, as little as a test needs: what goes over the wire is all the test's choice.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use control::{Frame, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The document of an answer that must have this status.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// That of an answer without a document.
    #[track_caller]
    pub fn none(&self) {
        assert_eq!((self.status, self.text().as_str()), (204, ""));
    }

    /// The problem that the answer must be: of this code, whole, and with the request's id.
    #[track_caller]
    pub fn problem(&self, code: &str) -> Problem {
        let problem: Problem =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()));
        assert_eq!(self.json()["code"], code, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.request_id.as_deref(), self.header("x-request-id"));
        assert_eq!(&*problem.kind, format!("urn:clip:problem:{code}"));
        assert!(problem.request_id.is_some() && !problem.detail.is_empty() && !problem.title.is_empty(), "{problem:?}");
        problem
    }
}

/// One request.
pub fn ask(socket: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    raw(socket, &[head.as_bytes(), b"\r\n", body].concat())
}

/// Bytes as they are.
pub fn raw(socket: &Path, request: &[u8]) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // One who refuses a body need not read it.
    let sent = stream.write_all(request);
    read(stream).or_else(|error| sent.and(Err(error)))
}

/// An answer, up to the end of the connection.
pub fn read(mut stream: impl Read) -> Result<Answer> {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    let Some(head_end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Err(end.err().unwrap_or_else(|| Error::from(ErrorKind::UnexpectedEof)));
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Ok(Answer { status, headers, body: bytes[head_end + 4..].to_vec() })
}

/// Server-sent events, as they come.
pub struct Stream {
    lines: BufReader<UnixStream>,
}

/// Follows a stream.
pub fn follow(socket: &Path, path: &str, last: Option<u64>) -> Stream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: worker\r\naccept: text/event-stream\r\nconnection: close\r\n{last}\r\n").unwrap();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    Stream { lines }
}

impl Stream {
    /// The next event; None when the stream ends, or nothing comes for long.
    pub fn next(&mut self) -> Option<Frame> {
        self.next_within(Duration::from_secs(20))
    }

    /// The same, with less patience. After it the stream may have lost a part of an event.
    pub fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        self.lines.get_ref().set_read_timeout(Some(patience)).unwrap();
        let mut frame = Frame::default();
        loop {
            let mut line = String::new();
            // Sizes of chunks and headers of the answer are lines without a field of ours.
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end_matches(['\r', '\n']).split_once(": ") {
                Some(("id", id)) => frame.id = Some(id.into()),
                Some(("event", name)) => frame.event = Some(name.into()),
                Some(("data", data)) => frame.data = data.into(),
                None if line == "\n" && !frame.data.is_empty() => return Some(frame),
                _ => {}
            }
        }
    }
}
