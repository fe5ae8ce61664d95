//! The `[broker]` section of the configuration, and the broker's URL.
//!
//! The URL is small and strict: `mqtt://HOST[:PORT]`, `mqtts://HOST[:PORT]` or `mqtt+unix:///PATH`.
//! No user, no password: secrets come from files, so that neither a command line nor a log shows
//! them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::home_assistant::HomeAssistantConfig;
use super::outbox::{Limits, MAX_EVENT};
use super::topics;
use crate::problem::Problem;

/// Where candidates wait by default.
pub const DEFAULT_OUTBOX: &str = "/var/lib/watchpost/outbox";

/// How to reach the broker and how much to keep for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// `mqtt://HOST[:1883]` in the clear, `mqtts://HOST[:8883]` over TLS, or `mqtt+unix:///PATH` for
    /// a socket on this machine. An IPv6 address is in brackets, with its zone where it has one.
    pub url: String,
    /// First levels of every topic: `<root>/v1/<device>/...`.
    pub root: String,
    /// MQTT client id; the device's id where empty. Two clients of one id disconnect each other.
    pub client_id: String,
    /// User name; none where empty.
    pub username: String,
    /// File whose first line is the password. Read again at every connection. It may go without a
    /// user name, as for brokers that take a token. In this and the three files below a path that
    /// begins with `$CREDENTIALS_DIRECTORY/` is one that the service manager passes
    /// (`LoadCredential=`).
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that may sign the broker's certificate; the system's where
    /// absent. Only with `mqtts`.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this device's certificate, for brokers that ask for one. Needs `client_key`.
    /// Read again at every connection, so that a renewed one is used without a restart.
    pub client_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub client_key: Option<PathBuf>,
    /// Seconds between signs of life, 5 to 3600. A broker publishes `offline` after one and a half
    /// of it.
    pub keep_alive_s: u16,
    /// Seconds that a broker keeps the session of a device that is away.
    pub session_expiry_s: u32,
    /// Seconds for which a candidate is of use, from its decision. Later it is dropped here and by
    /// the broker.
    pub event_expiry_s: u32,
    /// Keep a candidate of which the broker says that nobody listens (MQTT 5, reason 0x10), and try
    /// again every few seconds until somebody does or it expires. Where false it counts as
    /// delivered.
    pub keep_unheard: bool,
    /// Whose word retires a candidate: `broker`, once it has acknowledged it; `required`, once a
    /// desk that the trust file pins as a receiver has signed that it is stored. Then at most 32
    /// are out without a receipt, and those after them wait here.
    pub receipt: ReceiptRule,
    /// Whether desks that the trust file pins as receivers may register controls: known non-mates
    /// that reviewers are shown among candidates.
    pub controls: bool,
    /// Folder in which candidates wait for a broker, made where it is missing; one process at a
    /// time. Where empty they wait in memory and are lost with the process.
    pub outbox: Option<PathBuf>,
    /// File that records when each event was taken and what became of it, one JSON object a line,
    /// for checks from outside; none where absent.
    pub ledger: Option<PathBuf>,
    /// Most candidates that wait for a broker; the oldest go first where there are more. Each drop
    /// is counted.
    pub outbox_events: usize,
    /// Most bytes that wait for a broker, at least 131072.
    pub outbox_bytes: usize,
    /// Seconds between two messages of counts; 0 for none.
    pub stats_interval_s: u32,
    /// `[broker.home_assistant]`: whether Home Assistant shows this device.
    pub home_assistant: HomeAssistantConfig,
}

/// Whose word retires a candidate, see [`BrokerConfig::receipt`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptRule {
    /// The broker's.
    #[default]
    Broker,
    /// A pinned receiver's.
    Required,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            url: "mqtt://localhost".to_owned(),
            root: "watchpost".to_owned(),
            client_id: String::new(),
            username: String::new(),
            password_file: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            keep_alive_s: 30,
            session_expiry_s: 86_400,
            event_expiry_s: 43_200,
            keep_unheard: true,
            receipt: ReceiptRule::Broker,
            controls: false,
            outbox: Some(DEFAULT_OUTBOX.into()),
            ledger: None,
            outbox_events: 4096,
            outbox_bytes: 32 * 1024 * 1024,
            stats_interval_s: 60,
            home_assistant: HomeAssistantConfig::default(),
        }
    }
}

