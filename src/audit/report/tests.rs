use std::time::Duration;

use proptest::prelude::*;
use time::OffsetDateTime;

use super::super::record::{
    CandidateRecord, ControlEnding, ControlRecord, Instruction, InstructionRecord, ListRecord,
    ReviewRecord, WeakSetting, WipedThing,
};
use super::*;
use crate::cause::Cause;
use crate::clock::Now;
use crate::judgement::Outcome;
use crate::watchlist::keys::KeyId;
use crate::watchlist::{Aim, Reference};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const BEGIN: u64 = 1_764_400_000_000;

fn at(ms: u64, event: AuditEvent) -> AuditRecord {
    let wall = OffsetDateTime::from_unix_timestamp_nanos(i128::from(BEGIN + ms) * 1_000_000);
    AuditRecord::new(event, Now { monotonic: Duration::ZERO, wall: wall.unwrap() })
}

fn list(version: u64, false_alerts: u64, stage: Stage) -> AuditEvent {
    AuditEvent::ListInForce(Box::new(ListRecord {
        id: "list".parse::<Reference>().unwrap(),
        version,
        digest: [1; 32],
        entries: 3,
        threshold: 510_000,
        false_alerts,
        authority: "a court".into(),
        decision: "1/26".into(),
        aim: Aim::MissingOrVictim,
        stage,
        signers: Vec::new(),
        models: [[2; 32]; 2],
    }))
}

fn candidate(sequence: u8) -> AuditEvent {
    AuditEvent::Candidate(CandidateRecord { event: [0; 16], sequence, commitment: [0; 32] })
}

fn heartbeat(tracks: u64, compared: u64) -> AuditEvent {
    let counts = [(FACES, tracks), (COMPARED, compared), ("pipeline.vision.too_poor.dark", 2)];
    AuditEvent::Heartbeat { counts: counts.map(|(n, c)| (n.to_owned(), c)).into() }
}

fn started() -> AuditEvent {
    AuditEvent::Started { program: "0.1.0".into() }
}

fn blind(cause: Cause) -> AuditEvent {
    AuditEvent::UseEnded { why: EndOfUse::Blind(cause) }
}

/// Two runs: one of twenty hours that ends when the power is lost, one of two hours.
fn two_runs() -> Vec<AuditRecord> {
    vec![
        at(0, started()),
        at(0, AuditEvent::Weakened { settings: vec![WeakSetting::AcceptPlain] }),
        at(HOUR, list(1, 200_000, Stage::InForce)),
        at(HOUR, AuditEvent::UseBegan),
        at(2 * HOUR, candidate(1)),
        at(2 * HOUR, candidate(2)),
        at(5 * HOUR, heartbeat(100, 400)),
        at(6 * HOUR, blind(Cause::Suspended)),
        at(8 * HOUR, AuditEvent::UseBegan),
        at(10 * HOUR, candidate(1)),
        at(18 * HOUR, heartbeat(250, 900)),
        at(19 * HOUR, candidate(1)),
        at(20 * HOUR, AuditEvent::Wiped { what: WipedThing::Entry }),
        // The power is lost; nobody knows when after that.
        at(22 * HOUR, started()),
        at(22 * HOUR, AuditEvent::Missed { records: 2 }),
        at(22 * HOUR, list(2, 400_000, Stage::InForce)),
        at(22 * HOUR, AuditEvent::UseBegan),
        at(23 * HOUR, heartbeat(10, 40)),
        at(24 * HOUR, AuditEvent::UseEnded { why: EndOfUse::Stopped }),
        at(24 * HOUR, AuditEvent::Stopped),
    ]
}

fn report(records: &[AuditRecord], from: u64, to: u64) -> DeploymentReport {
    let mut maker = ReportMaker::new("watchpost/gate-1", BEGIN + from, BEGIN + to);
    records.iter().for_each(|record| maker.record(Some(record)));
    maker.finish()
}

fn hours(report: &DeploymentReport, standing: UseStanding) -> u64 {
    report.ms_of(|s| s == standing) / HOUR
}

