use std::collections::BTreeMap;

use maud::Markup;
use time::{Duration, OffsetDateTime};

use super::views::*;
use super::*;
use crate::audit::record::{AuditEvent, AuditRecord, EndOfUse, ListRecord};
use crate::audit::report::ReportMaker;
use crate::cause::Cause;
use crate::delivery::event::{ReviewStage, ReviewVerdict};
use crate::desk::device_log::{LogProof, LogReport, NotProved};
use crate::desk::web::ASSETS;
use crate::judgement::{Confidence, Opinion};
use crate::promise::Stage;
use crate::watchlist::Aim;

/// What somebody might write where a name belongs.
const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;";
/// Values that stand nowhere else on a page.
const SCORE: f32 = 0.7171;
const THRESHOLD: f32 = 0.5151;

fn at() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)
}

fn me(word: &str) -> SignedIn {
    SignedIn { csrf: word.into(), who: word.into(), role: DeskRole::Supervisor }
}

fn revealed(word: &str) -> Revealed {
    Revealed {
        score: SCORE,
        threshold: THRESHOLD,
        alternatives: vec![format!("alternative {word}")],
        legal_basis: Some(format!("basis {word}")),
        purpose: Some(format!("purpose {word}")),
        aim: Some(format!("aim {word}")),
    }
}

fn pair_view(word: &str, standing: OwnStanding) -> PairView {
    PairView {
        me: me(word),
        now: at(),
        candidate: word.into(),
        payload: word.into(),
        device: word.into(),
        camera: word.into(),
        place: Some(word.into()),
        decided_at: at(),
        crop: true,
        photographs: vec![
            PhotographView { eyes: Some("1,2,3,4".into()) },
            PhotographView { eyes: None },
        ],
        can_judge: true,
        standing,
        refused: Some(word.into()),
    }
}

fn device_row(word: &str, state: &str) -> DeviceRow {
    DeviceRow {
        id: word.into(),
        state: state.into(),
        since: Some(at()),
        matching: state == "online",
        reason: Some(word.into()),
        list: Some((word.into(), 3, at())),
        entries: Some(2),
        outbox: Some(0),
        temperature: Some(48.3),
        audit_size: Some(18),
        heard: Some(at()),
        identity_pinned: state == "online",
    }
}

fn outcome_view(word: &str, state: ReviewStage) -> OutcomeView {
    let verdict = |reviewer: &str, opinion| ReviewVerdict {
        reviewer: reviewer.into(),
        opinion,
        confidence: Confidence::High,
        judged_at: at(),
    };
    OutcomeView {
        me: me(word),
        now: at(),
        candidate: word.into(),
        device: word.into(),
        camera: word.into(),
        place: Some(word.into()),
        decided_at: at(),
        state,
        own: OwnStanding::Open,
        ended_at: Some(at()),
        verdicts: vec![verdict(word, Opinion::Same), verdict("other", Opinion::Same)],
        revealed: Some(revealed(word)),
        erased_at: Some(at()),
        erased: false,
    }
}

/// What a log says that calls its place `word`, and that searched by its decision.
fn report_view(word: &str, proof: LogProof) -> DeviceReportView {
    let mut maker = ReportMaker::new(word, 0, 7_200_000);
    let list = ListRecord {
        id: "north".parse().unwrap(),
        version: 3,
        digest: [1; 32],
        entries: 4,
        threshold: 712_300,
        false_alerts: 200_000,
        authority: word.into(),
        decision: word.into(),
        aim: Aim::Consent,
        stage: Stage::InForce,
        signers: Vec::new(),
        models: [[2; 32]; 2],
    };
    let counts = BTreeMap::from([("pipeline.vision.tracks".to_owned(), 5)]);
    for (at_ms, event) in [
        (0, AuditEvent::Started { program: word.into() }),
        (0, AuditEvent::Placed { place: word.into() }),
        (0, AuditEvent::ListInForce(Box::new(list))),
        (0, AuditEvent::UseBegan),
        (3_600_000, AuditEvent::Heartbeat { counts }),
        (3_600_000, AuditEvent::UseEnded { why: EndOfUse::Blind(Cause::Suspended) }),
        (5_400_000, AuditEvent::UseBegan),
    ] {
        maker.record(Some(&AuditRecord { at_ms, event }));
    }
    DeviceReportView {
        me: me(word),
        device: word.into(),
        from: word.into(),
        to: word.into(),
        proof,
        records: 7,
        unreadable: 1,
        earlier: 1,
        cut: true,
        told: Some(LogReport { report: maker.finish(), begins: 2 }),
    }
}

