//! Whose key may do what: reviewers by the trust file, others by the configuration.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::config::{DeskConfig, PeopleConfig};
use super::pages::views::DeskRole;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::seal::Recipient;
use crate::watchlist::trust::{Role, Trust};

/// See the module's documentation.
#[derive(Debug)]
pub struct Directory {
    trust: Trust,
    supervisors: Vec<PublicKey>,
    operators: Vec<PublicKey>,
    devices: BTreeMap<String, Recipient>,
}

impl Directory {
    /// As `config` and the trust file say.
    pub fn new(config: &DeskConfig, trust: Trust) -> Self {
        let keys = |all: &[String]| all.iter().filter_map(|key| key.parse().ok()).collect();
        let PeopleConfig { supervisors, operators } = &config.people;
        let key = |device: &super::config::DeskDevice| {
            Some((device.id.clone(), device.key.as_ref()?.parse().ok()?))
        };
        Self {
            trust,
            supervisors: keys(supervisors),
            operators: keys(operators),
            devices: config.device.iter().filter_map(key).collect(),
        }
    }

    /// Another trust file counts from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// What `key` may do at `now`. Who reviews does nothing else.
    pub fn role(&self, key: &PublicKey, now: OffsetDateTime) -> Option<DeskRole> {
        let trust = &self.trust;
        let in_time = (trust.valid_from()..trust.valid_until()).contains(&now);
        if in_time && trust.key(key.id(), Role::Reviewer) == Some(key) {
            Some(DeskRole::Reviewer)
        } else if self.supervisors.contains(key) {
            Some(DeskRole::Supervisor)
        } else if self.operators.contains(key) {
            Some(DeskRole::Operator)
        } else {
            None
        }
    }

    /// The key to which verdicts on candidates of `device` are sealed.
    pub fn device_key(&self, device: &str) -> Option<&Recipient> {
        self.devices.get(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture;

    #[test]
    fn reviewers_are_those_of_the_trust_file_while_it_is_valid() {
        let text = |reviewer| {
            fixture::trust_text(2, &[("signer", 1), ("signer", 2), ("reviewer", reviewer)])
        };
        let config = DeskConfig {
            people: PeopleConfig {
                supervisors: vec![fixture::key(5).public().to_string()],
                operators: vec![fixture::key(6).public().to_string()],
            },
            ..DeskConfig::default()
        };
        let mut directory = Directory::new(&config, Trust::parse(&text(3)).unwrap());
        let now = OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap();
        let role = |d: &Directory, n| d.role(&fixture::key(n).public(), now);
        assert_eq!(role(&directory, 3), Some(DeskRole::Reviewer));
        assert_eq!(role(&directory, 5), Some(DeskRole::Supervisor));
        assert_eq!(role(&directory, 6), Some(DeskRole::Operator));
        assert_eq!([role(&directory, 1), role(&directory, 4)], [None, None]);
        directory.set_trust(Trust::parse(&text(4)).unwrap());
        assert_eq!(role(&directory, 3), None, "rotated out");
        let later = now + time::Duration::days(365 * 20);
        assert_eq!(directory.role(&fixture::key(4).public(), later), None);
        assert_eq!(directory.role(&fixture::key(5).public(), later), Some(DeskRole::Supervisor));
    }
}
