//! What an earlier run left, segment by segment: no more than one is in memory at a time, and of
//! each its summary stays.

use zeroize::Zeroizing;

use super::format::{self, HEADER, Header};
use super::index::{self, Contents};
use super::segment::Segment;
use super::{DiskStore, Files};
use crate::delivery::outbox::{OutboxStoreError, QueuePosition, Recovered};

/// Positions as stretches.
fn stretches(mut positions: Vec<QueuePosition>) -> Vec<(QueuePosition, QueuePosition)> {
    positions.sort_unstable();
    let mut out: Vec<(QueuePosition, QueuePosition)> = Vec::new();
    for p in positions {
        match out.last_mut() {
            Some((_, end)) if p <= end.saturating_add(1) => *end = p,
            _ => out.push((p, p)),
        }
    }
    out
}

impl<F: Files> DiskStore<F> {
    pub(super) fn find_all(&mut self) -> Result<Recovered, OutboxStoreError> {
        let mut numbers = self
            .files
            .list()
            .map_err(|source| OutboxStoreError { action: "list its segments", source })?;
        numbers.sort_unstable();
        self.next_segment = numbers.last().map_or(0, |n| n.saturating_add(1));
        // Segments in which there is nothing at all, as a start without an event leaves them.
        let mut bare = Vec::new();
        for number in numbers {
            let Some(marks) = self.find(number) else { continue };
            let found = self.segments.back().expect("find adds one");
            if marks.is_empty() && found.bytes <= HEADER as u64 {
                bare.push(number);
            }
            // Retirements come after what they retire.
            for (first, last) in stretches(marks) {
                self.segments.iter_mut().for_each(|s| s.retire(first, last));
            }
        }
        for at in 0..self.segments.len() {
            let (live, live_bytes) = self.count(at);
            (self.segments[at].live, self.segments[at].live_bytes) = (live, live_bytes);
        }
        self.lost = super::Lost::default();
        let events = self.segments.iter().map(|s| s.live as usize).sum();
        let bytes = self.segments.iter().map(|s| s.live_bytes as usize).sum();
        // A process that was killed may have left records that no sync has covered. From here on
        // they count as stored.
        let synced = self.segments.iter().try_for_each(|s| self.files.sync(s.number));
        // Whether the disk can be written to is known from the start.
        let ready = synced.and_then(|()| self.roll()).and_then(|()| {
            // The new one says which positions were used.
            for number in bare {
                if let Some(at) = self.segments.iter().position(|s| s.number == number) {
                    self.delete(at)?;
                }
            }
            self.collect()
        });
        if let Err(e) = ready {
            self.failed("make a segment", &e);
        }
        Ok(Recovered { events, bytes, next: self.next_position })
    }

    /// Adds the segment to the others; what it retires. `None` where it is left alone.
    fn find(&mut self, number: u64) -> Option<Vec<QueuePosition>> {
        let bytes = match super::reading::again(|| self.files.read(number)) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) => {
                log::error!(
                    "A segment of the outbox cannot be read and is left alone: number={number} \
                     error={e}."
                );
                self.health.damaged += 1;
                self.hidden = true;
                return None;
            }
        };
        match format::read_header(number, &bytes) {
            Header::Foreign { version } => {
                log::error!(
                    "A segment of the outbox is of another version of watchpost and is left \
                     alone; run that version to deliver it: number={number} version={version}."
                );
                self.health.damaged += 1;
                return None;
            }
            Header::Good { next } => self.next_position = self.next_position.max(next),
            // A header cut short is a segment that was being made; nothing was in it.
            Header::Damaged => self.health.damaged += u64::from(bytes.len() > HEADER),
        }
        let Contents { entries, marks, carries, damaged, torn } = index::contents(number, &bytes);
        if damaged > 0 {
            log::error!(
                "Records of the outbox are damaged and lost: segment={number} records={damaged}."
            );
            self.health.damaged += damaged;
        }
        if torn {
            log::warn!(
                "The last record of a segment was never finished, as after a power cut: \
                 segment={number}."
            );
            self.health.torn += 1;
        }
        let used =
            entries.last().map(|e| e.position).into_iter().chain(marks.iter().copied()).max();
        self.next_position = self.next_position.max(used.map_or(0, |p| p.saturating_add(1)));
        let mut segment = Segment::of(number, bytes.len() as u64, &entries);
        segment.carries = carries;
        self.segments.push_back(segment);
        self.indices.put(number, entries);
        Some(marks)
    }

    /// Events of the segment at `at` that wait, and bytes of their payloads.
    pub(super) fn count(&mut self, at: usize) -> (u32, u64) {
        let segment = &self.segments[at];
        let alone = !self.segments.range(at + 1..).any(|later| later.overlaps(segment));
        if alone && segment.retired.is_empty() && segment.live == segment.events {
            return (segment.live, segment.live_bytes);
        }
        if segment.retired.end_of(segment.extent.0).is_some_and(|end| end >= segment.extent.1) {
            return (0, 0);
        }
        let entries = self.index(at).to_vec();
        if self.stalled {
            let Segment { live, live_bytes, .. } = self.segments[at];
            return (live, live_bytes);
        }
        let mut counted = (0, 0);
        for entry in entries {
            if !self.segments[at].retired.contains(entry.position)
                && (alone || !self.is_shadowed(entry.position, at))
            {
                counted = (counted.0 + 1, counted.1 + u64::from(entry.bytes));
            }
        }
        counted
    }

    /// Whether a later segment than that at `at` holds the event as well, as a copy that a failed
    /// write or compaction left: that one counts.
    pub(super) fn is_shadowed(&mut self, position: QueuePosition, at: usize) -> bool {
        (at + 1..self.segments.len()).any(|later| {
            self.segments[later].spans(position)
                && self.index(later).binary_search_by_key(&position, |e| e.position).is_ok()
        })
    }
}
