use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::delivery::event::{CloudEvent, EventId, ReviewStage, ReviewState};
use crate::desk::config::RetentionConfig;
use crate::desk::intake::{ArrivedMessage, Intake};
use crate::desk::pages::views::OwnStanding::{Counted, Open, Sent};
use crate::watchlist::fixture;
use crate::watchlist::order::{Action, OrderId, sign};
use crate::watchlist::seal::DeviceKey;
use crate::watchlist::text::hex;
use crate::watchlist::trust::Trust;

/// A database in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    intake: Intake,
    runtime: tokio::runtime::Runtime,
    rules: KeepingRules,
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
}

fn candidate_of(n: u128, sequence: u8, entry: &str) -> Vec<u8> {
    let text = include_str!("../../delivery/event/golden/candidate.v2.json");
    let mut event: serde_json::Value = serde_json::from_str(text).unwrap();
    event["id"] = EventId::from_u128(n * 10 + u128::from(sequence)).to_string().into();
    event["data"]["candidate"] = EventId::from_u128(n).to_string().into();
    event["data"]["sequence"] = sequence.into();
    event["data"]["entry"] = entry.into();
    event["data"]["list"] = serde_json::json!({ "id": "north", "version": 2 });
    serde_json::to_vec(&event).unwrap()
}

/// As [`candidate_of`], decided so many hours after.
fn later(n: u128, entry: &str, hours: i64) -> Vec<u8> {
    let mut event: serde_json::Value = serde_json::from_slice(&candidate_of(n, 1, entry)).unwrap();
    let decided = event["data"]["decided_at"].as_str().unwrap();
    let decided = OffsetDateTime::parse(decided, &Rfc3339).unwrap() + Duration::hours(hours);
    event["data"]["decided_at"] = decided.format(&Rfc3339).unwrap().into();
    serde_json::to_vec(&event).unwrap()
}

fn review(id: u128, candidate: u128, stage: ReviewStage, reviewer: Option<&str>) -> Vec<u8> {
    let data = ReviewState {
        candidate: EventId::from_u128(candidate),
        state: stage,
        given: 1,
        until: None,
        reviewer: reviewer.map(str::to_owned),
        envelope: None,
        refused: None,
        verdicts: Vec::new(),
    };
    let now = crate::clock::Now { wall: now(), monotonic: std::time::Duration::ZERO };
    let device = crate::delivery::DeviceId::new("cam-7").unwrap();
    CloudEvent::new(EventId::from_u128(id), &device, now, data).to_json().unwrap()
}

impl Bench {
    fn new() -> Self {
        let people = [("signer", 1), ("signer", 2), ("revoker", 3)];
        let trust = Trust::parse(&fixture::trust_text(2, &people)).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            intake: Intake::new("site", Default::default(), trust),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            rules: KeepingRules { retention: RetentionConfig::default(), at_most_alike: 3 },
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("desk.sqlite")
    }

    fn open(&self) -> DeskStore {
        self.runtime.block_on(DeskStore::open(&self.path())).unwrap()
    }

    fn keep(&self, store: &DeskStore, topic: &str, payload: &[u8]) -> (Kept, Vec<DeskNotice>) {
        let topic = format!("site/v1/cam-7/{topic}");
        let message = ArrivedMessage { topic: &topic, payload, signature: None };
        let what = self.intake.look_at(message);
        let arrival = Arrival { topic, payload: payload.to_vec(), what };
        let batch = [arrival];
        let kept = store.keep(&batch, &self.rules, now());
        let (kept, notices) = self.runtime.block_on(kept).unwrap();
        (kept[0], notices)
    }

    fn case(&self, store: &DeskStore, n: u128) -> CaseRow {
        self.runtime.block_on(store.case(EventId::from_u128(n))).unwrap().expect("it is there")
    }
}

fn judges(bench: &Bench, store: &DeskStore, reviewer: u8, envelope: &[u8]) -> VerdictTaken {
    let own = OwnVerdict {
        candidate: EventId::from_u128(1),
        reviewer: [reviewer; 8],
        device: "cam-7",
        envelope,
    };
    bench.runtime.block_on(store.take_verdict(own, now())).unwrap()
}

