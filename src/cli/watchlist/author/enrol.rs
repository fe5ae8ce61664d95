//! `watchpost watchlist add`: from photographs to templates, one person or thousands.
//!
//! * One person, photographs on the command line: all or nothing. Whoever adds one person looks at
//!   the answer.
//! * Many people (`--from`): a photograph that cannot stand for its person is left out and listed
//!   with the reason; a person of whom none is left is not added, and the command then ends with
//!   code 1. An hour's work is not thrown away for one photograph.
//!
//! All cores work; the draft is written every few seconds, and a photograph whose digest is in the
//! draft already is not looked at again, so that the same command goes on where it was interrupted.
//! With a cohort nobody reaches the draft on the disk who was not held against it.

mod agreement;
mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use self::agreement::agree;
use self::report::{Added, Doubt, EnrolmentReport, Noticed, SkippedPhotograph, print, too_few};
use super::people::{self, NewPerson, NotAdded, People, References};
use super::plan::CostOfFew;
use super::wolves::Cohort;
use super::{CliError, date, look_alikes, names, output, read_draft};
use crate::cli::flags::{Networks, OutputFormat};
use crate::cli::photographs::{FaceReader, single};
use crate::files::replace;
use crate::source::Photograph;
use crate::template::Template;
use crate::vision::Models;
use crate::watchlist::author::{Draft, NewEntry};
use crate::watchlist::model::MAX_PHOTOGRAPHS;
use crate::watchlist::{Entry, PhotographDigest, Reference, StoredTemplate};

/// How often the draft is written: at most so much work is lost by an interruption.
const SAVE_EVERY: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// Draft file, changed in place.
    draft: PathBuf,
    /// Photographs of the one person: JPEG or PNG, one face each.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    photographs: Vec<PathBuf>,
    /// Many people: a CSV file with the columns reference, legal_basis, purpose, expires,
    /// photographs (separated by `;`, relative to the file), or a folder with one folder a person,
    /// named by its reference.
    #[arg(long, value_name = "CSV|FOLDER")]
    from: Option<PathBuf>,
    /// Opaque reference that is published in candidates; never a name. One that is in the draft
    /// gets the photographs added.
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    reference: Option<Reference>,
    /// The law or order under which this person may be looked for; with --from, where the CSV says
    /// none.
    #[arg(long)]
    legal_basis: Option<String>,
    /// Why this person is looked for; with --from, where the CSV says none.
    #[arg(long)]
    purpose: Option<String>,
    /// End of the entry; the end of the list where absent.
    #[arg(long, value_name = "TIME", value_parser = date)]
    expires: Option<OffsetDateTime>,
    /// People who are on no list, as a draft of decoys (`watchpost calibrate new` and `add`, 500 or
    /// more). An entry whose template resembles too many of them is not added.
    #[arg(long, value_name = "DRAFT")]
    cohort: Option<PathBuf>,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let mut draft = read_draft(&args.draft)?;
    let models = args.networks.open()?;
    if draft.content().embedder != models.manifest.embedder.sha256.0 {
        return Err(
            "the draft was begun for another embedder; name that one's manifest with --models FILE"
                .into(),
        );
    }
    let cohort = args.cohort.as_deref().map(|path| Cohort::read(path, &models)).transpose()?;
    let many = args.from.is_some();
    let defaults = people::Defaults {
        legal_basis: args.legal_basis,
        purpose: args.purpose,
        expires: args.expires,
    };
    let mut references = References::of_draft(&args.draft)?;
    let People { people, mut not_added, notes } = match (&args.from, args.reference) {
        (Some(from), _) => people::read(from, &defaults, &mut references)?,
        (None, Some(reference)) => People {
            people: vec![defaults.person(reference, args.photographs)],
            ..People::default()
        },
        (None, None) => return Err("name the person with --reference".into()),
    };
    for note in notes {
        output::warn(note);
    }
    // Before the draft, which must not hold a reference of which nobody knows whose it is.
    let drawn = references.save()?.map(Path::to_owned);
    let mut report = enrol(&mut draft, &args.draft, &models, &people, cohort.as_ref(), many)?;
    report.references = drawn;
    not_added.append(&mut report.not_added);
    report.not_added = not_added;
    if !report.added.is_empty() {
        replace(&args.draft, &draft.to_json())?;
    }
    if args.format.json && !many {
        let added = report.added.first();
        output::json_line(&serde_json::json!({
            "reference": added.map(|a| &a.reference),
            "qualities": added.map(|a| &a.qualities),
            "photographs": added.map(|a| a.photographs),
            "known": report.known,
            "doubts": report.doubts,
        }))?;
    } else if args.format.json {
        output::json_line(&report)?;
    } else {
        print(&report, many)?;
    }
    let cost = CostOfFew::of(&models, draft.content());
    for sentence in too_few(&report.added, cost.as_ref()) {
        output::warn(sentence);
    }
    if cohort.is_none() && !report.added.is_empty() {
        output::warn(
            "nobody was held against a cohort: a face that resembles many would \
             alarm at many; name a draft of decoys with --cohort",
        );
    }
    if !report.added.is_empty() {
        look_alikes::warn(&models, draft.content());
        names::warn(&draft.summary());
    }
    let complete = report.not_added.iter().all(|n| n.is_nobody);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What one photograph gave.