impl BrokerConfig {
    /// Adds what is wrong with the values. Looks at no file; see [`super::tls::file_problems`] for
    /// that.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut add = |key: &str, value: String, remedy: String| {
            out.push(Problem { key: format!("broker.{key}"), value, remedy });
        };
        let url = BrokerUrl::from_str(&self.url);
        if let Err(e) = &url {
            // The value is not shown: it may hold a password, which is what is wrong with it.
            let shown =
                if self.url.contains('@') { "(hidden)".to_owned() } else { self.url.clone() };
            add("url", shown, e.to_string());
        }
        if let Err(e) = topics::check_root(&self.root) {
            add("root", self.root.clone(), e.to_string());
        }
        if let Err(e) = check_client_id(&self.client_id) {
            add("client_id", self.client_id.clone(), e.to_owned());
        }
        if self.username.len() > MAX_STRING || self.username.chars().any(char::is_control) {
            add(
                "username",
                "(hidden)".to_owned(),
                "write at most 65535 bytes, no control characters".to_owned(),
            );
        }
        let plain = url.is_ok_and(|u| !u.tls);
        for (key, file) in [
            ("ca_file", &self.ca_file),
            ("client_cert", &self.client_cert),
            ("client_key", &self.client_key),
        ] {
            if let (Some(path), true) = (file, plain) {
                add(
                    key,
                    path.display().to_string(),
                    concat!("use mqtts:// in ", setting!(broker.url), ", or remove this key")
                        .to_owned(),
                );
            }
        }
        match (&self.client_cert, &self.client_key) {
            (Some(cert), None) => {
                add(
                    "client_cert",
                    cert.display().to_string(),
                    concat!("set ", setting!(broker.client_key), " as well").to_owned(),
                );
            }
            (None, Some(key)) => {
                add(
                    "client_key",
                    key.display().to_string(),
                    concat!("set ", setting!(broker.client_cert), " as well").to_owned(),
                );
            }
            _ => {}
        }
        if !(5..=3600).contains(&self.keep_alive_s) {
            add(
                "keep_alive_s",
                self.keep_alive_s.to_string(),
                "write 5 to 3600 seconds".to_owned(),
            );
        }
        if self.event_expiry_s == 0 {
            add(
                "event_expiry_s",
                "0".to_owned(),
                "write the seconds for which a candidate is of use".to_owned(),
            );
        }
        if self.outbox_events == 0 {
            add("outbox_events", "0".to_owned(), "write 1 or more; 4096 is the default".to_owned());
        }
        if self.outbox_bytes < MAX_EVENT {
            add(
                "outbox_bytes",
                self.outbox_bytes.to_string(),
                format!("write {MAX_EVENT} or more"),
            );
        }
        self.home_assistant.problems(out);
    }

    /// The folder of the outbox; `None` for one in memory.
    pub fn outbox_folder(&self) -> Option<&Path> {
        self.outbox.as_deref().filter(|p| !p.as_os_str().is_empty())
    }

    /// How much the outbox holds.
    pub fn limits(&self) -> Limits {
        Limits { events: self.outbox_events, bytes: self.outbox_bytes }
    }

    /// For how long a candidate is of use.
    pub fn event_expiry(&self) -> Duration {
        Duration::from_secs(u64::from(self.event_expiry_s))
    }
}

/// Longest text that MQTT carries, in bytes.
const MAX_STRING: usize = 65_535;

/// Whether a broker can take `id` for a client's id; empty stands for the device's own.
///
/// # Errors
/// What to write.
pub fn check_client_id(id: &str) -> Result<(), &'static str> {
    if id.len() > MAX_STRING {
        return Err("write at most 65535 bytes");
    }
    // The last two are wildcards: access lists put ids into topics.
    if id.chars().any(|c| c.is_control() || matches!(c, '+' | '#')) {
        return Err("write no control character, no + and no #");
    }
    Ok(())
}