#[test]
fn an_event_is_stored_once_and_each_time_it_comes_a_receipt_is_due() {
    let bench = Bench::new();
    let store = bench.open();
    let event = candidate_of(1, 1, "case-1");
    let (kept, notices) = bench.keep(&store, "candidate", &event);
    assert_eq!((kept, notices), (Kept::New, vec![DeskNotice::Candidate(EventId::from_u128(1))]));
    let due = || bench.runtime.block_on(store.due_receipts(10)).unwrap();
    assert_eq!(due().len(), 1);
    let taken = [EventId::from_u128(11)];
    let settled = store.keep_and_settle(&[], &taken, &bench.rules, now());
    bench.runtime.block_on(settled).unwrap();
    assert_eq!(due(), []);
    assert_eq!(bench.keep(&store, "candidate", &event), (Kept::Repeated, vec![]));
    assert_eq!(due().len(), 1, "the receipt may have been lost");
    let mut other = candidate_of(1, 1, "case-2");
    assert_eq!(bench.keep(&store, "candidate", &other).0, Kept::SetAside, "other bytes");
    other = candidate_of(1, 2, "case-1");
    assert_eq!(bench.keep(&store, "candidate", &other).0, Kept::New);
    assert_eq!(bench.case(&store, 1).payload, Some(other), "the update is what is judged");
    bench.keep(&store, "review/state", &review(90, 1, ReviewStage::Pending, None));
    assert_eq!(due().len(), 3, "states of reviews are answered, too");
    drop(store);
    assert_eq!(bench.case(&bench.open(), 1).stage, ReviewStage::Pending, "over a restart");
}

#[test]
fn the_other_form_of_an_event_gets_a_receipt_of_its_own_bytes_and_nothing_else_does() {
    use crate::delivery::event::without_pictures;
    let taken = [EventId::from_u128(11)];
    let whole = candidate_of(1, 1, "case-1");
    let bare = without_pictures(&whole).unwrap();
    for [first, other] in [[&whole, &bare], [&bare, &whole]] {
        let bench = Bench::new();
        let store = bench.open();
        assert_eq!(bench.keep(&store, "candidate", first).0, Kept::New);
        let settled = store.keep_and_settle(&[], &taken, &bench.rules, now());
        bench.runtime.block_on(settled).unwrap();
        let due = || bench.runtime.block_on(store.due_receipts(10)).unwrap();
        for altered in [r#""score":0.99"#, r#""place":"elsewhere""#] {
            let text = String::from_utf8(other.clone()).unwrap();
            let at = text.find(&altered[..8]).expect("the field is there");
            let end = at + text[at..].find(',').unwrap();
            let altered = [&text[..at], altered, &text[end..]].concat().into_bytes();
            assert_eq!(bench.keep(&store, "candidate", &altered).0, Kept::SetAside);
        }
        assert_eq!(due(), []);
        let (kept, notices) = bench.keep(&store, "candidate", other);
        assert_eq!((kept, notices), (Kept::Repeated, vec![]));
        let digest: [u8; 32] = Sha256::digest(other).into();
        assert_eq!(due().iter().map(|due| due.digest).collect::<Vec<_>>(), [digest]);
        assert_eq!(bench.case(&store, 1).payload.as_ref(), Some(first), "it is stored once");
    }
}

