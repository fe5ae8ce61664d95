//! What two people who sign a list are promised, with the built binary: nobody signs unasked, the
//! second can see and check what the first put in, and a key that is copied is of no use.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::desk::{Desk, PORTRAITS, fails, ok, watchpost};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn without_a_terminal_nothing_is_signed_unless_it_says_yes() {
    let desk = Desk::new();
    desk.draft();
    let [draft, key, out] = ["draft.json", "alice.key", "list.cose"].map(|n| desk.arg(n));
    let sign = ["watchlist", "sign", &draft, "--key", &key, "--out", &out];
    let (_, error) = fails(&sign);
    assert!(error.contains("nothing is signed") && error.contains("--yes"), "{error}");
    assert!(error.contains("no terminal") && !desk.path("list.cose").exists(), "{error}");
    let (_, error) = fails(&[&sign[..], &["--json"]].concat());
    assert!(error.contains("--json") && !desk.path("list.cose").exists(), "{error}");
    ok(&[&sign[..], &["--yes"]].concat());
    assert!(desk.path("list.cose").exists());
}

#[test]
fn on_a_terminal_it_shows_what_is_signed_and_takes_yes_alone_for_an_answer() {
    // Of util-linux: runs a command on a terminal of its own.
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return support::say("signing: no script(1); asking on a terminal was NOT checked.");
    }
    let desk = Desk::new();
    desk.draft();
    let answer = |answer: &str| {
        let command = format!(
            "{} watchlist sign {} --key {} --out {}",
            env!("CARGO_BIN_EXE_watchpost"),
            desk.arg("draft.json"),
            desk.arg("alice.key"),
            desk.arg("list.cose"),
        );
        fs::write(desk.path("answer"), format!("{answer}\n")).expect("writes");
        let input = fs::File::open(desk.path("answer")).expect("opens");
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).stdin(input);
        let output = script.output().expect("script runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for no in ["no", "y", "", "yes please"] {
        let shown = answer(no);
        assert!(shown.contains("nothing is signed"), "{no}: {shown}");
        assert!(!desk.path("list.cose").exists(), "{no}");
    }
    let shown = answer("yes");
    for fact in [
        "hours      the whole week",
        "areas      wherever the devices are",
        "entries    1 of at most 2",
        "no threshold below 0.4",
        "decision.views at least 4",
        "SHA-256 of the photograph",
        "signed by",
    ] {
        assert!(shown.contains(fact), "{fact} is not in {shown}");
    }
    assert!(desk.path("list.cose").exists());
}

#[test]
fn the_second_signer_finds_a_template_that_is_not_of_the_photographs() {
    let desk = Desk::new();
    desk.draft();
    let photographs = desk.path("file/of/case-1");
    fs::create_dir_all(&photographs).expect("a folder");
    fs::copy(format!("{PORTRAITS}/obama-2012.jpg"), photographs.join("x")).expect("copies");
    fs::copy(format!("{PORTRAITS}/hopper.jpg"), photographs.join("of nobody.jpg")).expect("copies");
    desk.sign("draft.json", "alice.key");
    let folder = desk.arg("file");
    let check = |list: &str, folder: &str| {
        let args = ["watchlist", "check", &desk.arg(list), "--photographs", folder, "--json"];
        let output = watchpost(&args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), json(text.lines().next().expect("a line")))
    };
    for list in ["draft.json", "list.cose"] {
        let (confirmed, found) = check(list, &folder);
        assert!(confirmed && found["similarity"].as_f64() > Some(0.999), "{found}");
    }
    // Somebody else's template under this photograph's digest.
    let read = |name: &str| json(&fs::read_to_string(desk.path(name)).expect("a draft"));
    let mut draft = read("draft.json");
    let other = Desk::new();
    other.draft();
    ok(&[
        "watchlist",
        "add",
        &other.arg("draft.json"),
        &format!("{PORTRAITS}/collins.jpg"),
        "--reference",
        "case-2",
        "--legal-basis",
        "order",
        "--purpose",
        "a test",
    ]);
    let theirs = json(&fs::read_to_string(other.path("draft.json")).expect("a draft"));
    draft["entries"][0]["templates"][0]["template"] =
        theirs["entries"][1]["templates"][0]["template"].clone();
    fs::write(desk.path("exchanged.json"), draft.to_string()).expect("writes");
    desk.sign("exchanged.json", "alice.key");
    let (confirmed, found) = check("list.cose", &folder);
    assert!(!confirmed && found["similarity"].as_f64() < Some(0.5), "{found}");
    assert!(found["reason"].as_str().is_some_and(|r| r.contains("do not sign")), "{found}");
    // A photograph that is not there confirms nothing.
    fs::remove_file(photographs.join("x")).expect("removes");
    let (confirmed, found) = check("draft.json", &folder);
    assert!(!confirmed && found["similarity"].is_null(), "{found}");
}

