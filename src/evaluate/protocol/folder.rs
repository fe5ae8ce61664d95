//! A folder a person, photographs inside: the layout of LFW and of most face sets.
//!
//! People and photographs are ordered by the bytes of their names, so that a draw depends on names
//! alone. Only JPEG and PNG by extension (`.jpg`, `.jpeg`, `.png`, any case); one level deep;
//! everything else is left out under a reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::evaluate::left_out::LeftOut;

/// Extensions of photographs, in the order in which they are tried.
pub const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Somebody, and where their photographs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Name of the folder.
    pub name: String,
    /// Their photographs, at least one.
    pub photographs: Vec<PathBuf>,
}

/// Reads the layout under `root`.
///
/// # Errors
/// Where `root` itself cannot be listed. A person's folder that cannot be is left out.
pub fn read(root: &Path, left_out: &mut LeftOut) -> io::Result<Vec<Person>> {
    let mut people = Vec::new();
    for path in sorted(root)? {
        if !path.is_dir() {
            left_out.add(shown(root, &path), "not inside a person's folder", "");
            continue;
        }
        let inside = match sorted(&path) {
            Ok(inside) => inside,
            Err(e) => {
                left_out.add(shown(root, &path), "unreadable folder", e.to_string());
                continue;
            }
        };
        let mut photographs = Vec::new();
        for file in inside {
            if file.is_dir() {
                left_out.add(shown(root, &file), "folder inside a person's folder", "");
            } else if is_photograph(&file) {
                photographs.push(file);
            } else {
                left_out.add(shown(root, &file), "neither JPEG nor PNG by its name", "");
            }
        }
        if photographs.is_empty() {
            left_out.add(shown(root, &path), "folder without photographs", "");
        } else {
            people.push(Person { name: shown(root, &path), photographs });
        }
    }
    Ok(people)
}

/// `path` below `root`, for people to read.
pub fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn is_photograph(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension))
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_come_in_the_order_of_their_names_and_strays_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |p: &str| {
            let p = dir.path().join(p);
            fs::create_dir_all(p.parent().unwrap()).unwrap();
            fs::write(p, b"").unwrap();
        };
        for p in [
            "b/2.PNG",
            "b/1.jpg",
            "a/x.jpeg",
            "a/notes.txt",
            "a/deep/1.jpg",
            "stray.jpg",
            "Z/1.jpg",
        ] {
            touch(p);
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        let mut left_out = LeftOut::default();
        let people = read(dir.path(), &mut left_out).unwrap();
        assert_eq!(people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Z", "a", "b"]);
        assert_eq!(people[2].photographs, [dir.path().join("b/1.jpg"), dir.path().join("b/2.PNG")]);
        let listed: Vec<(&str, &str)> =
            left_out.omissions().iter().map(|o| (o.what.as_str(), o.reason)).collect();
        assert_eq!(
            listed,
            [
                ("a/deep", "folder inside a person's folder"),
                ("a/notes.txt", "neither JPEG nor PNG by its name"),
                ("empty", "folder without photographs"),
                ("stray.jpg", "not inside a person's folder"),
            ]
        );
        assert!(read(&dir.path().join("missing"), &mut left_out).is_err());
    }
}
