//! Sockets, and the connections that come in over them.
//!
//! The unix socket lies with the keeper, as the mounts do: while one worker is followed by the next, connections wait instead of being refused.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use keep::{Keeper, Name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::access::Peer;
use super::tls;
use crate::worker::Worker;

/// The name of the unix socket's descriptor with the keeper.
pub(crate) const SOCKET_NAME: &str = "api";
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take to send the head of a request, and a TLS client to shake hands.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long open requests may take when the worker stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after a failure to accept: it may be that there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the worker listens.
pub(crate) struct Listeners {
    unix: UnixListener,
    tcp: Option<(TcpListener, Option<TlsAcceptor>)>,
}

impl Listeners {
    /// Listens as the configuration says. `kept` is the unix socket of the worker before, if the keeper has it.
    pub async fn open(config: &config::Worker, kept: Option<OwnedFd>, keeper: &Keeper) -> Result<Listeners> {
        let unix = match kept.and_then(|kept| again(kept, &config.socket)) {
            Some(listener) => listener,
            None => {
                let listener = fresh(&config.socket, config.socket_mode.bits())?;
                keeper.remove(&Name::new(SOCKET_NAME)?)?;
                keeper.store(&Name::new(SOCKET_NAME)?, &listener)?;
                listener
            }
        };
        unix.set_nonblocking(true).context("set up the socket")?;
        let tcp = match &config.listen {
            Some(at) => {
                let listener =
                    TcpListener::bind((at.host(), at.port())).await.with_context(|| format!("listen at {at} (worker.listen)"))?;
                Some((listener, tls::acceptor(config)?))
            }
            None => None,
        };
        Ok(Listeners { unix: UnixListener::from_std(unix).context("set up the socket")?, tcp })
    }
}

/// The kept socket, if it is the one at `path`.
fn again(kept: OwnedFd, path: &Path) -> Option<std::os::unix::net::UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(kept);
    let is_there = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let is_same = listener.local_addr().ok()?.as_pathname() == Some(path);
    (is_there && is_same).then_some(listener)
}

/// A new socket. One that nobody listens at any more is replaced.
fn fresh(path: &Path, mode: u32) -> Result<std::os::unix::net::UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => bail!("{} is there and is no socket (worker.socket)", path.display()),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => bail!("another worker listens at {}", path.display()),
        Ok(_) => fs::remove_file(path).with_context(|| format!("remove the old socket {}", path.display()))?,
        Err(_) => {}
    }
    // Nobody gets in between bind and chmod: the socket is made for its owner alone.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = std::os::unix::net::UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.with_context(|| format!("listen at {} (worker.socket)", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Answers until the worker stops; then open requests are given some seconds.
pub(crate) async fn serve(worker: Arc<Worker>, listeners: Listeners) {
    let server = Server {
        router: super::router(&worker),
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        graceful: GracefulShutdown::new(),
    };
    let Listeners { unix, tcp } = listeners;
    tokio::select! {
        () = server.accept_unix(&unix) => {}
        () = server.accept_tcp(tcp) => {}
        () = worker.stopping() => {}
    }
    if tokio::time::timeout(STOP_PATIENCE, server.graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, as the worker stops");
    }
}

struct Server {
    router: Router,
    connections: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Server {
    async fn accept_unix(&self, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream, Peer::Unix).await,
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Without a TCP listener it waits for ever.
    async fn accept_tcp(&self, listener: Option<(TcpListener, Option<TlsAcceptor>)>) {
        let Some((listener, acceptor)) = listener else { return std::future::pending().await };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            match &acceptor {
                None => self.connection(stream, Peer::Tcp).await,
                // A slow client keeps nobody waiting: it shakes hands in a task of its own.
                Some(acceptor) => self.secured(stream, acceptor.clone()).await,
            }
        }
    }

    async fn secured(&self, stream: tokio::net::TcpStream, acceptor: TlsAcceptor) {
        let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
        let (router, watcher) = (self.router.clone(), self.graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(HEAD_PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => speak(stream, Peer::Tcp, router, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                Err(_) => tracing::debug!("no TLS in time"),
            }
        });
    }

    async fn connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
        let (router, watcher) = (self.router.clone(), self.graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            speak(stream, peer, router, watcher).await;
        });
    }
}

/// One connection, to its end.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let service = router.map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    // Without looking for HTTP/2 first: that would wait for ever for a client who says nothing.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection broke");
    }
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "no connection can be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
