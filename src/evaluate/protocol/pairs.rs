//! The pairs files of LFW: which two photographs are of one person and which are not.
//!
//! The first line says how many there are: `F N` for F folds of N genuine and then N impostor pairs
//! each (`pairs.txt`), or `N` for N genuine and then N impostor pairs without folds
//! (`pairsDevTest.txt`). Then one pair a line: `name i j` for photographs i and j of one person,
//! `name i other j` for two people. Fields are separated by tabs, or by white space where the line
//! has no tab. Photograph i of `name` is `name/name_0001.jpg` with i in four digits (`.jpeg`,
//! `.png` and capitals too).

use std::path::{Path, PathBuf};

use crate::evaluate::left_out::LeftOut;

use super::folder::EXTENSIONS;

/// One photograph as a pairs file names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedPhotograph {
    /// The person's folder.
    pub name: String,
    /// From 1.
    pub number: u32,
}

impl NamedPhotograph {
    /// The path below the root without extension.
    fn stem(&self) -> String {
        format!("{0}/{0}_{1:04}", self.name, self.number)
    }

    /// The file, if there is one with an extension of a photograph.
    pub fn find(&self, root: &Path) -> Option<PathBuf> {
        let either = EXTENSIONS.iter().flat_map(|e| [(*e).to_owned(), e.to_uppercase()]);
        either.map(|e| root.join(format!("{}.{e}", self.stem()))).find(|p| p.is_file())
    }
}

impl std::fmt::Display for NamedPhotograph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.stem())
    }
}

/// One comparison to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Line of the file, from 1.
    pub line: usize,
    /// Fold, from 0.
    pub fold: usize,
    /// One.
    pub a: NamedPhotograph,
    /// The other.
    pub b: NamedPhotograph,
    /// Both are of one person.
    pub genuine: bool,
}

/// A pairs file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Folds that the first line announces; `None` in the form without folds.
    pub folds: Option<usize>,
    /// The pairs that can be understood, in the order of the file.
    pub pairs: Vec<Pair>,
}

/// Why a file is no pairs file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PairsError {
    /// No line with something on it.
    #[error(
        "the pairs file is empty: its first line must say how many pairs follow, as in `10 300` \
         or `500`"
    )]
    Empty,
    /// The first line is neither of the two forms.
    #[error(
        "the first line of the pairs file is `{0}`: it must be `FOLDS PAIRS` (as in `10 300`) or \
         `PAIRS` (as in `500`)"
    )]
    Header(String),
}

/// Most folds and most pairs of a kind in one; beyond lies a slip of the pen.
const MAX_ANNOUNCED: usize = 10_000_000;

/// Understands a pairs file. Lines that are none are left out, as is what the first line announces
/// and the file lacks. A pair's fold follows from its place among the lines, so that a bad line
/// does not shift those after it.
///
/// # Errors
/// [`PairsError`], where there is no usable first line.
pub fn parse(text: &str, left_out: &mut LeftOut) -> Result<Pairs, PairsError> {
    let mut lines =
        text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty());
    let (_, header) = lines.next().ok_or(PairsError::Empty)?;
    // Text tools of one system put this mark before the first line.
    let header = header.trim_start_matches('\u{feff}');
    let announced: Vec<usize> = header
        .split_whitespace()
        .map(|n| n.parse().ok().filter(|n| (1..=MAX_ANNOUNCED).contains(n)))
        .collect::<Option<_>>()
        .ok_or_else(|| PairsError::Header(header.chars().take(80).collect()))?;
    let (folds, per_kind) = match announced[..] {
        [per_kind] => (None, per_kind),
        [folds, per_kind] => (Some(folds), per_kind),
        _ => return Err(PairsError::Header(header.chars().take(80).collect())),
    };
    let expected = folds.unwrap_or(1).saturating_mul(2 * per_kind);
    let mut pairs = Vec::new();
    let mut found = 0usize;
    for (line, text) in lines {
        let fold = (found / (2 * per_kind)).min(folds.unwrap_or(1) - 1);
        found += 1;
        match pair(text) {
            Some((a, b, genuine)) => pairs.push(Pair { line, fold, a, b, genuine }),
            None => left_out.add(
                format!("line {line}"),
                "line that is no pair",
                "expected `name i j` or `name i other j`",
            ),
        }
    }
    if found != expected {
        left_out.add(
            "pairs file",
            "announced number of pairs differs",
            format!(
                "the first line announces {expected} pairs, {found} lines follow; folds go by place"
            ),
        );
    }
    Ok(Pairs { folds, pairs })
}