#[test]
fn hours_and_area_are_set_by_flags_shown_and_judged_with_the_devices_configuration() {
    let desk = Desk::new();
    desk.list();
    let [list, next] = ["list.cose", "next.json"].map(|n| desk.arg(n));
    let hours = ["--hours", "mon-sun 00:00-24:00", "--utc-offset", "-05:30"];
    let area = ["--area", "52.50,13.40 52.60,13.40 52.50,13.50"];
    let revise = ["watchlist", "revise", &list, "--out", &next];
    ok(&[&revise[..], &hours, &area].concat());
    let shown = ok(&["watchlist", "show", &next]);
    assert!(shown.contains("hours      mon-sun 00:00-24:00; UTC-05:30"), "{shown}");
    assert!(shown.contains("areas      52.5,13.4 52.6,13.4 52.5,13.5"), "{shown}");
    // Without its offset an hour says nothing.
    let (code, _) = fails(&[&revise[..], &["--hours", "mon 08:00-12:00"]].concat());
    assert_eq!(code, 2);
    desk.sign("next.json", "alice.key");
    desk.sign("list.cose", "bob.key");

    desk.pictures(&["hopper.jpg"]);
    desk.configure(1, "");
    let config = desk.path("watchpost.toml");
    let text = fs::read_to_string(&config).expect("text");
    let verify = |position: &str| {
        let placed =
            text.replace("[watchlist]\n", &format!("[watchlist]\nposition = {position}\n"));
        fs::write(&config, placed).expect("writes");
        let args = ["watchlist", "verify", &list, "--config", &desk.arg("watchpost.toml")];
        let output = watchpost(&[&args[..], &["--json"]].concat());
        (output.status.code(), json(&String::from_utf8_lossy(&output.stdout)))
    };
    let (code, verdict) = verify("{ latitude = 52.51, longitude = 13.41 }");
    assert_eq!((code, &verdict["valid"]), (Some(0), &true.into()), "{verdict}");
    let (code, verdict) = verify("{ latitude = 48.1, longitude = 11.5 }");
    assert_eq!((code, &verdict["code"]), (Some(1), &"outside-area".into()), "{verdict}");
    // What the configuration loosens, `verify` finds as the device does.
    fs::write(&config, format!("decision.cool_down_s = 1\n{text}")).expect("writes");
    let (_, error) =
        fails(&["watchlist", "verify", &list, "--config", &desk.arg("watchpost.toml")]);
    assert!(error.contains("promise-differs") && error.contains("cool_down_s"), "{error}");
    // A configuration says all, and nothing else is taken beside it.
    let mixed = ["watchlist", "verify", &list, "--config", "x", "--device", "gate-1"];
    assert_eq!(fails(&mixed).0, 2);
    assert_eq!(fails(&["watchlist", "verify", &list]).0, 2);
}

#[test]
fn a_key_is_encrypted_with_a_passphrase_unless_a_test_says_otherwise() {
    let desk = Desk::new();
    desk.draft();
    let [key, file, draft, out] =
        ["carol.key", "passphrase", "draft.json", "list.cose"].map(|n| desk.arg(n));
    let (_, error) = fails(&["key", "new", &key]);
    assert!(error.contains("--passphrase-file") && !desk.path("carol.key").exists(), "{error}");
    fs::write(&file, "correct horse battery\n").expect("writes");
    let new = ["key", "new", &key, "--passphrase-file", &file];
    let (_, error) = fails(&new);
    assert!(error.contains("chmod 600"), "others can read the passphrase: {error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let public = ok(&new);
    assert!(public.starts_with("watchpost-ed25519:"), "{public}");
    assert_eq!(ok(&["key", "show", &key]), public, "shown without the passphrase");

    let sign = ["watchlist", "sign", &draft, "--key", &key, "--out", &out, "--yes"];
    let (_, error) = fails(&sign);
    assert!(error.contains("is encrypted") && error.contains("--passphrase-file"), "{error}");
    let with_file = [&sign[..], &["--passphrase-file", &file]].concat();
    ok(&with_file);
    let shown = ok(&["watchlist", "show", &out, "--json"]);
    assert_eq!(json(&shown)["signatures"].as_array().map(Vec::len), Some(1));
    fs::write(&file, "correct horse batterie\n").expect("writes");
    let (_, error) = fails(&with_file);
    assert!(error.contains("the passphrase is another one"), "{error}");
    fs::write(&file, "too short\n").expect("writes");
    let (_, error) = fails(&["key", "new", &desk.arg("dave.key"), "--passphrase-file", &file]);
    assert!(error.contains("at least 10 characters"), "{error}");
}

#[test]
fn a_file_that_is_named_is_read_whether_it_is_needed_or_not() {
    let desk = Desk::new();
    desk.draft();
    let [draft, key, out, none] =
        ["draft.json", "alice.key", "list.cose", "none"].map(|n| desk.arg(n));
    let sign = ["watchlist", "sign", &draft, "--key", &key, "--out", &out, "--yes"];
    let (_, error) = fails(&[&sign[..], &["--passphrase-file", &none]].concat());
    assert!(error.contains("cannot read the passphrase"), "{error}");
    assert!(!desk.path("list.cose").exists());
    ok(&sign);
    let (_, error) = fails(&["watchlist", "show", &out, "--identity", &none]);
    assert!(error.contains(&none), "{error}");
}

#[test]
fn a_trust_file_that_nothing_can_follow_or_that_is_never_valid_is_not_made() {
    let desk = Desk::new();
    let keys = ["alice.key", "bob.key"].map(|key| {
        ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
        desk.public(key)
    });
    let out = desk.arg("new-trust.toml");
    let trust = ["key", "trust", &keys[0], &keys[1], "--out", &out];
    for (flag, value) in [("--days", "0"), ("--serial", "18446744073709551615")] {
        let (code, error) = fails(&[&trust[..], &[flag, value]].concat());
        assert!(code == 2 && error.contains(flag), "{error}");
        assert!(!desk.path("new-trust.toml").exists());
    }
    ok(&[&trust[..], &["--days", "1", "--serial", "18446744073709551614"]].concat());
}
