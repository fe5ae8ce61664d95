//! Whether a list gives more false alerts than its signers authorised, beyond what chance explains.
//!
//! * **Exposure** is what was announced: for each track that was compared, the false-positive rate
//!   that was in force, an upper bound. Their sum is how many false alerts were to be expected at
//!   most.
//! * **Evidence** is days on which an entry gave a false alert: one entry counts at most once a
//!   day, and the entry with the most such days counts once in all. So one look-alike who passes
//!   daily is one cluster however long they go on, and a list of look-alikes is many.
//! * **What nobody confirmed counts as false**: refuted, undecided and expired alike, so that
//!   alerts that nobody looks at do not hide. What was withdrawn by an order does not count: its
//!   entry, or its list, is gone.
//! * **Looked at after each alert**: the test is an e-process, a mixture of Poisson likelihood
//!   ratios. Under any rate up to the announced one its expectation never exceeds 1, so the chance
//!   that it *ever* reaches [`LIMIT`] is at most one in [`LIMIT`] (Ville 1939), for each version of
//!   a list.
//! * Once exceeded it stays so until another version, or another list, is in force.
//!
//! Not promised: that a list of one entry is ever stopped, because many strangers who are taken for
//! it look like one who returns; that two or more people who return and resemble different entries
//! are told from many strangers. The test takes different look-alikes as coming independently.
//!
//! Sans-IO. A restart goes on with what [`Watchdog`] serialises to.

use serde::{Deserialize, Serialize};

use crate::judgement::Outcome;
use crate::watchlist::Reference;

/// At this value the list is stopped: by chance in one version of a thousand at most.
pub const LIMIT: f64 = 1000.0;
/// How many times the announced rate the true one may be: the mixture's components, alike in
/// weight.
const TIMES: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
/// Most days with a false alert that are told apart, over all entries. Further ones each count.
const MAX_DAYS: usize = 4096;

/// A list in force, and what it may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedList {
    /// Which.
    pub id: Reference,
    /// Its version.
    pub version: u64,
}

/// A false alert of an entry on a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FalseDay {
    entry: String,
    /// In days since 1970-01-01.
    day: i64,
}

/// What is counted of one version of a list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// `None` before any list was in force.
    list: Option<(Reference, u64)>,
    /// Expected false alerts so far, upper bound.
    exposure: f64,
    /// Ascending, each once.
    days: Vec<FalseDay>,
    /// Days beyond [`MAX_DAYS`].
    beyond: u32,
    exceeded: bool,
}

impl Watchdog {
    /// Takes note of which list is in force: another one, or another version, begins anew. Whether
    /// something changed.
    pub fn watch(&mut self, list: &WatchedList) -> bool {
        let now = Some((list.id.clone(), list.version));
        if self.list == now {
            return false;
        }
        *self = Self { list: now, ..Self::default() };
        true
    }

    /// So many `tracks` were compared, each with the announced `rate`.
    pub fn compared(&mut self, tracks: u64, rate: f64) {
        // What is no rate would stop the count for ever.
        if rate.is_finite() && rate > 0.0 {
            self.exposure += tracks as f64 * rate;
        }
    }

    /// An alert of `entry` on `day` of this version of the list ended in `outcome`. Whether
    /// something changed.
    pub fn ended(&mut self, list: &WatchedList, entry: &str, day: i64, outcome: Outcome) -> bool {
        let counts = match outcome {
            Outcome::Refuted | Outcome::Undecided | Outcome::Expired => true,
            Outcome::Confirmed | Outcome::Withdrawn => false,
        };
        let ours = self.list.as_ref().is_some_and(|l| (&l.0, l.1) == (&list.id, list.version));
        if !counts || !ours {
            return false;
        }
        let new = FalseDay { entry: entry.into(), day };
        let Err(at) = self.days.binary_search(&new) else { return false };
        if self.days.len() < MAX_DAYS {
            self.days.insert(at, new);
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
        self.exceeded |= self.e_value() >= LIMIT;
        true
    }

    /// Whether the list in force gives more false alerts than chance explains.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// Expected false alerts so far, upper bound.
    pub fn exposure(&self) -> f64 {
        self.exposure
    }

    /// Clusters of false alerts: days of all entries but the one with the most, which is one.
    pub fn clusters(&self) -> u32 {
        let of_entry = self.days.chunk_by(|a, b| a.entry == b.entry).map(<[_]>::len);
        let most = of_entry.max().unwrap_or(0);
        (self.days.len() - most) as u32 + self.beyond + u32::from(most > 0)
    }

    /// The mixture of likelihood ratios of the counted clusters: `mean over k of
    /// k^clusters exp(-(k - 1) exposure)`.
    fn e_value(&self) -> f64 {
        let n = f64::from(self.clusters());
        let ratio = |k: &f64| (n * k.ln() - (k - 1.0) * self.exposure).exp();
        TIMES.iter().map(ratio).sum::<f64>() / TIMES.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(version: u64) -> WatchedList {
        WatchedList { id: "L-1".parse().expect("a name"), version }
    }

    fn watching() -> Watchdog {
        let mut watchdog = Watchdog::default();
        assert!(watchdog.watch(&list(1)));
        watchdog
    }

    /// Xorshift; uniform in (0, 1).
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }
    }

