//! The rule for coming into force that a device has had of a list, and since when.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::promise::Stage;
use crate::watchlist::promotion::{PromotionRule, RuleBroken};
use crate::watchlist::verify::Watchlist;

/// A rule that a device has had, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownRule {
    rule: PromotionRule,
    /// Unix seconds. What was counted on days before is no answer to it.
    since: i64,
}

impl KnownRule {
    /// What is known once `list` is taken, where `before` was known.
    ///
    /// # Errors
    /// Where the list may not follow.
    pub(super) fn after(
        before: Option<Self>,
        list: &Watchlist,
        now: OffsetDateTime,
    ) -> Result<Option<Self>, RuleBroken> {
        let id = || list.id().clone();
        let Some(rule) = list.promotion() else {
            return if before.is_some() { Err(RuleBroken::LeftOut(id())) } else { Ok(None) };
        };
        let same = before.filter(|known| known.rule == *rule);
        match (list.stage(), same, before) {
            (_, Some(same), _) => Ok(Some(same)),
            (Stage::Silent, None, _) => Ok(Some(Self { rule: *rule, since: now.unix_timestamp() })),
            (Stage::InForce, None, Some(_)) => Err(RuleBroken::Changed(id())),
            (Stage::InForce, None, None) => Err(RuleBroken::NeverSilent(id())),
        }
    }

    /// Since when the device has had the rule.
    pub fn since(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.since).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{DEVICE, EMBEDDER, content, now, trust};
    use super::super::super::tampering::signed;
    use super::super::super::{Refusal, verify};
    use super::super::DeviceMemory;
    use super::*;

    const RULE: PromotionRule = PromotionRule { days: 14, faces: 100_000, covered: 900 };

    fn list(version: u64, stage: Stage, promotion: Option<PromotionRule>) -> Watchlist {
        let mut list = content(2);
        (list.version, list.stage, list.promotion) = (version, stage, promotion);
        verify(&signed(&list, &[1, 2]), &trust(), now(), DEVICE, &EMBEDDER).expect("valid")
    }

    fn taken(memory: &mut DeviceMemory, list: &Watchlist) -> Result<(), RuleBroken> {
        memory.admit(list, now()).map_err(|refusal| match refusal {
            Refusal::Promotion(broken) => broken,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_rule_that_a_device_has_had_is_neither_left_out_nor_changed_in_force() {
        use Stage::{InForce, Silent};
        let mut memory = DeviceMemory::default();
        let id = || list(7, Silent, None).id().clone();
        let never = taken(&mut memory, &list(7, InForce, Some(RULE)));
        assert_eq!(never, Err(RuleBroken::NeverSilent(id())));
        assert_eq!(taken(&mut memory, &list(7, Silent, Some(RULE))), Ok(()));
        for stage in [InForce, Silent] {
            let left_out = taken(&mut memory, &list(8, stage, None));
            assert_eq!(left_out, Err(RuleBroken::LeftOut(id())));
        }
        for other in [
            PromotionRule { days: 13, ..RULE },
            PromotionRule { faces: 7_000, ..RULE },
            PromotionRule { covered: 1, ..RULE },
            PromotionRule { covered: 1000, ..RULE },
        ] {
            let changed = taken(&mut memory, &list(8, InForce, Some(other)));
            assert_eq!(changed, Err(RuleBroken::Changed(id())), "{other}");
        }
        assert_eq!(taken(&mut memory, &list(8, InForce, Some(RULE))), Ok(()));
        // An old version is that first, whatever its rule.
        for promotion in [None, Some(PromotionRule { days: 13, ..RULE })] {
            let old = memory.admit(&list(6, InForce, promotion), now());
            assert!(matches!(old, Err(Refusal::RolledBack { highest: 8, .. })), "{old:?}");
        }
        // A list that never had one is as free as before.
        let mut memory = DeviceMemory::default();
        assert_eq!(taken(&mut memory, &list(7, Silent, None)), Ok(()));
        assert_eq!(taken(&mut memory, &list(8, InForce, None)), Ok(()));
    }

    #[test]
    fn another_rule_for_a_silent_list_begins_its_days_anew_and_the_same_one_does_not() {
        let mut memory = DeviceMemory::default();
        let since = |memory: &DeviceMemory| memory.promotion("north-gate").expect("a rule").since();
        memory.admit(&list(7, Stage::Silent, Some(RULE)), now()).expect("the first");
        let later = now() + time::Duration::days(5);
        memory.admit(&list(8, Stage::Silent, Some(RULE)), later).expect("the same rule");
        assert_eq!(since(&memory), now());
        let other = PromotionRule { days: 7, ..RULE };
        memory.admit(&list(9, Stage::Silent, Some(other)), later).expect("another silent stage");
        assert_eq!(since(&memory), later);
    }

    #[test]
    fn it_comes_through_a_list_and_through_the_state_file_and_its_numbers_have_ranges() {
        let silent = list(7, Stage::Silent, Some(RULE));
        assert_eq!(silent.promotion(), Some(&RULE));
        assert_eq!(list(7, Stage::Silent, None).promotion(), None);
        let mut memory = DeviceMemory::default();
        memory.admit(&silent, now()).expect("the first");
        let text = serde_json::to_string(&memory).expect("serialises");
        assert_eq!(serde_json::from_str::<DeviceMemory>(&text).expect("reads"), memory);
        for wrong in [
            PromotionRule { days: 6, ..RULE },
            PromotionRule { days: 93, ..RULE },
            PromotionRule { faces: 6_999, ..RULE },
            PromotionRule { covered: 0, ..RULE },
            PromotionRule { covered: 1001, ..RULE },
        ] {
            let mut list = content(1);
            list.promotion = Some(wrong);
            assert!(list.check().is_err(), "{wrong}");
        }
    }
}
