//! What a calibration promises from the decoys to the threshold, with the built binary, real
//! signatures and real files. Only the passers-by of a week are made up: their counts are written
//! as the device writes them.

mod support;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, fails, ok};
use support::embedded_broker;
use time::{Duration, OffsetDateTime};
use watchpost::calibrate::counts::{Counter, Counts, Setup, day_of, place_of};
use watchpost::calibrate::decoys::{self, Here};
use watchpost::calibrate::draft::{DecoyDraft, DecoyPhotograph, DraftDecoy};
use watchpost::calibrate::record::SiteRecord;
use watchpost::decision::{DecisionConfig, promise};
use watchpost::template::{PIPELINE, Template};
use watchpost::vision::{Models, VisionConfig};
use watchpost::watchlist::author::Draft;
use watchpost::watchlist::{Position, Trust};

const PLACE: Position = Position { latitude: 52.5, longitude: 13.4 };
const DECOYS: usize = 500;
const DAYS: u16 = 7;
const FACES: u32 = 1000;

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A device with a key, a place and a list of one person, and 500 decoys that two have signed.
struct Site {
    desk: Desk,
    models: Models,
}

impl Site {
    fn new() -> Self {
        let site = Self { desk: Desk::new(), models: Models::builtin().expect("built in") };
        site.desk.list();
        site.desk.pictures(&["obama-2010.jpg"]);
        ok(&["key", "device", &site.arg("device.key")]);
        site.configure("device.key", PLACE);
        site.decoys(&[]);
        site
    }

    fn arg(&self, name: &str) -> String {
        self.desk.arg(name)
    }

    fn configure(&self, key: &str, place: Position) {
        self.desk.configure(embedded_broker(), "");
        let text = std::fs::read_to_string(self.desk.path("watchpost.toml")).expect("written");
        let Position { latitude, longitude } = place;
        let more = format!(
            "[watchlist]\naccept_plain = true\nrequire_locked_memory = false\ndevice_key = \
             \"{}\"\nposition = {{ latitude = {latitude}, longitude = {longitude} }}\n",
            self.arg(key)
        );
        let text = text.replace("[watchlist]\n", &more);
        std::fs::write(self.desk.path("watchpost.toml"), text).expect("writes");
    }

    /// A draft of decoys; `known` are among them.
    fn decoy_draft(&self, known: &[Template]) {
        let embedder = &self.models.manifest.embedder;
        let mut random = Random(7);
        let made_up = |random: &mut Random| {
            Template::new((0..embedder.dimensions).map(|_| random.next() as i8).collect())
        };
        let mut decoy = |n: usize| DraftDecoy {
            template: known
                .get(n)
                .cloned()
                .unwrap_or_else(|| made_up(&mut random).expect("not zero")),
            photographs: vec![DecoyPhotograph([n as u8; 32])],
        };
        let now = OffsetDateTime::now_utc();
        let draft = DecoyDraft {
            id: "made-up-1".parse().expect("a reference"),
            not_before: now - Duration::HOUR,
            expires: now + Duration::days(30),
            embedder: embedder.sha256.0,
            pipeline: PIPELINE,
            dimensions: embedder.dimensions,
            authority: "a test".into(),
            decision: "2/26".into(),
            device: "gate-1".parse().expect("a reference"),
            camera: "main".parse().expect("a reference"),
            days: DAYS,
            least_faces: FACES,
            source: "random numbers".into(),
            decoys: (0..DECOYS).map(&mut decoy).collect(),
        };
        std::fs::write(self.desk.path("decoys.json"), draft.to_json()).expect("writes");
    }

    /// Signed by both and sealed; `known` are among them.
    fn decoys(&self, known: &[Template]) {
        self.decoy_draft(known);
        for (from, key) in [("decoys.json", "alice.key"), ("decoys.cose", "bob.key")] {
            let [from, key, out] = [from, key, "decoys.cose"].map(|name| self.arg(name));
            ok(&["calibrate", "sign", &from, "--key", &key, "--out", &out]);
        }
        let recipient = ok(&["key", "show", &self.arg("device.key")]);
        let [signed, sealed] = ["decoys.cose", "decoys.age"].map(|name| self.arg(name));
        ok(&["calibrate", "seal", &signed, "--to", recipient.trim(), "--out", &sealed]);
    }

