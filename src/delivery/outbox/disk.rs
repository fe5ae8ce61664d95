//! Keeps events on disk until they are delivered, in segments that are only appended to.
//!
//! ```text
//!  00..07.events   00..08.events            00..09.events          append + fdatasync: an event counts as stored
//!  [E0 R- E1 E2]   [E3 R0 E4 R1 R2 E5 ]     [E6 R3 ...    <------- append, no sync: an event is retired
//!   ^ all retired, and nothing older is left: deleted as a whole
//! ```
//!
//! Promises, for one process (the folder is locked):
//! * An event for which `append` returned, and [`Store::health`] names no event in memory, survives
//!   a kill and a power cut at any later byte, as it was given.
//! * A retired event does not come back after the process was killed. It may come back, under its
//!   own id, after a power cut that comes before the system wrote its retirement: that is the next
//!   append, [`MARKS_A_SYNC`] retirements, or what the kernel does by itself (half a minute).
//!   Likewise where the disk refused to write it, and where a segment cannot be read for a while.
//! * A torn or damaged record costs only itself and is counted; what is before and after it is
//!   kept. A segment of another version, or one that cannot be read, is left alone and logged.
//! * An event that cannot be read for a while is not retired: it is tried again, later and later,
//!   and a segment that cannot be read at all is left alone until the next start, so that it does
//!   not hold up those after it.
//! * On a disk that is full, read-only or failing, events are kept in memory, which is logged once,
//!   and each append tries the disk again, first with those in memory. What is on the disk is still
//!   delivered.
//! * Files take at most the outbox's bytes, 100 for each of its events, and [`SLACK`]; one more
//!   segment while one is rewritten. Where retired events among waiting ones would take more, their
//!   segments are rewritten without them.
//! * Segments are deleted from the oldest on, so that a retirement is never gone before the event
//!   that it retires. A segment whose events are all retired is deleted at once: the crops in it
//!   are no longer needed.
//! * Wiped events (see [`Store::wipe`]) are removed from their segment at once, and no power cut
//!   restores them. (Flash memory may hold the blocks until it reuses them; only an encrypted disk
//!   helps against that.)
//! * When no event waits, the last segment is cut to its header, which then names the next
//!   position. That needs no sync of its own: the next append's covers it.
//! * What is carried for the audit log ([`Store::append_carrying`]) is as durable as the events it
//!   came with, which do not count without it, and is there until the log needs it no more, see
//!   [`CarriedLog`]. So long, half a minute at most where the log's disk works, a segment stays
//!   although all in it is retired.
//!
//! Writes, for the wear of SD cards: one append and one fdatasync for each event, or for those that
//! belong together, as a candidate and its entry of the audit log; and 16 bytes for
//! its retirement that go with the next sync. One file is made and one deleted for each [`SEGMENT`]
//! bytes, and at each start. A revocation rewrites each segment that holds a wiped event: at most
//! what waits, once.
//!
//! Memory does not grow with the queue. The index is in the segments. Kept in memory are a summary
//! of at most 128 bytes for each segment's file ([`SEGMENT`] on the disk), the decoded index of at
//! most eight segments that are being delivered from, and one segment while it is read.
//!
//! | file | one job |
//! |---|---|
//! | `format` | the bytes |
//! | `files` | the operations on a folder, as a trait |
//! | `segment`, `index` | what is known of a segment: always, and while it is needed |
//! | `recover` | what an earlier run left |
//! | `write` | events and retirements on their way to the disk |
//! | `tidy` | what goes from the disk |
//! | `look` | for people, from outside |

mod files;
mod format;
mod index;
mod look;
mod reading;
mod recover;
mod segment;
mod tidy;
mod write;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

pub use self::files::{Files, Folder, may_be_an_outbox};
use self::format::{CARRIED_OVERHEAD, EVENT_OVERHEAD, HEADER, MARK, MAX_CARRIED};
use self::index::Indices;
pub use self::look::{KeptEvent, carried, look};
use self::segment::Segment;
use super::{
    CarriedLog, EventRecord, Limits, Lost, MAX_EVENT, MemoryStore, OutboxStoreError, QueuePosition,
    Recovered, Store, StoreHealth, Stored, TOGETHER,
};

/// A segment takes no record that would make it longer.
pub const SEGMENT: u64 = 1024 * 1024;
/// So many retirements are synced without an append.
pub const MARKS_A_SYNC: usize = 256;
/// Bytes that files may take beyond what the outbox holds: retired events in segments that cannot
/// be deleted yet.
pub const SLACK: u64 = 4 * SEGMENT;
/// A segment whose retired events are in more runs than this among waiting ones is rewritten
/// without them.
const MAX_STRETCHES: usize = 256;

const _: () = assert!(
    HEADER + CARRIED_OVERHEAD + MAX_CARRIED + TOGETHER * (EVENT_OVERHEAD + MAX_EVENT)
        <= SEGMENT as usize,
    "events that belong together fit into a segment"
);

