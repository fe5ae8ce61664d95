use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::judgement::Confidence;
use crate::review::control;
use crate::review::docket::{Judged, NewCase, Notice};
use crate::review::explored::{Explored, OnePerson, explore, person};
use crate::review::verdict::Verdict;
use crate::watchlist::fixture;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
const PAYLOAD: [u8; 32] = [1; 32];

/// An id of the time so many milliseconds after the start.
fn id_at(ms: i64, salt: u8) -> CandidateId {
    let at = milliseconds(START.saturating_add(Duration::milliseconds(ms)));
    let mut id = [salt; 16];
    id[..6].copy_from_slice(&at.to_be_bytes()[2..]);
    (id[6], id[8]) = (0x70, 0x80);
    CandidateId(id)
}

fn control_id() -> CandidateId {
    id_at(1000, 7)
}

fn trust_of(reviewers: &[u8]) -> Trust {
    OnePerson::Named.trust_of(reviewers)
}

fn trust() -> Trust {
    trust_of(&[3, 4, 5, 6])
}

fn name(text: &str) -> Reference {
    text.parse().expect("a name")
}

fn key() -> Recipient {
    // A fixed one, so that histories can be compared.
    let text = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    text.parse().expect("a key")
}

fn plain() -> control::Control {
    control::Control {
        device: name("gate-1"),
        id: control_id(),
        payload: PAYLOAD,
        list: name("L-42"),
        version: 3,
        entry: name("E-1"),
        until: START + Duration::HOUR,
        scores_to: key(),
    }
}

fn signed(control: control::Control, digest: u8) -> SignedControl {
    SignedControl::assumed(control, fixture::key(8).public().id(), [digest; 32])
}

fn at<'a>(now: OffsetDateTime, candidates: &'a Docket) -> Admission<'a> {
    Admission { now, deadline: Duration::HOUR, candidates, in_force: true }
}

fn empty() -> ControlDocket {
    let mut docket = ControlDocket::default();
    docket.begin(START, &Docket::default());
    docket
}

fn docket() -> ControlDocket {
    let mut docket = empty();
    let taken = docket.register(&signed(plain(), 1), &at(START, &Docket::default()));
    assert!(matches!(taken, Ok(Registered::New(Waiting { verdicts: 0, .. }))), "{taken:?}");
    docket
}

fn id(reviewer: u8) -> KeyId {
    fixture::key(reviewer).public().id()
}

fn said(reviewer: u8, opinion: Opinion) -> SignedVerdict {
    let verdict = Verdict {
        candidate: control_id(),
        payload: PAYLOAD,
        list: name("L-42"),
        version: 3,
        device: name("gate-1"),
        opinion,
        confidence: Confidence::High,
        judged_at: START,
    };
    SignedVerdict::assumed(verdict, id(reviewer))
}

fn says(docket: &mut ControlDocket, reviewer: u8, opinion: Opinion) -> JudgedControl {
    docket.judge(&said(reviewer, opinion), &trust(), START).expect("it is known")
}

fn over(judged: JudgedControl) -> Option<ControlOver> {
    match judged {
        JudgedControl::Counts(ControlNotice::Over(over)) => Some(over),
        _ => None,
    }
}

fn score(over: &ControlOver) -> Vec<(KeyId, bool)> {
    over.score.as_ref().map(|score| score.said().to_vec()).unwrap_or_default()
}

#[test]
fn it_is_scored_once_two_people_have_judged_and_says_who_said_same() {
    let mut docket = docket();
    let first = says(&mut docket, 3, Opinion::Same);
    assert!(matches!(first, JudgedControl::Counts(ControlNotice::Waiting(_))), "{first:?}");
    let again = says(&mut docket, 4, Opinion::Same);
    let JudgedControl::Not { why: NotCounted::SamePerson, .. } = again else { panic!("{again:?}") };
    let second = over(says(&mut docket, 5, Opinion::Same)).expect("two have judged");
    assert_eq!(second.end, ControlEnd::Judged);
    assert_eq!(score(&second), [(id(3), true), (id(5), true)]);
    let late = says(&mut docket, 6, Opinion::NotSame);
    let JudgedControl::Not { why: NotCounted::Decided, standing: ControlNotice::Over(late) } = late
    else {
        panic!("{late:?}")
    };
    assert_eq!(score(&late), score(&second), "what is over stays as it was");
    assert_eq!(docket.waiting(), 0);
}

