mod controls;

use std::time::Duration as Monotonic;

use super::*;
use crate::decision::watchdog::WatchedList;
use crate::delivery::event::{CloudEvent, EventId, ReviewStage};
use crate::judgement::{Confidence, Opinion};
use crate::review::verdict::{Verdict, give};
use crate::watchlist::fixture;

const PAYLOAD: [u8; 32] = [5; 32];

fn candidate() -> Candidate {
    let golden = include_str!("../../delivery/event/golden/candidate.v2.json");
    serde_json::from_str::<CloudEvent<Candidate>>(golden).expect("a candidate").data
}

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds as i64);
    Now { monotonic: Monotonic::from_secs(seconds), wall }
}

fn trust(reviewers: &[u8]) -> Trust {
    let mut keys = vec![("signer", 1), ("signer", 2)];
    keys.extend(reviewers.iter().map(|n| ("reviewer", *n)));
    Trust::parse(&fixture::trust_text(2, &keys)).expect("a trust file")
}

fn asked(message: &[u8]) -> Asked<'_> {
    Asked { message, at: Monotonic::ZERO }
}

struct Site {
    _folder: tempfile::TempDir,
    config: Config,
    key: DeviceKey,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.review.docket = folder.path().join("reviews.cbor");
        Self { _folder: folder, config, key: DeviceKey::generate().expect("a key") }
    }

    fn reviews(&self) -> Reviews {
        let mut reviews = Reviews::open(&self.config);
        reviews.set_keys(Some(&trust(&[3, 4])), Some(&self.key));
        reviews
    }

    fn verdict(&self, reviewer: u8, opinion: Opinion) -> Vec<u8> {
        let candidate = candidate();
        let verdict = Verdict {
            candidate: CandidateId(candidate.candidate.as_u128().to_be_bytes()),
            payload: PAYLOAD,
            list: candidate.list.id.parse().expect("a name"),
            version: candidate.list.version,
            device: self.config.device.id.parse().expect("a name"),
            opinion,
            confidence: Confidence::High,
            judged_at: OffsetDateTime::UNIX_EPOCH,
        };
        give(&verdict, &fixture::key(reviewer), self.key.recipient()).expect("seals")
    }
}

fn added(reviews: &mut Reviews) {
    let case = reviews.case(&candidate(), at(0).wall).expect("reviewers are asked");
    reviews.add(&case, &[PAYLOAD], at(0)).expect("it is remembered");
}

#[test]
fn two_verdicts_over_a_restart_confirm_and_both_are_recorded_and_told() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    reviews.follow(
        asked(&site.verdict(3, Opinion::Same)),
        &trust(&[3, 4]),
        Some(&site.key),
        Some(at(1).wall),
    );
    let [first] = &reviews.take_steps()[..] else { panic!("one step") };
    assert!(matches!(first.records[..], [AuditEvent::Verdict(_)]));
    assert_eq!((first.state.state, first.state.given), (ReviewStage::Pending, 1));
    assert_eq!(first.state.verdicts, []);
    assert!(!reviews.is_stored());
    reviews.store(at(1));
    assert!(reviews.is_stored());

    let mut again = site.reviews();
    // The broker sends the first once more, as its acknowledgement was lost.
    again.follow(
        asked(&site.verdict(3, Opinion::Same)),
        &trust(&[3, 4]),
        Some(&site.key),
        Some(at(2).wall),
    );
    let [answer] = &again.take_steps()[..] else { panic!("one step") };
    assert_eq!((answer.state.state, answer.records.len()), (ReviewStage::Pending, 0));
    assert!(answer.state.refused.is_some());
    again.follow(
        asked(&site.verdict(4, Opinion::Same)),
        &trust(&[3, 4]),
        Some(&site.key),
        Some(at(3).wall),
    );
    let [second] = &again.take_steps()[..] else { panic!("one step") };
    let [AuditEvent::Verdict(_), AuditEvent::Reviewed(reviewed)] = &second.records[..] else {
        panic!("{:?}", second.records);
    };
    assert_eq!((reviewed.outcome, reviewed.verdicts.len()), (Outcome::Confirmed, 2));
    assert_eq!((second.state.state, second.state.verdicts.len()), (ReviewStage::Confirmed, 2));
    assert_eq!(again.counters().confirmed, 1);
}

