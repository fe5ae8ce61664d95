//! Events that are read back: segments are indexed again where that was forgotten, and those that
//! cannot be read are tried again, later and later.

use std::io::{self, ErrorKind};

use super::format::{self, EVENT_OVERHEAD};
use super::index::{self, IndexEntry};
use super::segment::{FailingReads, Segment};
use super::{DiskStore, Files};
use crate::delivery::outbox::{EventRecord, QueuePosition};

/// So often a read is tried before it counts as failed: one error of a bus says little.
const READS: usize = 3;

/// In so many rounds ([`super::Store::round_failed`]), ever further apart, a segment may fail to be
/// read before it is left alone until the next start: about a minute.
pub(super) const READ_ROUNDS: u32 = 6;

pub(super) fn again<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut result = read();
    for _ in 1..READS {
        if result.is_ok() {
            break;
        }
        result = read();
    }
    result
}

impl<F: Files> DiskStore<F> {
    /// Events of the segment at `at`, retired ones too, ascending in position. Where the file holds
    /// fewer than it did, the others are lost and counted. Where it cannot be read there are none
    /// for now, and the store is stalled.
    pub(super) fn index(&mut self, at: usize) -> &[IndexEntry] {
        let Segment { number, bytes, events, .. } = self.segments[at];
        if events == 0 {
            return &[];
        }
        if self.indices.get(number).is_none() {
            let entries = match again(|| self.files.read(number)) {
                Ok(file) => {
                    let file = zeroize::Zeroizing::new(file);
                    index::contents(number, &file[..file.len().min(bytes as usize)]).entries
                }
                Err(e) if e.kind() != ErrorKind::NotFound && self.reading_failed(at, &e) => {
                    return &[];
                }
                Err(e) => {
                    self.leave_alone(at, &e);
                    Vec::new()
                }
            };
            let found = entries.len() as u32;
            self.indices.put(number, entries);
            if found != events {
                self.count_missing(at, found);
            }
        }
        self.indices.get(number).unwrap_or_default()
    }

    /// The segment at `at` holds `found` events and held more.
    pub(super) fn count_missing(&mut self, at: usize, found: u32) {
        let Segment { number, live, live_bytes, events, .. } = self.segments[at];
        self.segments[at].events = found;
        let (still, still_bytes) = self.count(at);
        (self.segments[at].live, self.segments[at].live_bytes) = (still, still_bytes);
        self.lost.events += live.saturating_sub(still) as usize;
        self.lost.bytes += live_bytes.saturating_sub(still_bytes) as usize;
        self.health.damaged += 1;
        log::error!(
            "A segment of the outbox holds less than it did: number={number} events={events} \
             found={found}."
        );
    }

    /// Where the event at `position` lies, if it waits on the disk.
    pub(super) fn locate(&mut self, position: QueuePosition) -> Option<(usize, IndexEntry)> {
        for at in (0..self.segments.len()).rev() {
            let segment = &self.segments[at];
            if segment.spans(position) && !segment.retired.contains(position) {
                let index = self.index(at);
                if let Ok(i) = index.binary_search_by_key(&position, |e| e.position) {
                    return Some((at, index[i]));
                }
            }
        }
        None
    }

    /// The first event of the segment at `at` that waits, is at `from` or after it, and is
    /// `wanted`.
    pub(super) fn first(
        &mut self,
        at: usize,
        mut from: QueuePosition,
        wanted: impl Fn(&IndexEntry) -> bool,
    ) -> Option<IndexEntry> {
        self.index(at);
        let Self { segments, indices, .. } = self;
        let entries = indices.get(segments[at].number)?;
        loop {
            let i = entries.partition_point(|e| e.position < from);
            let entry = entries[i..].iter().find(|e| wanted(e))?;
            match segments[at].retired.end_of(entry.position) {
                None => return Some(*entry),
                Some(end) => from = end.checked_add(1)?,
            }
        }
    }

    pub(super) fn load(&mut self, at: usize, entry: IndexEntry) -> io::Result<Option<EventRecord>> {
        let number = self.segments[at].number;
        let length = EVENT_OVERHEAD + entry.bytes as usize;
        let bytes = again(|| self.files.read_at(number, entry.offset.into(), length));
        let bytes = match bytes {
            // Gone, or cut short.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
                return Ok(None);
            }
            read => zeroize::Zeroizing::new(read?),
        };
        if std::mem::take(&mut self.segments[at].failing).is_failing()
            && self.memory.is_empty()
            && !self.segments.iter().any(|s| s.failing.is_failing())
        {
            self.works_again();
        }
        Ok(format::read_event(number, &bytes).filter(|(p, _)| *p == entry.position).map(|(_, r)| r))
    }

    /// The segment at `at` cannot be read: true where it is to be tried again. Until then nobody is
    /// told that all was found. After [`READ_ROUNDS`] it no longer holds up those after it.
    pub(super) fn reading_failed(&mut self, at: usize, e: &io::Error) -> bool {
        let failing = &mut self.segments[at].failing;
        failing.now = true;
        let rounds = failing.rounds;
        self.failed("read an event", e);
        self.stalled = rounds < READ_ROUNDS;
        self.stalled
    }

    pub(super) fn leave_alone(&mut self, at: usize, e: &io::Error) {
        let segment = &mut self.segments[at];
        (segment.left, segment.failing) = (true, FailingReads::default());
        log::error!(
            "A segment of the outbox cannot be read any more and is left alone until the next \
             start: number={} error={e}.",
            segment.number
        );
    }
}