#[test]
fn where_two_differ_nothing_is_told_before_the_third_or_the_end() {
    let differ = || {
        let mut docket = docket();
        says(&mut docket, 3, Opinion::Same);
        let second = says(&mut docket, 5, Opinion::NotSame);
        let JudgedControl::Counts(ControlNotice::Waiting(waiting)) = second else {
            panic!("{second:?}")
        };
        assert!(waiting.third_needed && waiting.verdicts == 2);
        docket
    };
    let both = [(id(3), true), (id(5), false)];
    let third = over(says(&mut differ(), 6, Opinion::CannotJudge)).expect("three have judged");
    assert_eq!(score(&third), [&both[..], &[(id(6), false)]].concat());

    let end = START + Duration::HOUR;
    let mut expired = differ();
    assert!(!expired.is_due(START) && expired.is_due(end));
    let [late] = &expired.expire(end, Some(&trust()))[..] else { panic!("one is over") };
    assert_eq!((late.end, score(late)), (ControlEnd::TimeOver, both.to_vec()));
    assert!(expired.expire(end, Some(&trust())).is_empty(), "said once");
    let [untold] = &differ().expire(end, None)[..] else { panic!("one is over") };
    assert_eq!(untold.score, None, "no keys are believed");
    let [alone] = &differ().expire(end, Some(&trust_of(&[5, 6])))[..] else { panic!("one") };
    assert_eq!(alone.score, None, "one of two is no reviewer any more");
}

#[test]
fn one_verdict_alone_is_never_told() {
    let end = START + Duration::HOUR;
    for opinion in Opinion::ALL {
        let mut expired = docket();
        says(&mut expired, 3, *opinion);
        let mut withdrawn = expired.clone();
        let [over] = &expired.expire(end, Some(&trust()))[..] else { panic!("one is over") };
        assert_eq!((over.end, &over.score), (ControlEnd::TimeOver, &None));
        assert!(withdrawn.withdraw(&name("L-42"), 2, None).is_empty());
        assert!(withdrawn.withdraw(&name("L-42"), 3, Some(&name("E-2"))).is_empty());
        let [over] = &withdrawn.withdraw(&name("L-42"), 3, Some(&name("E-1")))[..] else {
            panic!("one is over")
        };
        assert_eq!((over.end, &over.score), (ControlEnd::Withdrawn, &None));
        for docket in [expired, withdrawn] {
            // Nor by what is stored: another opinion leaves the same bytes.
            assert_eq!(docket.controls[0].case.verdicts, []);
            let Some(ControlNotice::Over(later)) = docket.standing(control_id()) else {
                panic!("it is remembered")
            };
            assert_eq!(later.score, None);
        }
    }
}

#[test]
fn what_was_published_is_never_a_control() {
    let refused = |docket: &mut ControlDocket, id, payload, candidates: &Docket| {
        let control = control::Control { id, payload, ..plain() };
        docket.register(&signed(control, 1), &at(START, candidates)).err()
    };
    let none = Docket::default();
    let mut docket = empty();
    docket.publish(id_at(500, 1), [5; 32]);
    let by_id = refused(&mut docket, id_at(500, 1), PAYLOAD, &none);
    assert_eq!(by_id, Some(NotRegistered::PublishedId));
    let by_bytes = refused(&mut docket, id_at(501, 1), [5; 32], &none);
    assert_eq!(by_bytes, Some(NotRegistered::PublishedEvent));
    for before in [0, -1, -86_400_000] {
        let of_before = refused(&mut docket, id_at(before, 9), PAYLOAD, &none);
        assert_eq!(of_before, Some(NotRegistered::PublishedId), "{before}");
    }
    // One that waits since another start of the program.
    let mut candidates = Docket::default();
    let case = NewCase {
        candidate: id_at(700, 3),
        payloads: vec![[6; 32]],
        list: name("L-42"),
        version: 3,
        entry: name("E-1"),
        until: START + Duration::HOUR,
    };
    candidates.add(case).expect("room");
    let waits = refused(&mut docket, id_at(700, 3), PAYLOAD, &candidates);
    assert_eq!(waits, Some(NotRegistered::PublishedId));
    let waits = refused(&mut docket, id_at(701, 3), [6; 32], &candidates);
    assert_eq!(waits, Some(NotRegistered::PublishedEvent));
    // The clock was put back since.
    let mut restarted = ControlDocket::default();
    restarted.begin(START, &candidates);
    let between = refused(&mut restarted, id_at(699, 9), PAYLOAD, &Docket::default());
    assert_eq!(between, Some(NotRegistered::PublishedId));
    assert_eq!(refused(&mut restarted, id_at(701, 9), PAYLOAD, &Docket::default()), None);
}

