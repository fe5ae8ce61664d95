//! A message's bytes: what to store of it, or why not. Sans-IO.
//!
//! Promises:
//! * No event is taken whose topic names one device and whose content another.
//! * Where a device's identity is pinned, candidates and states of reviews count only with its
//!   signature over the very bytes.
//! * What is refused is refused under one name of [`SetAside`]; nothing panics on it.
//! * An order to withdraw counts only where a revoker of the trust file has signed it.
//!
//! Not promised: that a device whose identity is not pinned is who it says, and that what a device
//! says of itself (status, counts, list, checkpoint, records of its log) is of that device. The
//! broker's access list alone vouches for it; whoever uses a checkpoint verifies it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::audit::detached;
use crate::delivery::DeviceId;
use crate::delivery::event::{
    AuditEntry, Candidate, Change, CloudEvent, ControlAnswer, EventData, EventId, ListState,
    ReviewState, Stats, Status,
};
use crate::watchlist::Reference;
use crate::watchlist::keys::PublicKey;
use crate::watchlist::order::{self, Action};
use crate::watchlist::rotation;
use crate::watchlist::trust::Trust;

/// Most bytes of a message that is looked at: a candidate with its pictures, and as much again.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Where lists and rotations of the trust file are offered to a device.
const OFFER: &str = "watchlist/offer";
/// Most characters of a name in an event, such as a camera's.
const MAX_NAME: usize = 128;

/// One message, as it came.
#[derive(Debug, Clone, Copy)]
pub struct ArrivedMessage<'a> {
    /// Where it was published.
    pub topic: &'a str,
    /// Byte for byte.
    pub payload: &'a [u8],
    /// The user property `signature`.
    pub signature: Option<&'a str>,
}

/// Why a message is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetAside {
    /// More than [`MAX_MESSAGE`].
    Oversized,
    /// None of a device's topics.
    UnknownTopic,
    /// No event of this contract, or of another type than its topic carries.
    NotAnEvent,
    /// Of another device than its topic's.
    OtherDevice,
    /// Without the signature that the pinned identity gives.
    Unsigned,
    /// With one that does not hold.
    BadSignature,
    /// An order that nobody who may give it has signed.
    NotAuthentic,
    /// Other bytes, or another device, under the id of an event that is stored.
    OtherBytes,
}

impl SetAside {
    /// As it is counted and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAnEvent => "not_an_event",
            Self::OtherDevice => "other_device",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::NotAuthentic => "not_authentic",
            Self::OtherBytes => "other_bytes",
        }
    }
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What replaces what the same device said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaidKind {
    /// How it is.
    Status,
    /// Counts.
    Stats,
    /// Which list it has.
    List,
    /// The newest checkpoint of its audit log.
    Checkpoint,
}

impl SaidKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Stats => "stats",
            Self::List => "list",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A candidate's event, as far as the desk orders by it.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateEvent {
    /// Names the candidate.
    pub candidate: EventId,
    /// 1, or 2 for the update.
    pub sequence: u8,
    /// The camera.
    pub camera: String,
    /// What people call the place.
    pub place: Option<String>,
    /// When the device decided.
    pub decided: OffsetDateTime,
    /// The list.
    pub list: String,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: String,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq)]
pub enum AboutWhat {
    /// Somebody on the list may have been seen.
    Candidate(CandidateEvent),
    /// How far a review is.
    Review(ReviewState),
    /// How a control stands.
    Control(ControlAnswer),
    /// A record of the audit log.
    AuditEntry,
}

/// An event that is kept by its id.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrivedEvent {
    /// Its id; a repetition carries the same.
    pub id: EventId,
    /// The device.
    pub device: String,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// The device's signature, where it was checked.
    pub signature: Option<String>,
    /// What about.
    pub about: AboutWhat,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Intaken {
    /// Store it by its id, and say so to the device unless it is a record of its log.
    Event(Box<ArrivedEvent>),
    /// Replace what the device said before.
    Said {
        /// The device.
        device: String,
        /// What.
        what: SaidKind,
    },
    /// Erase what is about it.
    Withdraw {
        /// The list.
        list: Reference,
        /// The last version.
        through: u64,
        /// The entry; the whole list where absent.
        entry: Option<Reference>,
    },
    /// Nothing.
    Nothing(SetAside),
}

/// Who is believed.
pub struct Intake {
    root: String,
    identities: BTreeMap<String, PublicKey>,
    trust: Trust,
    beliefs: u64,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Intake {
    /// Takes what is published below `root`; `identities` are the pinned ones, by device.
    pub fn new(root: &str, identities: BTreeMap<String, PublicKey>, trust: Trust) -> Self {
        Self { root: root.to_owned(), identities, trust, beliefs: 0 }
    }

    /// Believes another trust file from now on.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
        self.beliefs += 1;
    }

