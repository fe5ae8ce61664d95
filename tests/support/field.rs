//! A daemon's surroundings: its desk, its broker, a listener to everything.

use serde_json::Value;

use super::desk::{Desk, ok};
use super::{Mosquitto, Subscriber, wait_for};

pub const TOPIC: &str = "site/v1/gate-1";

/// A daemon that matches endlessly, its broker and a listener to everything.
pub struct Field {
    pub desk: Desk,
    pub broker: Mosquitto,
    pub listener: Subscriber,
    pub seen: std::cell::RefCell<Vec<(String, Value)>>,
}

impl Field {
    /// `None` where no mosquitto is installed.
    pub fn new() -> Option<Self> {
        Self::with("", Desk::list)
    }

    /// With `settings` in `[watchlist]`, from a desk that was prepared.
    pub fn with(settings: &str, prepare: impl FnOnce(&Desk)) -> Option<Self> {
        let broker = Mosquitto::running()?;
        let desk = Desk::new();
        prepare(&desk);
        ok(&["key", "new", &desk.arg("mallory.key"), "--no-passphrase"]);
        desk.pictures(&["collins.jpg", "hopper.jpg"]);
        desk.configure(broker.port, "repeat = 0\n");
        let file = desk.path("watchpost.toml");
        let text = std::fs::read_to_string(&file).expect("text");
        let text = text.replace("[broker]\n", "[broker]\nstats_interval_s = 1\n");
        let folder = desk.arg("");
        let settings = settings.replace("DESK/", &folder);
        std::fs::write(&file, text.replace("[watchlist]\n", &format!("[watchlist]\n{settings}\n")))
            .expect("writes");
        let listener = Subscriber::new(broker.port, "site/#");
        Some(Self { desk, broker, listener, seen: std::cell::RefCell::default() })
    }

    /// The next message on `topic` that is as `wanted`, not looking at those before the last one
    /// found.
    pub fn await_(&self, topic: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.listener.so_far().into_iter().filter_map(|m| {
                let event: Value = serde_json::from_slice(&m.payload).ok()?;
                Some((String::from_utf8_lossy(&m.topic).into_owned(), event["data"].clone()))
            }));
            let at = seen
                .iter()
                .position(|(t, data)| *t == format!("{TOPIC}/{topic}") && wanted(data))?;
            Some(seen.drain(..=at).next_back().expect("the found one").1)
        })
    }

    /// Forgets what came so far: what is awaited next comes of a daemon that starts now.
    pub fn forget(&self) {
        drop(self.listener.so_far());
        self.seen.borrow_mut().clear();
    }

    pub fn await_online(&self) {
        self.await_("status", "matching", |s| s["state"] == "online" && s["matching"] == true);
    }

    pub fn await_blind(&self, reason: &str) {
        self.await_("status", reason, |s| {
            s["state"] == "blind" && s["reason"].as_str().is_some_and(|r| r.contains(reason))
        });
    }

    /// Makes an order with `watchpost watchlist` and publishes it, retained as the tool says.
    pub fn order(&self, command: &str, key: &str, arguments: &[&str]) {
        let (key, out) = (self.desk.arg(key), self.desk.arg("order.cose"));
        let _ = std::fs::remove_file(&out);
        ok(&[&["watchlist", command, "--key", &key, "--out", &out][..], arguments].concat());
        let order = std::fs::read(&out).expect("an order");
        self.listener.publish(&format!("{TOPIC}/{command}"), true, order);
    }

    /// Publishes what is in a file as an offer.
    pub fn offer(&self, name: &str) {
        let bytes = std::fs::read(self.desk.path(name)).expect("what is offered");
        self.listener.publish(&format!("{TOPIC}/watchlist/offer"), false, bytes);
    }
}