#[test]
fn without_reviewers_of_two_people_nothing_is_remembered_and_nobody_is_held_up() {
    let site = Site::new();
    std::fs::write(&site.config.review.docket, "damaged").expect("writes");
    let mut reviews = Reviews::open(&site.config);
    reviews.set_keys(Some(&trust(&[3])), Some(&site.key));
    assert_eq!(reviews.case(&candidate(), at(0).wall), None);
    assert_eq!(reviews.blindness(), None);
    reviews.set_keys(Some(&trust(&[3, 4])), None);
    assert_eq!(reviews.blindness(), None, "nobody could open what they say");
    reviews.set_keys(Some(&trust(&[3, 4])), Some(&site.key));
    assert_eq!(reviews.blindness().map(|b| b.cause), Some(Cause::ReviewsNotStored));
    reviews.store(at(60));
    let kept = std::fs::read(&site.config.review.docket).expect("it is there");
    assert_eq!(kept, b"damaged", "nothing is written over what cannot be read");
}

#[test]
fn what_cannot_be_stored_is_not_published_and_nobody_is_matched_until_it_can() {
    let mut site = Site::new();
    let folder = site.config.review.docket.with_extension("d");
    site.config.review.docket = folder.join("reviews.cbor");
    let mut reviews = site.reviews();
    let case = reviews.case(&candidate(), at(0).wall).expect("reviewers are asked");
    let refused = reviews.add(&case, &[PAYLOAD], at(0)).expect_err("there is no folder");
    assert_eq!(refused.cause, Cause::ReviewsNotStored);
    assert_eq!(reviews.blindness().map(|b| b.cause), Some(Cause::ReviewsNotStored));
    assert_eq!(reviews.docket.pending(), 0);
    std::fs::create_dir(&folder).expect("a folder");
    reviews.store(at(1));
    assert!(reviews.blindness().is_some(), "it is not tried with each frame");
    reviews.store(at(6));
    assert_eq!(reviews.blindness(), None);
}

#[test]
fn what_is_revoked_or_too_late_ends_untold() {
    let site = Site::new();
    let candidate = candidate();
    let mut reviews = site.reviews();
    added(&mut reviews);
    reviews.follow(
        asked(&site.verdict(3, Opinion::Same)),
        &trust(&[3, 4]),
        Some(&site.key),
        Some(at(1).wall),
    );
    reviews.take_steps();
    let mut expired = site.reviews();
    added(&mut expired);
    reviews.withdraw(&candidate.list.id, candidate.list.version, Some(&candidate.entry));
    let steps = reviews.take_steps();
    assert_eq!(steps[0].state.state, ReviewStage::Withdrawn);
    assert_eq!(steps[0].state.verdicts, []);
    expired.tick(None);
    assert!(expired.take_steps().is_empty(), "the clock is not believed");
    expired.tick(Some(at(0).wall + site.config.review.deadline()));
    assert_eq!(expired.take_steps()[0].state.state, ReviewStage::Expired);
    assert_eq!((reviews.counters().withdrawn, expired.counters().expired), (1, 1));
}

#[test]
fn a_verdict_that_cannot_be_judged_now_is_answered_and_does_not_count() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    let answered = |reviews: &mut Reviews, why: &str| {
        let steps = reviews.take_steps();
        assert_eq!(steps.len(), 1, "{why}");
        assert_eq!((steps[0].state.state, &steps[0].records), (ReviewStage::Pending, &vec![]));
        assert!(steps[0].state.refused.as_deref().is_some_and(|r| r.contains(why)), "{steps:?}");
    };
    // Long over by the true time, which the device does not know after a start without network.
    let verdict = site.verdict(3, Opinion::Same);
    reviews.follow(asked(&verdict), &trust(&[3, 4]), Some(&site.key), None);
    answered(&mut reviews, "clock");
    // The device has another key by now.
    let other = DeviceKey::generate().expect("a key");
    reviews.follow(asked(&verdict), &trust(&[3, 4]), Some(&other), Some(at(1).wall));
    answered(&mut reviews, "cannot open");
    assert_eq!((reviews.counters().counted, reviews.counters().refused), (0, 2));
    reviews.follow(asked(&verdict), &trust(&[3, 4]), Some(&site.key), Some(at(1).wall));
    assert_eq!(reviews.counters().counted, 1, "it is as good as before");
}

