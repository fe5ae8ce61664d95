//! An MQTT 5 broker inside this process, for a machine that has none.
//!
//! Promises a broker on a free port of the loopback interface that accepts connections when
//! [`Broker::start`] returns, takes messages of at least 256 KiB and keeps retained ones. Nothing
//! is written to disk. What rumqttd logs arrives under [`LOG_TARGET`]; it calls every lost
//! connection an error, so whoever sets up the logger switches it off.
//!
//! Does not promise what a real broker does. Known of rumqttd 0.20, so that nobody tests a promise
//! against it that it cannot show: wrong credentials end the connection without a CONNACK that says
//! why; a shared or persistent session is lost with the process; and it cannot be stopped: its
//! threads live as long as the process.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Log target of everything that rumqttd says; `LOG_TARGET=off` silences it.
pub const LOG_TARGET: &str = "rumqttd";

/// Largest message taken, bytes: a candidate with its crop stays far below.
const MAX_PAYLOAD: usize = 1 << 20;
/// A port can be lost to another process between the question and the answer; so often it is asked
/// again.
const PORT_TRIES: usize = 5;
/// Connections tried on one port before it is given up; each waits up to [`CONNECT_TIMEOUT`] or is
/// refused at once.
const CONNECT_TRIES: usize = 200_000;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Why no broker runs.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The loopback interface gives no port.
    #[error(
        "no free port on the loopback interface: {0}; use `--broker mqtt://HOST` with a broker \
         that runs already"
    )]
    Port(io::Error),
    /// The thread could not be started.
    #[error("the embedded broker's thread does not start: {0}")]
    Thread(io::Error),
    /// Every port that was free a moment ago refuses connections.
    #[error(
        "the embedded broker accepts no connections; use `--broker mqtt://HOST` with a broker \
         that runs already"
    )]
    NotReady,
}

/// A running broker.
#[derive(Debug, Clone, Copy)]
pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker that lets everybody in.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start() -> Result<Self, BrokerError> {
        Self::start_with(None)
    }

    #[cfg(test)]
    /// Starts a broker that lets in only who knows `user` and `password`.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start_guarded(user: &str, password: &str) -> Result<Self, BrokerError> {
        Self::start_with(Some((user, password)))
    }

    #[cfg(test)]
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    fn start_with(credentials: Option<(&str, &str)>) -> Result<Self, BrokerError> {
        for _ in 0..PORT_TRIES {
            // The listener is dropped here; rumqttd binds by address and cannot take it over.
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr())
                .map_err(BrokerError::Port)?;
            let mut broker = rumqttd::Broker::new(settings(address, credentials));
            let server = thread::Builder::new()
                .name("demo-broker".to_owned())
                .spawn(move || {
                    // Returns only where it cannot listen; that shows below as a thread that has
                    // ended.
                    let _ = broker.start();
                })
                .map_err(BrokerError::Thread)?;
            for _ in 0..CONNECT_TRIES {
                if server.is_finished() {
                    break;
                }
                if TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok() {
                    return Ok(Self { address });
                }
                thread::yield_now();
            }
        }
        Err(BrokerError::NotReady)
    }
}

