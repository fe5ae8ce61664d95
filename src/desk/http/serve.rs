//! Sockets and TLS.
//!
//! * Connections are bounded in number, those of one address as well, and each in time. Behind a
//!   proxy on this machine all are of one address, and the proxy bounds them.
//! * Whoever takes nothing of an answer for [`STALLED`] is left.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use super::Peer;
use crate::delivery::tls::{self, CredentialError};
use crate::desk::config::HttpConfig;

/// Connections at a time. Those that look at pages keep one open each.
const MOST: usize = 1024;
/// Connections of one address that is not this machine's.
const MOST_OF_ONE: usize = 128;
/// For the other side to take something of what is written.
const STALLED: Duration = Duration::from_secs(20);
/// For a TLS handshake, and for the head of a request.
const SLOWEST: Duration = Duration::from_secs(10);
/// A connection ends at the latest; a browser makes another one.
const LONGEST: Duration = Duration::from_secs(3600);
/// Largest head.
const MAX_HEAD: usize = 16 * 1024;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address.
    #[error("cannot listen on {address}: {error}; set another address in the section http")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// A file of the certificate or its key.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The two do not belong together, or another refusal by the TLS library.
    #[error("cannot use {path}: {why}")]
    Certificate {
        /// The file of the certificate.
        path: String,
        /// Why not.
        why: String,
    },
}

/// Listens as configured.
///
/// # Errors
/// Where the address cannot be had.
pub async fn listen(http: &HttpConfig) -> Result<TcpListener, ServeError> {
    let address = http.listen;
    TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error })
}

/// TLS with the certificate that is configured; none where there is none.
///
/// # Errors
/// Where a file cannot be used.
pub fn tls(http: &HttpConfig) -> Result<Option<TlsAcceptor>, ServeError> {
    let (Some(certificate), Some(key)) = (&http.certificate, &http.key) else { return Ok(None) };
    let (chain, secret) = (tls::certificates(certificate)?, tls::private_key(key)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|e| {
            let path = certificate.display().to_string();
            ServeError::Certificate { path, why: e.to_string() }
        })?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Serves until `stop` says so, or whoever could say so is gone; also where no place is free.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    serve_at_most(Arc::new(Semaphore::new(MOST)), listener, tls, router, stop).await;
}

async fn serve_at_most(
    places: Arc<Semaphore>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let addresses = Addresses::default();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.changed() => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files: not so fast.
                log::warn!("A connection cannot be taken: {error}.");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(of_one) = addresses.take(peer.ip()) else { continue };
        let stream = Hurried::new(stream, STALLED);
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _places = (place, of_one);
            let served = async {
                match tls {
                    None => connection(stream, router, peer).await,
                    Some(tls) => {
                        let shaken = tokio::time::timeout(SLOWEST, tls.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            connection(stream, router, peer).await;
                        }
                    }
                }
            };
            let _ = tokio::time::timeout(LONGEST, served).await;
        });
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Addresses {
    /// A place for one more connection of `address`; `None` where it has [`MOST_OF_ONE`].
    fn take(&self, address: IpAddr) -> Option<OneOfAddress> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= MOST_OF_ONE && !address.is_loopback() {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(OneOfAddress { addresses: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Each holder leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of an address, until it is dropped.
struct OneOfAddress {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for OneOfAddress {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A stream that ends where the other side takes nothing for too long.
struct Hurried<S> {
    stream: S,
    patience: Duration,
    /// Since a write had to wait.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Hurried<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// `written`, or an error where it has been pending for too long.
    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        let over = waiting.as_mut().poll(cx);
        if over.is_ready() {
            self.waiting = None;
        }
        over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hurried<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hurried<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(ended, cx)
    }
}

async fn connection<S>(stream: S, router: Router, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        hyper::service::Service::call(&service, request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOWEST)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("A connection ended: {error}.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_at_stop_while_no_connection_has_a_place() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let none = Arc::new(Semaphore::new(0));
        let served = serve_at_most(none, listener, None, Router::new(), stopping);
        stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), served).await.expect("it ends");
    }

    #[test]
    fn one_address_has_so_many_connections_and_this_machine_any_number() {
        let addresses = Addresses::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut held: Vec<_> = (0..MOST_OF_ONE).filter_map(|_| addresses.take(one)).collect();
        assert_eq!(held.len(), MOST_OF_ONE);
        assert!(addresses.take(one).is_none());
        assert!(addresses.take(other).is_some());
        held.pop();
        assert!(addresses.take(one).is_some(), "one has ended");
        let here = IpAddr::from([127, 0, 0, 1]);
        held.extend((0..=MOST_OF_ONE).filter_map(|_| addresses.take(here)));
        assert_eq!(held.len(), 2 * MOST_OF_ONE);
        drop(held);
        assert!(addresses.counts().is_empty(), "nothing is kept of who was here");
    }

    #[tokio::test]
    async fn whoever_takes_nothing_of_an_answer_is_left_and_whoever_takes_little_is_not() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let (stream, _other) = tokio::io::duplex(16);
        let mut stream = Hurried::new(stream, Duration::from_millis(50));
        stream.write_all(&[0; 16]).await.expect("there is room");
        let error = stream.write_all(&[0; 16]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (stream, mut other) = tokio::io::duplex(16);
        let mut stream = Hurried::new(stream, Duration::from_secs(20));
        let reading = async {
            let mut seen = 0;
            while seen < 48 {
                seen += other.read(&mut [0; 8]).await.expect("it is open");
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 48]), reading);
        written.expect("somebody reads");
    }
}
