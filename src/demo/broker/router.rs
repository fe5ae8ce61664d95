//! What the demonstration's broker answers, without a socket: packets in, packets out, the clock
//! passed in.
//!
//! Promises, of MQTT 5:
//! * A message goes to each client with a matching subscription once, at the lower of both
//!   qualities of service; messages of one client arrive in their order.
//! * At QoS 1 never more are under way to a client than its `Receive Maximum`; a message larger
//!   than its `Maximum Packet Size` is not sent to it.
//! * A retained message reaches whoever subscribes later, with what is left of its expiry; an empty
//!   one takes it away.
//! * The last will is published where a connection ends without DISCONNECT, also where another
//!   takes its client id.
//! * A message that nobody has subscribed to is acknowledged with reason 0x10.
//!
//! Does not promise: QoS 2 (refused), shared subscriptions (refused), topic aliases (none are
//! allowed), sessions that outlive a connection, or a delayed will.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode,
    Filter, LastWill, Login, Packet, PingResp, PubAck, PubAckReason, Publish, PublishProperties,
    RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{QoS, matches, valid_filter, valid_topic};

/// Messages that may wait for a client's acknowledgements before its connection is ended.
const MOST_WAITING: usize = 4096;
/// Messages under way to one client, also where it would take more: the socket's queue is bounded.
const MOST_UNDER_WAY: usize = 256;
/// Retained messages kept.
const MOST_RETAINED: usize = 1024;

/// A connection, numbered by whoever accepts them; no number is used twice.
pub(super) type ConnectionId = u64;

/// What is to be done for a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// Write this to it.
    Send(ConnectionId, Box<Packet>),
    /// Close it, after everything sent to it before.
    Close(ConnectionId),
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// Everybody.
    Anybody,
    /// Whoever knows this user and password.
    #[cfg_attr(not(test), expect(dead_code, reason = "the demonstration lets everybody in"))]
    Only {
        /// User.
        user: String,
        /// Password.
        password: String,
    },
}

impl Admission {
    fn lets_in(&self, login: Option<&Login>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Only { user, password } => {
                login.is_some_and(|l| l.username == *user && l.password == *password)
            }
        }
    }
}

/// A client between CONNECT and its end.
struct ClientState {
    id: String,
    will: Option<LastWill>,
    filters: Vec<Filter>,
    /// Packet ids that it has not acknowledged.
    under_way: Vec<u16>,
    next_packet: u16,
    waiting: VecDeque<Publish>,
    receive_maximum: usize,
    largest: usize,
}

impl ClientState {
    /// The quality at which it wants `topic`.
    fn wants(&self, topic: &str) -> Option<QoS> {
        let wanted = self.filters.iter().filter(|f| matches(topic, &f.path)).map(|f| f.qos);
        wanted.max_by_key(|qos| *qos as u8)
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.next_packet = self.next_packet.checked_add(1).unwrap_or(1);
            if !self.under_way.contains(&self.next_packet) {
                return self.next_packet;
            }
        }
    }
}

struct RetainedMessage {
    publish: Publish,
    ends: Option<Instant>,
}

/// The state of all connections.
pub(super) struct Router {
    admission: Admission,
    largest: u32,
    clients: HashMap<ConnectionId, ClientState>,
    retained: BTreeMap<String, RetainedMessage>,
    replies: Vec<Reply>,
}

impl Router {
    /// Without clients; takes packets of at most `largest` bytes, and says so.
    pub(super) fn new(admission: Admission, largest: u32) -> Self {
        Self {
            admission,
            largest,
            clients: HashMap::new(),
            retained: BTreeMap::new(),
            replies: Vec::new(),
        }
    }