#[test]
fn the_sums_of_a_log_with_known_figures_come_out() {
    let report = report(&two_runs(), 0, DAY);
    for (standing, wanted) in [
        (UseStanding::Starting, 1),
        (UseStanding::InUse, 5 + 12 + 2),
        (UseStanding::Blind(Cause::Suspended), 2),
        (UseStanding::Unknown, 2),
        (UseStanding::Stopped, 0),
    ] {
        assert_eq!(hours(&report, standing), wanted, "{standing:?}");
    }
    assert_eq!((report.candidates, report.updates, report.records_missing), (3, 1, 2));
    let counts = report.counts.unwrap();
    assert_eq!((counts.faces, counts.compared, counts.too_poor), (260, 940, 4));
    // After the last heartbeats: 18 to 20 and 23 to 24.
    assert_eq!(report.uncounted_ms, 3 * HOUR);
    assert!(report.missing.iter().any(|m| m.figure == "faces_after_the_last_heartbeat"));
    // Clopper-Pearson of 2 of 260 and Garwood of 3, by bisection of the
    // exact tails.
    let face = report.alerts_a_face.unwrap();
    assert_eq!((face.count, face.of), (2, 260.0));
    assert!((face.lower - 0.0009329355).abs() < 1e-8 && (face.upper - 0.0275094648).abs() < 1e-8);
    let day = report.alerts_a_day.unwrap();
    let days = 19.0 / 24.0;
    assert!((day.value - 3.0 / days).abs() < 1e-12);
    assert!((day.lower * days - 0.618_672_1).abs() < 1e-6, "{day:?}");
    assert!((day.upper * days - 8.767_272_8).abs() < 1e-6, "{day:?}");
    let announced = report.announced_a_day.unwrap();
    assert!((announced - (0.2 * 17.0 + 0.4 * 2.0) / 19.0).abs() < 1e-12, "{announced}");
    let lists: Vec<_> = report.lists.iter().map(|l| (l.in_use_ms / HOUR, l.candidates)).collect();
    assert_eq!(lists, [(17, 3), (2, 0)]);
    assert_eq!((report.wiped, report.weakened), (1, vec![WeakSetting::AcceptPlain.words()]));
}

#[test]
fn a_period_has_what_is_in_it_and_nothing_else() {
    let report = report(&two_runs(), 7 * HOUR, 18 * HOUR + 1);
    assert_eq!(hours(&report, UseStanding::Blind(Cause::Suspended)), 1);
    assert_eq!(hours(&report, UseStanding::InUse), 10);
    assert_eq!((report.candidates, report.updates), (1, 0));
    // 250 at its end, 100 at the last heartbeat before it.
    assert_eq!(report.counts.unwrap().faces, 150);
    let named = |figure| report.missing.iter().any(|m| m.figure == figure);
    for figure in ["place", "reviews", "false_alerts_a_face", "false_alerts_an_alert"] {
        assert!(named(figure), "{figure}");
    }
    assert!(!named("counts") && !named("alerts_a_day"));
}

#[test]
fn what_two_people_decided_tells_false_alerts_once_all_candidates_are_decided() {
    let reviewed = |outcome| {
        AuditEvent::Reviewed(ReviewRecord { candidate: [1; 16], outcome, verdicts: Vec::new() })
    };
    let mut records = two_runs();
    for outcome in [Outcome::Confirmed, Outcome::Refuted, Outcome::Expired] {
        records.push(at(25 * HOUR, reviewed(outcome)));
    }
    let some = report(&records, 0, 2 * DAY);
    let counts = some.reviews.unwrap();
    assert_eq!((counts.confirmed, counts.refuted, counts.expired), (1, 1, 1));
    let alert = some.false_alerts_an_alert.unwrap();
    assert_eq!((alert.count, alert.value), (1, 0.5));
    assert_eq!(some.false_alerts_a_face, None, "one of three is not decided");
    records.push(at(25 * HOUR, reviewed(Outcome::Confirmed)));
    let all = report(&records, 0, 2 * DAY);
    let face = all.false_alerts_a_face.unwrap();
    assert_eq!((face.count, face.of), (1, all.counts.unwrap().faces as f64));
}

#[test]
fn controls_are_counted_apart_and_change_no_figure_of_alerts() {
    let mut records = two_runs();
    let reviewed = |outcome| {
        AuditEvent::Reviewed(ReviewRecord { candidate: [1; 16], outcome, verdicts: Vec::new() })
    };
    for outcome in [Outcome::Confirmed, Outcome::Refuted, Outcome::Refuted] {
        records.push(at(25 * HOUR, reviewed(outcome)));
    }
    let without = report(&records, 0, 2 * DAY);
    assert_eq!(without.controls, None);
    assert!(serde_json::to_value(&without).unwrap().get("controls").is_none());
    for n in 0..3 {
        let control = ControlRecord {
            control: [n; 16],
            desk: KeyId::from_bytes([1; 8]),
            payload: [2; 32],
            registration: [3; 32],
        };
        records.push(at(25 * HOUR, AuditEvent::ControlRegistered(control)));
    }
    for how in ControlEnding::ALL {
        records.push(at(25 * HOUR, AuditEvent::ControlEnded { control: [0; 16], how: *how }));
    }
    let with = report(&records, 0, 2 * DAY);
    let counts = ControlCounts { registered: 3, judged: 1, time_over: 1, withdrawn: 1 };
    assert_eq!(with.controls, Some(counts));
    assert!(words::controls(&with).unwrap().contains("3 controls"), "{:?}", words::controls(&with));
    let (controls, records) = (None, without.records);
    assert_eq!(DeploymentReport { controls, records, ..with }, without);
}

