//! `watchpost key new`, `trust` and `sign-trust`: the keys of the people who sign, the file that
//! pins them, and its rotation.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Subcommand;
use serde_json::json;
use time::OffsetDateTime;

use super::{CliError, output, read, show};
use crate::cli::flags::OutputFormat;
use crate::cli::signer::{NewPassphrase, SignerKey};
use crate::files::replace;
use crate::watchlist::keys::{PublicKey, SecretKey};
use crate::watchlist::trust::{Role, naming, render, resetting_clock};
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

/// A public key, and whose it is where that is said: `KEY`, or `p-17=KEY`.
#[derive(Debug, Clone)]
pub struct PersonsKey {
    person: Option<Reference>,
    key: PublicKey,
}

impl FromStr for PersonsKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A key in base64 may end with `=`.
        let named = text.split_once('=').filter(|(_, rest)| rest.contains(':'));
        let (person, key) = match named {
            Some((person, key)) => (Some(person.parse().map_err(|e| format!("person: {e}"))?), key),
            None => (None, text),
        };
        Ok(Self { person, key: key.parse().map_err(|e| format!("{e}"))? })
    }
}

#[derive(clap::Args)]
pub struct Pin {
    /// Public keys of those who may sign, revoke and suspend, as `key show` prints them; at least
    /// as many as signatures are needed. Here and below, `p-17=KEY` says whose key it is, by an
    /// opaque name: keys of one person count once.
    #[arg(required = true)]
    public: Vec<PersonsKey>,
    /// Public key of one who may revoke and suspend, but not sign; may be given several times.
    #[arg(long, value_name = "KEY")]
    revoker: Vec<PersonsKey>,
    /// Public key of one who may suspend only; may be given several times.
    #[arg(long, value_name = "KEY")]
    suspender: Vec<PersonsKey>,
    /// Public key of one who reviews candidates, and whose it is; may be given several times. Keys
    /// of reviewers without a person count as one person's.
    #[arg(long, value_name = "PERSON=KEY")]
    reviewer: Vec<PersonsKey>,
    /// Public key of a desk, whose receipts retire candidates; may be given several times.
    #[arg(long, value_name = "KEY")]
    receiver: Vec<PersonsKey>,
    /// Public key of a witness of the device's audit log; may be given several times.
    #[arg(long, value_name = "KEY")]
    witness: Vec<PersonsKey>,
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
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    /// Rises with each change: a device that has had a file does not take a lower one. The highest
    /// number is refused, because nothing can follow it.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..u64::MAX))]
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
    let groups: [(&str, &[PersonsKey], &[Role]); 6] = [
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
    let keys: Vec<_> = keys.iter().map(|key| PersonsKey { person: None, key: *key }).collect();
    text(0, needed, now, days, &[("signer", &keys, SIGNER)])
}

fn text(
    serial: u64,
    needed: usize,
    now: OffsetDateTime,
    days: u16,
    groups: &[(&str, &[PersonsKey], &[Role])],
) -> Result<String, CliError> {
    let now = now.replace_nanosecond(0)?;
    // A device's clock that is a little behind must not find a new file invalid.
    let (from, until) = (now - time::Duration::hours(1), now + time::Duration::days(days.into()));
    let mut all = Vec::new();
    for (label, keys, roles) in groups {
        all.extend(
            keys.iter().enumerate().map(|(n, key)| (key.key, format!("{label} {}", n + 1), *roles)),
        );
    }
    let people = groups.iter().flat_map(|(_, keys, _)| *keys);
    let pinned: Vec<_> =
        all.iter().map(|(key, label, roles)| (*key, label.as_str(), *roles)).collect();
    let text = render(serial, needed, from, until, &pinned);
    let text = people.fold(text, |text, PersonsKey { person, key }| match person {
        Some(person) => naming(&text, key, person),
        None => text,
    });
    check(&Trust::parse(&text)?)?;
    Ok(text)
}

/// Whether it says which reviewers are different people: a device could take no two of them for a
/// pair otherwise, and nobody would notice before a candidate waits.
fn check(trust: &Trust) -> Result<(), CliError> {
    match trust.unnamed_reviewers() {
        0 => Ok(()),
        keys => Err(format!(
            "{keys} keys of reviewers do not say whose they are, and count as one person's: give \
             each person an opaque name of their own, as in --reviewer p-1=KEY --reviewer p-2=KEY, \
             or write person = \"p-1\" below each key"
        )
        .into()),
    }
}

fn sign_trust(file: &Path, key: &SecretKey, out: &Path, json: bool) -> Result<(), CliError> {
    let bytes = read(file)?;
    // A trust file is text; a signed one never is.
    let signed = match std::str::from_utf8(&bytes) {
        Ok(text) => rotation::sign(text, key)?,
        Err(_) => rotation::cosign(&bytes, key)?,
    };
    let (trust, signers) = rotation::inspect(&signed)?;
    check(&trust)?;
    replace(out, &signed)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed(&[n; 32]).public()
    }

    #[test]
    fn several_reviewers_are_pinned_only_where_it_is_said_whose_keys_they_are() {
        let given = |people: &[&str]| -> Vec<PersonsKey> {
            let key = |(n, person): (u8, &&str)| format!("{person}{}", key(n)).parse();
            (3..).zip(people).map(key).collect::<Result<_, _>>().expect("keys")
        };
        let signers = given(&["", "p-1="]);
        let pinned = |people: &[&str]| {
            let reviewers: Vec<PersonsKey> = given(&[&["", ""][..], people].concat())[2..].to_vec();
            let groups: [(&str, &[PersonsKey], &[Role]); 2] =
                [("signer", &signers, SIGNER), ("reviewer", &reviewers, &[Role::Reviewer])];
            text(1, 2, OffsetDateTime::UNIX_EPOCH, 1, &groups).map(|text| {
                let trust = Trust::parse(&text).expect("it was read");
                (trust.people(Role::Signer), trust.people(Role::Reviewer))
            })
        };
        assert_eq!(pinned(&["p-1=", "p-2="]).expect("two people"), (2, 2));
        assert_eq!(pinned(&["p-1=", "p-1="]).expect("one person"), (2, 1));
        assert_eq!(pinned(&[""]).expect("one"), (2, 1));
        assert_eq!(pinned(&["", "p-2="]).expect("one, and one"), (2, 2));
        let refused = pinned(&["", ""]).expect_err("nobody says that they are two").to_string();
        assert!(refused.contains("--reviewer p-1=KEY"), "{refused}");
        for wrong in ["Jane Doe=", "=", "p-1=p-2="] {
            assert!(format!("{wrong}{}", key(3)).parse::<PersonsKey>().is_err(), "{wrong}");
        }
    }
}
