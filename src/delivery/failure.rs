//! Why there is no connection, what to do, and whether trying again soon can help.

use std::error::Error;
use std::fmt;
use std::io;

use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};

use super::event::EncodeError;
use super::tls::CredentialError;
use super::tls::peer::{KEYS, Misfit};

/// One failure of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFailure {
    text: String,
    /// Somebody has to change something first; trying again soon only makes noise.
    pub slow: bool,
    /// The broker ended an open connection, maybe over what was sent.
    pub by_broker: bool,
    /// The broker keeps no messages.
    pub no_retain: bool,
    /// Something that was sent is larger than the broker takes.
    pub too_large: bool,
}

/// Failures that are always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedFailure(&'static str);

impl From<FixedFailure> for LinkFailure {
    fn from(fixed: FixedFailure) -> Self {
        Self::fast(fixed.0)
    }
}

impl fmt::Display for LinkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Publishes stay unacknowledged.
pub const NO_ACKNOWLEDGEMENT: FixedFailure =
    FixedFailure("the broker takes publishes and does not acknowledge them");
/// Nothing at all comes.
pub const SILENT: FixedFailure = FixedFailure("the link is dead: nothing came from the broker");
/// Packet ids collide.
pub const OUT_OF_ORDER: FixedFailure = FixedFailure("the broker acknowledges out of order");
/// The client library panicked over something that the broker sent.
pub const PANIC: FixedFailure =
    FixedFailure("the MQTT client crashed on what the broker sent; please report it");
/// More is sent to the device than it can hold.
pub const FLOODED: FixedFailure = FixedFailure(
    "more messages were sent to this device than it can hold; it takes them when the broker sends \
     them again",
);
/// The client's channel is closed or full.
pub const CLIENT: FixedFailure = FixedFailure("the MQTT client's queue is full or closed");

impl LinkFailure {
    fn slow(text: impl Into<String>) -> Self {
        Self { slow: true, ..Self::fast(text) }
    }

    fn fast(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            slow: false,
            by_broker: false,
            no_retain: false,
            too_large: false,
        }
    }

    fn closed(self) -> Self {
        Self { by_broker: true, ..self }
    }

    /// The link was closed before the broker had answered.
    pub fn before_the_answer(self) -> Self {
        let text = format!(
            "{self}, before the broker answered; where this repeats, see whether the broker behind \
             a proxy is up, and whether it takes packets of 1 kB (mosquitto: max_packet_size)"
        );
        Self { text, ..self }
    }

    /// The broker says that a packet was too large; not which one.
    fn too_large() -> Self {
        let text = "the broker takes no packet as large as one that was sent (PacketTooLarge); \
                    raise its limits (mosquitto: message_size_limit, max_packet_size)";
        Self { too_large: true, ..Self::fast(text).closed() }
    }

    /// A file of secrets or certificates cannot be used.
    pub fn credentials(e: &CredentialError) -> Self {
        Self::slow(e.to_string())
    }

    /// The last will cannot be dated.
    pub fn clock(e: &EncodeError) -> Self {
        Self::slow(e.to_string())
    }

    /// What the client library reports.
    pub fn of(e: &ConnectionError) -> Self {
        match e {
            ConnectionError::ConnectionRefused(code) => refused(*code),
            ConnectionError::Timeout(_) => {
                Self::fast("the broker does not answer; check host, port and firewall")
            }
            ConnectionError::Io(e) => io_failure(e),
            ConnectionError::Tls(TlsError::Io(e)) => io_failure(e),
            ConnectionError::Tls(TlsError::TLS(e)) => tls_failure(e),
            ConnectionError::Tls(e) => Self::slow(format!(
                "TLS failed ({e}); check {broker_url} and the certificates",
                broker_url = setting!(broker.url)
            )),
            ConnectionError::NotConnAck(_) => Self::slow(concat!(
                "the host does not speak MQTT; check the port in ",
                setting!(broker.url)
            )),
            ConnectionError::MqttState(e) => state_failure(e),
            ConnectionError::RequestsDone => CLIENT.into(),
        }
    }
}

