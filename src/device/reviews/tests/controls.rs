use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::controls::ControlStep;
use super::*;
use crate::audit::record::ControlEnding;
use crate::delivery::event::{ControlAnswer, ControlStage};
use crate::review::control::{self, Control};
use crate::watchlist::seal;

/// Of the desk that registers controls.
const DESK: u8 = 8;
const SHOWN: [u8; 32] = [6; 32];

fn people() -> Trust {
    let keys = [("signer", 1), ("signer", 2), ("reviewer", 3), ("reviewer", 4), ("receiver", DESK)];
    Trust::parse(&fixture::trust_text(2, &keys)).expect("a trust file")
}

/// An id of the time so many seconds after 1970.
fn id_at(seconds: u64, salt: u8) -> CandidateId {
    let mut id = [salt; 16];
    id[..6].copy_from_slice(&(seconds * 1000).to_be_bytes()[2..]);
    (id[6], id[8]) = (0x70, 0x80);
    CandidateId(id)
}

/// A device, the desk's own key, and the time at which controls begin.
struct ControlDesk {
    site: Site,
    key: DeviceKey,
}

const NOW: u64 = 1_000_000;

impl ControlDesk {
    fn new() -> Self {
        Self { site: Site::new(), key: DeviceKey::generate().expect("a key") }
    }

    fn reviews(&self) -> Reviews {
        let mut reviews = self.site.reviews();
        reviews.tick_controls(Some(at(NOW).wall), || None);
        reviews
    }

    fn registration(&self, id: CandidateId) -> Vec<u8> {
        let candidate = candidate();
        let control = Control {
            device: self.site.config.device.id.parse().expect("a name"),
            id,
            payload: SHOWN,
            list: candidate.list.id.parse().expect("a name"),
            version: candidate.list.version,
            entry: candidate.entry.parse().expect("a name"),
            until: at(NOW + 3600).wall,
            scores_to: self.key.recipient().clone(),
        };
        control::register(&control, &fixture::key(DESK)).expect("a registration")
    }

    /// Registers it, and gives the answer with its records.
    fn register(&self, reviews: &mut Reviews, id: CandidateId, logged: bool) -> ControlStep {
        let site = ControlSite { now: Some(at(NOW).wall), logged, in_force: &|_| true };
        reviews.register(asked(&self.registration(id)), &people(), &site);
        let [step] = &reviews.take_control_steps()[..] else { panic!("one answer") };
        step.clone()
    }

    fn says(&self, reviews: &mut Reviews, id: CandidateId, reviewer: u8, opinion: Opinion) {
        let candidate = candidate();
        let verdict = Verdict {
            candidate: id,
            payload: SHOWN,
            list: candidate.list.id.parse().expect("a name"),
            version: candidate.list.version,
            device: self.site.config.device.id.parse().expect("a name"),
            opinion,
            confidence: Confidence::High,
            judged_at: OffsetDateTime::UNIX_EPOCH,
        };
        let key = &self.site.key;
        let sealed = give(&verdict, &fixture::key(reviewer), key.recipient()).expect("seals");
        reviews.follow(asked(&sealed), &people(), Some(key), Some(at(NOW + 1).wall));
    }

    /// What was said, as the desk reads it.
    fn scores(&self, answer: &ControlAnswer) -> Option<Vec<u8>> {
        let sealed = STANDARD.decode(answer.scores.as_ref()?).expect("base64");
        Some(seal::open(&sealed, &self.key).expect("it is sealed to the desk").to_vec())
    }
}

fn states(reviews: &mut Reviews) -> Vec<ReviewState> {
    reviews.take_steps().into_iter().map(|step| step.state).collect()
}