    /// What a device has counted in a week: decoy `d` is near a stranger the more seldom the higher
    /// `d`, the entry as decoy 40 is; nobody comes near anybody at .50.
    fn count(&self) {
        let (bytes, trust) =
            (std::fs::read(self.desk.path("decoys.cose")).expect("signed"), trust(self));
        let embedder = &self.models.manifest.embedder;
        let here = Here {
            device: "gate-1",
            camera: "main",
            embedder: &embedder.sha256.0,
            pipeline: PIPELINE,
        };
        let now = OffsetDateTime::now_utc();
        let set = decoys::verify(&bytes, &trust, now, here).expect("two have signed it");
        let (vision, decision) = (VisionConfig::default(), DecisionConfig::default());
        let setup = Setup {
            device: "gate-1".parse().expect("a reference"),
            camera: "main".parse().expect("a reference"),
            position: Some(place_of(PLACE)),
            decoys: *set.digest(),
            promise: promise::of(&self.models, &vision, &decision).digest(),
            days: DAYS,
            least_faces: FACES,
        };
        let mut counter = Counter::new(Counts::new(setup, DECOYS, [5; 16]));
        let list = std::fs::read(self.desk.path("list.cose")).expect("signed");
        let list = Draft::revise(&list, now).expect("a list");
        let fused: Vec<Template> = list
            .content()
            .entries
            .iter()
            .map(|e| e.fused().expect("photographs").template)
            .collect();
        counter.set_entries(&fused);
        let mut random = Random(11);
        let first = day_of(now) - u32::from(DAYS);
        for track in 0..u32::from(DAYS) * FACES {
            let day = first + track / FACES;
            let mut view = counter.view(track, day).expect("one at a time");
            for decoy in 0..DECOYS {
                view.decoy(decoy, similarity(&mut random, decoy));
            }
            for entry in 0..fused.len() {
                view.entry(entry, similarity(&mut random, 40));
            }
            counter.end(track, day);
        }
        std::fs::write(self.desk.path("counts.cbor"), counter.counts().to_bytes()).expect("writes");
    }

    /// The record that `calibrate run` writes once the week is over.
    fn record(&self) {
        self.count();
        let files = ["decoys.age", "counts.cbor", "site.cbor"].map(|name| self.arg(name));
        let [decoys, counts, record] = files;
        let config = self.arg("watchpost.toml");
        let flags = ["--config", &config, "--decoys", &decoys, "--counts", &counts];
        ok(&[&["calibrate", "run"], &flags[..], &["--record", &record]].concat());
    }

    /// A next version of the list with the record in `file`, signed by both, as `out`.
    fn next(&self, file: &str, out: &str) {
        let [list, site, draft, signed] =
            ["list.cose", file, &format!("{out}.json"), out].map(|name| self.arg(name));
        ok(&["watchlist", "revise", &list, "--site", &site, "--out", &draft]);
        self.sign_both(&draft, &signed);
    }

    fn sign_both(&self, draft: &str, signed: &str) {
        for (from, key) in [(draft, "alice.key"), (signed, "bob.key")] {
            ok(&["watchlist", "sign", from, "--key", &self.arg(key), "--out", signed, "--yes"]);
        }
    }

    /// The judgement of a workstation.
    fn verify(&self, list: &str, more: &[&str]) -> Value {
        let [list, trust] = [list, "trust.toml"].map(|name| self.arg(name));
        let flags = ["--trust", &trust, "--device", "gate-1", "--json"];
        let output =
            support::desk::watchpost(&[&["watchlist", "verify", &list], &flags[..], more].concat());
        serde_json::from_slice(&output.stdout).expect("one JSON line")
    }

    /// What the device says of `list`: how its check of the list came out.
    fn check(&self, list: &str) -> String {
        std::fs::copy(self.desk.path(list), self.desk.path("in-force.cose")).expect("a list");
        let config = self.desk.path("watchpost.toml");
        let text = std::fs::read_to_string(&config).expect("written");
        let text = text.replace("/list.cose", "/in-force.cose");
        std::fs::write(&config, text).expect("writes");
        let output = self.desk.command("check").arg("--json").output().expect("the binary runs");
        String::from_utf8(output.stdout).expect("text")
    }
}