#[test]
fn nobody_who_is_no_reviewer_gets_an_answer() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    for message in [site.verdict(1, Opinion::Same), b"no verdict".to_vec()] {
        reviews.follow(asked(&message), &trust(&[3, 4]), Some(&site.key), Some(at(1).wall));
    }
    reviews.follow(asked(&site.verdict(3, Opinion::Same)), &trust(&[3, 4]), None, Some(at(1).wall));
    assert_eq!(reviews.take_steps(), []);
    assert_eq!((reviews.counters().not_authentic, reviews.counters().refused), (2, 1));
}

/// A candidate of entry `n`, reviewed and refuted by both.
fn refuted(reviews: &mut Reviews, site: &Site, n: u8) {
    let mut candidate = candidate();
    candidate.candidate = EventId::from_u128(u128::from(n) + 1);
    candidate.entry = format!("E-{n}");
    let case = reviews.case(&candidate, at(0).wall).expect("reviewers are asked");
    reviews.add(&case, &[PAYLOAD], at(0)).expect("it is remembered");
    for reviewer in [3, 4] {
        let verdict = Verdict {
            candidate: CandidateId(candidate.candidate.as_u128().to_be_bytes()),
            payload: PAYLOAD,
            list: candidate.list.id.parse().expect("a name"),
            version: candidate.list.version,
            device: site.config.device.id.parse().expect("a name"),
            opinion: Opinion::NotSame,
            confidence: Confidence::High,
            judged_at: OffsetDateTime::UNIX_EPOCH,
        };
        let sealed = give(&verdict, &fixture::key(reviewer), site.key.recipient()).expect("seals");
        reviews.follow(asked(&sealed), &trust(&[3, 4]), Some(&site.key), Some(at(1).wall));
    }
}

/// Says that the list of the candidates is in force in this version, and that so many tracks were
/// searched for since the start.
fn watch(reviews: &mut Reviews, version: u64, tracks: u64, now: Now) {
    watch_list(reviews, &candidate().list.id, version, tracks, now);
}

fn watch_list(reviews: &mut Reviews, list: &str, version: u64, tracks: u64, now: Now) {
    let id = list.parse().expect("a name");
    let list = WatchedList { id: &id, version };
    reviews.watch(Some(Watched { list, rate: 5e-4, tracks }), now);
}

/// A thousand tracks were compared with the list of the candidates.
fn watching(site: &Site) -> Reviews {
    let mut reviews = site.reviews();
    for tracks in [0, 1000] {
        watch(&mut reviews, candidate().list.version, tracks, at(0));
    }
    reviews
}

fn cause(reviews: &Reviews) -> Option<Cause> {
    reviews.blindness().map(|b| b.cause)
}

#[test]
fn a_list_of_look_alikes_is_stopped_over_a_restart_until_a_new_version_is_in_force() {
    let site = Site::new();
    let version = candidate().list.version;
    let mut reviews = watching(&site);
    for n in 0..6 {
        assert_eq!(cause(&reviews), None, "after {n}");
        refuted(&mut reviews, &site, n);
    }
    assert_eq!(cause(&reviews), Some(Cause::BudgetExceeded));
    let told = reviews.blindness().expect("stopped").reason;
    assert!(told.contains("6 alerts") && told.contains("at most 0.50"), "{told}");
    assert!(!reviews.is_stored());
    reviews.store(at(2));
    let mut again = site.reviews();
    watch(&mut again, version, 0, at(3));
    assert_eq!(cause(&again), Some(Cause::BudgetExceeded), "over a restart");
    watch(&mut again, version, 10_000_000, at(3));
    assert_eq!(cause(&again), Some(Cause::BudgetExceeded), "more faces do not bring it back");
    again.set_keys(Some(&trust(&[3])), Some(&site.key));
    assert_eq!(cause(&again), Some(Cause::BudgetExceeded), "nor does taking reviewers away");
    watch_list(&mut again, "another", 1, 10_000_000, at(3));
    assert_eq!(cause(&again), None);
    watch(&mut again, version, 10_000_000, at(3));
    assert_eq!(cause(&again), Some(Cause::BudgetExceeded), "nor does another list in between");
    watch(&mut again, version + 1, 10_000_000, at(4));
    assert_eq!(cause(&again), None, "two people signed another version");
}

