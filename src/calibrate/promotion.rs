//! Whether what was counted at a place fulfils the rule under which a list was silent there.
//!
//! The rule is signed with the silent list ([`PromotionRule`]), the counts are the device's own
//! ([`SiteRecord::is_made_by`]); that the list's budget holds by them is for the decision to say.

use time::OffsetDateTime;

use super::counts::day_of;
use super::record::SiteRecord;
use crate::watchlist::Watchlist;
use crate::watchlist::promotion::PromotionRule;

/// Why a list may not come into force yet.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotShown {
    /// Nothing was counted.
    #[error(
        "the list comes into force by what was counted at this camera, and it has no site record"
    )]
    NoRecord,
    /// Of another list, or of this version or a later one.
    #[error(
        "the site record counted the entries of another list, or not those of a version before \
         this one"
    )]
    OtherList,
    /// Too few days.
    #[error("{found} days were counted since the device has the rule, and it asks for {wanted}")]
    Days {
        /// With enough faces.
        found: usize,
        /// As signed.
        wanted: u16,
    },
    /// Too few faces.
    #[error("{found} faces were counted since the device has the rule, and it asks for {wanted}")]
    Faces {
        /// On days that count.
        found: u64,
        /// As signed.
        wanted: u32,
    },
    /// Too few entries that the record covers.
    #[error(
        "{covered} of {counted} counted entries are like enough decoys, and the rule asks for \
         {} %", f64::from(*.wanted) / 10.0
    )]
    Covered {
        /// Entries that are.
        covered: usize,
        /// All that were counted.
        counted: usize,
        /// As signed, in thousandths.
        wanted: u16,
    },
}

/// Whether `record` fulfils the `rule` of `list`, of whose days those before `since` do not count.
///
/// # Errors
/// The first thing that is not shown yet.
pub fn shown(
    rule: &PromotionRule,
    list: &Watchlist,
    record: Option<&SiteRecord>,
    since: Option<OffsetDateTime>,
) -> Result<(), NotShown> {
    let record = record.ok_or(NotShown::NoRecord)?;
    let earlier = |(id, version): &(_, u64)| id == list.id() && *version < list.version();
    if !record.list.as_ref().is_some_and(earlier) {
        return Err(NotShown::OtherList);
    }
    let first = since.map_or(0, day_of);
    let least = u64::from(record.setup.least_faces);
    let days: Vec<u64> = record
        .days
        .iter()
        .filter(|day| day.day >= first && day.faces >= least)
        .map(|day| day.faces)
        .collect();
    if days.len() < usize::from(rule.days) {
        return Err(NotShown::Days { found: days.len(), wanted: rule.days });
    }
    let found: u64 = days.iter().sum();
    if found < u64::from(rule.faces) {
        return Err(NotShown::Faces { found, wanted: rule.faces });
    }
    let covered = record.curve.covered.len();
    let counted = covered + record.curve.uncovered as usize;
    if covered * 1000 < counted * usize::from(rule.covered) || covered == 0 {
        return Err(NotShown::Covered { covered, counted, wanted: rule.covered });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;
    use crate::watchlist::fixture::{DEVICE, EMBEDDER, content, now, signed_by_two, trust};
    use crate::watchlist::verify;

    /// What the record of the tests just fulfils: seven days of 1,000, three of four entries.
    const RULE: PromotionRule = PromotionRule { days: 7, faces: 7_000, covered: 750 };

    fn list(id: &str, version: u64) -> Watchlist {
        let mut list = content(1);
        (list.id, list.version) = (id.parse().expect("a reference"), version);
        verify(&signed_by_two(&list, now()), &trust(), now(), DEVICE, &EMBEDDER).expect("valid")
    }

    #[test]
    fn each_number_of_the_rule_and_each_day_since_it_is_known_counts() {
        let (next, record) = (list("north-gate", 4), record());
        let day = |n: i64| OffsetDateTime::from_unix_timestamp(86_400 * n + 40_000).ok();
        let judged = |rule, since| shown(&rule, &next, Some(&record), since);
        assert_eq!(judged(RULE, None), Ok(()));
        assert_eq!(judged(RULE, day(20_001)), Ok(()), "on the first day");
        let days = Err(NotShown::Days { found: 6, wanted: 7 });
        assert_eq!(judged(RULE, day(20_002)), days, "a day was counted before");
        let longer = judged(PromotionRule { days: 8, ..RULE }, None);
        assert_eq!(longer, Err(NotShown::Days { found: 7, wanted: 8 }));
        let faces = judged(PromotionRule { faces: 7_001, ..RULE }, None);
        assert_eq!(faces, Err(NotShown::Faces { found: 7_000, wanted: 7_001 }));
        let covered = judged(PromotionRule { covered: 751, ..RULE }, None);
        assert_eq!(covered, Err(NotShown::Covered { covered: 3, counted: 4, wanted: 751 }));
    }

    #[test]
    fn counts_of_another_list_or_none_show_nothing() {
        let record = record();
        let judged = |list, record| shown(&RULE, &list, record, None);
        assert_eq!(judged(list("north-gate", 4), None), Err(NotShown::NoRecord));
        assert_eq!(judged(list("south-gate", 4), Some(&record)), Err(NotShown::OtherList));
        assert_eq!(judged(list("north-gate", 3), Some(&record)), Err(NotShown::OtherList));
    }
}