#[test]
fn of_more_than_can_be_known_one_by_one_all_that_came_before_is_refused() {
    let mut docket = empty();
    for n in 0..=MAX_PUBLISHED as i64 {
        docket.publish(id_at(1 + n, 1), [5; 32]);
    }
    let refused = |docket: &mut ControlDocket, id| {
        let control = control::Control { id, ..plain() };
        docket.register(&signed(control, 1), &at(START, &Docket::default())).err()
    };
    assert_eq!(docket.published.recent.len(), MAX_PUBLISHED);
    // The first is forgotten one by one, and no id of its time is taken.
    assert_eq!(refused(&mut docket, id_at(1, 1)), Some(NotRegistered::PublishedId));
    assert_eq!(refused(&mut docket, id_at(1, 9)), Some(NotRegistered::PublishedId));
    assert_eq!(refused(&mut docket, id_at(2, 9)), None);
    docket.cease();
    assert_eq!(refused(&mut docket, id_at(3, 9)), Some(NotRegistered::NotReady));
    assert_eq!(refused(&mut ControlDocket::default(), id_at(3, 9)), Some(NotRegistered::NotReady));
}

#[test]
fn what_is_no_id_of_now_or_lasts_too_long_or_is_about_another_list_is_refused() {
    let (none, now) = (Docket::default(), START);
    let refused = |change: &dyn Fn(&mut control::Control), admission: Admission<'_>| {
        let mut control = plain();
        change(&mut control);
        empty().register(&signed(control, 1), &admission).err()
    };
    let here = at(now, &none);
    assert_eq!(refused(&|_| {}, here), None);
    assert_eq!(refused(&|c| c.id.0[6] = 0x40, here), Some(NotRegistered::NotAnId));
    assert_eq!(refused(&|c| c.id.0[8] = 0xc0, here), Some(NotRegistered::NotAnId));
    let ahead = MAX_AHEAD.whole_milliseconds() as i64;
    assert_eq!(refused(&|c| c.id = id_at(ahead, 1), here), None);
    let too_far = refused(&|c| c.id = id_at(ahead + 1, 1), here);
    assert_eq!(too_far, Some(NotRegistered::TooFar));
    assert_eq!(refused(&|c| c.until = now, here), Some(NotRegistered::Over));
    let last = now + MAX_AHEAD + Duration::HOUR;
    assert_eq!(refused(&|c| c.until = last, here), None);
    let long = refused(&|c| c.until = last + Duration::SECOND, here);
    assert_eq!(long, Some(NotRegistered::TooLong));
    let elsewhere = Admission { in_force: false, ..here };
    assert_eq!(refused(&|_| {}, elsewhere), Some(NotRegistered::OtherList));
}

