use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a date of this file")
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
    }
}

fn status() -> Status {
    Status {
        state: State::Online,
        since: at("2026-11-24T05:00:00Z"),
        version: "0.1.0".to_owned(),
        matching: true,
        list: Some(ListInForce { id: "L-42".to_owned(), version: 3, expires: at("2026-12-01T00:00:00Z") }),
        reason: None,
        threshold: Some(0.45),
        clock: ClockQuality::Synchronized,
        degraded: None,
    }
}

fn json<T: Data>(id: u128, data: T) -> serde_json::Value {
    let event = CloudEvent::new(EventId::from_u128(id), &device(), now(), data);
    serde_json::from_slice(&event.to_json().expect("dates of this century")).expect("what was written is JSON")
}

fn golden(name: &str) -> serde_json::Value {
    let text = match name {
        "candidate" => include_str!("golden/candidate.v1.json"),
        "status" => include_str!("golden/status.v1.json"),
        "blind" => include_str!("golden/status-blind.v1.json"),
        _ => include_str!("golden/stats.v1.json"),
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

fn blind() -> Status {
    Status {
        state: State::Blind,
        matching: false,
        list: None,
        threshold: None,
        reason: Some("The watch list expired; sign and install a new one.".to_owned()),
        clock: ClockQuality::Unsynchronized,
        degraded: None,
        ..status()
    }
}

#[test]
fn payloads_are_the_golden_ones() {
    assert_eq!(json(ID, candidate()), golden("candidate"));
    assert_eq!(json(ID, status()), golden("status"));
    assert_eq!(json(ID, blind()), golden("blind"));
    assert_eq!(json(ID, stats()), golden("stats"));
}

fn schema(name: &str) -> serde_json::Value {
    let text = match name {
        "candidate" => include_str!("../../../config/schemas/candidate.v1.schema.json"),
        "status" => include_str!("../../../config/schemas/status.v1.schema.json"),
        "stats" => include_str!("../../../config/schemas/stats.v1.schema.json"),
        _ => include_str!("../../../config/schemas/asyncapi.json"),
    };
    serde_json::from_str(text).expect("schemas are JSON")
}

/// What of `value` the schema does not say or says otherwise; the keywords that the schemas use and no others.
fn drift(schema: &serde_json::Value, value: &serde_json::Value, path: &str, out: &mut Vec<String>) {
    use serde_json::Value;
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::Null => "null",
    };
    let typed = schema["type"].as_str();
    if typed.is_some_and(|t| t != kind && !(t == "number" && kind == "integer")) {
        out.push(format!("{path} is {kind}"));
    }
    let fixed = schema.get("const").is_none_or(|c| c == value);
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let known = typed.is_some() || schema.get("const").is_some() || schema.get("enum").is_some();
    if !(fixed && listed && known) {
        out.push(format!("{path} is {value}"));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name).or(schema.get("additionalProperties")) {
            Some(schema) => drift(schema, value, &format!("{path}.{name}"), out),
            None => out.push(format!("{path}.{name} is unknown")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().expect("names are strings")).is_none() {
            out.push(format!("{path}.{name} is missing"));
        }
    }
    for value in value.as_array().into_iter().flatten() {
        drift(&schema["items"], value, &format!("{path}[]"), out);
    }
}

#[test]
fn the_published_schemas_say_what_is_sent_and_nothing_else() {
    let degraded = Status { degraded: Some("the disk is full".to_owned()), reason: Some("why".to_owned()), ..status() };
    let full = [("candidate", json(ID, candidate())), ("status", json(ID, degraded)), ("stats", json(ID, stats()))];
    for (name, value) in &full {
        let mut found = Vec::new();
        drift(&schema(name), value, name, &mut found);
        // Each of these payloads has all optional properties, so that the schema has none beyond them.
        let said = schema(name)["properties"]["data"]["properties"].as_object().expect("properties").len();
        assert_eq!((found, said), (Vec::new(), value["data"].as_object().expect("data").len()), "{name}");
    }
    let mut found = Vec::new();
    drift(&schema("status"), &json(ID, blind()), "blind", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let least = Candidate { crop: None, expected_false_positive_rate: None, ..candidate() };
    drift(&schema("candidate"), &json(ID, least), "least", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let mut wrong = json(ID, candidate());
    wrong["data"]["evidence"]["added"] = 1.into();
    wrong["data"]["score"] = "high".into();
    drift(&schema("candidate"), &wrong, "wrong", &mut found);
    found.sort_unstable();
    assert_eq!(found, ["wrong.data.evidence.added is unknown", "wrong.data.score is string"]);
}

#[test]
fn the_asyncapi_document_names_the_topics_that_are_published() {
    let document = schema("asyncapi");
    let topics = crate::delivery::Topics::new("site", &device()).expect("plain");
    for (name, topic) in [("candidate", topics.candidate()), ("status", topics.status()), ("stats", topics.stats())] {
        let address = document["channels"][name]["address"].as_str().expect("an address");
        assert_eq!(address.replace("{root}", "site").replace("{device}", "cam-7"), topic);
    }
    assert_eq!(document["operations"]["publishCandidate"]["bindings"]["mqtt"]["retain"], false);
}

#[test]
fn the_golden_payloads_of_version_1_stay_readable() {
    let event: CloudEvent<Candidate> = serde_json::from_value(golden("candidate")).expect("candidate v1");
    assert_eq!(event.data, candidate());
    assert_eq!(event.id, EventId::from_u128(ID));
    let event: CloudEvent<Status> = serde_json::from_value(golden("blind")).expect("status v1");
    assert_eq!(event.data, blind());
    let event: CloudEvent<Stats> = serde_json::from_value(golden("stats")).expect("stats v1");
    assert_eq!(event.data, stats());
}

#[test]
fn a_reader_of_version_1_ignores_what_was_added_later() {
    let mut value = golden("candidate");
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
        entry in "\\PC{0,64}", score in -1.0f32..1.0, views in 0u32..1000, seconds in 0i64..4_000_000_000, nanos in 0u32..1_000_000_000,
        crop: Option<Vec<u8>>,
    ) {
        let when = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos).unwrap();
        let mut c = candidate();
        c.entry = entry;
        c.score = score;
        c.evidence.views = views;
        c.expires = when;
        c.crop = crop.map(|bytes| Crop::jpeg(&bytes));
        let event = CloudEvent::new(EventId::from_u128(ID), &device(), now(), c);
        let back: CloudEvent<Candidate> = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        prop_assert_eq!(back, event);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        let _ = serde_json::from_slice::<CloudEvent<Candidate>>(&bytes);
    }
}
