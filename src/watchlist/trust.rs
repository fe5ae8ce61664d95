//! The keys that this device trusts: `trust.toml`, the pinned public keys and what each may do.
//!
//! ```toml
//! version = 1
//! # Rises with each change of the file; a device refuses one that is lower than it has had. 0
//! # where absent.
//! serial = 1
//! # How many different signers a list needs. At least 2: nobody starts a search alone.
//! signers_needed = 2
//! valid_from = "2026-01-01T00:00:00Z"
//! valid_until = "2027-01-01T00:00:00Z"
//! # Where the clock was wrong once: the latest time that the device has seen is forgotten, and is
//! # `valid_from` again, when a file with a higher serial than before says so. False where absent.
//! resets_clock = false
//!
//! [[keys]]
//! public = "watchpost-ed25519:..."      # as `watchpost key show` prints it
//! label = "authorising office"          # for people who read this file; never leaves the device
//! roles = ["signer", "revoker"]         # of: signer, revoker, suspender, reviewer, receiver, witness
//! person = "p-17"                       # opaque: two keys of one person count once
//!
//! [audit]                               # optional
//! witnesses_needed = 0                  # people with the role witness who must have seen the log
//! ```
//!
//! * Starting takes `signers_needed` people; stopping takes one, any revoker or suspender.
//! * Keys with the same `person` are one person's: together they count as one signer. A signer's or
//!   witness's key without one counts for itself, so that whoever has two keys should be named.
//! * Reviewers are two different people only where the file says so: all their keys without
//!   `person` count as one person's. A file that has such keys is valid, and no two of them make a
//!   pair.
//! * A `witness` countersigns a device's log (the room `audit`); `witnesses_needed` says how many
//!   people must have seen it, at most as many as are pinned.
//! * `origin_reset` in `[audit]` names the log that a device begins anew, where the one before was
//!   lost or put back: the device's id, a dot and a number, as `gate-3.2`.
//! * A `receiver` is a desk: where a device waits for receipts, its word that an event is stored
//!   retires it (the room `audit`).
//! * Unknown fields are refused, because a misspelt restriction would otherwise be none. So is a
//!   key that is pinned twice, which could count as two people.
//! * The file on the device is where trust begins: anybody who can write it decides. Its keys
//!   rotate without touching the device, by [`super::rotation`].

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;
use time::OffsetDateTime;

use super::keys::{KeyId, PublicKey};
use super::reference::{NotOpaque, Reference};
use super::text::{is_read_as_written, stamp};
use crate::files;

/// Most bytes of a trust file.
pub const MAX_TRUST_BYTES: u64 = 256 * 1024;
/// Most keys of a trust file.
pub const MAX_KEYS: usize = 256;
/// Fewest people who can start a search.
pub const FEWEST_SIGNERS: usize = 2;

