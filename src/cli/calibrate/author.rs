//! The commands that make and sign a set of decoys.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::calibrate::decoys::{self, LEAST, LEAST_FACES};
use crate::calibrate::draft::{DecoyDraft, DecoyPhotograph, DraftDecoy, MAX_BYTES};
use crate::cli::flags::{Networks, OutputFormat};
use crate::cli::photographs::FaceReader;
use crate::cli::signer::SignerKey;
use crate::cli::{CliError, output};
use crate::files::{read_bytes, replace};
use crate::source;
use crate::template::Embedding;
use crate::template::PIPELINE;
use crate::watchlist::seal::{self, Recipient};
use crate::watchlist::{Reference, read_list};

/// Most bytes of a photograph's file.
const MAX_FILE: u64 = 256 << 20;

#[derive(Subcommand)]
pub enum DecoyCommand {
    /// Start a draft of a set of decoys: people who cannot pass at this place.
    New(Box<New>),
    /// Add decoys from photographs: each file is a person, and each folder with its photographs.
    Add {
        /// Draft file, changed in place.
        draft: PathBuf,
        /// Folder of photographs and of folders.
        #[arg(long, value_name = "FOLDER")]
        from: PathBuf,
        #[command(flatten)]
        networks: Networks,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Sign a draft, or add a signature to a signed set. It takes two signers.
    Sign {
        /// Draft or signed set.
        file: PathBuf,
        #[command(flatten)]
        key: SignerKey,
        /// Signed set to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Encrypt a signed set to the device that uses it (age format).
    Seal {
        /// Signed set.
        file: PathBuf,
        /// The device's public key, as `key device` prints it.
        #[arg(long, required = true, value_name = "age1...")]
        to: Vec<Recipient>,
        /// Sealed set to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
pub struct New {
    /// Draft file to create.
    draft: PathBuf,
    /// Names the set.
    #[arg(long)]
    id: Reference,
    /// Court or body that allows counting passers-by against the decoys.
    #[arg(long)]
    authority: String,
    /// File number of its decision.
    #[arg(long)]
    decision: String,
    /// The device that counts.
    #[arg(long, value_name = "ID")]
    device: Reference,
    /// Its camera.
    #[arg(long, value_name = "ID", default_value = "main")]
    camera: Reference,
    /// Where the decoys are from, and why they do not pass there.
    #[arg(long)]
    source: String,
    /// Days of at least 1,000 faces to count for, 7 to 92; fixed from then on.
    #[arg(long, value_name = "N", default_value_t = 14)]
    days: u16,
    /// End of validity, as in 2027-03-31T18:00:00Z; at most 366 days from now.
    #[arg(long, value_name = "TIME", value_parser = date)]
    expires: OffsetDateTime,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

fn date(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a time such as 2027-03-31T18:00:00Z".into())
}

pub fn run(command: DecoyCommand) -> Result<(), CliError> {
    match command {
        DecoyCommand::New(new) => begin(*new),
        DecoyCommand::Add { draft, from, networks, format } => {
            add(&draft, &from, &networks, format.json)
        }
        DecoyCommand::Sign { file, key, out, format } => sign(&file, &key, &out, format.json),
        DecoyCommand::Seal { file, to, out } => {
            let bytes = read_list(&file)?;
            decoys::inspect(&bytes)?;
            Ok(replace(&out, &seal::seal(&[&bytes], &to)?)?)
        }
    }
}

fn begin(new: New) -> Result<(), CliError> {
    let models = new.networks.open()?;
    let embedder = &models.manifest.embedder;
    let now = OffsetDateTime::now_utc();
    let draft = DecoyDraft {
        id: new.id,
        // Whole seconds would put it up to one second into the future.
        not_before: now - time::Duration::minutes(1),
        expires: new.expires,
        embedder: embedder.sha256.0,
        pipeline: PIPELINE,
        dimensions: embedder.dimensions,
        authority: new.authority,
        decision: new.decision,
        device: new.device,
        camera: new.camera,
        days: new.days,
        least_faces: LEAST_FACES,
        source: new.source,
        decoys: Vec::new(),
    };
    draft.head(now)?;
    if new.draft.exists() {
        return Err(format!("{} exists already; name another file", new.draft.display()).into());
    }
    replace(&new.draft, &draft.to_json())?;
    if new.format.json {
        output::json_line(&json!({ "draft": new.draft, "id": draft.id }))?;
    } else {
        output::line(format!(
            "wrote {}; add at least {LEAST} decoys with `watchpost calibrate add`",
            new.draft.display()
        ))?;
    }
    Ok(())
}

fn read_draft(path: &Path) -> Result<DecoyDraft, CliError> {
    let bytes = read_bytes(path, MAX_BYTES as u64)
        .map_err(|e| format!("cannot read the draft {}: {e}", path.display()))?;
    Ok(DecoyDraft::from_json(&bytes)?)
}

/// The people below a folder: each file, and each folder's files.
fn people(from: &Path) -> Result<Vec<Vec<PathBuf>>, CliError> {
    let inside = |folder: &Path| -> Result<Vec<PathBuf>, CliError> {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    };
    inside(from)?
        .into_iter()
        .map(|path| if path.is_dir() { inside(&path) } else { Ok(vec![path]) })
        .collect()
}

fn add(path: &Path, from: &Path, networks: &Networks, json: bool) -> Result<(), CliError> {
    let mut draft = read_draft(path)?;
    let models = networks.open()?;
    if draft.embedder != models.manifest.embedder.sha256.0 || draft.pipeline != PIPELINE {
        return Err("the draft was begun for another embedder or pipeline; begin a new one".into());
    }
    let mut reader = FaceReader::new(&models)?;
    let (mut added, mut left_out) = (0, Vec::new());
    for photographs in people(from)? {
        let name = photographs.first().map(|p| p.display().to_string()).unwrap_or_default();
        match decoy(&mut reader, &photographs, &draft) {
            Ok(Some(decoy)) => {
                draft.decoys.push(decoy);
                added += 1;
            }
            Ok(None) => {}
            Err(error) => left_out.push((name, error.to_string())),
        }
    }
    replace(path, &draft.to_json())?;
    if json {
        output::json_line(&json!({
            "added": added, "decoys": draft.decoys.len(), "left_out": left_out,
        }))?;
        return Ok(());
    }
    for (name, reason) in &left_out {
        output::line(format!("left out: {name}: {reason}"))?;
    }
    output::line(format!(
        "added {added} decoys, left out {}; the draft has {} of at least {LEAST}",
        left_out.len(),
        draft.decoys.len()
    ))?;
    Ok(())
}

/// One person's template, fused of all photographs; `None` where the draft has them already.
fn decoy(
    reader: &mut FaceReader,
    photographs: &[PathBuf],
    draft: &DecoyDraft,
) -> Result<Option<DraftDecoy>, CliError> {
    let mut sum = zeroize::Zeroizing::new(vec![0f32; draft.dimensions]);
    let mut digests = Vec::new();
    for path in photographs {
        let bytes = read_bytes(path, MAX_FILE)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let digest = DecoyPhotograph(Sha256::digest(&*bytes).into());
        if draft.decoys.iter().any(|d| d.photographs.contains(&digest)) {
            return Ok(None);
        }
        let photograph = source::Photograph::decode(&bytes)?;
        let enrolled = reader.single(&photograph.frame())?;
        for (sum, value) in sum.iter_mut().zip(enrolled.embedding.values()) {
            *sum += value;
        }
        digests.push(digest);
    }
    let template = Embedding::normalised(&sum)?.quantize();
    if let Some((other, similarity)) = draft.same_person(&template) {
        return Err(format!(
            "one person with decoy number {} of the draft by their similarity ({similarity:.2})",
            other + 1
        )
        .into());
    }
    Ok(Some(DraftDecoy { template, photographs: digests }))
}

fn sign(file: &Path, key: &SignerKey, out: &Path, json: bool) -> Result<(), CliError> {
    let key = key.open()?;
    let bytes = read_list(file)?;
    // Drafts are JSON objects; signed sets never begin like one.
    let signed = if bytes.trim_ascii_start().starts_with(b"{") {
        DecoyDraft::from_json(&bytes)?.sign(&key, OffsetDateTime::now_utc())?
    } else {
        decoys::cosign(&bytes, &key)?
    };
    replace(out, &signed)?;
    let (head, count, signers) = decoys::inspect(&signed)?;
    if json {
        output::json_line(&json!({
            "signer": key.public().id(), "signatures": signers.len(), "id": head.id,
            "decoys": count,
        }))?;
    } else {
        output::line(format!(
            "signed by {} ({} in all): {} with {count} decoys",
            key.public().id(),
            signers.len(),
            head.id
        ))?;
    }
    Ok(())
}
