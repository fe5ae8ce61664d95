//! What the device promises about the custody of a list: sealed on its way and on the disk, in a
//! format that the standard tool reads; plain in locked memory only; what is revoked is gone from
//! both; keys rotate by those who had them.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::desk::{Daemon, Desk, PORTRAITS, fails, ok, watchpost};
use support::field::Field;
use support::memory::memory;

/// The `age` program; `None` where it is not installed, which is a failure with `CI=true`.
fn age(arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("age").args(arguments).output() {
        Ok(out) if out.status.success() => Some(out.stdout),
        Ok(out) => panic!("age {arguments:?}: {}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => {
            let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
            assert!(!ci, "CI=true and no age: install the Debian package age");
            support::say("custody: no age installed; sealing was NOT checked against it.");
            None
        }
    }
}

/// A list of two people that both have signed, as `list.cose`, and a device's key.
fn two_people(desk: &Desk) {
    desk.draft();
    let draft = desk.arg("draft.json");
    let text = std::fs::read_to_string(&draft).expect("a draft");
    std::fs::write(
        &draft,
        text.replace("\"false_alerts_per_day\": 0.2", "\"false_alerts_per_day\": 0.9"),
    )
    .expect("writes");
    let photograph = format!("{PORTRAITS}/biden-2010.jpg");
    let entry =
        ["--reference", "case-2", "--legal-basis", "order 2/26", "--purpose", "a second promise"];
    ok(&[&["watchlist", "add", &draft, &photograph][..], &entry[..]].concat());
    desk.sign("draft.json", "alice.key");
    desk.sign("list.cose", "bob.key");
    ok(&["key", "device", &desk.arg("device.key")]);
    std::fs::rename(desk.path("list.cose"), desk.path("plain.cose")).expect("renames");
}

fn recipient(desk: &Desk) -> String {
    ok(&["key", "show", &desk.arg("device.key")]).trim().to_owned()
}

fn seal(desk: &Desk, from: &str, out: &str) {
    ok(&["watchlist", "seal", &desk.arg(from), "--to", &recipient(desk), "--out", &desk.arg(out)]);
}

/// The template of entry `n` of the draft, as it lies in a list and in a gallery.
fn template(desk: &Desk, n: usize) -> Vec<u8> {
    use base64::Engine as _;
    let draft: Value =
        serde_json::from_slice(&std::fs::read(desk.path("draft.json")).expect("a draft"))
            .expect("JSON");
    let text = draft["entries"][n]["templates"][0]["template"].as_str().expect("a template");
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|w| w == wanted)
}

const SEALED: &str = "device_key = \"DESK/device.key\"\n";

