use std::collections::BTreeSet;

use proptest::prelude::*;
use time::Duration;

use super::*;
use crate::judgement::{Confidence, Opinion};
use crate::review::explored::{Explored, OnePerson, explore, person};
use crate::review::verdict::Verdict;
use crate::watchlist::fixture;
use crate::watchlist::keys::KeyId;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const CANDIDATE: CandidateId = CandidateId([7; 16]);

fn trust() -> Trust {
    trust_of(&[3, 4, 5, 6])
}

fn trust_of(reviewers: &[u8]) -> Trust {
    OnePerson::Named.trust_of(reviewers)
}

fn name(text: &str) -> Reference {
    text.parse().expect("a name")
}

fn case(candidate: CandidateId) -> NewCase {
    NewCase {
        candidate,
        payloads: vec![[1; 32]],
        list: name("L-42"),
        version: 3,
        entry: name("E-1"),
        until: START + Duration::HOUR,
    }
}

fn id(reviewer: u8) -> KeyId {
    fixture::key(reviewer).public().id()
}

fn said(reviewer: u8, opinion: Opinion) -> SignedVerdict {
    let verdict = Verdict {
        candidate: CANDIDATE,
        payload: [1; 32],
        list: name("L-42"),
        version: 3,
        device: name("gate-1"),
        opinion,
        confidence: Confidence::High,
        judged_at: START,
    };
    SignedVerdict::assumed(verdict, id(reviewer))
}

fn docket() -> Docket {
    let mut docket = Docket::default();
    docket.add(case(CANDIDATE)).expect("room");
    docket
}

fn refused(taken: Judged) -> Option<NotCounted> {
    match taken {
        Judged::Not { why, .. } => Some(why),
        Judged::Counts(_) => None,
    }
}

fn outcome(taken: &Judged) -> Option<Outcome> {
    match taken {
        Judged::Counts(Notice::Over { outcome, .. }) => Some(*outcome),
        _ => None,
    }
}

#[test]
fn two_people_decide_and_one_does_not_whatever_keys_they_hold() {
    let mut docket = docket();
    let first = docket.judge(&said(3, Opinion::Same), &trust(), START);
    let waits = Notice::Pending(Waiting {
        candidate: CANDIDATE,
        verdicts: 1,
        third_needed: false,
        until: START + Duration::HOUR,
    });
    assert_eq!(first, Judged::Counts(waits));
    for key in [3, 4] {
        let again = docket.judge(&said(key, Opinion::Same), &trust(), START);
        assert_eq!(refused(again), Some(NotCounted::SamePerson));
    }
    let second = docket.judge(&said(5, Opinion::Same), &trust(), START);
    let Judged::Counts(Notice::Over { outcome: Outcome::Confirmed, verdicts, .. }) = second else {
        panic!("{second:?}");
    };
    assert_eq!(verdicts.iter().map(|v| v.reviewer).collect::<Vec<_>>(), [id(3), id(5)]);
    let late = docket.judge(&said(6, Opinion::NotSame), &trust(), START);
    let Judged::Not { why: NotCounted::Decided, standing: Some(standing) } = late else {
        panic!("{late:?}");
    };
    assert!(matches!(standing, Notice::Over { outcome: Outcome::Confirmed, .. }), "{standing:?}");
}

#[test]
fn two_that_differ_need_a_third_and_three_that_differ_decide_nothing() {
    let decide = |opinions: [Opinion; 3]| {
        let mut docket = docket();
        docket.judge(&said(3, opinions[0]), &trust(), START);
        let second = docket.judge(&said(5, opinions[1]), &trust(), START);
        match second {
            Judged::Counts(Notice::Pending(Waiting {
                verdicts: 2, third_needed: true, ..
            })) => {}
            other => panic!("{other:?}"),
        }
        outcome(&docket.judge(&said(6, opinions[2]), &trust(), START))
    };
    use Opinion::{CannotJudge, NobodyThere, NotSame, Same};
    assert_eq!(decide([Same, NotSame, Same]), Some(Outcome::Confirmed));
    assert_eq!(decide([Same, NotSame, NobodyThere]), Some(Outcome::Refuted));
    assert_eq!(decide([Same, NotSame, CannotJudge]), Some(Outcome::Undecided));
    assert_eq!(decide([CannotJudge, Same, CannotJudge]), Some(Outcome::Undecided));
}