fn refused(code: ConnectReturnCode) -> LinkFailure {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            LinkFailure::slow(format!(
                "the broker refused the credentials ({code:?}); check {broker_username}, \
                 {broker_password_file} and the client certificate",
                broker_username = setting!(broker.username),
                broker_password_file = setting!(broker.password_file)
            ))
        }
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
            LinkFailure::slow(format!(
                "the broker refused the client id ({code:?}); set {broker_client_id} to one it \
                 allows",
                broker_client_id = setting!(broker.client_id)
            ))
        }
        ConnectReturnCode::UnsupportedProtocolVersion
        | ConnectReturnCode::RefusedProtocolVersion => LinkFailure::slow(format!(
            "the broker does not speak MQTT 5 ({code:?}); use one that does"
        )),
        ConnectReturnCode::ServerUnavailable
        | ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::ServerBusy
        | ConnectReturnCode::ConnectionRateExceeded => {
            LinkFailure::fast(format!("the broker is busy ({code:?})"))
        }
        ConnectReturnCode::RetainNotSupported => {
            let text = "the broker keeps no messages (RetainNotSupported); it is tried without";
            LinkFailure { no_retain: true, ..LinkFailure::fast(text) }
        }
        ConnectReturnCode::PacketTooLarge => LinkFailure::too_large(),
        other => LinkFailure::slow(format!(
            "the broker refused the connection ({other:?}); see the broker's log"
        )),
    }
}

fn state_failure(e: &StateError) -> LinkFailure {
    match e {
        StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        } => LinkFailure::slow(concat!(
            "another client of the same id took the connection over; give each device its own id \
             or ",
            setting!(broker.client_id)
        )),
        StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::NotAuthorized, ..
        } => LinkFailure::slow(
            "the broker ended the connection (NotAuthorized); check its access list for this \
             client",
        ),
        StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::PacketTooLarge, ..
        }
        // mosquitto acknowledges with it, which the client library cannot read.
        | StateError::Deserialization(mqttbytes::Error::InvalidConnectReturnCode(0x95)) => {
            LinkFailure::too_large()
        }
        StateError::ServerDisconnect { reason_code, .. } => {
            LinkFailure::fast(format!("the broker ended the connection ({reason_code:?})")).closed()
        }
        StateError::AwaitPingResp => SILENT.into(),
        // Some brokers (mosquitto 2.0) say nothing when a second client takes the id over.
        StateError::ConnectionAborted => LinkFailure::fast(concat!(
            "the broker closed the connection without a reason; where this repeats, look for a \
             second client of the same id (see ",
            setting!(broker.client_id),
            ") and into the broker's log"
        ))
        .closed(),
        StateError::Io(e) => io_failure(e),
        StateError::Deserialization(mqttbytes::Error::Io(e)) => io_failure(e),
        // Maybe the answer to what was sent, in a form that cannot be read.
        StateError::Deserialization(e) => {
            LinkFailure::fast(format!("the broker's answer cannot be read ({e})")).closed()
        }
        other => LinkFailure::fast(format!("the connection failed ({other})")),
    }
}

fn io_failure(e: &io::Error) -> LinkFailure {
    if let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_failure(tls);
    }
    match e.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            LinkFailure::fast(format!("the connection was closed ({e})")).closed()
        }
        io::ErrorKind::ConnectionRefused => LinkFailure::fast(concat!(
            "no broker listens there; start it, or check host and port in ",
            setting!(broker.url)
        )),
        _ => {
            let source = e.source().map(|s| format!(": {s}")).unwrap_or_default();
            LinkFailure::fast(format!("the network failed ({e}{source})"))
        }
    }
}

