//! What a build for a board can do, with the built binary: every command that the documentation
//! has somebody type on a board is understood there, and nothing that belongs on a workstation is
//! in it.
//!
//! ```text
//! cargo test --no-default-features --test board
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the documentation has typed on a board at least. Fewer, and this test no longer finds the
/// pages that say so.
const AT_LEAST: [&str; 5] = ["cameras", "check", "doctor", "key", "run"];

fn pages(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages(&path, into);
        } else if path.extension().is_some_and(|e| e == "md") {
            into.push(path);
        }
    }
}

/// The parts of a page whose headings, or those above them, name boards or cameras.
fn about_boards(page: &str) -> String {
    let mut level = None;
    let mut kept = String::new();
    for line in page.lines() {
        let depth = line.chars().take_while(|c| *c == '#').count();
        if depth > 0 && line[depth..].starts_with(' ') {
            if level.is_some_and(|within| depth <= within) {
                level = None;
            }
            let heading = line.to_lowercase();
            if level.is_none() && (heading.contains("board") || heading.contains("camera")) {
                level = Some(depth);
            }
        }
        if level.is_some() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The arguments of `watchpost` in a piece of shell, where it is a command: in
/// `sudo -u watchpost watchpost doctor` the last one.
fn arguments(shell: &str) -> Option<Vec<String>> {
    let shell = shell.split(" #").next().unwrap_or_default();
    let words: Vec<&str> = shell.split_whitespace().collect();
    let at = words.iter().rposition(|word| *word == "watchpost")?;
    let rest = &words[at + 1..];
    let is_command = rest.first().is_some_and(|w| w.chars().all(|c| c.is_ascii_lowercase()));
    is_command.then(|| rest.iter().map(|word| word.trim_matches('"').to_owned()).collect())
}

/// Every `watchpost` command in the code blocks and the code spans of `text`.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            found.extend(line.split(['|', ';']).flat_map(|l| l.split("&&")).filter_map(arguments));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).filter_map(arguments));
        }
    }
    found
}

fn documented() -> BTreeSet<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut files);
    let read = |file: &PathBuf| std::fs::read_to_string(file).expect("a page");
    files.iter().flat_map(|file| commands(&about_boards(&read(file)))).collect()
}

#[test]
fn every_command_that_is_typed_on_a_board_is_understood_there() {
    let commands = documented();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for command in &commands {
        // Nothing outside of the folder is written; a configuration that is not there ends `run`.
        let mut line: Vec<String> = command
            .iter()
            .map(|word| match word.strip_prefix('/') {
                Some(path) => folder.path().join(path.replace('/', "-")).display().to_string(),
                None => word.clone(),
            })
            .collect();
        if line[0] == "run" && line.len() == 1 {
            line.extend(["--config".into(), folder.path().join("none").display().to_string()]);
        }
        let output = Command::new(env!("CARGO_BIN_EXE_watchpost"))
            .args(&line)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        // Without a camera and a configuration most of them find something wrong (1, 78); 2 is a
        // command that is not understood.
        assert!(matches!(output.status.code(), Some(0 | 1 | 78)), "{command:?}: {errors}");
    }
    for name in AT_LEAST {
        assert!(commands.iter().any(|c| c[0] == name), "no page has {name} typed: {commands:?}");
    }
}

#[test]
fn the_devices_keys_are_made_on_the_board_and_shown_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("device.key");
    let printed = |what: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_watchpost"))
            .args(["key", what])
            .arg(&key)
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let recipient = printed("device");
    assert!(recipient.starts_with("age1"), "{recipient}");
    assert_eq!(printed("show"), recipient);
    std::fs::remove_file(&key).expect("it is there");
    let public = printed("identity");
    assert_eq!(printed("show"), public);
}

/// `watchlist verify` and the like, of the commands and those below them.
#[cfg(not(any(feature = "author", feature = "demo", feature = "evaluate")))]
#[test]
fn a_board_runs_checks_and_explains_and_cannot_make_a_list() {
    let command = watchpost::cli::command();
    let mut names = Vec::new();
    for command in command.get_subcommands() {
        let below: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        match &below[..] {
            [] => names.push(command.get_name().to_owned()),
            _ => names.extend(below.iter().map(|b| format!("{} {b}", command.get_name()))),
        }
    }
    assert_eq!(
        names,
        [
            "run",
            "check",
            "doctor",
            "cameras",
            "identify",
            "key device",
            "key identity",
            "key show",
            "key verify-trust",
            "watchlist verify",
            "calibrate run",
            "calibrate rehearse",
            "calibrate show",
            "audit show",
            "audit verify",
            "audit prove",
            "audit submission",
            "audit export",
            "outbox show"
        ]
    );
}

#[test]
fn commands_are_found_in_blocks_and_spans_of_the_sections_about_boards_alone() {
    let page = "# A
`watchpost demo`
## On a camera
    sudo -u watchpost watchpost doctor  # why
then `watchpost check`.
### Deeper
    chown watchpost: f && watchpost key \\
    device f
    systemctl restart watchpost
## B
    watchpost bench detect
";
    let found: Vec<String> =
        commands(&about_boards(page)).into_iter().map(|c| c.join(" ")).collect();
    assert_eq!(found, ["check", "doctor", "key device f"]);
}
