//! A registry of ours before the real one: passes requests on, and makes of the answers what nothing real produces on demand.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::registry;

/// What a proxy does to the answer to a GET of a blob.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Ignores Range.
    NoRanges,
    /// 429 with Retry-After: 1.
    TooMany,
    /// 500.
    Broken,
    /// Half of the body, then the connection ends.
    Cut,
    /// Half of the body, then nothing more until the client goes away.
    Silent,
    /// A byte of the body is another.
    Wrong,
    /// A page of HTML.
    Page,
    /// 404.
    Gone,
    /// 403.
    Forbidden,
    /// 307 to the same path at this host:port, with this query.
    Elsewhere(String, String),
}

/// A proxy before the real registry.
pub struct Proxy {
    /// host:port.
    pub address: String,
    /// GETs of blobs so far.
    pub blobs: Arc<AtomicUsize>,
    /// Tokens given so far.
    pub tokens: Arc<AtomicUsize>,
    inner: Arc<Inner>,
    listening: Option<JoinHandle<()>>,
}

/// What happens to the n-th GET of a blob.
type Decide = Box<dyn FnMut(usize, &Head) -> Fault + Send>;

struct Inner {
    address: String,
    upstream: String,
    /// Seconds that a token is good for; None: no token is wanted.
    token_seconds: Option<u64>,
    tokens: Arc<AtomicUsize>,
    /// So many of the first tokens are refused, whatever was promised.
    revoked: AtomicUsize,
    blobs: Arc<AtomicUsize>,
    fault: Mutex<Decide>,
    heads: Mutex<Vec<Head>>,
    silences: AtomicUsize,
    stopped: AtomicBool,
}

impl Proxy {
    /// A proxy that wants tokens if `token_seconds` says how long they last; `fault` says what happens to the n-th GET
    /// of a blob.
    pub fn start(token_seconds: Option<u64>, fault: impl FnMut(usize, &Head) -> Fault + Send + 'static) -> Proxy {
        Proxy::at("127.0.0.1:0", token_seconds, fault)
    }