    /// `packet` came from `from`.
    pub(super) fn received(
        &mut self,
        from: ConnectionId,
        packet: Packet,
        now: Instant,
    ) -> Vec<Reply> {
        match (self.clients.contains_key(&from), packet) {
            (false, Packet::Connect(connect, will, login)) => {
                self.connect(from, connect, will, login.as_ref(), now);
            }
            (true, Packet::Publish(publish)) => self.publish(from, publish, now),
            (true, Packet::PubAck(ack)) => self.acknowledged(from, ack.pkid),
            (true, Packet::Subscribe(subscribe)) => self.subscribe(from, subscribe, now),
            (true, Packet::Unsubscribe(unsubscribe)) => {
                let client = self.clients.get_mut(&from).expect("it is connected");
                let mut reasons = Vec::new();
                for path in &unsubscribe.filters {
                    let before = client.filters.len();
                    client.filters.retain(|f| f.path != *path);
                    reasons.push(match client.filters.len() < before {
                        true => UnsubAckReason::Success,
                        false => UnsubAckReason::NoSubscriptionExisted,
                    });
                }
                let ack = UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None };
                self.send(from, Packet::UnsubAck(ack));
            }
            (true, Packet::PingReq(_)) => self.send(from, Packet::PingResp(PingResp)),
            (true, Packet::Disconnect(disconnect)) => {
                if disconnect.reason_code == DisconnectReasonCode::NormalDisconnection {
                    let client = self.clients.get_mut(&from).expect("it is connected");
                    client.will = None;
                }
                self.end(from, None, now);
            }
            // What only a server sends, what QoS 2 needs, and a CONNECT in the wrong place.
            (true, _) => self.end(from, Some(DisconnectReasonCode::ProtocolError), now),
            (false, _) => self.replies.push(Reply::Close(from)),
        }
        std::mem::take(&mut self.replies)
    }

    /// The connection ended, broke the protocol or was silent for too long.
    pub(super) fn lost(&mut self, connection: ConnectionId, now: Instant) -> Vec<Reply> {
        self.end(connection, None, now);
        std::mem::take(&mut self.replies)
    }

    fn send(&mut self, to: ConnectionId, packet: Packet) {
        self.replies.push(Reply::Send(to, Box::new(packet)));
    }

    fn connect(
        &mut self,
        from: ConnectionId,
        connect: Connect,
        will: Option<LastWill>,
        login: Option<&Login>,
        now: Instant,
    ) {
        let answer = |code, properties| {
            Packet::ConnAck(ConnAck { session_present: false, code, properties })
        };
        if !self.admission.lets_in(login) {
            self.send(from, answer(ConnectReturnCode::BadUserNamePassword, None));
            self.replies.push(Reply::Close(from));
            return;
        }
        let given = !connect.client_id.is_empty();
        let id = if given { connect.client_id } else { format!("unnamed-{from}") };
        let before = self.clients.iter().find(|(_, c)| c.id == id).map(|(before, _)| *before);
        if let Some(before) = before {
            self.end(before, Some(DisconnectReasonCode::SessionTakenOver), now);
        }
        let properties = connect.properties;
        let limit = |limit: Option<u32>| limit.map_or(usize::MAX, |l| l as usize);
        let client = ClientState {
            will,
            filters: Vec::new(),
            under_way: Vec::new(),
            next_packet: 0,
            waiting: VecDeque::new(),
            receive_maximum: properties
                .as_ref()
                .and_then(|p| p.receive_maximum)
                .map_or(MOST_UNDER_WAY, |most| usize::from(most).min(MOST_UNDER_WAY)),
            largest: limit(properties.as_ref().and_then(|p| p.max_packet_size)),
            id: id.clone(),
        };
        self.clients.insert(from, client);
        let properties = ConnAckProperties {
            session_expiry_interval: Some(0),
            receive_max: None,
            max_qos: Some(1),
            retain_available: None,
            max_packet_size: Some(self.largest),
            assigned_client_identifier: (!given).then_some(id),
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        };
        self.send(from, answer(ConnectReturnCode::Success, Some(properties)));
    }

    fn publish(&mut self, from: ConnectionId, publish: Publish, now: Instant) {
        let alias = publish.properties.as_ref().is_some_and(|p| p.topic_alias.is_some());
        let topic = std::str::from_utf8(&publish.topic)
            .ok()
            .filter(|t| !t.is_empty() && !t.starts_with('$') && valid_topic(t));
        let refusal = match topic {
            _ if alias => Some(DisconnectReasonCode::TopicAliasInvalid),
            None => Some(DisconnectReasonCode::TopicNameInvalid),
            Some(_) if publish.qos == QoS::ExactlyOnce => {
                Some(DisconnectReasonCode::QoSNotSupported)
            }
            Some(_) => None,
        };
        if let Some(reason) = refusal {
            return self.end(from, Some(reason), now);
        }
        let (qos, pkid) = (publish.qos, publish.pkid);
        let heard = self.distribute(publish, now);
        if qos == QoS::AtLeastOnce {
            let mut ack = PubAck::new(pkid, None);
            if heard == 0 {
                ack.reason = PubAckReason::NoMatchingSubscribers;
            }
            self.send(from, Packet::PubAck(ack));
        }
    }

    /// Hands a valid message to all who want it, and keeps it where it is to be retained. Returns
    /// how many wanted it.
    fn distribute(&mut self, publish: Publish, now: Instant) -> usize {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let to: Vec<(ConnectionId, QoS)> = self
            .clients
            .iter()
            .filter_map(|(id, client)| Some((*id, client.wants(&topic)?)))
            .collect();
        for (id, qos) in &to {
            let copy = Publish { retain: false, ..publish.clone() };
            self.deliver(*id, copy, *qos, now);
        }
        if publish.retain {
            self.retain(topic, publish, now);
        }
        to.len()
    }

    fn retain(&mut self, topic: String, publish: Publish, now: Instant) {
        if publish.payload.is_empty() {
            self.retained.remove(&topic);
            return;
        }
        if !self.retained.contains_key(&topic) && self.retained.len() >= MOST_RETAINED {
            // As a broker does whose memory is limited: told, because a test would look for it.
            log::warn!("demo broker: a retained message is not kept, there are {MOST_RETAINED}");
            return;
        }
        let expiry = publish.properties.as_ref().and_then(|p| p.message_expiry_interval);
        let ends = expiry.map(|s| now + Duration::from_secs(s.into()));
        self.retained.insert(topic, RetainedMessage { publish, ends });
    }

    /// Sends now or when acknowledgements make room.
    fn deliver(&mut self, to: ConnectionId, mut publish: Publish, wanted: QoS, now: Instant) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        publish.dup = false;
        publish.pkid = 0;
        if wanted == QoS::AtMostOnce {
            publish.qos = QoS::AtMostOnce;
        }
        if publish.size() + 2 > client.largest {
            return;
        }
        if publish.qos == QoS::AtMostOnce {
            return self.send(to, Packet::Publish(publish));
        }
        if client.waiting.len() >= MOST_WAITING {
            return self.end(to, Some(DisconnectReasonCode::QuotaExceeded), now);
        }
        client.waiting.push_back(publish);
        self.pump(to);
    }

    /// Sends what waits, up to the client's `Receive Maximum`.
    fn pump(&mut self, to: ConnectionId) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        let room = client.receive_maximum.saturating_sub(client.under_way.len());
        let now: Vec<Publish> = (0..room).map_while(|_| client.waiting.pop_front()).collect();
        for mut publish in now {
            let client = self.clients.get_mut(&to).expect("it is connected");
            publish.pkid = client.free_packet_id();
            client.under_way.push(publish.pkid);
            self.send(to, Packet::Publish(publish));
        }
    }

    fn acknowledged(&mut self, from: ConnectionId, pkid: u16) {
        let client = self.clients.get_mut(&from).expect("it is connected");
        client.under_way.retain(|p| *p != pkid);
        self.pump(from);
    }

    fn subscribe(&mut self, from: ConnectionId, subscribe: Subscribe, now: Instant) {
        let client = self.clients.get_mut(&from).expect("it is connected");
        let mut return_codes = Vec::new();
        let mut retained = Vec::new();
        for mut filter in subscribe.filters {
            if filter.path.starts_with("$share/") {
                return_codes.push(SubscribeReasonCode::SharedSubscriptionsNotSupported);
                continue;
            }
            if !valid_filter(&filter.path) {
                return_codes.push(SubscribeReasonCode::TopicFilterInvalid);
                continue;
            }
            if filter.qos == QoS::ExactlyOnce {
                filter.qos = QoS::AtLeastOnce;
            }
            return_codes.push(SubscribeReasonCode::Success(filter.qos));
            let new = !client.filters.iter().any(|f| f.path == filter.path);
            let wanted = match filter.retain_forward_rule {
                RetainForwardRule::OnEverySubscribe => true,
                RetainForwardRule::OnNewSubscribe => new,
                RetainForwardRule::Never => false,
            };
            if wanted {
                retained.push(filter.clone());
            }
            client.filters.retain(|f| f.path != filter.path);
            client.filters.push(filter);
        }
        let ack = SubAck { pkid: subscribe.pkid, return_codes, properties: None };
        self.send(from, Packet::SubAck(ack));

        self.retained.retain(|_, kept| kept.ends.is_none_or(|ends| ends > now));
        let mut due = Vec::new();
        for filter in retained {
            for kept in self.retained.iter().filter(|(topic, _)| matches(topic, &filter.path)) {
                due.push((kept.1.left(now), filter.qos));
            }
        }
        for (publish, qos) in due {
            self.deliver(from, publish, qos, now);
        }
    }

    /// Ends a connection, tells it `why` where there is something to tell, and publishes its will.
    fn end(&mut self, connection: ConnectionId, why: Option<DisconnectReasonCode>, now: Instant) {
        let Some(client) = self.clients.remove(&connection) else { return };
        if let Some(why) = why {
            self.send(connection, Packet::Disconnect(Disconnect::new(why)));
        }
        self.replies.push(Reply::Close(connection));
        let Some(will) = client.will else { return };
        let mut publish = Publish::new(
            String::from_utf8_lossy(&will.topic),
            if will.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            will.message,
            will.properties.map(|p| PublishProperties {
                payload_format_indicator: p.payload_format_indicator,
                message_expiry_interval: p.message_expiry_interval,
                content_type: p.content_type,
                response_topic: p.response_topic,
                correlation_data: p.correlation_data,
                user_properties: p.user_properties,
                ..PublishProperties::default()
            }),
        );
        publish.retain = will.retain;
        self.distribute(publish, now);
    }
}