/// Why a URL cannot be a broker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum UrlError {
    /// Not `mqtt` and not `mqtts`.
    #[error("write mqtt://HOST[:PORT], mqtts://HOST[:PORT] or mqtt+unix:///PATH")]
    Scheme,
    /// `ws` and `wss`.
    #[error(
        "MQTT over WebSockets is not spoken here; give the broker a listener for MQTT over TLS \
         and write mqtts://HOST[:PORT]"
    )]
    WebSocket,
    /// Not an absolute path.
    #[error("write the absolute path of the broker's socket: mqtt+unix:///run/mosquitto.sock")]
    Socket,
    /// A user or a password in it.
    #[error(
        "take user and password out of the URL; set {broker_username} and {broker_password_file}",
        broker_username = setting!(broker.username),
        broker_password_file = setting!(broker.password_file)
    )]
    Credentials,
    /// A path, query or fragment.
    #[error(
        "nothing may follow the port; the topic goes into {broker_root}",
        broker_root = setting!(broker.root)
    )]
    Path,
    /// No or no possible host.
    #[error(
        "the host is not a name (a-z A-Z 0-9 . - _), an IPv4 address or an IPv6 address in brackets"
    )]
    Host,
    /// Not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The zone of an IPv6 address.
    #[error("the zone of the IPv6 address is not the name or the number of a network interface")]
    Zone,
    /// What the client library cannot do.
    #[error("TLS to an IPv6 address is not supported; write the broker's host name")]
    Ipv6Tls,
}

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Over TLS.
    pub tls: bool,
    /// Name or address, an IPv6 address in brackets; the path of a socket.
    pub host: String,
    /// TCP port; 0 for a socket.
    pub port: u16,
}

impl BrokerUrl {
    /// Whether the host is this machine, so that nobody listens in between.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        self.is_socket()
            || self.host == "localhost"
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether it is a socket on this machine.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The host as the system takes it: the zone of an address by the interface's number, as it is
    /// now.
    pub fn address(&self) -> String {
        let Some((address, zone)) = self.host.split_once('%') else { return self.host.clone() };
        let zone = zone.trim_end_matches(']');
        let path = Path::new("/sys/class/net").join(zone).join("ifindex");
        let index = std::fs::read_to_string(path).ok();
        let index = index.as_deref().map_or(zone, str::trim);
        format!("{address}%{index}]")
    }
}

