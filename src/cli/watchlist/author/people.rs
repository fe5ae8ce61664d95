//! Many people for one list: a CSV file, or a folder with one folder a person.
//!
//! * Whoever cannot be used is left out with the reason and the remedy; everybody else is added.
//!   Only a table whose columns or quotation marks make no sense is refused as a whole.
//! * Folders that NAS and desktop systems keep for themselves are nobody.
//! * A folder whose name is not plainly opaque gets a drawn reference; see [`References`].

mod references;
mod table;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

pub use self::references::References;
use self::table::rows;
use super::{CliError, date};
use crate::files;
use crate::watchlist::Reference;
use crate::watchlist::author::NewEntry;

/// Most bytes of a CSV file.
const MAX_CSV: u64 = 64 << 20;
const COLUMNS: [&str; 5] = ["reference", "legal_basis", "purpose", "expires", "photographs"];

/// Extensions of pictures. Those that are not read are named as what they are.
const PICTURES: [&str; 18] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "heic", "heif", "webp", "avif", "gif", "tif", "tiff",
    "bmp", "jp2", "jxl", "dng", "cr2", "nef",
];

/// Somebody who is to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPerson {
    pub reference: Reference,
    pub legal_basis: Option<String>,
    pub purpose: Option<String>,
    pub expires: Option<OffsetDateTime>,
    pub photographs: Vec<PathBuf>,
}

/// Somebody who was not added, or something that is nobody.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct NotAdded {
    /// As it was named: a reference, a folder, a line.
    pub reference: String,
    /// With the remedy.
    pub reason: String,
    /// A folder of some system's own: nobody is missing.
    #[serde(skip)]
    pub is_nobody: bool,
}

impl NotAdded {
    pub fn new(reference: impl ToString, reason: impl ToString) -> Self {
        Self { reference: reference.to_string(), reason: reason.to_string(), is_nobody: false }
    }
}

