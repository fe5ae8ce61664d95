//! `watchpost key`: the keys of the people who sign, and the file that pins them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;

use super::{Failure, output};
use crate::watchlist::keys::{PublicKey, SecretKey};
use crate::watchlist::trust::{Role, render};
use crate::watchlist::{Trust, store};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a secret key file (mode 0600) and print its public key.
    New {
        /// File to create; an existing one is never overwritten.
        file: PathBuf,
        /// One JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Print the public key of a secret key file.
    Show {
        /// Secret key file.
        file: PathBuf,
        /// One JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Write a trust file that pins public keys as signers and revokers.
    Trust {
        /// Public keys, as `key show` prints them; at least as many as signatures are needed.
        #[arg(required = true)]
        public: Vec<PublicKey>,
        /// How many different people must sign a list; at least 2.
        #[arg(long, default_value_t = 2)]
        signers_needed: usize,
        /// Days from now for which the file is valid.
        #[arg(long, default_value_t = 365)]
        days: u16,
        /// File to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::New { file, json } => {
            let key = SecretKey::generate()?;
            key.create_file(&file)?;
            show(&key, json)?;
        }
        Command::Show { file, json } => show(&SecretKey::open_file(&file)?, json)?,
        Command::Trust { public, signers_needed, days, out } => {
            let text = trust_file(&public, signers_needed, OffsetDateTime::now_utc(), days)?;
            store::replace(&out, text.as_bytes())?;
            output::line(format!("wrote {}", out.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(key: &SecretKey, json: bool) -> Result<(), Failure> {
    let public = key.public();
    if json {
        output::json_line(&serde_json::json!({ "id": public.id(), "public": public.to_string() }))?;
    } else {
        output::line(public.to_string())?;
    }
    Ok(())
}

/// The text of a trust file in which each key may sign, revoke and suspend, valid for `days` from `now`. What a device
/// would refuse is an error here.
pub fn trust_file(keys: &[PublicKey], needed: usize, now: OffsetDateTime, days: u16) -> Result<String, Failure> {
    let now = now.replace_nanosecond(0)?;
    // A device's clock that is a little behind must not find a new file invalid.
    let (from, until) = (now - time::Duration::hours(1), now + time::Duration::days(days.into()));
    let labels: Vec<String> = (1..=keys.len()).map(|n| format!("signer {n}")).collect();
    const ROLES: &[Role] = &[Role::Signer, Role::Revoker, Role::Suspender];
    let pinned: Vec<_> = keys.iter().zip(&labels).map(|(key, label)| (*key, label.as_str(), ROLES)).collect();
    let text = render(0, needed, from, until, &pinned);
    Trust::parse(&text)?;
    Ok(text)
}