/// Each page, with `word` wherever a text comes from elsewhere.
fn all(word: &str) -> Vec<(&'static str, Markup)> {
    let item = |standing| QueueItem {
        candidate: word.into(),
        device: word.into(),
        camera: word.into(),
        place: Some(word.into()),
        decided_at: at(),
        standing,
        alike: 1,
    };
    let standings =
        [OwnStanding::Open, OwnStanding::Sent, OwnStanding::Counted, OwnStanding::Refused];
    let mut pages = vec![
        ("sign-in", sign_in(&SignInView { origin: word.into() })),
        (
            "enrol",
            enrol(&EnrolView { origin: word.into(), token: word.into(), label: word.into() }),
        ),
        (
            "error",
            error(&ErrorView { me: Some(me(word)), error: word.into(), remedy: word.into() }),
        ),
        (
            "queue",
            queue(&QueueView {
                me: me(word),
                now: at(),
                items: standings.map(item).to_vec(),
                waiting: Some(4),
            }),
        ),
        (
            "burst",
            queue(&QueueView {
                me: me(word),
                now: at(),
                items: standings.map(item).to_vec(),
                waiting: None,
            }),
        ),
        (
            "queue-empty",
            queue(&QueueView { me: me(word), now: at(), items: Vec::new(), waiting: Some(0) }),
        ),
        (
            "fleet",
            fleet(&FleetView {
                me: me(word),
                now: at(),
                devices: ["online", "blind", "offline", "stopped", "unknown", word]
                    .map(|state| device_row(word, state))
                    .to_vec(),
            }),
        ),
        (
            "people",
            people(&PeopleView {
                me: me(word),
                now: at(),
                people: [Some(DeskRole::Reviewer), None]
                    .map(|role| PersonRow {
                        id: word.into(),
                        key: word.into(),
                        reading_key: word.into(),
                        label: word.into(),
                        role,
                        enrolled_at: at(),
                    })
                    .to_vec(),
                invitations: 2,
            }),
        ),
        (
            "reports",
            reports(&ReportsView {
                me: me(word),
                now: at(),
                states: vec![(ReviewStage::Confirmed, 3), (ReviewStage::Refuted, 5)],
                set_aside: vec![(word.into(), 2)],
                accesses: vec![(word.into(), 7, at())],
                logged: vec![word.into()],
                notified: vec![NotifiedRow {
                    destination: word.into(),
                    delivered: 4,
                    given_up: 1,
                    overtaken: 2,
                    failed: 3,
                    open_since: Some(at()),
                }],
            }),
        ),
        ("outcome", outcome(&outcome_view(word, ReviewStage::Confirmed))),
    ];
    let proofs = [
        LogProof::Signed { signed: 1, newer: 2 },
        LogProof::NotSigned(NotProved::Incomplete { have: 1, of: 2 }),
    ];
    pages.extend(proofs.map(|proof| ("device-report", device_report(&report_view(word, proof)))));
    pages.extend(standings.map(|standing| ("pair", pair(&pair_view(word, standing)))));
    pages
}

#[test]
fn html_in_a_text_stays_text_on_every_page() {
    for (name, page) in all(HOSTILE) {
        let html = page.into_string();
        assert!(!html.contains("<script>") && !html.contains("<img src=x"), "{name}: {html}");
        assert_eq!(html.matches("<script").count(), 1, "{name}");
        assert!(
            html.contains("&quot;&gt;&lt;script&gt;alert(1)") || name == "queue-empty",
            "{name}"
        );
    }
}