    /// The same at a certain host:port.
    pub fn at(address: &str, token_seconds: Option<u64>, fault: impl FnMut(usize, &Head) -> Fault + Send + 'static) -> Proxy {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (blobs, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let inner = Arc::new(Inner {
            address: address.clone(),
            upstream: registry(),
            token_seconds,
            tokens: Arc::clone(&tokens),
            revoked: AtomicUsize::new(0),
            blobs: Arc::clone(&blobs),
            fault: Mutex::new(Box::new(fault)),
            heads: Mutex::default(),
            silences: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&inner);
        let listening = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if serving.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let inner = Arc::clone(&serving);
                // A client that goes away in the middle is none of our business.
                std::thread::spawn(move || drop(inner.serve(client)));
            }
        });
        Proxy { address, blobs, tokens, inner, listening: Some(listening) }
    }

    /// Refuses all tokens that were given so far, though they have not expired.
    pub fn revoke_tokens(&self) {
        self.inner.revoked.store(self.tokens.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How many clients were left sitting before half a body ([`Fault::Silent`]).
    pub fn silences(&self) -> usize {
        self.inner.silences.load(Ordering::SeqCst)
    }

    /// The requests so far.
    pub fn heads(&self) -> Vec<Head> {
        self.inner.heads.lock().unwrap().clone()
    }

    /// Goes away: from now on connections are refused.
    pub fn stop(mut self) {
        self.inner.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address); // wakes who waits for the next one
        self.listening.take().unwrap().join().unwrap();
        assert_eq!(TcpStream::connect(&self.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

/// The head of a request: its lines, as they came.
#[derive(Clone, Debug)]
pub struct Head(Vec<String>);

impl Head {
    /// None: the client has gone away.
    fn read(client: &TcpStream) -> Result<Option<Head>> {
        let (mut reader, mut lines) = (BufReader::new(client), Vec::new());
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line)? {
                0 => return Ok(None),
                _ if line == "\r\n" => return Ok(Some(Head(lines))),
                _ => lines.push(line),
            }
        }
    }

    /// `/v2/…?…`.
    pub fn target(&self) -> &str {
        self.0[0].split(' ').nth(1).unwrap()
    }

    /// Whether a blob's bytes are asked for.
    pub fn is_blob(&self) -> bool {
        self.0[0].starts_with("GET") && self.target().contains("/blobs/")
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.0[1..].iter().filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.to_lowercase() == name).map(|(_, value)| value.trim()).next()
    }
}

impl Inner {
    /// One request, answered, and the connection closed.
    fn serve(&self, mut client: TcpStream) -> Result<()> {
        let Some(head) = Head::read(&client)? else { return Ok(()) };
        self.heads.lock().unwrap().push(head.clone());
        if let Some(answer) = self.token_seconds.and_then(|seconds| self.doorman(&head, seconds)) {
            return client.write_all(answer.as_bytes());
        }
        let fault = match head.is_blob() {
            true => self.fault.lock().unwrap()(self.blobs.fetch_add(1, Ordering::SeqCst), &head),
            false => Fault::None,
        };
        if let Some(answer) = instead(&fault, &head) {
            return client.write_all(answer.as_bytes());
        }
        let mut answer = self.ask(&head, &fault)?;
        let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let middle = body + (answer.len() - body) / 2;
        match fault {
            Fault::Cut | Fault::Silent => answer.truncate(middle),
            Fault::Wrong => answer[middle] ^= 0x10,
            _ => {}
        }
        client.write_all(&answer)?;
        if fault == Fault::Silent {
            self.silences.fetch_add(1, Ordering::SeqCst);
            client.read_to_end(&mut Vec::new())?;
        }
        Ok(())
    }

    /// Gives tokens, and a challenge to who comes without a good one; None: he may pass.
    fn doorman(&self, head: &Head, seconds: u64) -> Option<String> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        if head.target().starts_with("/token?") {
            let scope = head.target().replace("%3A", ":");
            assert!(scope.contains("scope=repository:python:pull"), "{scope}");
            let number = self.tokens.fetch_add(1, Ordering::SeqCst);
            let token = format!(r#"{{"token":"t{number}.{}","expires_in":{seconds}}}"#, now());
            return Some(short("200 OK", "Content-Type: application/json\r\n", &token));
        }
        let good = head.header("authorization").and_then(|value| value.strip_prefix("Bearer t")).is_some_and(|token| {
            let (number, made) = token.split_once('.').unwrap();
            let is_fresh = now() - made.parse::<u64>().unwrap() <= seconds * 1000;
            is_fresh && number.parse::<usize>().unwrap() >= self.revoked.load(Ordering::SeqCst)
        });
        let challenge = format!(r#"Bearer realm="http://{}/token",service="test",scope="repository:python:pull""#, self.address);
        (!good).then(|| short("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), ""))
    }

    /// What the real registry answers.
    fn ask(&self, head: &Head, fault: &Fault) -> Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.upstream)?;
        for line in &head.0 {
            let name = line.to_lowercase();
            let dropped = name.starts_with("connection:")
                || name.starts_with("authorization:")
                || (*fault == Fault::NoRanges && name.starts_with("range:"));
            if !dropped {
                server.write_all(line.as_bytes())?;
            }
        }
        server.write_all(b"Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        if answer.is_empty() { Err(Error::from(ErrorKind::UnexpectedEof)) } else { Ok(answer) }
    }
}

/// The answers of faults that need no registry.
fn instead(fault: &Fault, head: &Head) -> Option<String> {
    Some(match fault {
        Fault::TooMany => short("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        Fault::Broken => short("500 Internal Server Error", "", ""),
        Fault::Gone => short("404 Not Found", "", ""),
        Fault::Forbidden => short("403 Forbidden", "", ""),
        Fault::Page => short("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>"),
        Fault::Elsewhere(address, query) => {
            short("307 Temporary Redirect", &format!("Location: http://{address}{}?{query}\r\n", head.target()), "")
        }
        _ => return None,
    })
}

fn short(status: &str, more: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
