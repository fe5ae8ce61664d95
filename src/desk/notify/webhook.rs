//! One webhook: a signed POST, on a connection of its own.
//!
//! * Redirects are not followed: they are answers as any other but 2xx, hence failures.
//! * Of the answer only its head is read, [`MAX_HEAD`] bytes at most.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::secret::WebhookSecret;
use super::{NotifyFailure, certificates};
use crate::delivery::event::EventId;
use crate::desk::config::{LinkSecurity, NotifyEndpoint, WebhookConfig};

/// Largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// What is sent.
#[derive(Debug, Serialize)]
struct WebhookBody<'a> {
    /// The same at each attempt.
    id: String,
    what: &'static str,
    /// The queue's page.
    link: &'a str,
}

/// See the module's documentation.
pub struct Webhook {
    endpoint: NotifyEndpoint,
    secret_file: PathBuf,
    ca_file: Option<PathBuf>,
}

impl Webhook {
    /// As configured; `None` where its address may not be used.
    pub fn new(config: &WebhookConfig) -> Option<Self> {
        Some(Self {
            endpoint: NotifyEndpoint::of_webhook(&config.url)?,
            secret_file: config.secret_file.clone(),
            ca_file: config.ca_file.clone(),
        })
    }

    /// Hands one notification over.
    ///
    /// # Errors
    /// Where it was not taken.
    pub async fn hand(&self, id: EventId, link: &str) -> Result<(), NotifyFailure> {
        let secret = WebhookSecret::open(&self.secret_file)?;
        let id = id.to_string();
        let body = WebhookBody { id: id.clone(), what: "candidate-waits", link };
        let body = serde_json::to_vec(&body).expect("a struct of text is JSON");
        let timestamp = OffsetDateTime::now_utc().unix_timestamp();
        let NotifyEndpoint { host, port, path, security } = &self.endpoint;
        let mut shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if ![(LinkSecurity::Tls, 443), (LinkSecurity::Loopback, 80)].contains(&(*security, *port)) {
            shown += &format!(":{port}");
        }
        let request = Request::post(path.as_str())
            .header(header::HOST, shown)
            .header(header::USER_AGENT, "watchpost-desk")
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", secret.sign(&id, timestamp, &body))
            .body(Body::from(body))
            .map_err(|_| NotifyFailure::Address)?;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(NotifyFailure::Reach)?;
        if *security == LinkSecurity::Loopback {
            return post(stream, request).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| NotifyFailure::Address)?;
        let connector = TlsConnector::from(self.tls()?);
        post(connector.connect(name, stream).await.map_err(NotifyFailure::Tls)?, request).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, NotifyFailure> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(self.ca_file.as_deref())?);
        if added == 0 {
            return Err(NotifyFailure::NoAuthorities);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| NotifyFailure::Tls(std::io::Error::other(e)))?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

async fn post<S>(stream: S, request: Request<Body>) -> Result<(), NotifyFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let mut over = false;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer?,
            // The answer may have come with the end.
            _ = &mut connection, if !over => over = true,
        }
    };
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(NotifyFailure::Answer(status.as_u16())) }
}
