//! A list's false-alert promise against whoever edits the device's files, with the built binary:
//! no edit of configuration or manifest loosens what two people signed.
//!
//! * Each edit is refused by `check` and by the daemon alike, with the cause's code and the
//!   difference by its name; so is a list that was signed for another promise.
//! * What is stricter than signed is accepted.

mod support;

use std::fs;
use std::process::Output;

use serde_json::Value;
use support::Mosquitto;
use support::desk::{Desk, ok};
use support::manifests::{lay_out, shipped, wide};
use time::OffsetDateTime;
use watchpost::config::Config;
use watchpost::decision::promise;
use watchpost::promise::{Promise, Setting, Stricter};
use watchpost::vision::Models;
use watchpost::watchlist::author::{self, Draft};
use watchpost::watchlist::keys::SecretKey;

/// A curve for a network of a test, of two groups.
const GROUPS: &str = "
[[embedder.groups]]
name = \"first\"
source = \"a test\"
people = 400
pairs = 79800
exact_to = 0.45
curve = [[0.30, 1e-2], [0.40, 1e-4], [0.50, 1e-6]]

[[embedder.groups]]
name = \"second\"
source = \"a test\"
people = 300
pairs = 44850
exact_to = 0.45
curve = [[0.30, 2e-2], [0.40, 2e-4], [0.50, 2e-6]]
";

/// Portraits are turned away where a draft is begun for another embedder; this one has its own.
fn own_networks() -> String {
    format!("{}{}{GROUPS}", shipped("detector"), wide())
}

/// A device with its list, and a broker where one is installed.
struct Site {
    desk: Desk,
    broker: Option<Mosquitto>,
    configuration: String,
}

impl Site {
    /// With a list for the built-in networks.
    fn built_in() -> Self {
        let desk = Desk::new();
        desk.list();
        Self::of(desk)
    }

    /// With a list for the networks of [`own_networks`].
    fn own() -> Self {
        let desk = Desk::new();
        let models = lay_out(&desk, &own_networks());
        desk.draft_for(&["--models", &models]);
        desk.sign_for("draft.json", "alice.key", &["--models", &models]);
        desk.sign("list.cose", "bob.key");
        Self::of(desk)
    }

    fn of(desk: Desk) -> Self {
        desk.pictures(&["hopper.jpg"]);
        let broker = Mosquitto::running();
        desk.configure(broker.as_ref().map_or(1, |b| b.port), "");
        let configuration = fs::read_to_string(desk.path("watchpost.toml")).expect("text");
        Self { desk, broker, configuration }
    }

    /// The configuration with `more` in front, where dotted keys belong to no section.
    fn edit(&self, more: &str) {
        let text = format!("{more}\n{}", self.configuration);
        fs::write(self.desk.path("watchpost.toml"), text).expect("writes");
    }

    /// What `check` finds, and its exit code.
    fn check(&self) -> (Output, Vec<Value>) {
        let output = self.desk.command("check").arg("--json").output().expect("the binary runs");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        (output, found)
    }

    /// The daemon's log, which ends by itself after its pictures; `None` without a broker.
    fn run(&self) -> Option<String> {
        self.broker.as_ref()?;
        Some(String::from_utf8_lossy(&self.desk.run().stderr).into_owned())
    }

    /// `edit` is refused with `cause`, or before that by the file's own rules, and `name` is in
    /// the reason.
    fn refuses(&self, edit: &str, cause: &str, name: &str) {
        let (output, found) = self.check();
        assert!(!output.status.success(), "{edit} is accepted: {found:?}");
        let reasons: Vec<String> = found
            .iter()
            .filter(|check| check["outcome"] == "failed")
            .map(|check| check["detail"].to_string())
            .chain([String::from_utf8_lossy(&output.stderr).into_owned()])
            .collect();
        let own_rule = output.status.code() == Some(78) || cause.is_empty();
        let tells = |text: &str| text.contains(name) && (own_rule || text.contains(cause));
        assert!(reasons.iter().any(|r| tells(r)), "{edit}: {cause} {name} is not in {reasons:?}");
        if let Some(log) = self.run() {
            assert!(tells(&log), "{edit}: {cause} {name} is not in {log}");
            assert!(!log.contains("Watch list in force"), "{edit}: {log}");
        }
    }

    fn accepts(&self, edit: &str) {
        let (output, found) = self.check();
        assert!(output.status.success(), "{edit} is refused: {found:?}");
        if let Some(log) = self.run() {
            assert!(log.contains("Watch list in force"), "{edit}: {log}");
        }
    }
}

/// A value of `setting` that is looser than the shipped one by the share, or stricter by a fifth.
fn value(setting: Setting, signed: f64, looser_by: Option<f64>) -> String {
    let up = matches!(setting.stricter(), Stricter::Lower) == looser_by.is_some();
    let factor = looser_by.unwrap_or(0.2);
    let value = signed * if up { 1.0 + factor } else { 1.0 - factor };
    let whole = matches!(
        setting,
        Setting::ViewsATrack
            | Setting::Views
            | Setting::LeastViews
            | Setting::Patience
            | Setting::CoolDown
    );
    match (whole, up) {
        (true, true) => format!("{:.0}", value.ceil()),
        (true, false) => format!("{:.0}", value.floor()),
        (false, _) => format!("{value:?}"),
    }
}

