//! What messages and documents name exists: each configuration key, each `[table]`, each command
//! and flag.
//!
//! Read are the string literals and comments of the program (not of its tests), and the documents.
//! A person follows a remedy word by word; a key that does not exist costs them an hour.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use watchpost::config::{Config, promises};
use watchpost::source::SourceCounters;

/// Where documents are; Rust sources are read below `src`.
const DOCUMENTS: [&str; 8] =
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "config", "cross", "src", "models"];
/// Ends of file names, which look like keys where a file is called `device.key`.
const FILES: [&str; 13] = [
    "age", "cddl", "cose", "deb", "jpg", "json", "key", "md", "onnx", "pem", "rs", "service",
    "toml",
];
/// Tables of other files that documents name: units, manifests, trust files, Cargo.
const FOREIGN: [&str; 8] = [
    "audit",
    "detector",
    "embedder",
    "features",
    "keys",
    "package.metadata.deb",
    "patch",
    "profile",
];

/// Keys that weaken no promise: names, places, sizes and speeds, and what can only be stricter.
const NEUTRAL: &[&str] = &[
    "audit.await_witnesses_s",
    "audit.log",
    "audit.on_unwitnessed",
    "broker.ca_file",
    "broker.client_cert",
    "broker.client_id",
    "broker.client_key",
    "broker.controls",
    "broker.home_assistant.discovery",
    "broker.home_assistant.prefix",
    "broker.keep_alive_s",
    "broker.ledger",
    "broker.receipt",
    "broker.password_file",
    "broker.root",
    "broker.session_expiry_s",
    "broker.stats_interval_s",
    "broker.username",
    "calibrate.",
    "decision.stricter_threshold",
    "decision.update_after_s",
    "decision.update_margin",
    "device.camera",
    "device.id",
    "device.place",
    "event.crop",
    "event.crop_quality",
    "event.head_pixels",
    "event.head_times",
    "metrics.listen",
    "review.deadline_s",
    "review.docket",
    "source.",
    "vision.long_side",
    "vision.min_score",
    "vision.schedule.",
    "vision.track_survives_ms",
    "vision.views.first",
    "vision.views.margin",
    "vision.views.max_a_frame",
    "vision.views.min_interval_ms",
    "vision.views.refresh_ms",
    "watchlist.inbox",
    "watchlist.list",
    "watchlist.position",
    "watchlist.rotations",
    "watchlist.state",
    "watchlist.trust",
];

/// Keys and tables of the configuration, dotted.
struct Schema {
    keys: BTreeSet<String>,
    tables: BTreeSet<String>,
    /// Those of the desk's.
    desk: BTreeSet<String>,
}

/// Keys and tables of the desk's configuration, with those that are absent by default.
#[cfg(feature = "desk")]
fn keys_of_desk() -> BTreeSet<String> {
    use watchpost::desk::config::{DeskConfig, DeskDevice, MailConfig, WebhookConfig};
    let mut config = DeskConfig { sealing_key: Some("x".into()), ..DeskConfig::default() };
    config.http.certificate = Some("x".into());
    config.http.key = Some("x".into());
    let mut schema = Schema::empty();
    schema.walk("", &toml::Table::try_from(&config).expect("TOML"));
    let text = || Some("x".to_owned());
    let device = DeskDevice { id: "x".to_owned(), key: text(), identity: text() };
    schema.walk("device", &toml::Table::try_from(&device).expect("TOML"));
    let webhook = WebhookConfig {
        name: "x".to_owned(),
        url: "x".to_owned(),
        secret_file: "x".into(),
        ca_file: Some("x".into()),
    };
    schema.walk("notify.webhook", &toml::Table::try_from(&webhook).expect("TOML"));
    let mail = MailConfig {
        server: "x".to_owned(),
        from: "x".to_owned(),
        to: vec!["x".to_owned()],
        username: "x".to_owned(),
        password_file: Some("x".into()),
        ca_file: Some("x".into()),
    };
    schema.walk("notify.mail", &toml::Table::try_from(&mail).expect("TOML"));
    schema.keys.insert("notify.mail".to_owned());
    schema.keys
}

#[cfg(not(feature = "desk"))]
fn keys_of_desk() -> BTreeSet<String> {
    BTreeSet::new()
}

