//! Where the events of a segment are, read from the segment itself. The index of the few segments
//! that are being delivered from is kept.

use super::format::{self, ScannedItem};
use crate::delivery::outbox::{QueuePosition, Stored, nanoseconds};

/// Most segments of which the index is kept: a window of the largest events is in five.
const MOST: usize = 8;
/// Most events in them together, apart from the one that was asked for last. Those of one segment
/// are at most 20,000.
const MOST_ENTRIES: usize = 32 * 1024;

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its place in the order of decisions.
    pub position: QueuePosition,
    /// When it expires, see [`nanoseconds`].
    pub expires: i64,
    /// Where it begins in the segment.
    pub offset: u32,
    /// Bytes of its payload.
    pub bytes: u32,
}

impl IndexEntry {
    /// What the outbox gets to know of it.
    pub fn stored(&self) -> Stored {
        Stored { position: self.position, expires: self.expires, bytes: self.bytes }
    }
}

/// What a segment's bytes hold.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its whole events, ascending in position, each position once.
    pub entries: Vec<IndexEntry>,
    /// Positions that it retires, in its order.
    pub marks: Vec<QueuePosition>,
    /// Whether it carries something for the log.
    pub carries: bool,
    /// Runs of bytes that are no record.
    pub damaged: u64,
    /// Whether the last is one.
    pub torn: bool,
}

/// Reads the bytes of the file that is called `segment`.
pub fn contents(segment: u64, bytes: &[u8]) -> Contents {
    let mut out = Contents::default();
    format::scan(segment, bytes, |found| match found {
        ScannedItem::Event(offset, head) => out.entries.push(IndexEntry {
            position: head.position,
            expires: nanoseconds(head.expires),
            // A segment is far below 4 GiB. In a file that is not, what is beyond is not found
            // again, and is counted.
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            bytes: head.bytes as u32,
        }),
        ScannedItem::Retired(position) => out.marks.push(position),
        ScannedItem::Carried(..) => out.carries = true,
        ScannedItem::Damaged => out.damaged += 1,
        ScannedItem::Torn => out.torn = true,
    });
    if !out.entries.is_sorted_by(|a, b| a.position < b.position) {
        // Of two events at one position the later one counts.
        out.entries.reverse();
        out.entries.sort_by_key(|e| e.position);
        out.entries.dedup_by_key(|e| e.position);
    }
    out
}

/// Indices by segment, the one that was asked for last at the end.
#[derive(Debug, Default)]
pub struct Indices(Vec<(u64, Vec<IndexEntry>)>);

impl Indices {
    /// The segment's, if it is kept.
    pub fn get(&mut self, segment: u64) -> Option<&[IndexEntry]> {
        let i = self.0.iter().position(|(n, _)| *n == segment)?;
        self.0[i..].rotate_left(1);
        self.0.last().map(|(_, entries)| &entries[..])
    }

    /// Keeps the segment's; others that were not asked for lately make room.
    pub fn put(&mut self, segment: u64, entries: Vec<IndexEntry>) {
        self.remove(segment);
        self.0.push((segment, entries));
        while self.0.len() > MOST || self.0.len() > 1 && self.entries() > MOST_ENTRIES {
            self.0.remove(0);
        }
    }

    /// Adds an event after the others, where the segment's are kept.
    pub fn push(&mut self, segment: u64, entry: IndexEntry) {
        if let Some((_, entries)) = self.0.iter_mut().find(|(n, _)| *n == segment) {
            let i = entries.partition_point(|e| e.position < entry.position);
            entries.insert(i, entry);
        }
    }

    /// Forgets the segment's.
    pub fn remove(&mut self, segment: u64) {
        self.0.retain(|(n, _)| *n != segment);
    }

    /// Events in all that are kept.
    pub fn entries(&self) -> usize {
        self.0.iter().map(|(_, entries)| entries.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: QueuePosition) -> IndexEntry {
        IndexEntry { position, expires: 0, offset: 0, bytes: 0 }
    }

    #[test]
    fn those_asked_for_lately_stay_and_their_number_is_bounded() {
        let mut indices = Indices::default();
        for segment in 0..100 {
            indices.put(segment, vec![entry(segment)]);
            assert!(indices.get(0).is_some(), "asked for at each turn");
        }
        assert_eq!(indices.entries(), MOST);
        assert!(indices.get(99).is_some() && indices.get(50).is_none());
        for segment in 100..110 {
            indices.put(segment, (0..MOST_ENTRIES as u64 / 2).map(entry).collect());
        }
        assert!(indices.entries() <= MOST_ENTRIES);
    }
}