#[test]
fn what_is_not_about_the_published_candidate_does_not_count() {
    let mut docket = docket();
    let mut judge = |change: &dyn Fn(&mut Verdict)| {
        let mut verdict = (*said(3, Opinion::Same)).clone();
        change(&mut verdict);
        docket.judge(&SignedVerdict::assumed(verdict, id(3)), &trust(), START)
    };
    assert_eq!(refused(judge(&|v| v.payload = [2; 32])), Some(NotCounted::OtherPayload));
    assert_eq!(refused(judge(&|v| v.version = 4)), Some(NotCounted::OtherList));
    let list = judge(&|v| v.list = name("L-43"));
    assert_eq!(refused(list), Some(NotCounted::OtherList));
    let other = CandidateId([8; 16]);
    assert_eq!(refused(judge(&|v| v.candidate = other)), Some(NotCounted::Unknown));
    let by_signer = docket.judge(&said(1, Opinion::Same), &trust(), START);
    assert_eq!(refused(by_signer), Some(NotCounted::NotReviewer));
    // The update with better evidence may be judged instead.
    docket.add(NewCase { payloads: vec![[2; 32]], ..case(CANDIDATE) }).expect("an update");
    let mut verdict = (*said(5, Opinion::Same)).clone();
    verdict.payload = [2; 32];
    docket.judge(&SignedVerdict::assumed(verdict, id(5)), &trust(), START);
    let second = docket.judge(&said(3, Opinion::Same), &trust(), START);
    assert_eq!(outcome(&second), Some(Outcome::Confirmed));
}

#[test]
fn each_form_of_first_event_and_update_may_be_judged_and_nothing_else() {
    let forms = |first: u8| vec![[first; 32], [first + 1; 32]];
    let mut docket = Docket::default();
    for first in [1, 3] {
        docket.add(NewCase { payloads: forms(first), ..case(CANDIDATE) }).expect("room");
    }
    assert_eq!(
        docket.add(NewCase { payloads: forms(5), ..case(CANDIDATE) }),
        Err(DocketFull),
        "there is one update"
    );
    let docket = Docket::from_bytes(&docket.to_bytes()).expect("what was written");
    for form in 1..=5 {
        assert_eq!(docket.has_payload(&[form; 32]), form < 5);
        let mut verdict = (*said(5, Opinion::Same)).clone();
        verdict.payload = [form; 32];
        let verdict = SignedVerdict::assumed(verdict, id(5));
        let judged = docket.clone().judge(&verdict, &trust(), START);
        assert_eq!(refused(judged), (form == 5).then_some(NotCounted::OtherPayload));
    }
    let mut docket = docket;
    docket.take_back(CANDIDATE, &forms(3));
    assert!(docket.has_payload(&[2; 32]) && !docket.has_payload(&[4; 32]));
}

#[test]
fn the_longest_docket_fits_and_one_of_before_is_read() {
    let mut docket = Docket::default();
    let long = |c: &str| name(&c.repeat(64));
    for n in 0..MAX_CASES {
        let candidate = CandidateId((n as u128).to_be_bytes());
        let payloads = (0..MAX_PAYLOADS as u8).map(|form| [form; 32]).collect();
        let (list, entry) = (long("L"), long("E"));
        docket.add(NewCase { payloads, list, entry, ..case(candidate) }).expect("room");
        for reviewer in [3, 5, 6] {
            let counted = CountedVerdict {
                reviewer: id(reviewer),
                opinion: Opinion::Same,
                confidence: Confidence::High,
                judged_at: START,
                commitment: [9; 32],
            };
            docket.cases[n].verdicts.push(counted);
        }
    }
    let bytes = docket.to_bytes();
    assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    let mut before = self::docket().to_bytes();
    assert_eq!(before[1], 2, "the version");
    before[1] = 1;
    assert_eq!(Docket::from_bytes(&before), Ok(self::docket()));
}

