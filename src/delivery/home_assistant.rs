//! MQTT discovery messages, from which Home Assistant shows how a device is. Off by default.
//!
//! Promises:
//! * Entities of the device's health and nothing else. No entity is a person, a list's entry or a
//!   candidate, and no candidate's topic is ever named.
//! * Messages are retained, sent on each connection and again when Home Assistant says `online`.
//! * Once on, they stay with the broker: [`Discovery::Remove`] removes them; [`Discovery::Off`]
//!   touches nothing outside of `broker.root`.
//! * Entities that follow the retained status are available while the device is connected. Those
//!   that follow the counts also expire when three counts are missing. The status does not expire,
//!   as it is published when it changes.
//!
//! Topics and keys: Home Assistant, "MQTT discovery"
//! (`<prefix>/<component>/<node>/<object>/config`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::topics::{self, DeviceId, Topics};
use crate::problem::Problem;

/// Whether Home Assistant shows the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// Nothing is published.
    #[default]
    Off,
    /// The device's entities are announced.
    On,
    /// Earlier announcements are removed from the broker.
    Remove,
}

/// `[broker.home_assistant]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomeAssistantConfig {
    /// `off`, `on`, or `remove`, which removes earlier announcements.
    pub discovery: Discovery,
    /// Home Assistant's discovery prefix.
    pub prefix: String,
}

impl Default for HomeAssistantConfig {
    fn default() -> Self {
        Self { discovery: Discovery::Off, prefix: "homeassistant".to_owned() }
    }
}

impl HomeAssistantConfig {
    /// Adds what is wrong with the values.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        if let Err(e) = topics::check_root(&self.prefix) {
            let key = setting!(broker.home_assistant.prefix).to_owned();
            out.push(Problem { key, value: self.prefix.clone(), remedy: e.to_string() });
        }
    }

    /// Where Home Assistant says `online` when it starts; `None` where nothing is announced.
    pub fn birth(&self) -> Option<String> {
        (self.discovery == Discovery::On).then(|| format!("{}/status", self.prefix))
    }

    /// Topics and payloads to publish, retained. Empty payloads remove.
    pub fn announcements(
        &self,
        topics: &Topics,
        device: &DeviceId,
        stats_interval_s: u32,
    ) -> Vec<(String, Vec<u8>)> {
        if self.discovery == Discovery::Off {
            return Vec::new();
        }
        // Home Assistant's node and object ids may not have a dot.
        let node = device.as_str().replace('.', "_");
        entities(topics, stats_interval_s)
            .into_iter()
            .map(|(component, object, mut entity)| {
                let topic = format!("{}/{component}/{node}/{object}/config", self.prefix);
                if self.discovery == Discovery::Remove {
                    return (topic, Vec::new());
                }
                entity["unique_id"] = format!("watchpost_{node}_{object}").into();
                // The second is what the first is called since Home Assistant 2025.10.
                entity["object_id"] = format!("watchpost_{node}_{object}").into();
                entity["default_entity_id"] =
                    format!("{component}.watchpost_{node}_{object}").into();
                entity["entity_category"] = "diagnostic".into();
                entity["availability_topic"] = topics.status().into();
                entity["availability_template"] =
                    "{{ 'offline' if value_json.data.state in ['offline', 'stopped'] else 'online' }}".into();
                entity["device"] = json!({
                    "identifiers": [format!("watchpost_{node}")],
                    "name": format!("watchpost {device}"),
                    "manufacturer": "watchpost",
                    "model": "watchpost",
                    "sw_version": env!("CARGO_PKG_VERSION"),
                });
                entity["origin"] = json!({
                    "name": "watchpost",
                    "sw_version": env!("CARGO_PKG_VERSION"),
                });
                (topic, entity.to_string().into_bytes())
            })
            .collect()
    }
}