#[test]
fn a_verdict_is_stored_once_and_published_until_the_device_answers() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(judges(&bench, &store, 1, b"sealed"), VerdictTaken::Unknown);
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    assert_eq!(judges(&bench, &store, 1, b"sealed"), VerdictTaken::Stored);
    assert_eq!(judges(&bench, &store, 1, b"sealed"), VerdictTaken::Repeated);
    assert_eq!(judges(&bench, &store, 1, b"another"), VerdictTaken::JudgedBefore);
    assert_eq!(judges(&bench, &store, 2, b"of emil"), VerdictTaken::Stored);
    let due = || bench.runtime.block_on(store.due_verdicts(10)).unwrap().len();
    assert_eq!(due(), 2);
    let dora = "0101010101010101";
    let answer = review(90, 1, ReviewStage::Pending, Some(dora));
    let (_, notices) = bench.keep(&store, "review/state", &answer);
    assert!(matches!(&notices[..], [DeskNotice::Counted { .. }]), "{notices:?}");
    assert_eq!(due(), 1);
    let own = |who| bench.runtime.block_on(store.own(EventId::from_u128(1), [who; 8])).unwrap().0;
    assert_eq!([own(1), own(2), own(3)], [Counted, Sent, Open]);
    let over = review(91, 1, ReviewStage::Confirmed, Some("0202020202020202"));
    bench.keep(&store, "review/state", &over);
    assert_eq!((due(), bench.case(&store, 1).stage), (0, ReviewStage::Confirmed));
    let late = review(92, 1, ReviewStage::Pending, None);
    bench.keep(&store, "review/state", &late);
    assert_eq!(bench.case(&store, 1).stage, ReviewStage::Confirmed, "what is over stays so");
    assert_eq!(judges(&bench, &store, 3, b"late"), VerdictTaken::Over);
}

#[test]
fn an_answer_that_names_another_envelope_leaves_this_one_unanswered() {
    let bench = Bench::new();
    let store = bench.open();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    judges(&bench, &store, 1, b"sealed");
    let answer = |id: u128, envelope: &[u8]| {
        let text = review(id, 1, ReviewStage::Pending, Some("0101010101010101"));
        let mut event: serde_json::Value = serde_json::from_slice(&text).unwrap();
        event["data"]["refused"] = "judged before".into();
        event["data"]["envelope"] = hex(&Sha256::digest(envelope)).into();
        let (_, notices) = bench.keep(&store, "review/state", &serde_json::to_vec(&event).unwrap());
        notices
    };
    assert_eq!(answer(90, b"sent from elsewhere"), []);
    assert_eq!(bench.runtime.block_on(store.due_verdicts(10)).unwrap().len(), 1);
    assert!(matches!(&answer(91, b"sealed")[..], [DeskNotice::Refused { .. }]));
    assert_eq!(bench.runtime.block_on(store.due_verdicts(10)).unwrap(), []);
}

#[test]
fn states_of_one_moment_are_told_in_the_order_in_which_they_came() {
    let bench = Bench::new();
    let store = bench.open();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    let at_end = || bench.runtime.block_on(store.states_at_end(EventId::from_u128(1))).unwrap();
    let first = review(93, 1, ReviewStage::Pending, None);
    bench.keep(&store, "review/state", &first);
    assert_eq!(at_end(), Vec::<Vec<u8>>::new(), "it is not over");
    // The bench's clock stands: all have one time, and their ids are in another order.
    let over = review(92, 1, ReviewStage::Refuted, None);
    let after = review(91, 1, ReviewStage::Confirmed, None);
    for state in [&over, &after] {
        bench.keep(&store, "review/state", state);
    }
    assert_eq!(at_end(), [first, over, after]);
    assert_eq!(bench.case(&store, 1).stage, ReviewStage::Refuted, "the first end stands");
}

#[test]
fn the_queue_shows_what_waits_and_the_reader_has_not_judged() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 1..=3 {
        bench.keep(&store, "candidate", &candidate_of(n, 1, "case-1"));
    }
    judges(&bench, &store, 1, b"sealed");
    bench.keep(
        &store,
        "review/state",
        &review(90, 1, ReviewStage::Pending, Some("0101010101010101")),
    );
    bench.keep(&store, "review/state", &review(91, 2, ReviewStage::Refuted, None));
    let queue = |reviewer: u8| -> Vec<EventId> {
        let rows = bench.runtime.block_on(store.queue([reviewer; 8], 10)).unwrap();
        rows.into_iter().map(|row| row.candidate).collect()
    };
    assert_eq!(queue(1), [3].map(EventId::from_u128));
    assert_eq!(queue(2), [1, 3].map(EventId::from_u128));
}

