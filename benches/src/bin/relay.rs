//! A link with a round trip time and a rate, as a relay of TCP connections: what the benchmarks measure through.
//!
//! `relay LISTEN TARGET --rtt-ms 20 --mbit 1000` prints the address that it listens on. Bytes go through in each direction as over one
//! wire: all connections of a direction share its rate, in the order in which their bytes arrive, and then take half a round trip. A new
//! connection costs a round trip before its first byte.
//!
//! A wire is a clock: each piece of at most [`PIECE_BYTES`] takes it for `bytes / rate`, beginning when the piece before it is through.
//! A piece arrives half a round trip after its last byte went in; between both ends of a connection there may be [`WINDOW_BYTES`] at a time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Small enough that connections take turns on the wire (0.13 ms at 1 Gbit/s), large enough to cost few system calls.
const PIECE_BYTES: usize = 16 << 10;
/// What one connection may have on its way: 1 Gbit/s for 64 ms, so that a single connection fills a link of 20 ms, as TCP with window
/// scaling does.
const WINDOW_BYTES: usize = 8 << 20;
/// How far a connection may be ahead of the wire. The runtime's timers are a millisecond wide and late under load: with less the wire would run
/// dry between two wake-ups; with more, one connection would hold it for long against the others.
const AHEAD: Duration = Duration::from_millis(4);

/// Relays TCP connections over an imagined link.
#[derive(Parser)]
struct Options {
    /// Address to listen on; port 0 takes any
    listen: SocketAddr,
    /// Where connections go
    target: SocketAddr,
    /// Round trip time in milliseconds
    #[arg(long, default_value_t = 20.0)]
    rtt_ms: f64,
    /// Rate of each direction in Mbit/s
    #[arg(long, default_value_t = 1000.0)]
    mbit: f64,
}

/// One direction of the link.
struct Wire {
    bytes_per_second: f64,
    delay: Duration,
    free_at: Mutex<Instant>,
}

impl Wire {
    fn new(options: &Options) -> Arc<Wire> {
        let delay = Duration::from_secs_f64(options.rtt_ms / 2000.0);
        Arc::new(Wire { bytes_per_second: options.mbit * 1e6 / 8.0, delay, free_at: Mutex::new(Instant::now()) })
    }

    /// Puts bytes on the wire now, behind those that are on it. Returns when they are through.
    fn put(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| format!("listen on {}", options.listen))?;
    println!("{}", listener.local_addr().context("ask for the address")?);
    accept(&listener, &options).await
}

async fn accept(listener: &TcpListener, options: &Options) -> Result<()> {
    let (up, down) = (Wire::new(options), Wire::new(options));
    let (target, round_trip) = (options.target, up.delay * 2);
    loop {
        let (client, _) = listener.accept().await.context("accept a connection")?;
        let (up, down) = (Arc::clone(&up), Arc::clone(&down));
        tokio::spawn(async move {
            let accepted = Instant::now();
            let server = match TcpStream::connect(target).await {
                Ok(server) => server,
                Err(error) => return eprintln!("relay: connect to {target}: {error}"),
            };
            // The kernel has accepted before we did: the round trip of connecting is paid before the first byte instead.
            sleep_until(accepted + round_trip).await;
            let no_delay = [&client, &server].map(|stream| stream.set_nodelay(true));
            if no_delay.iter().any(Result::is_err) {
                return; // it is gone already
            }
            let ((client_read, client_write), (server_read, server_write)) = (client.into_split(), server.into_split());
            tokio::join!(carry(client_read, server_write, &up), carry(server_read, client_write, &down));
        });
    }
}

/// One direction of one connection, to its end. An error ends it as an end does: the other side sees the connection close.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, wire: &Wire) {
    let (sender, receiver) = mpsc::channel(WINDOW_BYTES / PIECE_BYTES);
    tokio::join!(take_in(from, sender, wire), put_out(receiver, to));
}

/// Reads what comes, no faster than the wire takes it, and says when it is to arrive.
async fn take_in(mut from: OwnedReadHalf, sender: mpsc::Sender<(Instant, Vec<u8>)>, wire: &Wire) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        piece.truncate(length);
        let through = wire.put(length);
        if sender.send((through + wire.delay, piece)).await.is_err() {
            return;
        }
        if through > Instant::now() + AHEAD {
            sleep_until(through - AHEAD).await;
        }
    }
}

/// Writes each piece when it is due.
async fn put_out(mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
    while let Some((due, piece)) = receiver.recv().await {
        sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await; // it is gone already
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);
    const RATE: f64 = 125e6;

    /// A server that answers each 8 bytes, a little-endian number, with so many bytes; and a relay in front of it.
    async fn relayed() -> SocketAddr {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { listen: "127.0.0.1:0".parse().unwrap(), target: server.local_addr().unwrap(), rtt_ms: 20.0, mbit: 1000.0 };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = server.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(wanted) = stream.read_u64_le().await {
                        stream.write_all(&vec![7; wanted as usize]).await.unwrap();
                    }
                });
            }
        });
        let listener = TcpListener::bind(options.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { accept(&listener, &options).await });
        address
    }

    async fn ask(stream: &mut TcpStream, bytes: u64) -> Duration {
        let start = Instant::now();
        stream.write_u64_le(bytes).await.unwrap();
        let mut answer = vec![0; bytes as usize];
        stream.read_exact(&mut answer).await.unwrap();
        start.elapsed()
    }

    fn is_about(found: Duration, expected: Duration) {
        assert!(found >= expected.mul_f64(0.99), "{found:?} is less than {expected:?}");
        // A loaded machine is late; that it is late by half says that the model is wrong.
        assert!(found < expected.mul_f64(1.3) + Duration::from_millis(5), "{found:?} is more than {expected:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_round_trip_takes_its_time_and_a_connection_one_more() {
        let start = Instant::now();
        let mut stream = TcpStream::connect(relayed().await).await.unwrap();
        ask(&mut stream, 1).await;
        is_about(start.elapsed(), RTT * 2);
        let start = Instant::now();
        for _ in 0..20 {
            ask(&mut stream, 1).await;
        }
        is_about(start.elapsed(), RTT * 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_bytes_take_line_time_on_one_connection_and_on_eight() {
        let address = relayed().await;
        let bytes = 50_000_000;
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, 1).await;
        is_about(ask(&mut stream, bytes).await, RTT + Duration::from_secs_f64(bytes as f64 / RATE));
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            ask(&mut stream, 1).await;
            streams.push(stream);
        }
        let start = Instant::now();
        let mut tasks = Vec::new();
        for mut stream in streams {
            tasks.push(tokio::spawn(async move { ask(&mut stream, bytes / 8).await }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        is_about(start.elapsed(), RTT + Duration::from_secs_f64(bytes as f64 / RATE));
    }
}
