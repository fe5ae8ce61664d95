//! `watchpost key new`, `trust` and `sign-trust`: the keys of the people who sign, the file that
//! pins them, and its rotation.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use time::OffsetDateTime;

use super::{CliError, output, read, show};
use crate::cli::flags::OutputFormat;
use crate::cli::signer::{NewPassphrase, SignerKey};
use crate::files::replace;
use crate::watchlist::keys::{PublicKey, SecretKey};
use crate::watchlist::trust::{Role, render, resetting_clock};
use crate::watchlist::{Reference, Trust, rotation};

#[derive(Subcommand)]
pub enum SigningKeyCommand {
    /// Make a person's secret key file (mode 0600), encrypted with a passphrase, and print its
    /// public key.
    New {
        /// File to create; an existing one is never overwritten.
        file: PathBuf,
        #[command(flatten)]
        passphrase: NewPassphrase,
        #[command(flatten)]
        format: OutputFormat,
    },
    /// Write a trust file that pins public keys.
    Trust(Box<Pin>),
    /// Sign a new trust file, so that devices take it over; or add a signature to one that somebody
    /// else has signed. It takes as many of the signers of the file before as a list needs.
    SignTrust {
        /// Trust file, or signed trust file.
        file: PathBuf,
        #[command(flatten)]
        key: SignerKey,
        /// Signed trust file to write; may be the same file as a signed input. Offer it to devices
        /// as a list is offered.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        format: OutputFormat,
    },
}

