//! The person at the other end: subscribes to everything a device publishes and hands the messages
//! on.
//!
//! Promises that, once [`Subscriber::connect`] has returned, the broker has confirmed the
//! subscription to `<root>/v1/#` at QoS 1, so that nothing published from then on is missed while
//! the connection lasts. Works with any MQTT 5 broker. Messages wait in a bounded queue; while it
//! is full, the connection is not read, and nothing is dropped.
//!
//! Does not promise to come back: a lost connection ends the subscriber. No TLS.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{Client, Connection, ConnectionError, Event, Incoming, MqttOptions};

/// The port of MQTT without TLS.
const DEFAULT_PORT: u16 = 1883;
/// Messages that may wait for [`Subscriber::receive`].
const QUEUE: usize = 256;
/// Largest message taken, bytes.
const MAX_PACKET: u32 = 1 << 20;

/// A broker's address: `mqtt://[USER:PASSWORD@]HOST[:PORT]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port, 1883 unless the address says otherwise.
    pub port: u16,
    /// User and password, where the broker wants them.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// Without the password.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user =
            self.credentials.as_ref().map(|(user, _)| format!("{user}@")).unwrap_or_default();
        match self.host.contains(':') {
            true => write!(f, "mqtt://{user}[{}]:{}", self.host, self.port),
            false => write!(f, "mqtt://{user}{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = SubscriberError;

    fn from_str(text: &str) -> Result<Self, SubscriberError> {
        let wrong = |why| SubscriberError::Address { why };
        let rest = match text.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => rest,
            Some(("mqtts" | "ssl", _)) => {
                return Err(wrong("the subscriber of the demonstration speaks no TLS"));
            }
            Some(_) => return Err(wrong("the scheme is not mqtt")),
            None => return Err(wrong("the scheme is missing")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let credentials = match login.map(|l| l.split_once(':')) {
            None => None,
            Some(Some((user, password))) if !user.is_empty() => {
                Some((user.to_owned(), password.to_owned()))
            }
            Some(_) => {
                return Err(wrong(
                    "before the @ stand a user and a password, with a colon between them",
                ));
            }
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(v6) => {
                let (host, port) =
                    v6.split_once(']').ok_or(wrong("an IPv6 address ends with ]"))?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(wrong("between [ and ] stands no IPv6 address"));
                }
                match (port, port.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(port)) => (host, Some(port)),
                    (_, None) => return Err(wrong("after ] only a colon and a port may follow")),
                }
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() || host.contains(['/', '?', '#', ' ', '[', ']', '@']) {
            return Err(wrong("the host is missing or holds characters that no host name has"));
        }
        let port = match port.map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(wrong("the port is not a number from 1 to 65535")),
        };
        Ok(Self { host: host.to_owned(), port, credentials })
    }
}

/// Why nothing can be received.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// Not an address (which is not repeated here: it may hold a password).
    #[error(
        "the broker's address cannot be used: {why}; write mqtt://HOST, mqtt://HOST:PORT or \
         mqtt://USER:PASSWORD@HOST:PORT"
    )]
    Address {
        /// What is wrong with it.
        why: &'static str,
    },
    /// No connection, or the broker refused it.
    #[error(
        "no MQTT 5 connection to {endpoint}: {cause}; check that the broker runs, speaks MQTT 5 \
         and accepts these credentials"
    )]
    Connect {
        /// Without the password.
        endpoint: Endpoint,
        /// What the client said.
        cause: String,
    },
    /// Connected, but the broker's access rules forbid the subscription.
    #[error(
        "the broker does not allow a subscription to {filter}; grant this user read access to it"
    )]
    Forbidden {
        /// The topic filter.
        filter: String,
    },
    /// The connection ended.
    #[error("the connection to the broker is lost: {0}")]
    Lost(String),
}

/// One message as it came from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether the broker kept it from before the subscription.
    pub retained: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Property `Content Type`.
    pub content_type: Option<String>,
    /// What is left of property `Message Expiry Interval`.
    pub expires_in: Option<Duration>,
}

impl From<Publish> for Received {
    fn from(publish: Publish) -> Self {
        let properties = publish.properties.unwrap_or_default();
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            retained: publish.retain,
            qos: publish.qos as u8,
            content_type: properties.content_type,
            expires_in: properties.message_expiry_interval.map(|s| Duration::from_secs(s.into())),
        }
    }
}