#[test]
fn a_registration_that_comes_again_changes_nothing_and_another_under_its_id_is_refused() {
    let (none, mut docket) = (Docket::default(), docket());
    says(&mut docket, 3, Opinion::Same);
    let before = docket.to_bytes();
    let again = docket.register(&signed(plain(), 1), &at(START, &none));
    let Ok(Registered::Before(ControlNotice::Waiting(waiting))) = again else {
        panic!("{again:?}")
    };
    assert_eq!(waiting.verdicts, 1);
    let other = docket.register(&signed(plain(), 2), &at(START, &none));
    assert_eq!(other.err(), Some(NotRegistered::OtherControl));
    assert_eq!(docket.to_bytes(), before);
    says(&mut docket, 5, Opinion::Same);
    // As long as it could be judged it is known, and it is not begun anew.
    let late = START + Duration::HOUR + REMEMBERED - Duration::SECOND;
    docket.expire(late, Some(&trust()));
    let again = docket.register(&signed(plain(), 1), &at(late, &none));
    let Ok(Registered::Before(ControlNotice::Over(over))) = again else { panic!("{again:?}") };
    assert_eq!(score(&over), [(id(3), true), (id(5), true)]);
    docket.expire(late + Duration::SECOND, Some(&trust()));
    let again = docket.register(&signed(plain(), 1), &at(late, &none));
    assert_eq!(again.err(), Some(NotRegistered::Over));
}

#[test]
fn no_more_wait_than_32_and_none_that_could_be_judged_again_is_forgotten_for_another() {
    let (none, mut docket) = (Docket::default(), empty());
    let register = |docket: &mut ControlDocket, n: i64, now| {
        let control =
            control::Control { id: id_at(1 + n, 7), until: now + Duration::HOUR, ..plain() };
        docket.register(&signed(control, 1), &at(now, &none)).err()
    };
    let mut n = 0;
    while docket.controls.len() < MAX_CONTROLS {
        for _ in 0..MAX_WAITING {
            assert_eq!(register(&mut docket, n, START), None, "{n}");
            n += 1;
        }
        assert_eq!(register(&mut docket, n, START), Some(NotRegistered::Full));
        assert_eq!(docket.waiting(), MAX_WAITING);
        docket.withdraw(&name("L-42"), 3, None);
    }
    assert!(docket.to_bytes().len() <= MAX_BYTES);
    assert_eq!(register(&mut docket, n, START), Some(NotRegistered::Full), "all may come again");
    let later = START + Duration::HOUR;
    assert_eq!(register(&mut docket, n, later), None, "the time of the first is over");
    assert_eq!(docket.controls.len(), MAX_CONTROLS);
}

#[test]
fn what_is_scored_is_as_the_schema_says() {
    let score = ControlScore { said: vec![(id(3), true), (id(5), false)] };
    let bytes = score.to_bytes("gate-1", CandidateId([9; 16]));
    let said = |key: KeyId, same: u8| {
        let mut item = vec![0x82, 0x48];
        item.extend(key.to_bytes());
        item.push(same);
        item
    };
    let head = [&[0xa4, 0x00, 0x01, 0x01, 0x66][..], b"gate-1", &[0x02, 0x50], &[9; 16]].concat();
    let wanted = [&head[..], &[0x03, 0x82], &said(id(3), 1), &said(id(5), 0)].concat();
    assert_eq!(bytes, wanted);
}

/// What may happen to one control.
#[derive(Debug, Clone, Copy)]
enum Step {
    Says(u8, Opinion),
    /// Reviewer 5 is rotated out, or in again.
    Rotates,
    Restarts,
    Expires,
    Withdraws,
    /// The same registration comes again, or another one under its id.
    Registers(u8),
}

fn steps() -> Vec<Step> {
    let mut all = vec![Step::Rotates, Step::Restarts, Step::Expires, Step::Withdraws];
    all.extend([1, 2].map(Step::Registers));
    for reviewer in [1, 3, 4, 5, 6] {
        for opinion in [Opinion::Same, Opinion::NotSame, Opinion::CannotJudge] {
            all.push(Step::Says(reviewer, opinion));
        }
    }
    all
}

/// What is given out by a step, so that two can be compared.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Nothing,
    Waiting(Option<NotCounted>, Waiting),
    Over(Option<NotCounted>, ControlEnd, Vec<(KeyId, bool)>),
}

fn told(why: Option<NotCounted>, notice: ControlNotice) -> Told {
    match notice {
        ControlNotice::Waiting(waiting) => Told::Waiting(why, waiting),
        ControlNotice::Over(over) => Told::Over(why, over.end, score(&over)),
    }
}