fn trust(site: &Site) -> Trust {
    Trust::open(&site.desk.path("trust.toml")).expect("a trust file")
}

fn similarity(random: &mut Random, decoy: usize) -> f32 {
    let near = 0.1 * (1.0 - decoy as f64 / (2.0 * DECOYS as f64));
    match random.unit() / near {
        x if x < 0.001 => 0.45,
        x if x < 0.5 => 0.33,
        x if x < 1.0 => 0.29,
        _ => 0.1,
    }
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).expect("one JSON line")
}

fn here() -> [&'static str; 2] {
    ["--position", "52.5,13.4"]
}

#[test]
fn a_week_of_counts_lowers_the_threshold_of_the_entries_that_were_counted_at_this_camera_only() {
    let site = Site::new();
    // Neither is the other.
    let [list, set, trust] = ["list.cose", "decoys.cose", "trust.toml"].map(|name| site.arg(name));
    fails(&["calibrate", "show", &list]);
    fails(&["watchlist", "verify", &set, "--trust", &trust, "--device", "gate-1"]);

    // A set that is not sealed is not counted against, though plain lists are taken.
    let config = site.arg("watchpost.toml");
    let files = ["counts.cbor", "site.cbor"].map(|name| site.arg(name));
    let flags = ["--decoys", &set, "--counts", &files[0], "--record", &files[1]];
    let (_, error) = fails(&[&["calibrate", "run", "--config", &config], &flags[..]].concat());
    assert!(error.contains("`watchpost calibrate seal --to`"), "{error}");

    site.record();
    let record = site.arg("site.cbor");
    let shown = json(&["calibrate", "show", &record, "--json"]);
    assert_eq!((&shown["covered"], &shown["uncovered"]), (&1.into(), &0.into()), "{shown}");

    // What it buys, before anybody signs.
    let plan = json(&["watchlist", "plan", &list, "--site", &record, "--json"]);
    let threshold = |column: &str| plan["site"][column]["threshold"].as_f64().expect("a plan");
    assert!(threshold("with") + 0.05 < threshold("without"), "{plan}");
    let text = ok(&["watchlist", "plan", &list, "--site", &record]);
    assert!(text.contains("without it") && text.contains("with it"), "{text}");

    site.next("site.cbor", "next.cose");
    let verdict = site.verify("next.cose", &here());
    assert_eq!((&verdict["valid"], &verdict["covered"]), (&true.into(), &1.into()), "{verdict}");
    let signed = verdict["threshold"].as_f64().expect("a threshold");
    assert!((signed - threshold("with")).abs() < 1e-6, "{verdict}");
    assert!(ok(&["watchlist", "show", &site.arg("next.cose")]).contains("1 of 1 entries"));
    assert_eq!(site.verify("next.cose", &["--position", "52.6,13.4"])["code"], "site-elsewhere");
    assert_eq!(site.verify("next.cose", &[])["code"], "site-elsewhere");
    let side = [&here()[..], &["--camera", "side"]].concat();
    assert_eq!(site.verify("next.cose", &side)["code"], "site-elsewhere");

    // Photographs of this camera are judged as there, and others by the worst group.
    let photograph = format!("{PORTRAITS}/obama-2010.jpg");
    let identified = |more: &[&str]| {
        let [list, trust] = ["next.cose", "trust.toml"].map(|name| site.arg(name));
        let flags = ["--watchlist", &list, "--trust", &trust, "--device", "gate-1", "--json"];
        json(&[&["identify", &photograph], &flags[..], &here(), more].concat())
    };
    let here_judged = identified(&["--camera", "main"]);
    assert_eq!(here_judged["threshold"], verdict["threshold"], "{here_judged}");
    let anywhere = identified(&[]);
    assert_eq!(anywhere["covered"], 0);
    assert!(anywhere["threshold"].as_f64() > here_judged["threshold"].as_f64(), "{anywhere}");

    // The device's own judgement, and that of one that was moved or has another key.
    let own = site.check("next.cose");
    assert!(own.contains("1 of them measured by this place's site record"), "{own}");
    site.configure("device.key", Position { latitude: 52.6, ..PLACE });
    assert!(site.check("next.cose").contains("site-elsewhere"));
    ok(&["key", "device", &site.arg("other.key")]);
    site.configure("other.key", PLACE);
    assert!(site.check("next.cose").contains("site-not-ours"));

    // A new entry has no rate here: it keeps the worst group's bound, and the threshold rises.
    let [draft, photograph] = [site.arg("longer.json"), format!("{PORTRAITS}/hopper.jpg")];
    ok(&["watchlist", "revise", &site.arg("next.cose"), "--out", &draft]);
    let entry = ["--reference", "case-2", "--legal-basis", "order 2", "--purpose", "a promise"];
    ok(&[&["watchlist", "add", &draft, &photograph], &entry[..]].concat());
    let longer = json(&["watchlist", "plan", &draft, "--json"]);
    assert_eq!((&longer["site"]["covered"], &longer["site"]["others"]), (&1.into(), &1.into()));
    let raised = longer["site"]["with"]["threshold"].as_f64().expect("a plan");
    assert!(raised > threshold("with"), "{longer}");
    // Which one it is stands where it is planned and where it is signed.
    assert_eq!(longer["site"]["uncovered"], serde_json::json!(["case-2"]), "{longer}");
    assert!(ok(&["watchlist", "plan", &draft]).contains("too few decoys: case-2"));
    let shown = ok(&["watchlist", "show", &draft]);
    assert!(shown.contains("1 of 2 entries were measured there, not so case-2"), "{shown}");
}

