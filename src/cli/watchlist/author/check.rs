//! `watchpost watchlist check`: whether a list's templates come from these photographs.
//!
//! A template cannot be read by eye: whoever signs second would sign whatever the first put in.
//! This command enrols the photographs again, on the second signer's own machine.
//!
//! * Photographs are found by their digest, whatever they are called.
//! * An entry is confirmed where every photograph of it is there, can be enrolled, and the template
//!   that they give is the list's.
//! * Not told: whether the photographs show whom the file says. That is for people to look at.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::enrol::{Examined, look};
use super::{CliError, draft_of, output};
use crate::cli::flags::{Networks, Opening, OutputFormat};
use crate::cli::photographs::FaceReader;
use crate::source::Photograph;
use crate::template::{Template, fuse};
use crate::vision::Models;
use crate::watchlist::author::Draft;
use crate::watchlist::model::Entry;
use crate::watchlist::{Reference, StoredTemplate};

/// The least similarity between a list's template and that of the same photographs. Kernels of
/// other processors and a mean of rounded templates move it by a few thousandths; another
/// photograph of the same person lies below .9 as a rule.
const LEAST_SAME: f32 = 0.98;
/// How deep folders are searched.
const MAX_DEPTH: usize = 8;

#[derive(clap::Args)]
pub struct Args {
    /// Signed list, or draft.
    list: PathBuf,
    /// Folder with the photographs that the entries are made of, under any name, in any subfolder.
    #[arg(long, value_name = "FOLDER")]
    photographs: PathBuf,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    format: OutputFormat,
}

/// What was found about one entry.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Confirmation {
    reference: Reference,
    /// Whether the template comes from the photographs.
    confirmed: bool,
    /// Similarity between the list's template and that of the photographs; absent where one of them
    /// is not there or cannot be enrolled.
    similarity: Option<f32>,
    /// What is wrong.
    reason: Option<String>,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let bytes = args.opening.read(&args.list)?;
    let draft = match draft_of(&bytes) {
        Some(draft) => draft?,
        // The next version's draft has this version's entries.
        None => Draft::revise(&bytes, OffsetDateTime::now_utc())?,
    };
    let content = draft.content();
    let models = args.networks.open()?;
    if content.embedder != models.manifest.embedder.sha256.0 {
        return Err(
            "the list is for another embedder; name that one's manifest with --models FILE".into(),
        );
    }
    let wanted: HashSet<[u8; 32]> =
        content.entries.iter().flat_map(Entry::photographs).map(|p| p.sha256).collect();
    let mut files = HashMap::new();
    let others = find(&args.photographs, 0, &wanted, &mut files)?;
    let templates = enrol(&models, &files)?;
    let found: Vec<Confirmation> =
        content.entries.iter().map(|entry| confirm(entry, &templates)).collect();
    let confirmed = found.iter().filter(|c| c.confirmed).count();
    if args.format.json {
        for line in &found {
            output::json_line(line)?;
        }
    } else {
        for line in &found {
            let similarity = line.similarity.map_or_else(String::new, |s| format!(" {s:.3}"));
            match &line.reason {
                None => output::line(format!("confirmed: {}{similarity}", line.reference))?,
                Some(why) => output::line(format!("not confirmed: {}: {why}", line.reference))?,
            }
        }
        output::line(format!(
            "{confirmed} of {} entries come from these photographs; {others} files are of no entry",
            found.len()
        ))?;
    }
    Ok(if confirmed == found.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the files below `folder` whose digest is wanted into `found`; how many others there are.
pub(super) fn find(
    folder: &Path,
    depth: usize,
    wanted: &HashSet<[u8; 32]>,
    found: &mut HashMap<[u8; 32], PathBuf>,
) -> Result<usize, CliError> {
    let named = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut others = 0;
    for entry in std::fs::read_dir(folder).map_err(named)? {
        let entry = entry.map_err(named)?;
        let (kind, path) = (entry.file_type().map_err(named)?, entry.path());
        if kind.is_dir() && depth < MAX_DEPTH {
            others += find(&path, depth + 1, wanted, found)?;
        } else if kind.is_file() {
            match digest(&path) {
                Some(digest) if wanted.contains(&digest) => drop(found.insert(digest, path)),
                _ => others += 1,
            }
        }
    }
    Ok(others)
}

/// Of a file that may be a photograph; `None` for one that is too long or cannot be read.
fn digest(path: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(&*Photograph::read(path).ok()?).into())
}

