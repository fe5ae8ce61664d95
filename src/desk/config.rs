//! `desk.toml`.

mod notify;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::Duration;

use super::trust::DeskTrust;
use crate::config::ConfigError;
use crate::delivery::{BrokerConfig, DeviceId};
use crate::files;
use crate::problem::Problem;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::seal::Recipient;

pub use self::notify::{
    LinkSecurity, MailConfig, NotifyConfig, NotifyEndpoint, WebhookConfig, mailbox,
};

/// Where the desk looks when no file is named.
pub const DEFAULT_DESK: &str = "/etc/watchpost-desk/desk.toml";
/// Most bytes of the file: ten thousand devices fit.
const MAX_FILE: u64 = 4 << 20;
/// Longest name of a shared subscription.
const MAX_SHARE: usize = 64;
/// Most days that anything is kept after its outcome.
const MAX_DAYS: u32 = 3650;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeskConfig {
    /// Trust file: whom the devices believe. Reviewers are those whom it pins.
    pub trust: PathBuf,
    /// File of the desk's own key, with which it signs receipts (`watchpost key identity`).
    pub key: PathBuf,
    /// File of the key that opens case sheets (`watchpost key device`); none where absent.
    pub sealing_key: Option<PathBuf>,
    /// Name of a shared subscription, for several desks on one store each; none where empty.
    pub share: String,
    /// `[broker]`: as devices have it. `broker.root` is where devices publish.
    pub broker: BrokerConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[people]`.
    pub people: PeopleConfig,
    /// `[review]`.
    pub review: QueueConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[notify]`: who is told, elsewhere, that a candidate waits.
    pub notify: NotifyConfig,
    /// `[[device]]`: one a device.
    pub device: Vec<DeskDevice>,
}

/// `[store]`: where everything is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// File of the database (SQLite), made where it is missing.
    pub path: PathBuf,
}

/// `[http]`: where the pages are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port. Without a certificate only on loopback, behind a proxy.
    pub listen: SocketAddr,
    /// PEM file of the certificate and those that signed it; plain HTTP where absent.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
    /// What reviewers' browsers show as the address: `https://desk.example`. Made of `listen` where
    /// empty. Reviewers sign it, so that a sign-in for another place is none here.
    pub origin: String,
}

/// `[people]`: who may look without judging. Reviewers are in the trust file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeopleConfig {
    /// Public keys of those who see outcomes, people and reports.
    pub supervisors: Vec<String>,
    /// Public keys of those who see the devices, and no candidate.
    pub operators: Vec<String>,
}

/// `[review]`: what reviewers' queue shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Candidates of one entry by one device that wait one by one within an hour, 1 to 1000. Where
    /// more wait, they are one line with their number, behind which is each of them.
    pub at_most_per_entry_an_hour: u32,
}

/// `[retention]`: how long what shows a person is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Days after the outcome until a candidate is erased, 0 to 3650.
    pub days: u32,
    /// Hours until one that was refuted is erased, 0 to 8760.
    pub refuted_hours: u32,
    /// Days until one that has no outcome is erased: its device went away. 1 to 3650.
    pub open_days: u32,
    /// Days for which it is kept who looked at what, 1 to 3650.
    pub access_days: u32,
}

/// `[[device]]`: what the desk knows of a device beforehand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeskDevice {
    /// Its id.
    pub id: String,
    /// Its public key for lists and verdicts (`watchpost key show`); without it nobody can judge
    /// what it publishes.
    pub key: Option<String>,
    /// Its identity; with it only what the device has signed is taken.
    pub identity: Option<String>,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            trust: "/etc/watchpost-desk/trust.toml".into(),
            key: "/etc/watchpost-desk/desk.key".into(),
            sealing_key: None,
            share: String::new(),
            broker: BrokerConfig { client_id: "desk".to_owned(), ..BrokerConfig::default() },
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            people: PeopleConfig::default(),
            review: QueueConfig::default(),
            retention: RetentionConfig::default(),
            notify: NotifyConfig::default(),
            device: Vec::new(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: "/var/lib/watchpost-desk/desk.sqlite".into() }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8730)),
            certificate: None,
            key: None,
            origin: String::new(),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { at_most_per_entry_an_hour: 6 }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { days: 30, refuted_hours: 24, open_days: 60, access_days: 730 }
    }
}

impl RetentionConfig {
    /// After the outcome.
    pub fn decided(&self) -> Duration {
        Duration::days(self.days.into())
    }

    /// After it was refuted.
    pub fn refuted(&self) -> Duration {
        Duration::hours(self.refuted_hours.into())
    }

    /// After the decision, where there is no outcome.
    pub fn open(&self) -> Duration {
        Duration::days(self.open_days.into())
    }

    /// Of accesses.
    pub fn accesses(&self) -> Duration {
        Duration::days(self.access_days.into())
    }
}

impl HttpConfig {
    /// What reviewers sign, and what requests must come from.
    pub fn origin(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        match self.origin.trim_end_matches('/') {
            "" => format!("{scheme}://{}", self.listen),
            origin => origin.to_owned(),
        }
    }

    /// Whether browsers reach it over TLS, here or at a proxy.
    pub fn is_secure(&self) -> bool {
        self.origin().starts_with("https://")
    }
}

