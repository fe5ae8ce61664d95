//! What the device promises about orders and offers: they reach a running daemon through a real
//! broker, and only those that pinned people signed do anything.

mod support;

use std::time::Instant;

use serde_json::Value;
use support::desk::{Daemon, fails, ok, watchpost};
use support::field::{Field, TOPIC};

#[test]
fn a_revocation_reaches_a_running_daemon_and_one_by_a_stranger_is_nothing_but_a_count() {
    let Some(field) = Field::new() else { return };
    let daemon = Daemon::start(&field.desk);
    field.await_online();
    let before = std::fs::read(field.desk.path("list.cose")).expect("the list");

    field.order("revoke", "mallory.key", &["--list", "promises"]);
    field.listener.publish(&format!("{TOPIC}/revoke"), false, b"no order at all".to_vec());
    let stats = field.await_("stats", "two counted messages", |s| {
        s["drops"]["orders.not_authentic"] == 1 && s["drops"]["orders.malformed"] == 1
    });
    assert_eq!(stats["counts"]["orders.followed"], 0);
    assert_eq!(std::fs::read(field.desk.path("list.cose")).expect("the list"), before);
    assert!(
        field.seen.borrow().iter().all(|(t, d)| !t.ends_with("/status") || d["state"] == "online")
    );

    let began = Instant::now();
    field.order("revoke", "alice.key", &["--list", "promises"]);
    field.await_("watchlist/state", "the state of the list", |s| {
        s["list"].is_null() && s["last_change"]["what"] == "list-revoked"
    });
    support::say(&format!(
        "orders: a revocation took effect {:?} after its signature was begun.",
        began.elapsed()
    ));
    field.await_blind("revoked");
    assert!(!field.desk.path("list.cose").exists(), "the stored list is destroyed");
    assert!(daemon.terminate().success());

    // After a restart the reason is still the revocation, and no remedy undoes it; the broker's
    // retained order is gone.
    field.listener.publish(&format!("{TOPIC}/revoke"), true, Vec::new());
    field.await_("status", "the end", |s| s["state"] == "stopped");
    let config = field.desk.arg("watchpost.toml");
    let said = watchpost(&["doctor", "--only", "watchlist", "--config", &config]).stdout;
    let said = String::from_utf8(said).expect("text");
    assert!(said.contains("was revoked (order ") && said.contains("install another"), "{said}");
    assert!(!said.contains("copy the sealed list"), "{said}");
    let daemon = Daemon::start(&field.desk);
    field.await_blind("was revoked (order ");
    assert!(daemon.terminate().success());
    field.await_("status", "the end", |s| s["state"] == "stopped");

    // Neither the file put back by hand nor a restart brings it back.
    std::fs::write(field.desk.path("list.cose"), before).expect("writes");
    let daemon = Daemon::start(&field.desk);
    field.await_blind("revoked");
    assert!(daemon.terminate().success());
}

