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
//! * **Counted by list**: another list in between changes nothing. Once exceeded, a list stays so
//!   until a version of it that is higher than the one that exceeded is in force. A higher version
//!   begins anew, a lower one goes on with the counts of the highest.
//! * Of [`MAX_LISTS`] lists it is known what they cost. Where another one comes, the list that was
//!   in force longest ago is forgotten, and one that has exceeded only where all have.
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

/// Most lists that are told apart: as many as a device remembers versions of, so that none is
/// forgotten that could come into force again.
pub const MAX_LISTS: usize = crate::watchlist::memory::MAX_LISTS;

/// A version of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedList<'a> {
    /// Which.
    pub id: &'a Reference,
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

/// What is counted of the highest version of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountedVersion {
    id: Reference,
    /// The highest that was in force.
    version: u64,
    /// Expected false alerts so far, upper bound.
    exposure: f64,
    /// Ascending, each once.
    days: Vec<FalseDay>,
    /// Days beyond [`MAX_DAYS`].
    beyond: u32,
    /// The highest version that has exceeded.
    exceeded: Option<u64>,
}

impl CountedVersion {
    fn new(list: WatchedList<'_>) -> Self {
        Self {
            id: list.id.clone(),
            version: list.version,
            exposure: 0.0,
            days: Vec::new(),
            beyond: 0,
            exceeded: None,
        }
    }

    /// Clusters of false alerts: days of all entries but the one with the most, which is one.
    fn clusters(&self) -> u32 {
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

/// What is counted of each list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// Each id once; last the one that was in force last.
    lists: Vec<CountedVersion>,
    /// The version in force of the last of them; `None` where no list is in force.
    #[serde(skip)]
    in_force: Option<u64>,
}

impl Watchdog {
    /// Takes note of which list is in force, if any.
    pub fn watch(&mut self, list: Option<WatchedList<'_>>) {
        self.in_force = list.map(|list| list.version);
        let Some(list) = list else { return };
        if self.lists.last().is_none_or(|last| last.id != *list.id) {
            let known = self.lists.iter().position(|known| known.id == *list.id);
            let new = match known {
                Some(at) => self.lists.remove(at),
                None => {
                    self.make_room();
                    CountedVersion::new(list)
                }
            };
            self.lists.push(new);
        }
        let last = self.lists.last_mut().expect("pushed where it was not there");
        if list.version > last.version {
            *last = CountedVersion { exceeded: last.exceeded, ..CountedVersion::new(list) };
        }
    }

    fn make_room(&mut self) {
        if self.lists.len() >= MAX_LISTS {
            let kept = |list: &CountedVersion| list.exceeded == Some(list.version);
            let at = self.lists.iter().position(|list| !kept(list)).unwrap_or(0);
            self.lists.remove(at);
        }
    }

    /// So many `tracks` were compared with the list in force, each with the announced `rate`.
    /// Whether something changed.
    pub fn compared(&mut self, tracks: u64, rate: f64) -> bool {
        // What is no rate would stop the count for ever.
        let counts = tracks > 0 && rate.is_finite() && rate > 0.0;
        let Some(list) = self.in_force.and(self.lists.last_mut()).filter(|_| counts) else {
            return false;
        };
        list.exposure += tracks as f64 * rate;
        true
    }

    /// An alert of `entry` on `day` of this version of a list ended in `outcome`. Whether something
    /// changed.
    pub fn ended(
        &mut self,
        list: WatchedList<'_>,
        entry: &str,
        day: i64,
        outcome: Outcome,
    ) -> bool {
        let counts = match outcome {
            Outcome::Refuted | Outcome::Undecided | Outcome::Expired => true,
            Outcome::Confirmed | Outcome::Withdrawn => false,
        };
        let full = self.lists.iter().map(|list| list.days.len()).sum::<usize>() >= MAX_DAYS;
        let ours =
            |known: &&mut CountedVersion| (&known.id, known.version) == (list.id, list.version);
        let Some(list) = self.lists.iter_mut().find(ours).filter(|_| counts) else { return false };
        let new = FalseDay { entry: entry.into(), day };
        let Err(at) = list.days.binary_search(&new) else { return false };
        if full {
            list.beyond = list.beyond.saturating_add(1);
        } else {
            list.days.insert(at, new);
        }
        if list.e_value() >= LIMIT {
            list.exceeded = Some(list.version);
        }
        true
    }

    /// The list in force, with its version.
    fn current(&self) -> Option<(&CountedVersion, u64)> {
        self.lists.last().zip(self.in_force)
    }

    /// Whether the list in force gives more false alerts than chance explains.
    pub fn is_exceeded(&self) -> bool {
        self.current().is_some_and(|(list, version)| list.exceeded.is_some_and(|e| version <= e))
    }

    /// Expected false alerts of the list in force so far, upper bound.
    pub fn exposure(&self) -> f64 {
        self.current().map_or(0.0, |(list, _)| list.exposure)
    }

