//! What delivery promises, against real brokers: mosquitto where it is installed (with `CI=true` it
//! must be) and the embedded broker.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::Publish;
use support::event::status;
use support::wire::packet;
use support::{Link, Mosquitto, Subscriber, wait_for};
use time::OffsetDateTime;
use watchpost::clock::Clock;
use watchpost::delivery::event::{Candidate, CloudEvent, EventId, State, Stats, Status};
use watchpost::delivery::outbox::{
    EventRecord, MemoryStore, OutboxStoreError, QueuePosition, Recovered, Store, StoreHealth,
    Stored,
};
use watchpost::delivery::{BrokerConfig, Delivery, DeviceId, Snapshot, StopReport};

const DEADLINE: Duration = Duration::from_secs(20);

fn config(port: u16) -> BrokerConfig {
    BrokerConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        root: "site".to_owned(),
        ..BrokerConfig::default()
    }
}

fn start(config: &BrokerConfig) -> Delivery {
    let _ = env_logger::builder().is_test(true).try_init();
    let device = DeviceId::new("cam-7").expect("a plain id");
    Delivery::start(config, &device, status(), Clock::default()).expect("a good configuration")
}

/// As large as real ones are, so that no limit of a few KiB stays unseen.
fn candidate(number: u32) -> Candidate {
    support::event::candidate(number.into(), 12_000)
}

fn publish(delivery: &Delivery, number: u32) -> EventId {
    delivery
        .publish_candidate(candidate(number), Clock::default().now())
        .expect("delivery takes it")
}

fn read(message: &Publish) -> CloudEvent<Candidate> {
    serde_json::from_slice(&message.payload).expect("a candidate")
}

fn state_in(message: &Publish) -> State {
    serde_json::from_slice::<CloudEvent<Status>>(&message.payload).expect("a status").data.state
}

fn connected(delivery: &Delivery) {
    wait_for("the connection", || delivery.snapshot().connected.then_some(()));
}

