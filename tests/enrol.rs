//! What `watchpost watchlist add --from` promises, with the built binary and its real networks on
//! the bundled portraits.

mod support;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, ok, watchpost};

fn add(desk: &Desk, more: &[&str]) -> (Value, String, bool) {
    let draft = desk.arg("draft.json");
    let output = watchpost(&[&["watchlist", "add", &draft, "--json"][..], more].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("one JSON line: {errors}"));
    (report, errors, output.status.success())
}

/// [`Desk::draft`] with room for more people.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.draft();
    let text = std::fs::read_to_string(desk.path("draft.json")).expect("a draft");
    std::fs::write(
        desk.path("draft.json"),
        text.replace("\"most_entries\": 2", "\"most_entries\": 9"),
    )
    .expect("writes");
    desk
}

#[test]
fn many_people_are_added_at_once_poor_photographs_are_left_out_with_the_reason_and_a_second_run_finds_them_done()
 {
    let desk = desk();
    image::RgbImage::new(90, 90).save(desk.path("nobody.png")).expect("writes");
    let csv = format!(
        "reference,legal_basis,purpose,photographs\n\
         case-2,order 2,\"a promise, kept\",{PORTRAITS}/collins.jpg;nobody.png\n\
         case-3,order 3,kept,{PORTRAITS}/hopper.jpg;{PORTRAITS}/biden-2010.jpg\n\
         case-4,order 4,kept,nobody.png\n\
         case-1,,,{PORTRAITS}/obama-2012.jpg;{PORTRAITS}/obama-2010.jpg\n"
    );
    std::fs::write(desk.path("people.csv"), csv).expect("writes");
    let from = ["--from", &desk.arg("people.csv")];
    let (report, _, done) = add(&desk, &from);
    assert!(!done, "somebody was not added");
    let added: std::collections::BTreeMap<&str, usize> = report["added"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| {
            (
                a["reference"].as_str().expect("text"),
                a["qualities"].as_array().expect("a list").len(),
            )
        })
        .collect();
    // Those of case-1 are the other photograph of somebody who is in the draft.
    assert_eq!(added.into_iter().collect::<Vec<_>>(), [("case-1", 1), ("case-2", 1)]);
    assert_eq!(report["known"], 1);
    let left_out = report["left_out"].to_string();
    assert_eq!(left_out.matches("no face was found").count(), 2, "{left_out}");
    let not_added = report["not_added"].to_string();
    // Two people in one entry, and nobody can tell which is meant.
    assert!(
        not_added.contains("case-3") && not_added.contains("do not look like one person"),
        "{not_added}"
    );
    assert!(
        not_added.contains("case-4") && not_added.contains("no photograph is left: "),
        "{not_added}"
    );

    let before = std::fs::read(desk.path("draft.json")).expect("a draft");
    let (report, _, _) = add(&desk, &from);
    assert_eq!((&report["added"], &report["known"]), (&Value::Array(Vec::new()), &3.into()));
    assert_eq!(std::fs::read(desk.path("draft.json")).expect("a draft"), before);
    let shown: Value =
        serde_json::from_str(&ok(&["watchlist", "show", &desk.arg("draft.json"), "--json"]))
            .expect("JSON");
    let photographs: Vec<usize> = shown["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| e["photographs"].as_array().expect("photographs").len())
        .collect();
    assert_eq!(photographs, [2, 1]);
    assert_eq!((&shown["stage"], &shown["promise"]), (&"in-force".into(), &Value::Null));
}

#[test]
fn a_folder_a_person_is_read_and_look_alikes_are_told() {
    let desk = desk();
    std::fs::create_dir_all(desk.path("people/case-9")).expect("a folder");
    std::fs::copy(format!("{PORTRAITS}/obama-2010.jpg"), desk.path("people/case-9/one.jpg"))
        .expect("a portrait");
    let from = ["--from", &desk.arg("people"), "--legal-basis", "order 9", "--purpose", "kept"];
    let (report, errors, done) = add(&desk, &from);
    assert!(done, "{report}");
    assert!(errors.contains("case-1 and case-9 look alike"), "{errors}");
    let shown: Value =
        serde_json::from_str(&ok(&["watchlist", "show", &desk.arg("draft.json"), "--json"]))
            .expect("JSON");
    assert_eq!(
        (&shown["look_alikes"]["total"], &shown["look_alikes"]["pairs"][0]["second"]),
        (&1.into(), &"case-9".into())
    );

    // The arithmetic of the list that came of it: two entries fit a fifth of a false alert in 1000
    // faces a day with what was measured of the built-in embedder, and in 30,000 faces one does.
    let plan = |more: &[&str]| -> Value {
        let draft = desk.arg("draft.json");
        serde_json::from_str(&ok(&[&["watchlist", "plan", &draft, "--json"][..], more].concat()))
            .expect("JSON")
    };
    let list = plan(&[]);
    assert_eq!((&list["fits"], &list["entries"]), (&true.into(), &2.into()), "{list}");
    assert!(list["expected_false_alerts_per_day"].as_f64() <= Some(0.2), "{list}");
    let busier = plan(&["--faces-per-day", "30000"]);
    assert_eq!(
        (&busier["fits"], &busier["largest"], &busier["threshold"]),
        (&false.into(), &1.into(), &Value::Null)
    );
    assert!(busier["expected_false_alerts_per_day"].as_f64() > Some(0.2), "{busier}");
    // Whoever signs a list that no device takes is told.
    let text = std::fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let busier =
        text.replace("\"expected_faces_per_day\": 1000", "\"expected_faces_per_day\": 30000");
    assert_ne!(text, busier);
    std::fs::write(desk.path("draft.json"), busier).expect("writes");
    let [draft, key, out] = ["draft.json", "alice.key", "list.cose"].map(|n| desk.arg(n));
    let signed = watchpost(&["watchlist", "sign", &draft, "--key", &key, "--out", &out, "--yes"]);
    let warning = String::from_utf8_lossy(&signed.stderr).into_owned();
    assert!(
        signed.status.success() && warning.contains("devices will refuse this list"),
        "{warning}"
    );
}

#[test]
fn interrupted_work_goes_on_and_the_draft_is_the_same_to_the_byte() {
    let desk = desk();
    let portrait = |name: &str| format!("{PORTRAITS}/{name}");
    let (a, b, c) = (portrait("collins.jpg"), portrait("hopper.jpg"), portrait("biden-2010.jpg"));
    // The photograph of case-2 that case-4 brings again must not depend on when the work was
    // interrupted either.
    let header = "reference,legal_basis,purpose,photographs\n";
    let rows = [
        format!("case-2,o,p,{a}\n"),
        format!("case-3,o,p,{b}\n"),
        format!("case-4,o,p,{a};{c}\n"),
        "case-5,o,p,x.png\n".into(),
    ];
    let begun = std::fs::read(desk.path("draft.json")).expect("a draft");
    let run = |rows: &[String]| {
        std::fs::write(desk.path("people.csv"), format!("{header}{}", rows.concat()))
            .expect("writes");
        let (report, _, _) = add(&desk, &["--from", &desk.arg("people.csv")]);
        (report, std::fs::read(desk.path("draft.json")).expect("a draft"))
    };
    let (report, at_once) = run(&rows);
    assert_eq!(report["added"].as_array().map(Vec::len), Some(3), "{report}");
    assert!(report["left_out"].to_string().contains("it is in entry case-2 already"), "{report}");
    std::fs::write(desk.path("draft.json"), begun).expect("writes");
    let mut last = Vec::new();
    for done in 1..=rows.len() {
        last = run(&rows[..done]).1;
    }
    assert!(last == at_once);
}

#[test]
fn a_small_face_in_the_background_is_told_and_a_large_one_is_somebody_else() {
    let desk = desk();
    let open = |name: &str| image::open(format!("{PORTRAITS}/{name}")).expect("a JPEG").to_rgb8();
    let person = open("hopper.jpg");
    // The other head beside the person, as high as said.
    let with = |height: u32| {
        let other = open("collins.jpg");
        let width = other.width() * height / other.height();
        let small =
            image::imageops::resize(&other, width, height, image::imageops::FilterType::Triangle);
        let mut picture = image::RgbImage::new(person.width() + width, person.height());
        image::imageops::replace(&mut picture, &person, 0, 0);
        image::imageops::replace(&mut picture, &small, person.width().into(), 0);
        let name = desk.arg(&format!("with-{height}.png"));
        picture.save(&name).expect("writes");
        name
    };
    let entry = ["--reference", "case-7", "--legal-basis", "o", "--purpose", "p"];
    let draft = desk.arg("draft.json");
    let large = watchpost(
        &[&["watchlist", "add", &draft, &with(person.height())][..], &entry[..]].concat(),
    );
    let refusal = String::from_utf8_lossy(&large.stderr).into_owned();
    assert!(
        !large.status.success()
            && refusal.contains("2 faces were found")
            && refusal.contains("% as high"),
        "{refusal}"
    );
    let (report, errors, done) =
        add(&desk, &[&[&with(person.height() / 4)[..]][..], &entry[..]].concat());
    assert!(done, "{errors}");
    assert_eq!(report["doubts"][0]["background_faces"], 1, "{report}");
}
