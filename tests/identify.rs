//! Photo search obeys what a list says, ranks, and tells at each similarity how often strangers
//! reach it.

mod support;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, ok, watchpost};

fn identify(desk: &Desk, image: &str, more: &[&str]) -> Result<Value, String> {
    let [list, trust] = ["list.cose", "trust.toml"].map(|n| desk.arg(n));
    let image = format!("{PORTRAITS}/{image}");
    let args = [
        "identify",
        &image,
        "--watchlist",
        &list,
        "--trust",
        &trust,
        "--device",
        "gate-1",
        "--json",
    ];
    let output = watchpost(&[&args[..], more].concat());
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("one JSON line"))
    } else {
        assert!(output.stdout.is_empty(), "nothing is told about anybody");
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Changes the draft's text and has it signed by both.
fn signed(desk: &Desk, change: impl Fn(String) -> String) {
    let text = std::fs::read_to_string(desk.path("draft.json")).expect("a draft");
    std::fs::write(desk.path("draft.json"), change(text)).expect("writes");
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
}

/// The draft with `key` of its JSON set to `value`; `/` leads into objects.
fn set(text: &str, pointer: &str, value: Value) -> String {
    let mut draft: Value = serde_json::from_str(text).expect("JSON");
    *draft.pointer_mut(pointer).expect("a field of the draft") = value;
    draft.to_string()
}

#[test]
fn entries_are_ranked_with_the_false_positive_rate_of_a_list_of_that_size() {
    let desk = Desk::new();
    desk.draft();
    let draft = desk.arg("draft.json");
    let add = |reference: &str, photograph: &str| {
        let photograph = format!("{PORTRAITS}/{photograph}");
        let entry = ["--reference", reference, "--legal-basis", "o", "--purpose", "p"];
        ok(&[&["watchlist", "add", &draft, &photograph][..], &entry[..]].concat());
    };
    add("case-2", "obama-2010.jpg");
    signed(&desk, |text| set(&text, "/authorisation/false_alerts_per_day", 20.0.into()));
    let found = identify(&desk, "obama-2010.jpg", &[]).expect("a valid list");
    assert_eq!(found["templates"], 2);
    let candidates = found["faces"][0]["candidates"].as_array().expect("candidates").clone();
    assert_eq!(
        candidates.iter().map(|c| &c["entry"]).collect::<Vec<_>>(),
        ["case-2", "case-1"],
        "the same photograph first"
    );
    let number = |v: &Value| v.as_f64().expect("a number");
    for c in &candidates {
        assert!(number(&c["score"]) >= number(&found["threshold"]));
    }
    // The rate is that of a track, which is no lower than that of one comparison.
    let [a, b] = ["obama-2010.jpg", "obama-2012.jpg"].map(|n| format!("{PORTRAITS}/{n}"));
    let pair: Value = serde_json::from_str(&ok(&["compare", &a, &b, "--json"])).expect("JSON");
    assert!((number(&pair["similarity"]) - number(&candidates[1]["score"])).abs() < 1e-6);
    let rates = [
        number(&pair["false_match_rate"]) * 2.0,
        number(&candidates[1]["expected_false_positive_rate"]),
    ];
    assert!(rates[0] > 0.0 && rates[0] <= rates[1], "{rates:?}");
    let one = identify(&desk, "obama-2010.jpg", &["--top", "1"]).expect("a valid list");
    assert_eq!(one["faces"][0]["candidates"].as_array().map(Vec::len), Some(1));
}

#[test]
fn signatures_validity_area_and_budget_are_obeyed() {
    let desk = Desk::new();
    desk.draft();
    let draft = std::fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let refused = |more: &[&str], wanted: &str| {
        let refusal = identify(&desk, "obama-2010.jpg", more).expect_err(wanted);
        assert!(refusal.contains(wanted), "{refusal}");
    };
    desk.sign("draft.json", "alice.key");
    refused(&[], "1 of the 2 signatures");

    signed(&desk, |_| set(&draft, "/not_before", "2098-01-01T00:00:00Z".into()));
    refused(&[], "2098");

    signed(&desk, |_| {
        let corner = |latitude: f64, longitude: f64| {
            serde_json::json!({
                "latitude": latitude,
                "longitude": longitude,
            })
        };
        let area = serde_json::json!([[
            corner(52.0, 13.0),
            corner(53.0, 13.0),
            corner(53.0, 14.0),
            corner(52.0, 14.0)
        ]]);
        set(&draft, "/authorisation/areas", area)
    });
    refused(&[], "position");
    refused(&["--position", "48.1,11.6"], "area");
    assert!(identify(&desk, "obama-2010.jpg", &["--position", "52.5,13.4"]).is_ok());
    refused(&["--position", "91,0"], "write degrees");

    signed(&desk, |_| set(&draft, "/authorisation/expected_faces_per_day", 1_000_000.into()));
    refused(&[], "the budget cannot be met: 1000000 faces a day x 1 entries");
    refused(&[], "Not even one entry fits");
}

#[test]
fn a_photograph_that_cannot_be_read_is_named_and_the_others_are_still_looked_at() {
    let desk = Desk::new();
    desk.draft();
    signed(&desk, |text| text);
    let bad = desk.arg("bad.jpg");
    std::fs::write(&bad, "<html>").expect("writes");
    let good = format!("{PORTRAITS}/obama-2010.jpg");
    let [list, trust] = ["list.cose", "trust.toml"].map(|n| desk.arg(n));
    let judge = ["--watchlist", &list, "--trust", &trust, "--device", "gate-1"];
    let all = [&["identify", &good, &bad, &good][..], &judge].concat();
    let output = watchpost(&[&all[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[1]["error"].is_string() && lines[1]["image"] == bad.as_str(), "{text}");
    assert_eq!(lines[0]["faces"], lines[2]["faces"]);
    let output = watchpost(&all);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("bad.jpg") && output.status.code() == Some(1), "{said}");
    let lines = String::from_utf8(output.stdout).expect("text");
    assert_eq!(lines.matches("faces, against").count(), 2, "{lines}");
}