impl Schema {
    /// From the template, which has every key, those that are commented out too.
    fn read() -> Self {
        let template = read(&root().join("config/watchpost.toml"));
        let full: String = template
            .lines()
            .map(|line| {
                let bare = line.strip_prefix("# ").unwrap_or(line);
                let key = bare.split_once(" = ").is_some_and(|(key, _)| is_word(key));
                format!("{}\n", if key { bare } else { line })
            })
            .collect();
        toml::from_str::<Config>(&full).expect("the template with every key is a configuration");
        let mut schema = Self::empty();
        schema.walk("", &toml::from_str(&full).expect("TOML"));
        schema.desk = keys_of_desk();
        schema
    }

    fn empty() -> Self {
        Self { keys: BTreeSet::new(), tables: BTreeSet::new(), desk: BTreeSet::new() }
    }

    fn walk(&mut self, prefix: &str, table: &toml::Table) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if let toml::Value::Table(inner) = value {
                self.walk(&path, inner);
                self.tables.insert(path.clone());
            }
            self.keys.insert(path);
        }
    }

    /// Whether `name` begins like a key.
    fn claims(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(top, _)| self.tables.contains(top))
    }
}

/// Something that a text names and that does not exist.
#[derive(Debug, PartialEq)]
struct Unknown {
    at: String,
    name: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn files(at: &Path, wanted: &dyn Fn(&Path) -> bool, into: &mut Vec<PathBuf>) {
    if at.is_dir() {
        let entries = std::fs::read_dir(at).expect("a folder");
        let mut entries: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| files(entry, wanted, into));
    } else if wanted(at) {
        into.push(at.to_path_buf());
    }
}

/// The string literals and comments of Rust code without its tests, each with its first line.
/// Comments that follow each other are one text, so that a name may stand across their lines.
fn texts_of_rust(code: &str) -> Vec<(usize, String)> {
    let code = &code[..code.find("\n#[cfg(test)]\nmod tests {").unwrap_or(code.len())];
    let chars: Vec<char> = code.chars().collect();
    let (mut at, mut line, mut out) = (0, 1, Vec::<(usize, String)>::new());
    let mut comment_ends = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('\n', _) => line += 1,
            ('/', Some('/')) => {
                let end =
                    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n);
                let text: String = chars[at..end].iter().collect();
                let text = text.trim_start_matches(['/', '!']).to_owned();
                match out.last_mut() {
                    Some((_, before)) if comment_ends + 1 == line => {
                        before.push_str(&format!("\n{}", text.trim_start()));
                    }
                    _ => out.push((line, text)),
                }
                (at, comment_ends) = (end, line);
                continue;
            }
            // A quoted quote, a lifetime's tick otherwise.
            ('\'', Some('"')) if chars.get(at + 2) == Some(&'\'') => at += 2,
            ('\'', Some('\\')) if chars.get(at + 2) == Some(&'"') => at += 3,
            ('"', _) => {
                let hashes = chars[..at].iter().rev().take_while(|c| **c == '#').count();
                let raw = at > hashes && chars[at - hashes - 1] == 'r';
                let (end, text) = literal(&chars, at + 1, raw.then_some(hashes));
                out.push((line, text));
                line += chars[at..end].iter().filter(|c| **c == '\n').count();
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// The end of a literal whose text begins at `from`, and the text as the compiler would have it,
/// but for escapes; `raw` is the number of hashes of a raw one.
fn literal(chars: &[char], from: usize, raw: Option<usize>) -> (usize, String) {
    let (mut at, mut text) = (from, String::new());
    while at < chars.len() {
        match (chars[at], raw) {
            ('\\', None) if chars.get(at + 1) == Some(&'\n') => {
                at += 1;
                at += chars[at..].iter().take_while(|c| c.is_whitespace()).count();
                continue;
            }
            ('\\', None) => {
                text.push(if chars.get(at + 1) == Some(&'n') { '\n' } else { ' ' });
                at += 2;
                continue;
            }
            ('"', None) => break,
            ('"', Some(hashes)) if chars[at + 1..].iter().take(hashes).all(|c| *c == '#') => break,
            (c, _) => text.push(c),
        }
        at += 1;
    }
    (at + 1, text)
}

/// Whether the file is the tests' own.
fn of_tests(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests")
        || path.file_stem().is_some_and(|stem| {
            let stem = stem.to_string_lossy();
            stem == "tests" || stem.ends_with("_tests") || stem == "fixture"
        })
}

/// Every text that people read, with where it begins.
fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let document = |path: &Path| {
        path.extension().is_some_and(|e| ["md", "toml", "service"].iter().any(|known| e == *known))
            && path.file_name().is_some_and(|name| name != "Cargo.toml")
    };
    for place in DOCUMENTS {
        let at = root().join(place);
        if at.exists() {
            files(&at, &document, &mut found);
        }
    }
    let mut texts: Vec<(String, String)> =
        found.iter().map(|path| (shown(path), read(path))).collect();
    assert!(texts.len() > 20, "documents were found: {}", texts.len());
    let mut sources = Vec::new();
    let rust = |path: &Path| path.extension().is_some_and(|e| e == "rs") && !of_tests(path);
    files(&root().join("src"), &rust, &mut sources);
    assert!(sources.len() > 100, "sources were found: {}", sources.len());
    for path in &sources {
        for (line, text) in texts_of_rust(&read(path)) {
            texts.push((format!("{}:{line}", shown(path)), text));
        }
    }
    texts
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The dotted names in a text: not parts of paths, URLs, calls or longer names.
fn dotted(text: &str) -> Vec<&str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut out = Vec::new();
    let mut rest = 0;
    while let Some(from) = text[rest..].find(inside).map(|n| rest + n) {
        let end = text[from..].find(|c| !inside(c)).map_or(text.len(), |n| from + n);
        rest = end;
        let before = text[..from].chars().next_back();
        let after = text[end..].chars().next();
        let name = text[from..end].trim_end_matches('.');
        let apart = !before.is_some_and(|c| "/:{-@&*$\\".contains(c))
            && !after.is_some_and(|c| "/:(@".contains(c) && name.len() == end - from);
        if apart && name.contains('.') && name.split('.').all(is_word) {
            out.push(name);
        }
    }
    out
}

