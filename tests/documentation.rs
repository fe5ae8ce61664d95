//! The commands in the documentation work as they are written. Each block of them stands below a
//! comment that says how it is run here, or why it is not:
//!
//! ```text
//! <!-- run in SESSION -->
//! <!-- run in SESSION, exit codes 0 1 -->
//! <!-- run in SESSION, in the background -->
//! <!-- run in SESSION; then TOPIC says "TEXT" -->
//! <!-- not run: REASON -->
//! ```
//!
//! Blocks of one session run in the order of the pages, in one folder, with the built binary on the
//! `PATH`. The session `walk` has photographs and a mosquitto; `then` waits until the device
//! publishes the text. Only the broker's port is replaced.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::desk::PORTRAITS;
use support::{Mosquitto, Subscriber, say};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The walk-through's device.
const TOPICS: &str = "watchpost/v1/watchpost-1";

/// A block of commands.
#[derive(Debug, PartialEq)]
struct Block {
    /// `docs/operate.md:12`.
    place: String,
    /// What the comment above says.
    mark: Mark,
    script: String,
}

#[derive(Debug, PartialEq)]
enum Mark {
    Run { session: String, codes: Vec<i32>, background: bool, then: Option<(String, String)> },
    NotRun,
}

/// Folders whose pages are not ours, or hold no commands for a reader of today.
const LEFT_OUT: [&str; 5] = ["vendor", "target", "decisions", ".git", "proptest-regressions"];