/// The state of a history: what the docket has, and what is true.
#[derive(Clone)]
struct History {
    docket: ControlDocket,
    rotated: bool,
    over: Option<Told>,
    /// What counted verdicts say, by person.
    said: BTreeMap<&'static str, (KeyId, bool)>,
}

impl History {
    fn new() -> Self {
        Self { docket: docket(), rotated: false, over: None, said: BTreeMap::default() }
    }

    fn goes_on(&mut self, step: Step, trusts: &[Trust; 2]) -> Told {
        let trust = &trusts[usize::from(self.rotated)];
        let one = |over: Vec<ControlOver>| match &over[..] {
            [] => Told::Nothing,
            [over] => Told::Over(None, over.end, score(over)),
            _ => panic!("there is one control"),
        };
        match step {
            Step::Says(reviewer, opinion) => {
                let verdict = said(reviewer, opinion);
                match self.docket.judge(&verdict, trust, START).expect("it is known") {
                    JudgedControl::Counts(notice) => {
                        assert_ne!(reviewer, 1, "a signer never counts");
                        if self.rotated {
                            self.said.remove("p-5");
                        }
                        let said = (id(reviewer), opinion == Opinion::Same);
                        let before = self.said.insert(person(reviewer), said);
                        assert_eq!(before, None, "one person counts once");
                        told(None, notice)
                    }
                    JudgedControl::Not { why, standing } => told(Some(why), standing),
                }
            }
            Step::Rotates => {
                self.rotated = !self.rotated;
                Told::Nothing
            }
            Step::Restarts => {
                let bytes = self.docket.to_bytes();
                self.docket = ControlDocket::from_bytes(&bytes).expect("what was written is read");
                assert_eq!(self.docket.to_bytes(), bytes);
                self.docket.begin(START, &Docket::default());
                Told::Nothing
            }
            Step::Expires => {
                if self.rotated && self.over.is_none() {
                    self.said.remove("p-5");
                }
                one(self.docket.expire(START + Duration::HOUR, Some(trust)))
            }
            Step::Withdraws => one(self.docket.withdraw(&name("L-42"), 3, None)),
            Step::Registers(digest) => {
                let again = signed(plain(), digest);
                match self.docket.register(&again, &at(START, &Docket::default())) {
                    Ok(Registered::Before(notice)) => told(None, notice),
                    Ok(Registered::New(_)) => panic!("it was known"),
                    Err(why) => {
                        assert_eq!((why, digest), (NotRegistered::OtherControl, 2));
                        Told::Nothing
                    }
                }
            }
        }
    }

    fn holds(&mut self, told: &Told) {
        let Told::Over(_, end, score) = told else {
            if matches!(told, Told::Waiting(..)) {
                assert_eq!(self.over, None, "what is over does not wait again");
            }
            return;
        };
        if let Some(Told::Over(_, before, scored)) = &self.over {
            assert_eq!((before, scored), (end, score), "an end stays as it was");
            return;
        }
        let said: Vec<_> = self.said.values().copied().collect();
        match end {
            ControlEnd::Withdrawn => assert_eq!(score, &[]),
            ControlEnd::Judged => assert!(said.len() >= 2, "{said:?}"),
            ControlEnd::TimeOver => {}
        }
        if score.is_empty() {
            let one_alone = said.len() < 2 || *end == ControlEnd::Withdrawn;
            assert!(one_alone, "two people have judged: {said:?}");
        } else {
            let sorted = |mut all: Vec<(KeyId, bool)>| {
                all.sort_by_key(|(key, _)| key.to_bytes());
                all
            };
            assert_eq!(sorted(score.clone()), sorted(said), "what was said, of two at least");
            assert!(score.len() >= 2);
        }
        self.over = Some(told.clone());
    }
}

impl Explored for History {
    type Step = Step;

    fn happens(&mut self, step: &Step, trusts: &[Trust; 2]) {
        let told = self.goes_on(*step, trusts);
        self.holds(&told);
    }
}