/// The store. See the module's documentation.
pub struct DiskStore<F: Files = Folder> {
    files: F,
    /// Most bytes of all segments.
    limit: u64,
    /// Ascending in number.
    segments: VecDeque<Segment>,
    indices: Indices,
    /// Whether the last segment takes records.
    active: bool,
    /// Whether the active segment holds bytes that were not synced.
    unsynced: bool,
    /// Of those, retirements.
    unsynced_marks: usize,
    /// Whether a deletion or a replacement may be undone by a power cut.
    moved: bool,
    /// Whether there is a segment that could not be read: what it holds is not known.
    hidden: bool,
    /// The log that may need what is carried; `None` where there is none.
    log: Option<Arc<dyn CarriedLog>>,
    /// Whether a segment would be deleted if the log did not need it.
    waits_for_log: bool,
    next_segment: u64,
    next_position: QueuePosition,
    /// What the disk did not take.
    memory: MemoryStore,
    /// Whether an event was wiped and is not gone yet, and the segment that holds it.
    wiping: bool,
    wiped: Option<u64>,
    /// Whether rewriting it failed.
    wipe_again: bool,
    lost: Lost,
    /// Something could not be read since the outbox asked.
    stalled: bool,
    /// All but the number of events in memory.
    health: StoreHealth,
}

impl<F: Files> std::fmt::Debug for DiskStore<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore")
            .field("segments", &self.segments)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// Opens the store in a folder, which is made where it is missing.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] where another process has it; otherwise why the folder cannot be
/// used.
pub fn open(path: &Path, limits: Limits) -> Result<DiskStore, OutboxStoreError> {
    let folder = Folder::open(path)
        .map_err(|source| OutboxStoreError { action: "open its folder", source })?;
    Ok(DiskStore::new(folder, limits))
}

impl<F: Files> DiskStore<F> {
    /// A store on `files`; [`Store::recover`] comes next.
    pub fn new(files: F, limits: Limits) -> Self {
        let overhead = (EVENT_OVERHEAD + MARK + HEADER) as u64;
        Self {
            files,
            limit: limits.bytes as u64 + limits.events as u64 * overhead + SLACK,
            segments: VecDeque::new(),
            indices: Indices::default(),
            active: false,
            unsynced: false,
            unsynced_marks: 0,
            moved: false,
            hidden: false,
            log: None,
            waits_for_log: false,
            next_segment: 0,
            next_position: 0,
            memory: MemoryStore::default(),
            wiping: false,
            wiped: None,
            wipe_again: false,
            lost: Lost::default(),
            stalled: false,
            health: StoreHealth::default(),
        }
    }

    /// Bytes of all segments.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Rewrites wiped events' segments where that failed before.
    fn wipe_again(&mut self) {
        if self.wipe_again && self.health.problem.is_none() {
            match self.scrub_all().and_then(|()| self.settle()) {
                Ok(()) => self.wipe_again = false,
                Err(e) => self.failed("wipe events", &e),
            }
        }
    }
}

impl<F: Files> Store for DiskStore<F> {
    fn recover(&mut self) -> Result<Recovered, OutboxStoreError> {
        self.find_all()
    }

    fn append_together(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
    ) -> Result<(), OutboxStoreError> {
        let end = first.saturating_add(records.len() as u64);
        self.next_position = self.next_position.max(end);
        match self.save_memory().and_then(|()| self.save(first, records, None)) {
            Ok(()) => {
                self.works_again();
                self.wipe_again();
                Ok(())
            }
            Err(e) => {
                self.failed("store an event", &e);
                self.memory.append_together(first, records)
            }
        }
    }

    fn append_carrying(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
        carried: &[u8],
    ) -> Result<(), OutboxStoreError> {
        let end = first.saturating_add(records.len() as u64);
        self.next_position = self.next_position.max(end);
        let fits = carried.len() <= MAX_CARRIED && self.log.is_some();
        let stored = if fits { self.save_memory() } else { Err(ErrorKind::Unsupported.into()) };
        match stored.and_then(|()| self.save(first, records, Some(carried))) {
            Ok(()) => {
                self.works_again();
                self.wipe_again();
                Ok(())
            }
            Err(source) => Err(OutboxStoreError { action: "store an event", source }),
        }
    }

    fn carries(&self) -> bool {
        self.log.is_some() && self.memory.is_empty() && self.health.problem.is_none()
    }

    fn keep_for(&mut self, log: Arc<dyn CarriedLog>) {
        self.log = Some(log);
    }

    fn waits_for_log(&self) -> bool {
        self.waits_for_log
    }

    fn let_go_of_carried(&mut self, settle: bool) {
        if let Err(e) = Self::let_go_of_carried(self, settle) {
            self.failed("let go of what it holds for the audit log", &e);
        }
    }