#[test]
fn no_page_has_script_or_style_in_it_or_takes_anything_from_elsewhere() {
    for (name, page) in all("word") {
        let html = page.into_string();
        for forbidden in [" style=", "<style", "javascript:", "http://", "https://", "//cdn"] {
            assert!(!html.contains(forbidden), "{name} has {forbidden}");
        }
        let handler =
            html.split([' ', '\n']).find(|part| part.starts_with("on") && part.contains('='));
        assert_eq!(handler, None, "{name}");
        assert!(
            html.contains("<script type=\"module\" src=\"/static/desk.js\"></script>"),
            "{name}"
        );
    }
}

#[test]
fn a_pair_tells_nothing_of_score_list_or_others_before_it_is_judged_and_not_after_either() {
    for standing in
        [OwnStanding::Open, OwnStanding::Refused, OwnStanding::Sent, OwnStanding::Counted]
    {
        let html = pair(&pair_view("word", standing)).into_string().to_lowercase();
        for secret in ["alternative", "basis", "purpose", "aim", "0.7", "0.5", "score", "threshold"]
        {
            assert!(!html.contains(secret), "{standing:?}: {secret} in {html}");
        }
    }
}

#[test]
fn an_outcome_shows_what_each_said_and_what_the_device_went_by() {
    let html = outcome(&outcome_view("word", ReviewStage::Confirmed)).into_string();
    for shown in ["Confirmed", "Same person", "you", "other", "0.717", "0.515", "basis word"] {
        assert!(html.contains(shown), "{shown}");
    }
    let open = OutcomeView {
        verdicts: Vec::new(),
        revealed: None,
        ..outcome_view("word", ReviewStage::Pending)
    };
    let html = outcome(&open).into_string();
    assert!(html.contains("Not decided yet") && !html.contains("0.717"), "{html}");
    assert!(!html.contains("What each said"), "{html}");
}

#[test]
fn a_reviewer_does_not_see_by_the_length_of_a_log_that_somebody_has_judged() {
    let shown = |role| {
        let me = SignedIn { role, ..me("word") };
        let devices = vec![device_row("word", "online")];
        fleet(&FleetView { me, now: at(), devices }).into_string().contains("18 records")
    };
    assert!(shown(DeskRole::Supervisor) && shown(DeskRole::Operator));
    assert!(!shown(DeskRole::Reviewer));
}

#[test]
fn who_cannot_judge_is_told_why_and_has_no_form() {
    let view = PairView { can_judge: false, ..pair_view("word", OwnStanding::Open) };
    let html = pair(&view).into_string();
    assert!(html.contains("You cannot judge it") && !html.contains("<form"), "{html}");
    let view = PairView { photographs: Vec::new(), ..pair_view("word", OwnStanding::Open) };
    assert!(pair(&view).into_string().contains("do not judge from memory"));
}

#[test]
fn every_page_has_one_heading_of_the_first_rank_a_title_and_a_main_part() {
    for (name, page) in all("word") {
        let html = page.into_string();
        for once in ["<h1", "<main", "<title>", "lang=\"en\""] {
            assert_eq!(html.matches(once).count(), 1, "{name}: {once}");
        }
    }
}

#[test]
fn a_page_with_all_that_it_loads_has_at_most_150_kb() {
    let assets: usize = ASSETS.iter().map(|a| a.bytes.len()).sum();
    for (name, page) in all("word") {
        let bytes = assets + page.into_string().len();
        assert!(bytes <= 150_000, "{name}: {bytes} bytes");
    }
}

#[test]
fn a_devices_report_has_the_figures_of_the_audit_report_with_their_intervals() {
    let signed = LogProof::Signed { signed: 4, newer: 2 };
    let html = device_report(&report_view("word", signed)).into_string();
    for shown in [
        "north version 3",
        "consent",
        "word, word",
        "0.7123",
        "0.2000",
        "Faces seen</th><td>5<",
        "0\u{a0}% to 52.18\u{a0}%",
        "1\u{a0}h 0\u{a0}min",
        "1970-01-01T01:00:00Z</td><td>1970-01-01T01:30:00Z",
        Cause::Suspended.meaning(),
        "false_alerts_an_alert",
        "has signed 4 records",
    ] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    let unknown = LogProof::NotSigned(NotProved::TwoRecords(7));
    let html = device_report(&report_view("word", unknown)).into_string();
    assert!(html.contains("Not verified") && html.contains("number 7"), "{html}");
}