/// Every order of four steps: 21 to the power of 4, some 190,000 histories, for each reason why two
/// keys are one person's.
#[test]
fn no_order_of_what_may_happen_scores_one_person_or_tells_anything_before_the_end() {
    let steps = steps();
    for one in OnePerson::ALL {
        let histories = explore(&History::new(), 4, &one.trusts(), &steps);
        assert_eq!(histories, steps.len().pow(4), "{one:?}");
    }
}

/// Whatever the first reviewer says: what is given out is the same until a second has judged.
#[test]
fn nothing_that_is_given_out_tells_the_first_verdict_before_the_second() {
    let trusts = OnePerson::Named.trusts();
    let all = steps();
    for a in &all {
        for b in &all {
            let seen: Vec<Vec<Told>> = Opinion::ALL
                .iter()
                .map(|opinion| {
                    let mut history = History::new();
                    let mut seen = Vec::new();
                    for step in [Step::Says(3, *opinion), *a, *b] {
                        // From a second person's verdict on all may be known.
                        if matches!(step, Step::Says(5 | 6, _)) {
                            break;
                        }
                        seen.push(history.goes_on(step, &trusts));
                    }
                    seen
                })
                .collect();
            assert!(seen.iter().all(|s| *s == seen[0]), "{a:?} {b:?}: {seen:?}");
        }
    }
}

/// The same happens to a candidate and to a control: every order of three steps.
#[test]
fn until_it_is_over_a_control_is_answered_as_a_candidate_is() {
    fn candidate_told(docket: &mut Docket, step: Step, trust: &Trust) -> Option<Told> {
        let waiting = |why, notice| match notice {
            Notice::Pending(waiting) => Some(Told::Waiting(why, waiting)),
            Notice::Over { .. } => None,
        };
        match step {
            Step::Says(reviewer, opinion) => {
                match docket.judge(&said(reviewer, opinion), trust, START) {
                    Judged::Counts(notice) => waiting(None, notice),
                    Judged::Not { why, standing: Some(notice) } => waiting(Some(why), notice),
                    Judged::Not { why, standing: None } => panic!("{why}"),
                }
            }
            Step::Expires => {
                docket.expire(START + Duration::HOUR).is_empty().then_some(Told::Nothing)
            }
            Step::Withdraws => {
                docket.withdraw(&name("L-42"), 3, None).is_empty().then_some(Told::Nothing)
            }
            Step::Restarts => {
                *docket = Docket::from_bytes(&docket.to_bytes()).expect("what was written is read");
                Some(Told::Nothing)
            }
            Step::Rotates | Step::Registers(_) => Some(Told::Nothing),
        }
    }
    let trusts = OnePerson::Named.trusts();
    let steps: Vec<_> =
        steps().into_iter().filter(|step| !matches!(step, Step::Registers(_))).collect();
    let mut compared = 0;
    for a in &steps {
        for b in &steps {
            for c in &steps {
                let (mut history, mut candidates) = (History::new(), Docket::default());
                let case = NewCase {
                    candidate: control_id(),
                    payloads: vec![PAYLOAD],
                    list: name("L-42"),
                    version: 3,
                    entry: name("E-1"),
                    until: START + Duration::HOUR,
                };
                candidates.add(case).expect("room");
                for step in [*a, *b, *c] {
                    let trust = &trusts[usize::from(history.rotated)];
                    let candidate = candidate_told(&mut candidates, step, trust);
                    let control = history.goes_on(step, &trusts);
                    compared += 1;
                    match candidate {
                        Some(candidate) => assert_eq!(control, candidate, "{a:?} {b:?} {c:?}"),
                        None => {
                            assert!(matches!(control, Told::Over(None, ..)), "{a:?} {b:?} {c:?}");
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > steps.len().pow(3), "{compared}");
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error_or_another_docket_and_never_a_panic(
        at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(),
    ) {
        let mut docket = docket();
        says(&mut docket, 3, Opinion::Same);
        let mut bytes = docket.to_bytes();
        prop_assert!(ControlDocket::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = ControlDocket::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        let _ = ControlDocket::from_bytes(&bytes);
    }
}
