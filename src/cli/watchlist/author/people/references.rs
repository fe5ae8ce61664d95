//! References of folders that may be called by people's names.
//!
//! A reference is published in candidates, so it must not be a name. A folder whose name is not
//! plainly opaque gets a reference drawn at random. Which is whose stays in a file beside the
//! draft, which only its owner may read; the same folder gets the same reference again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::CliError;
use super::table::rows;
use crate::files;
use crate::watchlist::Reference;
use crate::watchlist::opaque::{IdentifierOf, is_plainly_opaque};

/// Most bytes of the file.
const MAX_FILE: u64 = 16 << 20;
const HEADER: &str = "reference,folder";

/// Which reference is of which folder.
#[derive(Debug, Default)]
pub struct References {
    file: PathBuf,
    known: Vec<(Reference, String)>,
    /// Some were drawn and are not written yet.
    drawn: bool,
}

impl References {
    /// Those that were drawn for the draft at `draft`, if any.
    pub fn of_draft(draft: &Path) -> Result<Self, CliError> {
        let mut file = draft.as_os_str().to_owned();
        file.push(".references.csv");
        let file = PathBuf::from(file);
        let known = match files::read_text(&file, MAX_FILE) {
            Ok(text) => parse(&text).map_err(|e| format!("{}: {e}", file.display()))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(format!("{}: {e}", file.display()).into()),
        };
        Ok(Self { file, known, drawn: false })
    }

    /// The reference of the folder `name`: its name, where that is plainly opaque.
    pub fn of_folder(&mut self, name: &str) -> Result<Reference, CliError> {
        if let Some((reference, _)) = self.known.iter().find(|(_, folder)| folder == name) {
            return Ok(reference.clone());
        }
        if is_plainly_opaque(name, IdentifierOf::Person)
            && let Ok(reference) = name.parse()
        {
            return Ok(reference);
        }
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|e| format!("no random numbers: {e}"))?;
        let digits: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let reference: Reference = format!("ref-{digits}").parse()?;
        self.known.push((reference.clone(), name.to_owned()));
        self.drawn = true;
        Ok(reference)
    }

    /// Writes the file, where something is new; returns it then.
    pub fn save(&mut self) -> Result<Option<&Path>, CliError> {
        if !std::mem::take(&mut self.drawn) {
            return Ok(None);
        }
        let mut text = format!("{HEADER}\n");
        for (reference, folder) in &self.known {
            text.push_str(&format!("{reference},\"{}\"\n", folder.replace('"', "\"\"")));
        }
        files::replace(&self.file, text.as_bytes())?;
        Ok(Some(&self.file))
    }
}

fn parse(text: &str) -> Result<Vec<(Reference, String)>, CliError> {
    let mut rows = rows(text)?.into_iter();
    if rows.next().is_none_or(|(_, header)| header.join(",") != HEADER) {
        return Err(format!("its first line is not {HEADER}").into());
    }
    rows.map(|(line, row)| match &row[..] {
        [reference, folder] => Ok((reference.parse()?, folder.clone())),
        _ => Err(format!("line {line}: not a reference and a folder").into()),
    })
    .collect()
}