/// A confirmed subscription.
pub struct Subscriber {
    client: Client,
    /// `None` only while it is dropped.
    messages: Option<Receiver<Result<Received, String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Connects as `client_id` and subscribes to `<root>/v1/#`; returns when the broker has
    /// confirmed, within about `patience`.
    ///
    /// # Errors
    /// [`SubscriberError::Connect`], [`SubscriberError::Forbidden`].
    pub fn connect(
        endpoint: &Endpoint,
        client_id: &str,
        root: &str,
        patience: Duration,
    ) -> Result<Self, SubscriberError> {
        let failed = |cause: String| SubscriberError::Connect { endpoint: endpoint.clone(), cause };
        let mut options = MqttOptions::new(client_id, &endpoint.host, endpoint.port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(Some(MAX_PACKET));
        options.set_connection_timeout(patience.as_secs().max(1));
        if let Some((user, password)) = &endpoint.credentials {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, 8);
        let filter = format!("{root}/v1/#");
        client.subscribe(&filter, QoS::AtLeastOnce).map_err(|e| failed(e.to_string()))?;

        let (sender, messages) = mpsc::sync_channel(QUEUE);
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match connection.recv_timeout(left) {
                Ok(Ok(Event::Incoming(Packet::SubAck(ack)))) => {
                    if ack
                        .return_codes
                        .iter()
                        .all(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    {
                        break;
                    }
                    return Err(SubscriberError::Forbidden { filter });
                }
                // A retained message may overtake the confirmation (MQTT 5, 3.8.4).
                Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                    sender
                        .try_send(Ok(publish.into()))
                        .map_err(|_| failed("too many retained messages".to_owned()))?;
                }
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(failed(e.to_string())),
                Err(_) => return Err(failed("no answer in time".to_owned())),
            }
        }
        let thread = thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || forward(connection, &sender))
            .map_err(|e| failed(e.to_string()))?;
        Ok(Self { client, messages: Some(messages), thread: Some(thread) })
    }

    /// The next message; `None` where none came within `patience`.
    ///
    /// # Errors
    /// [`SubscriberError::Lost`], after everything received before the loss was handed out.
    pub fn receive(&self, patience: Duration) -> Result<Option<Received>, SubscriberError> {
        let messages = self.messages.as_ref().expect("present until it is dropped");
        match messages.recv_timeout(patience) {
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(cause)) => Err(SubscriberError::Lost(cause)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(SubscriberError::Lost("it ended before".to_owned()))
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // First the queue, so that a thread that waits for room in it goes on.
        self.messages = None;
        if self.client.try_disconnect().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It can only have ended by a panic, which its hook has reported.
            let _ = thread.join();
        }
    }
}

/// Runs until the connection or the receiver is gone.
fn forward(mut connection: Connection, sender: &SyncSender<Result<Received, String>>) {
    for event in connection.iter() {
        let sent = match event {
            Ok(Event::Incoming(Incoming::Publish(publish))) => sender.send(Ok(publish.into())),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => continue,
            Err(ConnectionError::RequestsDone) => return,
            Err(e) => {
                let _ = sender.send(Err(e.to_string()));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn an_address_is_read_with_its_defaults() {
        let plain: Endpoint = "mqtt://broker.example".parse().unwrap();
        assert_eq!(
            plain,
            Endpoint { host: "broker.example".into(), port: 1883, credentials: None }
        );
        let full: Endpoint = "mqtt://camera:p@ss:word@[::1]:2883/".parse().unwrap();
        let credentials = Some(("camera".into(), "p@ss:word".into()));
        assert_eq!(full, Endpoint { host: "::1".into(), port: 2883, credentials });
        assert_eq!(full.to_string(), "mqtt://camera@[::1]:2883");
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_without_repeating_it() {
        for text in [
            "",
            "broker.example",
            "http://u:secret@h",
            "mqtts://u:secret@h",
            "mqtt://u:secret@",
            "mqtt://secret@h",
            "mqtt://u:secret@h:0",
            "mqtt://u:secret@h:70000",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://h/secret",
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn nobody_listening_is_an_error_that_names_the_address_without_the_password() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let endpoint: Endpoint = format!("mqtt://u:secret@{closed}").parse().unwrap();
        let error = Subscriber::connect(&endpoint, "reader", "test", Duration::from_secs(10))
            .err()
            .unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains(&closed.to_string()) && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_listener_that_never_answers_is_given_up_in_time() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint: Endpoint =
            format!("mqtt://{}", silent.local_addr().unwrap()).parse().unwrap();
        let patience = Duration::from_millis(300);
        assert!(matches!(
            Subscriber::connect(&endpoint, "reader", "test", patience),
            Err(SubscriberError::Connect { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_address_panics_and_every_accepted_one_reads_back(
            text in "(mqtt://)?[a-z@:\\[\\]/0-9]{0,20}",
        ) {
            if let Ok(endpoint) = text.parse::<Endpoint>()
                && endpoint.credentials.is_none()
            {
                prop_assert_eq!(
                    endpoint.to_string().parse::<Endpoint>().expect("its own text"),
                    endpoint
                );
            }
        }
    }
}