    /// How often another trust file was believed: an order that was set aside under an earlier one
    /// may be genuine.
    pub fn beliefs(&self) -> u64 {
        self.beliefs
    }

    /// The serial of the keys that a device says to have taken over, where it is higher than that
    /// of those that count here. Nobody but the broker vouches for it.
    pub fn newer_keys(&self, message: ArrivedMessage<'_>) -> Option<u64> {
        let (device, below) = self.device_of(message.topic)?;
        if below != "watchlist/state" {
            return None;
        }
        let event: CloudEvent<ListState> = event_of(device, message.payload).ok()?;
        let change = event.data.last_change.filter(|c| c.what == Change::KeysRotated)?;
        let serial = change.detail.strip_prefix("serial ")?.parse().ok()?;
        (serial > self.trust.serial()).then_some(serial)
    }

    /// The device of a topic, and what is below it.
    fn device_of<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = topic.strip_prefix(&self.root)?.strip_prefix("/v1/")?;
        rest.split_once('/').filter(|(device, _)| DeviceId::new(device).is_ok())
    }

    /// The rotation in a message that was offered to a device; `None` where it is anything else.
    /// Nothing of it is believed.
    pub fn rotation<'a>(&self, message: ArrivedMessage<'a>) -> Option<&'a [u8]> {
        let (_, below) = self.device_of(message.topic)?;
        (below == OFFER && rotation::is_rotation(message.payload)).then_some(message.payload)
    }

    /// Whether a message is an offer to a device: lists are no business of a desk.
    pub fn is_offer(topic: &str) -> bool {
        topic.strip_suffix(OFFER).is_some_and(|before| before.ends_with('/'))
    }

    /// What is subscribed to, below the root.
    pub fn filters(root: &str) -> Vec<String> {
        let below = [
            "candidate",
            "review/state",
            "control/answer",
            "status",
            "stats",
            "watchlist/state",
            "audit/checkpoint",
            "audit/entry",
            "revoke",
            "revoke/+",
            OFFER,
        ];
        below.iter().map(|topic| format!("{root}/v1/+/{topic}")).collect()
    }

    /// What to do with a message.
    pub fn look_at(&self, message: ArrivedMessage<'_>) -> Intaken {
        self.read(message).unwrap_or_else(Intaken::Nothing)
    }

    fn read(&self, message: ArrivedMessage<'_>) -> Result<Intaken, SetAside> {
        if message.payload.len() > MAX_MESSAGE {
            return Err(SetAside::Oversized);
        }
        let rest = message.topic.strip_prefix(&self.root).and_then(|t| t.strip_prefix("/v1/"));
        let (device, what) = rest.and_then(|t| t.split_once('/')).ok_or(SetAside::UnknownTopic)?;
        DeviceId::new(device).map_err(|_| SetAside::UnknownTopic)?;
        match what {
            "candidate" => self.candidate(device, message),
            "review/state" => {
                let event: CloudEvent<ReviewState> = event_of(device, message.payload)?;
                let signature = self.signature(device, message)?;
                Ok(kept(
                    event.id,
                    device,
                    message.payload,
                    signature,
                    AboutWhat::Review(event.data),
                ))
            }
            "control/answer" => {
                let event: CloudEvent<ControlAnswer> = event_of(device, message.payload)?;
                let signature = self.signature(device, message)?;
                let about = AboutWhat::Control(event.data);
                Ok(kept(event.id, device, message.payload, signature, about))
            }
            "audit/entry" => {
                let event: CloudEvent<AuditEntry> = event_of(device, message.payload)?;
                Ok(kept(event.id, device, message.payload, None, AboutWhat::AuditEntry))
            }
            "status" => said::<Status>(device, message.payload, SaidKind::Status),
            "stats" => said::<Stats>(device, message.payload, SaidKind::Stats),
            "watchlist/state" => said::<ListState>(device, message.payload, SaidKind::List),
            "audit/checkpoint" => {
                std::str::from_utf8(message.payload).map_err(|_| SetAside::NotAnEvent)?;
                Ok(Intaken::Said { device: device.to_owned(), what: SaidKind::Checkpoint })
            }
            // An empty one clears what the broker keeps.
            order if is_revocation(order) && !message.payload.is_empty() => {
                let order = order::authenticate(message.payload, &self.trust);
                match order.map_err(|_| SetAside::NotAuthentic)?.action() {
                    Action::Revoke { list, through, entry } => Ok(Intaken::Withdraw {
                        list: list.clone(),
                        through: *through,
                        entry: entry.clone(),
                    }),
                    Action::Suspend { .. } => Err(SetAside::NotAuthentic),
                }
            }
            _ => Err(SetAside::UnknownTopic),
        }
    }

    fn candidate(&self, device: &str, message: ArrivedMessage<'_>) -> Result<Intaken, SetAside> {
        let event: CloudEvent<Candidate> = event_of(device, message.payload)?;
        let CloudEvent { id, data, .. } = event;
        if data.device != device {
            return Err(SetAside::OtherDevice);
        }
        let named = |text: &str| text.parse::<Reference>().is_ok();
        let shown = |text: &str| text.chars().count() <= MAX_NAME;
        let good = (1..=2).contains(&data.sequence)
            && named(&data.list.id)
            && named(&data.entry)
            && i64::try_from(data.list.version).is_ok()
            && shown(&data.camera)
            && data.place.as_deref().is_none_or(shown);
        if !good {
            return Err(SetAside::NotAnEvent);
        }
        let signature = self.signature(device, message)?;
        let about = AboutWhat::Candidate(CandidateEvent {
            candidate: data.candidate,
            sequence: data.sequence,
            camera: data.camera,
            place: data.place,
            decided: data.decided_at,
            list: data.list.id,
            version: data.list.version,
            entry: data.entry,
        });
        Ok(kept(id, device, message.payload, signature, about))
    }

    /// The signature of a device whose identity is pinned.
    fn signature(
        &self,
        device: &str,
        message: ArrivedMessage<'_>,
    ) -> Result<Option<String>, SetAside> {
        let Some(identity) = self.identities.get(device) else { return Ok(None) };
        let signature = message.signature.ok_or(SetAside::Unsigned)?;
        detached::verify(message.payload, signature, identity)
            .map_err(|_| SetAside::BadSignature)?;
        Ok(Some(signature.to_owned()))
    }
}