fn unknown_keys(
    schema: &Schema,
    counters: &BTreeSet<String>,
    at: &str,
    text: &str,
) -> Vec<Unknown> {
    let file = |name: &str| FILES.iter().any(|end| name.ends_with(&format!(".{end}")));
    dotted(text)
        .into_iter()
        .filter(|name| schema.claims(name) && !schema.keys.contains(*name))
        .filter(|name| !schema.desk.contains(*name))
        .filter(|name| !file(name) && !counters.contains(*name))
        .map(|name| Unknown { at: at.to_owned(), name: name.to_owned() })
        .collect()
}

/// `[table]` at the start of a line or in back quotes, and the keys in the lines below it.
fn unknown_tables(schema: &Schema, at: &str, text: &str) -> Vec<Unknown> {
    let unknown = |name: &str| Unknown { at: at.to_owned(), name: name.to_owned() };
    let mut out = Vec::new();
    let mut table: Option<&str> = None;
    for line in text.lines().map(str::trim) {
        let header = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = header.filter(|name| name.split('.').all(is_word)) {
            let known = schema.tables.contains(name) || schema.desk.contains(name);
            table = known.then_some(name);
            if !known && !FOREIGN.iter().any(|f| name == *f || name.starts_with(&format!("{f}."))) {
                out.push(unknown(line));
            }
        } else if let (Some(table), Some((key, _))) = (table, line.split_once(" = ")) {
            let key = key.trim_start_matches("# ");
            let name = format!("{table}.{key}");
            if is_word(key) && !schema.keys.contains(&name) && !schema.desk.contains(&name) {
                out.push(unknown(&name));
            }
        } else if !line.starts_with('#') {
            table = None;
        }
        let quoted = line.split("`[").skip(1).filter_map(|rest| rest.split_once("]`"));
        for (name, _) in quoted.filter(|(name, _)| name.split('.').all(is_word)) {
            let known = schema.tables.contains(name) || schema.desk.contains(name);
            if !known && !FOREIGN.contains(&name) {
                out.push(unknown(&format!("[{name}]")));
            }
        }
    }
    out
}