/// Ids of the candidates that `subscriber` gets until it has seen all of `expected`, first
/// occurrences in order.
fn first_occurrences(subscriber: &Subscriber, expected: usize) -> Vec<EventId> {
    let mut ids = Vec::new();
    while ids.len() < expected {
        let id = read(&subscriber.next()).id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn stopped(outcome: &StopReport) {
    assert!(outcome.stopped_published, "{outcome:?}");
    assert_eq!(outcome.undelivered, 0, "{outcome:?}");
}

fn a_candidate_arrives_as_decided_and_is_not_retained(port: u16) {
    let subscriber = Subscriber::new(port, "site/v1/+/candidate");
    let delivery = start(&config(port));
    let decided = candidate(1);
    let id = delivery
        .publish_candidate(decided.clone(), Clock::default().now())
        .expect("delivery takes it");
    let message = subscriber.next();
    assert_eq!(message.topic, "site/v1/cam-7/candidate");
    let event = read(&message);
    assert_eq!((event.id, event.data), (id, decided));
    assert_eq!(event.source, "cam-7");
    let properties = message.properties.as_ref().expect("MQTT 5 properties");
    assert_eq!(properties.content_type.as_deref(), Some("application/cloudevents+json"));
    assert!(
        properties.message_expiry_interval.is_some_and(|s| s > 3000 && s <= 3600),
        "{properties:?}"
    );
    assert!(properties.user_properties.iter().any(|(k, _)| k == "sentat"));

    // The retained status comes to a late subscriber before anything that is published now; a
    // retained candidate would too.
    let late = Subscriber::new(port, "site/#");
    let marker = publish(&delivery, 2);
    loop {
        let message = late.next();
        if message.topic.ends_with(b"/candidate") {
            assert!(!message.retain, "a candidate is never retained");
            assert_eq!(read(&message).id, marker);
            break;
        }
    }
    wait_for("both acknowledgements", || (delivery.snapshot().outbox.delivered == 2).then_some(()));
    stopped(&delivery.stop(DEADLINE));
}

fn status_tells_online_lost_and_stopped_apart(port: u16) {
    let subscriber = Subscriber::new(port, "site/v1/cam-7/status");
    let delivery = start(&config(port));
    assert_eq!(state_in(&subscriber.next()), State::Online);
    delivery.set_status(Status { state: State::Blind, matching: false, ..status() });
    assert_eq!(state_in(&subscriber.next()), State::Blind);
    drop(delivery);
    assert_eq!(state_in(&subscriber.next()), State::Offline);
    let late = Subscriber::new(port, "site/v1/cam-7/status").next();
    assert!(late.retain);
    assert_eq!(state_in(&late), State::Offline);
    let delivery = start(&config(port));
    assert_eq!(state_in(&subscriber.next()), State::Online);
    stopped(&delivery.stop(DEADLINE));
    assert_eq!(state_in(&subscriber.next()), State::Stopped);
    let late = Subscriber::new(port, "site/v1/cam-7/status").next();
    assert!(late.retain);
    assert_eq!(state_in(&late), State::Stopped, "a clean end is not overwritten by the last will");
}

fn counts_arrive_and_are_not_retained(port: u16) {
    let subscriber = Subscriber::new(port, "site/v1/cam-7/stats");
    let delivery = start(&config(port));
    connected(&delivery);
    delivery.publish_stats(Stats {
        since: OffsetDateTime::now_utc(),
        counts: [("frames".to_owned(), 7)].into(),
        drops: [].into(),
        gauges: [].into(),
    });
    let message = subscriber.next();
    assert!(!message.retain);
    let event: CloudEvent<Stats> = serde_json::from_slice(&message.payload).expect("counts");
    assert_eq!(event.data.counts["frames"], 7);
    stopped(&delivery.stop(DEADLINE));
}

fn what_was_queued_without_a_broker_arrives_in_order(port: u16) {
    let link = Link::to(port);
    let delivery = start(&config(link.port));
    let ids: Vec<EventId> = (0..50).map(|n| publish(&delivery, n)).collect();
    wait_for("a failed connection", || delivery.snapshot().last_failure);
    let subscriber = Subscriber::new(port, "site/v1/cam-7/candidate");
    link.open();
    assert_eq!(first_occurrences(&subscriber, 50), ids);
    stopped(&delivery.stop(DEADLINE));
    assert_eq!(subscriber.so_far().len(), 0, "each once");
}

fn what_was_not_acknowledged_before_a_cut_is_sent_again_under_the_same_id(port: u16) {
    let link = Link::to(port);
    link.open();
    let subscriber = Subscriber::new(port, "site/v1/cam-7/candidate");
    let delivery = start(&config(link.port));
    connected(&delivery);
    let first = publish(&delivery, 0);
    assert_eq!(read(&subscriber.next()).id, first);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    link.deafen();
    let ids: Vec<EventId> = (1..=5).map(|n| publish(&delivery, n)).collect();
    assert_eq!(
        first_occurrences(&subscriber, 5),
        ids,
        "they reach the broker; its acknowledgements are lost"
    );
    assert_eq!(delivery.snapshot().outbox_events, 5);
    link.cut();
    wait_for("the loss to be noticed", || (!delivery.snapshot().connected).then_some(()));
    let last = publish(&delivery, 6);
    link.open();
    let mut again = first_occurrences(&subscriber, 6);
    assert_eq!(again.pop(), Some(last), "new ones come behind");
    assert_eq!(again, ids, "the same ids in the same order");
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    assert_eq!((outcome.snapshot.outbox.repeated, outcome.snapshot.outbox.delivered), (5, 7));
}

macro_rules! against_mosquitto {
    ($($name:ident),+ $(,)?) => {
        mod mosquitto {
            $(#[test] fn $name() {
                if let Some(broker) = super::Mosquitto::running() {
                    super::$name(broker.port);
                }
            })+
        }
    };
}

against_mosquitto!(
    a_candidate_arrives_as_decided_and_is_not_retained,
    status_tells_online_lost_and_stopped_apart,
    counts_arrive_and_are_not_retained,
    what_was_queued_without_a_broker_arrives_in_order,
    what_was_not_acknowledged_before_a_cut_is_sent_again_under_the_same_id,
);

#[cfg(feature = "demo-broker")]
macro_rules! against_the_embedded_broker {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(super::support::embedded_broker()); })+
        }
    };
}