/// Whether orders to withdraw come there: with their id, or without.
fn is_revocation(below: &str) -> bool {
    below == "revoke" || below.strip_prefix("revoke/").is_some_and(|id| !id.contains('/'))
}

fn kept(
    id: EventId,
    device: &str,
    payload: &[u8],
    signature: Option<String>,
    about: AboutWhat,
) -> Intaken {
    let digest = Sha256::digest(payload).into();
    Intaken::Event(Box::new(ArrivedEvent {
        id,
        device: device.to_owned(),
        digest,
        signature,
        about,
    }))
}

fn event_of<T>(device: &str, payload: &[u8]) -> Result<CloudEvent<T>, SetAside>
where
    T: EventData + for<'de> Deserialize<'de>,
{
    let event: CloudEvent<T> = serde_json::from_slice(payload).map_err(|_| SetAside::NotAnEvent)?;
    if event.specversion != "1.0" || event.kind != T::TYPE {
        return Err(SetAside::NotAnEvent);
    }
    if event.source != device {
        return Err(SetAside::OtherDevice);
    }
    Ok(event)
}

fn said<T>(device: &str, payload: &[u8], what: SaidKind) -> Result<Intaken, SetAside>
where
    T: EventData + for<'de> Deserialize<'de>,
{
    event_of::<T>(device, payload)?;
    Ok(Intaken::Said { device: device.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture;
    use crate::watchlist::keys::SecretKey;
    use proptest::prelude::*;

    fn identity(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn intake() -> Intake {
        let pinned = BTreeMap::from([("pinned".to_owned(), identity(1).public())]);
        let people = [("signer", 1), ("signer", 2), ("revoker", 3)];
        Intake::new("site", pinned, Trust::parse(&fixture::trust_text(2, &people)).unwrap())
    }

    fn look(topic: &str, payload: &[u8], signature: Option<&str>) -> Intaken {
        intake().look_at(ArrivedMessage { topic, payload, signature })
    }

    fn golden(device: &str) -> Vec<u8> {
        let text = include_str!("../delivery/event/golden/candidate.v2.json");
        text.replace("cam-7", device).into_bytes()
    }

    #[test]
    fn a_candidate_is_taken_as_what_its_topic_says() {
        let Intaken::Event(event) = look("site/v1/gate/candidate", &golden("gate"), None) else {
            panic!("{:?}", look("site/v1/gate/candidate", &golden("gate"), None))
        };
        assert!(matches!(event.about, AboutWhat::Candidate(_)));
        assert_eq!((event.device.as_str(), &event.signature), ("gate", &None));
    }

    #[test]
    fn a_rotation_is_found_in_an_offer_alone_and_newer_keys_in_what_a_device_says_of_its_list() {
        let intake = intake();
        let keys = fixture::trust_text(2, &[("signer", 1), ("signer", 2)]);
        let rotation = rotation::sign(&keys, &fixture::key(1)).unwrap();
        let offered = |topic: &str, payload: &[u8]| {
            intake.rotation(ArrivedMessage { topic, payload, signature: None }).is_some()
        };
        assert!(offered("site/v1/gate/watchlist/offer", &rotation));
        assert!(!offered("site/v1/gate/watchlist/offer", b"age-encryption.org/v1"));
        for elsewhere in ["site/v1/gate/status", "other/v1/gate/watchlist/offer", "watchlist/offer"]
        {
            assert!(!offered(elsewhere, &rotation), "{elsewhere}");
        }
        assert!(Intake::is_offer("site/v1/gate/watchlist/offer"));
        assert!(!Intake::is_offer("site/v1/gate/not-a-watchlist/offers"));
        let golden = include_str!("../delivery/event/golden/watchlist-state.v2.json");
        let said = |what: &str, detail: &str| {
            let text = golden.replace("cam-7", "gate").replace("\"installed\"", what);
            let payload = text.replace("L-42 version 3", detail).into_bytes();
            let topic = "site/v1/gate/watchlist/state";
            intake.newer_keys(ArrivedMessage { topic, payload: &payload, signature: None })
        };
        assert_eq!(said("\"keys-rotated\"", "serial 7"), Some(7));
        assert_eq!(said("\"keys-rotated\"", "serial 0"), None, "it is the one that counts");
        assert_eq!(said("\"installed\"", "serial 7"), None);
        assert_eq!(said("\"keys-rotated\"", "7"), None);
    }

    #[test]
    fn what_is_not_to_be_believed_is_refused_by_name() {
        let good = golden("gate");
        let refused = |topic: &str, payload: &[u8]| look(topic, payload, None);
        let no = Intaken::Nothing;
        assert_eq!(refused("site/v1/other/candidate", &good), no(SetAside::OtherDevice));
        assert_eq!(refused("site/v1/gate/status", &good), no(SetAside::NotAnEvent));
        assert_eq!(refused("site/v1/gate/other", &good), no(SetAside::UnknownTopic));
        assert_eq!(refused("site/v1/../candidate", &good), no(SetAside::UnknownTopic));
        assert_eq!(refused("other/v1/gate/candidate", &good), no(SetAside::UnknownTopic));
        let large = vec![b'{'; MAX_MESSAGE + 1];
        assert_eq!(refused("site/v1/gate/candidate", &large), no(SetAside::Oversized));
        assert_eq!(refused("site/v1/gate/revoke/1", b"x"), no(SetAside::NotAuthentic));
    }

    #[test]
    fn a_device_whose_identity_is_pinned_has_to_sign() {
        let payload = golden("pinned");
        let topic = "site/v1/pinned/candidate";
        let no = Intaken::Nothing;
        assert_eq!(look(topic, &payload, None), no(SetAside::Unsigned));
        let forged = detached::sign(&payload, &identity(2));
        assert_eq!(look(topic, &payload, Some(&forged)), no(SetAside::BadSignature));
        let good = detached::sign(&payload, &identity(1));
        assert!(matches!(look(topic, &payload, Some(&good)), Intaken::Event(_)));
    }

    /// A state of a later version, as `control` is to readers of before: it ends nothing.
    #[test]
    fn a_state_of_a_review_that_is_not_known_is_set_aside_and_ends_no_review() {
        let golden = include_str!("../delivery/event/golden/review-state-control.v2.json");
        let state = |word: &str| {
            let text = golden.replace("\"control\"", &format!("{word:?}"));
            look("site/v1/cam-7/review/state", text.as_bytes(), None)
        };
        assert_eq!(state("of-a-later-version"), Intaken::Nothing(SetAside::NotAnEvent));
        let Intaken::Event(event) = state("control") else { panic!("{:?}", state("control")) };
        assert!(matches!(event.about, AboutWhat::Review(_)));
        let golden = include_str!("../delivery/event/golden/control-answer.v2.json");
        let answer = look("site/v1/cam-7/control/answer", golden.as_bytes(), None);
        let Intaken::Event(event) = answer else { panic!("{answer:?}") };
        assert!(matches!(event.about, AboutWhat::Control(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(topic in "\\PC{0,40}", payload: Vec<u8>) {
            let topic = format!("site/v1/{topic}");
            let _ = look(&topic, &payload, Some("x"));
            prop_assert!(matches!(look("site/v1/a/candidate", &payload, None), Intaken::Nothing(_)));
        }
    }
}