impl RetainedMessage {
    /// As it is sent at `now`.
    fn left(&self, now: Instant) -> Publish {
        let mut publish = self.publish.clone();
        publish.retain = true;
        if let (Some(properties), Some(ends)) = (&mut publish.properties, self.ends) {
            let left = ends.saturating_duration_since(now).as_secs();
            properties.message_expiry_interval = Some(u32::try_from(left).unwrap_or(u32::MAX));
        }
        publish
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::{ConnectProperties, PingReq};

    fn router() -> Router {
        Router::new(Admission::Anybody, 1 << 20)
    }

    fn connect(id: &str, receive_maximum: Option<u16>, will: Option<LastWill>) -> Packet {
        let properties = receive_maximum
            .map(|m| ConnectProperties { receive_maximum: Some(m), ..ConnectProperties::new() });
        let connect =
            Connect { keep_alive: 30, client_id: id.to_owned(), clean_start: true, properties };
        Packet::Connect(connect, will, None)
    }

    fn subscribe(path: &str) -> Packet {
        let mut subscribe = Subscribe::new(Filter::new(path, QoS::AtLeastOnce), None);
        subscribe.pkid = 1;
        Packet::Subscribe(subscribe)
    }

    fn message(topic: &str, payload: &str, pkid: u16) -> Publish {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.as_bytes().to_vec(), None);
        publish.pkid = pkid;
        publish
    }