#[test]
fn many_of_one_entry_in_one_hour_are_one_line_and_each_of_them_is_judged_by_itself() {
    let bench = Bench::new();
    let store = bench.open();
    let lines = |reviewer: u8| -> Vec<(u128, u32)> {
        let rows = bench.runtime.block_on(store.queue([reviewer; 8], 10)).unwrap();
        rows.into_iter().map(|row| (row.candidate.as_u128(), row.alike)).collect()
    };
    let comes = |event: &[u8]| bench.keep(&store, "candidate", event).1.len();
    for n in 1..=3 {
        assert_eq!(comes(&candidate_of(n, 1, "case-1")), 1);
    }
    assert_eq!(lines(1), [(1, 1), (2, 1), (3, 1)], "as many as are shown one by one");
    assert_eq!(comes(&candidate_of(4, 1, "case-1")), 1);
    assert_eq!(comes(&candidate_of(5, 1, "case-1")), 0, "it makes no sound");
    assert_eq!(comes(&candidate_of(6, 1, "case-2")), 1, "of another entry");
    assert_eq!(comes(&later(7, "case-1", 1)), 1, "in another hour");
    assert_eq!(lines(1), [(1, 5), (6, 1), (7, 1)]);
    let waiting = || bench.runtime.block_on(store.waiting(100)).unwrap();
    assert_eq!(waiting(), 7);

    // What one reviewer has judged is behind the line of the other.
    assert_eq!(judges(&bench, &store, 1, b"sealed"), VerdictTaken::Stored);
    let counted = review(90, 1, ReviewStage::Pending, Some("0101010101010101"));
    bench.keep(&store, "review/state", &counted);
    assert_eq!((lines(1)[0], lines(2)[0]), ((2, 4), (1, 5)));
    bench.keep(&store, "review/state", &review(91, 2, ReviewStage::Refuted, None));
    assert_eq!((lines(1)[0], lines(2)[0]), ((3, 3), (1, 4)));
    let alike = |n| -> Vec<u128> {
        let rows = store.alike(EventId::from_u128(n), [1; 8], 10);
        let rows = bench.runtime.block_on(rows).unwrap();
        rows.into_iter().map(|row| row.candidate.as_u128()).collect()
    };
    assert_eq!((alike(1), alike(6)), (vec![3, 4, 5], vec![]));

    // Each ends by itself.
    for n in [1, 3, 4, 5] {
        let state = review(100 + n, n, ReviewStage::Refuted, None);
        bench.keep(&store, "review/state", &state);
    }
    assert_eq!((lines(1), waiting()), (vec![(6, 1), (7, 1)], 2));
    let later = now() + Duration::days(90);
    bench.runtime.block_on(store.erase_due(later, Duration::days(1))).unwrap();
    let bursts = bench.runtime.block_on(async {
        let mut writer = store.writer.lock().await;
        let row = sqlx::query("SELECT count(*) FROM burst").fetch_one(&mut *writer).await.unwrap();
        row.get::<i64, _>(0)
    });
    assert_eq!(bursts, 0, "nothing waits behind it");
}

/// Whether any file of the database holds the bytes.
fn on_disk(bench: &Bench, what: &[u8]) -> bool {
    let files = std::fs::read_dir(bench.folder.path()).unwrap().flatten();
    files
        .map(|file| std::fs::read(file.path()).unwrap())
        .any(|bytes| bytes.windows(what.len()).any(|window| window == what))
}

#[test]
fn a_control_is_over_and_erased_at_once_and_a_state_that_is_not_known_ends_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    let refuted = String::from_utf8(review(90, 1, ReviewStage::Refuted, None)).unwrap();
    let of_later = refuted.replace("\"refuted\"", "\"of-a-later-version\"");
    bench.keep(&store, "review/state", of_later.as_bytes());
    assert_eq!(bench.case(&store, 1).stage, ReviewStage::Pending);
    bench.keep(&store, "review/state", &review(91, 1, ReviewStage::Control, None));
    assert_eq!(bench.case(&store, 1).stage, ReviewStage::Control);
    let erased = bench.runtime.block_on(store.erase_due(now(), Duration::days(730))).unwrap();
    assert_eq!((erased.candidates, bench.case(&store, 1).payload), (1, None));
}