#[test]
fn what_a_key_said_that_is_rotated_out_before_the_decision_does_not_count() {
    let mut docket = docket();
    docket.judge(&said(5, Opinion::Same), &trust(), START);
    let second = docket.judge(&said(6, Opinion::Same), &trust_of(&[3, 4, 6]), START);
    let waits = matches!(second, Judged::Counts(Notice::Pending(Waiting { verdicts: 1, .. })));
    assert!(waits, "{second:?}");
    let third = docket.judge(&said(3, Opinion::Same), &trust_of(&[3, 4, 6]), START);
    assert_eq!(outcome(&third), Some(Outcome::Confirmed));
}

#[test]
fn one_verdict_stays_untold_where_its_candidate_expires_or_is_withdrawn() {
    let NewCase { list, version, entry, until, .. } = case(CANDIDATE);
    let about = CaseAbout { list, version, entry, until };
    let over = |outcome| Notice::Over {
        candidate: CANDIDATE,
        about: about.clone(),
        outcome,
        verdicts: Vec::new(),
    };
    let mut expired = docket();
    expired.judge(&said(3, Opinion::Same), &trust(), START);
    assert_eq!(expired.expire(START), []);
    let end = START + Duration::HOUR;
    let late = expired.clone().judge(&said(5, Opinion::Same), &trust(), end);
    assert_eq!(refused(late), Some(NotCounted::Unknown));
    assert_eq!(expired.expire(end), [over(Outcome::Expired)]);
    assert_eq!(expired, Docket::default());

    let mut withdrawn = docket();
    withdrawn.judge(&said(3, Opinion::Same), &trust(), START);
    assert_eq!(withdrawn.withdraw(&name("L-42"), 2, None), []);
    assert_eq!(withdrawn.withdraw(&name("L-42"), 3, Some(&name("E-2"))), []);
    let gone = withdrawn.withdraw(&name("L-42"), 3, Some(&name("E-1")));
    assert_eq!(gone, [over(Outcome::Withdrawn)]);
    let late = withdrawn.judge(&said(5, Opinion::Same), &trust(), START);
    assert_eq!(refused(late), Some(NotCounted::Decided));
}

#[test]
fn a_full_docket_says_so_and_forgets_only_what_is_over() {
    let mut docket = Docket::default();
    let nth = |n: usize| CandidateId((n as u128).to_be_bytes());
    for n in 0..MAX_CASES {
        docket.add(case(nth(n))).expect("room");
    }
    assert_eq!(docket.add(case(nth(999))), Err(DocketFull));
    docket.withdraw(&name("L-42"), 3, None);
    docket.add(case(nth(999))).expect("what is over makes room");
    assert_eq!((docket.cases.len(), docket.pending()), (MAX_CASES, 1));
    docket.take_back(nth(999), &[[1; 32]]);
    assert_eq!((docket.cases.len(), docket.pending()), (MAX_CASES - 1, 0));
}

/// What may happen to one candidate.
#[derive(Debug, Clone, Copy)]
enum Step {
    Says(u8, Opinion),
    /// Reviewer 5 is rotated out, or in again.
    Rotates,
    Restarts,
    Expires,
    Withdraws,
}

fn steps() -> Vec<Step> {
    let mut all = vec![Step::Rotates, Step::Restarts, Step::Expires, Step::Withdraws];
    for reviewer in [1, 3, 4, 5, 6] {
        for opinion in [Opinion::Same, Opinion::NotSame, Opinion::CannotJudge] {
            all.push(Step::Says(reviewer, opinion));
        }
    }
    all
}

