//! Where the events go: `<root>/v1/<device>/...`, one level a part.
//!
//! Promises:
//! * No topic built here holds a wildcard, a separator inside a part or a control character.
//! * A topic names the configured root and the device's id only: never a list, an entry or a
//!   person.

use std::fmt;

/// Longest device id and longest part of the root, in bytes.
pub const MAX_PART: usize = 64;
/// Longest root topic, in bytes.
pub const MAX_ROOT: usize = 128;

/// Why a root or a device id cannot be part of a topic.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum TopicError {
    /// Nothing between two separators.
    #[error(
        "a part of the topic is empty; write {MAX_PART} characters at most of a-z A-Z 0-9 . _ -"
    )]
    Empty,
    /// Longer than [`MAX_PART`] or [`MAX_ROOT`].
    #[error("{0} bytes are too long; {1} are allowed")]
    TooLong(usize, usize),
    /// A wildcard, a separator, a space or another character that breaks topics or access lists.
    #[error("{0:?} is not allowed; use a-z A-Z 0-9 . _ -")]
    Character(char),
    /// Topics that begin with `$` belong to the broker; a leading dot or dash confuses tools.
    #[error("it begins with {0:?}; begin with a letter or a digit")]
    Start(char),
}

fn check_part(part: &str) -> Result<(), TopicError> {
    let first = part.chars().next().ok_or(TopicError::Empty)?;
    if part.len() > MAX_PART {
        return Err(TopicError::TooLong(part.len(), MAX_PART));
    }
    match part.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(TopicError::Character(c)),
        None if !first.is_ascii_alphanumeric() => Err(TopicError::Start(first)),
        None => Ok(()),
    }
}

/// A device's id: 1 to [`MAX_PART`] characters of `a-z A-Z 0-9 . _ -`, the first a letter or a
/// digit. It is a topic level, the events' `source` and, unless configured otherwise, the MQTT
/// client id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// Checks and keeps `id`.
    ///
    /// # Errors
    /// Where it cannot be one level of a topic.
    pub fn new(id: &str) -> Result<Self, TopicError> {
        check_part(id)?;
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a root topic: one or more levels, each as strict as a device id.
///
/// # Errors
/// Where a level is empty, too long or holds a character that is not allowed.
pub fn check_root(root: &str) -> Result<(), TopicError> {
    if root.len() > MAX_ROOT {
        return Err(TopicError::TooLong(root.len(), MAX_ROOT));
    }
    root.split('/').try_for_each(check_part)
}

/// What a message to the device is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundKind {
    /// A signed revocation.
    Revoke,
    /// A signed suspension.
    Suspend,
    /// A signed list.
    Offer,
    /// A witness asks for a proof that the audit log only grew.
    AuditRequest,
    /// A checkpoint of the audit log that witnesses have cosigned.
    AuditCosign,
    /// A witness's answer to the device's question whether its log is the newest.
    AuditFreshness,
    /// The device's own checkpoint, as the broker kept it.
    AuditKept,
    /// A reviewer's sealed verdict on a candidate.
    Verdict,
    /// A desk's receipt of events that it has stored.
    Receipt,
    /// A desk's registration of a control.
    Control,
}

impl InboundKind {
    /// Whether it is for the audit log: the word of a witness, who says it again where it was
    /// missed, or what the broker keeps. One that finds no room is dropped.
    pub fn is_for_log(self) -> bool {
        matches!(
            self,
            Self::AuditRequest | Self::AuditCosign | Self::AuditFreshness | Self::AuditKept
        )
    }

    /// Whether it may stop something.
    pub fn is_order(self) -> bool {
        matches!(self, Self::Revoke | Self::Suspend)
    }
}

/// What a device says to its witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditSaying {
    /// The proof that was asked for.
    Consistency,
    /// Whether its log is the newest.
    Challenge,
}

/// Below a device's name.
pub const STATUS: &str = "status";
pub const WATCHLIST_STATE: &str = "watchlist/state";
pub const REVIEW_STATE: &str = "review/state";

