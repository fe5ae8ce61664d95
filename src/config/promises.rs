//! Which promises this configuration keeps, and which it weakens, by which key.
//!
//! * Published in each `status` and printed by `watchpost check`: nobody weakens a promise unseen.
//! * Weaker means weaker than the default. What is stricter is kept.
//! * Each key of the configuration is beside a promise that it can weaken, or is called neutral in
//!   `tests/names.rs`, which holds that against the template: a new key has to say which it is.

use std::path::PathBuf;

use super::Config;
use crate::audit::{AuditConfig, OnFailure};
use crate::decision::{DecisionConfig, promise};
use crate::delivery::BrokerConfig;
use crate::delivery::broker::BrokerUrl;
use crate::delivery::event::{PromiseState, Promises};
use crate::promise::{Setting, Stricter};
use crate::watchlist::WatchlistConfig;
use crate::watchlist::seal::CREDENTIAL;

/// Whether a key's value is weaker than its default.
type Weaker = fn(&Config) -> bool;

/// Promises, each with the keys that can weaken it.
const WEAKENED_BY: &[(&str, &[(&str, Weaker)])] = &[
    (
        "audited",
        &[
            // With one that cannot be used nobody is matched, and nothing is logged all the same.
            (setting!(audit.identity), |c| !has_identity(&c.audit)),
            (setting!(audit.on_failure), |c| c.audit.on_failure != OnFailure::Blind),
            (setting!(audit.on_unproved), |c| c.audit.on_unproved != OnFailure::Blind),
            (setting!(audit.quorum_hours), |c| {
                c.audit.quorum_hours > AuditConfig::default().quorum_hours
            }),
        ],
    ),
    ("built-in-networks", &[(setting!(vision.models), |c| c.vision.models.is_some())]),
    (
        "sealed-list",
        &[
            (setting!(watchlist.accept_plain), |c| c.watchlist.accept_plain),
            (setting!(watchlist.device_key), |c| !has_device_key(c)),
        ],
    ),
    ("face-alone", &[(setting!(event.head), |c| c.event.head)]),
    (
        "locked-memory",
        &[(setting!(watchlist.require_locked_memory), |c| !c.watchlist.require_locked_memory)],
    ),
    (
        "trusted-clock",
        &[(setting!(watchlist.require_synchronised_clock), |c| {
            !c.watchlist.require_synchronised_clock
        })],
    ),
    (
        "orders-heard-first",
        &[(setting!(watchlist.await_orders_s), |c| {
            c.watchlist.await_orders_s < WatchlistConfig::default().await_orders_s
        })],
    ),
    (
        "encrypted-link",
        &[(setting!(broker.url), |c| {
            c.broker.url.parse::<BrokerUrl>().is_ok_and(|url| !url.tls && !url.is_loopback())
        })],
    ),
    (
        "candidates-survive",
        &[
            (setting!(broker.outbox), |c| c.broker.outbox_folder().is_none()),
            (setting!(broker.keep_unheard), |c| !c.broker.keep_unheard),
            // Where more wait than have room the oldest are dropped.
            (setting!(broker.outbox_events), |c| {
                c.broker.outbox_events < BrokerConfig::default().outbox_events
            }),
            (setting!(broker.outbox_bytes), |c| {
                c.broker.outbox_bytes < BrokerConfig::default().outbox_bytes
            }),
        ],
    ),
    (
        "candidates-expire",
        &[(setting!(broker.event_expiry_s), |c| {
            c.broker.event_expiry_s > Config::default().broker.event_expiry_s
        })],
    ),
    (
        "decision-rule",
        // Whoever is as close is not named, and the one who is looks like the only one.
        &[(setting!(decision.ambiguity_margin), |c| {
            c.decision.ambiguity_margin < DecisionConfig::default().ambiguity_margin
        })],
    ),
    ("local-metrics", &[(setting!(metrics.beyond_loopback), |c| c.metrics.beyond_loopback)]),
];

/// The service manager's credential stands in for a key file.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Whether the device has an identity that can be used, as far as this process can see.
fn has_identity(audit: &AuditConfig) -> bool {
    audit.open_identity(credentials().as_deref()).is_ok_and(|identity| identity.is_some())
}

/// Whether the device has a key of its own, as far as this process can see.
pub fn has_device_key(config: &Config) -> bool {
    config.watchlist.device_key.is_some()
        || credentials().is_some_and(|folder| folder.join(CREDENTIAL).exists())
}

/// The promise that a setting of the decision belongs to.
fn of_setting(setting: Setting) -> &'static str {
    match setting {
        Setting::EyeDistance
        | Setting::Sharpness
        | Setting::Yaw
        | Setting::Pitch
        | Setting::Score
        | Setting::Outside => "quality-gate",
        Setting::ViewsATrack
        | Setting::Views
        | Setting::LeastViews
        | Setting::Patience
        | Setting::CoolDown => "decision-rule",
    }
}

