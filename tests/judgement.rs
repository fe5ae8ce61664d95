//! One judge: what keeps the daemon from matching, or from starting, `check` and `doctor` say
//! before it starts, and where it works they find nothing wrong. With the real daemon and a real
//! broker, of the same files and the same configuration.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use support::desk::{Daemon, Desk, ok};
use support::field::Field;

/// What the daemon is on these files.
#[derive(Debug, Clone, Copy)]
enum Daemons {
    /// It matches.
    Works,
    /// It matches, and says what is not as it should be.
    Degraded(&'static str),
    /// It matches nobody, for this cause.
    Blind(&'static str),
    /// It does not start.
    Refuses,
}

/// One configuration, and what it leads to.
struct Case {
    what: &'static str,
    /// Lines of the configuration, each with its table; DESK/ is the folder.
    settings: &'static [(&'static str, &'static str)],
    /// Brings the files into the state that the case is about.
    prepare: fn(&Desk),
    daemon: Daemons,
    /// The check that fails; none where all is well.
    fails: Option<&'static str>,
}

fn write(desk: &Desk, name: &str, text: &str) {
    fs::write(desk.path(name), text).expect("writes");
}

/// A state with these fields; without any it is that of a device that knows nothing.
fn state(desk: &Desk, fields: &str) {
    write(desk, "state.json", &format!("{{\"last_seen\":0,\"lists\":[]{fields}}}"));
}

/// Puts the rotation that pins a receiver where the device keeps it.
fn rotated(desk: &Desk) {
    state(desk, "");
    fs::copy(desk.path("next.cose"), desk.path("trust.cose")).expect("a rotation");
}

/// Whether `chattr` does this here.
fn chattr(how: &str, desk: &Desk) -> bool {
    let file = desk.path("state.json");
    Command::new("chattr").arg(how).arg(file).output().is_ok_and(|o| o.status.success())
}

const AUDIT: (&str, &str) = ("audit", "identity = \"DESK/identity.key\"\nlog = \"DESK/audit\"");

const CASES: &[Case] = &[
    Case {
        what: "all is well",
        settings: &[AUDIT, ("broker", "ledger = \"DESK/ledger\"")],
        prepare: |_| {},
        daemon: Daemons::Works,
        fails: None,
    },
    Case {
        what: "somebody has suspended matching",
        settings: &[],
        prepare: |desk| state(desk, ",\"suspended\":[{\"from\":1,\"to\":4102444800}]"),
        daemon: Daemons::Blind("suspended"),
        fails: Some("watchlist"),
    },
    Case {
        what: "more was revoked than is remembered",
        settings: &[],
        prepare: |desk| state(desk, ",\"full\":true"),
        daemon: Daemons::Blind("too-many-orders"),
        fails: Some("watchlist"),
    },
    Case {
        what: "the list has exceeded its budget",
        settings: &[("review", "docket = \"DESK/reviews.cbor\"")],
        prepare: |desk| {
            let list = "\"id\":\"promises\",\"version\":1,\"exposure\":0.0,\"days\":[]";
            let text = format!("{{\"lists\":[{{{list},\"beyond\":0,\"exceeded\":1}}]}}");
            write(desk, "reviews.budget.json", &text);
        },
        daemon: Daemons::Blind("budget-exceeded"),
        fails: Some("watchlist"),
    },
    Case {
        what: "the identity is not there",
        settings: &[("audit", "identity = \"/nonexistent\"\nlog = \"DESK/audit\"")],
        prepare: |_| {},
        daemon: Daemons::Blind("audit-unusable"),
        fails: Some("audit"),
    },
    Case {
        what: "the log's folder is a file",
        settings: &[AUDIT],
        prepare: |desk| write(desk, "audit", ""),
        daemon: Daemons::Blind("audit-unusable"),
        fails: Some("audit"),
    },
    Case {
        what: "the state file is protected",
        settings: &[],
        prepare: |desk| {
            state(desk, "");
            chattr("+i", desk);
        },
        daemon: Daemons::Blind("state-not-stored"),
        fails: Some("state"),
    },
    Case {
        what: "the ledger is a folder",
        settings: &[("broker", "ledger = \"DESK/ledger\"")],
        prepare: |desk| fs::create_dir(desk.path("ledger")).expect("a folder"),
        daemon: Daemons::Refuses,
        fails: Some("ledger"),
    },
    Case {
        what: "the ledger is a pipe that nobody reads",
        settings: &[("broker", "ledger = \"DESK/ledger\"")],
        prepare: |desk| {
            let made = Command::new("mkfifo").arg(desk.path("ledger")).status();
            assert!(made.is_ok_and(|status| status.success()));
        },
        daemon: Daemons::Refuses,
        fails: Some("ledger"),
    },
    Case {
        what: "the outbox is a file",
        settings: &[],
        prepare: |desk| write(desk, "outbox", ""),
        daemon: Daemons::Degraded("in memory only"),
        fails: Some("outbox"),
    },
    Case {
        what: "the pinned keys have ended, and those that followed them have not",
        settings: &[],
        prepare: |desk| {
            let pinned = fs::read_to_string(desk.path("trust.toml")).expect("pinned keys");
            let ended = pinned.lines().map(|line| match line.split_once(" = ") {
                Some(("valid_from", _)) => "valid_from = \"2020-01-01T00:00:00Z\"",
                Some(("valid_until", _)) => "valid_until = \"2021-01-01T00:00:00Z\"",
                _ => line,
            });
            write(desk, "trust.toml", &ended.collect::<Vec<_>>().join("\n"));
            rotated(desk);
        },
        daemon: Daemons::Works,
        fails: None,
    },
    Case {
        what: "the receiver whose word is required is pinned by a rotation",
        settings: &[("broker", "receipt = \"required\"")],
        prepare: rotated,
        daemon: Daemons::Works,
        fails: None,
    },
];

/// The files of the device alone, as `check` finds them, with when each was written.
fn files(desk: &Desk) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let own = |path: &PathBuf| *path != desk.path("log");
    let about = |path: PathBuf| {
        let about = path.symlink_metadata().expect("a file");
        (path, (about.len(), about.modified().ok()))
    };
    desk.files().into_iter().filter(own).map(about).collect()
}

/// What the command finds, and its exit code.
fn found(desk: &Desk, command: &str) -> (Vec<Value>, Option<i32>) {
    let mut command = desk.command(command);
    command.arg("--json");
    if command.get_args().next().is_some_and(|name| name == "doctor") {
        for other in ["cameras", "temperature", "swap", "source", "views"] {
            command.args(["--skip", other]);
        }
    }
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a JSON line"));
    (lines.collect(), output.status.code())
}

/// Holds what `check` and `doctor` say against what they should.
fn hold(desk: &Desk, case: &Case) {
    for command in ["check", "doctor"] {
        let before = files(desk);
        let (checks, code) = found(desk, command);
        let failed: Vec<_> = checks
            .iter()
            .filter(|check| check["outcome"] == "failed")
            .map(|check| check["check"].as_str().expect("a name"))
            .collect();
        let wanted: Vec<_> = case.fails.into_iter().collect();
        assert_eq!(failed, wanted, "{command}: {}: {checks:#?}", case.what);
        assert_eq!(code, Some(case.fails.map_or(0, |_| 1)), "{command}: {}", case.what);
        assert_eq!(files(desk), before, "{command} changes nothing: {}", case.what);
    }
}

/// Puts everything back as it was before the first case.
fn reset(desk: &Desk, configuration: &str, settings: &[(&str, &str)]) {
    chattr("-i", desk);
    for name in [
        "state.json",
        "state.json.reserve",
        "list.cose.seen",
        "trust.cose",
        "outbox",
        "audit",
        "ledger",
        "reviews.budget.json",
    ] {
        let path = desk.path(name);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        assert!(gone.is_ok() || !path.exists(), "{name}: {gone:?}");
    }
    for name in ["list.cose", "trust.toml"] {
        fs::copy(desk.path(&format!("{name}.kept")), desk.path(name)).expect("a copy");
    }
    let mut text = configuration.to_owned();
    for (table, lines) in settings {
        let (table, lines) = (format!("[{table}]\n"), lines.replace("DESK/", &desk.arg("")));
        match text.contains(&table) {
            true => text = text.replace(&table, &format!("{table}{lines}\n")),
            false => text += &format!("{table}{lines}\n"),
        }
    }
    write(desk, "watchpost.toml", &text);
}

#[test]
fn check_and_doctor_say_of_each_configuration_what_the_daemon_makes_of_it() {
    let Some(field) = Field::with("require_locked_memory = false", |desk| {
        desk.list();
        ok(&["key", "identity", &desk.arg("identity.key")]);
        ok(&["key", "identity", &desk.arg("receiver.key")]);
        let [alice, bob] = ["alice.key", "bob.key"].map(|key| desk.arg(key));
        let [next, signed] = ["next.toml", "next.cose"].map(|name| desk.arg(name));
        let keys = ["alice.key", "bob.key", "receiver.key"].map(|key| desk.public(key));
        let pins = ["--serial", "2", "--receiver", &keys[2], "--out", &next];
        ok(&[&["key", "trust", &keys[0], &keys[1]][..], &pins].concat());
        ok(&["key", "sign-trust", &next, "--key", &alice, "--out", &signed]);
        ok(&["key", "sign-trust", &signed, "--key", &bob, "--out", &signed]);
        for name in ["list.cose", "trust.toml"] {
            fs::copy(desk.path(name), desk.path(&format!("{name}.kept"))).expect("a copy");
        }
    }) else {
        return;
    };
    let desk = &field.desk;
    let configuration = fs::read_to_string(desk.path("watchpost.toml")).expect("a configuration");
    for case in CASES {
        reset(desk, &configuration, case.settings);
        (case.prepare)(desk);
        if case.fails == Some("state") && fs::write(desk.path("state.json"), "").is_ok() {
            support::say("judgement: no chattr here; a protected state file was NOT looked at.");
            continue;
        }
        hold(desk, case);
        field.forget();
        if let Daemons::Refuses = case.daemon {
            assert_eq!(desk.run().status.code(), Some(1), "{}", case.what);
            continue;
        }
        let daemon = Daemon::start(desk);
        match case.daemon {
            Daemons::Works | Daemons::Refuses => field.await_online(),
            Daemons::Blind(code) => field.await_blind(&format!("({code})")),
            Daemons::Degraded(what) => {
                field.await_("status", what, |s| {
                    s["matching"] == true
                        && s["degraded"].as_str().is_some_and(|d| d.contains(what))
                });
            }
        }
        assert!(daemon.terminate().success(), "{}", case.what);
        // What it leaves behind is judged alike: a log with records, a memory of its own.
        hold(desk, case);
    }
    chattr("-i", desk);
}

#[test]
fn the_remedy_for_a_memory_that_is_lost_or_full_leads_back_to_matching() {
    let Some(field) = Field::with("require_locked_memory = false", |desk| {
        desk.list();
        let [list, draft, next] = ["list.cose", "draft-2.json", "next.cose"].map(|n| desk.arg(n));
        ok(&["watchlist", "revise", &list, "--out", &draft]);
        desk.sign_into(&draft, "alice.key", &next);
        desk.sign_into(&next, "bob.key", &next);
        for name in ["list.cose", "trust.toml"] {
            fs::copy(desk.path(name), desk.path(&format!("{name}.kept"))).expect("a copy");
        }
    }) else {
        return;
    };
    let desk = &field.desk;
    let configuration = fs::read_to_string(desk.path("watchpost.toml")).expect("a configuration");
    type Loss = fn(&Desk);
    let lost: [(&str, Loss); 3] = [
        ("too-many-orders", |desk| state(desk, ",\"full\":true")),
        ("damaged-state", |desk| write(desk, "state.json", "{")),
        ("damaged-state", |desk| fs::remove_file(desk.path("state.json")).expect("it is there")),
    ];
    for (code, lose) in lost {
        reset(desk, &configuration, &[]);
        let run = |awaited: &dyn Fn()| {
            field.forget();
            let daemon = Daemon::start(desk);
            awaited();
            assert!(daemon.terminate().success());
        };
        run(&|| field.await_online());
        lose(desk);
        // Of a memory that is full a daemon that has run knows what the file beside the list does.
        let changes = fs::read_to_string(desk.path("list.cose.seen")).expect("a number");
        if code == "too-many-orders" {
            state(desk, &format!(",\"full\":true,\"changes\":{}", changes.trim()));
        }
        run(&|| field.await_blind(&format!("({code})")));
        let (checks, _) = found(desk, "check");
        let begin = checks.iter().filter_map(|check| check["remedy"].as_str()).find(|remedy| {
            remedy.contains(
                "stop watchpost, move watchlist.list away, remove the file that is called as it \
                 with `.seen` behind it, write `{\"last_seen\":0,\"lists\":[]}` into \
                 watchlist.state, start watchpost",
            )
        });
        assert!(begin.is_some(), "{code}: {checks:#?}");
        fs::rename(desk.path("list.cose"), desk.path("away")).expect("moves");
        fs::remove_file(desk.path("list.cose.seen")).expect("it is there");
        write(desk, "state.json", "{\"last_seen\":0,\"lists\":[]}");
        run(&|| {
            field.await_blind("(no-list)");
            field.offer("next.cose");
            field.await_online();
        });
        assert_eq!(found(desk, "check").1, Some(0), "{code}");
    }
}