    /// Clusters of false alerts of the list in force.
    pub fn clusters(&self) -> u32 {
        self.current().map_or(0, |(list, _)| list.clusters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(list: &str) -> Reference {
        list.parse().expect("a name")
    }

    /// A watchdog, told on the way which version of which list is in force, and what reviewers say.
    #[derive(Default)]
    struct Site(Watchdog);

    impl Site {
        fn watch(&mut self, list: &str, version: u64) {
            self.0.watch(Some(WatchedList { id: &name(list), version }));
        }

        fn ended(
            &mut self,
            list: &str,
            version: u64,
            (entry, day): (&str, i64),
            outcome: Outcome,
        ) -> bool {
            self.0.ended(WatchedList { id: &name(list), version }, entry, day, outcome)
        }

        /// Six entries are refuted on one day.
        fn exceed(&mut self, list: &str, version: u64) {
            for entry in 0..6 {
                self.ended(list, version, (&format!("E-{entry}"), 1), Outcome::Refuted);
            }
        }
    }

    fn watching() -> Site {
        let mut site = Site::default();
        site.watch("L-1", 1);
        site
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
        let (mut watchdog, id) = (watching().0, name("L-1"));
        let list = WatchedList { id: &id, version: 1 };
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
            watchdog.ended(list, &entry.to_string(), at as i64, Outcome::Refuted);
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
        let mut site = watching();
        site.0.compared(1000, 5e-4);
        for entry in 0..6 {
            assert!(!site.0.is_exceeded(), "{entry}");
            site.ended("L-1", 1, (&format!("E-{entry}"), 1), Outcome::Refuted);
        }
        assert!(site.0.is_exceeded() && site.0.clusters() == 6);
        // More comparisons do not bring it back, and neither does a restart.
        site.0.compared(1_000_000, 5e-4);
        let kept = serde_json::to_string(&site.0).expect("serialises");
        let mut again = Site(serde_json::from_str(&kept).expect("as written"));
        assert!(!again.0.is_exceeded(), "no list is in force yet");
        again.watch("L-1", 1);
        assert_eq!(again.0, site.0);
        assert!(again.0.is_exceeded());
        again.watch("L-1", 2);
        assert!(!again.0.is_exceeded() && again.0.exposure() == 0.0);
    }

    #[test]
    fn a_list_that_was_stopped_is_not_cleared_by_another_one_in_between() {
        let mut site = watching();
        site.0.compared(1000, 5e-4);
        site.exceed("L-1", 1);
        site.watch("L-2", 7);
        assert!(!site.0.is_exceeded(), "another list is another promise");
        site.0.compared(1000, 5e-4);
        site.watch("L-1", 1);
        assert!(site.0.is_exceeded() && site.0.clusters() == 6 && site.0.exposure() == 0.5);
        site.0.watch(None);
        assert!(!site.0.is_exceeded(), "no list is in force");
        site.watch("L-1", 2);
        assert!(!site.0.is_exceeded());
        site.watch("L-1", 1);
        assert!(site.0.is_exceeded(), "an older version than the highest");
    }

    #[test]
    fn what_was_counted_goes_on_where_a_list_comes_back_and_alerts_are_judged_meanwhile() {
        let mut site = watching();
        site.0.compared(1000, 5e-4);
        for entry in ["a", "b", "c"] {
            site.ended("L-1", 1, (entry, 1), Outcome::Refuted);
        }
        site.watch("L-2", 1);
        assert!(site.ended("L-1", 1, ("d", 1), Outcome::Refuted), "it was of that list");
        site.watch("L-1", 1);
        assert!(!site.0.is_exceeded());
        site.ended("L-1", 1, ("e", 1), Outcome::Refuted);
        site.ended("L-1", 1, ("f", 1), Outcome::Refuted);
        assert!(site.0.is_exceeded());
    }

    #[test]
    fn where_more_lists_come_than_are_told_apart_a_stopped_one_stays_known() {
        let mut site = watching();
        site.0.compared(1000, 5e-4);
        site.exceed("L-1", 1);
        for n in 0..2 * MAX_LISTS {
            site.watch(&format!("other-{n}"), 1);
            assert!(site.0.lists.len() <= MAX_LISTS);
        }
        site.watch("L-1", 1);
        assert!(site.0.is_exceeded());
    }

    #[test]
    fn what_nobody_confirmed_counts_and_what_is_about_another_version_does_not() {
        let mut site = watching();
        for (entry, outcome, counts) in [
            ("a", Outcome::Refuted, true),
            ("b", Outcome::Undecided, true),
            ("c", Outcome::Expired, true),
            ("d", Outcome::Confirmed, false),
            ("e", Outcome::Withdrawn, false),
        ] {
            assert_eq!(site.ended("L-1", 1, (entry, 1), outcome), counts, "{entry}");
            assert!(!site.ended("L-1", 1, (entry, 1), outcome), "twice on one day");
            assert!(!site.ended("L-1", 2, (entry, 1), outcome), "another version");
        }
        assert_eq!(site.0.clusters(), 3);
        for day in 2..50 {
            site.ended("L-1", 1, ("a", day), Outcome::Refuted);
        }
        assert_eq!(site.0.clusters(), 3, "one who returns");
    }

    #[test]
    fn more_days_than_are_told_apart_still_count() {
        let mut site = watching();
        for n in 0..MAX_DAYS as i64 + 10 {
            site.ended("L-1", 1, (&(n % 3).to_string(), n), Outcome::Refuted);
        }
        assert_eq!(site.0.lists[0].days.len(), MAX_DAYS);
        assert!(site.0.clusters() as usize > MAX_DAYS / 2 && site.0.is_exceeded());
    }

    proptest! {
        #[test]
        fn more_exposure_is_never_worse_and_more_alerts_never_better(
            tracks in 0u64..1_000_000, rate in 0.0f64..1e-2, alerts in 0i64..40,
        ) {
            let mut site = watching();
            let e_value = |site: &Site| site.0.lists[0].e_value();
            site.0.compared(tracks, rate);
            let mut before = e_value(&site);
            prop_assert!(before.is_finite() && before <= 1.0);
            for n in 0..alerts {
                site.ended("L-1", 1, (&n.to_string(), 1), Outcome::Refuted);
                let after = e_value(&site);
                prop_assert!(after >= before);
                before = after;
            }
            site.0.compared(10, 1e-3);
            prop_assert!(e_value(&site) <= before);
            prop_assert!(!site.0.compared(10, f64::NAN));
            prop_assert!(site.0.exposure().is_finite());
        }
    }
}