#[test]
fn the_standard_tool_opens_what_is_sealed_and_seals_what_is_opened() {
    let desk = Desk::new();
    two_people(&desk);
    seal(&desk, "plain.cose", "sealed.age");
    let plain = std::fs::read(desk.path("plain.cose")).expect("a list");
    let Some(opened) = age(&["-d", "-i", &desk.arg("device.key"), &desk.arg("sealed.age")]) else {
        return;
    };
    assert_eq!(opened, plain);
    let to = recipient(&desk);
    age(&["-r", &to, "-o", &desk.arg("theirs.age"), &desk.arg("plain.cose")])
        .expect("age is there");
    let verify = |file: &str| {
        let arguments = [
            "--trust",
            &desk.arg("trust.toml"),
            "--device",
            "gate-1",
            "--identity",
            &desk.arg("device.key"),
            "--json",
        ];
        let line = ok(&[&["watchlist", "verify", &desk.arg(file)][..], &arguments[..]].concat());
        serde_json::from_str::<Value>(&line).expect("JSON")
    };
    assert_eq!(
        (&verify("theirs.age"), &verify("theirs.age")["valid"]),
        (&verify("sealed.age"), &true.into())
    );
    let shown =
        ok(&["watchlist", "show", &desk.arg("theirs.age"), "--identity", &desk.arg("device.key")]);
    assert!(shown.contains("case-1") && shown.contains("case-2"), "{shown}");

    // Several devices; text and another device's key are refused with what to do.
    ok(&["key", "device", &desk.arg("other.key")]);
    let other = ok(&["key", "show", &desk.arg("other.key")]).trim().to_owned();
    let [from, both] = ["plain.cose", "both.age"].map(|n| desk.arg(n));
    ok(&["watchlist", "seal", &from, "--to", &to, "--to", &other, "--out", &both]);
    for key in ["device.key", "other.key"] {
        assert_eq!(age(&["-d", "-i", &desk.arg(key), &both]).expect("age is there"), plain);
    }
    let show = |file: &str, key: &str| {
        fails(&["watchlist", "show", &desk.arg(file), "--identity", &desk.arg(key)]).1
    };
    assert!(show("sealed.age", "other.key").contains("not sealed to this device's key"));
    age(&["-a", "-r", &to, "-o", &desk.arg("text.age"), &desk.arg("plain.cose")])
        .expect("age is there");
    assert!(show("text.age", "device.key").contains("without -a"));
    assert!(fails(&["watchlist", "show", &desk.arg("sealed.age")]).1.contains("--identity"));
    // A key that age's own tool made.
    let made = Command::new("age-keygen")
        .args(["-o", &desk.arg("theirs.key")])
        .output()
        .expect("comes with age");
    assert!(made.status.success());
    assert!(ok(&["key", "show", &desk.arg("theirs.key")]).starts_with("age1"));
    assert!(
        fails(&["watchlist", "seal", &desk.arg("draft.json"), "--to", &to, "--out", &both])
            .1
            .contains("draft")
    );
    assert!(
        fails(&["watchlist", "seal", &desk.arg("sealed.age"), "--to", &to, "--out", &both])
            .1
            .contains("already")
    );
}

/// Where `wanted` lies in the memory of a process, with the kernel's flags of each place; `None`
/// where this user may not look.
fn in_memory(process: u32, wanted: &[u8]) -> Option<Vec<String>> {
    let all = memory(process)?.into_iter();
    Some(all.filter(|mapping| holds(&mapping.bytes, wanted)).map(|m| m.flags).collect())
}

