//! Many people for one list: a CSV file, or a folder with one folder a person.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{CliError, date};
use crate::watchlist::Reference;
use crate::watchlist::author::NewEntry;

/// Most bytes of a CSV file.
const MAX_CSV: u64 = 64 << 20;
const COLUMNS: [&str; 5] = ["reference", "legal_basis", "purpose", "expires", "photographs"];

/// Somebody who is to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPerson {
    pub reference: Reference,
    pub legal_basis: Option<String>,
    pub purpose: Option<String>,
    pub expires: Option<OffsetDateTime>,
    pub photographs: Vec<PathBuf>,
}

impl NewPerson {
    /// The entry; `end` is that of the list.
    pub fn entry(&self, end: OffsetDateTime) -> Result<NewEntry, CliError> {
        let missing = |what: &str| format!("{} is new, so it needs {what}", self.reference);
        Ok(NewEntry {
            reference: self.reference.clone(),
            legal_basis: self.legal_basis.clone().ok_or_else(|| missing("--legal-basis"))?,
            purpose: self.purpose.clone().ok_or_else(|| missing("--purpose"))?,
            expires: self.expires.unwrap_or(end),
        })
    }
}

/// What holds for people of whom nothing else is said.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    pub legal_basis: Option<String>,
    pub purpose: Option<String>,
    pub expires: Option<OffsetDateTime>,
}

impl Defaults {
    /// Somebody with these photographs.
    pub fn person(&self, reference: Reference, photographs: Vec<PathBuf>) -> NewPerson {
        let Self { legal_basis, purpose, expires } = self.clone();
        NewPerson { reference, legal_basis, purpose, expires, photographs }
    }
}

/// Reads the people in the CSV file or folder `from`.
pub fn read(from: &Path, defaults: &Defaults) -> Result<Vec<NewPerson>, CliError> {
    let named = |e: CliError| -> CliError { format!("{}: {e}", from.display()).into() };
    let people = if from.is_dir() { folders(from, defaults) } else { csv_file(from, defaults) }
        .map_err(named)?;
    let mut seen = HashSet::new();
    match people.iter().find(|p| !seen.insert(&p.reference)) {
        Some(twice) => Err(named(
            format!(
                "{} appears twice; put all of a person's photographs together",
                twice.reference
            )
            .into(),
        )),
        None => Ok(people),
    }
}

fn folders(folder: &Path, defaults: &Defaults) -> Result<Vec<NewPerson>, CliError> {
    let mut people = Vec::new();
    for entry in sorted(folder)? {
        if !entry.is_dir() {
            continue;
        }
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        people.push(defaults.person(name.parse()?, pictures(&entry)?));
    }
    if people.is_empty() {
        return Err("there is no folder in it; make one a person, named by the reference".into());
    }
    Ok(people)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut entries =
        std::fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let is_picture = |p: &PathBuf| {
        let extension = p.extension().unwrap_or_default().to_ascii_lowercase();
        ["jpg", "jpeg", "png"].iter().any(|e| extension == *e)
    };
    let found: Vec<PathBuf> = sorted(folder)?.into_iter().filter(is_picture).collect();
    if found.is_empty() {
        Err(format!("{} has no JPEG or PNG", folder.display()).into())
    } else {
        Ok(found)
    }
}

