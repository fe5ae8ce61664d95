//! `[notify]`: who is told, elsewhere, that a candidate waits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;
use lettre::Address;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Most webhooks, and most addresses of mail.
const MOST: usize = 16;
/// Longest name, address or origin.
const LONGEST: usize = 254;
/// A day, in seconds.
const DAY: u32 = 86_400;

/// The whole table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// Seconds after a notification in which the same destination gets no other, 0 to 86400: many
    /// candidates make one notification.
    pub at_most_every_s: u32,
    /// Seconds after which a notification that nobody takes is given up, 60 to 604800.
    pub give_up_after_s: u32,
    /// `[[notify.webhook]]`: programs that are told.
    pub webhook: Vec<WebhookConfig>,
    /// `[notify.mail]`: people who are told by mail.
    pub mail: Option<MailConfig>,
}

/// `[[notify.webhook]]`: one program that is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// What logs and pages call it, as its address may be a secret.
    pub name: String,
    /// `https://...`, or `http://127.0.0.1:...` on this machine.
    pub url: String,
    /// File with the secret that signs, `whsec_` and base64, which only the desk can read.
    pub secret_file: PathBuf,
    /// PEM file of the authorities that may sign its certificate; the system's where absent.
    pub ca_file: Option<PathBuf>,
}

/// `[notify.mail]`: people who are told by mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://HOST[:465]`, or `smtp://HOST[:587]` with STARTTLS, which a server on this machine
    /// (`smtp://127.0.0.1:25`) need not have.
    pub server: String,
    /// The sender's address.
    pub from: String,
    /// Addresses; each gets a message of its own.
    pub to: Vec<String>,
    /// User name; nobody signs in where empty.
    #[serde(default)]
    pub username: String,
    /// File whose first line is the password, which only the desk can read.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that may sign the server's certificate; the system's where
    /// absent.
    pub ca_file: Option<PathBuf>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { at_most_every_s: 300, give_up_after_s: 21_600, webhook: Vec::new(), mail: None }
    }
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSecurity {
    /// TLS from the first byte.
    Tls,
    /// TLS before anything is said.
    StartTls,
    /// None: it does not leave this machine.
    Loopback,
}

/// Where a notification goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyEndpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; `/` where there is none.
    pub path: String,
    /// How it is reached.
    pub security: LinkSecurity,
}

/// Scheme, whether it has TLS, and the port where none is given.
type Scheme = (&'static str, LinkSecurity, u16);

const WEB: [Scheme; 2] = [("https", LinkSecurity::Tls, 443), ("http", LinkSecurity::Loopback, 80)];
const SMTP: [Scheme; 2] =
    [("smtps", LinkSecurity::Tls, 465), ("smtp", LinkSecurity::StartTls, 587)];

impl NotifyEndpoint {
    /// Of a webhook; `None` where it is not one that may be used.
    pub fn of_webhook(url: &str) -> Option<Self> {
        let endpoint = Self::of(url, &WEB)?;
        let open = endpoint.security == LinkSecurity::Loopback && !endpoint.is_loopback();
        (!open).then_some(endpoint)
    }

    /// Of a mail server; `None` where it is not one that may be used.
    pub fn of_mail(server: &str) -> Option<Self> {
        let mut endpoint = Self::of(server, &SMTP).filter(|e| e.path == "/")?;
        if endpoint.security == LinkSecurity::StartTls && endpoint.is_loopback() {
            endpoint.security = LinkSecurity::Loopback;
        }
        Some(endpoint)
    }

    fn of(text: &str, schemes: &[Scheme]) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (_, security, port) = schemes.iter().find(|s| uri.scheme_str() == Some(s.0))?;
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let port = match authority.as_str().strip_prefix(authority.host())?.strip_prefix(':') {
            None => *port,
            Some(port) => port.parse().ok()?,
        };
        (!host.is_empty() && port != 0).then(|| Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            security: *security,
        })
    }

    /// A name may lead elsewhere: only an address is of this machine.
    fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl NotifyConfig {
    /// Whether anybody is told.
    pub fn is_used(&self) -> bool {
        !self.webhook.is_empty() || self.mail.is_some()
    }

    /// Adds what is wrong with the values; `origin` is `http.origin`, to which links lead.
    pub fn problems(&self, origin: &str, out: &mut Vec<Problem>) {
        let mut add = |wrong: bool, key: &str, value: String, remedy: &str| {
            if wrong {
                out.push(Problem { key: key.to_owned(), value, remedy: remedy.to_owned() });
            }
        };
        let plain = !origin.is_empty() && origin.is_ascii() && origin.len() <= LONGEST;
        let remedy = "set it to what browsers show: notifications lead there";
        add(self.is_used() && !plain, "http.origin", format!("{origin:?}"), remedy);
        let every = self.at_most_every_s;
        let remedy = "write 0 to 86400";
        add(every > DAY, "notify.at_most_every_s", every.to_string(), remedy);
        let after = self.give_up_after_s;
        let bad = !(60..=7 * DAY).contains(&after);
        add(bad, "notify.give_up_after_s", after.to_string(), "write 60 to 604800");
        let number = self.webhook.len();
        add(number > MOST, "notify.webhook", number.to_string(), "name 16 at most");
        let mut names = BTreeSet::new();
        for webhook in &self.webhook {
            let name = webhook.name.as_str();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let good = (1..=32).contains(&name.len()) && name.chars().all(plain);
            let remedy = "name each webhook once, in 1 to 32 of a-z A-Z 0-9 _ -";
            let bad = !good || !names.insert(name);
            add(bad, "notify.webhook.name", format!("{name:?}"), remedy);
            // Not shown: who knows the address of some services may use it.
            let bad = NotifyEndpoint::of_webhook(&webhook.url).is_none();
            let remedy =
                "write https:// and no user, or http:// with the address 127.0.0.1 or [::1]";
            add(bad, "notify.webhook.url", format!("(of {name:?})"), remedy);
        }
        if let Some(mail) = &self.mail {
            mail.problems(&mut add);
        }
    }
}

