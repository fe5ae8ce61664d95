use std::time::Duration;

use super::*;
use crate::judgement::{Confidence, Opinion};
use proptest::prelude::*;

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .expect("a date of this file")
}

fn now() -> Now {
    Now { monotonic: Duration::from_secs(5), wall: at("2026-11-24T05:20:04.25Z") }
}

fn device() -> DeviceId {
    DeviceId::new("cam-7").expect("a plain id")
}

fn candidate() -> Candidate {
    Candidate {
        candidate: EventId::from_u128(0x0193_5c2e_1d10_7000_8000_0000_0000_0001),
        sequence: 1,
        device: "cam-7".to_owned(),
        camera: "front".to_owned(),
        decided_at: at("2026-11-24T05:20:04.2Z"),
        expires: at("2026-11-24T05:50:04.2Z"),
        entry: "E-0001".to_owned(),
        aim: Some("missing-or-victim".to_owned()),
        legal_basis: Some("order 3 Gs 114/27".to_owned()),
        purpose: Some("missing since 2 March".to_owned()),
        place: Some("north gate".to_owned()),
        alternatives: vec!["E-0007".to_owned()],
        score: 0.62,
        threshold: 0.45,
        expected_false_positive_rate: Some(0.0001),
        evidence: Evidence {
            views: 5,
            agreeing: 3,
            combined: 0.6,
            quality: QualityParts {
                overall: 0.8,
                eye_distance: 48.5,
                sharpness: 0.7,
                yaw: -4.0,
                pitch: 2.5,
                roll: 1.0,
                detector_score: 0.93,
            },
            rect: [312.0, 80.5, 96.0, 120.0],
            frame: [1280, 720],
        },
        list: ListVersion { id: "L-42".to_owned(), version: 3 },
        models: ModelDigests { detector: "ab".repeat(32), embedder: "cd".repeat(32) },
        crop: Some(Crop::jpeg(&[0xff, 0xd8, 0xff, 0xd9])),
        head: None,
        second_view: None,
        audit: None,
    }
}

/// With all that the configuration can add.
fn candidate_with_head() -> Candidate {
    let quality = QualityParts { overall: 0.7, ..candidate().evidence.quality };
    Candidate {
        head: Some(Crop::jpeg(&[0xff, 0xd8, 0xff, 0xd9])),
        second_view: Some(SecondView {
            score: 0.58,
            quality,
            rect: [300.0, 82.0, 95.0, 119.0],
            frame: [1280, 720],
            crop: Some(Crop::jpeg(&[0xff, 0xd8, 0xff, 0xd9])),
        }),
        ..candidate()
    }
}

fn status() -> Status {
    Status {
        state: State::Online,
        since: at("2026-11-24T05:00:00Z"),
        version: "0.1.0".to_owned(),
        matching: true,
        list: Some(ListInForce {
            id: "L-42".to_owned(),
            version: 3,
            expires: at("2026-12-01T00:00:00Z"),
            stage: Stage::InForce,
            promise: Some("ab".repeat(32)),
            site_until: None,
        }),
        reason: None,
        threshold: Some(0.45),
        clock: ClockQuality::Synchronized,
        degraded: None,
        promises: Promises::new(),
        ends_soon: Vec::new(),
    }
}

fn json<T: EventData>(id: u128, data: T) -> serde_json::Value {
    let event = CloudEvent::new(EventId::from_u128(id), &device(), now(), data);
    serde_json::from_slice(&event.to_json().expect("dates of this century"))
        .expect("what was written is JSON")
}

/// As it was sent when the contract was new.
fn candidate_of_1() -> Candidate {
    Candidate { aim: None, legal_basis: None, purpose: None, place: None, ..candidate() }
}

fn without_promise(list: Option<ListInForce>) -> Option<ListInForce> {
    list.map(|list| ListInForce { promise: None, site_until: None, ..list })
}

fn status_of_1() -> Status {
    Status { list: without_promise(status().list), ..status() }
}