/// A key is named in full: "`device` in the configuration" leaves open which.
fn vague_keys(schema: &Schema, at: &str, text: &str) -> Vec<Unknown> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .windows(4)
        .filter(|w| w[1..3] == ["in", "the"] && w[3].starts_with("configuration"))
        .filter_map(|w| w[0].strip_prefix('`')?.strip_suffix('`').map(str::to_owned))
        .filter(|name| !schema.keys.contains(name) || schema.tables.contains(name))
        .map(|name| Unknown { at: at.to_owned(), name })
        .collect()
}

/// The words behind `watchpost` in one command: the program's own, or run by `sudo` or
/// `systemd-run`; not where the name is an option's value or a service.
fn words_of_command(command: &str) -> Option<Vec<&str>> {
    let command = command.split(" # ").next()?.split("  #").next()?;
    let words: Vec<&str> = command.split_whitespace().collect();
    let run = |at: &usize| match at.checked_sub(1).map(|before| words[before]) {
        None => true,
        Some(before) => {
            let by = ["sudo", "systemd-run"].contains(&words[0]);
            by && !(before.starts_with('-') && before.len() == 2)
        }
    };
    let at = (0..words.len()).filter(|at| words[*at] == "watchpost").find(run)?;
    Some(words[at + 1..].to_vec())
}

/// Commands in back quotes and fences that the command line does not have, or flags of them.
fn unknown_commands(root: &clap::Command, at: &str, text: &str) -> Vec<Unknown> {
    let mut out = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        // The first line of a key file, in the words of its format.
        let quoted = quoted
            .replace("watchpost secret key v1", "")
            .replace("watchpost secret key v2", "")
            .replace("\\\n", " ");
        for line in quoted.split(['\n', '|', ';', '(', ')', '&']).filter_map(words_of_command) {
            let unknown = || Unknown { at: at.to_owned(), name: line.join(" ") };
            let mut command = root;
            let mut named = true;
            for word in &line {
                let bare = word.trim_end_matches([',', '"', ')']);
                if let Some(flag) = bare.strip_prefix("--") {
                    let flag = flag.split('=').next().unwrap_or(flag);
                    let known = ["", "help", "version"].contains(&flag)
                        || command.get_arguments().any(|a| a.get_long() == Some(flag));
                    if !known {
                        out.push(unknown());
                    }
                    named = false;
                } else if named && is_word(&bare.replace('-', "_")) && command.has_subcommands() {
                    match command.find_subcommand(bare) {
                        Some(inner) => command = inner,
                        None => {
                            out.push(unknown());
                            break;
                        }
                    }
                } else {
                    named = false;
                }
            }
        }
    }
    out
}

fn counters() -> BTreeSet<String> {
    let counted = serde_json::to_value(SourceCounters::default()).expect("counts");
    let names = counted.as_object().expect("counts by name").keys();
    names
        .map(String::as_str)
        .chain(["overwritten", "reopened"])
        .map(|n| format!("source.{n}"))
        .collect()
}

fn none(unknown: Vec<Unknown>, what: &str) {
    let lines: Vec<_> = unknown.iter().map(|u| format!("{}: {}", u.at, u.name)).collect();
    assert!(unknown.is_empty(), "{what} that do not exist:\n{}", lines.join("\n"));
}

#[test]
fn every_configuration_key_that_is_named_exists() {
    let (schema, counters) = (Schema::read(), counters());
    let all = texts();
    let unknown = |(at, text): &(String, String)| unknown_keys(&schema, &counters, at, text);
    none(all.iter().flat_map(unknown).collect(), "keys");
    none(all.iter().flat_map(|(at, text)| vague_keys(&schema, at, text)).collect(), "keys");
}

#[test]
fn every_configuration_key_weakens_a_promise_or_is_said_to_weaken_none() {
    let schema = Schema::read();
    let weakening: BTreeSet<&str> = promises::weakening_keys().collect();
    let neutral = |key: &str| {
        NEUTRAL.iter().any(|n| if n.ends_with('.') { key.starts_with(n) } else { key == *n })
    };
    let leaves = schema.keys.iter().filter(|key| !schema.tables.contains(*key));
    for key in leaves.filter(|key| !key.starts_with("watchlist.position.")) {
        assert!(
            weakening.contains(key.as_str()) != neutral(key),
            "{key}: name it in src/config/promises.rs beside the promise that it can weaken, or here \
             among those that weaken none"
        );
    }
    for key in weakening.iter().chain(NEUTRAL).filter(|key| !key.ends_with('.')) {
        assert!(schema.keys.contains(*key), "there is no key {key}");
    }
}