/// All topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Topics of `device` below `root`.
    ///
    /// # Errors
    /// Where `root` cannot be one (see [`check_root`]).
    pub fn new(root: &str, device: &DeviceId) -> Result<Self, TopicError> {
        check_root(root)?;
        Ok(Self { prefix: format!("{root}/v1/{device}") })
    }

    /// Match candidates: QoS 1, never retained.
    pub fn candidate(&self) -> String {
        format!("{}/candidate", self.prefix)
    }

    /// How far reviews of candidates are: QoS 1, never retained.
    pub fn review_state(&self) -> String {
        format!("{}/{REVIEW_STATE}", self.prefix)
    }

    /// How controls stand, for the desk that registered them: QoS 1, never retained.
    pub fn control_answer(&self) -> String {
        format!("{}/control/answer", self.prefix)
    }

    /// State of the device: QoS 1, retained, also the last will.
    pub fn status(&self) -> String {
        format!("{}/{STATUS}", self.prefix)
    }

    /// Counts: QoS 0, not retained.
    pub fn stats(&self) -> String {
        format!("{}/stats", self.prefix)
    }

    /// The list in force, or why there is none: QoS 1, retained, published on each connection.
    pub fn watchlist_state(&self) -> String {
        format!("{}/{WATCHLIST_STATE}", self.prefix)
    }

    /// Where an order of `kind` with the id `order` goes, or an offer, for which the id counts for
    /// nothing.
    #[cfg(feature = "author")]
    pub fn order(&self, kind: InboundKind, order: &str) -> String {
        match kind {
            InboundKind::Revoke => format!("{}/revoke/{order}", self.prefix),
            InboundKind::Suspend => format!("{}/suspend/{order}", self.prefix),
            InboundKind::Offer => format!("{}/watchlist/offer", self.prefix),
            InboundKind::AuditRequest => format!("{}/audit/request", self.prefix),
            InboundKind::AuditCosign => format!("{}/audit/cosign", self.prefix),
            InboundKind::AuditFreshness => format!("{}/audit/freshness", self.prefix),
            InboundKind::AuditKept => self.audit_checkpoint(),
            InboundKind::Verdict => format!("{}/review", self.prefix),
            InboundKind::Receipt => format!("{}/receipt", self.prefix),
            InboundKind::Control => format!("{}/control", self.prefix),
        }
    }

    /// Records of the audit log: QoS 1, not retained.
    pub fn audit_entry(&self) -> String {
        format!("{}/audit/entry", self.prefix)
    }

    /// The newest signed checkpoint of the audit log: QoS 0, retained, again on each connection.
    pub fn audit_checkpoint(&self) -> String {
        format!("{}/audit/checkpoint", self.prefix)
    }

    /// What the device says to its witnesses: QoS 0, not retained; asked for again where it is
    /// lost.
    pub fn audit_saying(&self, saying: AuditSaying) -> String {
        match saying {
            AuditSaying::Consistency => format!("{}/audit/consistency", self.prefix),
            AuditSaying::Challenge => format!("{}/audit/challenge", self.prefix),
        }
    }

    /// What the device subscribes to, each with the kind of message that comes there. An order has
    /// a topic of its own, named by its id, so that no later message replaces it where the broker
    /// retains it; the topics without an id are heard as well. Beside them it reads back its own
    /// [`Topics::audit_checkpoint`].
    pub fn inbound(&self) -> [(String, InboundKind); 11] {
        [
            ("revoke", InboundKind::Revoke),
            ("revoke/+", InboundKind::Revoke),
            ("suspend", InboundKind::Suspend),
            ("suspend/+", InboundKind::Suspend),
            ("watchlist/offer", InboundKind::Offer),
            ("audit/request", InboundKind::AuditRequest),
            ("audit/cosign", InboundKind::AuditCosign),
            ("audit/freshness", InboundKind::AuditFreshness),
            ("review", InboundKind::Verdict),
            ("receipt", InboundKind::Receipt),
            ("control", InboundKind::Control),
        ]
        .map(|(below, kind)| (format!("{}/{below}", self.prefix), kind))
    }

    /// The kind of message that comes on `topic`; `None` where the device does not listen there.
    pub fn inbound_kind(&self, topic: &[u8]) -> Option<InboundKind> {
        let below = topic.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"/")?;
        let (first, rest) =
            below.split_at(below.iter().position(|b| *b == b'/').unwrap_or(below.len()));
        let one_level = rest.is_empty() || (rest.len() > 1 && !rest[1..].contains(&b'/'));
        match first {
            b"revoke" if one_level => Some(InboundKind::Revoke),
            b"suspend" if one_level => Some(InboundKind::Suspend),
            _ => match below {
                b"watchlist/offer" => Some(InboundKind::Offer),
                b"review" => Some(InboundKind::Verdict),
                b"receipt" => Some(InboundKind::Receipt),
                b"control" => Some(InboundKind::Control),
                b"audit/request" => Some(InboundKind::AuditRequest),
                b"audit/cosign" => Some(InboundKind::AuditCosign),
                b"audit/freshness" => Some(InboundKind::AuditFreshness),
                b"audit/checkpoint" => Some(InboundKind::AuditKept),
                _ => None,
            },
        }
    }
}