/// Who is in a file or folder.
#[derive(Debug, Default)]
pub struct People {
    pub people: Vec<NewPerson>,
    pub not_added: Vec<NotAdded>,
    /// What a user should know about how the file was read.
    pub notes: Vec<String>,
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
pub fn read(
    from: &Path,
    defaults: &Defaults,
    references: &mut References,
) -> Result<People, CliError> {
    let named = |e: CliError| -> CliError { format!("{}: {e}", from.display()).into() };
    let mut found =
        if from.is_dir() { folders(from, defaults, references) } else { csv_file(from, defaults) }
            .map_err(named)?;
    let mut seen = HashSet::new();
    let not_added = &mut found.not_added;
    found.people.retain(|person| {
        let first = seen.insert(person.reference.clone());
        if !first {
            let reason = "it appears twice; put all photographs of a person together";
            not_added.push(NotAdded::new(&person.reference, reason));
        }
        first
    });
    Ok(found)
}

fn folders(
    folder: &Path,
    defaults: &Defaults,
    references: &mut References,
) -> Result<People, CliError> {
    let mut found = People::default();
    for entry in sorted(folder)? {
        if !entry.is_dir() {
            continue;
        }
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_a_systems_own(&name) {
            let reason = "a folder that a system keeps for itself, and nobody";
            let mut nobody = NotAdded::new(&name, reason);
            nobody.is_nobody = true;
            found.not_added.push(nobody);
            continue;
        }
        let person = references
            .of_folder(&name)
            .and_then(|reference| Ok(defaults.person(reference, pictures(&entry)?)));
        match person {
            Ok(person) => found.people.push(person),
            Err(reason) => found.not_added.push(NotAdded::new(&name, reason)),
        }
    }
    if found.people.is_empty() && found.not_added.iter().all(|n| n.is_nobody) {
        return Err("there is no folder in it; make one a person, named by the reference".into());
    }
    Ok(found)
}

/// Folders of NAS and desktop systems: thumbnails, resource forks, waste.
fn is_a_systems_own(name: &str) -> bool {
    name.starts_with(['.', '@', '#', '$'])
        || ["__MACOSX", "System Volume Information", "lost+found"].contains(&name)
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let unreadable = |e: std::io::Error| {
        format!("{} cannot be read: {e}; give yourself read access to it", folder.display())
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut entries =
        entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>().map_err(unreadable)?;
    entries.sort();
    Ok(entries)
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let is_picture = |p: &PathBuf| {
        let extension = p.extension().unwrap_or_default().to_ascii_lowercase();
        // A Mac's `._photo.jpg` is no picture.
        let hidden = p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        !hidden && PICTURES.iter().any(|e| extension == *e)
    };
    let found: Vec<PathBuf> = sorted(folder)?.into_iter().filter(is_picture).collect();
    if found.is_empty() {
        Err(format!("{} has no JPEG or PNG; put photographs there", folder.display()).into())
    } else {
        Ok(found)
    }
}

fn csv_file(file: &Path, defaults: &Defaults) -> Result<People, CliError> {
    let bytes = files::read_bytes(file, MAX_CSV)?;
    let (text, guessed) = files::text_or_windows_1252(&bytes)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut found = parse(&text, folder, defaults)?;
    if guessed {
        found.notes.push(format!(
            "{} is not UTF-8 and was read as Windows-1252 (Western European): check the legal \
             bases and purposes with `watchpost watchlist show`",
            file.display()
        ));
    }
    Ok(found)
}

fn parse(text: &str, folder: &Path, defaults: &Defaults) -> Result<People, CliError> {
    let mut rows = rows(text)?.into_iter();
    let (_, header) = rows.next().ok_or("it is empty; begin with the columns' names")?;
    let header: Vec<String> = header.iter().map(|h| column(h)).collect();
    for (i, name) in header.iter().enumerate() {
        // What a spreadsheet leaves of a column that was emptied.
        if name.is_empty() {
            continue;
        }
        if !COLUMNS.contains(&name.as_str()) {
            let columns = COLUMNS.join(", ");
            return Err(format!("unknown column {name:?}; the columns are {columns}").into());
        }
        if header[..i].contains(name) {
            return Err(format!("the column {name} is there twice; remove one of them").into());
        }
    }
    let at = |name: &str| header.iter().position(|h| h == name);
    let (Some(_), Some(_)) = (at("reference"), at("photographs")) else {
        return Err("the columns reference and photographs are needed".into());
    };
    let mut found = People::default();
    for (line, mut row) in rows {
        // Spreadsheets write rows that were emptied, leave empty fields out at the end, and add
        // some.
        if row.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        while row.len() > header.len() && row.last().is_some_and(|field| field.trim().is_empty()) {
            row.pop();
        }
        let needed = at("photographs").max(at("reference")).unwrap_or_default();
        if row.len() > needed {
            row.resize(row.len().max(header.len()), String::new());
        }
        let reference = at("reference").and_then(|i| row.get(i)).map(|r| r.trim()).unwrap_or("");
        let unnamed =
            |(name, field): (&String, &String)| name.is_empty() && !field.trim().is_empty();
        let person = if header.iter().zip(&row).any(unnamed) {
            Err("a field under a column without a name; give it one".into())
        } else if row.len() == header.len() {
            let field = |name: &str| at(name).map(|i| row[i].trim()).filter(|f| !f.is_empty());
            person(field, folder, defaults)
        } else {
            Err(format!("{} fields under {} columns", row.len(), header.len()).into())
        };
        match person {
            Ok(person) => found.people.push(person),
            Err(e) => {
                found.not_added.push(NotAdded::new(reference, format!("line {line}: {e}")));
            }
        }
    }
    if found.people.is_empty() && found.not_added.is_empty() {
        return Err("there is nobody in it but the columns' names; write one row a person".into());
    }
    Ok(found)
}

/// The name of a column, however a spreadsheet or its user spelt it: `Legal basis`, `PURPOSE `.
fn column(heading: &str) -> String {
    let words: Vec<&str> =
        heading.split(|c: char| c.is_whitespace() || c == '_' || c == '-').collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join("_").to_lowercase()
}

/// The person of one row.
fn person<'a>(
    field: impl Fn(&str) -> Option<&'a str>,
    folder: &Path,
    defaults: &Defaults,
) -> Result<NewPerson, CliError> {
    let reference: Reference = field("reference").unwrap_or_default().parse()?;
    let names = field("photographs").unwrap_or_default();
    let mut photographs = Vec::new();
    for name in names.split(';').map(str::trim).filter(|n| !n.is_empty()) {
        let path = folder.join(name);
        if path.is_dir() { photographs.extend(pictures(&path)?) } else { photographs.push(path) }
    }
    if photographs.is_empty() {
        return Err("no photographs".into());
    }
    let mut person = defaults.person(reference, photographs);
    person.legal_basis = field("legal_basis").map(Into::into).or(person.legal_basis);
    person.purpose = field("purpose").map(Into::into).or(person.purpose);
    person.expires = field("expires").map(date).transpose()?.or(person.expires);
    Ok(person)
}

#[cfg(test)]
mod tests;