    /// The day of a year on which a list is stopped whose strangers give `times` the announced
    /// alerts. `regulars` of the entries have a look-alike who passes each day.
    fn stopped_on(
        chance: &mut Chance,
        entries: u32,
        budget: f64,
        times: f64,
        regulars: u32,
    ) -> Option<i64> {
        let mut watchdog = watching();
        // Of a look-alike in the middle of each day, of the others by chance.
        let days = (0..365).flat_map(|day| (0..regulars).map(move |e| (f64::from(day) + 0.5, e)));
        let mut alerts: Vec<(f64, u32)> = days.collect();
        let mut at = 0.0;
        while at < 365.0 {
            at -= chance.uniform().ln() / (budget * times);
            alerts.push((at, (chance.uniform() * f64::from(entries)) as u32));
        }
        alerts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut before = 0.0;
        for (at, entry) in alerts {
            // Reviewed at once, so that no later comparison makes it look better.
            watchdog.compared(1, budget * (at - before));
            before = at;
            watchdog.ended(&list(1), &entry.to_string(), at as i64, Outcome::Refuted);
            if watchdog.is_exceeded() {
                return Some(at as i64);
            }
        }
        None
    }

    #[test]
    fn a_list_that_keeps_its_budget_is_stopped_in_at_most_one_year_of_a_thousand() {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        for (entries, budget, years) in [(25, 0.5, 2000), (5, 1.0, 1000), (100, 0.1, 2000)] {
            let stopped = (0..years)
                .filter(|_| stopped_on(&mut chance, entries, budget, 1.0, 0).is_some())
                .count();
            // Two of 2,000 expected at most; eight or more by chance in one of 1,000.
            assert!(stopped < 8, "{entries} {budget}: {stopped} of {years}");
        }
    }

    #[test]
    fn one_look_alike_who_passes_daily_is_one_cluster() {
        let mut chance = Chance(7);
        for (entries, budget) in [(25, 0.5), (5, 1.0), (1, 0.2)] {
            let stopped = (0..200)
                .filter(|_| stopped_on(&mut chance, entries, budget, 0.9, 1).is_some())
                .count();
            assert!(stopped <= 2, "{entries} {budget}: {stopped} of 200");
        }
    }

    #[test]
    fn a_list_that_gives_many_times_its_budget_is_stopped_within_weeks() {
        let mut chance = Chance(11);
        for (entries, budget, times, within) in
            [(25, 0.5, 10.0, 14), (5, 1.0, 10.0, 14), (25, 0.5, 4.0, 60), (100, 0.1, 10.0, 60)]
        {
            let in_time = (0..200)
                .filter(|_| {
                    stopped_on(&mut chance, entries, budget, times, 0)
                        .is_some_and(|day| day <= within)
                })
                .count();
            assert!(in_time >= 190, "{entries} {budget} x {times}: {in_time} of 200");
        }
    }

    #[test]
    fn a_list_of_look_alikes_is_stopped_and_a_new_version_begins_anew() {
        let mut watchdog = watching();
        watchdog.compared(1000, 5e-4);
        for entry in 0..6 {
            assert!(!watchdog.is_exceeded(), "{entry}");
            watchdog.ended(&list(1), &format!("E-{entry}"), 1, Outcome::Refuted);
        }
        assert!(watchdog.is_exceeded() && watchdog.clusters() == 6);
        // More comparisons do not bring it back, and neither does a restart.
        watchdog.compared(1_000_000, 5e-4);
        let kept = serde_json::to_string(&watchdog).expect("serialises");
        let mut again: Watchdog = serde_json::from_str(&kept).expect("as written");
        assert_eq!(again, watchdog);
        assert!(!again.watch(&list(1)) && again.is_exceeded());
        assert!(again.watch(&list(2)) && !again.is_exceeded() && again.exposure() == 0.0);
    }

    #[test]
    fn what_nobody_confirmed_counts_and_what_is_about_another_version_does_not() {
        let mut watchdog = watching();
        for (entry, outcome, counts) in [
            ("a", Outcome::Refuted, true),
            ("b", Outcome::Undecided, true),
            ("c", Outcome::Expired, true),
            ("d", Outcome::Confirmed, false),
            ("e", Outcome::Withdrawn, false),
        ] {
            assert_eq!(watchdog.ended(&list(1), entry, 1, outcome), counts, "{entry}");
            assert!(!watchdog.ended(&list(1), entry, 1, outcome), "twice on one day");
            assert!(!watchdog.ended(&list(2), entry, 1, outcome), "another version");
        }
        assert_eq!(watchdog.clusters(), 3);
        for day in 2..50 {
            watchdog.ended(&list(1), "a", day, Outcome::Refuted);
        }
        assert_eq!(watchdog.clusters(), 3, "one who returns");
    }

    #[test]
    fn more_days_than_are_told_apart_still_count() {
        let mut watchdog = watching();
        for n in 0..MAX_DAYS as i64 + 10 {
            watchdog.ended(&list(1), &(n % 3).to_string(), n, Outcome::Refuted);
        }
        assert_eq!(watchdog.days.len(), MAX_DAYS);
        assert!(watchdog.clusters() as usize > MAX_DAYS / 2 && watchdog.is_exceeded());
    }

    proptest! {
        #[test]
        fn more_exposure_is_never_worse_and_more_alerts_never_better(
            tracks in 0u64..1_000_000, rate in 0.0f64..1e-2, alerts in 0i64..40,
        ) {
            let mut watchdog = watching();
            watchdog.compared(tracks, rate);
            let mut before = watchdog.e_value();
            prop_assert!(before.is_finite() && before <= 1.0);
            for n in 0..alerts {
                watchdog.ended(&list(1), &n.to_string(), 1, Outcome::Refuted);
                let after = watchdog.e_value();
                prop_assert!(after >= before);
                before = after;
            }
            watchdog.compared(10, 1e-3);
            prop_assert!(watchdog.e_value() <= before);
            watchdog.compared(10, f64::NAN);
            prop_assert!(watchdog.exposure().is_finite());
        }
    }
}
