//! What was stopped by one person: revocations for ever, suspensions until they are over.
//!
//! * Bounded, and what finds no room stops more, never less. One more revoked entry becomes a
//!   revocation of its whole list; one more revoked list stops everything ([`Stopped::is_full`]);
//!   one more suspension closes the shortest gap between two others.
//! * A suspension that is over makes room, by the latest time that a believed clock has shown: one
//!   that jumps ahead does not end anything.

use serde::{Deserialize, Serialize};

use super::super::model::Reference;
use super::super::order::Action;

/// Most revocations that are remembered. Those of single entries make room by becoming one of their
/// whole list.
pub const MAX_REVOKED: usize = 4096;
/// Most separate times of suspension that are remembered. Those that touch are one.
pub const MAX_SUSPENDED: usize = 1024;

/// What may never be matched again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    list: Reference,
    /// The last version that is revoked.
    through: u64,
    /// The whole list where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Reference>,
    /// The order's id, for people; earlier versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<String>,
}

impl Revocation {
    /// Whether `self` says all that `other` says.
    fn covers(&self, other: &Revocation) -> bool {
        self.list == other.list
            && self.through >= other.through
            && (self.entry.is_none() || self.entry == other.entry)
    }
}

/// A time in which nobody is matched: Unix seconds, the end excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suspension {
    from: i64,
    to: i64,
    /// Earlier versions wrote the order's id.
    #[serde(default, skip_serializing)]
    #[allow(dead_code, reason = "read, so that a state file with it is no damaged one")]
    order: Option<String>,
}

/// Revocations and suspensions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Stopped {
    pub(super) revoked: Vec<Revocation>,
    /// Ascending; no two touch.
    pub(super) suspended: Vec<Suspension>,
    /// A revocation found no room.
    pub(super) full: bool,
}

impl Stopped {
    /// What is wrong with a state that was read; sorts what earlier versions did not.
    pub(super) fn check(&mut self) -> Result<(), String> {
        if self.revoked.len() > MAX_REVOKED || self.suspended.len() > MAX_SUSPENDED {
            return Err("more orders than are remembered".into());
        }
        if self.suspended.iter().any(|s| s.to <= s.from) {
            return Err("a suspension that ends before it begins".into());
        }
        self.merge();
        Ok(())
    }

    /// Whether an order was followed that nobody could remember: nothing may be matched.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The last version of the list `id` that was revoked as a whole.
    pub(super) fn revoked_through(&self, id: &str) -> Option<u64> {
        let whole = self.revoked.iter().filter(|r| r.entry.is_none() && r.list.as_str() == id);
        whole.map(|r| r.through).max()
    }

    /// The list that was revoked last as a whole, and the order's id where it is known.
    pub(super) fn last_revoked(&self) -> Option<(&Reference, Option<&str>)> {
        let last = self.revoked.iter().rev().find(|r| r.entry.is_none())?;
        Some((&last.list, last.order.as_deref()))
    }

    /// The id of the order by which versions up to `version` of the list `id` were revoked as a
    /// whole, where it is known.
    pub(super) fn revoked_by(&self, id: &str, version: u64) -> Option<&str> {
        let whole =
            |r: &&Revocation| r.entry.is_none() && r.list.as_str() == id && version <= r.through;
        self.revoked.iter().rev().find(whole)?.order.as_deref()
    }

    /// Whether something was revoked by `order`.
    pub(super) fn revoked_by_order(&self, order: &str) -> bool {
        self.revoked.iter().any(|r| r.order.as_deref() == Some(order))
    }

    /// Whether entries were revoked one by one.
    pub(super) fn revokes_entries(&self) -> bool {
        self.revoked.iter().any(|r| r.entry.is_some())
    }

    /// The entries of version `version` of the list `id` that were revoked one by one.
    pub(super) fn revoked_entries(
        &self,
        id: &str,
        version: u64,
    ) -> impl Iterator<Item = &Reference> {
        let of = move |r: &&Revocation| r.list.as_str() == id && version <= r.through;
        self.revoked.iter().filter(of).filter_map(|r| r.entry.as_ref())
    }