#[test]
fn every_configuration_table_that_is_named_exists_with_its_keys() {
    let schema = Schema::read();
    none(
        texts().iter().flat_map(|(at, text)| unknown_tables(&schema, at, text)).collect(),
        "tables",
    );
}

#[test]
fn every_command_and_flag_that_is_named_exists() {
    let mut command = watchpost::cli::command();
    command.build();
    let unknown = |(at, text): &(String, String)| unknown_commands(&command, at, text);
    none(texts().iter().flat_map(unknown).collect(), "commands");
}

#[test]
fn names_that_do_not_exist_are_found_in_strings_and_comments() {
    let schema = Schema::read();
    let code = "// See watchlist.stat.\nlet q = '\"';\nfail(\"correct `device` in the \\\n    \
                configuration, or broker.host\", r#\"a \"source.pip\" b\"#);\n\n\
                #[cfg(test)]\nmod tests {\n // event.none\n}\n";
    let texts = texts_of_rust(code);
    let lines: Vec<usize> = texts.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 4], "{texts:?}");
    let keys = |text: &str| -> Vec<String> {
        let found = unknown_keys(&schema, &BTreeSet::new(), "", text).into_iter();
        found.chain(vague_keys(&schema, "", text)).map(|u| u.name).collect()
    };
    let found: Vec<_> = texts.iter().flat_map(|(_, text)| keys(text)).collect();
    assert_eq!(found, ["watchlist.stat", "broker.host", "device", "source.pip"]);
    let fine = "https://source.example/x device.key source.pipe.format state.watchlist.list()";
    assert!(keys(fine).is_empty(), "{:?}", keys(fine));

    let tables = |text: &str| -> Vec<String> {
        unknown_tables(&schema, "", text).into_iter().map(|u| u.name).collect()
    };
    assert_eq!(
        tables("see `[crop]`\n\n    [source.pipe]\n    witdh = 3\n"),
        ["[crop]", "source.pipe.witdh"]
    );
    assert!(tables("[source.pipe]\nwidth = 3\n\nother = 4\n[Service]\n").is_empty());

    let mut command = watchpost::cli::command();
    command.build();
    let commands = |text: &str| unknown_commands(&command, "", text).len();
    assert_eq!(
        commands("`watchpost watchlist sing`, `watchpost check --jsno`, `watchpost chekc`"),
        3
    );
    assert_eq!(
        commands("```sh\nsudo -u watchpost watchpost docter\n  watchpost run --x | tee\n```"),
        2
    );
    assert_eq!(commands("`sudo -u watchpost watchpost doctor`, `watchpost key show KEYFILE`"), 0);
    assert_eq!(
        commands("`install -o watchpost -g watchpost -m 700`, `systemctl stop watchpost`"),
        0
    );
}

#[test]
fn a_message_names_a_key_by_its_constant_which_compiles_only_where_the_key_is_listed() {
    let schema = Schema::read();
    let mut sources = Vec::new();
    let rust = |path: &Path| path.extension().is_some_and(|e| e == "rs") && !of_tests(path);
    files(&root().join("src"), &rust, &mut sources);
    let listed = root().join("src/setting.rs");
    let mut bare = Vec::new();
    for path in sources.iter().filter(|path| **path != listed) {
        let code = read(path);
        let comment = |line: &str| line.trim_start().starts_with("//");
        let code: Vec<&str> =
            code.lines().map(|line| if comment(line) { "" } else { line }).collect();
        for (line, text) in texts_of_rust(&code.join("\n")) {
            for name in dotted(&text).into_iter().filter(|name| schema.keys.contains(*name)) {
                bare.push(format!("{}:{line}: {name}", shown(path)));
            }
        }
    }
    assert!(bare.is_empty(), "write setting!(...) for each of these:\n{}", bare.join("\n"));
}