/// Component, object id and what is special about it.
fn entities(topics: &Topics, stats_interval_s: u32) -> Vec<(&'static str, &'static str, Value)> {
    let of_status = |entity: Value| with(entity, "state_topic", topics.status().into());
    let of_stats = |entity: Value| {
        let entity = with(entity, "state_topic", topics.stats().into());
        with(entity, "expire_after", (3 * u64::from(stats_interval_s)).into())
    };
    let mut all = vec![
        (
            "sensor",
            "state",
            of_status(json!({
                "name": "State",
                "device_class": "enum",
                "options": ["online", "blind", "offline", "stopped"],
                "value_template": "{{ value_json.data.state }}",
            })),
        ),
        (
            "binary_sensor",
            "matching",
            of_status(json!({
                "name": "Matching",
                "device_class": "running",
                "value_template": "{{ 'ON' if value_json.data.matching else 'OFF' }}",
            })),
        ),
        (
            "sensor",
            "reason",
            // A state of Home Assistant has 255 characters at most.
            of_status(json!({
                "name": "Why nothing is matched",
                "icon": "mdi:information-outline",
                "value_template": "{{ (value_json.data.reason | default('none', true))[:250] }}",
            })),
        ),
        (
            "binary_sensor",
            "degraded",
            of_status(json!({
                "name": "Degraded",
                "device_class": "problem",
                "value_template": "{{ 'ON' if value_json.data.degraded is defined else 'OFF' }}",
            })),
        ),
        (
            "sensor",
            "list_expires",
            of_status(json!({
                "name": "Watch list expires",
                "device_class": "timestamp",
                "value_template": "{{ value_json.data.list.expires if value_json.data.list is defined else None }}",
            })),
        ),
    ];
    all.push((
        "binary_sensor",
        "ends_soon",
        of_status(json!({
            "name": "List, keys or certificate end soon",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.data.ends_soon is defined else 'OFF' }}",
        })),
    ));
    if stats_interval_s > 0 {
        for (object, name, figure) in [
            ("keys_expire", "Signers' keys expire", "trust"),
            ("certificate_expires", "Device's certificate expires", "certificate"),
            ("broker_certificate_expires", "Broker's certificate expires", "broker_certificate"),
        ] {
            let value = format!("value_json.data.gauges['{figure}.expires_timestamp_seconds']");
            all.push((
                "sensor",
                object,
                of_stats(json!({
                    "name": name,
                    "device_class": "timestamp",
                    "value_template":
                        format!("{{{{ ({value} | as_datetime) if {value} is defined else None }}}}"),
                })),
            ));
        }
        let gauge =
            |name: &str| format!("{{{{ value_json.data.gauges['{name}'] | default(none) }}}}");
        all.push((
            "sensor",
            "waiting",
            of_stats(json!({
                "name": "Candidates that wait for the broker",
                "state_class": "measurement",
                "icon": "mdi:tray-full",
                "value_template": gauge("delivery.outbox_events"),
            })),
        ));
        all.push((
            "sensor",
            "temperature",
            of_stats(json!({
                "name": "Temperature",
                "device_class": "temperature",
                "state_class": "measurement",
                "unit_of_measurement": "°C",
                "value_template": gauge("board.temperature_celsius"),
            })),
        ));
        all.push((
            "binary_sensor",
            "throttled",
            of_stats(json!({
                "name": "Throttled",
                "device_class": "heat",
                "value_template": "{{ 'ON' if value_json.data.gauges['board.throttled'] | default(0) > 0 else 'OFF' }}",
            })),
        ));
    }
    all
}

fn with(mut entity: Value, key: &str, value: Value) -> Value {
    entity[key] = value;
    entity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(discovery: Discovery, stats: u32) -> Vec<(String, Vec<u8>)> {
        let device = DeviceId::new("cam.7").expect("plain");
        let topics = Topics::new("site", &device).expect("plain");
        HomeAssistantConfig { discovery, ..HomeAssistantConfig::default() }
            .announcements(&topics, &device, stats)
    }

    #[test]
    fn by_default_nothing_is_announced() {
        assert_eq!(HomeAssistantConfig::default().birth(), None);
        assert_eq!(announced(Discovery::Off, 60), []);
    }

    #[test]
    fn every_entity_is_the_devices_health_with_an_id_a_device_and_its_availability() {
        let mut ids = std::collections::BTreeSet::new();
        for (topic, payload) in announced(Discovery::On, 60) {
            let parts: Vec<&str> = topic.split('/').collect();
            assert_eq!(
                (parts.len(), parts[0], parts[2], parts[4]),
                (5, "homeassistant", "cam_7", "config")
            );
            let entity: Value = serde_json::from_slice(&payload).expect("JSON");
            assert!(ids.insert(entity["unique_id"].as_str().expect("an id").to_owned()), "{topic}");
            assert_eq!(entity["availability_topic"], "site/v1/cam.7/status");
            assert_eq!(entity["device"]["identifiers"][0], "watchpost_cam_7");
            let state = entity["state_topic"].as_str().expect("a topic");
            assert!(["site/v1/cam.7/status", "site/v1/cam.7/stats"].contains(&state), "{state}");
            assert_eq!(entity.get("expire_after").is_some(), state.ends_with("stats"), "{topic}");
            let text = entity.to_string();
            for never in ["candidate\"", "/candidate", "entry", "score", "crop"] {
                assert!(!text.contains(never), "{topic} names {never}");
            }
        }
        assert_eq!(ids.len(), 12);
        assert_eq!(
            announced(Discovery::On, 0).len(),
            6,
            "without counts there are no entities that follow them"
        );
    }

    #[test]
    fn removing_empties_each_topic_that_was_announced() {
        let topics =
            |of: Vec<(String, Vec<u8>)>| of.into_iter().map(|(t, _)| t).collect::<Vec<_>>();
        let removed = announced(Discovery::Remove, 60);
        assert!(removed.iter().all(|(_, payload)| payload.is_empty()));
        assert_eq!(topics(removed), topics(announced(Discovery::On, 60)));
    }
}