fn tls_failure(e: &rustls::Error) -> LinkFailure {
    let text = match e {
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.0.is::<Misfit>() =>
        {
            return LinkFailure::slow(other.0.to_string());
        }
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired; renew it, and check this device's clock"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet; check this device's clock"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                concat!(
                    "the broker's certificate is for another host; write the name in it into ",
                    setting!(broker.url)
                )
            }
            CertificateError::UnknownIssuer => {
                concat!(
                    "the broker's certificate is from an authority that is not trusted; set ",
                    setting!(broker.ca_file)
                )
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                return LinkFailure::slow(format!(
                    "the broker's certificate, or one above it, has a key or a signature that is \
                     not supported; make them with keys that are {KEYS}, and SHA-256 or longer \
                     ({e})"
                ));
            }
            _ => {
                concat!(
                    "the broker's certificate is not accepted; give the broker one for servers, \
                     signed by the authority in ",
                    setting!(broker.ca_file)
                )
            }
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied,
        ) => {
            concat!(
                "the broker does not accept this device's certificate; check ",
                setting!(broker.client_cert),
                " and ",
                setting!(broker.client_key)
            )
        }
        // TLS 1.2 has no other alert for a missing certificate, nor any version for a key of the
        // broker that the device does not know.
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            return LinkFailure::slow(format!(
                "the broker ended the handshake; where it asks for a certificate, set \
                 {broker_client_cert} and {broker_client_key}, else see that its own certificate's \
                 key is {KEYS} (P-521 and secp256k1 are not supported), and that it speaks TLS 1.2 \
                 or 1.3 ({e})",
                broker_client_cert = setting!(broker.client_cert),
                broker_client_key = setting!(broker.client_key)
            ));
        }
        rustls::Error::InvalidMessage(_) => {
            "the port does not speak TLS; use mqtt:// or the broker's TLS port"
        }
        _ => concat!("TLS failed; check ", setting!(broker.url), " and the certificates"),
    };
    LinkFailure::slow(format!("{text} ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(e: ConnectionError) -> (String, bool) {
        let failure = LinkFailure::of(&e);
        (failure.to_string(), failure.slow)
    }

    #[test]
    fn each_failure_says_what_to_do_and_how_soon_to_try() {
        let (text, slow) = of(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized));
        assert!(text.contains("broker.password_file") && slow, "{text}");
        let (text, slow) = of(ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy));
        assert!(text.contains("busy") && !slow, "{text}");
        let (text, slow) = of(ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()));
        assert!(text.contains("broker.url") && !slow, "{text}");
        let taken = StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            reason_string: None,
        };
        let (text, slow) = of(ConnectionError::MqttState(taken));
        assert!(text.contains("broker.client_id") && slow, "{text}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_be_about_what_was_sent() {
        let of = |e| LinkFailure::of(&ConnectionError::MqttState(StateError::Deserialization(e)));
        // mosquitto's message_size_limit: an acknowledgement with a reason that none may have.
        let failure = of(mqttbytes::Error::InvalidConnectReturnCode(0x95));
        assert!(failure.too_large && failure.by_broker && !failure.slow, "{failure}");
        assert!(failure.to_string().contains("message_size_limit"), "{failure}");
        let failure = of(mqttbytes::Error::InvalidConnectReturnCode(0x42));
        assert!(!failure.too_large && failure.by_broker, "{failure}");
        let refused = ConnectionError::ConnectionRefused(ConnectReturnCode::PacketTooLarge);
        assert!(LinkFailure::of(&refused).too_large);
        let closed = LinkFailure::of(&ConnectionError::Io(io::ErrorKind::ConnectionReset.into()));
        assert!(closed.before_the_answer().to_string().contains("max_packet_size"));
    }

    #[test]
    fn certificate_failures_are_told_apart() {
        let of = |e| {
            let e = rustls::Error::InvalidCertificate(e);
            LinkFailure::of(&ConnectionError::Tls(TlsError::Io(io::Error::new(
                io::ErrorKind::InvalidData,
                e,
            ))))
            .to_string()
        };
        assert!(of(CertificateError::Expired).contains("expired"));
        assert!(of(CertificateError::UnknownIssuer).contains("broker.ca_file"));
        assert!(of(CertificateError::NotValidForName).contains("another host"));
        let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        let text = tls_failure(&alert).to_string();
        assert!(text.contains("P-521") && text.contains("P-384"), "{text}");
    }
}