#[test]
fn no_edit_of_a_key_that_the_promise_rests_on_is_accepted_unless_it_is_stricter() {
    let site = Site::built_in();
    let config = Config::default();
    let models = Models::builtin().expect("as committed");
    let signed = promise::of(&models, &config.vision, &config.decision);
    for setting in Setting::ALL {
        let is = f64::from(signed.setting(setting)) / 1000.0;
        for share in [0.02, 0.4] {
            let edit = format!("{} = {}", setting.key(), value(setting, is, Some(share)));
            site.edit(&edit);
            site.refuses(&edit, "promise-differs", setting.key());
        }
        let edit = format!("{} = {}", setting.key(), value(setting, is, None));
        site.edit(&edit);
        site.accepts(&edit);
    }
    // A threshold by hand only ever raises the derived one.
    let edit = "decision.stricter_threshold = 0.05";
    site.edit(edit);
    site.accepts(edit);
}

/// `text` with the first `from` after `section` replaced.
fn with(text: &str, section: &str, from: &str, to: &str) -> String {
    let at = text.find(section).unwrap_or_else(|| panic!("{section}"));
    let (before, after) = text.split_at(at);
    assert!(after.contains(from), "{from}");
    format!("{before}{}", after.replacen(from, to, 1))
}

#[test]
fn the_built_in_embedder_takes_no_curve_and_no_settings_from_a_file() {
    let site = Site::built_in();
    let manifest = format!("{}{}", shipped("detector"), shipped("embedder"));
    let path = lay_out(&site.desk, &manifest);
    let edit = format!("vision.models = \"{path}\"");
    site.edit(&edit);
    site.accepts("the shipped manifest, named");
    let groups = manifest.find("[[embedder.groups]]").expect("groups");
    let one_row = "[[embedder.groups]]\nname = \"all\"\nsource = \"none\"\npeople = 1000\npairs \
        = 1000\nexact_to = 0.9\ncurve = [[0.05, 1e-9]]\n";
    let embedder = "[embedder]";
    let edits = [
        // Strangers of similarity .07 were published with this one.
        (format!("{}{one_row}", &manifest[..groups]), "embedder.groups"),
        (manifest[..groups].to_owned(), "embedder.groups"),
        (with(&manifest, embedder, "1.14e-1", "1.13e-1"), "embedder.groups"),
        (with(&manifest, "black women", "people = 479", "people = 299"), "embedder.groups"),
        (with(&manifest, embedder, "exact_to = 0.45", "exact_to = 0.80"), "embedder.groups"),
        (with(&manifest, embedder, "\"bgr\"", "\"rgb\""), "embedder.channels"),
        (with(&manifest, embedder, "scale = [1.0", "scale = [0.5"), "embedder.scale"),
        (with(&manifest, embedder, "38.2946", "40.0"), "embedder.template"),
    ];
    for (text, named) in edits {
        fs::write(&path, &text).expect("writes");
        site.refuses(named, "", named);
    }
    // What is read before the embedder sees it is a part of the promise, too.
    let other = with(&manifest, "[detector]", "mean = [128.0", "mean = [64.0");
    fs::write(&path, &other).expect("writes");
    site.refuses("detector.mean", "promise-differs", "false-match curve");
    let scrfd = support::manifests::scrfd("scrfd.onnx", 32);
    fs::write(&path, format!("{scrfd}{}", shipped("embedder"))).expect("writes");
    site.refuses("another detector", "promise-differs", "detector");
    let other = format!("{}{}{GROUPS}", shipped("detector"), wide());
    fs::write(&path, other).expect("writes");
    site.refuses("another embedder", "wrong-model", "embedder");
}

#[test]
fn no_edit_of_the_manifest_of_ones_own_networks_changes_what_was_signed() {
    let site = Site::own();
    let manifest = own_networks();
    let path = site.desk.arg("manifest.toml");
    site.edit(&format!("vision.models = \"{path}\""));
    site.accepts("as signed");
    let (embedder, group) = ("[embedder]", "\"second\"");
    let second = manifest.find("[[embedder.groups]]\nname = \"second\"").expect("two groups");
    let edits = [
        with(&manifest, group, "2e-2", "1.9e-2"),
        with(&manifest, group, "[0.50, 2e-6]", "[0.45, 2e-6]"),
        with(&manifest, group, ", [0.50, 2e-6]", ""),
        with(&manifest, group, "people = 300", "people = 301"),
        with(&manifest, group, "exact_to = 0.45", "exact_to = 0.50"),
        with(&manifest, embedder, group, "\"third\""),
        manifest[..second].to_owned(),
        with(&manifest, embedder, "123.0", "122.0"),
        with(&manifest, embedder, "0.017", "0.016"),
        with(&manifest, embedder, "\"rgb\"", "\"bgr\""),
    ];
    for text in edits {
        fs::write(&path, &text).expect("writes");
        site.refuses(&text[second..], "promise-differs", "false-match curve");
    }
    fs::write(&path, with(&manifest, group, "people = 300", "people = 299")).expect("writes");
    site.refuses("a group of too few people", "promise-differs", "false-match curve");
    let none = manifest.split("[[embedder.groups]]").next().expect("a manifest");
    fs::write(&path, none).expect("writes");
    site.refuses("no curve at all", "no-false-match-curve", "no false-match curve");
}

