//! What is kept in memory about a segment: its extent, its totals, and which of its events are
//! retired. Nothing an event.

use super::format::{EVENT_OVERHEAD, HEADER};
use super::index::IndexEntry;
use crate::delivery::outbox::QueuePosition;

/// Positions as stretches, ascending, with gaps between them. Events leave almost in their order:
/// there are few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stretches(Vec<(QueuePosition, QueuePosition)>);

impl Stretches {
    /// Adds `first` to `last`, both included.
    pub fn insert(&mut self, first: QueuePosition, last: QueuePosition) {
        // Those that overlap it or touch it become one with it.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        let first = self.0[from..to].first().map_or(first, |(begin, _)| first.min(*begin));
        let last = self.0[from..to].last().map_or(last, |(_, end)| last.max(*end));
        self.0.splice(from..to, [(first, last)]);
    }

    /// The last position of the stretch that holds `position`.
    pub fn end_of(&self, position: QueuePosition) -> Option<QueuePosition> {
        let i = self.0.partition_point(|(_, end)| *end < position);
        self.0.get(i).filter(|(begin, _)| *begin <= position).map(|(_, end)| *end)
    }

    /// Whether `position` is in one.
    pub fn contains(&self, position: QueuePosition) -> bool {
        self.end_of(position).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How long a segment could not be read. Many may ask for it in one round.
#[derive(Debug, Clone, Copy, Default)]
pub struct FailingReads {
    /// Rounds that are over.
    pub rounds: u32,
    /// Whether it failed since.
    pub now: bool,
}

impl FailingReads {
    /// Whether it could not be read when it was tried last.
    pub fn is_failing(self) -> bool {
        self.now || self.rounds > 0
    }

    /// A round is over.
    pub fn count_round(&mut self) {
        self.rounds += u32::from(std::mem::take(&mut self.now));
    }
}

/// A segment.
#[derive(Debug)]
pub struct Segment {
    /// Its file.
    pub number: u64,
    /// Of good bytes; where the next record goes.
    pub bytes: u64,
    /// Events in it, retired ones too.
    pub events: u32,
    /// Events in it that wait.
    pub live: u32,
    /// Bytes of payload of those that wait.
    pub live_bytes: u64,
    /// First and last position in it; the first is after the last where there is none.
    pub extent: (QueuePosition, QueuePosition),
    /// No event in it expires before.
    pub earliest: i64,
    /// Positions of its extent that are retired, whether they are here or not.
    pub retired: Stretches,
    /// Whether the log may need what is carried in it.
    pub carries: bool,
    /// Whether the file may hold events that are not known, as after a write that failed.
    pub doubtful: bool,
    /// Whether it can no longer be read: it is left alone until the next start.
    pub left: bool,
    /// How long it could not be read.
    pub failing: FailingReads,
}

impl Segment {
    /// A segment of `bytes` that holds `entries`, none of them retired.
    pub fn of(number: u64, bytes: u64, entries: &[IndexEntry]) -> Self {
        let mut segment = Self {
            number,
            bytes,
            events: 0,
            live: 0,
            live_bytes: 0,
            extent: (QueuePosition::MAX, 0),
            earliest: i64::MAX,
            retired: Stretches::default(),
            carries: false,
            doubtful: false,
            left: false,
            failing: FailingReads::default(),
        };
        entries.iter().for_each(|e| segment.add(e));
        segment
    }

    /// Counts an event that is in it.
    pub fn add(&mut self, entry: &IndexEntry) {
        self.events += 1;
        self.live += 1;
        self.live_bytes += u64::from(entry.bytes);
        self.extent = (self.extent.0.min(entry.position), self.extent.1.max(entry.position));
        self.earliest = self.earliest.min(entry.expires);
    }

    /// Whether an event at `position` may be in it.
    pub fn spans(&self, position: QueuePosition) -> bool {
        (self.extent.0..=self.extent.1).contains(&position)
    }

    /// Whether an event may be in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.extent.0 <= other.extent.1 && other.extent.0 <= self.extent.1
    }

    /// Retires the positions `first` to `last`, as far as they are of its extent.
    pub fn retire(&mut self, first: QueuePosition, last: QueuePosition) {
        let (first, last) = (first.max(self.extent.0), last.min(self.extent.1));
        if first <= last {
            self.retired.insert(first, last);
        }
    }

    /// Bytes in it that are neither its header nor of an event that waits.
    pub fn waste(&self) -> u64 {
        let used = HEADER as u64 + self.live_bytes + u64::from(self.live) * EVENT_OVERHEAD as u64;
        self.bytes.saturating_sub(used)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_takes_less_than_128_bytes_of_memory_beside_its_stretches() {
        assert!(size_of::<Segment>() <= 128, "{}", size_of::<Segment>());
    }

    proptest! {
        #[test]
        fn stretches_are_a_set_of_positions(
            inserted in proptest::collection::vec((0u64..60, 0u64..8), 0..40),
        ) {
            let (mut stretches, mut set) = (Stretches::default(), BTreeSet::new());
            for (first, more) in inserted {
                stretches.insert(first, first + more);
                set.extend(first..=first + more);
                for p in 0..80 {
                    prop_assert_eq!(stretches.contains(p), set.contains(&p));
                    let end = (p..).take_while(|q| set.contains(q)).last();
                    prop_assert_eq!(stretches.end_of(p), end);
                }
                let begins = set.iter().filter(|p| **p == 0 || !set.contains(&(**p - 1))).count();
                prop_assert_eq!(
                    (stretches.len(), stretches.is_empty()),
                    (begins, begins == 0),
                    "none that touch stay apart"
                );
            }
        }

        #[test]
        fn the_ends_of_the_numbers_are_positions_too(
            p in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()],
        ) {
            let mut stretches = Stretches::default();
            [0, u64::MAX, p].into_iter().for_each(|p| stretches.insert(p, p));
            prop_assert!(
                stretches.contains(0) && stretches.contains(u64::MAX) && stretches.contains(p)
            );
        }
    }
}