fn pair(text: &str) -> Option<(NamedPhotograph, NamedPhotograph, bool)> {
    let fields: Vec<&str> = if text.contains('\t') {
        text.split('\t').map(str::trim).collect()
    } else {
        text.split_whitespace().collect()
    };
    let named = |name: &str, number: &str| {
        // A name is one folder below the root and nothing else.
        let inside =
            !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
        Some(NamedPhotograph {
            name: inside.then(|| name.to_owned())?,
            number: number.parse().ok()?,
        })
    };
    match fields[..] {
        [name, i, j] => Some((named(name, i)?, named(name, j)?, true)),
        [name, i, other, j] => Some((named(name, i)?, named(other, j)?, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_understood() {
        let mut left_out = LeftOut::default();
        let text = "2\t1\nA_B\t1\t2\nA_B\t1\tC d\t12\r\n\nX\t3\t4\nX\t1\tY\t1\n";
        let p = parse(text, &mut left_out).unwrap();
        assert_eq!((p.folds, p.pairs.len()), (Some(2), 4));
        assert_eq!(
            p.pairs.iter().map(|p| (p.fold, p.genuine, p.line)).collect::<Vec<_>>(),
            [(0, true, 2), (0, false, 3), (1, true, 5), (1, false, 6)]
        );
        assert_eq!(p.pairs[1].b.to_string(), "C d/C d_0012");
        let dev = parse("\u{feff}1\nA 1 2\nA 1 B 1", &mut left_out).unwrap();
        assert_eq!((dev.folds, dev.pairs.len()), (None, 2));
        assert!(left_out.is_empty());
    }

    #[test]
    fn bad_lines_are_listed_and_do_not_shift_the_folds_of_those_after_them() {
        let mut left_out = LeftOut::default();
        let p = parse("2 1\nA 1 2\n???\n../../etc 1 2\nA 1 B 1\nextra 1 2", &mut left_out).unwrap();
        assert_eq!(p.pairs.iter().map(|p| p.fold).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(left_out.by_reason()["line that is no pair"], 2);
        assert_eq!(left_out.by_reason()["announced number of pairs differs"], 1);
    }

    #[test]
    fn a_file_without_a_usable_first_line_is_refused() {
        let mut l = LeftOut::default();
        assert_eq!(parse(" \n\n", &mut l), Err(PairsError::Empty));
        for header in ["A 1 2 3", "0 300", "10 0", "99999999999999999999", "1 2 3", "-1"] {
            assert_eq!(parse(header, &mut l), Err(PairsError::Header(header.into())));
        }
    }

    #[test]
    fn a_photograph_is_found_under_any_of_its_extensions() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("A")).unwrap();
        std::fs::write(dir.path().join("A/A_0002.png"), b"").unwrap();
        let named = |number| NamedPhotograph { name: "A".into(), number };
        assert_eq!(named(2).find(dir.path()), Some(dir.path().join("A/A_0002.png")));
        std::fs::write(dir.path().join("A/A_0003.JPEG"), b"").unwrap();
        assert_eq!(named(3).find(dir.path()), Some(dir.path().join("A/A_0003.JPEG")));
        assert_eq!(named(1).find(dir.path()), None);
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "[0-9 \t\na-c/.]{0,200}") {
            let mut left_out = LeftOut::default();
            if let Ok(p) = parse(&text, &mut left_out) {
                let folds = p.folds.unwrap_or(1);
                prop_assert!(p.pairs.iter().all(|p| p.fold < folds && !p.a.name.contains('/')));
            }
        }
    }
}
