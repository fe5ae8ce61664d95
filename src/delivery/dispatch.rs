//! Which devices of a fleet have followed what was sent to them, and to whom it is sent again.
//! Sans-IO: `courier` moves what this decides.
//!
//! Promises:
//! * Nothing counts as followed but the device's own word in `watchlist/state`.
//! * A refusal that was published before anything was sent is not taken for an answer.
//! * What is not answered is sent again, at growing intervals.
//! * How a device that has followed is said to be is what it has said since, never what it said
//!   before.
//! * A device's messages are read loosely: words that a newer version says are kept as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::topics::{REVIEW_STATE, STATUS, WATCHLIST_STATE};

/// First and longest wait before something is sent again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// What is sent, and how an answer to it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// A revocation or a suspension, by its id.
    Order(String),
    /// A list, by the digest of its signed content where that is known.
    List(Option<String>),
    /// A rotation of the keys, by its serial.
    Keys(u64),
    /// A verdict, by what is judged, who judges, and its bytes.
    Verdict {
        /// Id of the candidate.
        candidate: String,
        /// Id of the reviewer's key.
        reviewer: String,
        /// Digest of the envelope: the same reviewer may have sent another one.
        envelope: String,
    },
}

/// What became of it at one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderOutcome {
    /// The device says that it has done it.
    Followed,
    /// The device says why not, in `detail`.
    Refused,
    /// The device says that the order is for others.
    NotConcerned,
    /// Nothing was heard about it.
    NoAnswer,
}

impl std::fmt::Display for OrderOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Followed => "followed",
            Self::Refused => "refused",
            Self::NotConcerned => "not concerned",
            Self::NoAnswer => "no answer",
        })
    }
}

/// A list, as a device names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListHeard {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// Its end.
    pub expires: String,
}

/// What the last message about lists did, as a device says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeHeard {
    /// In one word.
    pub what: String,
    /// The order's id, or why not.
    pub detail: String,
    /// When.
    pub at: String,
}

/// `watchlist/state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHeard {
    /// The list in force.
    #[serde(default)]
    pub list: Option<ListHeard>,
    /// Digest of its signed content.
    #[serde(default)]
    pub digest: Option<String>,
    /// Entries that can still be matched.
    #[serde(default)]
    pub entries: u64,
    /// What the last message about lists did.
    #[serde(default)]
    pub last_change: Option<ChangeHeard>,
}

/// `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusHeard {
    /// In one word.
    pub state: String,
    /// Whether anybody is matched.
    #[serde(default)]
    pub matching: bool,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
    /// When the device said so, by its clock; absent where that cannot be read.
    #[serde(skip)]
    pub at: Option<OffsetDateTime>,
}

/// `review/state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewHeard {
    /// The candidate.
    pub candidate: String,
    /// How far its review is, in one word.
    pub state: String,
    /// Whose verdict is answered.
    #[serde(default)]
    pub reviewer: Option<String>,
    /// Which of them; absent from devices that do not say it.
    #[serde(default)]
    pub envelope: Option<String>,
    /// Why it does not count.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Something that a device published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// `status`.
    Status(StatusHeard),
    /// `watchlist/state`.
    State(StateHeard),
    /// `review/state`.
    Review(ReviewHeard),
}

impl Heard {
    /// What came on `below`, the part of the topic after the device; `None` where it is nothing
    /// that is looked at, or cannot be read.
    pub fn read(below: &str, payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope<T> {
            data: T,
        }
        #[derive(Deserialize)]
        struct Dated {
            time: String,
        }
        fn data<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Option<T> {
            Some(serde_json::from_slice::<Envelope<T>>(payload).ok()?.data)
        }
        match below {
            STATUS => {
                let mut status: StatusHeard = data(payload)?;
                let dated = serde_json::from_slice::<Dated>(payload).ok();
                status.at = dated.and_then(|dated| date(&dated.time));
                Some(Self::Status(status))
            }
            WATCHLIST_STATE => data(payload).map(Self::State),
            REVIEW_STATE => data(payload).map(Self::Review),
            _ => None,
        }
    }
}