#[test]
fn an_edited_record_is_refused_by_the_device_even_where_two_have_signed_it() {
    let site = Site::new();
    site.record();
    let bytes = std::fs::read(site.desk.path("site.cbor")).expect("a record");
    // Damaged, it is not signed.
    let [list, edited, draft] = ["list.cose", "edited.cbor", "edited.json"].map(|n| site.arg(n));
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&edited, damaged).expect("writes");
        let (_, error) = fails(&["watchlist", "revise", &list, "--site", &edited, "--out", &draft]);
        assert!(error.contains("checksum"), "{error}");
    }
    // With sums that add up and a checksum of its own it is signed, and the device refuses it.
    let edits: [fn(&mut SiteRecord); 3] = [
        |r| r.expires -= Duration::days(1),
        |r| r.curve.effects.iter_mut().for_each(|d| *d = 1000),
        |r| r.list = None,
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut record = SiteRecord::from_bytes(&bytes).expect("a record");
        edit(&mut record);
        std::fs::write(&edited, record.to_bytes()).expect("writes");
        let out = format!("edited-{n}.cose");
        site.next("edited.cbor", &out);
        assert_eq!(site.verify(&out, &here())["valid"], true, "a workstation cannot tell");
        assert!(site.check(&out).contains("site-not-ours"), "edit {n}");
    }
    // A list for two devices has no site record, and a device without a place makes none.
    let text = String::from_utf8(std::fs::read(site.arg("draft.json")).expect("a draft"));
    let two = text.expect("JSON").replace("\"gate-1\"", "\"gate-1\", \"gate-2\"");
    std::fs::write(site.arg("two.json"), two).expect("writes");
    let [two, record] = ["two.json", "site.cbor"].map(|name| site.arg(name));
    let (_, error) = fails(&["watchlist", "plan", &two, "--site", &record]);
    assert!(error.contains("for its one device"), "{error}");
    let text = std::fs::read_to_string(site.arg("watchpost.toml")).expect("written");
    let moving: Vec<&str> = text.lines().filter(|line| !line.starts_with("position")).collect();
    std::fs::write(site.arg("watchpost.toml"), moving.join("\n")).expect("writes");
    let [config, decoys, counts] =
        ["watchpost.toml", "decoys.age", "counts.cbor"].map(|n| site.arg(n));
    let flags = ["--config", &config, "--decoys", &decoys, "--counts", &counts];
    let (_, error) = fails(&[&["calibrate", "run"], &flags[..], &["--record", &record]].concat());
    assert!(error.contains("body camera"), "{error}");
}