    /// Until when nobody may be matched, where that is so at `now`.
    pub(super) fn suspended_until(&self, now: i64) -> Option<i64> {
        self.suspended.iter().find(|s| (s.from..s.to).contains(&now)).map(|s| s.to)
    }

    /// Remembers what `action` stops; false where that was stopped before. `last_seen` is the
    /// latest time that a believed clock has shown, `order` the order's id.
    pub(super) fn stop(&mut self, action: &Action, last_seen: i64, order: &str) -> bool {
        match action {
            Action::Revoke { list, through, entry } => self.revoke(Revocation {
                list: list.clone(),
                through: *through,
                entry: entry.clone(),
                order: Some(order.to_owned()),
            }),
            Action::Suspend { from, to, .. } => {
                self.suspend(from.unix_timestamp(), to.unix_timestamp(), last_seen)
            }
        }
    }

    fn revoke(&mut self, mut new: Revocation) -> bool {
        if self.revoked.iter().any(|r| r.covers(&new)) {
            return false;
        }
        let others = |new: &Revocation| self.revoked.iter().filter(|r| !new.covers(r)).count();
        if others(&new) >= MAX_REVOKED {
            new.entry = None;
        }
        if others(&new) >= MAX_REVOKED {
            return !std::mem::replace(&mut self.full, true);
        }
        self.revoked.retain(|r| !new.covers(r));
        self.revoked.push(new);
        true
    }

    fn suspend(&mut self, from: i64, to: i64, last_seen: i64) -> bool {
        if self.suspended.iter().any(|s| s.from <= from && to <= s.to) {
            return false;
        }
        self.suspended.retain(|s| s.to > last_seen);
        self.suspended.push(Suspension { from, to, order: None });
        self.merge();
        if self.suspended.len() > MAX_SUSPENDED {
            let gap = |at: &usize| self.suspended[at + 1].from - self.suspended[*at].to;
            let at = (0..self.suspended.len() - 1).min_by_key(gap).expect("more than one");
            self.suspended[at].to = self.suspended[at + 1].to;
            self.suspended.remove(at + 1);
        }
        true
    }

    /// Sorts the suspensions and joins those that touch.
    fn merge(&mut self) {
        self.suspended.sort_unstable_by_key(|s| (s.from, s.to));
        self.suspended.dedup_by(|later, kept| {
            let touches = later.from <= kept.to;
            if touches {
                kept.to = kept.to.max(later.to);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(n: usize) -> Revocation {
        let list = format!("list-{n}").parse().expect("a reference");
        Revocation { list, through: 7, entry: None, order: None }
    }

    #[test]
    fn a_list_that_finds_no_room_stops_everything_and_that_is_remembered() {
        let mut stopped = Stopped::default();
        assert!((0..MAX_REVOKED).all(|n| stopped.revoke(list(n))));
        assert!(!stopped.is_full(), "there was room for each");
        assert!(!stopped.revoke(list(9)) && !stopped.is_full(), "a repetition needs no room");
        assert!(stopped.revoke(list(MAX_REVOKED)) && stopped.is_full());
    }

    #[test]
    fn a_suspension_that_finds_no_room_suspends_more_and_never_less() {
        let mut stopped = Stopped::default();
        for n in 0..2 * MAX_SUSPENDED as i64 {
            let from = 1000 + n * n * 10;
            assert!(stopped.suspend(from, from + 1, 0), "{n}");
        }
        assert_eq!(stopped.suspended.len(), MAX_SUSPENDED);
        for n in 0..2 * MAX_SUSPENDED as i64 {
            assert!(stopped.suspended_until(1000 + n * n * 10).is_some(), "{n}");
        }
    }

    proptest! {
        #[test]
        fn every_second_that_was_ever_suspended_stays_so_until_it_is_over(
            orders in proptest::collection::vec((0i64..5000, 1i64..60), 1..200),
            last_seen in 0i64..5000,
        ) {
            let mut stopped = Stopped::default();
            for (from, length) in &orders {
                stopped.suspend(*from, from + length, last_seen);
            }
            for (from, length) in orders {
                for second in from.max(last_seen)..from + length {
                    prop_assert!(stopped.suspended_until(second).is_some());
                }
            }
            prop_assert!(stopped.suspended.windows(2).all(|w| w[0].to < w[1].from));
        }
    }
}