#[test]
fn a_control_is_recorded_answered_as_a_candidate_and_scored_for_its_desk_alone() {
    let desk = ControlDesk::new();
    let (id, mut reviews) = (id_at(NOW + 60, 7), desk.reviews());
    let registered = desk.register(&mut reviews, id, true);
    let [AuditEvent::ControlRegistered(record)] = &registered.records[..] else {
        panic!("{registered:?}")
    };
    assert_eq!((record.control, record.payload), (id.0, SHOWN));
    assert_eq!(registered.answer.state, ControlStage::Known);
    assert!(!reviews.is_stored(), "it has to survive a restart before it is answered");
    reviews.store(at(NOW));
    assert!(reviews.is_stored());

    desk.says(&mut reviews, id, 3, Opinion::Same);
    assert!(!reviews.is_stored());
    reviews.store(at(NOW + 1));
    let [first] = &reviews.take_steps()[..] else { panic!("one step") };
    assert!(matches!(first.records[..], [AuditEvent::Verdict(_)]), "{first:?}");
    let waits = ReviewState {
        candidate: EventId::from_u128(u128::from_be_bytes(id.0)),
        state: ReviewStage::Pending,
        given: 1,
        until: Some(at(NOW + 3600).wall),
        reviewer: Some(fixture::key(3).public().id().to_string()),
        envelope: first.state.envelope.clone(),
        refused: None,
        verdicts: Vec::new(),
    };
    assert_eq!(first.state, waits, "as of a candidate");

    let mut again = desk.reviews();
    let repeated = desk.register(&mut again, id, true);
    assert_eq!((repeated.answer.state, repeated.records.len()), (ControlStage::Known, 0));
    desk.says(&mut again, id, 4, Opinion::Same);
    let [second] = &again.take_steps()[..] else { panic!("one step") };
    let [AuditEvent::Verdict(_), AuditEvent::ControlEnded { control, how }] = &second.records[..]
    else {
        panic!("{second:?}")
    };
    assert_eq!((*control, *how), (id.0, ControlEnding::Judged));
    assert_eq!((second.state.state, second.state.given), (ReviewStage::Control, 0));
    assert_eq!(second.state.verdicts, [], "what was said is not told");
    let [over] = &again.take_control_steps()[..] else { panic!("one answer") };
    assert_eq!(over.answer.state, ControlStage::Judged);
    let scores = desk.scores(&over.answer).expect("two have judged");
    for reviewer in [3, 4] {
        let said = [&fixture::key(reviewer).public().id().to_bytes()[..], &[1]].concat();
        assert!(scores.windows(9).any(|w| w == said), "{reviewer} said same");
    }
    assert!(
        seal::open(
            &STANDARD.decode(over.answer.scores.clone().expect("scores")).expect("base64"),
            &desk.site.key
        )
        .is_err(),
        "the device itself cannot open it"
    );
    let counted = ReviewCounters { counted: 1, ..ReviewCounters::default() };
    assert_eq!(again.counters(), counted, "no outcome is counted");
}

#[test]
fn refuted_controls_are_no_false_alerts() {
    let desk = ControlDesk::new();
    let mut reviews = desk.reviews();
    for tracks in [0, 1000] {
        watch(&mut reviews, candidate().list.version, tracks, at(NOW));
    }
    for n in 0..30 {
        let id = id_at(NOW + 60, n);
        assert_eq!(desk.register(&mut reviews, id, true).answer.state, ControlStage::Known);
        for reviewer in [3, 4] {
            desk.says(&mut reviews, id, reviewer, Opinion::NotSame);
        }
        assert_eq!(reviews.take_control_steps().len(), 1, "it is over");
    }
    assert_eq!(reviews.blindness(), None);
    assert!(!reviews.budget.has_unstored_alerts());
}

#[test]
fn without_a_log_that_takes_it_no_control_is_taken() {
    let desk = ControlDesk::new();
    let (id, mut reviews) = (id_at(NOW + 60, 7), desk.reviews());
    let refused = desk.register(&mut reviews, id, false);
    assert_eq!((refused.answer.state, refused.records.len()), (ControlStage::Refused, 0));
    assert!(!refused.registers());
    let step = desk.register(&mut reviews, id, true);
    assert!(step.registers());
    let refused = reviews.unlogged(step);
    assert_eq!((refused.answer.state, refused.records.len()), (ControlStage::Refused, 0));
    desk.says(&mut reviews, id, 3, Opinion::Same);
    assert_eq!(states(&mut reviews)[0].state, ReviewStage::Unknown, "it is not known");
}

#[test]
fn what_the_device_publishes_is_judged_as_a_candidate_whatever_a_desk_says_of_it() {
    let desk = ControlDesk::new();
    let mut reviews = desk.reviews();
    let publish = |reviews: &mut Reviews, id: CandidateId, payload| {
        let mut candidate = candidate();
        candidate.candidate = EventId::from_u128(u128::from_be_bytes(id.0));
        let case = reviews.case(&candidate, at(NOW).wall).expect("reviewers are asked");
        reviews.add(&case, &[payload], at(NOW)).expect("it is remembered");
    };
    publish(&mut reviews, id_at(NOW + 1, 1), PAYLOAD);
    let by_id = desk.register(&mut reviews, id_at(NOW + 1, 1), true);
    assert_eq!(by_id.answer.state, ControlStage::Refused);
    publish(&mut reviews, id_at(NOW + 2, 2), SHOWN);
    let by_bytes = desk.register(&mut reviews, id_at(NOW + 60, 7), true);
    assert_eq!(by_bytes.answer.state, ControlStage::Refused);

    // The other way round, as nobody can foresee an id.
    let desk = ControlDesk::new();
    let (id, mut reviews) = (id_at(NOW + 60, 7), desk.reviews());
    assert_eq!(desk.register(&mut reviews, id, true).answer.state, ControlStage::Known);
    publish(&mut reviews, id, SHOWN);
    for reviewer in [3, 4] {
        desk.says(&mut reviews, id, reviewer, Opinion::Same);
    }
    let stages: Vec<_> = states(&mut reviews).into_iter().map(|s| s.state).collect();
    assert_eq!(stages, [ReviewStage::Pending, ReviewStage::Confirmed]);
}

