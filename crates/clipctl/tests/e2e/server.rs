//! A proxy before the real registry that does what registries, and the networks before them, do on bad days.
//!
//! One thread and one request per connection. A closure decides about each request: pass it on ([`pass`]), change what the registry
//! answers, or answer something else. All requests are kept, with their time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::registry;

/// Longest head of a request or an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest wait for the other side, so that no thread outlives its test for long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub at: Instant,
}

impl Request {
    /// A header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The bytes that are asked for, if not all.
    pub fn range(&self) -> Option<Range<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<u64>().ok()? + 1)
    }

    /// True for a GET of a blob's bytes.
    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/")
    }

    /// The same, asked without this header.
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// Nothing is ever said.
    Silence,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    end: End,
}

impl Reply {
    /// An answer without a body.
    pub fn new(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), end: End::Whole }
    }

    /// Never any answer.
    pub fn silence() -> Reply {
        Reply { end: End::Silence, ..Reply::new(0) }
    }

    /// With this header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self
    }

    /// Its body closed early, the head promising all of it.
    pub fn cut(mut self, after: usize) -> Reply {
        self.end = End::Cut(after);
        self
    }

    /// The connection reset in the middle of its body.
    pub fn reset(mut self, after: usize) -> Reply {
        self.end = End::Reset(after);
        self
    }

    /// First byte of the blob that is in the body.
    pub fn offset(&self) -> u64 {
        let range = find(&self.headers, "content-range").and_then(|text| text.strip_prefix("bytes ")?.split_once('-'));
        range.map_or(0, |(first, _)| first.parse().unwrap())
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// What the real registry answers.
pub fn pass(request: &Request) -> Reply {
    let mut stream = TcpStream::connect(registry()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let passed = ["accept", "range"].into_iter().filter_map(|name| Some(format!("{name}: {}\r\n", request.header(name)?)));
    // 1.0, so that no answer is chunked.
    let head = format!("{} {} HTTP/1.0\r\nHost: {}\r\n{}\r\n", request.method, request.path, registry(), passed.collect::<String>());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = end_of_head(&answer).expect("an answer has a head");
    let body = answer.split_off(end);
    let (first, headers) = parse(&answer).unwrap();
    let kept = headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")).collect();
    Reply { status: first.split(' ').nth(1).unwrap().parse().unwrap(), headers: kept, body, end: End::Whole }
}

/// The first line, and the headers.
fn parse(head: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.lines();
    let first = lines.next()?.to_owned();
    Some((first, lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()))
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Answers until dropped; then its port refuses connections.
pub struct Server {
    host: String,
    asked: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers by `answer`, which may be called by several threads at once.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (asked, stopped) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (seen, stop, answer) = (asked.clone(), stopped.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, seen, answer) = (stream.unwrap(), seen.clone(), answer.clone());
                // A client that goes away early ends the thread.
                std::thread::spawn(move || drop(serve(stream, &seen, &*answer)));
            }
        });
        Server { host, asked, stopped, thread: Some(thread) }
    }

    /// Passes everything on but blobs, which `change` decides about; it gets the number of blob requests before this one.
    pub fn with_blobs(change: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
        let count = std::sync::atomic::AtomicUsize::new(0);
        Server::start(move |request| {
            if request.is_blob() { change(count.fetch_add(1, Ordering::Relaxed), request) } else { pass(request) }
        })
    }

    /// host:port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests for blobs so far.
    pub fn blobs(&self) -> Vec<Request> {
        self.asked().into_iter().filter(Request::is_blob).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept.
        drop(TcpStream::connect(&self.host));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<Request>>, answer: &(impl Fn(&Request) -> Reply + ?Sized)) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut bytes = Vec::new();
    while end_of_head(&bytes).is_none() {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0 && bytes.len() < HEAD_BYTES_MAX)?;
        bytes.extend_from_slice(&piece[..count]);
    }
    let (first, headers) = parse(&bytes)?;
    let mut words = first.split(' ').map(str::to_owned);
    let request = Request { method: words.next()?, path: words.next()?, headers, at: Instant::now() };
    asked.lock().unwrap().push(request.clone());
    send(&mut stream, &request, &answer(&request))
}

fn send(stream: &mut TcpStream, request: &Request, reply: &Reply) -> Option<()> {
    if matches!(reply.end, End::Silence) {
        // Returns when the client has gone.
        drop(stream.read(&mut [0]));
        return None;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if find(&reply.headers, "content-length").is_none() {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    reply.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if request.method == "HEAD" {
        return stream.shutdown(Shutdown::Write).ok();
    }
    let length = match reply.end {
        End::Cut(length) | End::Reset(length) => length.min(reply.body.len()),
        End::Whole | End::Silence => reply.body.len(),
    };
    stream.write_all(&reply.body[..length]).ok()?;
    if matches!(reply.end, End::Reset(_)) {
        // Time for what was written to arrive; then closing without lingering sends a reset.
        std::thread::sleep(Duration::from_millis(20));
        return rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).ok();
    }
    stream.shutdown(Shutdown::Write).ok()
}
