//! Sockets and TLS: connections are bounded in number, each in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::{Request, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Peer;
use crate::delivery::tls::{self, CredentialError};
use crate::desk::config::HttpConfig;

/// Connections at a time. Those that look at pages keep one open each.
const MOST: usize = 1024;
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
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
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
}