#[test]
fn tracks_count_only_while_somebody_is_asked_and_against_the_list_they_were_compared_with() {
    let site = Site::new();
    let version = candidate().list.version;
    let mut reviews = site.reviews();
    reviews.set_keys(Some(&trust(&[3])), Some(&site.key));
    for tracks in [0, 1000] {
        watch(&mut reviews, version, tracks, at(0));
    }
    assert!(!reviews.budget.has_changed(), "nobody could refute an alert of these");
    reviews.set_keys(Some(&trust(&[3, 4])), Some(&site.key));
    watch(&mut reviews, version, 1000, at(0));
    // The list was replaced after these.
    watch_list(&mut reviews, "another", 1, 3000, at(0));
    let exposure = |reviews: &Reviews| reviews.budget.watchdog.exposure();
    assert_eq!(exposure(&reviews), 0.0);
    watch(&mut reviews, version, 3000, at(0));
    assert_eq!(exposure(&reviews), 1.0);
}

#[test]
fn alerts_that_nobody_judges_count_and_what_is_unreadable_is_no_fresh_start() {
    let site = Site::new();
    let mut reviews = watching(&site);
    for n in 0..6u8 {
        let mut candidate = candidate();
        candidate.candidate = EventId::from_u128(u128::from(n) + 1);
        candidate.entry = format!("E-{n}");
        let case = reviews.case(&candidate, at(0).wall).expect("reviewers are asked");
        reviews.add(&case, &[PAYLOAD], at(0)).expect("it is remembered");
    }
    let deadline = site.config.review.deadline().whole_seconds() as u64;
    reviews.tick(Some(at(deadline - 1).wall));
    assert_eq!(reviews.blindness(), None);
    reviews.tick(Some(at(deadline + 1).wall));
    assert_eq!(cause(&reviews), Some(Cause::BudgetExceeded));
    reviews.store(at(deadline + 1));
    let kept = site.config.review.docket.with_extension("budget.json");
    std::fs::write(&kept, "{}").expect("writes");
    assert_eq!(cause(&site.reviews()), Some(Cause::ReviewsNotStored));
}

#[test]
fn where_what_was_counted_is_missing_the_fresh_start_is_said() {
    let site = Site::new();
    assert_eq!(site.reviews().lost(), None, "a device's first start");
    let mut reviews = watching(&site);
    added(&mut reviews);
    let kept = site.config.review.docket.with_extension("budget.json");
    assert!(kept.exists(), "the docket is never without it");
    assert_eq!(site.reviews().lost(), None);
    std::fs::remove_file(&kept).expect("was there");
    let again = site.reviews();
    assert!(again.lost().is_some_and(|lost| lost.contains("reviews.budget.json")));
    assert_eq!(again.blindness(), None);
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let site = Site::new();
    let [docket, kept] = [
        site.config.review.docket.clone(),
        site.config.review.docket.with_extension("budget.json"),
    ];
    let mut reviews = watching(&site);
    added(&mut reviews);
    let remove = || [&docket, &kept].map(|file| std::fs::remove_file(file).is_ok());
    assert_eq!(remove(), [true, true]);
    watch(&mut reviews, candidate().list.version, 1000, at(3600));
    reviews.store(at(3600));
    reviews.keep(at(3600));
    assert_eq!(remove(), [false, false], "nothing was written");
    watch(&mut reviews, candidate().list.version, 1001, at(3601));
    assert_eq!(remove(), [false, true], "a track more, and ten minutes are over");
    watch(&mut reviews, candidate().list.version, 1002, at(3602));
    assert!(reviews.is_stored(), "tracks hold no acknowledgement up");
    assert_eq!(remove(), [false, false]);
    reviews.keep(at(3603));
    assert_eq!(remove(), [false, true]);
}

