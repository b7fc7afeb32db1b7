//! A TCP relay before the server that spoils answers when told to. One request a connection.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What goes wrong with one request.
pub enum Fault {
    /// This answer instead of the server's, which hears nothing.
    Answer { status: &'static str, headers: &'static str, body: &'static str },
    /// In the head of the server's answer, the first text becomes the second.
    Head(&'static str, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body nothing comes for so long.
    Pause { after: usize, time: Duration },
    /// The server has done it, but its answer is lost.
    LostAnswer,
    /// A byte of the request's body is not what was sent.
    Damage,
    /// Nothing comes for so long; then all is as usual.
    Stall(Duration),
    /// The `Range` header does not get through.
    NoRange,
}

/// Stops when it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    /// Each hits the next request whose head holds its text.
    faults: Mutex<Vec<(&'static str, Fault)>>,
    /// Heads in lower case.
    requests: Mutex<Vec<String>>,
}

impl Relay {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { server, faults: Mutex::default(), requests: Mutex::default() });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let shared = shared.clone();
                    connections.spawn(async move { shared.serve(client).await.ok() });
                }
            }
        });
        Self { address, shared, task }
    }

    /// Spoils the next request whose head holds `text`, in lower case.
    pub fn next(&self, text: &'static str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((text, fault));
    }

    /// How many requests so far hold `text` in their heads.
    pub fn count(&self, text: &str) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|head| head.contains(text)).count()
    }

    /// How many faults nobody has met.
    pub fn left(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn take(&self, head: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(text, _)| head.contains(text))?;
        Some(faults.remove(at).1)
    }

    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, mut body) = read_head(&mut client).await?;
        let lower = head.to_ascii_lowercase();
        self.requests.lock().unwrap().push(lower.clone());
        let length: usize = header(&lower, "content-length").map_or(0, |text| text.parse().unwrap());
        if lower.contains("expect: 100-continue") {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let read = body.len();
        body.resize(length, 0);
        client.read_exact(&mut body[read.min(length)..]).await?;
        let fault = self.take(&lower);
        match fault {
            Some(Fault::Answer { status, headers, body }) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
                return client.write_all(text.as_bytes()).await;
            }
            Some(Fault::Stall(time)) => tokio::time::sleep(time).await,
            Some(Fault::Damage) => body[length / 2] ^= 1,
            _ => {}
        }
        let dropped = |line: &str| {
            let line = line.to_ascii_lowercase();
            let no_range = matches!(fault, Some(Fault::NoRange)) && line.starts_with("range:");
            line.starts_with("expect:") || line.starts_with("connection:") || no_range
        };
        let lines: Vec<&str> = head.lines().filter(|line| !line.is_empty() && !dropped(line)).collect();
        let mut server = TcpStream::connect(self.server).await?;
        server.write_all(format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n")).as_bytes()).await?;
        server.write_all(&body).await?;
        let (mut head, mut body) = read_head(&mut server).await?;
        match fault {
            Some(Fault::LostAnswer) => {
                server.read_to_end(&mut body).await?;
                return Ok(());
            }
            Some(Fault::Head(from, to)) => {
                assert!(head.contains(from), "{head}");
                head = head.replacen(from, to, 1);
            }
            _ => {}
        }
        client.write_all(head.as_bytes()).await?;
        if let Some(Fault::Cut(after)) = fault {
            server.read_to_end(&mut body).await?;
            return client.write_all(&body[..after]).await;
        }
        if let Some(Fault::Pause { after, time }) = fault {
            server.read_to_end(&mut body).await?;
            client.write_all(&body[..after]).await?;
            tokio::time::sleep(time).await;
            return client.write_all(&body[after..]).await;
        }
        client.write_all(&body).await?;
        tokio::io::copy(&mut server, &mut client).await.map(drop)
    }
}

/// The head with its empty line, and what came behind it.
async fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes).unwrap(), body));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}