fn date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// One device.
#[derive(Debug, Clone, Default)]
pub struct DeviceProgress {
    /// What it said of itself last, be it before it followed what was sent; see
    /// [`Dispatch::status`].
    status: Option<StatusHeard>,
    /// That was heard after it had followed.
    status_is_newer: bool,
    /// What it says of its list.
    pub state: Option<StateHeard>,
    /// What it says of the verdict that was sent to it.
    pub review: Option<ReviewHeard>,
    /// How often something was sent to it.
    pub sent: u32,
    /// Why the broker did not take what was sent to it.
    pub turned_away: Option<String>,
    /// What it said before anything was sent.
    before: Option<ChangeHeard>,
    /// When it is sent again.
    due: Duration,
    /// On its way to the broker.
    out: bool,
}

/// A fleet, and what is sent to it.
#[derive(Debug)]
pub struct Dispatch {
    errand: Option<Errand>,
    /// Devices that nobody named are listed, too.
    open: bool,
    devices: BTreeMap<String, DeviceProgress>,
    /// What the broker keeps has all come.
    ready: bool,
}

impl Dispatch {
    /// Sends `errand` to `devices`.
    pub fn new(errand: Errand, devices: impl IntoIterator<Item = String>) -> Self {
        Self { errand: Some(errand), open: false, devices: named(devices), ready: false }
    }

    /// Sends nothing: asks what `devices` say, or all that have said anything where none is named.
    pub fn survey(devices: impl IntoIterator<Item = String>) -> Self {
        let devices = named(devices);
        Self { errand: None, open: devices.is_empty(), devices, ready: false }
    }

    /// The devices by name.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &DeviceProgress)> {
        self.devices.iter().map(|(id, progress)| (id.as_str(), progress))
    }

    /// A device said something.
    pub fn heard(&mut self, device: &str, heard: Heard) {
        if self.open && !self.devices.contains_key(device) {
            self.devices.insert(device.to_owned(), DeviceProgress::default());
        }
        let Some(progress) = self.devices.get_mut(device) else { return };
        match heard {
            Heard::Status(status) => {
                // What the broker kept may be of any age.
                progress.status_is_newer =
                    self.ready && self.errand.as_ref().is_some_and(|e| has_followed(e, progress));
                progress.status = Some(status);
            }
            Heard::State(state) => {
                if progress.sent == 0 {
                    progress.before.clone_from(&state.last_change);
                }
                progress.state = Some(state);
            }
            Heard::Review(review) => {
                let asked = match &self.errand {
                    Some(Errand::Verdict { candidate, reviewer, envelope }) => {
                        review.candidate == *candidate
                            && review.reviewer.as_ref() == Some(reviewer)
                            && review.envelope.as_ref().is_none_or(|named| named == envelope)
                    }
                    _ => false,
                };
                if asked && progress.sent > 0 {
                    progress.review = Some(review);
                }
            }
        }
    }

    /// What devices are to be heard on, below their names.
    pub fn topics(&self) -> &'static [&'static str] {
        match &self.errand {
            Some(Errand::Verdict { .. }) => &[STATUS, WATCHLIST_STATE, REVIEW_STATE],
            _ => &[STATUS, WATCHLIST_STATE],
        }
    }

    /// What the broker keeps has all come.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    /// The link was lost: what was on its way is sent again, once what the broker keeps has come
    /// anew.
    pub fn link_lost(&mut self) {
        self.ready = false;
        self.devices.values_mut().for_each(|progress| progress.out = false);
    }

    /// The device to send to now, if any; it counts as sent.
    pub fn next(&mut self, now: Duration) -> Option<String> {
        let errand = self.errand.as_ref().filter(|_| self.ready)?;
        let due = |p: &DeviceProgress| !p.out && p.due <= now && waits(errand, p);
        let (id, progress) = self.devices.iter_mut().find(|(_, progress)| due(progress))?;
        let wait = AGAIN.0.saturating_mul(1 << progress.sent.min(8)).min(AGAIN.1);
        (progress.out, progress.due) = (true, now + wait);
        progress.sent += 1;
        Some(id.clone())
    }

    /// The broker answered what was sent to `device`: not taken, for `turned_away`.
    pub fn settled(&mut self, device: &str, turned_away: Option<String>) {
        if let Some(progress) = self.devices.get_mut(device) {
            (progress.out, progress.turned_away) = (false, turned_away);
        }
    }

    /// Whether nothing is left to wait for.
    pub fn is_done(&self) -> bool {
        // What is only asked for, the broker keeps.
        let waits = |p| self.errand.as_ref().is_some_and(|errand| waits(errand, p));
        self.ready && !self.devices.values().any(waits)
    }

    /// Whether each device that has followed has said how it is since.
    pub fn is_current(&self) -> bool {
        self.devices.values().all(|p| p.status.is_none() || self.status(p).is_some())
    }

    /// How a device is, as it said last; `None` where that was before it followed what was sent.
    pub fn status<'a>(&self, progress: &'a DeviceProgress) -> Option<&'a StatusHeard> {
        let status = progress.status.as_ref()?;
        let followed = self.errand.as_ref().is_some_and(|errand| has_followed(errand, progress));
        let change = progress.state.as_ref().and_then(|state| state.last_change.as_ref());
        let is_newer = |change: &ChangeHeard| {
            status.at.zip(date(&change.at)).is_some_and(|(said, done)| said >= done)
        };
        let holds = !followed || progress.status_is_newer || change.is_none_or(is_newer);
        holds.then_some(status)
    }

    /// What became of it at a device, and in the device's words why.
    pub fn outcome(&self, progress: &DeviceProgress) -> (OrderOutcome, Option<String>) {
        match &self.errand {
            Some(errand) => judge(errand, progress),
            None => (OrderOutcome::NoAnswer, None),
        }
    }
}