/// Signs the draft of the desk for what `change` makes of the device's own promise.
fn signed_for(desk: &Desk, change: impl FnOnce(&mut Promise)) {
    let models = Models::builtin().expect("as committed");
    let config = Config::default();
    let mut promise = promise::of(&models, &config.vision, &config.decision);
    change(&mut promise);
    let draft = fs::read(desk.path("draft.json")).expect("a draft");
    let draft = Draft::from_json(&draft).expect("a draft");
    let [alice, bob] = ["alice.key", "bob.key"]
        .map(|key| SecretKey::open_file(&desk.path(key)).expect("a key of the desk"));
    let once = author::sign(&draft, &promise.bytes(), &alice, OffsetDateTime::now_utc());
    let both = author::cosign(&once.expect("signs"), &bob).expect("signs");
    fs::write(desk.path("list.cose"), &*both).expect("writes");
}

#[test]
fn a_list_that_was_signed_for_more_than_the_device_keeps_is_refused() {
    let site = Site::built_in();
    let looser = |setting: Setting| match setting.stricter() {
        Stricter::Higher => |value: &mut u32| *value += 1,
        Stricter::Lower => |value: &mut u32| *value -= 1,
    };
    for setting in Setting::ALL {
        // A device that is looser by a thousandth is looser.
        signed_for(&site.desk, |p| looser(setting)(&mut p.settings[setting as usize]));
        site.refuses(setting.key(), "promise-differs", setting.key());
    }
    signed_for(&site.desk, |p| p.pipeline += 1);
    site.refuses("pipeline", "promise-differs", "pipeline");
    signed_for(&site.desk, |p| p.floor += 1);
    site.refuses("floor", "promise-differs", "no threshold below 0.401");
    signed_for(&site.desk, |p| p.detector[31] ^= 1);
    site.refuses("detector", "promise-differs", "detector");
    signed_for(&site.desk, |p| p.embedder[31] ^= 1);
    site.refuses("embedder", "promise-differs", "embedder");
    signed_for(&site.desk, |p| p.curve[31] ^= 1);
    site.refuses("curve", "promise-differs", "false-match curve");
    signed_for(&site.desk, |p| p.floor -= 1);
    site.accepts("a lower floor than the device's");
}

#[test]
fn a_list_of_another_pipeline_is_not_even_signed() {
    let desk = Desk::new();
    desk.draft();
    let text = fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let number = watchpost::template::PIPELINE;
    let (is, other) = (format!("\"pipeline\": {number}"), format!("\"pipeline\": {}", number - 1));
    assert!(text.contains(&is));
    fs::write(desk.path("draft.json"), text.replace(&is, &other)).expect("writes");
    let show = ["watchlist", "show", &desk.arg("draft.json")];
    let (_, error) = support::desk::fails(&show);
    assert!(error.contains("pipeline"), "{error}");
    ok(&["key", "show", &desk.arg("alice.key")]);
}

#[test]
fn a_restart_does_not_give_a_list_its_days_budget_again() {
    let desk = Desk::new();
    desk.draft();
    let text = fs::read_to_string(desk.path("draft.json")).expect("a draft");
    let (is, ten) = ("\"expected_faces_per_day\": 1000", "\"expected_faces_per_day\": 10");
    assert!(text.contains(is));
    fs::write(desk.path("draft.json"), text.replace(is, ten)).expect("writes");
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
    desk.pictures(&["hopper.jpg", "collins.jpg"]);
    let Some(broker) = Mosquitto::running() else { return };
    let log = |repeat: u32| {
        desk.configure(broker.port, &format!("repeat = {repeat}\n"));
        String::from_utf8_lossy(&desk.run().stderr).into_owned()
    };
    let first = log(6);
    assert!(first.contains("Watch list in force"), "{first}");
    let state = fs::read_to_string(desk.path("state.json")).expect("a state");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["faces"]["today"], 12, "two faces, six times: {state}");
    let second = log(1);
    assert!(second.contains("declared=10 planned=20 "), "{second}");
    // Nobody gets the day back by spoiling the number.
    let spoiled = state.to_string().replace("\"today\":12", "\"today\":-1");
    fs::write(desk.path("state.json"), spoiled).expect("writes");
    let third = log(1);
    assert!(third.contains("damaged-state") && !third.contains("Watch list in force"), "{third}");
}