fn blind_of_1() -> Status {
    Status { promises: Promises::new(), ends_soon: Vec::new(), ..blind() }
}

fn list_state_of_1() -> ListState {
    ListState { list: without_promise(list_state().list), calibrating: None, ..list_state() }
}

/// What devices send with `data` of this version of its schema.
fn golden(version: u32, name: &str) -> serde_json::Value {
    let text = match (version, name) {
        (1, "candidate") => include_str!("golden/candidate.v1.json"),
        (1, "status") => include_str!("golden/status.v1.json"),
        (1, "blind") => include_str!("golden/status-blind.v1.json"),
        (1, "watchlist-state") => include_str!("golden/watchlist-state.v1.json"),
        (1, _) => include_str!("golden/stats.v1.json"),
        (_, "candidate-head") => include_str!("golden/candidate-head.v2.json"),
        (_, "candidate") => include_str!("golden/candidate.v2.json"),
        (_, "status") => include_str!("golden/status.v2.json"),
        (_, "blind") => include_str!("golden/status-blind.v2.json"),
        (_, "watchlist-state") => include_str!("golden/watchlist-state.v2.json"),
        (_, "review-state") => include_str!("golden/review-state.v2.json"),
        (_, "review-state-control") => include_str!("golden/review-state-control.v2.json"),
        (_, "review-state-answer") => include_str!("golden/review-state-answer.v2.json"),
        (_, "control-answer") => include_str!("golden/control-answer.v2.json"),
        _ => include_str!("golden/stats.v2.json"),
    };
    serde_json::from_str(text).expect("golden files are JSON")
}

const ID: u128 = 0x0193_5c2e_1d2a_7abc_8def_0123_4567_89ab;

fn stats() -> Stats {
    Stats {
        since: at("2026-11-24T05:00:00Z"),
        counts: [("frames".to_owned(), 36000), ("faces".to_owned(), 412)].into(),
        drops: [("face.blurred".to_owned(), 17)].into(),
        gauges: [("outbox.events".to_owned(), 0.0)].into(),
    }
}

fn list_state() -> ListState {
    ListState {
        list: Some(ListInForce {
            id: "L-42".to_owned(),
            version: 3,
            expires: at("2026-12-01T00:00:00Z"),
            stage: Stage::InForce,
            promise: Some("ab".repeat(32)),
            site_until: Some(at("2027-01-31T00:00:00Z")),
        }),
        digest: Some("ef".repeat(32)),
        entries: 12,
        reason: None,
        memory: None,
        last_change: Some(ListChange {
            what: Change::Installed,
            detail: "L-42 version 3".to_owned(),
            at: at("2026-11-24T05:10:00Z"),
        }),
        calibrating: Some(Calibrating {
            decoys: 2000,
            days_done: 3,
            days: 14,
            authority: "District Court".to_owned(),
            decision: "12 Gs 346/26".to_owned(),
        }),
    }
}

fn review_state() -> ReviewState {
    let said = |reviewer: &str, confidence, judged_at: &str| ReviewVerdict {
        reviewer: reviewer.to_owned(),
        opinion: Opinion::Same,
        confidence,
        judged_at: at(judged_at),
    };
    ReviewState {
        candidate: EventId::from_u128(ID + 1),
        state: ReviewStage::Confirmed,
        given: 2,
        until: None,
        reviewer: Some("89abcdef01234567".to_owned()),
        envelope: None,
        refused: None,
        verdicts: vec![
            said("0123456789abcdef", Confidence::High, "2026-11-24T05:13:00Z"),
            said("89abcdef01234567", Confidence::Medium, "2026-11-24T05:14:00Z"),
        ],
    }
}

fn control_state() -> ReviewState {
    let (state, verdicts) = (ReviewStage::Control, Vec::new());
    ReviewState { state, verdicts, given: 0, ..review_state() }
}

