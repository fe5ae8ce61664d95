//! Logs that begin anew. A device whose log was lost may begin another only with a trust file that
//! names it ([`crate::audit::generation`]), and a witness watches that one only when it is shown
//! the file, signed by as many of the people whom the trust file before pins as start a search.

use crate::audit::generation::Generation;
use crate::audit::note::{NoteError, NoteKey, SignatureKind};
use crate::watchlist::rotation::{self, RotationError};
use crate::watchlist::{Reference, Trust};

/// Why a log is not watched anew.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The signed file.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// It begins no log anew.
    #[error("the signed trust file (serial {0}) begins no log anew: it has no `origin_reset`")]
    None(u64),
    /// It is about a log that is not watched.
    #[error(
        "the log {0} begins anew, and none of its device is watched; name the verifier key of its \
         log before"
    )]
    Unknown(Reference),
    /// Its name is that of another device's log.
    #[error("the log {0} is watched already, with another key")]
    Taken(String),
    /// Its name.
    #[error(transparent)]
    Name(#[from] NoteError),
}

/// A log that begins anew, and the one before it.
#[derive(Debug, PartialEq, Eq)]
pub struct BegunAnew {
    /// The key of the new log: the device's own, under its new name.
    pub log: NoteKey,
    /// The name of the log before.
    pub before: String,
}

/// Follows the `signed` trust file from `trust`; the log that it begins anew below `root`, of one
/// of the `logs` that are watched.
///
/// # Errors
/// Where it is not signed as it has to be, or is about no watched log.
pub fn follow(
    trust: &Trust,
    signed: &[u8],
    root: &str,
    logs: &[NoteKey],
) -> Result<(Trust, BegunAnew), ResetError> {
    let trust = rotation::rotate(trust, signed)?;
    let Some(reset) = trust.audit().origin_reset.clone() else {
        return Err(ResetError::None(trust.serial()));
    };
    let below = |log: &NoteKey| {
        let named = log.name().strip_prefix(root)?.strip_prefix('/')?.to_owned();
        let first = Generation::named(reset.as_str(), &named);
        let after = first.is_some_and(|generation| generation > Generation::FIRST)
            || same_device(&named, reset.as_str());
        after.then(|| log.clone())
    };
    let before = logs.iter().filter_map(below).next_back();
    let before = before.ok_or_else(|| ResetError::Unknown(reset.clone()))?;
    let log = NoteKey::new(&format!("{root}/{reset}"), SignatureKind::Note, *before.public())?;
    let taken = |other: &&NoteKey| other.name() == log.name() && other.public() != log.public();
    if logs.iter().any(|other| taken(&other)) {
        return Err(ResetError::Taken(log.name().to_owned()));
    }
    Ok((trust, BegunAnew { log, before: before.name().to_owned() }))
}

/// Whether `later` is a later log of the device whose log is called `earlier`.
fn same_device(earlier: &str, later: &str) -> bool {
    let Some((device, _)) = earlier.rsplit_once('.') else { return false };
    match (Generation::named(earlier, device), Generation::named(later, device)) {
        (Some(earlier), Some(later)) => earlier < later,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::watchlist::keys::SecretKey;
    use crate::watchlist::trust::{Role, render};

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    /// A trust file of the signers 1, 2 and 3, two of whom are needed.
    fn text(serial: u64, reset: &str) -> String {
        let from = OffsetDateTime::UNIX_EPOCH;
        let keys = [1, 2, 3].map(|n| (key(n).public(), "", &[Role::Signer][..]));
        let text = render(serial, 2, from, from + time::Duration::DAY, &keys);
        if reset.is_empty() {
            text
        } else {
            format!("{text}\n[audit]\norigin_reset = \"{reset}\"\n")
        }
    }

    fn signed(text: &str, by: &[u8]) -> Vec<u8> {
        let first = rotation::sign(text, &key(by[0])).unwrap();
        by[1..].iter().fold(first, |bytes, n| rotation::cosign(&bytes, &key(*n)).unwrap())
    }

    fn log(name: &str, n: u8) -> NoteKey {
        NoteKey::new(name, SignatureKind::Note, key(n).public()).unwrap()
    }

    #[test]
    fn only_what_two_have_signed_begins_a_log_anew_and_only_one_that_is_watched() {
        let trust = Trust::parse(&text(1, "")).unwrap();
        let logs = [log("site/gate-3", 9), log("site/gate-4", 8)];
        let follow = |bytes: &[u8]| super::follow(&trust, bytes, "site", &logs).map(|(_, b)| b);
        let begun = follow(&signed(&text(2, "gate-3.2"), &[1, 2])).unwrap();
        assert_eq!(begun, BegunAnew { log: log("site/gate-3.2", 9), before: "site/gate-3".into() });
        let one = follow(&signed(&text(2, "gate-3.2"), &[1]));
        assert!(matches!(one, Err(ResetError::Rotation(RotationError::TooFewSigners { .. }))));
        let old = follow(&signed(&text(1, "gate-3.2"), &[1, 2]));
        assert!(matches!(old, Err(ResetError::Rotation(RotationError::NotNewer { .. }))));
        assert!(matches!(follow(&signed(&text(2, ""), &[1, 2])), Err(ResetError::None(2))));
        let unknown = follow(&signed(&text(2, "gate-9.2"), &[1, 2]));
        assert!(matches!(unknown, Err(ResetError::Unknown(_))));
    }

    #[test]
    fn a_later_log_follows_the_one_before_and_takes_no_other_devices_name() {
        let trust = Trust::parse(&text(1, "")).unwrap();
        let bytes = signed(&text(2, "gate-3.5"), &[2, 3]);
        let logs = [log("site/gate-3", 9), log("site/gate-3.2", 9)];
        let (next, begun) = super::follow(&trust, &bytes, "site", &logs).unwrap();
        assert_eq!((next.serial(), begun.before.as_str()), (2, "site/gate-3.2"));
        let taken = [log("site/gate-3", 9), log("site/gate-3.5", 8)];
        let refused = super::follow(&trust, &bytes, "site", &taken);
        assert!(matches!(refused, Err(ResetError::Taken(_))));
    }
}
