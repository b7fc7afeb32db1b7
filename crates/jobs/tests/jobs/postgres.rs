//! What only a server can be: away, slow, unwilling, and shared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::{Error, NewEvent, Options, Outcome, Place, Queue};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Bench, claim, job, on_postgres, server, submit};

const PATIENCE: Duration = Duration::from_secs(1);

/// A relay before the server, which can be cut, and can hold its breath.
struct Relay {
    port: u16,
    server: String,
    frozen: watch::Sender<bool>,
    listening: Option<JoinHandle<()>>,
}

impl Relay {
    async fn new() -> Relay {
        let server = authority(&server().unwrap()).to_owned();
        let mut relay = Relay { port: 0, server, frozen: watch::Sender::new(false), listening: None };
        relay.start().await;
        relay
    }

    /// Listens, on the port that it had before.
    async fn start(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (server, frozen) = (self.server.clone(), self.frozen.subscribe());
        self.listening = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new(); // aborted when it is dropped
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server.clone(), frozen.clone()));
            }
        }));
    }

    /// As when the server is stopped: connections end, new ones are refused.
    async fn stop(&mut self) {
        let listening = self.listening.take().unwrap();
        listening.abort();
        let _ = listening.await;
    }

    fn place(&self, bench: &Bench) -> Place {
        Place::Postgres(bench.url().replace(&self.server, &format!("127.0.0.1:{}", self.port)).parse().unwrap())
    }
}

async fn relay(client: TcpStream, server: String, frozen: watch::Receiver<bool>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(pour(from_client, to_server, frozen.clone()), pour(from_server, to_client, frozen));
}

async fn pour(from: tokio::net::tcp::OwnedReadHalf, to: tokio::net::tcp::OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut piece = [0; 8192];
    while from.readable().await.is_ok() {
        let Ok(_) = frozen.wait_for(|frozen| !frozen).await else { return };
        let length = match from.try_read(&mut piece) {
            Ok(0) => return,
            Ok(length) => length,
            Err(_) => continue,
        };
        let mut rest = &piece[..length];
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// `HOST:PORT` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once('@').unwrap().1;
    rest.split_once('/').unwrap().0
}

fn impatient(bench: &Bench, place: Place) -> Options {
    Options { patience: PATIENCE, place, ..bench.options() }
}

fn assert_unavailable<T: std::fmt::Debug>(result: Result<T, Error>) {
    let Err(error @ Error::Unavailable { .. }) = result else { panic!("{result:?}") };
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[test]
fn a_server_that_goes_and_comes_back_costs_errors_and_nothing_else() {
    on_postgres(async |bench| {
        let mut relay = Relay::new().await;
        let queue = Queue::open(impatient(bench, relay.place(bench))).await.unwrap();
        submit(&queue, "a").await;
        let held = claim(&queue).await;
        for _ in 0..2 {
            relay.stop().await;
            let begun = Instant::now();
            assert_unavailable(queue.submit(&job("b")).await);
            assert_unavailable(queue.heartbeat(&held).await);
            assert!(begun.elapsed() < 8 * PATIENCE, "{:?}", begun.elapsed());
            relay.start().await;
            assert_eq!(queue.heartbeat(&held).await.unwrap(), jobs::Beat::Go);
            submit(&queue, "b").await;
        }
        queue.finish(&held, Outcome::Success(Value::Null)).await.unwrap();
        assert_eq!((queue.counts().await.unwrap().success, queue.counts().await.unwrap().pending), (1, 1));
        submit(&queue, "c").await;
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    on_postgres(async |bench| {
        let relay = Relay::new().await;
        let queue = Queue::open(impatient(bench, relay.place(bench))).await.unwrap();
        submit(&queue, "a").await;
        relay.frozen.send_replace(true);
        let begun = Instant::now();
        assert_unavailable(queue.submit(&job("b")).await);
        assert_unavailable(queue.counts().await);
        assert!(begun.elapsed() < 8 * PATIENCE, "{:?}", begun.elapsed());
        relay.frozen.send_replace(false);
        submit(&queue, "c").await;
    });
}

#[test]
fn a_lock_that_somebody_keeps_is_not_waited_for() {
    on_postgres(async |bench| {
        let queue = Queue::open(impatient(bench, bench.place.clone())).await.unwrap();
        let mut outside = PgConnection::connect(&bench.url()).await.unwrap();
        outside.execute("BEGIN").await.unwrap();
        outside.execute("SELECT last FROM clip_event_counter FOR UPDATE").await.unwrap();
        assert_unavailable(queue.publish(&NewEvent::new("test", Value::Null)).await);
        assert_unavailable(queue.submit(&job("a")).await);
        outside.execute("ROLLBACK").await.unwrap();
        assert_eq!(queue.publish(&NewEvent::new("test", Value::Null)).await.unwrap(), 1);
        assert_eq!(queue.counts().await.unwrap().pending, 0);
    });
}

#[test]
fn what_the_server_refuses_is_said_without_the_password() {
    on_postgres(async |bench| {
        let good = bench.url();
        let places = [good.replace(":secret@", ":hunter2-secret@"), good.replace("/postgres?", "/no_such_database?")];
        for url in places {
            let error = Queue::open(impatient(bench, Place::Postgres(url.parse().unwrap()))).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        let nobody = Place::Postgres("postgres://clip:secret@127.0.0.1:1/x".parse().unwrap());
        assert_unavailable(Queue::open(impatient(bench, nobody)).await);
        assert!(!format!("{:?} {:?}", bench.open().await, bench.options()).contains("secret"));
    });
}

#[test]
fn workers_that_start_at_once_make_the_tables_once() {
    on_postgres(async |bench| {
        let options = Arc::new(bench.options());
        let openers: Vec<_> = (0..6)
            .map(|n| {
                let options = options.clone();
                tokio::spawn(async move {
                    let queue = Queue::open((*options).clone()).await.unwrap();
                    submit(&queue, &n.to_string()).await;
                    queue.close().await;
                })
            })
            .collect();
        for opener in openers {
            opener.await.unwrap();
        }
        assert_eq!(bench.open().await.counts().await.unwrap().pending, 6);
    });
}

#[test]
fn a_call_that_is_dropped_midway_leaves_nothing_and_blocks_nobody() {
    on_postgres(async |bench| {
        let queue = bench.open().await;
        for n in 0..40u64 {
            let key = n.to_string();
            let _ = tokio::time::timeout(Duration::from_micros(200 * n), queue.submit(&job(&key))).await;
        }
        submit(&queue, "last").await;
        let pending = queue.counts().await.unwrap().pending;
        assert_eq!(queue.last_seq().await.unwrap(), pending, "each with its event, or not at all");
    });
}