#[test]
fn what_is_due_is_erased_from_the_database_and_its_log_and_what_happened_stays() {
    let bench = Bench::new();
    let store = bench.open();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    bench.keep(&store, "candidate", &candidate_of(2, 1, "case-2"));
    bench.keep(&store, "review/state", &review(90, 1, ReviewStage::Refuted, None));
    assert!(on_disk(&bench, b"legal_basis"));
    let erase = |after| {
        let erased = store.erase_due(now() + after, Duration::days(730));
        let erased = bench.runtime.block_on(erased).unwrap();
        assert!(bench.runtime.block_on(store.scrub()).unwrap());
        erased.candidates
    };
    assert_eq!(erase(Duration::hours(23)), 0);
    assert_eq!(erase(Duration::hours(25)), 1, "refuted: after a day");
    let case = bench.case(&store, 1);
    assert_eq!((case.erased, case.payload, case.stage), (true, None, ReviewStage::Refuted));
    let list = "north".parse().unwrap();
    let action = Action::Revoke { list, through: 9, entry: Some("case-2".parse().unwrap()) };
    let order = sign(OrderId([1; 16]), &action, &fixture::key(3), now()).unwrap();
    let (_, notices) = bench.keep(&store, "revoke/01", &order);
    assert_eq!(notices, [DeskNotice::Withdrawn]);
    assert_eq!(erase(Duration::ZERO), 1, "revoked: at once");
    assert!(!on_disk(&bench, b"legal_basis"));
    bench.keep(&store, "candidate", &candidate_of(1, 2, "case-1"));
    bench.keep(&store, "candidate", &candidate_of(3, 1, "case-2"));
    assert!(!on_disk(&bench, b"legal_basis"), "what comes after the order is not kept");
}

#[test]
fn an_invitation_is_spent_once_and_in_its_time() {
    let bench = Bench::new();
    let store = bench.open();
    let key = fixture::key(7).public();
    let reading = crate::watchlist::seal::DeviceKey::generate().unwrap();
    let enrol = |token: &str, after| {
        let enrolled = store.enrol(token, &key, reading.recipient(), now() + after);
        bench.runtime.block_on(enrolled).is_ok()
    };
    let open = || bench.runtime.block_on(store.invitations(now())).unwrap();
    let until = now() + Duration::hours(1);
    bench.runtime.block_on(store.invite("abc", "dora", until)).unwrap();
    assert!(!enrol("other", Duration::ZERO));
    assert!(!enrol("abc", Duration::hours(2)));
    assert!(enrol("abc", Duration::ZERO));
    assert!(!enrol("abc", Duration::ZERO));
    assert_eq!(bench.runtime.block_on(store.people()).unwrap().len(), 1);
    bench.runtime.block_on(store.invite("old", "emil", until)).unwrap();
    let erase = |after| bench.runtime.block_on(store.erase_due(now() + after, Duration::days(1)));
    assert_eq!((erase(Duration::ZERO).unwrap().invitations, open()), (0, 1));
    assert_eq!(
        (erase(Duration::hours(1)).unwrap().invitations, open()),
        (1, 0),
        "its time is over"
    );
}

#[test]
fn an_invitation_gives_a_key_that_is_enrolled_no_other_reading_key() {
    let bench = Bench::new();
    let store = bench.open();
    let until = now() + Duration::hours(1);
    for token in ["of dora", "of mallory", "again"] {
        bench.runtime.block_on(store.invite(token, token, until)).unwrap();
    }
    let dora = fixture::key(7).public();
    let [hers, other] = [(); 2]
        .map(|()| crate::watchlist::seal::DeviceKey::generate().unwrap().recipient().clone());
    let enrol = |token, reading| bench.runtime.block_on(store.enrol(token, &dora, reading, now()));
    enrol("of dora", &hers).unwrap();
    assert!(matches!(enrol("of mallory", &other), Err(EnrolError::Taken)));
    let people = || bench.runtime.block_on(store.people()).unwrap();
    assert_eq!((people()[0].reading_key.clone(), people().len()), (hers.to_string(), 1));
    let invited = bench.runtime.block_on(store.invited("of mallory", now())).unwrap();
    assert_eq!(invited.as_deref(), Some("of mallory"), "it is not spent");
    enrol("again", &hers).unwrap();
    assert_eq!((people()[0].label.as_str(), people().len()), ("again", 1), "the same keys, again");
}