#[derive(clap::Args)]
pub struct Pin {
    /// Public keys of those who may sign, revoke and suspend, as `key show` prints them; at least
    /// as many as signatures are needed.
    #[arg(required = true)]
    public: Vec<PublicKey>,
    /// Public key of one who may revoke and suspend, but not sign; may be given several times.
    #[arg(long, value_name = "KEY")]
    revoker: Vec<PublicKey>,
    /// Public key of one who may suspend only; may be given several times.
    #[arg(long, value_name = "KEY")]
    suspender: Vec<PublicKey>,
    /// Public key of one who reviews candidates; may be given several times.
    #[arg(long, value_name = "KEY")]
    reviewer: Vec<PublicKey>,
    /// Public key of a desk, whose receipts retire candidates; may be given several times.
    #[arg(long, value_name = "KEY")]
    receiver: Vec<PublicKey>,
    /// Public key of a witness of the device's audit log; may be given several times.
    #[arg(long, value_name = "KEY")]
    witness: Vec<PublicKey>,
    /// How many different witnesses must have seen the log.
    #[arg(long, value_name = "N", default_value_t = 0)]
    witnesses_needed: usize,
    /// Begin the audit log of a device anew, whose log was lost or put back: its id, a dot and the
    /// number of the log, as `gate-3.2` for the second log of gate-3. Needs a higher serial.
    #[arg(long, value_name = "LOG")]
    origin_reset: Option<Reference>,
    /// How many different people must sign a list; at least 2.
    #[arg(long, default_value_t = 2)]
    signers_needed: usize,
    /// Days from now for which the file is valid.
    #[arg(long, default_value_t = 365)]
    days: u16,
    /// Rises with each change: a device that has had a file does not take a lower one.
    #[arg(long, default_value_t = 0)]
    serial: u64,
    /// Make devices forget the latest time that they have seen, which a clock that was wrong once
    /// has set into the future. Needs a higher serial. Versions, revocations and suspensions stay.
    #[arg(long)]
    resets_clock: bool,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(command: SigningKeyCommand) -> Result<(), CliError> {
    match command {
        SigningKeyCommand::New { file, passphrase, format: OutputFormat { json } } => {
            let passphrase = passphrase.get()?;
            let key = SecretKey::generate()?;
            match &passphrase {
                Some(passphrase) => key.create_encrypted_file(&file, passphrase)?,
                None => key.create_file(&file)?,
            }
            show(&key.public(), json)?;
        }
        SigningKeyCommand::Trust(pin) => {
            let text = pinned(&pin)?;
            replace(&pin.out, text.as_bytes())?;
            if pin.format.json {
                let keys = Trust::parse(&text)?.keys().len();
                output::json_line(&json!({
                    "out": pin.out,
                    "serial": pin.serial,
                    "signers_needed": pin.signers_needed,
                    "keys": keys,
                }))?;
            } else {
                output::line(format!("wrote {}", pin.out.display()))?;
            }
        }
        SigningKeyCommand::SignTrust { file, key, out, format: OutputFormat { json } } => {
            sign_trust(&file, &key.open()?, &out, json)?
        }
    }
    Ok(())
}

/// Roles of those who sign.
const SIGNER: &[Role] = &[Role::Signer, Role::Revoker, Role::Suspender];

fn pinned(pin: &Pin) -> Result<String, CliError> {
    let groups: [(&str, &[PublicKey], &[Role]); 6] = [
        ("signer", &pin.public, SIGNER),
        ("revoker", &pin.revoker, &[Role::Revoker, Role::Suspender]),
        ("suspender", &pin.suspender, &[Role::Suspender]),
        ("reviewer", &pin.reviewer, &[Role::Reviewer]),
        ("receiver", &pin.receiver, &[Role::Receiver]),
        ("witness", &pin.witness, &[Role::Witness]),
    ];
    let now = OffsetDateTime::now_utc();
    let mut text = text(pin.serial, pin.signers_needed, now, pin.days, &groups)?;
    if pin.witnesses_needed > 0 || pin.origin_reset.is_some() {
        text.push_str(&format!(
            "\n[audit] # the log\nwitnesses_needed = {}\n",
            pin.witnesses_needed
        ));
        if let Some(reset) = &pin.origin_reset {
            text.push_str(&format!("origin_reset = \"{reset}\"\n"));
        }
        Trust::parse(&text)?;
    }
    Ok(if pin.resets_clock { resetting_clock(&text) } else { text })
}

/// The text of a trust file in which each key may sign, revoke and suspend, valid for `days` from
/// `now`. What a device would refuse is an error here.
pub fn trust_file(
    keys: &[PublicKey],
    needed: usize,
    now: OffsetDateTime,
    days: u16,
) -> Result<String, CliError> {
    text(0, needed, now, days, &[("signer", keys, SIGNER)])
}

fn text(
    serial: u64,
    needed: usize,
    now: OffsetDateTime,
    days: u16,
    groups: &[(&str, &[PublicKey], &[Role])],
) -> Result<String, CliError> {
    let now = now.replace_nanosecond(0)?;
    // A device's clock that is a little behind must not find a new file invalid.
    let (from, until) = (now - time::Duration::hours(1), now + time::Duration::days(days.into()));
    let mut all = Vec::new();
    for (label, keys, roles) in groups {
        all.extend(
            keys.iter().enumerate().map(|(n, key)| (*key, format!("{label} {}", n + 1), *roles)),
        );
    }
    let pinned: Vec<_> =
        all.iter().map(|(key, label, roles)| (*key, label.as_str(), *roles)).collect();
    let text = render(serial, needed, from, until, &pinned);
    Trust::parse(&text)?;
    Ok(text)
}

fn sign_trust(file: &Path, key: &SecretKey, out: &Path, json: bool) -> Result<(), CliError> {
    let bytes = read(file)?;
    // A trust file is text; a signed one never is.
    let signed = match std::str::from_utf8(&bytes) {
        Ok(text) => rotation::sign(text, key)?,
        Err(_) => rotation::cosign(&bytes, key)?,
    };
    replace(out, &signed)?;
    let (trust, signers) = rotation::inspect(&signed)?;
    if json {
        output::json_line(&json!({
            "signer": key.public().id(),
            "signatures": signers.len(),
            "serial": trust.serial(),
        }))?;
    } else {
        output::line(format!(
            "signed by {} ({} in all): trust file with serial {} and {} keys",
            key.public().id(),
            signers.len(),
            trust.serial(),
            trust.keys().len()
        ))?;
    }
    Ok(())
}