#[cfg(feature = "demo-broker")]
against_the_embedded_broker!(
    a_candidate_arrives_as_decided_and_is_not_retained,
    status_tells_online_lost_and_stopped_apart,
    counts_arrive_and_are_not_retained,
    what_was_queued_without_a_broker_arrives_in_order,
    what_was_not_acknowledged_before_a_cut_is_sent_again_under_the_same_id,
);

#[test]
fn refused_credentials_are_told_with_the_remedy_and_no_busy_loop() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let passwords = broker.add_password("cam", "right-password");
    broker.start(&format!("allow_anonymous false\npassword_file {}\n", passwords.display()));
    let file = broker.write("password", "wrong-password\n");
    let config = BrokerConfig {
        username: "cam".to_owned(),
        password_file: Some(file.clone()),
        ..config(broker.port)
    };
    let delivery = start(&config);
    let id = publish(&delivery, 1);
    let failure = wait_for("the refusal", || delivery.snapshot().last_failure);
    let refused = Instant::now();
    assert!(
        failure.contains("broker.password_file") && !failure.contains("wrong-password"),
        "{failure}"
    );
    assert_eq!((delivery.snapshot().connections, delivery.snapshot().attempts), (0, 1));

    // The file is read again at each attempt: setting it right is enough.
    std::fs::write(&file, "right-password\n").expect("writable");
    let subscriber = Subscriber::with(broker.port, "site/#", |o| {
        o.set_credentials("cam", "right-password");
    });
    connected(&delivery);
    assert!(
        refused.elapsed() > Duration::from_millis(1500),
        "the second attempt came after {:?}",
        refused.elapsed()
    );
    assert_eq!(delivery.snapshot().attempts, 2);
    wait_for("the candidate", || {
        subscriber
            .so_far()
            .iter()
            .any(|m| m.topic.ends_with(b"candidate") && read(m).id == id)
            .then_some(())
    });
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn a_broker_restarted_without_persistence_loses_nothing() {
    let Some(mut broker) = Mosquitto::running() else { return };
    let link = Link::to(broker.port);
    link.open();
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let delivery = start(&config(link.port));
    connected(&delivery);
    let mut ids = vec![publish(&delivery, 0)];
    assert_eq!(first_occurrences(&subscriber, 1), ids);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));

    // Three are on their way when the broker dies: their acknowledgements are lost and so is the
    // session.
    link.deafen();
    ids = (1..=3).map(|n| publish(&delivery, n)).collect();
    assert_eq!(first_occurrences(&subscriber, 3), ids);
    broker.kill();
    link.cut();
    ids.extend((4..=8).map(|n| publish(&delivery, n)));
    broker.start("allow_anonymous true\n");
    subscriber.ready();
    link.open();
    assert_eq!(first_occurrences(&subscriber, 8), ids);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    let counters = outcome.snapshot.outbox;
    assert_eq!(counters.delivered, 9);
    // The three, and whatever went into the socket before the cut was noticed.
    assert!((3..=8).contains(&counters.repeated), "{counters:?}");
}

#[test]
fn a_refused_publish_is_not_delivered_until_the_access_list_allows_it() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let acl = broker.write("acl", "topic read #\ntopic write site/v1/cam-7/status\n");
    broker.start(&format!("allow_anonymous true\nacl_file {}\n", acl.display()));
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let delivery = start(&config(broker.port));
    let ids: Vec<EventId> = (0..3).map(|n| publish(&delivery, n)).collect();
    let refused = wait_for("a refusal, and all three to be taken", || {
        Some(delivery.snapshot()).filter(|s| s.outbox.refusals > 0 && s.outbox_events == 3)
    });
    assert_eq!(refused.outbox.delivered, 0);
    broker.write("acl", "topic readwrite #\n");
    broker.reload();
    assert_eq!(first_occurrences(&subscriber, 3), ids);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    assert_eq!(outcome.snapshot.outbox.delivered, 3);
}