#[test]
fn one_verdict_on_a_control_is_not_told_when_its_time_is_over_or_it_is_revoked() {
    let desk = ControlDesk::new();
    let id = id_at(NOW + 60, 7);
    let begin = || {
        let mut reviews = desk.reviews();
        desk.register(&mut reviews, id, true);
        desk.says(&mut reviews, id, 3, Opinion::Same);
        reviews.take_steps();
        reviews
    };
    let mut expired = begin();
    expired.tick_controls(None, || Some(people()));
    assert!(expired.take_steps().is_empty(), "the clock is not believed");
    expired.tick_controls(Some(at(NOW + 3600).wall), || Some(people()));
    let mut withdrawn = begin();
    let list = candidate().list;
    withdrawn.withdraw(&list.id, list.version, Some(&candidate().entry));
    for (mut reviews, wanted) in
        [(expired, ControlStage::TimeOver), (withdrawn, ControlStage::Withdrawn)]
    {
        let [state] = &states(&mut reviews)[..] else { panic!("one state") };
        assert_eq!((state.state, state.given), (ReviewStage::Control, 0));
        let [over] = &reviews.take_control_steps()[..] else { panic!("one answer") };
        assert_eq!((over.answer.state, &over.answer.scores), (wanted, &None));
    }
}

#[test]
fn nobody_but_a_pinned_desk_registers_and_only_while_clock_and_reviewers_are_there() {
    let desk = ControlDesk::new();
    let (id, mut reviews) = (id_at(NOW + 60, 7), desk.reviews());
    let site = |now| ControlSite { now, logged: true, in_force: &|_| true };
    let registration = desk.registration(id);
    reviews.register(asked(&registration), &trust(&[3, 4]), &site(Some(at(NOW).wall)));
    reviews.register(asked(b"no registration"), &people(), &site(Some(at(NOW).wall)));
    assert_eq!(reviews.take_control_steps(), [], "nobody is answered");
    let mut minutes = (0..).map(|minute| Monotonic::from_secs(60 * minute));
    let mut stage = |reviews: &mut Reviews, site: ControlSite<'_>| {
        let at = minutes.next().expect("there is always a later one");
        reviews.register(Asked { message: &registration, at }, &people(), &site);
        reviews.take_control_steps()[0].answer.state
    };
    assert_eq!(stage(&mut reviews, site(None)), ControlStage::Refused);
    let elsewhere = ControlSite { in_force: &|_| false, ..site(Some(at(NOW).wall)) };
    assert_eq!(stage(&mut reviews, elsewhere), ControlStage::Refused);
    reviews.set_keys(Some(&trust(&[3])), Some(&desk.site.key));
    reviews.tick_controls(Some(at(NOW).wall), || None);
    assert_eq!(stage(&mut reviews, site(Some(at(NOW).wall))), ControlStage::Refused);
    reviews.set_keys(Some(&trust(&[3, 4])), Some(&desk.site.key));
    reviews.tick_controls(Some(at(NOW).wall), || None);
    assert_eq!(stage(&mut reviews, site(Some(at(NOW).wall))), ControlStage::Known);
}

#[test]
fn a_replayed_registration_is_answered_at_growing_intervals_and_is_never_news() {
    let desk = ControlDesk::new();
    let mut reviews = desk.reviews();
    let registration = desk.registration(id_at(NOW + 1, 1));
    let in_force = |_: &Control| true;
    let site = ControlSite { now: Some(at(NOW).wall), logged: true, in_force: &in_force };
    let mut steps = Vec::new();
    for seconds in 0..3600 {
        let asked = Asked { message: &registration, at: Monotonic::from_secs(seconds) };
        reviews.register(asked, &people(), &site);
        steps.extend(reviews.take_control_steps());
    }
    assert!((2..16).contains(&steps.len()), "{}", steps.len());
    assert!(steps.iter().all(|step| step.telling == Telling::Reply));
    assert!(steps[1..].iter().all(|step| step.records.is_empty() && !step.registers()));
    assert_eq!(reviews.counters(), ReviewCounters::default(), "no count tells of controls");
}