/// The answer to one of two verdicts of one reviewer.
fn review_answer() -> ReviewState {
    ReviewState {
        state: ReviewStage::Pending,
        given: 1,
        until: Some(at("2026-11-27T05:12:00Z")),
        envelope: Some("cd".repeat(32)),
        refused: Some("this person has judged the candidate before".to_owned()),
        verdicts: Vec::new(),
        ..review_state()
    }
}

fn control_answer() -> ControlAnswer {
    ControlAnswer {
        control: EventId::from_u128(ID + 1),
        state: ControlStage::Judged,
        until: None,
        refused: None,
        scores: Some("YWdl".to_owned()),
    }
}

fn blind() -> Status {
    Status {
        state: State::Blind,
        matching: false,
        list: None,
        threshold: None,
        reason: Some("The watch list expired; sign and install a new one.".to_owned()),
        clock: ClockQuality::Unsynchronized,
        degraded: None,
        promises: [
            ("locked-memory", PromiseState::kept()),
            ("sealed-list", {
                let mut state = PromiseState::kept();
                state.weaken("watchlist.accept_plain");
                state
            }),
        ]
        .map(|(name, state)| (name.to_owned(), state))
        .into(),
        ends_soon: vec![EndingSoon { what: Ending::TrustFile, ends: at("2026-12-20T00:00:00Z") }],
        ..status()
    }
}

#[test]
fn payloads_are_the_golden_ones() {
    assert_eq!(json(ID, candidate()), golden(2, "candidate"));
    assert_eq!(json(ID, candidate_with_head()), golden(2, "candidate-head"));
    assert_eq!(json(ID, status()), golden(2, "status"));
    assert_eq!(json(ID, blind()), golden(2, "blind"));
    assert_eq!(json(ID, stats()), golden(2, "stats"));
    assert_eq!(json(ID, list_state()), golden(2, "watchlist-state"));
    assert_eq!(json(ID, review_state()), golden(2, "review-state"));
    assert_eq!(json(ID, control_state()), golden(2, "review-state-control"));
    assert_eq!(json(ID, review_answer()), golden(2, "review-state-answer"));
    assert_eq!(json(ID, control_answer()), golden(2, "control-answer"));
}