#[test]
fn a_copy_made_while_it_runs_is_a_database_of_its_own_and_a_newer_one_is_refused() {
    let bench = Bench::new();
    let store = bench.open();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    let copy = bench.folder.path().join("copy.sqlite");
    bench.runtime.block_on(store.back_up(&copy)).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&copy), mode(&bench.path())], [0o600; 2], "for its owner alone");
    let again = bench.runtime.block_on(store.back_up(&copy));
    assert!(matches!(again, Err(DeskStoreError::Copy { .. })), "what is there stays: {again:?}");
    let restored = bench.runtime.block_on(DeskStore::open(&copy)).unwrap();
    assert!(bench.case(&restored, 1).payload.is_some());
    drop(restored);
    bench.runtime.block_on(async {
        let mut writer = store.writer.lock().await;
        sqlx::query("PRAGMA user_version = 99").execute(&mut *writer).await.unwrap();
    });
    drop(store);
    let newer = bench.runtime.block_on(DeskStore::open(&bench.path()));
    assert!(matches!(newer, Err(DeskStoreError::Newer { found: 99 })), "{newer:?}");
}

#[test]
fn an_invitation_that_was_used_since_a_copy_was_made_is_not_there_again() {
    let bench = Bench::new();
    let store = bench.open();
    let restore =
        |from: &PathBuf, to: &PathBuf| bench.runtime.block_on(DeskStore::restore(from, to));
    let until = now() + Duration::DAY;
    let open = |store: &DeskStore| bench.runtime.block_on(store.invitations(now())).unwrap();
    for token in ["used", "open"] {
        bench.runtime.block_on(store.invite(token, "reviewer 1", until)).unwrap();
    }
    // As a copy was that an earlier program made, or that somebody made by hand.
    let [copy, whole] = ["copy.sqlite", "whole.sqlite"].map(|name| bench.folder.path().join(name));
    bench.runtime.block_on(store.back_up(&copy)).unwrap();
    bench.runtime.block_on(async {
        let mut writer = store.writer.lock().await;
        let name = whole.to_str().unwrap();
        sqlx::query("VACUUM INTO ?").bind(name).execute(&mut *writer).await.unwrap();
    });
    let reading = DeviceKey::generate().unwrap();
    let key = fixture::key(3).public();
    bench.runtime.block_on(store.enrol("used", &key, reading.recipient(), now())).unwrap();
    assert_eq!(open(&store), 1, "one is open here");
    let there = restore(&copy, &bench.path());
    assert!(matches!(there, Err(DeskStoreError::InPlace(_))), "nothing is overwritten: {there:?}");
    drop(store);
    for (from, forgotten) in [(&copy, 0), (&whole, 2)] {
        let place = bench.folder.path().join(format!("restored-{forgotten}.sqlite"));
        assert_eq!(restore(from, &place).unwrap(), forgotten);
        let restored = bench.runtime.block_on(DeskStore::open(&place)).unwrap();
        assert_eq!(open(&restored), 0);
        let again = restored.enrol("used", &key, reading.recipient(), now());
        let again = bench.runtime.block_on(again);
        assert!(matches!(again, Err(EnrolError::NoInvitation)), "{again:?}");
    }
    std::fs::write(&copy, "no database").unwrap();
    let place = bench.folder.path().join("none.sqlite");
    assert!(restore(&copy, &place).is_err());
    assert!(!place.exists(), "nothing half is left");
}