/// Keys that can weaken a promise.
pub fn weakening_keys() -> impl Iterator<Item = &'static str> {
    let listed = WEAKENED_BY.iter().flat_map(|(_, keys)| keys.iter().map(|(key, _)| *key));
    listed.chain(Setting::ALL.map(Setting::key))
}

/// Every promise by its name, and how this configuration keeps it.
pub fn promises(config: &Config) -> Promises {
    let mut all = Promises::new();
    for (name, keys) in WEAKENED_BY {
        let state = all.entry((*name).to_owned()).or_insert_with(PromiseState::kept);
        for (key, _) in keys.iter().filter(|(_, weaker)| weaker(config)) {
            state.weaken(key);
        }
    }
    let [ours, shipped] = [config, &Config::default()]
        .map(|config| promise::settings(&config.vision, &config.decision));
    for (setting, (ours, shipped)) in Setting::ALL.into_iter().zip(ours.into_iter().zip(shipped)) {
        let state = all.entry(of_setting(setting).to_owned()).or_insert_with(PromiseState::kept);
        let looser = match setting.stricter() {
            Stricter::Higher => ours < shipped,
            Stricter::Lower => ours > shipped,
        };
        if looser {
            state.weaken(setting.key());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::keys::SecretKey;

    const KEYS: &str = "watchlist.device_key = \"/k\"\naudit.identity = \"IDENTITY\"\n";

    fn weakened(text: &str) -> Vec<(String, Vec<String>)> {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = folder.path().join("identity.key");
        SecretKey::from_seed(&[1; 32]).create_file(&identity).expect("an identity");
        let text = text.replace("IDENTITY", &identity.display().to_string());
        let config: Config = toml::from_str(&text).expect("a configuration");
        let all = promises(&config).into_iter().filter(|(_, state)| !state.kept);
        all.map(|(name, state)| (name, state.weakened_by)).collect()
    }

    #[test]
    fn as_shipped_with_a_device_key_every_promise_is_kept() {
        assert_eq!(weakened(KEYS), []);
        let all = promises(&Config::default());
        assert!(all.len() >= 11, "{all:?}");
        assert_eq!(all["sealed-list"].weakened_by, ["watchlist.device_key"]);
    }

    #[test]
    fn each_key_that_weakens_is_named_and_a_stricter_one_is_not() {
        for (edit, name, key) in [
            ("audit.on_failure = \"degraded\"", "audited", "audit.on_failure"),
            ("watchlist.accept_plain = true", "sealed-list", "watchlist.accept_plain"),
            (
                "watchlist.require_locked_memory = false",
                "locked-memory",
                "watchlist.require_locked_memory",
            ),
            ("watchlist.await_orders_s = 0", "orders-heard-first", "watchlist.await_orders_s"),
            ("broker.url = \"mqtt://far\"", "encrypted-link", "broker.url"),
            ("broker.outbox = \"\"", "candidates-survive", "broker.outbox"),
            ("broker.outbox_events = 1", "candidates-survive", "broker.outbox_events"),
            ("broker.outbox_bytes = 131072", "candidates-survive", "broker.outbox_bytes"),
            ("event.head = true", "face-alone", "event.head"),
            ("broker.event_expiry_s = 86400", "candidates-expire", "broker.event_expiry_s"),
            ("vision.quality.max_yaw = 60.0", "quality-gate", "vision.quality.max_yaw"),
            ("decision.cool_down_s = 1", "decision-rule", "decision.cool_down_s"),
            ("decision.ambiguity_margin = 0.0", "decision-rule", "decision.ambiguity_margin"),
        ] {
            let found = weakened(&format!("{KEYS}{edit}\n"));
            assert_eq!(found, [(name.to_owned(), vec![key.to_owned()])], "{edit}");
        }
        let stricter = "vision.quality.max_yaw = 30.0\n\
            broker.url = \"mqtts://far\"\nbroker.event_expiry_s = 60\ndecision.cool_down_s = 600\n\
            watchlist.await_orders_s = 600\nbroker.outbox_events = 5000\n\
            decision.ambiguity_margin = 0.1\n";
        assert_eq!(weakened(&format!("{KEYS}{stricter}")), []);
    }

    #[test]
    fn an_identity_that_is_named_and_cannot_be_used_keeps_no_promise() {
        let found = weakened(&KEYS.replace("IDENTITY", "/nonexistent"));
        assert_eq!(found, [("audited".to_owned(), vec!["audit.identity".to_owned()])]);
    }
}
