//! An MQTT 5 broker inside this process, for a machine that has none.
//!
//! Promises:
//! * A broker on a free port of the loopback interface that accepts connections when
//!   [`Broker::start`] returns.
//! * It answers as `router` says, takes packets of up to 1 MiB, and writes nothing to disk.
//! * A client that is silent for one and a half times its keep-alive, that sends what is not MQTT 5
//!   or that does not read what it is sent loses its connection.
//!
//! Does not promise what a broker for a site does: no TLS, no access rules, no session that
//! outlives its connection. It cannot be stopped: its threads live as long as the process.

mod router;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet};

use router::{Admission, ConnectionId, Reply, Router};

/// Largest packet taken, bytes: a candidate with its crop stays far below.
const MAX_PACKET: u32 = 1 << 20;
/// Clients at once; more are not let in.
const MOST_CLIENTS: usize = 64;
/// Packets that may wait for a client's socket.
const MOST_UNWRITTEN: usize = 1024;
/// DISCONNECT without a reason (MQTT 5, 3.14.2.1), as the client library writes it and does not
/// read it.
const PLAIN_DISCONNECT: [u8; 2] = [0xE0, 0];
/// Time until a client has said CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
        Self::start_with(Admission::Anybody)
    }

    #[cfg(test)]
    /// Starts a broker that lets in only who knows `user` and `password`.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start_guarded(user: &str, password: &str) -> Result<Self, BrokerError> {
        Self::start_with(Admission::Only { user: user.to_owned(), password: password.to_owned() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    fn start_with(admission: Admission) -> Result<Self, BrokerError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(BrokerError::Port)?;
        let address = listener.local_addr().map_err(BrokerError::Port)?;
        let switchboard = Arc::new(Mutex::new(Switchboard {
            router: Router::new(admission, MAX_PACKET),
            sockets: HashMap::new(),
        }));
        thread::Builder::new()
            .name("demo-broker".to_owned())
            .spawn(move || accept(&listener, &switchboard))
            .map_err(BrokerError::Thread)?;
        Ok(Self { address })
    }
}

/// A connection as the router's replies reach it.
struct OpenSocket {
    packets: SyncSender<Packet>,
    stream: TcpStream,
}

/// The router, and where its replies go.
struct Switchboard {
    router: Router,
    sockets: HashMap<ConnectionId, OpenSocket>,
}

impl Switchboard {
    fn received(&mut self, from: ConnectionId, packet: Packet) {
        let replies = self.router.received(from, packet, Instant::now());
        self.follow(replies);
    }

    fn lost(&mut self, connection: ConnectionId) {
        self.sockets.remove(&connection);
        let replies = self.router.lost(connection, Instant::now());
        self.follow(replies);
    }

    fn follow(&mut self, replies: Vec<Reply>) {
        let mut stuck = Vec::new();
        for reply in replies {
            match reply {
                Reply::Send(to, packet) => {
                    if let Some(socket) = self.sockets.get(&to)
                        && socket.packets.try_send(*packet).is_err()
                    {
                        // Its reader sees the end and comes back through `lost`.
                        let _ = socket.stream.shutdown(Shutdown::Both);
                        stuck.push(to);
                    }
                }
                // Its writer ends after what waits, and shuts the socket down.
                Reply::Close(to) => drop(self.sockets.remove(&to)),
            }
        }
        for connection in stuck {
            self.lost(connection);
        }
    }
}

fn lock(switchboard: &Mutex<Switchboard>) -> MutexGuard<'_, Switchboard> {
    // Each call leaves it whole or panics in a test.
    switchboard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, switchboard: &Arc<Mutex<Switchboard>>) {
    let mut next: ConnectionId = 0;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        next += 1;
        // What cannot be set up is a client that cannot be served; it sees its connection end, and
        // its place is free again.
        if serve(next, stream, switchboard).is_err() {
            lock(switchboard).lost(next);
        }
    }
}

/// Starts a connection's two threads.
fn serve(
    id: ConnectionId,
    stream: TcpStream,
    switchboard: &Arc<Mutex<Switchboard>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    let (packets, unwritten) = mpsc::sync_channel(MOST_UNWRITTEN);
    {
        let mut switchboard = lock(switchboard);
        if switchboard.sockets.len() >= MOST_CLIENTS {
            return Ok(());
        }
        let stream = stream.try_clone()?;
        switchboard.sockets.insert(id, OpenSocket { packets, stream });
    }
    let writer = stream.try_clone()?;
    thread::Builder::new()
        .name("demo-broker-out".to_owned())
        .spawn(move || write(writer, &unwritten))?;
    let switchboard = Arc::clone(switchboard);
    thread::Builder::new().name("demo-broker-in".to_owned()).spawn(move || {
        // The reason is the client's: it went, was silent, or does not speak MQTT 5.
        let _ = read(id, stream, &switchboard);
        lock(&switchboard).lost(id);
    })?;
    Ok(())
}

/// Until the connection is closed from either side.
fn write(mut stream: TcpStream, unwritten: &Receiver<Packet>) {
    let mut buffer = BytesMut::new();
    for packet in unwritten {
        buffer.clear();
        if packet.write(&mut buffer, None).is_err() || stream.write_all(&buffer).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read(
    id: ConnectionId,
    mut stream: TcpStream,
    switchboard: &Mutex<Switchboard>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let next = if buffer.starts_with(&PLAIN_DISCONNECT) {
            buffer.advance(PLAIN_DISCONNECT.len());
            Ok(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)))
        } else {
            Packet::read(&mut buffer, Some(MAX_PACKET))
        };
        match next {
            Ok(packet) => {
                if let Packet::Connect(connect, ..) = &packet {
                    let seconds = u64::from(connect.keep_alive);
                    let silence = Duration::from_millis(1500 * seconds);
                    stream.set_read_timeout((seconds > 0).then_some(silence))?;
                }
                lock(switchboard).received(id, packet);
            }
            Err(PacketError::InsufficientBytes(_)) => match stream.read(&mut chunk)? {
                0 => return Ok(()),
                n => buffer.extend_from_slice(&chunk[..n]),
            },
            Err(_) => return Err(ErrorKind::InvalidData.into()),
        }
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
        let will = |payload: &'static str| {
            move |options: &mut MqttOptions| {
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
                    payload,
                    QoS::AtLeastOnce,
                    true,
                    Some(properties),
                ));
            }
        };
        let (client, mut connection) = publisher(&broker, will("of a clean end"));
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

        let (client, connection) = publisher(&broker, will("offline"));
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