#[test]
fn what_is_taken_out_at_the_command_line_is_in_the_record_of_who_looked() {
    let bench = Bench::new();
    let store = bench.open();
    let id = EventId::from_u128(1);
    let by = |what, of| store.record_command(what, of, "uid 1000", now());
    bench.runtime.block_on(by(Looked::Export, Some(id))).unwrap();
    bench.runtime.block_on(by(Looked::Backup, None)).unwrap();
    let sums = bench.runtime.block_on(store.accesses(10)).unwrap();
    let wanted = AccessSum { who: COMMAND_LINE, pictures: 1, last: now() };
    assert_eq!(sums, [wanted]);
    let row = bench.runtime.block_on(async {
        let rows = "SELECT what, candidate, detail FROM access ORDER BY rowid";
        sqlx::query(rows).fetch_all(&store.readers).await.unwrap()
    });
    let texts = |at: usize| row.iter().map(|r| r.get::<String, _>(at)).collect::<Vec<_>>();
    assert_eq!(texts(0), ["export", "backup"]);
    assert_eq!(texts(2), ["uid 1000"; 2]);
    assert_eq!(row[0].get::<Vec<u8>, _>(1), id.as_u128().to_be_bytes());
}

#[test]
fn what_only_reads_makes_no_database() {
    let bench = Bench::new();
    let opened = bench.runtime.block_on(DeskStore::open_existing(&bench.path()));
    assert!(matches!(opened, Err(DeskStoreError::Missing(_))), "{opened:?}");
    assert!(!bench.path().exists());
}

#[test]
fn two_processes_that_read_before_they_write_wait_for_each_other() {
    let bench = Bench::new();
    let [one, other] = [bench.open(), bench.open()];
    bench.keep(&one, "candidate", &candidate_of(1, 1, "case-1"));
    let judge = |reviewer: u8| OwnVerdict {
        candidate: EventId::from_u128(1),
        reviewer: [reviewer; 8],
        device: "cam-7",
        envelope: b"sealed",
    };
    bench.runtime.block_on(async {
        for round in 0..50 {
            let (a, b) = tokio::join!(
                one.take_verdict(judge(2 * round), now()),
                other.take_verdict(judge(2 * round + 1), now())
            );
            assert_eq!((a.unwrap(), b.unwrap()), (VerdictTaken::Stored, VerdictTaken::Stored));
        }
    });
}

#[test]
fn each_new_candidate_is_owed_to_each_destination_once_and_survives_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    bench.runtime.block_on(store.notify_only(&names(&["a", "b"]))).unwrap();
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    bench.keep(&store, "candidate", &candidate_of(1, 2, "case-1"));
    bench.keep(&store, "candidate", &candidate_of(2, 1, "case-2"));
    drop(store);
    let store = bench.open();
    let all = |store: &DeskStore| bench.runtime.block_on(store.notifications()).unwrap();
    let unsaid: Vec<u64> = all(&store).iter().map(|kept| kept.unsaid).collect();
    assert_eq!(unsaid, [2, 2], "neither a repetition nor an update is another one");
    let id = EventId::from_u128(77);
    bench.runtime.block_on(async {
        store.open_notification("a", id, now()).await.unwrap();
        store.open_notification("a", EventId::from_u128(78), now()).await.unwrap();
        store.notification_failed("a", now() + Duration::minutes(1)).await.unwrap();
    });
    let open = all(&store)[0].open.unwrap();
    assert_eq!((open.id, open.tries), (id, 1), "the first id stays");
    bench.keep(&store, "candidate", &candidate_of(3, 1, "case-3"));
    let end = |end, covered| {
        let ended = store.end_notification("a", end, covered, now());
        bench.runtime.block_on(ended).unwrap();
    };
    end(NotificationEnd::Delivered, 2);
    let kept = &all(&store)[0];
    assert_eq!((kept.unsaid, kept.open, kept.ended), (1, None, Some(now())), "one came meanwhile");
    end(NotificationEnd::Overtaken, 1);
    let counts = NotificationCounts { delivered: 1, overtaken: 1, failed: 1, given_up: 0 };
    assert_eq!((all(&store)[0].unsaid, all(&store)[0].counts), (0, counts));
    // One that is configured no more is owed nothing, and the other keeps what it is owed.
    bench.runtime.block_on(store.notify_only(&names(&["b", "c"]))).unwrap();
    let left = all(&store);
    let left: Vec<_> = left.iter().map(|kept| (kept.destination.as_str(), kept.unsaid)).collect();
    assert_eq!(left, [("b", 3), ("c", 0)]);
}

