//! `watchpost watchlist sign`: shows what is signed, asks, and signs.
//!
//! * What is shown is read from the very bytes that are written: digest, hours, area, entries,
//!   photographs, promise.
//! * Nobody signs unasked: without a terminal, or with JSON, only `--yes` signs.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::{CliError, draft_of, names, output, plan, show, site};
use crate::cli::flags::{Networks, OutputFormat};
use crate::cli::signer::SignerKey;
use crate::decision::{DecisionConfig, promise};
use crate::files::replace;
use crate::promise::Promise;
use crate::vision::{Models, VisionConfig};
use crate::watchlist::author::{self, Draft};
use crate::watchlist::keys::SecretKey;
use crate::watchlist::read_list;
use zeroize::Zeroizing;

#[derive(clap::Args)]
pub struct Args {
    /// Draft, or signed list.
    file: PathBuf,
    #[command(flatten)]
    key: SignerKey,
    /// Signed list to write; may be the same file as a signed input.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign without being asked, in scripts: whoever writes this has read what is signed.
    #[arg(long)]
    yes: bool,
    /// Seconds for which devices have to wait before they announce an entry again; a device whose
    /// configuration has fewer refuses the list. Only for a draft.
    #[arg(long, value_name = "S", default_value_t = DecisionConfig::default().cool_down_s)]
    cool_down_s: u64,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let ask = !args.yes;
    if ask && (args.format.json || !std::io::stdin().is_terminal()) {
        return Err(format!(
            "nothing is signed: nobody can be asked, because {}; read what `watchpost watchlist \
             show {}` prints, then sign with --yes",
            if args.format.json { "of --json" } else { "standard input is no terminal" },
            args.file.display()
        )
        .into());
    }
    // With the settings that every device has unless its configuration is stricter.
    let decision = DecisionConfig { cool_down_s: args.cool_down_s, ..DecisionConfig::default() };
    let models = args.networks.open()?;
    let promise = promise::of(&models, &VisionConfig::default(), &decision);
    let key = args.key.open()?;
    let signed = signed(&args.file, &key, &models, &promise)?;
    let summary = author::show(&signed, None)?;
    let next = Draft::revise(&signed, OffsetDateTime::now_utc())?;
    let record = site::of(next.content())?;
    if summary.embedder == models.manifest.embedder.sha256.to_string() {
        plan::warn_of_budget(&models, next.content());
    }
    names::warn(&summary);
    names::warn_of_ids(&summary.id, &summary.authorisation.devices);
    if ask {
        show::print(&summary)?;
        if let Some(record) = &record {
            output::line(format!("site record: {}", site::describe(next.content(), record)))?;
        }
        output::line("")?;
        agreed()?;
    }
    replace(&args.out, &signed)?;
    if args.format.json {
        output::json_line(&serde_json::json!({
            "signer": key.public().id(), "signatures": summary.signatures.len(), "id": summary.id,
            "version": summary.version, "digest": summary.digest,
        }))?;
    } else {
        output::line(format!(
            "signed by {} ({} in all): {} version {}, digest {}",
            key.public().id(),
            summary.signatures.len(),
            summary.id,
            summary.version,
            summary.digest.unwrap_or_default()
        ))?;
    }
    Ok(())
}

/// The list in `file` with one signature more.
fn signed(
    file: &Path,
    key: &SecretKey,
    models: &Models,
    promise: &Promise,
) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let bytes = read_list(file)?;
    let Some(draft) = draft_of(&bytes) else { return Ok(author::cosign(&bytes, key)?) };
    let draft = draft?;
    if draft.content().embedder != models.manifest.embedder.sha256.0 {
        return Err("the draft was begun for another embedder; name that one's manifest with \
            --models FILE, because its promise is signed with the list"
            .into());
    }
    Ok(author::sign(&draft, &promise.bytes(), key, OffsetDateTime::now_utc())?)
}

/// Asks on the terminal.
fn agreed() -> Result<(), CliError> {
    let mut terminal = std::io::stderr();
    terminal.write_all(b"watchpost: sign this in your name? Write yes to sign: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err("nothing is signed".into()) }
}
