//! Which photographs a signed list was made of, for a desk: it has no camera, and is none of the
//! list's devices.
//!
//! * A [`Roster`] can only be made by [`roster()`]: enough different pinned signers, unaltered, not
//!   ended. Device, model and place are not asked.
//! * No template is kept.

use std::collections::HashSet;

use time::OffsetDateTime;

use super::codec::{EntryParts, read_entry, vouched_for};
use super::model::{EntryFault, Reference};
use super::refusal::Refusal;
use super::trust::Trust;
use super::verify::{SignedHead, read_container, signed_head};

/// The photographs of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster {
    /// The list.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// Its entries that have not ended.
    pub entries: Vec<RosterEntry>,
}

/// The photographs of one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct RosterEntry {
    /// Its reference.
    pub reference: Reference,
    /// From then on nobody is looked for by it: its own end, or that of the list or of the trust.
    pub until: OffsetDateTime,
    /// SHA-256 of each photograph's file.
    pub photographs: Vec<[u8; 32]>,
}

/// The photographs of the list in `bytes`, if `trust`'s signers made it and it has not ended at
/// `now`.
///
/// # Errors
/// The first reason not to believe it.
pub fn roster(bytes: &[u8], trust: &Trust, now: OffsetDateTime) -> Result<Roster, Refusal> {
    let container = read_container(bytes)?;
    let SignedHead { content, digests, .. } = signed_head(&container, trust, now)?;
    if now >= content.expires {
        return Err(Refusal::Expired { at: content.expires, now });
    }
    let ends = content.expires.min(trust.valid_until());
    let (mut seen, mut entries) = (HashSet::new(), Vec::new());
    for item in vouched_for(digests, container.items())? {
        let Some(item) = item? else { continue };
        let EntryParts { entry, photographs, .. } = read_entry(item, content.dimensions)?;
        if !seen.insert(entry.reference.clone()) {
            return Err(entry.fault(EntryFault::Repeated).into());
        }
        if entry.expires > now {
            entries.push(RosterEntry {
                reference: entry.reference,
                until: entry.expires.min(ends),
                photographs: photographs.iter().map(|p| p.sha256).collect(),
            });
        }
    }
    Ok(Roster { list: content.id, version: content.version, entries })
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::super::fixture::{content, now, trust};
    use super::super::removal::without;
    use super::super::tampering::signed;
    use super::*;

    #[test]
    fn a_roster_has_the_photographs_of_entries_that_have_not_ended_and_were_not_removed() {
        let mut list = content(4);
        list.entries[0].expires = now();
        let bytes = signed(&list, &[1, 2]);
        let bytes = without(&bytes, |r| r.as_str() == "case-1").unwrap().unwrap().parts.concat();
        let roster = roster(&bytes, &trust(), now()).unwrap();
        assert_eq!((roster.list.as_str(), roster.version), ("north-gate", 7));
        let entries: Vec<_> =
            roster.entries.iter().map(|e| (e.reference.as_str(), e.photographs.len())).collect();
        assert_eq!(entries, [("case-2", 3), ("case-3", 1)]);
        assert!(roster.entries.iter().all(|e| e.until == now() + Duration::days(20)));
    }

    #[test]
    fn nothing_is_believed_that_two_have_not_signed_or_that_has_ended() {
        let bytes = signed(&content(1), &[1]);
        assert!(matches!(roster(&bytes, &trust(), now()), Err(Refusal::TooFewSigners { .. })));
        let bytes = signed(&content(1), &[1, 2]);
        let late = now() + Duration::days(31);
        assert!(matches!(roster(&bytes, &trust(), late), Err(Refusal::Expired { .. })));
        let early = now() - Duration::days(1000);
        assert!(matches!(roster(&bytes, &trust(), early), Err(Refusal::TrustNotValid { .. })));
        // An hour before it begins a desk may have it already.
        assert!(roster(&bytes, &trust(), now() - Duration::days(1) - Duration::HOUR).is_ok());
    }
}