#[test]
fn what_comes_after_its_entry_was_revoked_is_owed_to_nobody() {
    let bench = Bench::new();
    let store = bench.open();
    bench.runtime.block_on(store.notify_only(&["a".to_owned()])).unwrap();
    let action = Action::Revoke { list: "north".parse().unwrap(), through: 9, entry: None };
    let order = sign(OrderId([1; 16]), &action, &fixture::key(3), now()).unwrap();
    bench.keep(&store, "revoke/01", &order);
    bench.keep(&store, "candidate", &candidate_of(1, 1, "case-1"));
    assert_eq!(bench.runtime.block_on(store.notifications()).unwrap()[0].unsaid, 0);
}

#[test]
fn many_at_once_are_stored_as_if_they_came_one_by_one() {
    let looked_at = |bench: &Bench, topic: &str, payload: Vec<u8>| {
        let topic = format!("site/v1/cam-7/{topic}");
        let message = ArrivedMessage { topic: &topic, payload: &payload, signature: None };
        let what = bench.intake.look_at(message);
        Arrival { topic, payload, what }
    };
    let revoke = || {
        let entry = Some("case-9".parse().unwrap());
        let action = Action::Revoke { list: "north".parse().unwrap(), through: 9, entry };
        sign(OrderId([1; 16]), &action, &fixture::key(3), now()).unwrap()
    };
    let all = |bench: &Bench| {
        let candidate = |n, sequence, entry: &str| ("candidate", candidate_of(n, sequence, entry));
        let mut messages = vec![
            candidate(1, 1, "case-1"),
            // Again, its update, and other bytes under its id.
            candidate(1, 1, "case-1"),
            candidate(1, 2, "case-1"),
            candidate(1, 1, "case-2"),
            ("candidate", b"junk".to_vec()),
            ("revoke/01", revoke()),
            candidate(2, 1, "case-9"),
            candidate(3, 1, "case-1"),
            ("review/state", review(900, 3, ReviewStage::Refuted, None)),
        ];
        // More of one entry within an hour than are shown one by one, and others.
        messages.extend((10..17).map(|n| candidate(n, 1, "case-1")));
        messages
            .extend((20..24).map(|n| ("candidate", later(n, "case-1", i64::try_from(n).unwrap()))));
        messages.extend((30..200).map(|n| candidate(n, 1, &format!("other-{n}"))));
        messages.into_iter().map(|(t, p)| looked_at(bench, t, p)).collect::<Vec<_>>()
    };
    /// What is in the tables, without the order of bursts' numbers.
    fn told(bench: &Bench, store: &DeskStore) -> Vec<String> {
        let mut told = Vec::new();
        for what in [
            "SELECT hex(id) || kind || hex(digest) || coalesce(length(payload), 'erased') FROM event ORDER BY id",
            "SELECT hex(id) || hex(newest) || stage || sequence || entry || (burst IS NULL) || \
             coalesce(ended, '') || coalesce(erased, '') FROM candidate ORDER BY id",
            "SELECT hex(event) || hex(digest) FROM receipt_due ORDER BY event",
            "SELECT entry || hour FROM burst ORDER BY entry, hour",
            "SELECT reason || count FROM set_aside ORDER BY reason",
        ] {
            let rows = bench.runtime.block_on(sqlx::query(what).fetch_all(&store.readers)).unwrap();
            told.extend(rows.iter().map(|row| row.get::<String, _>(0)));
        }
        told
    }
    let [at_once, one_by_one] = [Bench::new(), Bench::new()];
    let (a, b) = (at_once.open(), one_by_one.open());
    let batch = all(&at_once);
    let keep = a.keep(&batch, &at_once.rules, now());
    let (kept, _) = at_once.runtime.block_on(keep).unwrap();
    let mut each = Vec::new();
    for arrival in all(&one_by_one) {
        let batch = [arrival];
        let keep = b.keep(&batch, &one_by_one.rules, now());
        each.extend(one_by_one.runtime.block_on(keep).unwrap().0);
    }
    assert_eq!(kept, each);
    assert_eq!(told(&at_once, &a), told(&one_by_one, &b));
    assert!(kept.contains(&Kept::Repeated) && kept.contains(&Kept::SetAside));
}