#[test]
fn an_entry_is_revoked_alone_a_suspension_stops_and_a_newer_list_is_installed_while_running() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    // The authors' copy; the device's loses what is revoked.
    std::fs::copy(desk.path("list.cose"), desk.path("authors.cose")).expect("copies");

    field.order(
        "revoke",
        "bob.key",
        &["--list", "promises", "--entry", "case-1", "--through-version", "1"],
    );
    let state = field.await_("watchlist/state", "the entry gone", |s| {
        s["last_change"]["what"] == "entry-revoked"
    });
    assert_eq!((&state["entries"], &state["list"]["version"]), (&0.into(), &1.into()));
    field.await_blind("empty-list");

    // An offer that one person signed changes nothing; the same with two signatures comes into
    // force.
    ok(&["watchlist", "revise", &desk.arg("authors.cose"), "--out", &desk.arg("draft2.json")]);
    let [next, both] = ["next.cose", "both.cose"].map(|n| desk.arg(n));
    ok(&[
        "watchlist",
        "sign",
        &desk.arg("draft2.json"),
        "--key",
        &desk.arg("alice.key"),
        "--out",
        &next,
        "--yes",
    ]);
    ok(&["watchlist", "sign", &next, "--key", &desk.arg("bob.key"), "--out", &both, "--yes"]);
    let offer = |path: &str| {
        field.listener.publish(
            &format!("{TOPIC}/watchlist/offer"),
            false,
            std::fs::read(path).expect("a list"),
        )
    };
    offer(&next);
    field.await_("stats", "a counted refusal", |s| s["drops"]["orders.offers_refused"] == 1);
    offer(&both);
    let state = field
        .await_("watchlist/state", "the newer list", |s| s["last_change"]["what"] == "installed");
    assert_eq!((&state["entries"], &state["list"]["version"]), (&1.into(), &2.into()));
    field.await_online();
    assert_eq!(
        std::fs::read(desk.path("list.cose")).expect("stored"),
        std::fs::read(&both).expect("offered")
    );

    // Another device's suspension is not ours.
    field.order(
        "suspend",
        "alice.key",
        &["--to", "2099-01-01T00:00:00Z", "--from", "2098-12-31T00:00:00Z", "--device", "gate-2"],
    );
    field.await_("stats", "an order without effect", |s| {
        s["counts"]["orders.without_effect"].as_u64() >= Some(1)
    });
    let to = time::OffsetDateTime::now_utc() + time::Duration::days(1);
    let to = to.format(&time::format_description::well_known::Rfc3339).expect("a date");
    field.order("suspend", "alice.key", &["--to", &to, "--device", "gate-1"]);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
    field.await_("status", "the end", |s| s["state"] == "stopped");
    // The suspension outlives the process.
    let daemon = Daemon::start(desk);
    field.await_blind("suspended");
    assert!(daemon.terminate().success());
    assert!(field.broker.port > 0);
}

/// What an operator's workstation has.
fn operator(field: &Field, root: &str) -> String {
    let text =
        format!("[broker]\nurl = \"mqtt://127.0.0.1:{}\"\nroot = \"{root}\"\n", field.broker.port);
    std::fs::write(field.desk.path("operator.toml"), text).expect("writes");
    field.desk.arg("operator.toml")
}

/// `watchpost orders ... --json`: a line for each device, and the exit code.
fn orders(args: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = watchpost(&[&["orders"][..], args, &["--json"]].concat());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.is_empty(), "{said}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (lines, output.status.code())
}

#[test]
fn an_order_is_sent_until_the_device_answers_and_who_has_not_is_an_exit_code() {
    let Some(field) = Field::new() else { return };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    let (order, key) = (desk.arg("stop.cose"), desk.arg("alice.key"));
    ok(&["watchlist", "revoke", "--list", "promises", "--key", &key, "--out", &order]);

    // To a root that nobody listens to: the broker takes it, and nobody answers.
    let elsewhere = operator(&field, "watchpost");
    let send = ["send", &order, "--device", "gate-1", "--config", &elsewhere, "--wait", "2"];
    let (lines, code) = orders(&send);
    assert_eq!((&lines[0]["answer"], code), (&"no-answer".into(), Some(1)));

    let config = operator(&field, "site");
    let both = ["send", &order, "--device", "gate-2", "--device", "gate-1", "--config", &config];
    let (lines, code) = orders(&[&both[..], &["--wait", "8"]].concat());
    let answers: Vec<_> =
        lines.iter().map(|l| [&l["device"], &l["answer"]].map(|v| v.as_str())).collect();
    let wanted = [["gate-1", "followed"], ["gate-2", "no-answer"]].map(|a| a.map(Some));
    assert_eq!((answers, code), (wanted.to_vec(), Some(1)));
    assert!(lines[1]["sent"].as_u64() >= Some(2), "{}", lines[1]);
    assert_ne!(lines[0]["status"]["state"], "online", "that was before: {}", lines[0]);

    // Once more, by somebody who does not know: it has been followed.
    let (lines, code) = orders(&["send", &order, "--device", "gate-1", "--config", &config]);
    assert_eq!((&lines[0]["answer"], code), (&"followed".into(), Some(0)));
    assert_eq!(lines[0]["detail"], "list-revoked");
    let (lines, code) = orders(&["fleet", "--config", &config]);
    assert_eq!((lines.len(), &lines[0]["watchlist"]["list"], code), (1, &Value::Null, Some(0)));
    assert!(daemon.terminate().success());
}

