//! Something that listens where a worker would, for faults that a worker does not have on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What is answered to one request.
#[derive(Clone)]
pub enum Answer {
    /// A status and a document.
    Json(u16, Value),
    /// These bytes, and the end.
    Raw(&'static str),
    /// Nothing, for as long as the client waits.
    Silence,
    /// These events; then the connection breaks.
    Cut(String),
    /// These events; then nothing, for as long as the client waits.
    Open(String),
}

/// What decides: the how many-th request it is, of those with the same beginning, and its line, `GET /api/v1/version`.
type Script = dyn Fn(usize, &str) -> Answer + Send + Sync;

/// A listener. It ends, and its socket goes, when it is dropped.
pub struct StandIn {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl StandIn {
    /// Listens at `socket`.
    pub fn start(socket: &Path, script: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> StandIn {
        let listener = UnixListener::bind(socket).unwrap();
        let (asked, stopped) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (script, log, stop): (Arc<Script>, _, _) = (Arc::new(script), Arc::clone(&asked), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                // A client that goes away meanwhile is none of our business.
                thread::spawn(move || serve(stream, &*script, &log).ok());
            }
        });
        StandIn { socket: socket.into(), asked, stopped }
    }

    /// A worker as far as its version goes; the rest is the script's.
    pub fn worker(socket: &Path, script: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> StandIn {
        StandIn::start(socket, move |n, line| if line == "GET /api/v1/version" { version("clip-worker") } else { script(n, line) })
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What `GET /version` is answered.
pub fn version(name: &str) -> Answer {
    Answer::Json(200, json!({"name": name, "version": "0.0.0", "archive_versions": ["v1", "v2"]}))
}

/// A server-sent event.
pub fn event(name: &str, seq: u64, data: &Value) -> String {
    format!("id: {seq}\nevent: {name}\ndata: {data}\n\n")
}

fn serve(stream: UnixStream, script: &Script, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let Some(line) = request(&mut reader)? else { return Ok(()) };
    let path = line.split('?').next().unwrap_or_default();
    let n = {
        let mut log = log.lock().unwrap();
        log.push(line.clone());
        log.iter().filter(|other| other.split('?').next() == Some(path)).count() - 1
    };
    answer(stream, script(n, &line))
}

/// The line of a request, without the protocol; its body is passed over. None: the client only looked whether somebody is there.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let (mut first, mut body_bytes) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; body_bytes])?;
    Ok(first.rsplit_once(' ').map(|(line, _)| line.to_owned()))
}

fn answer(mut stream: UnixStream, answer: Answer) -> std::io::Result<()> {
    match answer {
        Answer::Json(status, document) => {
            let body = document.to_string();
            write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Answer::Raw(bytes) => stream.write_all(bytes.as_bytes()),
        Answer::Silence => wait(stream),
        Answer::Cut(events) => events_of(&mut stream, &events),
        Answer::Open(events) => {
            events_of(&mut stream, &events)?;
            wait(stream)
        }
    }
}

/// The beginning of a body in chunks: without the last of them it has no end.
fn events_of(stream: &mut UnixStream, events: &str) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    write!(stream, "{head}{:x}\r\n{events}\r\n", events.len())
}

/// Until the client goes away.
fn wait(mut stream: UnixStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.read(&mut [0]).map(drop)
}