fn named(devices: impl IntoIterator<Item = String>) -> BTreeMap<String, DeviceProgress> {
    devices.into_iter().map(|id| (id, DeviceProgress::default())).collect()
}

/// Whether an answer is still to come. A list or keys that are refused are not offered again.
fn waits(errand: &Errand, progress: &DeviceProgress) -> bool {
    judge(errand, progress).0 == OrderOutcome::NoAnswer
}

/// Whether the device has done something that may change how it is. A verdict changes nothing.
fn has_followed(errand: &Errand, progress: &DeviceProgress) -> bool {
    !matches!(errand, Errand::Verdict { .. }) && judge(errand, progress).0 == OrderOutcome::Followed
}

fn judge(errand: &Errand, progress: &DeviceProgress) -> (OrderOutcome, Option<String>) {
    let none = (OrderOutcome::NoAnswer, progress.turned_away.clone());
    if let Errand::Verdict { .. } = errand {
        return match &progress.review {
            None => none,
            Some(ReviewHeard { refused: Some(why), .. }) => {
                (OrderOutcome::Refused, Some(why.clone()))
            }
            Some(review) => (OrderOutcome::Followed, Some(review.state.clone())),
        };
    }
    let Some(state) = &progress.state else { return none };
    let change = state.last_change.as_ref();
    let new = change.filter(|c| progress.sent > 0 && progress.before.as_ref() != Some(*c));
    let refused = || match new {
        Some(change) if change.what == "refused" => {
            (OrderOutcome::Refused, Some(change.detail.clone()))
        }
        _ => none.clone(),
    };
    match errand {
        Errand::Order(id) => match change.filter(|c| c.detail == *id) {
            None => none,
            Some(change) => match change.what.as_str() {
                "order-refused" => (OrderOutcome::Refused, Some("its time is over".to_owned())),
                "not-concerned" => (OrderOutcome::NotConcerned, None),
                what => (OrderOutcome::Followed, Some(what.to_owned())),
            },
        },
        Errand::List(Some(digest)) if state.digest.as_ref() == Some(digest) => {
            (OrderOutcome::Followed, Some("installed".to_owned()))
        }
        Errand::List(None) if new.is_some_and(|c| c.what == "installed") => {
            (OrderOutcome::Followed, Some("installed".to_owned()))
        }
        Errand::Keys(serial)
            if change.is_some_and(|c| {
                c.what == "keys-rotated" && c.detail == format!("serial {serial}")
            }) =>
        {
            (OrderOutcome::Followed, Some("keys-rotated".to_owned()))
        }
        Errand::List(_) | Errand::Keys(_) => refused(),
        Errand::Verdict { .. } => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    fn state(what: &str, detail: &str, at: &str) -> Heard {
        let change = ChangeHeard { what: what.into(), detail: detail.into(), at: at.into() };
        Heard::State(StateHeard { last_change: Some(change), ..StateHeard::default() })
    }

    fn to_two(errand: Errand) -> Dispatch {
        Dispatch::new(errand, ["a", "b"].map(str::to_owned))
    }

    fn outcomes(dispatch: &Dispatch) -> Vec<OrderOutcome> {
        dispatch.devices().map(|(_, p)| dispatch.outcome(p).0).collect()
    }

    #[test]
    fn an_order_is_sent_until_each_device_names_it() {
        let mut dispatch = to_two(Errand::Order("07".into()));
        assert_eq!(dispatch.next(AT), None, "what the broker keeps is heard first");
        dispatch.heard("b", state("suspended", "06", "t"));
        dispatch.ready();
        let sent: Vec<_> = std::iter::from_fn(|| dispatch.next(AT)).collect();
        assert_eq!(sent, ["a", "b"]);
        dispatch.settled("a", None);
        dispatch.settled("b", None);
        dispatch.heard("a", state("list-revoked", "07", "t"));
        assert_eq!(outcomes(&dispatch), [OrderOutcome::Followed, OrderOutcome::NoAnswer]);
        assert!(!dispatch.is_done());
        assert_eq!(dispatch.next(AT), None, "not at once");
        assert_eq!(dispatch.next(AT + AGAIN.1), Some("b".into()));
        dispatch.heard("b", state("not-concerned", "07", "t"));
        assert!(dispatch.is_done());
        assert_eq!(outcomes(&dispatch), [OrderOutcome::Followed, OrderOutcome::NotConcerned]);
    }

    #[test]
    fn who_has_it_already_gets_nothing() {
        let mut dispatch = to_two(Errand::List(Some("d1".into())));
        let has = StateHeard { digest: Some("d1".into()), ..StateHeard::default() };
        dispatch.heard("a", Heard::State(has));
        dispatch.ready();
        assert_eq!([dispatch.next(AT), dispatch.next(AT)], [Some("b".into()), None]);
    }

    #[test]
    fn a_refusal_of_before_is_no_answer_and_a_new_one_is() {
        for errand in [Errand::List(None), Errand::List(Some("d".into())), Errand::Keys(2)] {
            let mut dispatch = Dispatch::new(errand, ["a".to_owned()]);
            dispatch.heard("a", state("refused", "over-budget", "noon"));
            dispatch.ready();
            assert_eq!(dispatch.next(AT), Some("a".into()));
            assert_eq!(outcomes(&dispatch), [OrderOutcome::NoAnswer]);
            dispatch.heard("a", state("refused", "over-budget", "later"));
            let (_, progress) = dispatch.devices().next().expect("one");
            let refused = (OrderOutcome::Refused, Some("over-budget".to_owned()));
            assert_eq!(dispatch.outcome(progress), refused);
            assert!(dispatch.is_done());
        }
    }

    #[test]
    fn a_verdict_is_answered_by_the_review_of_its_candidate_to_its_reviewer() {
        let [candidate, reviewer, envelope] = ["c", "r", "e"].map(str::to_owned);
        let errand = Errand::Verdict { candidate, reviewer, envelope };
        let review = |candidate: &str, reviewer: &str, refused: Option<&str>| {
            Heard::Review(ReviewHeard {
                candidate: candidate.into(),
                state: "pending".into(),
                reviewer: Some(reviewer.into()),
                envelope: None,
                refused: refused.map(str::to_owned),
            })
        };
        let named = |heard: Heard, envelope: &str| match heard {
            Heard::Review(review) => {
                Heard::Review(ReviewHeard { envelope: Some(envelope.into()), ..review })
            }
            other => other,
        };
        for (refused, outcome) in
            [(None, OrderOutcome::Followed), (Some("twice"), OrderOutcome::Refused)]
        {
            let mut dispatch = Dispatch::new(errand.clone(), ["a".to_owned()]);
            assert!(dispatch.topics().contains(&"review/state"));
            dispatch.ready();
            dispatch.heard("a", review("c", "r", None));
            assert_eq!(dispatch.next(AT), Some("a".into()), "said before it was sent");
            dispatch.heard("a", review("d", "r", None));
            dispatch.heard("a", review("c", "s", None));
            dispatch.heard("a", named(review("c", "r", Some("the other one")), "f"));
            assert_eq!(outcomes(&dispatch), [OrderOutcome::NoAnswer], "not to this envelope");
            let answer = review("c", "r", refused);
            dispatch.heard("a", if refused.is_some() { named(answer, "e") } else { answer });
            assert_eq!(outcomes(&dispatch), [outcome]);
            assert!(dispatch.is_done());
        }
    }

    #[test]
    fn what_the_link_lost_is_sent_again() {
        let mut dispatch = to_two(Errand::Keys(3));
        dispatch.ready();
        assert!(dispatch.next(AT).is_some() && dispatch.next(AT).is_some());
        assert_eq!(dispatch.next(AT + AGAIN.1), None, "on its way");
        dispatch.link_lost();
        assert_eq!(dispatch.next(AT + AGAIN.1), None, "what was said meanwhile is heard first");
        assert!(!dispatch.is_done());
        dispatch.ready();
        assert_eq!(dispatch.next(AT + AGAIN.1), Some("a".into()));
        dispatch.heard("a", state("keys-rotated", "serial 3", "t"));
        assert_eq!(outcomes(&dispatch), [OrderOutcome::Followed, OrderOutcome::NoAnswer]);
    }

    fn status(state: &str, at: &str) -> Heard {
        let text = format!(r#"{{"time":"{at}","data":{{"state":"{state}"}}}}"#);
        Heard::read("status", text.as_bytes()).expect("a status")
    }

    #[test]
    fn how_a_device_is_that_has_followed_is_what_it_has_said_since() {
        let [before, then, after] =
            ["08", "09", "10"].map(|minute| format!("2027-01-01T08:{minute}:00.5Z"));
        let mut dispatch = Dispatch::new(Errand::Order("07".into()), ["a".to_owned()]);
        let said = |dispatch: &Dispatch| {
            let (_, progress) = dispatch.devices().next().expect("one");
            dispatch.status(progress).map(|s| s.state.clone())
        };
        dispatch.heard("a", status("online", &before));
        dispatch.ready();
        assert_eq!(dispatch.next(AT), Some("a".into()));
        assert_eq!(said(&dispatch).as_deref(), Some("online"), "nothing has changed yet");
        dispatch.heard("a", state("list-revoked", "07", &then));
        assert!(dispatch.is_done() && !dispatch.is_current());
        assert_eq!(said(&dispatch), None, "of before");
        dispatch.heard("a", status("blind", &after));
        assert!(dispatch.is_current());
        assert_eq!(said(&dispatch).as_deref(), Some("blind"));
        // A last will was written before, and is heard after.
        dispatch.heard("a", status("offline", &before));
        assert_eq!(said(&dispatch).as_deref(), Some("offline"));
        // After the link was made again the broker says what it kept.
        dispatch.link_lost();
        dispatch.heard("a", status("online", &before));
        assert_eq!(said(&dispatch), None);
    }

    #[test]
    fn a_survey_lists_whoever_has_said_something() {
        let mut dispatch = Dispatch::survey([]);
        let status = br#"{"data":{"state":"glowing","matching":true,"new":1}}"#;
        dispatch.heard("cam", Heard::read("status", status).expect("read loosely"));
        assert_eq!(Heard::read("stats", status), None);
        assert_eq!(Heard::read("status", b"junk"), None);
        dispatch.ready();
        assert_eq!(dispatch.next(AT), None);
        let names: Vec<&str> = dispatch.devices().map(|(id, _)| id).collect();
        assert_eq!(names, ["cam"]);
    }
}