#[test]
fn a_list_is_sealed_to_each_devices_own_key_and_a_refusal_says_why() {
    let Some(field) =
        Field::with("device_key = \"DESK/device.key\"\naccept_plain = true", |desk| {
            desk.list();
            ok(&["key", "device", &desk.arg("device.key")]);
        })
    else {
        return;
    };
    let desk = &field.desk;
    let daemon = Daemon::start(desk);
    field.await_online();
    std::fs::copy(desk.path("list.cose"), desk.path("authors.cose")).expect("copies");
    ok(&["watchlist", "revise", &desk.arg("authors.cose"), "--out", &desk.arg("draft2.json")]);
    let [one, two] = ["one.cose", "two.cose"].map(|n| desk.arg(n));
    let [alice, bob] = ["alice.key", "bob.key"].map(|n| desk.arg(n));
    ok(&["watchlist", "sign", &desk.arg("draft2.json"), "--key", &alice, "--out", &one, "--yes"]);
    ok(&["watchlist", "sign", &one, "--key", &bob, "--out", &two, "--yes"]);
    let config = operator(&field, "site");
    let fleet = desk.arg("fleet.txt");
    std::fs::write(&fleet, "gate-1 # no key\n").expect("writes");
    let send = |list: &str| orders(&["send", list, "--devices", &fleet, "--config", &config]);
    let (code, said) = fails(&["orders", "send", &two, "--devices", &fleet, "--config", &config]);
    assert!(code == 1 && said.contains("no key for gate-1"), "{said}");

    let key = ok(&["key", "show", &desk.arg("device.key")]);
    std::fs::write(&fleet, format!("gate-1 {key}")).expect("writes");
    let (lines, code) = send(&one);
    assert_eq!(
        [&lines[0]["answer"], &lines[0]["detail"]].map(|v| v.as_str()),
        [Some("refused"), Some("too-few-signers")]
    );
    assert_eq!(code, Some(1));
    let (lines, code) = send(&two);
    assert_eq!((&lines[0]["answer"], code), (&"followed".into(), Some(0)), "{lines:?}");
    let stored = std::fs::read(desk.path("list.cose")).expect("stored");
    assert!(stored.starts_with(b"age-encryption.org/v1"), "it came sealed");
    let has = |list: &str| {
        let (lines, code) =
            orders(&["fleet", "--devices", &fleet, "--list", list, "--config", &config]);
        (lines[0]["has_list"].as_bool(), code)
    };
    assert_eq!(
        [has(&two), has(&desk.arg("authors.cose"))],
        [(Some(true), Some(0)), (Some(false), Some(1))]
    );

    // The keys of those who sign.
    for key in ["carol.key", "dave.key"] {
        ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
    }
    let new =
        ["carol.key", "dave.key"].map(|k| ok(&["key", "show", &desk.arg(k)]).trim().to_owned());
    let [plain, signed] = ["trust-2.toml", "trust-2.cose"].map(|n| desk.arg(n));
    ok(&["key", "trust", &new[0], &new[1], "--serial", "2", "--out", &plain]);
    ok(&["key", "sign-trust", &plain, "--key", &alice, "--out", &signed]);
    ok(&["key", "sign-trust", &signed, "--key", &bob, "--out", &signed]);
    let (lines, code) = send(&signed);
    assert_eq!((&lines[0]["detail"], code), (&"keys-rotated".into(), Some(0)), "{lines:?}");
    assert!(daemon.terminate().success());
}

#[test]
fn what_the_broker_would_drop_without_a_word_is_an_error() {
    let Some(mut field) = Field::new() else { return };
    field.broker.kill();
    field.broker.start("allow_anonymous true\nmax_packet_size 600\n");
    let desk = &field.desk;
    let config = operator(&field, "site");
    let send = |list: &str| {
        fails(&[
            "orders",
            "send",
            &desk.arg(list),
            "--plain",
            "--device",
            "gate-1",
            "--config",
            &config,
        ])
    };
    let (code, said) = send("list.cose");
    assert!(code == 1 && said.contains("max_packet_size") && said.contains("600"), "{said}");
    let (_, said) = send("draft.json");
    assert!(said.contains("draft"), "{said}");
}
