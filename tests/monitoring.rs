//! What those who watch over devices are told: Home Assistant through a real broker, a monitoring
//! system over HTTP.

mod support;

use std::time::Duration;

use support::desk::{Daemon, Desk, ok};
use support::event::status;
use support::{Mosquitto, Subscriber, free_port, wait_for};
use watchpost::clock::Clock;
use watchpost::delivery::home_assistant::{Discovery, HomeAssistantConfig};
use watchpost::delivery::{BrokerConfig, Delivery, DeviceId};

const DEADLINE: Duration = Duration::from_secs(20);
/// Entities that are announced.
const ENTITIES: usize = 12;

fn start(port: u16, discovery: Discovery) -> Delivery {
    let config = BrokerConfig {
        url: format!("mqtt://127.0.0.1:{port}"),
        root: "site".to_owned(),
        home_assistant: HomeAssistantConfig { discovery, ..HomeAssistantConfig::default() },
        ..BrokerConfig::default()
    };
    let device = DeviceId::new("cam-7").expect("a plain id");
    Delivery::start(&config, &device, status(), Clock::default()).expect("a good configuration")
}

/// Topics of the next announcements, sorted, and whether each was empty.
fn announced(reader: &Subscriber) -> Vec<(String, bool)> {
    let mut all: Vec<_> = std::iter::repeat_with(|| reader.next())
        .map(|m| (String::from_utf8_lossy(&m.topic).into_owned(), m.payload.is_empty()))
        .filter(|(topic, _)| topic.ends_with("/config"))
        .take(ENTITIES)
        .collect();
    all.sort();
    all
}

#[test]
fn home_assistant_is_told_on_each_connection_and_when_it_starts_anew_and_it_all_goes_away_again() {
    let Some(broker) = Mosquitto::running() else { return };
    let reader = Subscriber::new(broker.port, "homeassistant/#");
    let delivery = start(broker.port, Discovery::On);
    let first = announced(&reader);
    assert!(first.iter().all(|(topic, empty)| topic.contains("/cam-7/") && !empty), "{first:?}");
    assert_eq!(
        announced(&Subscriber::new(broker.port, "homeassistant/#")),
        first,
        "they are retained"
    );
    // The device's subscription comes behind the announcements.
    wait_for("the birth message to be heard", || {
        reader.publish("homeassistant/status", false, b"online".to_vec());
        let again: Vec<_> =
            reader.so_far().into_iter().filter(|m| m.topic.ends_with(b"/config")).collect();
        (!again.is_empty()).then_some(())
    });
    assert!(delivery.stop(DEADLINE).stopped_published);

    let reader = Subscriber::new(broker.port, "homeassistant/#");
    announced(&reader);
    let delivery = start(broker.port, Discovery::Remove);
    let removed = announced(&reader);
    assert!(removed.iter().all(|(_, empty)| *empty), "{removed:?}");
    assert!(delivery.stop(DEADLINE).stopped_published);
    let late = Subscriber::new(broker.port, "homeassistant/#");
    late.publish("homeassistant/end", false, b"x".to_vec());
    assert_eq!(&late.next().topic[..], b"homeassistant/end", "nothing is retained any more");
}

#[test]
fn by_default_nothing_outside_of_the_root_is_published() {
    let Some(broker) = Mosquitto::running() else { return };
    let reader = Subscriber::new(broker.port, "#");
    let delivery = start(broker.port, Discovery::Off);
    assert!(delivery.stop(DEADLINE).stopped_published || reader.next().topic.starts_with(b"site/"));
    reader.publish("end", false, b"x".to_vec());
    let topics: Vec<_> =
        std::iter::repeat_with(|| reader.next().topic).take_while(|t| &t[..] != b"end").collect();
    assert!(topics.iter().all(|t| t.starts_with(b"site/v1/cam-7/")), "{topics:?}");
}

fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_daemon_gives_its_figures_to_a_monitoring_system_and_none_of_them_names_anybody() {
    let Some(broker) = Mosquitto::running() else { return };
    let port = free_port();
    let desk = Desk::new();
    desk.list();
    desk.pictures(&["obama-2010.jpg", "collins.jpg"]);
    desk.configure(broker.port, &format!("repeat = 0\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n"));
    let ledger = desk.path("ledger");
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let with = format!("[broker]\nledger = \"{}\"\n", ledger.display());
    std::fs::write(&file, text.replace("[broker]\n", &with)).expect("writes");
    let subscriber = Subscriber::new(broker.port, "site/v1/+/candidate");
    let daemon = Daemon::start(&desk);
    let text = wait_for("a delivered candidate in the metrics", || {
        support::metrics(port).filter(|t| {
            value(t, "watchpost_delivery_total{what=\"outbox.delivered\"}").is_some_and(|n| n > 0.0)
        })
    });
    assert!(text.ends_with("# EOF\n"));
    for (sample, least) in [
        ("watchpost_source_total{what=\"frames\"}", 1.0),
        ("watchpost_delivery_connected", 1.0),
        ("watchpost_matching", 1.0),
        ("watchpost_list_age_seconds", 0.0),
        ("watchpost_list_expires_in_seconds", 3600.0),
        ("watchpost_delivery_outbox_events", 0.0),
        ("watchpost_delivery_outbox_oldest_seconds", 0.0),
        ("watchpost_dropped_total{reason=\"delivery.outbox.expired\"}", 0.0),
    ] {
        assert!(value(&text, sample).is_some_and(|v| v >= least), "{sample}\n{text}");
    }
    assert!(
        !text.contains("case-1") && !text.contains("promises"),
        "neither entry nor list is named"
    );

    drop(subscriber);
    // What the ledger says was taken is what an outsider can compare; what waits is shown without
    // disturbing the daemon.
    let lines = std::fs::read_to_string(&ledger).expect("it is written");
    assert!(
        lines.contains("\"fate\":\"taken\"") && lines.contains("\"fate\":\"delivered\""),
        "{lines}"
    );
    let shown = ok(&["outbox", "show", &desk.arg("outbox"), "--json"]);
    for line in shown.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(
            ["waiting", "retired"].contains(&line["state"].as_str().expect("a state")),
            "{line}"
        );
    }
    assert!(daemon.terminate().success());
}