/// Why a trust file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the trust file {path}: {source}; without pinned keys no list is accepted")]
    File {
        /// Its path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Everybody on the device could pin a key.
    #[error(
        "the trust file {0} can be written by every user of this device, who could pin a key of \
         their own; run `chmod o-w {0}` and compare its keys with the people they belong to"
    )]
    Writable(String),
    /// Everybody on the device could put another file in its place.
    #[error(
        "every user of this device could replace the trust file {path}, because {folder} can be \
         written by all; run `chmod o-w {folder}`, or move the file, and compare its keys with the \
         people they belong to"
    )]
    Replaceable {
        /// Its path.
        path: String,
        /// A folder on the way to it, or to what it links to.
        folder: String,
    },
    /// Larger than [`MAX_TRUST_BYTES`].
    #[error("the trust file has more than {MAX_TRUST_BYTES} bytes")]
    TooLarge,
    /// No TOML, or a field that is missing, unknown or of a wrong type.
    #[error("the trust file does not parse: {0}")]
    Syntax(String),
    /// Made for another program version.
    #[error("the trust file has version {0}; this program reads version 1")]
    Version(u32),
    /// Fewer than [`FEWEST_SIGNERS`].
    #[error(
        "signers_needed = {0}: a list needs at least {FEWEST_SIGNERS} different signers, so that \
         one person alone (or one stolen key) cannot start a search; pin a second person's key \
         and write {FEWEST_SIGNERS} or more"
    )]
    OneIsNotEnough(usize),
    /// More signers asked for than are pinned.
    #[error(
        "signers_needed = {needed}, but the keys with the role \"signer\" belong to {pinned} \
         people; no list could ever be accepted"
    )]
    CannotBeMet {
        /// As asked for.
        needed: usize,
        /// People with signer keys in the file.
        pinned: usize,
    },
    /// A key that appears twice.
    #[error(
        "the key {0} is pinned twice; give each person one key and each key one entry with all of \
         its roles"
    )]
    Repeated(KeyId),
    /// A key that does not decode.
    #[error("keys[{index}].public: {what}")]
    Key {
        /// Position in the file, from 0.
        index: usize,
        /// The reason.
        what: String,
    },
    /// Without a role a key can do nothing.
    #[error(
        "the key {0} has no role; write some of \"signer\", \"revoker\", \"suspender\", \
         \"reviewer\", \"receiver\", \"witness\" or remove it"
    )]
    NoRole(KeyId),
    /// More than [`MAX_KEYS`].
    #[error("{0} keys; at most {MAX_KEYS} can be pinned")]
    TooManyKeys(usize),
    /// A label that does not read as it is written.
    #[error(
        "the key {0}: label: write it in one line, without characters that control how it is shown"
    )]
    Label(KeyId),
    /// A person who is named by more than an opaque reference.
    #[error("the key {key}: person: {source}")]
    Person {
        /// Whose.
        key: KeyId,
        /// What is wrong.
        source: NotOpaque,
    },
    /// More witnesses asked for than are pinned.
    #[error(
        "`witnesses_needed` of the trust file's section audit is {needed}, but the keys with the role \"witness\" belong to \
         {pinned} people"
    )]
    TooFewWitnesses {
        /// As asked for.
        needed: usize,
        /// People with witness keys in the file.
        pinned: usize,
    },
    /// Not an origin.
    #[error("audit.origin_reset: {0}")]
    OriginReset(NotOpaque),
    /// An interval that is empty.
    #[error("valid_until is not after valid_from")]
    EmptyValidity,
    /// The highest number.
    #[error("serial is the highest that there is, and nothing could follow it; take a lower one")]
    LastSerial,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs lists; `signers_needed` of them together make one valid.
    Signer,
    /// Withdraws a list or an entry, alone.
    Revoker,
    /// Stops matching in an area for a time, alone.
    Suspender,
    /// Gives one of the two verdicts on a candidate.
    Reviewer,
    /// A desk, whose receipts retire what a device has published.
    Receiver,
    /// Countersigns a device's log.
    Witness,
}

/// A pinned key.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Its name in lists and logs.
    pub id: KeyId,
    /// The key.
    pub public: PublicKey,
    /// For people; not to be published.
    pub label: String,
    roles: Vec<Role>,
    person: Option<Reference>,
}

/// A checked trust file. That `signers_needed` is at least two holds for every value of this type.
#[derive(Debug, Clone)]
pub struct Trust {
    serial: u64,
    signers_needed: usize,
    valid_from: OffsetDateTime,
    valid_until: OffsetDateTime,
    resets_clock: bool,
    keys: Vec<TrustedKey>,
    audit: AuditTrust,
}

/// What a log needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditTrust {
    /// How many different witnesses.
    pub witnesses_needed: usize,
    /// The log that a device begins anew, where the one before was lost.
    pub origin_reset: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    version: u32,
    #[serde(default)]
    serial: u64,
    signers_needed: usize,
    #[serde(with = "time::serde::rfc3339")]
    valid_from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    valid_until: OffsetDateTime,
    #[serde(default)]
    resets_clock: bool,
    #[serde(default)]
    keys: Vec<KeyFile>,
    #[serde(default)]
    audit: AuditFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditFile {
    #[serde(default)]
    witnesses_needed: usize,
    origin_reset: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    public: String,
    #[serde(default)]
    label: String,
    roles: Vec<Role>,
    person: Option<String>,
}