    /// Payloads sent to `to`.
    fn payloads(replies: &[Reply], to: ConnectionId) -> Vec<String> {
        let payload = |reply: &Reply| match reply {
            Reply::Send(id, packet) if *id == to => match packet.as_ref() {
                Packet::Publish(publish) => {
                    Some(String::from_utf8_lossy(&publish.payload).into_owned())
                }
                _ => None,
            },
            _ => None,
        };
        replies.iter().filter_map(payload).collect()
    }

    #[test]
    fn no_more_are_under_way_than_the_client_takes_and_the_rest_follows_in_order() {
        let (mut r, now) = (router(), Instant::now());
        r.received(1, connect("reader", Some(2), None), now);
        r.received(1, subscribe("a/#"), now);
        r.received(2, connect("writer", None, None), now);
        let mut sent = Vec::new();
        for n in 1..=5 {
            sent.extend(r.received(2, Packet::Publish(message("a/b", &n.to_string(), n)), now));
        }
        assert_eq!(payloads(&sent, 1), ["1", "2"]);
        let after = r.received(1, Packet::PubAck(PubAck::new(1, None)), now);
        assert_eq!(payloads(&after, 1), ["3"]);
        let after = r.received(1, Packet::PubAck(PubAck::new(2, None)), now);
        assert_eq!(payloads(&after, 1), ["4"]);
    }