/// The state of a history: what the docket has, and what is true.
#[derive(Clone)]
struct History {
    docket: Docket,
    rotated: bool,
    over: Option<Outcome>,
    /// Who said that it is the same person, by person.
    same: BTreeSet<&'static str>,
}

impl History {
    fn goes_on(&mut self, step: Step, trusts: &[Trust; 2]) -> Vec<Notice> {
        let trust = &trusts[usize::from(self.rotated)];
        match step {
            Step::Says(reviewer, opinion) => {
                match self.docket.judge(&said(reviewer, opinion), trust, START) {
                    Judged::Counts(notice) => {
                        assert_ne!(reviewer, 1, "a signer never counts");
                        if opinion == Opinion::Same {
                            self.same.insert(person(reviewer));
                        }
                        vec![notice]
                    }
                    Judged::Not { .. } => Vec::new(),
                }
            }
            Step::Rotates => {
                self.rotated = !self.rotated;
                Vec::new()
            }
            Step::Restarts => {
                let bytes = self.docket.to_bytes();
                let again = Docket::from_bytes(&bytes).expect("what was written is read");
                assert_eq!(again, self.docket);
                self.docket = again;
                Vec::new()
            }
            Step::Expires => self.docket.expire(START + Duration::HOUR),
            Step::Withdraws => self.docket.withdraw(&name("L-42"), 3, None),
        }
    }

    fn holds(&mut self, notices: &[Notice]) {
        for notice in notices {
            assert_eq!(self.over, None, "nothing is said after the end");
            if let Notice::Over { outcome, verdicts, .. } = notice {
                self.over = Some(*outcome);
                if *outcome == Outcome::Confirmed {
                    assert!(self.same.len() >= 2, "two people said so");
                }
                if matches!(outcome, Outcome::Expired | Outcome::Withdrawn) {
                    assert_eq!(verdicts, &[]);
                }
            }
        }
    }
}

impl Explored for History {
    type Step = Step;

    fn happens(&mut self, step: &Step, trusts: &[Trust; 2]) {
        let notices = self.goes_on(*step, trusts);
        self.holds(&notices);
    }
}

/// Every order of four steps: 19 to the power of 4, some 130,000 histories, for each reason why two
/// keys are one person's.
#[test]
fn no_order_of_what_may_happen_confirms_with_one_person_or_after_the_end() {
    let start = History { docket: docket(), rotated: false, over: None, same: BTreeSet::default() };
    let steps = steps();
    for one in OnePerson::ALL {
        let histories = explore(&start, 4, &one.trusts(), &steps);
        assert_eq!(histories, steps.len().pow(4), "{one:?}");
    }
}

/// Whatever the first reviewer says: what the others see is the same until it is decided.
#[test]
fn nothing_that_is_given_out_tells_the_first_verdict_before_the_second() {
    let trusts = OnePerson::Named.trusts();
    let all = steps();
    for a in &all {
        for b in &all {
            let seen: Vec<Vec<Notice>> = Opinion::ALL
                .iter()
                .map(|opinion| {
                    let mut history = History {
                        docket: docket(),
                        rotated: false,
                        over: None,
                        same: BTreeSet::default(),
                    };
                    let steps = [Step::Says(3, *opinion), *a, *b];
                    let mut seen = Vec::new();
                    for step in steps {
                        // A second person's verdict may decide: from then on all may be known.
                        if matches!(step, Step::Says(5 | 6, _)) {
                            break;
                        }
                        seen.extend(history.goes_on(step, &trusts));
                    }
                    seen
                })
                .collect();
            assert!(seen.iter().all(|s| *s == seen[0]), "{a:?} {b:?}: {seen:?}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error_or_another_docket_and_never_a_panic(
        at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(),
    ) {
        let mut docket = docket();
        docket.judge(&said(3, Opinion::Same), &trust(), START);
        let mut bytes = docket.to_bytes();
        prop_assert!(Docket::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Docket::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        let _ = Docket::from_bytes(&bytes);
    }
}