impl AuditFile {
    fn check(self) -> Result<AuditTrust, TrustError> {
        let origin = |text: String| Reference::parse("origin", &text);
        let origin_reset =
            self.origin_reset.map(origin).transpose().map_err(TrustError::OriginReset)?;
        Ok(AuditTrust { witnesses_needed: self.witnesses_needed, origin_reset })
    }
}

impl Trust {
    /// Reads and checks a trust file.
    ///
    /// # Errors
    /// Where it cannot be read or says something that must not be believed; see [`TrustError`].
    pub fn open(path: &Path) -> Result<Self, TrustError> {
        let io = |source| TrustError::File { path: path.display().to_string(), source };
        let file = files::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.mode() & 0o002 != 0 {
            return Err(TrustError::Writable(path.display().to_string()));
        }
        if let Some(folder) = files::open_to_all(path).map_err(io)? {
            let [path, folder] = [path, &folder].map(|p| p.display().to_string());
            return Err(TrustError::Replaceable { path, folder });
        }
        let text = files::read_text_of(file, MAX_TRUST_BYTES).map_err(io)?;
        Self::parse(&text)
    }

    /// Checks the text of a trust file.
    ///
    /// # Errors
    /// As for [`Trust::open`].
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        if text.len() as u64 > MAX_TRUST_BYTES {
            return Err(TrustError::TooLarge);
        }
        let file: TrustFile =
            toml::from_str(text).map_err(|e| TrustError::Syntax(e.to_string()))?;
        if file.version != 1 {
            return Err(TrustError::Version(file.version));
        }
        if file.signers_needed < FEWEST_SIGNERS {
            return Err(TrustError::OneIsNotEnough(file.signers_needed));
        }
        if file.serial == u64::MAX {
            return Err(TrustError::LastSerial);
        }
        if file.valid_until <= file.valid_from {
            return Err(TrustError::EmptyValidity);
        }
        if file.keys.len() > MAX_KEYS {
            return Err(TrustError::TooManyKeys(file.keys.len()));
        }
        let mut keys: Vec<TrustedKey> = Vec::with_capacity(file.keys.len());
        for (index, key) in file.keys.into_iter().enumerate() {
            let public: PublicKey =
                key.public.parse().map_err(|e| TrustError::Key { index, what: format!("{e}") })?;
            let id = public.id();
            if keys.iter().any(|k| k.id == id) {
                return Err(TrustError::Repeated(id));
            }
            if key.roles.is_empty() {
                return Err(TrustError::NoRole(id));
            }
            if !is_read_as_written(&key.label) {
                return Err(TrustError::Label(id));
            }
            let person = key.person.map(|text| Reference::parse("person", &text)).transpose();
            let person = person.map_err(|source| TrustError::Person { key: id, source })?;
            keys.push(TrustedKey { id, public, label: key.label, roles: key.roles, person });
        }
        let trust = Self {
            serial: file.serial,
            signers_needed: file.signers_needed,
            valid_from: file.valid_from,
            valid_until: file.valid_until,
            resets_clock: file.resets_clock,
            keys,
            audit: file.audit.check()?,
        };
        let pinned = trust.people(Role::Signer);
        if pinned < trust.signers_needed {
            return Err(TrustError::CannotBeMet { needed: trust.signers_needed, pinned });
        }
        let (needed, pinned) = (trust.audit.witnesses_needed, trust.people(Role::Witness));
        if pinned < needed {
            return Err(TrustError::TooFewWitnesses { needed, pinned });
        }
        Ok(trust)
    }

    /// Rises with each change of the file.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// How many different signers a list needs; at least two.
    pub fn signers_needed(&self) -> usize {
        self.signers_needed
    }

    /// From when the file is valid.
    pub fn valid_from(&self) -> OffsetDateTime {
        self.valid_from
    }

    /// Until when the file is valid.
    pub fn valid_until(&self) -> OffsetDateTime {
        self.valid_until
    }

    /// Whether it makes a device forget the latest time that it has seen.
    pub fn resets_clock(&self) -> bool {
        self.resets_clock
    }

    /// The key named `id`, if it is pinned with `role`.
    pub fn key(&self, id: KeyId, role: Role) -> Option<&PublicKey> {
        self.keys.iter().find(|k| k.id == id && k.roles.contains(&role)).map(|k| &k.public)
    }

    /// Whether two pinned keys count as one person's in `role`: one key, keys with the same
    /// `person`, or those of reviewers of which nobody has said whose they are.
    pub fn same_person(&self, role: Role, a: KeyId, b: KeyId) -> bool {
        let person = |id| self.keys.iter().find(|k| k.id == id).and_then(|k| k.person.as_ref());
        match (person(a), person(b)) {
            _ if a == b => true,
            (Some(a), Some(b)) => a == b,
            (None, None) => role.is_one_person_where_unnamed(),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// How many different people hold keys with `role`.
    pub fn people(&self, role: Role) -> usize {
        let ids = self.keys.iter().filter(|k| k.roles.contains(&role)).map(|k| k.id);
        self.count_people(role, ids)
    }

    /// Keys of reviewers of which the file does not say whose they are, where there are several:
    /// they count as one person's.
    pub fn unnamed_reviewers(&self) -> usize {
        let unnamed = |k: &&TrustedKey| k.roles.contains(&Role::Reviewer) && k.person.is_none();
        Some(self.keys.iter().filter(unnamed).count()).filter(|keys| *keys > 1).unwrap_or(0)
    }

    /// How many different people the pinned keys `ids` belong to, in `role`.
    pub fn count_people(&self, role: Role, ids: impl IntoIterator<Item = KeyId>) -> usize {
        let mut people: Vec<KeyId> = Vec::new();
        for id in ids {
            if !people.iter().any(|p| self.same_person(role, *p, id)) {
                people.push(id);
            }
        }
        people.len()
    }

    /// What the device's log needs.
    pub fn audit(&self) -> &AuditTrust {
        &self.audit
    }

    /// All pinned keys, in the order of the file.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }
}

/// The text of a trust file, to begin one with: `serial`, `keys` with their labels and roles, valid
/// from `from` until `until`. What it says is checked when it is read.
pub fn render(
    serial: u64,
    signers_needed: usize,
    from: OffsetDateTime,
    until: OffsetDateTime,
    keys: &[(PublicKey, &str, &[Role])],
) -> String {
    let mut text = String::from(
        "# Whom this device believes; see the documentation of \
         `watchpost::watchlist::trust`.\nversion = 1\n",
    );
    let _ = writeln!(text, "serial = {serial}\nsigners_needed = {signers_needed}");
    let _ =
        writeln!(text, "valid_from = \"{}\"\nvalid_until = \"{}\"", stamp(&from), stamp(&until));
    for (public, label, roles) in keys {
        let roles: Vec<_> = roles.iter().map(|r| format!("\"{}\"", r.as_str())).collect();
        let label = toml::Value::from(*label);
        let _ = writeln!(
            text,
            "\n[[keys]]\npublic = \"{public}\"\nlabel = {label}\nroles = [{}]",
            roles.join(", ")
        );
    }
    text
}

/// The text of a trust file, as [`render`] makes it, that also says whose the key `public` is.
pub fn naming(text: &str, public: &PublicKey, person: &Reference) -> String {
    let pinned = format!("\npublic = \"{public}\"\n");
    text.replacen(&pinned, &format!("{pinned}person = \"{person}\"\n"), 1)
}

/// The text of a trust file, as [`render`] makes it, that also resets the clock of devices.
pub fn resetting_clock(text: &str) -> String {
    text.replacen("\nversion = 1\n", "\nversion = 1\nresets_clock = true\n", 1)
}

impl Role {
    /// Whether all keys with this role of which nobody has said whose they are count as one
    /// person's. Signers and witnesses hold keys of offices, which lists in force rest on; a
    /// reviewer's browser makes a key in a moment, and nothing but `person` tells two reviewers
    /// from one who has enrolled twice.
    fn is_one_person_where_unnamed(self) -> bool {
        match self {
            Self::Reviewer => true,
            Self::Signer | Self::Revoker | Self::Suspender | Self::Receiver | Self::Witness => {
                false
            }
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Signer => "signer",
            Role::Revoker => "revoker",
            Role::Suspender => "suspender",
            Role::Reviewer => "reviewer",
            Role::Receiver => "receiver",
            Role::Witness => "witness",
        }
    }
}

impl TrustedKey {
    /// What the key may do.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Whose it is, where the file says so. Opaque.
    pub fn person(&self) -> Option<&Reference> {
        self.person.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Trust, TrustError> {
        Trust::parse(text)
    }

    #[test]
    fn one_signer_is_refused_with_the_reason() {
        let text = fixture::trust_text(1, &[("signer", 1), ("signer", 2)]);
        let refusal = parse(&text).unwrap_err();
        assert!(matches!(refusal, TrustError::OneIsNotEnough(1)));
        assert!(refusal.to_string().contains("cannot start a search"), "{refusal}");
        assert!(matches!(
            parse(&text.replace("needed = 1", "needed = 0")),
            Err(TrustError::OneIsNotEnough(0))
        ));
    }

    #[test]
    fn the_same_key_twice_is_refused_because_it_could_count_as_two_people() {
        let text = fixture::trust_text(2, &[("signer", 1), ("signer", 1)]);
        assert!(matches!(parse(&text), Err(TrustError::Repeated(_))));
    }

    #[test]
    fn fewer_signer_keys_than_needed_is_refused_at_once() {
        let text = fixture::trust_text(2, &[("signer", 1), ("reviewer", 2)]);
        assert!(matches!(parse(&text), Err(TrustError::CannotBeMet { needed: 2, pinned: 1 })));
    }

    #[test]
    fn an_unknown_field_role_or_version_is_refused() {
        let good = fixture::trust_text(2, &[("signer", 1), ("signer", 2)]);
        assert!(parse(&good).is_ok());
        assert!(matches!(parse(&format!("signers_neded = 3\n{good}")), Err(TrustError::Syntax(_))));
        assert!(matches!(parse(&good.replace("label", "lable")), Err(TrustError::Syntax(_))));
        assert!(matches!(
            parse(&good.replace("\"signer\"", "\"king\"")),
            Err(TrustError::Syntax(_))
        ));
        assert!(matches!(
            parse(&good.replace("version = 1", "version = 2")),
            Err(TrustError::Version(2))
        ));
        assert!(matches!(parse(&good.replace("2036", "2016")), Err(TrustError::EmptyValidity)));
        assert!(matches!(parse(&good.replace("[\"signer\"]", "[]")), Err(TrustError::NoRole(_))));
        let with_serial = |serial: u64| parse(&format!("serial = {serial}\n{good}"));
        assert!(with_serial(u64::MAX - 1).is_ok());
        assert!(matches!(with_serial(u64::MAX), Err(TrustError::LastSerial)));
        assert!(matches!(
            parse(&good.replace("ed25519:", "rsa:")),
            Err(TrustError::Key { index: 0, .. })
        ));
    }

    #[test]
    fn a_key_counts_only_in_its_roles() {
        let trust = parse(&fixture::trust_text(2, &[("signer", 1), ("signer", 2), ("revoker", 3)]))
            .unwrap();
        let revoker = fixture::key(3).public().id();
        assert!(trust.key(revoker, Role::Signer).is_none());
        assert!(trust.key(revoker, Role::Revoker).is_some());
    }

    /// A trust file of the signers 1, 2 and 3, where 1 and 2 are one person's keys.
    fn two_keys_of_one(needed: usize) -> String {
        let text = fixture::trust_text(needed, &[("signer", 1), ("signer", 2), ("signer", 3)]);
        ["person 1", "person 2"].iter().fold(text, |text, label| {
            text.replace(
                &format!("label = \"{label}\"\n"),
                &format!("label = \"{label}\"\nperson = \"p-17\"\n"),
            )
        })
    }

    #[test]
    fn two_keys_of_one_person_are_one_signer() {
        let id = |n| fixture::key(n).public().id();
        let trust = parse(&two_keys_of_one(2)).unwrap();
        let same = |a, b| trust.same_person(Role::Signer, id(a), id(b));
        assert!(same(1, 2) && !same(1, 3));
        assert!(!same(1, 9) && same(3, 3));
        assert_eq!(trust.count_people(Role::Signer, [id(1), id(2), id(3), id(3)]), 2);
        let refused = parse(&two_keys_of_one(3));
        assert!(matches!(refused, Err(TrustError::CannotBeMet { needed: 3, pinned: 2 })));
        let named = parse(&two_keys_of_one(2).replace("p-17", "Jane Doe")).unwrap_err();
        assert!(matches!(named, TrustError::Person { .. }), "{named}");
    }

    /// Each way in which four reviewers can be named or not: `None`, or one of two people.
    #[test]
    fn reviewers_that_nobody_has_named_are_one_person_and_the_file_stays_valid() {
        let id = |n| fixture::key(n).public().id();
        let keys: Vec<_> = [("signer", 1), ("signer", 2)]
            .into_iter()
            .chain((3..=6).map(|n| ("reviewer", n)))
            .collect();
        let bare = (3..=6).fold(fixture::trust_text(2, &keys), |text, n| {
            text.replace(&format!("person = \"p-{n}\"\n"), "")
        });
        for case in 0..3u32.pow(4) {
            let named = |n: u8| match case / 3u32.pow(u32::from(n) - 3) % 3 {
                0 => None,
                1 => Some("p-a"),
                _ => Some("p-b"),
            };
            let text = (3..=6).fold(bare.clone(), |text, n| match named(n) {
                Some(person) => naming(&text, &fixture::key(n).public(), &person.parse().unwrap()),
                None => text,
            });
            let trust = parse(&text).expect("it stays valid");
            let different: std::collections::BTreeSet<_> = (3..=6).map(named).collect();
            assert_eq!(trust.people(Role::Reviewer), different.len(), "{case}");
            let unnamed = (3..=6).filter(|n| named(*n).is_none()).count();
            assert_eq!(trust.unnamed_reviewers(), if unnamed > 1 { unnamed } else { 0 });
            for (a, b) in (3..=6).flat_map(|a| (3..=6).map(move |b| (a, b))) {
                let same = trust.same_person(Role::Reviewer, id(a), id(b));
                assert_eq!(same, named(a) == named(b), "{case}: {a} and {b}");
            }
        }
        // Who signs is counted as before.
        assert_eq!(parse(&bare).unwrap().people(Role::Signer), 2);
    }

    #[test]
    fn what_is_reserved_is_read_and_checked() {
        let keys = [("signer", 1), ("signer", 2), ("receiver", 3), ("witness", 4)];
        let good = fixture::trust_text(2, &keys);
        assert_eq!(parse(&good).unwrap().audit(), &AuditTrust::default());
        let with = |audit: &str| parse(&format!("{good}\n[audit]\n{audit}\n"));
        let trust = with("witnesses_needed = 1\norigin_reset = \"gate-3.2\"").unwrap();
        let audit = trust.audit();
        assert_eq!(audit.witnesses_needed, 1);
        assert_eq!(audit.origin_reset.as_deref(), Some("gate-3.2"));
        assert!(matches!(
            with("witnesses_needed = 2"),
            Err(TrustError::TooFewWitnesses { needed: 2, pinned: 1 })
        ));
        assert!(matches!(with("origin_reset = \"a b\""), Err(TrustError::OriginReset(_))));
        assert!(matches!(with("witness_needed = 1"), Err(TrustError::Syntax(_))));
    }

    #[test]
    fn a_missing_file_says_what_follows() {
        let text = Trust::open(Path::new("/nonexistent/trust.toml")).unwrap_err().to_string();
        assert!(
            text.contains("/nonexistent/trust.toml") && text.contains("no list is accepted"),
            "{text}"
        );
    }

    #[test]
    fn a_rendered_file_says_what_it_was_given() {
        let (a, b) = (fixture::key(1).public(), fixture::key(2).public());
        let from = fixture::now();
        let label = "the \"office\", roles = []";
        for hidden in ["the office\nroles = []", "the \u{202E}office"] {
            let keys = [(a, hidden, &[Role::Signer][..]), (b, "", &[Role::Signer])];
            let refused = parse(&render(3, 2, from, from + time::Duration::DAY, &keys));
            assert!(matches!(refused, Err(TrustError::Label(id)) if id == a.id()), "{hidden:?}");
        }
        let keys = [(a, label, &[Role::Signer, Role::Revoker][..]), (b, "", &[Role::Signer])];
        let trust = parse(&render(3, 2, from, from + time::Duration::DAY, &keys)).unwrap();
        assert_eq!(
            (trust.serial(), trust.valid_from(), trust.valid_until()),
            (3, from, from + time::Duration::DAY)
        );
        assert_eq!((trust.keys()[0].public, trust.keys()[0].label.as_str()), (a, label));
        assert_eq!(trust.keys()[0].roles(), [Role::Signer, Role::Revoker]);
    }

    #[test]
    fn a_file_that_everybody_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.toml");
        std::fs::write(&path, fixture::trust_text(2, &[("signer", 1), ("signer", 2)])).unwrap();
        assert!(Trust::open(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Trust::open(&path), Err(TrustError::Writable(_))));
    }

    #[test]
    fn a_file_that_everybody_can_replace_is_refused_through_a_link_too() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for folder in [&open, &closed] {
            std::fs::create_dir(folder).unwrap();
        }
        let (path, link) = (open.join("trust.toml"), closed.join("trust.toml"));
        std::fs::write(&path, fixture::trust_text(2, &[("signer", 1), ("signer", 2)])).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for (folder_mode, good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            mode(&open, folder_mode);
            assert_eq!(Trust::open(&path).is_ok(), good, "{folder_mode:o}");
            assert_eq!(Trust::open(&link).is_ok(), good, "{folder_mode:o}");
        }
        // On the way there: a folder further up, and a link that another one leads to.
        let (deep, hop) = (open.join("deep"), closed.join("hop"));
        std::fs::create_dir(&deep).unwrap();
        std::fs::rename(&path, deep.join("trust.toml")).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("../closed/trust.toml", open.join("hop")).unwrap();
        std::fs::rename(deep.join("trust.toml"), &link).unwrap();
        std::os::unix::fs::symlink(open.join("hop"), &hop).unwrap();
        std::fs::copy(&link, deep.join("trust.toml")).unwrap();
        for way in [deep.join("trust.toml"), hop] {
            mode(&open, 0o755);
            assert!(Trust::open(&way).is_ok(), "{way:?}");
            mode(&open, 0o777);
            assert!(matches!(Trust::open(&way), Err(TrustError::Replaceable { .. })), "{way:?}");
        }
        std::fs::copy(&link, &path).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refusal = Trust::open(&link).unwrap_err().to_string();
        assert!(refusal.contains("chmod o-w") && refusal.contains("open"), "{refusal}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(
            text in "\\PC{0,200}|(version|signers_needed|keys|roles|public| = \
                |\\[|\\]|\"|\n|1|2){0,60}",
        ) {
            let _ = parse(&text);
        }
    }
}