#[test]
fn the_daemon_counts_beside_matching_and_never_announces_a_decoy() {
    let site = Site::new();
    // Somebody who passes is among the decoys, and another is on the list.
    let [list, draft] = ["list.cose", "longer.json"].map(|name| site.arg(name));
    ok(&["watchlist", "revise", &list, "--out", &draft]);
    let entry = ["--reference", "case-2", "--legal-basis", "order 2", "--purpose", "a promise"];
    let photograph = format!("{PORTRAITS}/hopper.jpg");
    ok(&[&["watchlist", "add", &draft, &photograph], &entry[..]].concat());
    let longer = Draft::from_json(&std::fs::read(&draft).expect("a draft")).expect("a draft");
    site.decoys(&[longer.content().entries[1].templates[0].template.clone()]);
    std::fs::copy(&photograph, site.desk.path("pictures").join("hopper.jpg")).expect("a portrait");
    let config = site.desk.path("watchpost.toml");
    let mut text = std::fs::read_to_string(&config).expect("written");
    let [decoys, counts, record] =
        ["decoys.age", "beside.cbor", "beside-site.cbor"].map(|name| site.arg(name));
    text += &format!(
        "[calibrate]\ndecoys = \"{decoys}\"\ncounts = \"{counts}\"\nrecord = \"{record}\"\n"
    );
    std::fs::write(&config, text).expect("writes");

    let log = String::from_utf8(site.desk.run().stderr).expect("text");
    assert!(log.contains("Stopped: candidates=1"), "the one who is on the list: {log}");
    let counted = Counts::from_bytes(&std::fs::read(&counts).expect("counts")).expect("counts");
    let days = counted.days();
    assert_eq!((counted.tracks(), days.len()), (2, 1), "{log}");
    assert_eq!(days[0].mild, 1, "the decoy, once");
    assert!(!site.desk.path("beside-site.cbor").exists(), "the signed days are not over");
    // Where decoys cannot be used nobody is counted, and matching goes on.
    std::fs::copy(site.desk.path("decoys.json"), site.desk.path("decoys.age")).expect("copies");
    let log = String::from_utf8(site.desk.run().stderr).expect("text");
    assert!(log.contains("Nobody is counted against decoys"), "{log}");
    assert!(log.contains("Stopped: candidates=1"), "{log}");
}

/// A draft of a silent list of the person on [`Desk::list`], in the place of that list.
fn silent(site: &Site) {
    let draft = site.arg("silent.json");
    let new = "--id street --authority court --decision 3/26 --aim consent --device gate-1 \
        --most-entries 5 --faces-per-day 1000 --false-alerts-per-day 0.2 \
        --expires 2099-01-01T00:00:00Z --silent --promote-after-days 7 --promote-after-faces 7000";
    let new: Vec<&str> = new.split_whitespace().collect();
    ok(&[&["watchlist", "new", &draft], &new[..]].concat());
    let photograph = format!("{PORTRAITS}/obama-2012.jpg");
    let entry = ["--reference", "case-1", "--legal-basis", "order 3", "--purpose", "a promise"];
    ok(&[&["watchlist", "add", &draft, &photograph], &entry[..]].concat());
    site.sign_both(&draft, &site.arg("silent.cose"));
    std::fs::copy(site.arg("silent.cose"), site.arg("list.cose")).expect("copies");
}

/// The next version in force of the silent list, with `more` flags, as `out`.
fn in_force(site: &Site, out: &str, more: &[&str]) {
    let [list, draft, signed] = ["list.cose", &format!("{out}.json"), out].map(|n| site.arg(n));
    ok(&[&["watchlist", "revise", &list, "--in-force", "--out", &draft], more].concat());
    site.sign_both(&draft, &signed);
}

