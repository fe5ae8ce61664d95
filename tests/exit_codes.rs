//! Exit codes with the built binary: a verdict stays what it is, whoever reads it or has stopped
//! reading.

mod support;

use std::io;
use std::process::{Command, Stdio};

use support::desk::watchpost;

/// A pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// The exit codes of a command: alone, without a reader of what it says, and without one of its
/// errors.
fn codes(args: &[&str]) -> [Option<i32>; 3] {
    let started = |out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        command.status().expect("the binary runs").code()
    };
    [
        watchpost(args).status.code(),
        started(unread(), Stdio::null()),
        started(Stdio::null(), unread()),
    ]
}

#[test]
fn a_reader_that_has_gone_neither_makes_a_failure_good_nor_ends_what_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let bad = file("bad.toml", "[device]\nid = \"a/b\"\n");
    let good = file("good.toml", "[watchlist]\nlist = \"/nonexistent/list\"\n");
    assert_eq!(codes(&["check", "--config", &bad]), [Some(78); 3]);
    assert_eq!(codes(&["doctor", "--only", "config", "--config", &bad]), [Some(78); 3]);
    assert_eq!(codes(&["check", "--config", &good, "--json"]), [Some(1); 3]);
    assert_eq!(codes(&["doctor", "--list"]), [Some(0); 3]);
    assert_eq!(codes(&["key", "show", "/nonexistent"]), [Some(1); 3]);
    assert_eq!(codes(&["outbox", "show", &folder.path().display().to_string()]), [Some(1); 3]);
}

#[cfg(feature = "evaluate")]
#[test]
fn without_a_reader_all_photographs_are_still_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("html.jpg");
    std::fs::write(&html, "<html>").expect("writes");
    let html = html.display().to_string();
    assert_eq!(codes(&["detect", &html, "--json"]), [Some(1); 3]);
    assert_eq!(codes(&["detect", &html]), [Some(1); 3]);
}

#[cfg(feature = "author")]
#[test]
fn completions_are_written_as_far_as_somebody_reads() {
    assert_eq!(codes(&["completions", "bash"]), [Some(0); 3]);
}