/// Golden files are never changed: they are what devices in the field have sent. A field that was
/// removed or renamed, or that reads differently, fails here.
#[test]
fn the_golden_payloads_of_every_version_are_read_by_today_s_types_without_loss() {
    fn again<T: EventData + serde::de::DeserializeOwned>(version: u32, name: &str) -> T {
        let golden = golden(version, name);
        let event: CloudEvent<T> =
            serde_json::from_value(golden.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let written: serde_json::Value =
            serde_json::from_slice(&event.to_json().expect("dates")).expect("JSON");
        assert_eq!(written, golden, "every field of {name} is still known");
        assert_eq!(event.id, EventId::from_u128(ID));
        event.data
    }
    assert_eq!(again::<Candidate>(1, "candidate"), candidate_of_1());
    assert_eq!(again::<Candidate>(2, "candidate"), candidate());
    assert_eq!(again::<Candidate>(2, "candidate-head"), candidate_with_head());
    assert_eq!(again::<Status>(1, "status"), status_of_1());
    assert_eq!(again::<Status>(2, "status"), status());
    assert_eq!(again::<Status>(1, "blind"), blind_of_1());
    assert_eq!(again::<Status>(2, "blind"), blind());
    assert_eq!(again::<ListState>(1, "watchlist-state"), list_state_of_1());
    assert_eq!(again::<ListState>(2, "watchlist-state"), list_state());
    assert_eq!(again::<ReviewState>(2, "review-state"), review_state());
    assert_eq!(again::<ReviewState>(2, "review-state-control"), control_state());
    assert_eq!(again::<ReviewState>(2, "review-state-answer"), review_answer());
    assert_eq!(again::<ControlAnswer>(2, "control-answer"), control_answer());
    for version in [1, 2] {
        assert_eq!(again::<Stats>(version, "stats"), stats());
    }
}

#[test]
fn version_2_of_the_data_has_everything_of_version_1_with_the_same_meaning() {
    for name in ["candidate", "status", "blind", "stats", "watchlist-state"] {
        let (before, now) = (golden(1, name), golden(2, name));
        assert_eq!(before["type"], now["type"], "readers go by the type");
        has_all(&now["data"], &before["data"], name);
    }
}

/// Everything that is in `before` is in `now`, at every depth.
fn has_all(now: &serde_json::Value, before: &serde_json::Value, path: &str) {
    let Some(fields) = before.as_object() else {
        assert_eq!(now, before, "{path}");
        return;
    };
    for (field, before) in fields {
        let now = now.get(field).unwrap_or_else(|| panic!("{path}.{field} is gone"));
        has_all(now, before, &format!("{path}.{field}"));
    }
}

#[test]
fn a_reader_of_version_1_ignores_what_was_added_later() {
    let mut value = golden(1, "candidate");
    value["data"]["added_later"] = serde_json::json!({"a": 1});
    value["extension"] = serde_json::json!("x");
    serde_json::from_value::<CloudEvent<Candidate>>(value).expect("unknown fields are ignored");
}

#[test]
fn an_event_has_no_subject_and_no_track_number() {
    let value = json(ID, candidate());
    assert!(value.get("subject").is_none());
    assert!(!value.to_string().contains("track"));
}

#[test]
fn a_crop_never_shows_in_debug_output() {
    let text = format!("{:?}", candidate());
    assert!(text.contains("Crop(image/jpeg, 8 base64 characters)"), "{text}");
    assert!(!text.contains("/9j/"), "{text}");
}

#[test]
fn ids_are_version_7_carry_the_time_and_differ() {
    let (a, b) = (EventId::new(now()), EventId::new(now()));
    assert_ne!(a, b);
    assert_eq!(a.to_string().as_bytes()[14], b'7');
    let milliseconds = now().wall.unix_timestamp_nanos() / 1_000_000;
    assert_eq!((a.as_u128() >> 80) as i128, milliseconds);
}

#[test]
fn a_date_that_rfc_3339_cannot_write_is_an_error_and_no_panic() {
    let mut c = candidate();
    c.expires = time::PrimitiveDateTime::MIN.assume_utc();
    assert!(CloudEvent::new(EventId::from_u128(ID), &device(), now(), c).to_json().is_err());
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(
        entry in "\\PC{0,64}",
        score in -1.0f32..1.0,
        views in 0u32..1000,
        seconds in 0i64..4_000_000_000,
        nanos in 0u32..1_000_000_000,
        crop: Option<Vec<u8>>,
    ) {
        let when = OffsetDateTime::from_unix_timestamp(seconds)
            .unwrap()
            .replace_nanosecond(nanos)
            .unwrap();
        let mut c = candidate();
        c.entry = entry;
        c.score = score;
        c.evidence.views = views;
        c.expires = when;
        c.crop = crop.map(|bytes| Crop::jpeg(&bytes));
        let event = CloudEvent::new(EventId::from_u128(ID), &device(), now(), c);
        let back: CloudEvent<Candidate> =
            serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        prop_assert_eq!(back, event);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        let _ = serde_json::from_slice::<CloudEvent<Candidate>>(&bytes);
    }
}

#[test]
fn each_change_of_a_list_is_a_published_word_that_the_schema_names() {
    let schema = include_str!("../../../config/schemas/watchlist-state.v2.schema.json");
    for (change, word) in [
        (Change::ListRevoked, "list-revoked"),
        (Change::EntryRevoked, "entry-revoked"),
        (Change::Suspended, "suspended"),
        (Change::Installed, "installed"),
        (Change::KeysRotated, "keys-rotated"),
        (Change::Reloaded, "reloaded"),
        (Change::ReloadRefused, "reload-refused"),
        (Change::Refused, "refused"),
    ] {
        assert_eq!(serde_json::to_value(change).unwrap(), word);
        assert_eq!(change.to_string(), word);
        assert!(schema.contains(&format!("`{word}`")), "{word}");
    }
}