/// Where the words of all devices below `root` come, on the topics `below` their names.
#[cfg(feature = "author")]
pub fn of_all_devices(root: &str, below: &[&str]) -> Vec<String> {
    below.iter().map(|below| format!("{root}/v1/+/{below}")).collect()
}

/// The device that a topic below `root` belongs to, and what comes after it.
#[cfg(feature = "author")]
pub fn split<'a>(root: &str, topic: &'a str) -> Option<(&'a str, &'a str)> {
    topic.strip_prefix(root)?.strip_prefix("/v1/")?.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_contract_of_topics_is_as_documented() {
        let t = Topics::new("site/north", &DeviceId::new("cam-7.b").unwrap()).unwrap();
        assert_eq!(t.candidate(), "site/north/v1/cam-7.b/candidate");
        assert_eq!(t.status(), "site/north/v1/cam-7.b/status");
        assert_eq!(t.stats(), "site/north/v1/cam-7.b/stats");
        assert_eq!(t.watchlist_state(), "site/north/v1/cam-7.b/watchlist/state");
        let inbound = t.inbound().map(|(topic, _)| topic);
        let wanted = [
            "revoke",
            "revoke/+",
            "suspend",
            "suspend/+",
            "watchlist/offer",
            "audit/request",
            "audit/cosign",
            "audit/freshness",
            "review",
            "receipt",
            "control",
        ]
        .map(|t| format!("site/north/v1/cam-7.b/{t}"));
        assert_eq!(inbound, wanted);
        let kind =
            |below: &str| t.inbound_kind(format!("site/north/v1/cam-7.b/{below}").as_bytes());
        assert_eq!([kind("revoke"), kind("revoke/00ff")], [Some(InboundKind::Revoke); 2]);
        assert_eq!(kind("suspend/00ff"), Some(InboundKind::Suspend));
        assert_eq!(kind("watchlist/offer"), Some(InboundKind::Offer));
        assert_eq!(kind("audit/cosign"), Some(InboundKind::AuditCosign));
        assert_eq!(kind("audit/checkpoint"), Some(InboundKind::AuditKept));
        assert_eq!(kind("review"), Some(InboundKind::Verdict));
        assert_eq!(kind("control"), Some(InboundKind::Control));
        assert_eq!(kind("control/answer"), None);
        assert_eq!(t.control_answer(), "site/north/v1/cam-7.b/control/answer");
        assert_eq!(kind("receipt"), Some(InboundKind::Receipt));
        for other in
            ["revoke/", "revoke/a/b", "revoked", "watchlist/offer/x", "review/state", "status", ""]
        {
            assert_eq!(kind(other), None, "{other}");
        }
        assert_eq!(t.inbound_kind(b"site/north/v1/cam-7/revoke"), None, "another device");
    }

    #[test]
    fn what_would_break_a_topic_is_refused_with_the_reason() {
        assert_eq!(DeviceId::new(""), Err(TopicError::Empty));
        assert_eq!(DeviceId::new("a/b"), Err(TopicError::Character('/')));
        assert_eq!(DeviceId::new("cam+"), Err(TopicError::Character('+')));
        assert_eq!(DeviceId::new("Jane Doe"), Err(TopicError::Character(' ')));
        assert_eq!(DeviceId::new("-x"), Err(TopicError::Start('-')));
        assert_eq!(DeviceId::new(&"x".repeat(65)), Err(TopicError::TooLong(65, 64)));
        assert_eq!(check_root("$SYS"), Err(TopicError::Character('$')));
        assert_eq!(check_root("a//b"), Err(TopicError::Empty));
        assert_eq!(check_root("/a"), Err(TopicError::Empty));
        assert_eq!(check_root("a/#"), Err(TopicError::Character('#')));
    }

    proptest! {
        #[test]
        fn an_accepted_device_id_adds_exactly_one_level(id in "\\PC{0,70}") {
            if let Ok(device) = DeviceId::new(&id) {
                let topic = Topics::new("root", &device).unwrap().candidate();
                prop_assert_eq!(topic.split('/').count(), 4);
                prop_assert!(!topic.contains(['+', '#', '$', ' ', '\0']));
            }
        }
    }
}