    #[test]
    fn what_nobody_wants_is_acknowledged_with_the_reason() {
        let (mut r, now) = (router(), Instant::now());
        r.received(1, connect("writer", None, None), now);
        let replies = r.received(1, Packet::Publish(message("a", "x", 7)), now);
        let ack = PubAck { reason: PubAckReason::NoMatchingSubscribers, ..PubAck::new(7, None) };
        assert_eq!(replies, [Reply::Send(1, Box::new(Packet::PubAck(ack)))]);
    }

    #[test]
    fn a_retained_message_ends_with_its_expiry_and_an_empty_one_takes_it_away() {
        let (mut r, now) = (router(), Instant::now());
        r.received(1, connect("writer", None, None), now);
        let retained = |payload: &str| {
            let mut publish = message("a/b", payload, 1);
            publish.retain = true;
            publish.properties = Some(PublishProperties {
                message_expiry_interval: Some(10),
                ..PublishProperties::default()
            });
            Packet::Publish(publish)
        };
        r.received(1, retained("kept"), now);
        let left = |r: &mut Router, at| payloads(&r.received(1, subscribe("a/+"), at), 1);
        assert_eq!(left(&mut r, now + Duration::from_secs(9)), ["kept"]);
        assert!(left(&mut r, now + Duration::from_secs(10)).is_empty());
        r.received(1, retained("again"), now);
        r.received(1, retained(""), now);
        assert!(left(&mut r, now).is_empty());
    }

    #[test]
    fn a_second_client_of_the_same_id_ends_the_first_and_its_will_is_published() {
        let (mut r, now) = (router(), Instant::now());
        r.received(1, connect("reader", None, None), now);
        r.received(1, subscribe("#"), now);
        let will = LastWill::new("gone", "away", QoS::AtLeastOnce, false, None);
        r.received(2, connect("cam", None, Some(will)), now);
        let replies = r.received(3, connect("cam", None, None), now);
        assert_eq!(payloads(&replies, 1), ["away"]);
        let taken = Disconnect::new(DisconnectReasonCode::SessionTakenOver);
        assert!(replies.contains(&Reply::Send(2, Box::new(Packet::Disconnect(taken)))));
        assert!(replies.contains(&Reply::Close(2)));
        assert!(r.lost(2, now).is_empty(), "its end was followed already");
    }

    #[test]
    fn a_will_is_not_published_after_a_clean_end() {
        let (mut r, now) = (router(), Instant::now());
        r.received(1, connect("reader", None, None), now);
        r.received(1, subscribe("#"), now);
        let will = LastWill::new("gone", "away", QoS::AtLeastOnce, false, None);
        r.received(2, connect("cam", None, Some(will)), now);
        let end = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        assert_eq!(r.received(2, Packet::Disconnect(end), now), [Reply::Close(2)]);
    }

    #[test]
    fn whoever_does_not_begin_with_connect_or_breaks_the_protocol_is_sent_away() {
        let (mut r, now) = (router(), Instant::now());
        assert_eq!(r.received(1, Packet::PingReq(PingReq), now), [Reply::Close(1)]);
        r.received(2, connect("writer", None, None), now);
        let mut twice = message("a", "x", 1);
        twice.qos = QoS::ExactlyOnce;
        let replies = r.received(2, Packet::Publish(twice), now);
        let why = Disconnect::new(DisconnectReasonCode::QoSNotSupported);
        assert_eq!(replies, [Reply::Send(2, Box::new(Packet::Disconnect(why))), Reply::Close(2)]);
    }

    #[test]
    fn a_message_larger_than_the_client_takes_is_not_sent_to_it() {
        let (mut r, now) = (router(), Instant::now());
        let small = Connect {
            keep_alive: 30,
            client_id: "small".to_owned(),
            clean_start: true,
            properties: Some(ConnectProperties {
                max_packet_size: Some(64),
                ..ConnectProperties::new()
            }),
        };
        r.received(1, Packet::Connect(small, None, None), now);
        r.received(1, subscribe("#"), now);
        r.received(2, connect("writer", None, None), now);
        let replies = r.received(2, Packet::Publish(message("a", &"x".repeat(64), 1)), now);
        assert!(payloads(&replies, 1).is_empty());
        let replies = r.received(2, Packet::Publish(message("a", "x", 2)), now);
        assert_eq!(payloads(&replies, 1), ["x"]);
    }
}
