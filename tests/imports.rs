//! Imports run one way. The map is the table in the documentation of `src/lib.rs`: its last column
//! says whom a room may know. This test reads it, and the paths in the code.
//!
//! What is read: every `crate::`, `super::` and `self::` path outside tests and comments. What is
//! not: paths that macros make, and names that a parent re-exports (they count as the parent).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Arrows up that are still there, as `room -> room`. Empty is the aim.
const KNOWN_ARROWS: &[&str] = &[];
/// Circles that are still there, as their level and modules; a smaller one is known too. Empty is
/// the aim.
const KNOWN_CIRCLES: &[&str] = &[];

/// A module's place: `["watchlist", "verify"]`.
type Place = Vec<String>;

/// The modules of the library without those of tests, and the text of each without comments.
fn modules() -> BTreeMap<Place, String> {
    let mut files = Vec::new();
    walk(Path::new(SRC), &mut files);
    let mut modules: BTreeMap<Place, String> = files
        .iter()
        .filter_map(|file| Some((place(file)?, code(&fs::read_to_string(file).ok()?))))
        .collect();
    let tests: BTreeSet<Place> = modules
        .iter()
        .flat_map(|(place, text)| {
            only_in_tests(text).map(|name| [place.as_slice(), &[name]].concat())
        })
        .collect();
    modules.retain(|place, _| !tests.iter().any(|t| place.starts_with(t)));
    modules.values_mut().for_each(|text| *text = without_inline_tests(text));
    modules
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// `None` for the binary's own file.
fn place(file: &Path) -> Option<Place> {
    let relative = file.strip_prefix(SRC).expect("below src").with_extension("");
    let mut place: Place =
        relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match place.last().map(String::as_str) {
        Some("main") => return None,
        Some("mod" | "lib") => drop(place.pop()),
        _ => {}
    }
    Some(place)
}

/// The text without comments.
fn code(text: &str) -> String {
    let comment = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(comment).map(|line| format!("{line}\n")).collect()
}

/// Names of modules in files of their own that only tests have.
fn only_in_tests(text: &str) -> impl Iterator<Item = String> {
    text.split("#[cfg(test)]").skip(1).filter_map(|after| {
        let declaration = after.trim_start().split(['\n', '{']).next()?;
        let name = declaration.trim().strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(name.to_owned())
    })
}

/// The text without `#[cfg(test)]` items: each ends at the first line that closes at its depth.
fn without_inline_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        let closes = |l: &str| {
            l.len() - l.trim_start().len() == depth
                && (l.trim_end().ends_with(';') || l.trim_start().starts_with('}'))
        };
        lines.by_ref().find(|l| closes(l));
    }
    kept
}

/// Every path in `text` that starts at the crate, above, or here; groups in braces are spread out.
fn paths(place: &[String], text: &str) -> Vec<Place> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("::") {
        let before = &text[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        let root = &before[start..];
        // In the middle of a path.
        if before[..start].ends_with("::") || before[..start].ends_with('$') {
            continue;
        }
        let from = match root {
            "crate" => Vec::new(),
            "self" => place.to_vec(),
            "super" => place[..place.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        spread(&text[at + 2..], from, &mut found);
    }
    found
}

/// Reads one tree of a path from the start of `rest`; returns what follows it.
fn spread<'t>(rest: &'t str, mut from: Place, found: &mut Vec<Place>) -> &'t str {
    let mut rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let before = rest.len();
            rest = spread(rest, from.clone(), found);
            if rest.len() == before {
                return rest;
            }
        }
    }
    let end =
        rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(rest.len());
    let (name, mut after) = rest.split_at(end);
    match name {
        "super" => drop(from.pop()),
        "self" | "" => {}
        name => from.push(name.to_owned()),
    }
    if let Some(renamed) = after.strip_prefix(" as ") {
        let end = renamed.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(renamed.len());
        after = &renamed[end..];
    }
    match after.strip_prefix("::") {
        Some(deeper) => spread(deeper, from, found),
        None => {
            found.push(from);
            after
        }
    }
}

/// Who imports what, as modules: the longest part of each path that is a module.
fn imports(modules: &BTreeMap<Place, String>) -> Vec<(Place, Place)> {
    let mut found = Vec::new();
    for (place, text) in modules {
        for mut path in paths(place, text) {
            while !path.is_empty() && !modules.contains_key(&path) {
                path.pop();
            }
            found.push((place.clone(), path));
        }
    }
    found
}