#[test]
fn a_second_client_of_the_same_id_is_hinted_at_and_both_are_not_thrown_out_for_ever() {
    let Some(broker) = Mosquitto::running() else { return };
    let delivery = start(&config(broker.port));
    connected(&delivery);
    // Mosquitto 2.0 closes the earlier connection without a word, later versions say why.
    let twin = Subscriber::with(broker.port, "site/#", |o| {
        o.set_client_id("cam-7".to_owned());
    });
    let failure = wait_for("the take-over", || delivery.snapshot().last_failure);
    assert!(failure.contains("broker.client_id"), "{failure}");
    // The twin comes back at once whenever it is thrown out; the device backs off, so the two do
    // not spin.
    let began = Instant::now();
    let before = delivery.snapshot().attempts;
    wait_for("three more attempts", || (delivery.snapshot().attempts >= before + 3).then_some(()));
    assert!(began.elapsed() > Duration::from_millis(250 + 500 + 1000), "{:?}", began.elapsed());
    drop(twin);
    delivery.stop(DEADLINE);
}

/// Accepts connections and answers the first packet of each with `answers`, one a connection, then
/// leaves it open.
fn fake_broker(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&answer);
            open.push(stream);
        }
    });
    port
}

#[test]
fn a_broker_that_takes_the_connection_and_says_nothing_is_left_and_blocks_no_caller() {
    let port = fake_broker(vec![Vec::new(), Vec::new()]);
    let delivery = start(&config(port));
    let began = Instant::now();
    for number in 0..64 {
        publish(&delivery, number);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    let failure = wait_for("the time-out", || delivery.snapshot().last_failure);
    assert!(failure.contains("does not answer"), "{failure}");
    assert_eq!(delivery.stop(Duration::ZERO).undelivered, 64);
}

#[test]
fn on_the_wire_a_kept_session_is_asked_for_and_a_repetition_carries_the_dup_flag() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let delivery = start(&config(listener.local_addr().expect("it is bound").port()));
    publish(&delivery, 1);
    let mut buffer = vec![0; 64 * 1024];
    let mut accept = |session_present: u8| {
        let (mut stream, _) = listener.accept().expect("the device connects");
        stream.set_read_timeout(Some(support::PATIENCE)).expect("a duration");
        let n = stream.read(&mut buffer).expect("CONNECT");
        assert_eq!(&buffer[3..10], b"\0\x04MQTT\x05", "MQTT 5");
        let flags = buffer[10];
        assert_eq!(flags & 0b0000_0010, 0, "no clean start");
        assert_eq!(flags & 0b0011_1100, 0b0010_1100, "a last will at QoS 1, retained");
        assert!(String::from_utf8_lossy(&buffer[..n]).contains("offline"));
        stream.write_all(&[0x20, 0x03, session_present, 0x00, 0x00]).expect("CONNACK");
        stream
    };
    let mut first = accept(0);
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    while !seen.windows(6).any(|w| w == b"E-0001") {
        let n = first.read(&mut part).expect("the status and the candidate");
        seen.extend_from_slice(&part[..n]);
    }
    assert_eq!(seen[0], 0b0011_0011, "first the status: PUBLISH, QoS 1, retained");
    drop(first);
    let mut second = accept(1);
    let mut header = [0];
    second.read_exact(&mut header).expect("a publish");
    assert_eq!(
        header[0], 0b0011_1010,
        "first what was not acknowledged: PUBLISH, DUP, QoS 1, not retained"
    );
    assert_eq!(delivery.stop(Duration::ZERO).undelivered, 1);
}

#[test]
fn no_answer_of_a_broker_ends_delivery() {
    const ACCEPTED: &[u8] = &[0x20, 0x03, 0x00, 0x00, 0x00];
    let after = |bytes: &[u8]| [ACCEPTED, bytes].concat();
    let port = fake_broker(vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
        // An acknowledgement of nothing, with a reason that does not exist; a publish without
        // topic; all ones.
        after(&[0x40, 0x03, 0x00, 0x63, 0xfe]),
        after(&[0x30, 0x01, 0x00]),
        after(&[0xff; 64]),
    ]);
    let delivery = start(&config(port));
    publish(&delivery, 1);
    wait_for("all answers", || (delivery.snapshot().attempts >= 5).then_some(()));
    assert!(
        delivery.publish_candidate(candidate(2), Clock::default().now()).is_ok(),
        "delivery still works"
    );
    assert_eq!(delivery.stop(Duration::ZERO).undelivered, 2);
}