/// The pages that the test answers for: all that the project has.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![PathBuf::from(ROOT)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| *name == **left_out) {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// The blocks of commands on a page, or what is wrong with them.
fn blocks(page: &str, text: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut comment = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let place = format!("{page}:{}", number + 1);
        if line.starts_with("<!--") {
            comment = line.to_owned();
            while !comment.ends_with("-->") {
                let (_, more) = lines.next().ok_or_else(|| format!("{place}: open comment"))?;
                comment = format!("{comment} {}", more.trim());
            }
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let body = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```");
            let script: String = body.map(|l| format!("{l}\n")).collect();
            match language {
                "sh" => found.push(Block { mark: mark(&place, &comment)?, place, script }),
                "toml" | "json" | "text" => {}
                _ => return Err(format!("{place}: a block is sh, toml, json or text")),
            }
            comment.clear();
        } else if line.starts_with("    ") && !in_a_list(text, number) {
            return Err(format!("{place}: put commands between ```sh and ```"));
        } else if !line.is_empty() {
            comment.clear();
        }
    }
    Ok(found)
}

/// Whether an indented line goes on with an item of a list.
fn in_a_list(text: &str, number: usize) -> bool {
    let above: Vec<&str> = text.lines().take(number).collect();
    let start = above.iter().rev().find(|line| !line.is_empty() && !line.starts_with(' '));
    start.is_some_and(|line| {
        line.starts_with("* ")
            || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok())
    })
}

fn mark(place: &str, comment: &str) -> Result<Mark, String> {
    let inside = comment.trim_start_matches("<!--").trim_end_matches("-->").trim();
    if inside.strip_prefix("not run: ").is_some_and(|reason| !reason.is_empty()) {
        return Ok(Mark::NotRun);
    }
    let wrong = || format!("{place}: the block is neither run nor marked why not: {inside:?}");
    let how = inside.strip_prefix("run in ").ok_or_else(wrong)?;
    let (how, then) = match how.split_once("; then ") {
        None => (how, None),
        Some((how, then)) => {
            let (topic, text) = then.split_once(" says ").ok_or_else(wrong)?;
            (how, Some((topic.to_owned(), text.to_owned())))
        }
    };
    let mut parts = how.split(", ");
    let session = parts.next().ok_or_else(wrong)?.to_owned();
    let (mut codes, mut background) = (vec![0], false);
    for part in parts {
        match part.strip_prefix("exit codes ") {
            Some(list) => {
                codes = list
                    .split(' ')
                    .map(|c| c.parse().map_err(|_| wrong()))
                    .collect::<Result<_, _>>()?;
            }
            None if part == "in the background" => background = true,
            None => return Err(wrong()),
        }
    }
    Ok(Mark::Run { session, codes, background, then })
}

/// Every block that is run, by session, in order.
fn sessions() -> BTreeMap<String, Vec<Block>> {
    let mut sessions = BTreeMap::<String, Vec<Block>>::new();
    for page in pages() {
        let name = page.strip_prefix(ROOT).expect("below the root").display().to_string();
        let text = fs::read_to_string(&page).expect("a page of text");
        for block in blocks(&name, &text).unwrap_or_else(|wrong| panic!("{wrong}")) {
            if let Mark::Run { session, .. } = &block.mark {
                sessions.entry(session.clone()).or_default().push(block);
            }
        }
    }
    sessions
}

/// A folder in which the blocks of a session run, and who listens to its device.
struct Session {
    folder: tempfile::TempDir,
    broker: Option<(Mosquitto, Subscriber)>,
    background: Vec<Child>,
}

impl Session {
    fn new(broker: Option<Mosquitto>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let broker = broker.map(|broker| {
            // The clients' own defaults, so that commands need no port.
            let settings = folder.path().join(".config");
            fs::create_dir(&settings).expect("a folder");
            for client in ["mosquitto_pub", "mosquitto_sub"] {
                fs::write(settings.join(client), format!("-p {}\n", broker.port)).expect("writes");
            }
            let listener = Subscriber::new(broker.port, &format!("{TOPICS}/#"));
            (broker, listener)
        });
        Self { folder, broker, background: Vec::new() }
    }

    /// The photographs that the walk-through speaks of.
    fn photographs(&self) {
        let copy = |from: &str, to: &str| {
            let to = self.folder.path().join(to);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::copy(Path::new(PORTRAITS).join(from), to).expect("a bundled portrait");
        };
        copy("obama-2012.jpg", "photo-1.jpg");
        let second = image::open(Path::new(PORTRAITS).join("obama-2012.jpg")).expect("a portrait");
        second.fliph().save(self.folder.path().join("photo-2.jpg")).expect("writes");
        copy("collins.jpg", "people/case-0413/1.jpg");
        copy("hopper.jpg", "people/case-0414/1.jpg");
        // Another photograph than the one enrolled.
        copy("obama-2010.jpg", "street.jpg");
    }

    fn run(&mut self, block: &Block) {
        let Mark::Run { codes, background, then, .. } = &block.mark else { return };
        let mut script = block.script.clone();
        if let Some((broker, listener)) = &self.broker {
            script =
                script.replace("mqtt://localhost", &format!("mqtt://127.0.0.1:{}", broker.port));
            drop(listener.so_far());
        }
        let mut command = self.shell(&script);
        if *background {
            self.background.push(command.spawn().expect("bash"));
        } else {
            let output = command.output().expect("bash");
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            let code = output.status.code();
            assert!(
                code.is_some_and(|code| codes.contains(&code)),
                "{}: exit code {code:?} of\n{}{text}",
                block.place,
                block.script
            );
        }
        if let Some((topic, text)) = then {
            self.wait(&block.place, topic, text);
        }
    }

    /// Waits until the device publishes `text` on `topic`. A build without optimisation on a busy
    /// machine takes seconds for a picture.
    fn wait(&self, place: &str, topic: &str, text: &str) {
        let (_, listener) = self.broker.as_ref().expect("a session with a broker");
        let topic = format!("{TOPICS}/{topic}");
        let deadline = Instant::now() + Duration::from_secs(300);
        while !listener.so_far().iter().any(|message| {
            message.topic == topic && String::from_utf8_lossy(&message.payload).contains(text)
        }) {
            assert!(Instant::now() < deadline, "{topic} does not say {text} after {place}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn shell(&self, script: &str) -> Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_watchpost")).parent().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(binaries.to_owned()).chain(std::env::split_paths(&path));
        let mut command = Command::new("bash");
        // Without `exec` a daemon in the background would outlive its shell.
        let script =
            if script.lines().count() == 1 { format!("exec {script}") } else { script.into() };
        command
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.folder.path())
            .env("PATH", std::env::join_paths(path).expect("a path"))
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path().join(".config"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn every_block_of_commands_is_run_or_says_why_not() {
    let sessions = sessions();
    let names: Vec<&str> = sessions.keys().map(String::as_str).collect();
    assert_eq!(names, ["machine", "walk"], "each session has a test below");
}

#[test]
fn the_walk_through_runs_as_written_and_the_device_obeys() {
    let Some(broker) = Mosquitto::running() else { return };
    if Command::new("mosquitto_pub").arg("--help").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|v| v != "true"),
            "CI=true and no mosquitto_pub: install the Debian package mosquitto-clients"
        );
        say("documentation: no mosquitto_pub installed; the walk-through was NOT run.");
        return;
    }
    let mut session = Session::new(Some(broker));
    session.photographs();
    for block in &sessions()["walk"] {
        session.run(block);
    }
}

#[test]
fn commands_about_this_machine_end_with_the_exit_codes_that_are_written_down() {
    let mut session = Session::new(None);
    for block in &sessions()["machine"] {
        session.run(block);
    }
}

#[test]
fn a_block_without_a_comment_is_an_error() {
    let run = "<!-- run in walk, exit codes 0 1; then status says \"online\" -->\n```sh\nls\n```\n";
    let found = blocks("page", run).expect("it is marked");
    let then = Some(("status".to_owned(), "\"online\"".to_owned()));
    let mark = Mark::Run { session: "walk".into(), codes: vec![0, 1], background: false, then };
    assert_eq!(found, [Block { place: "page:2".into(), mark, script: "ls\n".into() }]);
    let not = "<!-- not run: needs\n     a camera -->\n```sh\nls\n```\n";
    assert_eq!(blocks("page", not).expect("it is marked")[0].mark, Mark::NotRun);
    for wrong in [
        "```sh\nls\n```\n",
        "<!-- not run: -->\n```sh\nls\n```\n",
        "<!-- not run: for another block -->\ntext\n```sh\nls\n```\n",
        "<!-- run in walk, sometimes -->\n```sh\nls\n```\n",
        "text\n\n    ls\n",
        "```\nls\n```\n",
    ] {
        assert!(blocks("page", wrong).is_err(), "{wrong}");
    }
    assert_eq!(blocks("page", "* an item\n\n      goes on\n"), Ok(Vec::new()));
}