impl DeskConfig {
    /// Whom the desk believes. Rotations lie beside the database, where the desk may write.
    pub fn keys(&self) -> DeskTrust {
        DeskTrust::new(&self.trust, &self.store.path.with_file_name("trust.cose"))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, value and remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path, MAX_FILE)
            .map_err(|error| ConfigError::Read { path: path.to_path_buf(), error })?;
        Self::parse(&text, path)
    }

    /// Reads and checks a file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, value and remedy.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self =
            toml::from_str(text).map_err(|e| ConfigError::syntax(&e, text, path))?;
        if config.broker.client_id.is_empty() {
            config.broker.client_id = "desk".to_owned();
        }
        let problems = config.problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems { path: path.to_path_buf(), problems })
        }
    }

    /// Everything that is wrong with the values.
    pub fn problems(&self) -> Vec<Problem> {
        let mut out = Vec::new();
        let mut add = |wrong: bool, key: &str, value: String, remedy: &str| {
            if wrong {
                out.push(Problem { key: key.to_owned(), value, remedy: remedy.to_owned() });
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let bad_share = self.share.len() > MAX_SHARE || !self.share.chars().all(plain);
        let share = format!("{:?}", self.share);
        add(bad_share, "share", share, "write up to 64 of a-z A-Z 0-9 _ -, or nothing");
        let http = &self.http;
        let open = http.certificate.is_none() && !http.listen.ip().is_loopback();
        let remedy =
            "set certificate and key, or listen on 127.0.0.1 behind a proxy that speaks TLS";
        add(open, "http.listen", http.listen.to_string(), remedy);
        let half = http.certificate.is_some() != http.key.is_some();
        add(half, "http.key", "one of two".to_owned(), "set certificate and key, or neither");
        let origin = http.origin.trim_end_matches('/');
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let bad = |host: &str| host.is_empty() || host.contains(['/', '?', '#', '@', ' ']);
        let wrong = !origin.is_empty() && host.is_none_or(bad);
        let remedy = "write https:// and the name, with a port where it is another than 443";
        add(wrong, "http.origin", format!("{:?}", http.origin), remedy);
        let at_most = self.review.at_most_per_entry_an_hour;
        let key = "review.at_most_per_entry_an_hour";
        add(!(1..=1000).contains(&at_most), key, at_most.to_string(), "write 1 to 1000");
        let RetentionConfig { days, refuted_hours, open_days, access_days } = self.retention;
        for (wrong, key, value, remedy) in [
            (days > MAX_DAYS, "retention.days", days, "write 0 to 3650"),
            (refuted_hours > 8760, "retention.refuted_hours", refuted_hours, "write 0 to 8760"),
            (
                !(1..=MAX_DAYS).contains(&open_days),
                "retention.open_days",
                open_days,
                "write 1 to 3650",
            ),
            (
                !(1..=MAX_DAYS).contains(&access_days),
                "retention.access_days",
                access_days,
                "write 1 to 3650",
            ),
        ] {
            add(wrong, key, value.to_string(), remedy);
        }
        let mut ids = BTreeSet::new();
        for device in &self.device {
            let id = device.id.as_str();
            let bad = DeviceId::new(id).is_err() || !ids.insert(id);
            let remedy = "name each device once, in 1 to 64 of a-z A-Z 0-9 . _ -";
            add(bad, setting!(device.id), format!("{id:?}"), remedy);
            let bad = |key: &String| key.parse::<Recipient>().is_err();
            let key = format!("{:?}", device.key);
            add(device.key.as_ref().is_some_and(bad), "device.key", key, "write age1...");
            let bad = |key: &String| key.parse::<PublicKey>().is_err();
            let key = format!("{:?}", device.identity);
            let remedy = "write watchpost-ed25519:...";
            add(device.identity.as_ref().is_some_and(bad), "device.identity", key, remedy);
        }
        let PeopleConfig { supervisors, operators } = &self.people;
        for (name, keys) in [("people.supervisors", supervisors), ("people.operators", operators)] {
            for key in keys {
                let bad = key.parse::<PublicKey>().is_err();
                add(bad, name, format!("{key:?}"), "write watchpost-ed25519:...");
            }
        }
        self.notify.problems(&self.http.origin, &mut out);
        self.broker.problems(&mut out);
        out
    }

    /// What is known of `device` beforehand.
    pub fn device(&self, device: &str) -> Option<&DeskDevice> {
        self.device.iter().find(|d| d.id == device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match DeskConfig::parse(text, Path::new("desk.toml")) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Problems { problems, .. }) => {
                problems.into_iter().map(|p| p.key).collect()
            }
            Err(other) => vec![other.to_string()],
        }
    }

    #[test]
    fn the_sample_is_read_and_what_it_does_not_change_is_the_default() {
        let sample = include_str!("../../config/desk.toml");
        let config = DeskConfig::parse(sample, Path::new("desk.toml")).unwrap();
        assert_eq!(config, DeskConfig::default());
    }

    #[test]
    fn each_problem_names_its_key() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert_eq!(problems("[http]\nlisten = \"0.0.0.0:80\""), ["http.listen"]);
        assert_eq!(problems("[http]\ncertificate = \"a.pem\""), ["http.key"]);
        assert_eq!(problems("[http]\norigin = \"ftp://x\""), ["http.origin"]);
        assert_eq!(problems("share = \"a/b\""), ["share"]);
        let twice = "[[device]]\nid = \"a\"\n[[device]]\nid = \"a\"\n";
        assert_eq!(problems(twice), ["device.id"]);
        let keys = "[[device]]\nid = \"a\"\nkey = \"x\"\nidentity = \"y\"\n";
        assert_eq!(problems(keys), ["device.key", "device.identity"]);
        assert_eq!(problems("[people]\nsupervisors = [\"x\"]"), ["people.supervisors"]);
        assert_eq!(problems("[retention]\nopen_days = 0"), ["retention.open_days"]);
        let none = "[review]\nat_most_per_entry_an_hour = 0";
        assert_eq!(problems(none), ["review.at_most_per_entry_an_hour"]);
        assert!(problems("[stroe]\n")[0].contains("stroe"));
    }
}