#[test]
fn without_a_broker_the_end_comes_at_once_and_with_candidates_at_the_deadline() {
    let delivery = start(&config(support::free_port()));
    wait_for("a failed connection", || delivery.snapshot().last_failure);
    let began = Instant::now();
    let outcome = delivery.stop(DEADLINE);
    assert!(began.elapsed() < DEADLINE / 2, "nothing is left to wait for");
    assert_eq!((outcome.stopped_published, outcome.undelivered), (false, 0));

    let delivery = start(&config(support::free_port()));
    publish(&delivery, 1);
    let began = Instant::now();
    let outcome = delivery.stop(Duration::from_millis(700));
    assert!(began.elapsed() >= Duration::from_millis(700) && began.elapsed() < DEADLINE);
    assert_eq!(
        (outcome.stopped_published, outcome.undelivered, outcome.lost),
        (false, 1, 1),
        "what is lost is told"
    );
}

/// Panics at the first reading, as a stand-in for a panic anywhere in the thread.
#[derive(Default)]
struct PanicsOnce {
    inner: MemoryStore,
    panicked: bool,
}

impl Store for PanicsOnce {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        self.inner.recover()
    }
    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        self.inner.append_together(first, records)
    }
    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        assert!(std::mem::replace(&mut self.panicked, true), "this panic belongs to the test");
        self.inner.read(position)
    }
    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        self.inner.next(from)
    }
    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        self.inner.next_expired(from, deadline)
    }
    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        self.inner.remove(position)
    }
    fn health(&self) -> StoreHealth {
        self.inner.health()
    }
}

#[test]
fn a_panic_in_the_thread_costs_a_connection_and_no_candidate() {
    let Some(broker) = Mosquitto::running() else { return };
    let port = broker.port;
    let subscriber = Subscriber::new(port, "site/v1/cam-7/candidate");
    let device = DeviceId::new("cam-7").expect("a plain id");
    let store = Box::new(PanicsOnce::default());
    let delivery = Delivery::start_with(&config(port), &device, status(), Clock::default(), store)
        .expect("starts");
    let ids = [publish(&delivery, 1), publish(&delivery, 2)];
    assert_eq!(first_occurrences(&subscriber, 2), ids);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    assert_eq!(outcome.snapshot.panics, 1);
}

#[test]
fn a_link_that_died_without_a_word_is_noticed_and_nothing_on_it_is_lost() {
    let Some(broker) = Mosquitto::running() else { return };
    let link = Link::to(broker.port);
    link.open();
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let delivery = start(&BrokerConfig { keep_alive_s: 5, ..config(link.port) });
    connected(&delivery);
    let mut ids = vec![publish(&delivery, 0)];
    assert_eq!(first_occurrences(&subscriber, 1), ids);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    link.die();
    let began = Instant::now();
    ids = (1..=40).map(|n| publish(&delivery, n)).collect();
    assert!(began.elapsed() < Duration::from_secs(5), "no caller waits for the link");
    let failure = wait_for("the silence to be noticed", || delivery.snapshot().last_failure);
    assert!(failure.contains("the link is dead"), "{failure}");
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "after one or two signs of life: {:?}",
        began.elapsed()
    );
    link.cut();
    link.open();
    assert_eq!(first_occurrences(&subscriber, 40), ids);
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn a_broker_restarted_with_its_persistence_keeps_the_session_and_what_a_subscriber_missed() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start_persistent("allow_anonymous true\n");
    let link = Link::to(broker.port);
    link.open();
    let reader = |o: &mut rumqttc::v5::MqttOptions| {
        o.set_client_id("reader".to_owned())
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3600));
    };
    let subscriber = Subscriber::with(broker.port, "site/v1/cam-7/candidate", reader);
    let delivery = start(&config(link.port));
    connected(&delivery);
    let mut ids = vec![publish(&delivery, 0)];
    assert_eq!(first_occurrences(&subscriber, 1), ids);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    // The subscriber leaves; the broker keeps two for it. Then three are on their way when the
    // broker is restarted.
    drop(subscriber);
    ids = vec![publish(&delivery, 1), publish(&delivery, 2)];
    wait_for("the acknowledgements", || (delivery.snapshot().outbox.delivered == 3).then_some(()));
    link.deafen();
    ids.extend((3..=5).map(|n| publish(&delivery, n)));
    broker.stop();
    link.cut();
    broker.start_persistent("allow_anonymous true\n");
    link.open();
    let subscriber = Subscriber::with(broker.port, "site/v1/cam-7/candidate", reader);
    assert_eq!(first_occurrences(&subscriber, 5), ids);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    assert_eq!(outcome.snapshot.outbox.delivered, 6);
}