    fn next(&mut self, from: QueuePosition) -> Option<Stored> {
        self.stalled = false;
        let mut best = self.memory.next(from);
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            let may = segment.live > 0
                && segment.extent.1 >= from
                && best.is_none_or(|b| segment.extent.0 < b.position);
            if may && let Some(entry) = self.first(at, from, |_| true) {
                best = best.filter(|b| b.position < entry.position).or(Some(entry.stored()));
            }
        }
        // What cannot be read may come before it.
        best.filter(|_| !self.stalled)
    }

    fn next_expired(&mut self, from: QueuePosition, deadline: i64) -> Option<Stored> {
        self.stalled = false;
        let mut best = self.memory.next_expired(from, deadline);
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            let may = segment.live > 0
                && segment.earliest <= deadline
                && segment.extent.1 >= from
                && best.is_none_or(|b| segment.extent.0 < b.position);
            if !may {
                continue;
            }
            match self.first(at, from, |e| e.expires <= deadline) {
                Some(entry) => {
                    best = best.filter(|b| b.position < entry.position).or(Some(entry.stored()))
                }
                // All that had expired has left or is on its way: when the next one does is
                // computed again.
                None => {
                    let Self { segments, indices, .. } = self;
                    let segment = &mut segments[at];
                    let entries = indices.get(segment.number).unwrap_or_default();
                    let waiting = entries.iter().filter(|e| !segment.retired.contains(e.position));
                    segment.earliest = waiting.map(|e| e.expires).min().unwrap_or(i64::MAX);
                }
            }
        }
        best
    }

    fn read(&mut self, position: QueuePosition) -> Result<Option<EventRecord>, OutboxStoreError> {
        self.stalled = false;
        let found = match self.locate(position) {
            Some((at, entry)) => match self.load(at, entry) {
                Err(e) if !self.reading_failed(at, &e) => {
                    self.leave_alone(at, &e);
                    self.indices.put(self.segments[at].number, Vec::new());
                    self.count_missing(at, 0);
                    Ok(None)
                }
                read => read,
            },
            None if self.stalled => Err(io::Error::other("a segment cannot be read")),
            None => return self.memory.read(position),
        };
        found.map_err(|source| OutboxStoreError { action: "read an event", source })
    }

    fn remove(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        let Some((at, entry)) = self.locate(position) else {
            let known = self.memory.remove(position)?;
            // A write that seemed to fail may have reached the disk.
            if known && self.active && self.mark(position).is_err() {
                self.abandon();
            }
            return Ok(known);
        };
        let number = self.segments[at].number;
        let marked = self.mark(position);
        self.segments.iter_mut().for_each(|s| s.retire(position, position));
        let segment = &mut self.segments[at];
        // A copy whose other place was lost meanwhile is not among those counted.
        segment.live = segment.live.saturating_sub(1);
        segment.live_bytes = segment.live_bytes.saturating_sub(u64::from(entry.bytes));
        let scattered = segment.retired.len() > MAX_STRETCHES && self.health.problem.is_none();
        let gathered = if scattered { self.rewrite(at) } else { Ok(()) };
        let tidied = gathered.and_then(|()| self.collect());
        let gone = self.segments.iter().all(|s| s.number != number);
        match (marked, tidied) {
            (Err(source), _) if !gone => {
                self.failed("retire an event", &source);
                Err(OutboxStoreError { action: "retire an event", source })
            }
            (_, Err(source)) => {
                // Nothing is lost and nothing comes back; the files only stay longer.
                self.failed("delete a segment", &source);
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn wipe(&mut self, position: QueuePosition) -> Result<bool, OutboxStoreError> {
        let number = self.locate(position).map(|(at, _)| self.segments[at].number);
        // One after the other: only one segment at a time has too many runs.
        let before = if self.wiped == number { Ok(()) } else { self.scrub() };
        let removed = self.remove(position);
        (self.wiping, self.wiped) = (true, number);
        before.and(removed)
    }

    fn scrub(&mut self) -> Result<(), OutboxStoreError> {
        if !std::mem::take(&mut self.wiping) {
            return Ok(());
        }
        let number = self.wiped.take();
        let scrubbed =
            self.scrub_segment(number).and_then(|()| self.collect()).and_then(|()| self.settle());
        scrubbed.map_err(|source| {
            self.wipe_again = true;
            self.failed("wipe events", &source);
            OutboxStoreError { action: "wipe events", source }
        })
    }

    fn flush(&mut self) {
        if self.memory.is_empty() {
            return;
        }
        match self.save_memory() {
            Ok(()) => {
                self.works_again();
                self.wipe_again();
            }
            Err(e) => self.failed("store an event", &e),
        }
    }

    fn take_stalled(&mut self) -> bool {
        std::mem::take(&mut self.stalled)
    }

    fn round_failed(&mut self) {
        for segment in &mut self.segments {
            segment.failing.count_round();
        }
    }

    fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    fn health(&self) -> StoreHealth {
        StoreHealth { in_memory: self.memory.len(), ..self.health.clone() }
    }
}

impl<F: Files> Drop for DiskStore<F> {
    fn drop(&mut self) {
        if self.active && self.unsynced {
            // Nothing depends on it but repetitions after a power cut.
            let _ = self.sync();
        }
    }
}

#[cfg(test)]
mod tests;