/// Enrols each file on all cores: the template, or why there is none.
fn enrol(
    models: &Models,
    files: &HashMap<[u8; 32], PathBuf>,
) -> Result<HashMap<[u8; 32], Result<Template, String>>, CliError> {
    let files: Vec<_> = files.iter().collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (sender, files, next) = (sender.clone(), &files, &next);
            scope.spawn(move || {
                let mut reader = match FaceReader::new(models) {
                    Ok(reader) => reader,
                    Err(error) => return drop(sender.send(Err(error))),
                };
                while let Some((digest, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let template = match look(&mut reader, file, &HashMap::new()) {
                        // A file that was exchanged since it was found is another photograph.
                        Examined::Stored(StoredTemplate { template, photographs }, _)
                            if photographs.iter().all(|p| p.sha256 == **digest) =>
                        {
                            Ok(template)
                        }
                        Examined::Refused(reason) => Err(format!("{}: {reason}", file.display())),
                        _ => Err(format!("{} has changed meanwhile", file.display())),
                    };
                    if sender.send(Ok((**digest, template))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
    });
    Ok(results.into_iter().collect::<Result<_, _>>()?)
}

fn confirm(entry: &Entry, templates: &HashMap<[u8; 32], Result<Template, String>>) -> Confirmation {
    let judged = || -> Result<f32, String> {
        let all: Vec<&[u8; 32]> = entry.photographs().map(|p| &p.sha256).collect();
        let missing = all.iter().filter(|digest| !templates.contains_key(**digest)).count();
        if missing > 0 {
            return Err(format!("{missing} of its {} photographs are not there", all.len()));
        }
        let own: Vec<&Template> = all
            .iter()
            .map(|digest| templates[*digest].as_ref().map_err(Clone::clone))
            .collect::<Result<_, _>>()?;
        let again = fuse(own).map_err(|e| e.to_string())?;
        let stored = entry.fused().map_err(|e| e.to_string())?;
        Ok(stored.template.cosine(&again))
    };
    let (similarity, reason) = match judged() {
        Ok(similarity) if similarity >= LEAST_SAME => (Some(similarity), None),
        Ok(similarity) => {
            let reason = format!(
                "its template is not that of its photographs (similarity {similarity:.3}, at least \
                 {LEAST_SAME} is expected): do not sign, and ask who made it"
            );
            (Some(similarity), Some(reason))
        }
        Err(reason) => (None, Some(reason)),
    };
    let confirmed = reason.is_none();
    Confirmation { reference: entry.reference.clone(), confirmed, similarity, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture::{content, stored};

    #[test]
    fn an_entry_is_confirmed_by_all_of_its_photographs_and_by_nothing_else() {
        // Three photographs.
        let entry = content(3).entries.remove(2);
        assert_eq!(entry.templates.len(), 3);
        let all: HashMap<_, _> = entry
            .templates
            .iter()
            .map(|t| (t.photographs[0].sha256, Ok(t.template.clone())))
            .collect();
        let found = confirm(&entry, &all);
        assert!(found.confirmed && found.similarity > Some(0.999), "{found:?}");

        let last = entry.templates[2].photographs[0].sha256;
        let mut some = all.clone();
        some.remove(&last);
        let found = confirm(&entry, &some);
        assert!(!found.confirmed && found.reason.unwrap().contains("1 of its 3"));

        let mut other = all.clone();
        other.insert(last, Ok(stored(777).template));
        let found = confirm(&entry, &other);
        assert!(!found.confirmed && found.reason.unwrap().contains("do not sign"));

        let mut refused = all;
        refused.insert(last, Err("x.jpg: no face".into()));
        assert_eq!(confirm(&entry, &refused).reason.as_deref(), Some("x.jpg: no face"));
    }
}