#[test]
fn a_silent_list_comes_into_force_only_by_what_the_device_counted_since_it_has_the_rule() {
    let site = Site::new();
    silent(&site);
    let shown = ok(&["watchlist", "show", &site.arg("list.cose")]);
    assert!(shown.contains("7 days and 7000 faces") && shown.contains("90 %"), "{shown}");
    // Two have signed a version in force, but the device has never had the silent one.
    site.record();
    let record = site.arg("site.cbor");
    in_force(&site, "next.cose", &["--site", &record]);
    assert!(site.check("next.cose").contains("not had it silent"));
    // The listed person passes, and nothing is published.
    let log = String::from_utf8(site.desk.run().stderr).expect("text");
    assert!(log.contains("not-promoted") && log.contains("candidates=0"), "{log}");
    site.check("list.cose");
    let log = String::from_utf8(site.desk.run().stderr).expect("text");
    assert!(log.contains("stage=silent") && log.contains("candidates=0"), "{log}");

    // Without a record, and by days that were counted before the device had the rule.
    in_force(&site, "bare.cose", &[]);
    assert!(site.check("bare.cose").contains("it has no site record"));
    let early = site.check("next.cose");
    assert!(early.contains("0 days were counted") && early.contains("not-promoted"), "{early}");
    // A workstation does not know since when the device has the rule.
    let verdict = site.verify("next.cose", &here());
    assert_eq!((&verdict["valid"], &verdict["covered"]), (&true.into(), &1.into()), "{verdict}");
    assert_eq!(site.verify("bare.cose", &here())["code"], "not-promoted");

    // As if the silent list had been there for all of the week.
    let file = site.desk.path("state.json");
    let mut state: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a state")).expect("JSON");
    let since = &mut state["lists"][0]["promotion"]["since"];
    *since = (since.as_i64().expect("a time") - 8 * 86_400).into();
    std::fs::write(&file, state.to_string()).expect("writes");
    let good = site.check("next.cose");
    assert!(good.contains("1 of them measured by this place's site record"), "{good}");
    // Neither a looser rule nor none, two signatures or not.
    in_force(
        &site,
        "looser.cose",
        &["--site", &record, "--promote-after-days", "7", "--promote-after-faces", "7001"],
    );
    assert!(site.check("looser.cose").contains("under another rule"));
    let draft = std::fs::read_to_string(site.arg("next.cose.json")).expect("a draft");
    let mut draft: Value = serde_json::from_str(&draft).expect("JSON");
    draft.as_object_mut().expect("an object").remove("promotion").expect("a rule");
    std::fs::write(site.arg("free.json"), draft.to_string()).expect("writes");
    site.sign_both(&site.arg("free.json"), &site.arg("free.cose"));
    assert!(site.check("free.cose").contains("leaves the rule out"));

    site.check("next.cose");
    let log = String::from_utf8(site.desk.run().stderr).expect("text");
    assert!(log.contains("Stopped: candidates=1"), "the listed person, live: {log}");
}

#[test]
fn whoever_resembles_too_many_of_a_cohort_never_reaches_the_draft() {
    let site = Site::new();
    let [draft, cohort] = ["draft.json", "decoys.json"].map(|name| site.arg(name));
    let before = std::fs::read(&draft).expect("a draft");
    let person = Draft::from_json(&before).expect("a draft").content().entries[0].clone();
    site.decoy_draft(&vec![person.templates[0].template.clone(); 60]);
    let photograph = format!("{PORTRAITS}/obama-2010.jpg");
    let flags = ["--cohort", &cohort, "--reference", "case-1"];
    let (_, error) = fails(&[&["watchlist", "add", &draft, &photograph], &flags[..]].concat());
    assert!(error.contains("nothing was added") && error.contains("of the 500 people"), "{error}");
    assert_eq!(std::fs::read(&draft).expect("a draft"), before);
    // Somebody who was added before there was a cohort is named.
    let folder = site.desk.path("people/case-1");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(format!("{PORTRAITS}/obama-2012.jpg"), folder.join("1.jpg")).expect("copies");
    let from = site.arg("people");
    let add = ["watchlist", "add", &draft, "--from", &from, "--cohort", &cohort, "--json"];
    let output = support::desk::watchpost(&add);
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(!output.status.success() && report.contains("from before: remove it"), "{report}");
}