/// A broker that acknowledges the candidates' publishes with these reasons, one after the other,
/// and then with success. `end` is what it says instead of the first acknowledgement.
fn reasons(mut reasons: std::collections::VecDeque<u8>, mut end: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while let Ok((first, body)) = packet(&mut stream) {
                let answer = match first >> 4 {
                    1 => vec![0x20, 0x03, 0x00, 0x00, 0x00],
                    3 if first & 0b110 != 0 => {
                        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        let id = &body[topic..topic + 2];
                        let is_candidate = body[2..topic].ends_with(b"/candidate");
                        match end.take_if(|_| is_candidate) {
                            Some(end) => end,
                            None => {
                                let reason =
                                    if is_candidate { reasons.pop_front().unwrap_or(0) } else { 0 };
                                vec![0x40, 0x04, id[0], id[1], reason, 0x00]
                            }
                        }
                    }
                    8 => vec![0x90, 0x06, body[0], body[1], 0x00, 0x01, 0x01, 0x01],
                    12 => vec![0xD0, 0x00],
                    _ => Vec::new(),
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_quota_that_is_exceeded_and_a_broker_s_own_error_are_not_success() {
    // Quota exceeded, implementation specific error, no matching subscribers.
    let delivery = start(&config(reasons([0x97, 0x83, 0x10].into(), None)));
    publish(&delivery, 1);
    let refused =
        wait_for("the refusals", || Some(delivery.snapshot()).filter(|s| s.outbox.refusals == 2));
    assert_eq!((refused.outbox.delivered, refused.outbox_events), (0, 1), "refused is kept");
    let done = wait_for("success", || Some(delivery.snapshot()).filter(|s| s.outbox_events == 0));
    assert_eq!((done.outbox.delivered, done.outbox.unheard, done.outbox.given_up), (1, 1, 0));
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn a_candidate_that_nobody_listened_to_waits_for_the_subscriber() {
    let Some(broker) = Mosquitto::running() else { return };
    let delivery = start(&config(broker.port));
    let ids: Vec<EventId> = (0..3).map(|n| publish(&delivery, n)).collect();
    let waiting = wait_for("the broker to say so, and all to be taken", || {
        Some(delivery.snapshot()).filter(|s| s.outbox.unheard > 0 && s.outbox_events == 3)
    });
    assert_eq!(waiting.outbox.delivered, 0);
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    assert_eq!(first_occurrences(&subscriber, 3), ids);
    stopped(&delivery.stop(DEADLINE));

    let content = BrokerConfig { keep_unheard: false, ..config(broker.port) };
    drop(subscriber);
    let delivery = start(&content);
    publish(&delivery, 4);
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn a_take_over_that_the_broker_names_is_told_with_the_remedy_and_loses_nothing() {
    // DISCONNECT, session taken over.
    let delivery = start(&config(reasons([].into(), Some(vec![0xE0, 0x02, 0x8E, 0x00]))));
    publish(&delivery, 1);
    let failure = wait_for("the take-over", || delivery.snapshot().last_failure);
    assert!(
        failure.contains("another client of the same id") && failure.contains("broker.client_id"),
        "{failure}"
    );
    wait_for("the next connection", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn after_an_outage_the_oldest_that_is_still_of_use_goes_first_and_what_expired_is_reported_by_its_id()
 {
    let Some(broker) = Mosquitto::running() else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ledger = folder.path().join("ledger");
    let link = Link::to(broker.port);
    let delivery = start(&BrokerConfig { ledger: Some(ledger.clone()), ..config(link.port) });
    let soon = OffsetDateTime::now_utc() + Duration::from_millis(1500);
    let (mut gone, mut good) = (Vec::new(), Vec::new());
    for number in 0..6 {
        let short = number % 2 == 0;
        let candidate = candidate(number);
        let candidate = if short { Candidate { expires: soon, ..candidate } } else { candidate };
        let id = delivery
            .publish_candidate(candidate, Clock::default().now())
            .expect("delivery takes it");
        if short { gone.push(id) } else { good.push(id) }
    }
    wait_for("three to be too late", || (OffsetDateTime::now_utc() > soon).then_some(()));
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    link.open();
    let messages: Vec<Publish> = (0..3).map(|_| subscriber.next()).collect();
    assert_eq!(messages.iter().map(|m| read(m).id).collect::<Vec<_>>(), good);
    for message in &messages {
        let properties = message.properties.as_ref().expect("MQTT 5 properties");
        let sent = properties
            .user_properties
            .iter()
            .find(|(k, _)| k == "sentat")
            .map(|(_, v)| v)
            .expect("when it was sent");
        let sent = OffsetDateTime::parse(sent, &time::format_description::well_known::Rfc3339)
            .expect("a date");
        assert!(
            read(message).data.decided_at < soon && sent >= soon,
            "decided before and sent after the outage"
        );
    }
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    assert_eq!((outcome.snapshot.outbox.delivered, outcome.snapshot.outbox.expired), (3, 3));
    let text = std::fs::read_to_string(ledger).expect("it was written");
    let of = |fate: &str| -> Vec<String> {
        let lines =
            text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"));
        lines
            .filter(|l| l["fate"] == fate)
            .map(|l| l["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(of("taken").len(), 6);
    assert_eq!(of("expired"), gone.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(of("delivered"), good.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn a_broker_with_a_small_limit_gets_candidates_without_crops_and_keeps_the_connection() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start("allow_anonymous true\nmax_packet_size 4096\n");
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let delivery = start(&config(broker.port));
    let ids: Vec<_> = (0..3).map(|n| publish(&delivery, n)).collect();
    let counts = (0..400).map(|n| (format!("a-count-with-a-long-name-{n}"), n)).collect();
    let since = OffsetDateTime::now_utc();
    delivery.publish_stats(Stats { since, counts, drops: [].into(), gauges: [].into() });
    for id in ids {
        let event = read(&subscriber.next());
        assert_eq!((event.id, event.data.crop), (id, None));
    }
    wait_for("the counts to be left out", || (delivery.snapshot().too_large == 1).then_some(()));
    let last = publish(&delivery, 4);
    assert_eq!(read(&subscriber.next()).id, last);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    let Snapshot { connections, stripped, .. } = outcome.snapshot;
    assert_eq!((connections, stripped), (1, 4));
}

#[test]
fn a_limit_that_the_broker_applies_without_saying_it_costs_a_link_and_no_candidate() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start("allow_anonymous true\nmessage_size_limit 4096\n");
    let subscriber = Subscriber::new(broker.port, "site/v1/cam-7/candidate");
    let delivery = start(&config(broker.port));
    let ids: Vec<_> = (0..3).map(|n| publish(&delivery, n)).collect();
    for id in ids {
        let event = read(&subscriber.next());
        assert_eq!((event.id, event.data.crop), (id, None));
    }
    let last = publish(&delivery, 4);
    assert_eq!(read(&subscriber.next()).id, last);
    let outcome = delivery.stop(DEADLINE);
    stopped(&outcome);
    let Snapshot { connections, outbox, .. } = outcome.snapshot;
    assert!(connections <= 3, "{connections} links");
    assert_eq!((outbox.set_aside, outbox.given_up), (0, 0));
}

/// Closes the first link over a candidate and the next two at once, as a proxy does whose broker is
/// down; then takes what comes and sends the candidates on.
fn behind_a_proxy() -> (u16, std::sync::mpsc::Receiver<CloudEvent<Candidate>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, candidates) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (link, mut stream) in listener.incoming().flatten().enumerate() {
            while ![1, 2].contains(&link)
                && let Ok((first, body)) = packet(&mut stream)
            {
                let answer = match first >> 4 {
                    1 => vec![0x20, 0x03, 0x01, 0x00, 0x00],
                    3 if first & 0b110 != 0 => {
                        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        if body[2..topic].ends_with(b"/candidate") {
                            if link == 0 {
                                break;
                            }
                            let at = body.windows(2).position(|w| w == b"{\"").expect("JSON");
                            let event = serde_json::from_slice(&body[at..]).expect("a candidate");
                            let _ = sender.send(event);
                        }
                        vec![0x40, 2, body[topic], body[topic + 1]]
                    }
                    8 => vec![0x90, 4, body[0], body[1], 0, 1],
                    12 => vec![0xD0, 0],
                    _ => continue,
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, candidates)
}

#[test]
fn links_that_end_before_the_broker_has_answered_are_held_against_no_candidate() {
    let (port, candidates) = behind_a_proxy();
    let delivery = start(&config(port));
    let id = publish(&delivery, 1);
    let event = candidates.recv_timeout(2 * support::PATIENCE).expect("it goes on");
    assert!(event.id == id && event.data.crop.is_some(), "whole");
    assert_eq!(delivery.snapshot().outbox.set_aside, 0);
    delivery.stop(Duration::ZERO);
}

/// Ends each connection over the candidate that came first; what else came is sent on.
fn poisoned() -> (u16, std::sync::mpsc::Receiver<EventId>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let port = listener.local_addr().expect("it is bound").port();
    let (other, others) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut poison = None;
        for mut stream in listener.incoming().flatten() {
            while let Ok((first, body)) = packet(&mut stream) {
                let answer = match first >> 4 {
                    1 => vec![0x20, 0x03, 0x01, 0x00, 0x00],
                    3 if first & 0b110 != 0 => {
                        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        if body[2..topic].ends_with(b"/candidate") {
                            let at = body.windows(2).position(|w| w == b"{\"").expect("JSON");
                            let event: CloudEvent<Candidate> =
                                serde_json::from_slice(&body[at..]).expect("a candidate");
                            if *poison.get_or_insert(event.id) == event.id {
                                break;
                            }
                            let _ = other.send(event.id);
                        }
                        vec![0x40, 2, body[topic], body[topic + 1]]
                    }
                    8 => vec![0x90, 4, body[0], body[1], 0, 1],
                    12 => vec![0xD0, 0],
                    _ => continue,
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (port, others)
}

#[test]
fn a_candidate_over_which_the_broker_ends_each_connection_holds_up_none_behind_it() {
    let (port, others) = poisoned();
    let delivery = start(&config(port));
    let ids: Vec<_> = (0..5).map(|n| publish(&delivery, n)).collect();
    let arrived: Vec<_> =
        (1..5).map(|_| others.recv_timeout(2 * support::PATIENCE).expect("it goes on")).collect();
    assert_eq!(arrived, ids[1..]);
    wait_for("the others' acknowledgements", || {
        (delivery.snapshot().outbox.delivered == 4).then_some(())
    });
    let problem = wait_for("what is degraded", || delivery.snapshot().store.problem);
    assert!(problem.starts_with("1 candidates are set aside"), "{problem}");
    let outbox = delivery.snapshot().outbox;
    assert_eq!((outbox.given_up, outbox.set_aside), (0, 1));
    assert_eq!(delivery.stop(Duration::ZERO).undelivered, 1, "kept, and named");
}

#[test]
fn a_broker_that_keeps_no_messages_gets_them_all_the_same() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    broker.start("allow_anonymous true\nretain_available false\n");
    let subscriber = Subscriber::new(broker.port, "site/#");
    // Some brokers have ids with slashes.
    let config = BrokerConfig { client_id: "site/gate 7".to_owned(), ..config(broker.port) };
    let delivery = start(&config);
    assert_eq!(state_in(&subscriber.next()), State::Online);
    delivery.publish_candidate(candidate(1), Clock::default().now()).expect("room");
    wait_for("the acknowledgement", || (delivery.snapshot().outbox.delivered == 1).then_some(()));
    assert_eq!(delivery.snapshot().connections, 1, "one refusal, and then it holds");
    stopped(&delivery.stop(DEADLINE));
}

#[test]
fn a_socket_of_this_machine_is_delivered_over() {
    let Some(mut broker) = Mosquitto::installed() else { return };
    let socket = broker.path("mosquitto.sock").display().to_string();
    broker.start(&format!("allow_anonymous true\nlistener 0 {socket}\nallow_anonymous true\n"));
    let subscriber = Subscriber::new(broker.port, "site/#");
    let config = BrokerConfig { url: format!("mqtt+unix://{socket}"), ..config(broker.port) };
    let delivery = start(&config);
    assert_eq!(state_in(&subscriber.next()), State::Online);
    stopped(&delivery.stop(DEADLINE));
}