fn csv_file(file: &Path, defaults: &Defaults) -> Result<Vec<NewPerson>, CliError> {
    if std::fs::metadata(file)?.len() > MAX_CSV {
        return Err(format!("more than {MAX_CSV} bytes; split it").into());
    }
    let text = std::fs::read_to_string(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    parse(&text, folder, defaults)
}

fn parse(text: &str, folder: &Path, defaults: &Defaults) -> Result<Vec<NewPerson>, CliError> {
    let mut rows = rows(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
    let (_, header) = rows.next().ok_or("it is empty; begin with the columns' names")?;
    if let Some(unknown) = header.iter().find(|h| !COLUMNS.contains(&h.trim())) {
        return Err(
            format!("unknown column {unknown:?}; the columns are {}", COLUMNS.join(", ")).into()
        );
    }
    let at = |name: &str| header.iter().position(|h| h.trim() == name);
    let (Some(_), Some(_)) = (at("reference"), at("photographs")) else {
        return Err("the columns reference and photographs are needed".into());
    };
    let mut people = Vec::new();
    for (line, row) in rows {
        if row.len() != header.len() {
            return Err(format!(
                "line {line}: {} fields under {} columns",
                row.len(),
                header.len()
            )
            .into());
        }
        let field = |name: &str| at(name).map(|i| row[i].trim()).filter(|f| !f.is_empty());
        let in_line = |e: String| format!("line {line}: {e}");
        let reference: Reference =
            field("reference").unwrap_or_default().parse().map_err(|e| in_line(format!("{e}")))?;
        let names = field("photographs").ok_or_else(|| in_line("no photographs".into()))?;
        let mut photographs = Vec::new();
        for name in names.split(';').map(str::trim).filter(|n| !n.is_empty()) {
            let path = folder.join(name);
            if path.is_dir() {
                photographs.extend(pictures(&path)?)
            } else {
                photographs.push(path)
            }
        }
        if photographs.is_empty() {
            return Err(in_line("no photographs".into()).into());
        }
        let expires = field("expires").map(date).transpose().map_err(in_line)?;
        let mut person = defaults.person(reference, photographs);
        person.legal_basis = field("legal_basis").map(Into::into).or(person.legal_basis);
        person.purpose = field("purpose").map(Into::into).or(person.purpose);
        person.expires = expires.or(person.expires);
        people.push(person);
    }
    Ok(people)
}

/// The records of a CSV text (RFC 4180) with the number of the line on which each begins; empty
/// lines are left out.
fn rows(text: &str) -> Result<Vec<(usize, Vec<String>)>, CliError> {
    let mut rows = Vec::new();
    let (mut row, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut was_quoted) = (false, false);
    let (mut line, mut begun) = (1, 1);
    let mut chars = text.chars().peekable();
    loop {
        let c = chars.next();
        match c {
            Some('"') if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            Some('"') if quoted => quoted = false,
            Some(other) if quoted => {
                line += usize::from(other == '\n');
                field.push(other);
            }
            None if quoted => {
                return Err(format!("line {begun}: a quotation mark is not closed").into());
            }
            Some('"') if field.is_empty() && !was_quoted => (quoted, was_quoted) = (true, true),
            Some('"') => {
                return Err(format!(
                    "line {line}: a quotation mark inside a field; double it and quote the field"
                )
                .into());
            }
            Some(',') => {
                row.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            Some('\r') if chars.peek() == Some(&'\n') => {}
            Some('\n') | None => {
                if !(row.is_empty() && field.is_empty() && !was_quoted) {
                    row.push(std::mem::take(&mut field));
                    rows.push((begun, std::mem::take(&mut row)));
                }
                was_quoted = false;
                if c.is_none() {
                    return Ok(rows);
                }
                line += 1;
                begun = line;
            }
            Some(other) => field.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn people(text: &str) -> Result<Vec<NewPerson>, String> {
        let defaults = Defaults { purpose: Some("as ordered".into()), ..Defaults::default() };
        parse(text, Path::new("/photos"), &defaults).map_err(|e| e.to_string())
    }

    #[test]
    fn quoted_fields_defaults_and_several_photographs_are_understood() {
        let text = "reference,legal_basis,purpose,expires,photographs\r\ncase-1,\"order \
            1, \"\"urgent\"\"\",missing,2099-01-01T00:00:00Z,a.jpg; b.png\r\n\r\ncase-2,order \
            2,,,c.jpg";
        let all = people(text).unwrap();
        assert_eq!(all[0].legal_basis.as_deref(), Some("order 1, \"urgent\""));
        assert_eq!(
            all[0].photographs,
            [PathBuf::from("/photos/a.jpg"), PathBuf::from("/photos/b.png")]
        );
        assert_eq!((all[0].expires.is_some(), all[1].expires), (true, None));
        assert_eq!(
            (all[0].purpose.as_deref(), all[1].purpose.as_deref()),
            (Some("missing"), Some("as ordered"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str, what: &str| {
            let refusal = people(text).unwrap_err();
            assert!(refusal.contains(what), "{refusal}");
        };
        wrong("", "it is empty");
        wrong("reference,name,photographs\n", "unknown column \"name\"");
        wrong("reference,purpose\n", "are needed");
        wrong("reference,photographs\ncase-1,a.jpg\ncase 2,b.jpg\n", "line 3");
        wrong("reference,photographs\ncase-1,a.jpg,b.jpg\n", "line 2: 3 fields");
        wrong("reference,photographs\ncase-1,\"a.jpg\n", "line 2: a quotation mark is not closed");
        wrong("reference,photographs\ncase-1,\n", "line 2: no photographs");
        wrong("reference,photographs\ncase-1,;\n", "line 2: no photographs");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_what_is_quoted_comes_back(
            text in "[ab\",;\r\n]{0,60}",
            fields in proptest::collection::vec("[a\",;\r\n]{0,8}", 1..5),
        ) {
            let _ = people(&text);
            let line: Vec<String> =
                fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
            prop_assert_eq!(&rows(&line.join(",")).unwrap()[0].1, &fields);
        }
    }
}