fn settings(listen: SocketAddr, credentials: Option<(&str, &str)>) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: MAX_PAYLOAD,
        max_inflight_count: 100,
        auth: credentials
            .map(|(user, password)| HashMap::from([(user.to_owned(), password.to_owned())])),
        external_auth: None,
        dynamic_filters: false,
    };
    let server = ServerSettings {
        name: "demo-mqtt5".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 * MAX_PAYLOAD,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::subscriber::{Endpoint, Received, Subscriber, SubscriberError};
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{LastWill, LastWillProperties, Packet, PublishProperties};
    use rumqttc::v5::{Client, Connection, Event, MqttOptions};

    const PATIENCE: Duration = Duration::from_secs(20);
    const TOPIC: &str = "test/v1/cam/candidate";

    fn subscribe(broker: &Broker, name: &str) -> Subscriber {
        let endpoint: Endpoint = broker.url().parse().expect("a broker's own address");
        Subscriber::connect(&endpoint, name, "test", PATIENCE)
            .expect("a broker on loopback accepts")
    }

    fn publisher(broker: &Broker, change: impl FnOnce(&mut MqttOptions)) -> (Client, Connection) {
        let address = broker.address();
        let mut options = MqttOptions::new("publisher", address.ip().to_string(), address.port());
        options.set_max_packet_size(Some(1 << 20));
        change(&mut options);
        let (client, mut connection) = Client::new(options, 8);
        until(&mut connection, |packet| matches!(packet, Packet::ConnAck(_)));
        (client, connection)
    }

    fn until(connection: &mut Connection, wanted: impl Fn(&Packet) -> bool) {
        for event in connection.iter() {
            if let Event::Incoming(packet) = event.expect("the connection holds")
                && wanted(&packet)
            {
                return;
            }
        }
    }

    fn publish(broker: &Broker, retain: bool, payload: Vec<u8>) {
        let (client, mut connection) = publisher(broker, |_| {});
        let properties = PublishProperties {
            content_type: Some("application/cloudevents+json".to_owned()),
            message_expiry_interval: Some(600),
            ..PublishProperties::default()
        };
        client
            .publish_with_properties(TOPIC, QoS::AtLeastOnce, retain, payload, properties)
            .expect("room for one");
        until(&mut connection, |packet| matches!(packet, Packet::PubAck(_)));
    }

    fn received(subscriber: &Subscriber) -> Received {
        subscriber.receive(PATIENCE).expect("connected").expect("a message in time")
    }

    #[test]
    fn what_is_published_arrives_with_its_content_type_and_what_is_left_of_its_expiry() {
        let broker = Broker::start().unwrap();
        let subscriber = subscribe(&broker, "reader");
        publish(&broker, false, b"{}".to_vec());
        let message = received(&subscriber);
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), (TOPIC, b"{}".as_slice()));
        assert_eq!(message.content_type.as_deref(), Some("application/cloudevents+json"));
        assert!((500..=600).contains(&message.expires_in.expect("an expiry").as_secs()));
        assert_eq!((message.qos, message.retained), (1, false));
    }

    #[test]
    fn a_message_of_256_kib_passes() {
        let broker = Broker::start().unwrap();
        let subscriber = subscribe(&broker, "reader");
        publish(&broker, false, vec![b'x'; 256 << 10]);
        assert_eq!(received(&subscriber).payload.len(), 256 << 10);
    }

    #[test]
    fn a_topic_that_nobody_has_subscribed_to_does_not_end_the_publishers_connection() {
        let broker = Broker::start().unwrap();
        let (client, mut connection) = publisher(&broker, |_| {});
        for _ in 0..2 {
            client.publish(TOPIC, QoS::AtLeastOnce, false, "unheard").expect("room for one");
            until(&mut connection, |packet| matches!(packet, Packet::PubAck(_)));
        }
    }

    #[test]
    fn a_retained_message_reaches_who_subscribes_later() {
        let broker = Broker::start().unwrap();
        publish(&broker, true, b"kept".to_vec());
        let message = received(&subscribe(&broker, "late"));
        assert_eq!((message.payload.as_slice(), message.retained), (b"kept".as_slice(), true));
        assert_eq!(message.content_type.as_deref(), Some("application/cloudevents+json"));
    }

    #[test]
    fn the_last_will_is_published_after_a_loss_and_not_after_a_clean_end() {
        let broker = Broker::start().unwrap();
        let subscriber = subscribe(&broker, "reader");
        let will = |options: &mut MqttOptions| {
            let properties = LastWillProperties {
                content_type: Some("application/json".to_owned()),
                delay_interval: None,
                payload_format_indicator: None,
                message_expiry_interval: None,
                response_topic: None,
                correlation_data: None,
                user_properties: Vec::new(),
            };
            options.set_last_will(LastWill::new(
                "test/v1/cam/status",
                "offline",
                QoS::AtLeastOnce,
                true,
                Some(properties),
            ));
        };
        let (client, mut connection) = publisher(&broker, will);
        client
            .publish(TOPIC, QoS::AtLeastOnce, false, "before the clean end")
            .expect("room for one");
        until(&mut connection, |packet| matches!(packet, Packet::PubAck(_)));
        client.disconnect().expect("room for one");
        for event in connection.iter() {
            if event.is_err() {
                break;
            }
        }
        assert_eq!(received(&subscriber).payload, b"before the clean end");

        let (client, connection) = publisher(&broker, will);
        // Dropping both closes the socket without DISCONNECT.
        drop((client, connection));
        let message = received(&subscriber);
        assert_eq!(
            (message.topic.as_str(), message.payload.as_slice()),
            ("test/v1/cam/status", b"offline".as_slice())
        );
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert!(received(&subscribe(&broker, "late")).retained);
    }

    #[test]
    fn a_guarded_broker_lets_in_only_who_knows_the_password() {
        let broker = Broker::start_guarded("demo", "secret").unwrap();
        let stranger: Endpoint = broker.url().parse().unwrap();
        let refused = Subscriber::connect(&stranger, "stranger", "test", PATIENCE).err();
        assert!(matches!(refused, Some(SubscriberError::Connect { .. })), "{refused:?}");
        let friend =
            Endpoint { credentials: Some(("demo".to_owned(), "secret".to_owned())), ..stranger };
        assert!(Subscriber::connect(&friend, "friend", "test", PATIENCE).is_ok());
    }
}