/// Whether `zone` can be that of an IPv6 address: an interface's name or number.
fn is_zone(zone: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=15).contains(&zone.len()) && !zone.starts_with('.') && zone.chars().all(allowed)
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            "mqtt+unix" => {
                let host = rest.to_owned();
                let good = host.starts_with('/') && !host.chars().any(char::is_control);
                return if good {
                    Ok(Self { tls: false, host, port: 0 })
                } else {
                    Err(UrlError::Socket)
                };
            }
            "ws" | "wss" => return Err(UrlError::WebSocket),
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains('@') {
            return Err(UrlError::Credentials);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(UrlError::Path);
        }
        let (host, port) = if let Some(after) = rest.strip_prefix('[') {
            let (address, port) = after.split_once(']').ok_or(UrlError::Host)?;
            let (bare, zone) =
                address.split_once('%').map_or((address, None), |(a, z)| (a, Some(z)));
            bare.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            if zone.is_some_and(|zone| !is_zone(zone)) {
                return Err(UrlError::Zone);
            }
            if tls {
                return Err(UrlError::Ipv6Tls);
            }
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':').ok_or(UrlError::Port)?)
            };
            (format!("[{address}]"), port)
        } else {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, Some(p)));
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
                return Err(UrlError::Host);
            }
            (host.to_owned(), port)
        };
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|p| *p != 0).ok_or(UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        Ok(Self { tls, host, port })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_socket() {
            return write!(f, "mqtt+unix://{}", self.host);
        }
        write!(f, "{}://{}:{}", if self.tls { "mqtts" } else { "mqtt" }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> Result<String, UrlError> {
        text.parse::<BrokerUrl>().map(|u| u.to_string())
    }

    #[test]
    fn urls_are_read_strictly_with_the_usual_ports() {
        assert_eq!(url("mqtt://broker.local").unwrap(), "mqtt://broker.local:1883");
        assert_eq!(url("mqtts://10.0.0.7").unwrap(), "mqtts://10.0.0.7:8883");
        assert_eq!(url("mqtt://[::1]:18830/").unwrap(), "mqtt://[::1]:18830");
        assert_eq!(url("mqtt://localhost:1884").unwrap(), "mqtt://localhost:1884");
        assert_eq!(url("localhost"), Err(UrlError::Scheme));
        assert_eq!(url("http://x"), Err(UrlError::Scheme));
        assert_eq!(url("mqtt://me:secret@x"), Err(UrlError::Credentials));
        assert_eq!(url("mqtt://x/root"), Err(UrlError::Path));
        assert_eq!(url("mqtt://x?client_id=7"), Err(UrlError::Path));
        assert_eq!(url("mqtt://"), Err(UrlError::Host));
        assert_eq!(url("mqtt://a b"), Err(UrlError::Host));
        assert_eq!(url("mqtt://[::1"), Err(UrlError::Host));
        assert_eq!(url("mqtt://x:0"), Err(UrlError::Port));
        assert_eq!(url("mqtt://x:65536"), Err(UrlError::Port));
        assert_eq!(url("mqtt://x:+80"), Err(UrlError::Port));
        assert_eq!(url("mqtts://[::1]"), Err(UrlError::Ipv6Tls));
        assert_eq!(url("mqtt://[fe80::1%eth0]").unwrap(), "mqtt://[fe80::1%eth0]:1883");
        assert_eq!(url("mqtt://[fe80::1%a b]"), Err(UrlError::Zone));
        assert_eq!(
            url("mqtt+unix:///run/mosquitto.sock").unwrap(),
            "mqtt+unix:///run/mosquitto.sock"
        );
        assert_eq!(url("mqtt+unix://run/mosquitto.sock"), Err(UrlError::Socket));
        assert_eq!(url("wss://broker/mqtt"), Err(UrlError::WebSocket));
        let zone: BrokerUrl = "mqtt://[fe80::1%lo]".parse().unwrap();
        let address = format!("{}:1883", zone.address());
        assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{address}");
    }

    #[test]
    fn the_defaults_have_no_problem() {
        let mut problems = Vec::new();
        BrokerConfig::default().problems(&mut problems);
        assert_eq!(problems, []);
    }

    #[test]
    fn each_problem_names_its_key_and_no_password_is_shown() {
        let config = BrokerConfig {
            url: "mqtt://me:secret@x".to_owned(),
            root: "a/+".to_owned(),
            client_id: "a+b".to_owned(),
            username: "a\nb".to_owned(),
            password_file: Some("/run/password".into()),
            client_cert: Some("/etc/cert.pem".into()),
            keep_alive_s: 4,
            event_expiry_s: 0,
            outbox_events: 0,
            outbox_bytes: 1,
            ..BrokerConfig::default()
        };
        let mut problems = Vec::new();
        config.problems(&mut problems);
        let keys: Vec<&str> =
            problems.iter().map(|p| p.key.trim_start_matches("broker.")).collect();
        let expected = [
            "url",
            "root",
            "client_id",
            "username",
            "client_cert",
            "keep_alive_s",
            "event_expiry_s",
            "outbox_events",
            "outbox_bytes",
        ];
        assert_eq!(keys, expected);
        assert!(!format!("{problems:?}").contains("secret"));
    }

    #[test]
    fn certificates_without_tls_are_a_problem() {
        let config =
            BrokerConfig { ca_file: Some("/etc/ca.pem".into()), ..BrokerConfig::default() };
        let mut problems = Vec::new();
        config.problems(&mut problems);
        assert_eq!(problems[0].key, "broker.ca_file");
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        assert!(toml::from_str::<BrokerConfig>("pasword_file = 'x'").is_err());
        assert_eq!(
            toml::from_str::<BrokerConfig>("").expect("all have defaults"),
            BrokerConfig::default()
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_reads_back(
            text in "((mqtts?|mqtt\\+unix|wss?)://)?\\PC{0,40}",
        ) {
            if let Ok(url) = text.parse::<BrokerUrl>() {
                prop_assert_eq!(url.to_string().parse::<BrokerUrl>(), Ok(url));
            }
        }
    }
}