#[test]
fn a_replayed_verdict_is_answered_a_few_times_a_day_in_no_candidates_room_and_is_counted() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    let verdict = site.verdict(3, Opinion::Same);
    let mut steps = Vec::new();
    for seconds in 0..86_400 {
        let now = Some(at(1 + seconds).wall);
        // The same key is checked by the same code each time: a tenth is enough.
        if seconds % 10 == 0 {
            let asked = Asked { message: &verdict, at: Monotonic::from_secs(seconds) };
            reviews.follow(asked, &trust(&[3, 4]), Some(&site.key), now);
        }
        steps.extend(reviews.take_steps());
    }
    let (news, replies): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|step| step.telling == Telling::News);
    assert_eq!((news.len(), news[0].state.refused.clone()), (1, None), "it counts once");
    assert!(!replies.is_empty() && replies.len() < 40, "{}", replies.len());
    assert!(replies.iter().all(|step| step.state.refused.is_some() && step.records.is_empty()));
    let named = Some(hex(&Sha256::digest(&verdict)));
    assert!(news.iter().chain(&replies).all(|step| step.state.envelope == named));
    let counted = reviews.counters();
    assert_eq!(counted.repeated, 8639 - replies.len() as u64);
    assert_eq!((counted.counted, counted.refused), (1, 8639));
}

#[test]
fn a_reviewer_who_signs_without_end_is_answered_at_a_rate_and_makes_no_news() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    for _ in 0..100 {
        let verdict = site.verdict(3, Opinion::Same);
        let now = Some(at(1).wall);
        reviews.follow(asked(&verdict), &trust(&[3, 4]), Some(&site.key), now);
    }
    let steps = reviews.take_steps();
    let news = steps.iter().filter(|step| step.telling == Telling::News).count();
    assert_eq!((news, steps.len() - news), (1, ANSWERED.0 as usize));
    assert_eq!(reviews.counters().repeated, 99 - u64::from(ANSWERED.0));
}

#[test]
fn of_two_verdicts_of_one_reviewer_each_answer_names_the_one_that_it_answers() {
    let site = Site::new();
    let mut reviews = site.reviews();
    added(&mut reviews);
    let both = [Opinion::Same, Opinion::NotSame].map(|opinion| site.verdict(3, opinion));
    for verdict in both.iter().rev() {
        reviews.follow(asked(verdict), &trust(&[3, 4]), Some(&site.key), Some(at(1).wall));
    }
    reviews.follow(asked(&site.verdict(4, Opinion::Same)), &trust(&[3, 4]), Some(&site.key), None);
    let answers: Vec<_> = reviews.take_steps().into_iter().map(|step| step.state).collect();
    let named = |n: usize| Some(hex(&Sha256::digest(&both[n])));
    assert_eq!((&answers[0].envelope, &answers[0].refused), (&named(1), &None));
    assert_eq!((&answers[1].envelope, answers[1].refused.is_some()), (&named(0), true));
    assert!(answers[2].envelope.is_some(), "also where it cannot be judged now");
    reviews.tick(Some(at(400_000).wall));
    let end = &reviews.take_steps()[0].state;
    assert_eq!((&end.reviewer, &end.envelope), (&None, &None), "nobody is answered");
}

#[test]
fn reviewers_that_are_not_told_apart_are_not_asked_and_that_is_said() {
    let site = Site::new();
    let mut reviews = site.reviews();
    assert_eq!(reviews.unpaired(), None);
    let keys = [("signer", 1), ("signer", 2), ("reviewer", 3), ("reviewer", 4)];
    let text = fixture::trust_text(2, &keys);
    let unnamed = text.replace("person = \"p-3\"\n", "").replace("person = \"p-4\"\n", "");
    let unnamed = Trust::parse(&unnamed).expect("it stays valid");
    added(&mut reviews);
    reviews.set_keys(Some(&unnamed), Some(&site.key));
    assert_eq!(reviews.case(&candidate(), at(0).wall), None);
    assert!(reviews.unpaired().is_some_and(|problem| problem.contains("person = ")));
    // One that waits is confirmed by no two of them.
    for reviewer in [3, 4] {
        let verdict = site.verdict(reviewer, Opinion::Same);
        reviews.follow(asked(&verdict), &unnamed, Some(&site.key), Some(at(1).wall));
    }
    let states: Vec<_> = reviews.take_steps().into_iter().map(|step| step.state.state).collect();
    assert_eq!(states, [ReviewStage::Pending; 2]);
    reviews.set_keys(Some(&unnamed), None);
    assert_eq!(reviews.unpaired(), None, "nobody could be asked anyway");
}