#[test]
fn a_list_is_sealed_on_the_disk_locked_in_memory_and_a_revoked_entry_is_gone_from_both_within_a_second()
 {
    let Some(field) = Field::with(SEALED, two_people) else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_blind("no-list");
    seal(desk, "plain.cose", "sealed.age");

    field.offer("sealed.age");
    let state =
        field.await_("watchlist/state", "the list", |s| s["last_change"]["what"] == "installed");
    assert_eq!(state["entries"], 2);
    field.await_online();
    let [first, second] = [0, 1].map(|n| template(desk, n));
    let plain = std::fs::read(desk.path("plain.cose")).expect("a list");
    assert!(holds(&plain, &first) && holds(&plain, &second));
    let on_disk = |wanted: &[u8]| -> Vec<PathBuf> {
        let all = desk.files().into_iter();
        all.filter(|f| {
            !f.ends_with("plain.cose") && holds(&std::fs::read(f).unwrap_or_default(), wanted)
        })
        .collect()
    };
    assert_eq!(on_disk(&first), Vec::<PathBuf>::new());
    match in_memory(daemon.id(), &first) {
        Some(places) => {
            assert_eq!(places.len(), 1, "the gallery, and nowhere else: {places:?}");
            let flags: Vec<_> = places[0].split_whitespace().collect();
            assert!(flags.contains(&"lo") && flags.contains(&"dd"), "{flags:?}");
        }
        None => support::say(
            "custody: this user may not read the daemon's memory, which is as it should be; NOT \
             looked into.",
        ),
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("limits");
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    // Made beforehand: what counts is from the order's publication to the reply.
    let order = desk.arg("order.cose");
    ok(&[
        "watchlist",
        "revoke",
        "--key",
        &desk.arg("alice.key"),
        "--out",
        &order,
        "--list",
        "promises",
        "--entry",
        "case-1",
        "--through-version",
        "1",
    ]);
    let order = std::fs::read(order).expect("an order");
    let began = Instant::now();
    field.listener.publish(&format!("{}/revoke", support::field::TOPIC), true, order);
    let state = field.await_("watchlist/state", "the entry gone", |s| {
        s["last_change"]["what"] == "entry-revoked"
    });
    let took = began.elapsed();
    support::say(&format!(
        "custody: an entry was revoked, wiped and removed from the store {took:?} after its order \
         was published."
    ));
    assert!(took.as_secs_f32() < 1.0, "{took:?}");
    assert_eq!(state["entries"], 1);
    if let Some(places) = in_memory(daemon.id(), &first) {
        assert_eq!(places, Vec::<String>::new(), "the revoked template is nowhere in memory");
        assert_eq!(
            in_memory(daemon.id(), &second).expect("readable").len(),
            1,
            "the other still is"
        );
    }
    assert!(daemon.terminate().success());

    // The stored list is sealed, verifies as before, and has one entry less.
    let stored = desk.arg("list.cose");
    if let Some(opened) = age(&["-d", "-i", &desk.arg("device.key"), &stored]) {
        assert!(!holds(&opened, &first) && holds(&opened, &second));
    }
    let check = [
        "--trust",
        &desk.arg("trust.toml"),
        "--device",
        "gate-1",
        "--identity",
        &desk.arg("device.key"),
        "--json",
    ];
    let refused = watchpost(&[&["watchlist", "verify", &stored][..], &check[..]].concat());
    let verdict: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    // Only the device that took an entry out knows that it was that one: to others it is gone.
    assert_eq!((&verdict["valid"], &verdict["code"]), (&false.into(), &"entries-missing".into()));

    // Put back by hand while the daemon is away: matched by nobody, and removed again.
    std::fs::copy(desk.path("sealed.age"), &stored).expect("copies");
    field.listener.publish(&format!("{}/revoke", support::field::TOPIC), true, Vec::new());
    field.await_("status", "the end", |s| s["state"] == "stopped");
    let daemon = Daemon::start(desk);
    let state = field.await_("watchlist/state", "the list again", |s| s["list"]["version"] == 1);
    assert_eq!(state["entries"], 1);
    field.await_online();
    assert!(daemon.terminate().success());
    if let Some(opened) = age(&["-d", "-i", &desk.arg("device.key"), &stored]) {
        assert!(!holds(&opened, &first));
    }
}

#[test]
fn where_memory_cannot_be_locked_nobody_is_matched_unless_the_configuration_takes_that_upon_itself()
{
    let desk = Desk::new();
    two_people(&desk);
    seal(&desk, "plain.cose", "list.cose");
    desk.pictures(&["collins.jpg"]);
    desk.configure(1, "");
    let file = desk.path("watchpost.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let with = |more: &str| {
        let key = desk.arg("device.key");
        let text =
            text.replace("[watchlist]\n", &format!("[watchlist]\ndevice_key = \"{key}\"\n{more}"));
        std::fs::write(&file, text).expect("writes");
        // Root may lock in spite of the limit, unless it gives that up.
        let script = "ulimit -l 0; if [ $(id -u) = 0 ]; then set -- setpriv --bounding-set -all \
            --inh-caps -all \"$@\"; fi; exec \"$@\"";
        let binary = env!("CARGO_BIN_EXE_watchpost");
        let arguments = ["-c", script, "sh", binary, "check", "--json", "--config"];
        let out = Command::new("sh").args(arguments).arg(&file).output().expect("a shell");
        let line = String::from_utf8(out.stdout)
            .expect("text")
            .lines()
            .find(|l| l.contains("\"watchlist\""))
            .map(str::to_owned);
        serde_json::from_str::<Value>(&line.expect("a line about the list")).expect("JSON")
    };
    let refused = with("");
    let detail = refused["detail"].as_str().expect("text");
    assert_eq!(refused["outcome"], "failed");
    assert!(detail.contains("memory-not-locked") && detail.contains("LimitMEMLOCK"), "{detail}");
    assert_eq!(with("require_locked_memory = false\n")["outcome"], "ok");
}

#[test]
fn only_a_list_that_is_sealed_to_the_device_is_taken_and_one_that_is_named_only_as_the_file_of_that_digest()
 {
    let Some(field) = Field::with(&format!("{SEALED}inbox = \"DESK/inbox\"\n"), two_people) else {
        return;
    };
    let desk = &field.desk;
    std::fs::create_dir(desk.path("inbox")).expect("a folder");
    seal(desk, "plain.cose", "sealed.age");
    let sealed = std::fs::read(desk.path("sealed.age")).expect("a list");
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(&sealed).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let offer = |text: String| {
        field.listener.publish(&format!("{}/watchlist/offer", support::field::TOPIC), false, text)
    };
    let named = format!("{{\"sha256\":\"{digest}\",\"size\":{}}}", sealed.len());
    let daemon = Daemon::start(desk);
    field.await_blind("no-list");
    // A list that is not sealed, and one that is sealed to somebody else, are refused with the
    // reason.
    field.offer("plain.cose");
    field.await_("watchlist/state", "a refusal", |s| s["last_change"]["detail"] == "not-sealed");
    ok(&["key", "device", &desk.arg("other.key")]);
    let other = ok(&["key", "show", &desk.arg("other.key")]).trim().to_owned();
    ok(&[
        "watchlist",
        "seal",
        &desk.arg("plain.cose"),
        "--to",
        &other,
        "--out",
        &desk.arg("others.age"),
    ]);
    field.offer("others.age");
    field.await_("watchlist/state", "a refusal", |s| {
        s["last_change"]["detail"] == "sealed-to-another"
    });

    offer(named.clone());
    field.await_("watchlist/state", "not there yet", |s| {
        s["last_change"]["detail"] == "not-in-inbox"
    });
    let mut altered = sealed.clone();
    *altered.last_mut().expect("a list") ^= 1;
    std::fs::write(desk.path("inbox").join(&digest), altered).expect("writes");
    offer(named.clone());
    field.await_("watchlist/state", "another file", |s| {
        s["last_change"]["detail"] == "not-as-offered"
    });
    // What does not parse, or tries to name another place, costs a counter.
    offer("{\"sha256\":\"../../etc/passwd\",\"size\":10}".into());
    field.await_("stats", "a counted refusal", |s| s["drops"]["orders.offers_refused"] == 5);
    offer("{".into());
    field.await_("stats", "a counted refusal", |s| s["drops"]["orders.offers_refused"] == 6);
    std::fs::write(desk.path("inbox").join(&digest), &sealed).expect("writes");
    offer(named);
    field.await_("watchlist/state", "the list", |s| s["last_change"]["what"] == "installed");
    field.await_online();
    assert_eq!(std::fs::read(desk.path("list.cose")).expect("stored"), sealed);
    assert!(daemon.terminate().success());
}

#[test]
fn keys_rotate_by_two_of_the_old_signers_and_lists_of_the_old_ones_end() {
    let Some(field) = Field::with(SEALED, two_people) else { return };
    let desk = &field.desk;
    seal(desk, "plain.cose", "list.cose");
    for key in ["carol.key", "dave.key"] {
        ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
    }
    let public = |key: &str| ok(&["key", "show", &desk.arg(key)]).trim().to_owned();
    let [carol, dave] = ["carol.key", "dave.key"].map(public);
    ok(&["key", "trust", &carol, &dave, "--serial", "2", "--out", &desk.arg("next.toml")]);
    let sign = |from: &str, key: &str, out: &str| {
        ok(&[
            "key",
            "sign-trust",
            &desk.arg(from),
            "--key",
            &desk.arg(key),
            "--out",
            &desk.arg(out),
        ])
    };
    sign("next.toml", "alice.key", "one.cose");
    sign("one.cose", "bob.key", "both.cose");
    sign("next.toml", "carol.key", "new.cose");
    sign("new.cose", "dave.key", "new.cose");
    assert!(
        fails(&[
            "key",
            "sign-trust",
            &desk.arg("one.cose"),
            "--key",
            &desk.arg("alice.key"),
            "--out",
            &desk.arg("x")
        ])
        .1
        .contains("already")
    );
    let verify = ["--trust", &desk.arg("trust.toml"), "--json"];
    ok(&[&["key", "verify-trust", &desk.arg("both.cose")][..], &verify[..]].concat());
    assert_eq!(
        fails(&[&["key", "verify-trust", &desk.arg("one.cose")][..], &verify[..]].concat()).0,
        1
    );

    let daemon = Daemon::start(desk);
    field.await_online();
    for (name, why) in [("one.cose", "one of two"), ("new.cose", "by the new keys themselves")] {
        field.offer(name);
        field.await_("watchlist/state", why, |s| {
            s["last_change"]["detail"] == "trust-too-few-signers"
        });
    }
    field.offer("both.cose");
    field.await_("watchlist/state", "the rotation", |s| s["last_change"]["what"] == "keys-rotated");
    field.await_blind("too-few-signers");
    // Once more: it is not newer.
    field.offer("both.cose");
    field.await_("watchlist/state", "a replay", |s| s["last_change"]["what"] == "refused");
    assert!(daemon.terminate().success());
    field.await_("status", "the end", |s| s["state"] == "stopped");

    // The new signers' list comes into force, after a restart, too.
    ok(&["watchlist", "revise", &desk.arg("plain.cose"), "--out", &desk.arg("draft2.json")]);
    let signed = |from: &str, key: &str| {
        ok(&[
            "watchlist",
            "sign",
            &desk.arg(from),
            "--key",
            &desk.arg(key),
            "--out",
            &desk.arg("theirs.cose"),
            "--yes",
        ])
    };
    signed("draft2.json", "carol.key");
    signed("theirs.cose", "dave.key");
    seal(desk, "theirs.cose", "theirs.age");
    let daemon = Daemon::start(desk);
    field.await_blind("too-few-signers");
    field.offer("theirs.age");
    field.await_("watchlist/state", "the new list", |s| s["last_change"]["what"] == "installed");
    field.await_online();
    assert!(daemon.terminate().success());
    field.await_("status", "the end", |s| s["state"] == "stopped");

    // Without the kept rotation the old keys would be back; the device remembers that they are not.
    std::fs::remove_file(desk.path("trust.cose")).expect("it is kept beside the state");
    let daemon = Daemon::start(desk);
    field.await_blind("trust-rolled-back");
    assert!(daemon.terminate().success());
}

#[test]
fn a_daemon_that_is_killed_while_lists_come_in_has_the_old_or_the_new_one() {
    let Some(field) = Field::with(SEALED, two_people) else { return };
    let desk = &field.desk;
    seal(desk, "plain.cose", "list.cose");
    let [list, identity] = ["list.cose", "device.key"].map(|n| desk.arg(n));
    let version = || {
        let shown = ok(&["watchlist", "show", &list, "--identity", &identity, "--json"]);
        serde_json::from_str::<Value>(&shown).expect("JSON")["version"].as_u64().expect("a number")
    };
    let mut known = vec![std::fs::read(&list).expect("stored")];
    let mut highest = 1;
    for round in 0..6u64 {
        field.forget();
        let daemon = Daemon::start(desk);
        field.await_("watchlist/state", "a list in force", |s| {
            s["list"]["version"].as_u64() >= Some(highest)
        });
        let [draft, signed, next] = ["draft", "signed", "next"].map(|n| format!("{n}-{round}"));
        ok(&["watchlist", "revise", &list, "--identity", &identity, "--out", &desk.arg(&draft)]);
        for (from, key) in [(&draft, "alice.key"), (&signed, "bob.key")] {
            ok(&[
                "watchlist",
                "sign",
                &desk.arg(from),
                "--key",
                &desk.arg(key),
                "--out",
                &desk.arg(&signed),
                "--yes",
            ]);
        }
        seal(desk, &signed, &next);
        known.push(std::fs::read(desk.path(&next)).expect("sealed"));
        field.offer(&next);
        // From before it arrives to after it was stored; no moment is the right one.
        std::thread::park_timeout(std::time::Duration::from_micros(round * round * 600));
        daemon.kill();
        // The broker may deliver an offer again that was not acknowledged, so that it is not always
        // the last one.
        let stored = std::fs::read(&list).expect("stored");
        assert!(known.contains(&stored), "it is whole, whichever it is");
        assert!(version() >= highest, "and never an older one");
        highest = version();
    }
    field.forget();
    let daemon = Daemon::start(desk);
    field.await_("watchlist/state", "a list in force", |s| {
        s["list"]["version"].as_u64() >= Some(highest)
    });
    assert!(daemon.terminate().success());
    support::say(&format!(
        "custody: killed 6 times while a list came in; the last one stored has version {highest}."
    ));
}
