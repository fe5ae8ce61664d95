//! Whether the broker would accept this device: one connection, nothing published, nothing
//! subscribed.
//!
//! The connection has a client id of its own, so that a daemon that is connected stays so. A broker
//! may replace that by the name in the certificate: then the daemon's session is taken for a
//! moment, and nothing that waits in it is acknowledged or ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use time::OffsetDateTime;

use super::broker::{BrokerConfig, BrokerUrl, UrlError};
use super::failure::LinkFailure;
use super::tls::CredentialError;
use super::tls::peer::CertificateEnds;
use super::wire;

/// For name look-up, TCP, TLS and the broker's answer together.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why the broker would not be reached. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The URL.
    #[error("{broker_url}: {0}", broker_url = setting!(broker.url))]
    Url(#[from] UrlError),
    /// A file of certificates or secrets.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No connection.
    #[error("{0}")]
    Refused(String),
    /// Nothing in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The system has no thread or socket left.
    #[error("cannot try: {0}")]
    System(#[from] std::io::Error),
}

impl ProbeError {
    /// What to check where the text does not say so.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Silent => {
                "check host, port and firewall; something accepts the connection and does not \
                 speak MQTT"
            }
            Self::System(_) => "close other programs",
            _ => {
                concat!(
                    "check ",
                    setting!(broker.url),
                    ", the broker's log and the network; until it answers candidates wait in the \
                     outbox"
                )
            }
        }
    }
}

/// The broker accepts this device.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// How long it took.
    pub took: Duration,
    /// When the broker's certificate ends, where it has one.
    pub certificate_ends: Option<OffsetDateTime>,
}

/// Connects, waits for the broker's answer, disconnects.
///
/// # Errors
/// [`ProbeError`].
pub fn probe(config: &BrokerConfig, device: &str) -> Result<Reached, ProbeError> {
    let url: BrokerUrl = config.url.parse()?;
    let own = if config.client_id.is_empty() { device } else { &config.client_id };
    let mut options = MqttOptions::new(format!("{own}-doctor"), url.address(), url.port);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(config.session_expiry_s))
        .set_manual_acks(true);
    let ends = Arc::<CertificateEnds>::default();
    wire::identify(&mut options, config, &url, &ends)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    let outcome = runtime.block_on(async {
        let (client, mut events) = AsyncClient::new(options, 4);
        let accepted = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => {
                        return Err(ProbeError::Refused(LinkFailure::of(&error).to_string()));
                    }
                }
            }
        };
        let outcome =
            tokio::time::timeout(PATIENCE, accepted).await.unwrap_or(Err(ProbeError::Silent));
        if outcome.is_ok() && client.try_disconnect().is_ok() {
            // A clean end only: the answer is known.
            let _ = tokio::time::timeout(Duration::from_millis(500), events.poll()).await;
        }
        outcome
    });
    runtime.shutdown_background();
    outcome.map(|()| Reached { took: began.elapsed(), certificate_ends: ends.broker() })
}