#[test]
fn what_no_record_supports_is_missing_by_name_and_not_zero() {
    let nothing = report(&[], 0, DAY);
    assert_eq!((nothing.counts, nothing.alerts_a_day, nothing.announced_a_day), (None, None, None));
    assert_eq!(hours(&nothing, UseStanding::BeforeLog), 24);
    let figures: Vec<_> = nothing.missing.iter().map(|m| m.figure).collect();
    for figure in ["counts", "alerts_a_face", "alerts_a_day", "announced_a_day"] {
        assert!(figures.contains(&figure), "{figures:?}");
    }
    let silent = [
        at(0, started()),
        at(0, list(1, 200_000, Stage::Silent)),
        at(0, AuditEvent::UseBegan),
        at(HOUR, AuditEvent::Stopped),
    ];
    let silent = report(&silent, 0, DAY);
    assert_eq!(silent.announced_a_day, None, "a silent list announces no alerts");
    assert_eq!(hours(&silent, UseStanding::AfterLog), 23);
}

#[test]
fn orders_are_counted_by_what_became_of_them() {
    let order = |answer| {
        let what = Instruction::ALL[0];
        AuditEvent::Instruction(InstructionRecord { what, answer, order: None, keys: Vec::new() })
    };
    let records = [
        at(0, order(Answer::Followed)),
        at(1, order(Answer::Refused(Cause::Expired))),
        at(2, order(Answer::Followed)),
    ];
    let counts: Vec<_> =
        report(&records, 0, DAY).instructions.into_iter().map(|i| (i.answer, i.count)).collect();
    assert_eq!(counts, [("followed".to_owned(), 2), ("refused: expired".to_owned(), 1)]);
}

fn any_event() -> impl Strategy<Value = AuditEvent> {
    prop_oneof![
        Just(started()),
        Just(AuditEvent::Stopped),
        Just(AuditEvent::UseBegan),
        Just(blind(Cause::Suspended)),
        Just(AuditEvent::UseEnded { why: EndOfUse::Waiting }),
        (1u64..4).prop_map(|version| list(version, 100_000 * version, Stage::InForce)),
        (1u8..3).prop_map(candidate),
        (0u64..1000).prop_map(|n| heartbeat(n, n)),
    ]
}

proptest! {
    #[test]
    fn every_moment_of_a_period_is_accounted_for_once_whatever_the_log_says(
        events in prop::collection::vec((0u64..2 * DAY, any_event()), 0..60),
        from in 0u64..DAY, length in 1u64..DAY,
    ) {
        // In the order of the log, though a clock may go back.
        let records: Vec<_> = events.into_iter().map(|(ms, event)| at(ms, event)).collect();
        let report = report(&records, from, from + length);
        prop_assert_eq!(report.ms_of(|_| true), length);
        let ends = |s: &TimeSpan| (s.from_ms, s.to_ms);
        let mut at = BEGIN + from;
        for (begin, end) in report.spans.iter().map(ends) {
            prop_assert_eq!(begin, at);
            prop_assert!(end > begin);
            at = end;
        }
        let used: u64 = report.lists.iter().map(|l| l.in_use_ms).sum();
        prop_assert!(used <= report.ms_of(|s| s == UseStanding::InUse));
        for figure in [report.alerts_a_face, report.alerts_a_day].into_iter().flatten() {
            prop_assert!(figure.lower <= figure.value && figure.value <= figure.upper);
        }
    }
}

#[test]
fn the_place_is_what_it_was_called_in_the_period_and_missing_where_nobody_had_named_it() {
    let placed = |place: &str| AuditEvent::Placed { place: place.into() };
    let records = [
        at(0, started()),
        at(0, placed("south gate")),
        at(HOUR, started()),
        at(HOUR, placed("north gate")),
        at(HOUR, AuditEvent::UseBegan),
        at(3 * HOUR, started()),
        at(3 * HOUR, placed("west gate")),
        at(5 * HOUR, started()),
        at(5 * HOUR, AuditEvent::UseBegan),
        at(7 * HOUR, AuditEvent::Stopped),
    ];
    let places = |from, to| report(&records, from, to).places;
    assert_eq!(places(2 * HOUR, 4 * HOUR), ["north gate", "west gate"]);
    assert_eq!(places(0, 2 * HOUR), ["south gate", "north gate"]);
    assert_eq!(places(2 * HOUR, 3 * HOUR), ["north gate"]);
    let unnamed = report(&records, 6 * HOUR, 7 * HOUR);
    assert_eq!(unnamed.places, <[String; 0]>::default());
    assert!(unnamed.missing.iter().any(|m| m.figure == "place"));
    let named = report(&records, 2 * HOUR, 3 * HOUR);
    assert!(named.missing.iter().all(|m| m.figure != "place"));
}