impl MailConfig {
    fn problems(&self, add: &mut impl FnMut(bool, &str, String, &str)) {
        let bad = NotifyEndpoint::of_mail(&self.server).is_none();
        let remedy = "write smtps://HOST or smtp://HOST, with a port where it is another";
        add(bad, "notify.mail.server", format!("{:?}", self.server), remedy);
        let remedy = "write an address such as desk@example.org";
        let bad = |address: &String| mailbox(address).is_none();
        add(bad(&self.from), "notify.mail.from", format!("{:?}", self.from), remedy);
        for address in &self.to {
            add(bad(address), "notify.mail.to", format!("{address:?}"), remedy);
        }
        let number = self.to.len();
        let bad = !(1..=MOST).contains(&number);
        add(bad, "notify.mail.to", number.to_string(), "name 1 to 16 addresses");
        let half = self.username.is_empty() == self.password_file.is_some();
        let remedy = "set username and password_file, or neither";
        add(half, "notify.mail.password_file", "one of two".to_owned(), remedy);
    }
}

/// An address that can stand in a head and in a command.
pub fn mailbox(text: &str) -> Option<Address> {
    (text.is_ascii() && text.len() <= LONGEST).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        let config: NotifyConfig = toml::from_str(text).unwrap();
        config.problems("https://desk.example", &mut out);
        out.into_iter().map(|p| p.key).collect()
    }

    fn webhook(url: &str) -> String {
        format!("[[webhook]]\nname = \"duty\"\nurl = \"{url}\"\nsecret_file = \"x\"\n")
    }

    fn mail(server: &str, to: &str, more: &str) -> String {
        format!("[mail]\nserver = \"{server}\"\nfrom = \"a@b.example\"\nto = [{to}]\n{more}")
    }

    #[test]
    fn only_an_address_of_this_machine_is_told_in_the_clear() {
        for good in ["https://a.example/x?y=z", "http://127.0.0.1:8/", "http://[::1]/hook"] {
            assert_eq!(keys(&webhook(good)), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "http://a.example/",
            // A name, which may lead elsewhere.
            "http://localhost/",
            "http://127.0.0.1.example/",
            "https://user:word@a.example/",
            "https://a.example:0/",
            "https:///x",
            "ftp://a.example",
            "a.example",
            "",
        ] {
            assert_eq!(keys(&webhook(bad)), ["notify.webhook.url"], "{bad}");
        }
        let security = |server| NotifyEndpoint::of_mail(server).map(|e| (e.security, e.port));
        assert_eq!(security("smtps://m.example"), Some((LinkSecurity::Tls, 465)));
        assert_eq!(security("smtp://m.example"), Some((LinkSecurity::StartTls, 587)));
        assert_eq!(security("smtp://localhost:25"), Some((LinkSecurity::StartTls, 25)));
        assert_eq!(security("smtp://127.0.0.1:25"), Some((LinkSecurity::Loopback, 25)));
        assert_eq!(security("smtp://m.example/x"), None);
    }

    #[test]
    fn each_problem_names_its_key_and_shows_no_address_of_a_webhook() {
        let twice = webhook("https://a.example").repeat(2);
        assert_eq!(keys(&twice), ["notify.webhook.name"]);
        assert_eq!(keys("at_most_every_s = 86401"), ["notify.at_most_every_s"]);
        assert_eq!(keys("give_up_after_s = 1"), ["notify.give_up_after_s"]);
        let good = "smtps://m.example";
        let none: [&str; 0] = [];
        assert_eq!(keys(&mail(good, "\"c@d.example\"", "")), none);
        assert_eq!(keys(&mail(good, "", "")), ["notify.mail.to"]);
        assert_eq!(
            keys(&mail(good, "\"c@d.example\\r\\nBcc: e@f.example\"", "")),
            ["notify.mail.to"]
        );
        assert_eq!(keys(&mail("http://m", "\"c@d.example\"", "")), ["notify.mail.server"]);
        let half = mail(good, "\"c@d.example\"", "username = \"u\"");
        assert_eq!(keys(&half), ["notify.mail.password_file"]);
        let mut out = Vec::new();
        let config: NotifyConfig = toml::from_str(&webhook("http://a.example/token")).unwrap();
        config.problems("", &mut out);
        assert_eq!(out[0].key, "http.origin");
        assert!(!format!("{out:?}").contains("token"));
    }
}