pub(super) enum Examined {
    /// Its template, and what was odd about the photograph.
    Stored(StoredTemplate, Noticed),
    /// In the draft already, in this entry.
    Known(Reference),
    Refused(String),
}

/// Looks at every photograph on all cores and adds each person once the last of theirs, and of
/// those before, is done. `lenient` leaves poor photographs out, otherwise one of them is an error
/// and nothing is added.
fn enrol(
    draft: &mut Draft,
    path: &Path,
    models: &Models,
    people: &[NewPerson],
    cohort: Option<&Cohort>,
    lenient: bool,
) -> Result<EnrolmentReport, CliError> {
    let jobs: Vec<(usize, &PathBuf)> = people
        .iter()
        .enumerate()
        .flat_map(|(i, p)| p.photographs.iter().map(move |file| (i, file)))
        .collect();
    let known = draft.photographs();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len()).max(1);
    let bar = if lenient { ProgressBar::new(jobs.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} photographs, {eta} left")
    {
        bar.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::sync_channel::<(usize, Result<Examined, CliError>)>(4 * cores);
    let mut report = EnrolmentReport::default();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (sender, jobs, next, known) = (sender.clone(), &jobs, &next, &known);
            scope.spawn(move || {
                let mut reader = match FaceReader::new(models) {
                    Ok(reader) => reader,
                    Err(e) => {
                        return drop(
                            sender.send((next.fetch_add(1, Ordering::Relaxed), Err(e.into()))),
                        );
                    }
                };
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some((_, file)) = jobs.get(job) else { return };
                    // The other side is gone where somebody else failed.
                    if sender.send((job, Ok(look(&mut reader, file, known)))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // People are added in their order, whoever is done first, so that the draft is the same to
        // the byte however many cores there are and however often the work was interrupted.
        let mut waiting: HashMap<usize, Vec<(usize, Examined)>> = HashMap::new();
        let mut turn = 0;
        let mut taken = known.clone();
        let mut saved = Instant::now();
        for (job, outcome) in results {
            let person = jobs.get(job).map_or(0, |j| j.0);
            waiting.entry(person).or_default().push((job, outcome?));
            bar.inc(1);
            while let Some(person) = people.get(turn)
                && waiting.get(&turn).map_or(0, Vec::len) == person.photographs.len()
            {
                let mut outcomes = waiting.remove(&turn).unwrap_or_default();
                outcomes.sort_by_key(|(job, _)| *job);
                let outcomes =
                    outcomes.into_iter().map(|(job, outcome)| (jobs[job].1, outcome)).collect();
                finish(draft, person, outcomes, cohort, lenient, &mut taken, &mut report)?;
                turn += 1;
            }
            if saved.elapsed() >= SAVE_EVERY {
                replace(path, &draft.to_json())?;
                saved = Instant::now();
            }
        }
        Ok::<(), CliError>(())
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// What the photograph in `file` gives, unless it is one of those `known`.
pub(super) fn look(
    reader: &mut FaceReader,
    file: &Path,
    known: &HashMap<[u8; 32], Reference>,
) -> Examined {
    let mut attempt = || -> Result<Examined, CliError> {
        let bytes = Photograph::read(file)?;
        let photo: [u8; 32] = Sha256::digest(&*bytes).into();
        if let Some(entry) = known.get(&photo) {
            return Ok(Examined::Known(entry.clone()));
        }
        let photograph = Photograph::decode(&bytes)?;
        let (enrolled, turned) = single(reader, &photograph)?;
        let quality = enrolled.stored_quality();
        let stored = StoredTemplate::of_one(enrolled.embedding.quantize(), quality, photo);
        Ok(Examined::Stored(stored, Noticed { background_faces: enrolled.background, turned }))
    };
    attempt().unwrap_or_else(|e| Examined::Refused(e.to_string()))
}

/// The photograph that a fresh template is made of.
fn photograph(of_one: &StoredTemplate) -> PhotographDigest {
    of_one.photographs[0]
}

/// A photograph that somebody before took since the work began is known, as it would be had the
/// work begun again.
fn earlier(outcome: Examined, taken: &HashMap<[u8; 32], Reference>) -> Examined {
    match &outcome {
        Examined::Stored(stored, _) => {
            taken.get(&photograph(stored).sha256).cloned().map_or(outcome, Examined::Known)
        }
        _ => outcome,
    }
}

/// Whether `entry` resembles no more of `cohort` than it may.
fn held_against(cohort: Option<&Cohort>, entry: Option<&Entry>) -> Result<(), String> {
    match (cohort, entry) {
        (Some(cohort), Some(entry)) => cohort.judge(entry),
        _ => Ok(()),
    }
}

/// Adds one person from what their photographs gave, unless `cohort` has too many whom the entry
/// resembles.
fn finish(
    draft: &mut Draft,
    person: &NewPerson,
    outcomes: Vec<(&PathBuf, Examined)>,
    cohort: Option<&Cohort>,
    lenient: bool,
    taken: &mut HashMap<[u8; 32], Reference>,
    report: &mut EnrolmentReport,
) -> Result<(), CliError> {
    let reference = &person.reference;
    let mut left_out: Vec<(PathBuf, String)> = Vec::new();
    let mut fresh: Vec<(&PathBuf, StoredTemplate)> = Vec::new();
    let mut known = 0;
    let mut noticed: HashMap<[u8; 32], Noticed> = HashMap::new();
    for (file, outcome) in outcomes {
        match earlier(outcome, taken) {
            Examined::Known(entry) if entry == *reference => known += 1,
            Examined::Known(entry) => {
                left_out.push((file.clone(), format!("it is in entry {entry} already")))
            }
            Examined::Refused(reason) => left_out.push((file.clone(), reason)),
            Examined::Stored(stored, _)
                if fresh.iter().any(|(_, other)| other.shares_a_photograph(&stored)) =>
            {
                left_out.push((file.clone(), "the same file twice".into()));
            }
            Examined::Stored(stored, odd) => {
                noticed.insert(photograph(&stored).sha256, odd);
                fresh.push((file, stored));
            }
        }
    }
    let entry = draft.content().entries.iter().find(|e| e.reference == *reference);
    let entry_before = entry.cloned();
    let before: Vec<Template> =
        entry.map_or_else(Vec::new, |e| e.templates.iter().map(|t| t.template.clone()).collect());
    let photographs_before = entry.map_or(0, |e| e.photographs().count());
    let verdict = agree(&before, &mut fresh, &mut left_out, lenient);
    let room = MAX_PHOTOGRAPHS.saturating_sub(photographs_before);
    if lenient && fresh.len() > room {
        // The best ones stay.
        fresh.sort_by(|a, b| photograph(&b.1).quality.total_cmp(&photograph(&a.1).quality));
        let reason = format!(
            "an entry has at most {MAX_PHOTOGRAPHS} photographs, and the others are \
                better"
        );
        left_out.extend(fresh.drain(room..).map(|(file, _)| (file.clone(), reason.clone())));
    }
    if !lenient {
        if !left_out.is_empty() {
            let lines: Vec<String> =
                left_out.iter().map(|(f, why)| format!("{}: {why}", f.display())).collect();
            return Err(format!("nothing was added:\n  {}", lines.join("\n  ")).into());
        }
        verdict.clone().map_err(|reason| format!("nothing was added: {reason}"))?;
    }
    report.known += known;
    let qualities: Vec<f32> = fresh.iter().map(|(_, t)| photograph(t).quality).collect();
    let doubts: Vec<Doubt> = fresh
        .iter()
        .filter_map(|(file, t)| {
            let what = *noticed.get(&photograph(t).sha256)?;
            (what != Noticed::default()).then(|| Doubt {
                reference: reference.clone(),
                photograph: file.to_path_buf(),
                what,
            })
        })
        .collect();
    let photos: Vec<[u8; 32]> = fresh.iter().map(|(_, t)| photograph(t).sha256).collect();
    let templates: Vec<StoredTemplate> = fresh.into_iter().map(|(_, t)| t).collect();
    let added = verdict.and_then(|()| {
        if templates.is_empty() {
            // Whoever is in the draft with the other photographs is not missing.
            return if known > 0 || !before.is_empty() {
                held_against(cohort, draft.entry(reference)).map(|()| false).map_err(|reason| {
                    format!("{reason}. The entry is in the draft from before: remove it")
                })
            } else {
                Err(nothing_left(&left_out))
            };
        }
        let done = if before.is_empty() {
            person
                .entry(draft.content().expires)
                .and_then(|new: NewEntry| Ok(draft.add(new, templates)?))
        } else {
            draft.add_templates(reference, templates).map_err(CliError::from)
        };
        done.map_err(|e| e.to_string())?;
        held_against(cohort, draft.entry(reference)).map(|()| true).inspect_err(|_| {
            draft.put_back(reference, entry_before).expect("it was added just now");
        })
    });
    match added {
        Ok(true) => {
            taken.extend(photos.into_iter().map(|photo| (photo, reference.clone())));
            let photographs = photographs_before + qualities.len();
            report.added.push(Added { reference: reference.clone(), qualities, photographs });
            report.doubts.extend(doubts);
        }
        Ok(false) => {}
        Err(reason) if lenient => report.not_added.push(NotAdded::new(reference, reason)),
        Err(reason) => return Err(format!("nothing was added: {reason}").into()),
    }
    let of = |(photograph, reason)| SkippedPhotograph {
        reference: reference.clone(),
        photograph,
        reason,
    };
    report.left_out.extend(left_out.into_iter().map(of));
    Ok(())
}

/// Why there is no photograph of somebody, with the reason for the first that was left out.
fn nothing_left(left_out: &[(PathBuf, String)]) -> String {
    match left_out {
        [] => "no photograph is left".to_owned(),
        [(_, why)] => format!("no photograph is left: {why}"),
        [(file, why), ..] => format!("no photograph is left: {}: {why}", file.display()),
    }
}