/// Whom each room may know, from the table in `src/lib.rs`; the first row is the vocabulary, which
/// everybody knows.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(format!("{SRC}/lib.rs")).expect("the library's file");
    let table = text.split("//! | module | one job | knows |\n").nth(1).expect("the map's table");
    let mut map = BTreeMap::new();
    let mut above = BTreeSet::new();
    let mut vocabulary = BTreeSet::new();
    let mut everybody = BTreeSet::new();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("//! |"));
    for row in rows {
        let cells: Vec<&str> = row.trim_start_matches("//! |").split('|').collect();
        let quoted = |cell: &str| -> BTreeSet<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let (rooms, knows) = (quoted(cells[0]), cells[2]);
        let mut known = quoted(knows);
        known.extend(vocabulary.iter().cloned());
        if knows.contains("everything above") {
            known.extend(above.iter().cloned());
        }
        if vocabulary.is_empty() {
            vocabulary.clone_from(&rooms);
            known.extend(rooms.iter().cloned());
        }
        above.extend(rooms.iter().cloned());
        for room in rooms {
            if knows.trim() == "everything" {
                everybody.insert(room.clone());
            }
            map.insert(room, known.clone());
        }
    }
    for room in everybody {
        map.insert(room, above.clone());
    }
    map
}

#[test]
fn each_room_is_on_the_map() {
    let map = map();
    let rooms: BTreeSet<String> =
        modules().into_keys().filter_map(|place| place.into_iter().next()).collect();
    let on_it: BTreeSet<String> = map.keys().cloned().collect();
    assert_eq!(rooms, on_it, "the table in src/lib.rs names each top-level module once");
}

#[test]
fn no_room_imports_what_the_map_does_not_allow() {
    let map = map();
    let mut up = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in imports(&modules()) {
        let (Some(room), Some(other)) = (from.first(), to.first()) else { continue };
        let arrow = format!("{room} -> {other}");
        let allowed = map.get(room).is_some_and(|known| known.contains(other));
        if room != other && !allowed && !KNOWN_ARROWS.contains(&arrow.as_str()) {
            up.entry(arrow).or_default().insert(from.join("::"));
        }
    }
    assert!(up.is_empty(), "imports that the map in src/lib.rs does not allow, and where: {up:#?}");
}

/// At each level of the tree of modules, between neighbours with all that is below them: `a` and
/// `b` may not need each other.
#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut levels = BTreeMap::<Place, BTreeMap<String, BTreeSet<String>>>::new();
    for (from, to) in imports(&modules()) {
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        // An import of something above or below is no arrow between neighbours.
        if common < from.len() && common < to.len() {
            let level = levels.entry(from[..common].to_vec()).or_default();
            level.entry(from[common].clone()).or_default().insert(to[common].clone());
        }
    }
    let mut circles = BTreeSet::new();
    for (level, arrows) in &levels {
        for start in arrows.keys() {
            let members: Vec<&str> = arrows
                .keys()
                .filter(|other| reaches(arrows, start, other) && reaches(arrows, other, start))
                .map(String::as_str)
                .collect();
            if members.len() > 1 {
                circles.insert(format!("{}: {}", level.join("::"), members.join(", ")));
            }
        }
    }
    circles.retain(|circle| !KNOWN_CIRCLES.iter().any(|known| covers(known, circle)));
    assert!(circles.is_empty(), "modules that need each other: {circles:#?}");
}

/// Whether `circle` is at the level of `known` and has none but its modules.
fn covers(known: &str, circle: &str) -> bool {
    let parts = |text: &str| -> (String, BTreeSet<String>) {
        let (level, members) = text.split_once(": ").unwrap_or_default();
        (level.to_owned(), members.split(", ").map(str::to_owned).collect())
    };
    let ((level, members), (at, found)) = (parts(known), parts(circle));
    level == at && found.is_subset(&members)
}

fn reaches(arrows: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for next in arrows.get(at).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    from == to
}

#[test]
fn groups_renames_and_paths_in_code_are_all_read() {
    let place: Place = ["a", "b"].map(str::to_owned).to_vec();
    let text = "use crate::x::{y::Z as Q, self, w::{V}};\nuse super::c;\nlet n = crate::k::f();\n";
    let read: Vec<String> = paths(&place, text).iter().map(|p| p.join("::")).collect();
    assert_eq!(read, ["x::y::Z", "x", "x::w::V", "a::c", "k::f"]);
    let text = "#[cfg(test)]\nmod tests {\n    use crate::t;\n}\nuse crate::kept;\n";
    assert_eq!(without_inline_tests(text), "use crate::kept;\n");
    let declared: Vec<String> = only_in_tests("#[cfg(test)]\npub mod fixture;\n").collect();
    assert_eq!(declared, ["fixture"]);
}
