//! Keeps events on disk until they are delivered, in segments that are only appended to.
//!
//! ```text
//!  00..07.events   00..08.events            00..09.events          append + fdatasync: an event counts as stored
//!  [E0 R- E1 E2]   [E3 R0 E4 R1 R2 E5 ]     [E6 R3 ...    <------- append, no sync: an event is retired
//!   ^ all retired, and nothing older is left: deleted as a whole
//! ```
//!
//! Promises, for one process (the folder is locked):
//! * An event for which `append` returned, and [`Store::health`] names no event in memory, survives a kill and a power
//!   cut at any later byte, as it was given.
//! * A retired event does not come back after the process was killed. It may come back, under its own id, after a power
//!   cut that comes before the system wrote its retirement: that is the next append, [`MARKS_A_SYNC`] retirements, or
//!   what the kernel does by itself (half a minute). Likewise where the disk refused to write it.
//! * A torn or damaged record costs itself and is counted; what lies before and behind it is kept. A segment of another
//!   version, or one that cannot be read, is left alone, and the log says so.
//! * On a disk that is full, read-only or failing, events are kept in memory, the log says so once, and each append tries
//!   the disk again, at first with those in memory. What is on the disk is delivered all the same.
//! * Files take at most the outbox's bytes, 68 for each of its events, and [`SLACK`]: where retired events among waiting
//!   ones would take more, the waiting ones of the oldest segment are copied to the end.
//! * Segments go from the oldest on, so that a retirement is never gone before the event that it retires. Events that are
//!   all retired are deleted at once: the crops in them are of use to nobody any more. (Flash memory may hold the blocks
//!   until it reuses them; only an encrypted disk helps against that.)
//!
//! * When nothing waits any more, the last segment is cut off behind its header, which then names the next position. That needs
//!   no sync of its own: it rides on the next append's.
//!
//! Writes, for the wear of SD cards: one append and one fdatasync for each event, and 16 bytes for its retirement that ride on
//! the next sync. One file is made and one deleted for each [`SEGMENT`] bytes, and at each start. README.md has what a
//! file system makes of it in blocks.
//!
//! In memory it keeps 24 bytes for each event that waits, reserved at the start.

mod files;
mod format;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::Path;

use time::OffsetDateTime;

pub use self::files::{Files, Folder};
use self::format::{EVENT_OVERHEAD, Found, HEADER, Header, MARK};
use super::{
    Limits, MAX_EVENT, MAX_RESERVED, MemoryStore, Position, Record, Recovered, Store, StoreError, StoreHealth, Stored,
    nanoseconds,
};
use crate::delivery::event::EventId;

/// A segment takes no record that would make it longer.
pub const SEGMENT: u64 = 1024 * 1024;
/// So many retirements are synced without an append.
pub const MARKS_A_SYNC: usize = 256;
/// What files may take beyond what the outbox holds: retired events that wait for their segment to go.
pub const SLACK: u64 = 4 * SEGMENT;

const _: () = assert!(HEADER + EVENT_OVERHEAD + MAX_EVENT <= SEGMENT as usize, "every event fits into a segment");

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Of good bytes; where the next record goes.
    bytes: u64,
    /// Events in it, retired ones too.
    events: u64,
    /// Events in it that wait.
    live: u64,
}

/// Where a waiting event lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: Position,
    segment: u64,
    offset: u32,
    bytes: u32,
}

/// The store. See the module's documentation.
#[derive(Debug)]
pub struct DiskStore<F: Files = Folder> {
    files: F,
    /// Most bytes of all segments.
    limit: u64,
    /// Ascending in number.
    segments: VecDeque<Segment>,
    /// Whether the last segment takes records.
    active: bool,
    /// Whether the active segment holds bytes that were not synced.
    unsynced: bool,
    /// Of those, retirements.
    unsynced_marks: usize,
    /// Whether a deletion may be undone by a power cut.
    deleted: bool,
    next_segment: u64,
    next_position: Position,
    /// Ascending in position.
    places: VecDeque<Place>,
    /// What the disk did not take.
    memory: MemoryStore,
    /// All but the number of events in memory.
    health: StoreHealth,
}

/// Opens the store in a folder, which is made where it is missing.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] where another process has it; otherwise why the folder cannot be used.
pub fn open(path: &Path, limits: Limits) -> Result<DiskStore, StoreError> {
    let folder = Folder::open(path).map_err(|source| StoreError { action: "open its folder", source })?;
    Ok(DiskStore::new(folder, limits))
}

/// A record of a folder, for people and programs that look from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its place.
    pub position: Position,
    /// The event's id.
    pub id: EventId,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Whether it was retired: delivered, or gone under another name.
    pub retired: bool,
}

/// What lies in the folder of an outbox, in the order of positions, and how many stretches of bytes are no records. Changes nothing
/// and asks for no lock, so that it may be called while another process delivers; what that one does meanwhile may be seen or not.
///
/// # Errors
/// Where the folder cannot be read.
pub fn look(path: &Path) -> io::Result<(Vec<Kept>, u64)> {
    let (mut kept, mut retired, mut bad) = (Vec::new(), Vec::new(), 0);
    for number in files::numbers(path)? {
        let bytes = match std::fs::read(files::name(path, number)) {
            Ok(bytes) => zeroize::Zeroizing::new(bytes),
            // Delivered and deleted between the two calls.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Header::Foreign { .. } = format::read_header(number, &bytes) {
            bad += 1;
            continue;
        }
        format::scan(number, &bytes, |found| match found {
            Found::Event(_, head) => kept.push(Kept {
                position: head.position,
                id: head.id,
                expires: head.expires,
                bytes: head.bytes,
                retired: false,
            }),
            Found::Retired(position) => retired.push(position),
            Found::Damaged | Found::Torn => bad += 1,
        });
    }
    kept.sort_by_key(|k| k.position);
    kept.dedup_by_key(|k| k.position);
    retired.sort_unstable();
    for k in &mut kept {
        k.retired = retired.binary_search(&k.position).is_ok();
    }
    Ok((kept, bad))
}

impl<F: Files> DiskStore<F> {
    /// A store on `files`; [`Store::recover`] comes next.
    pub fn new(files: F, limits: Limits) -> Self {
        let overhead = (EVENT_OVERHEAD + MARK) as u64;
        Self {
            files,
            limit: limits.bytes as u64 + limits.events as u64 * overhead + SLACK,
            segments: VecDeque::new(),
            active: false,
            unsynced: false,
            unsynced_marks: 0,
            deleted: false,
            next_segment: 0,
            next_position: 0,
            places: VecDeque::with_capacity(limits.events.min(MAX_RESERVED)),
            memory: MemoryStore::default(),
            health: StoreHealth::default(),
        }
    }

    /// Bytes of all segments.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    fn index(&self, position: Position) -> Option<usize> {
        self.places.binary_search_by_key(&position, |p| p.position).ok()
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let i = self.segments.binary_search_by_key(&number, |s| s.number).ok()?;
        self.segments.get_mut(i)
    }

    /// Begins a new segment. The one before is synced first: a sync of the new one says nothing about it.
    fn roll(&mut self) -> io::Result<()> {
        if self.active && self.unsynced {
            self.sync()?;
        }
        self.active = false;
        let number = self.next_segment;
        self.next_segment += 1;
        let header = format::header(number, self.next_position);
        let made = self
            .files
            .create(number)
            .and_then(|()| self.files.append(number, &header))
            .and_then(|()| self.files.sync(number))
            .and_then(|()| self.files.sync_folder());
        if let Err(e) = made {
            // Whatever is left of it is recognised and deleted by the next start.
            let _ = self.files.delete(number);
            self.deleted = true;
            return Err(e);
        }
        self.segments.push_back(Segment { number, bytes: HEADER as u64, events: 0, live: 0 });
        (self.active, self.deleted) = (true, false);
        (self.unsynced, self.unsynced_marks) = (false, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.back() else { return Ok(()) };
        self.files.sync(last.number)?;
        (self.unsynced, self.unsynced_marks) = (false, 0);
        Ok(())
    }

    /// After a failed write or sync: what the end of the segment holds is not known, so that nothing goes behind it.
    fn abandon(&mut self) {
        if std::mem::take(&mut self.active)
            && let Some(last) = self.segments.back()
        {
            let _ = self.files.truncate(last.number, last.bytes);
            // Retirements in it are good, and nothing else will sync them.
            if self.unsynced {
                let _ = self.files.sync(last.number);
            }
        }
        (self.unsynced, self.unsynced_marks) = (false, 0);
    }

    /// Writes one record of `length` bytes to the active segment and says where it lies.
    fn write(&mut self, length: usize, encode: impl FnOnce(u64) -> Frame) -> io::Result<(u64, u64)> {
        if !self.active || self.segments.back().is_none_or(|s| s.bytes + length as u64 > SEGMENT) {
            self.roll()?;
        }
        let last = self.segments.back_mut().expect("roll made one");
        let frame = encode(last.number);
        self.files.append(last.number, frame.bytes())?;
        let at = (last.number, last.bytes);
        last.bytes += length as u64;
        self.unsynced = true;
        Ok(at)
    }

    /// Writes an event and syncs it; once more in a new segment where the active one fails.
    fn save(&mut self, position: Position, record: &Record) -> io::Result<()> {
        let length = EVENT_OVERHEAD + record.payload.len();
        self.make_room(length as u64)?;
        let once = |store: &mut Self| {
            let written = store.write(length, |segment| Frame::Event(format::event(segment, position, record)));
            let written_but_not_synced = written.is_ok();
            written.and_then(|at| store.sync().map(|()| at)).inspect_err(|_| {
                if written_but_not_synced && let Some(last) = store.segments.back_mut() {
                    last.bytes -= length as u64;
                }
                store.abandon();
            })
        };
        let (segment, offset) = once(self).or_else(|_| once(self))?;
        let last = self.segments.back_mut().expect("it was just written to");
        last.events += 1;
        last.live += 1;
        let place = Place { position, segment, offset: offset as u32, bytes: length as u32 };
        let i = self.places.partition_point(|p| p.position < position);
        self.places.insert(i, place);
        Ok(())
    }

    /// What could not be saved earlier goes first.
    fn save_memory(&mut self) -> io::Result<()> {
        while let Some((position, record)) = self.memory.front() {
            self.save(position, &record)?;
            self.memory.remove(position).map_err(|e| e.source)?;
        }
        Ok(())
    }

    fn retire(&mut self, position: Position) -> io::Result<()> {
        let encode = |segment| Frame::Mark(format::mark(segment, position));
        if self.write(MARK, encode).is_err() {
            self.abandon();
            self.write(MARK, encode)?;
        }
        self.unsynced_marks += 1;
        if self.unsynced_marks >= MARKS_A_SYNC
            && let Err(e) = self.sync()
        {
            self.abandon();
            return Err(e);
        }
        Ok(())
    }

    /// Deletes segments without waiting events, from the oldest on.
    fn collect(&mut self) -> io::Result<()> {
        while let Some(oldest) = self.segments.front()
            && oldest.live == 0
        {
            if self.active && self.segments.len() == 1 {
                return self.empty();
            }
            self.delete_oldest()?;
        }
        Ok(())
    }

    /// Cuts the only segment off, none of whose events waits.
    fn empty(&mut self) -> io::Result<()> {
        // Were this to last and an older segment's deletion not, that one's retirements would be gone too early.
        if std::mem::take(&mut self.deleted) {
            self.files.sync_folder().inspect_err(|_| self.deleted = true)?;
        }
        let Some(last) = self.segments.back_mut().filter(|s| s.events > 0) else { return Ok(()) };
        let header = format::header(last.number, self.next_position);
        if let Err(e) = self.files.restart(last.number, &header) {
            // What the file holds is not known; the next collection deletes it.
            self.abandon();
            return Err(e);
        }
        *last = Segment { number: last.number, bytes: HEADER as u64, events: 0, live: 0 };
        (self.unsynced, self.unsynced_marks) = (true, 0);
        Ok(())
    }

    fn delete_oldest(&mut self) -> io::Result<()> {
        // Were the younger one's deletion to last and the older one's not, its retirements would be gone too early.
        if self.deleted {
            self.files.sync_folder()?;
            self.deleted = false;
        }
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        match self.files.delete(oldest.number) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.deleted = true;
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.active = false;
        }
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        // Each turn deletes a segment and copies less than it held, or there is nothing to gain.
        let mut turns = self.segments.len();
        while self.disk_bytes() + bytes > self.limit && self.segments.len() > 1 && turns > 0 {
            self.compact_oldest().inspect_err(|_| self.abandon())?;
            turns -= 1;
        }
        if self.disk_bytes() + bytes > self.limit { Err(ErrorKind::QuotaExceeded.into()) } else { Ok(()) }
    }

    /// Copies the oldest segment's waiting events to the end and deletes it. Until they are synced there, the old places
    /// count.
    fn compact_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.front().map(|s| s.number) else { return Ok(()) };
        let waiting: Vec<Place> = self.places.iter().filter(|p| p.segment == oldest).copied().collect();
        let mut copied = Vec::with_capacity(waiting.len());
        for place in waiting {
            // One that cannot be read back is lost already; the outbox counts it when its turn comes.
            let record = self.load(place)?;
            let Some(record) = record else { continue };
            let frame = |segment| Frame::Event(format::event(segment, place.position, &record));
            let (segment, offset) = self.write(place.bytes as usize, frame)?;
            copied.push(Place { segment, offset: offset as u32, ..place });
        }
        self.sync()?;
        for place in copied {
            if let Some(i) = self.index(place.position) {
                self.places[i] = place;
            }
            if let Some(segment) = self.segment(place.segment) {
                segment.events += 1;
                segment.live += 1;
            }
        }
        self.places.retain(|p| p.segment != oldest);
        if let Some(segment) = self.segment(oldest) {
            segment.live = 0;
        }
        self.delete_oldest()
    }

    fn load(&mut self, place: Place) -> io::Result<Option<Record>> {
        let bytes = self.files.read_at(place.segment, place.offset.into(), place.bytes as usize)?;
        let bytes = zeroize::Zeroizing::new(bytes);
        Ok(format::read_event(place.segment, &bytes).filter(|(p, _)| *p == place.position).map(|(_, r)| r))
    }

    /// The disk did not do what it was asked to.
    fn failed(&mut self, what: &str, e: &io::Error) {
        self.health.failures += 1;
        let problem = match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("the disk is full ({e}); free some space"),
            ErrorKind::ReadOnlyFilesystem => format!("the disk is read-only ({e}); check it and mount it again"),
            _ => format!("the disk failed to {what} ({e}); check it"),
        };
        if self.health.problem.is_none() {
            log::error!("The outbox's disk fails; what it does not take waits in memory: reason={problem}.");
        }
        self.health.problem = Some(problem);
    }

    fn recovered(&mut self) {
        if self.health.problem.take().is_some() {
            log::info!("The outbox's disk works again; nothing waits in memory only.");
        }
    }

    /// Adds what the file says to `events` and `retired`, in its order.
    fn scan(&mut self, number: u64, found_events: &mut Vec<(Place, i64)>, retired: &mut Vec<Position>) {
        let bytes = match self.files.read(number) {
            Ok(bytes) => zeroize::Zeroizing::new(bytes),
            Err(e) => {
                log::error!("A segment of the outbox cannot be read and is left alone: number={number} error={e}.");
                self.health.damaged += 1;
                return;
            }
        };
        match format::read_header(number, &bytes) {
            Header::Foreign { version } => {
                log::error!(
                    "A segment of the outbox is of another version of watchpost and is left alone; run that version to \
                     deliver it: number={number} version={version}."
                );
                self.health.damaged += 1;
                return;
            }
            Header::Good { next } => self.next_position = self.next_position.max(next),
            // A header cut short is a segment that was being made; nothing was in it.
            Header::Damaged => self.health.damaged += u64::from(bytes.len() > HEADER),
        }
        let (mut events, mut damaged, mut torn) = (0, 0, false);
        format::scan(number, &bytes, |found| match found {
            Found::Event(offset, head) => {
                events += 1;
                let length = (EVENT_OVERHEAD + head.bytes) as u32;
                let place = Place { position: head.position, segment: number, offset: offset as u32, bytes: length };
                self.next_position = self.next_position.max(head.position.saturating_add(1));
                found_events.push((place, nanoseconds(head.expires)));
            }
            Found::Retired(position) => {
                self.next_position = self.next_position.max(position.saturating_add(1));
                retired.push(position);
            }
            Found::Damaged => damaged += 1,
            Found::Torn => torn = true,
        });
        if damaged > 0 {
            log::error!("Records of the outbox are damaged and lost: segment={number} records={damaged}.");
            self.health.damaged += damaged;
        }
        if torn {
            log::warn!("The last record of a segment was never finished, as after a power cut: segment={number}.");
            self.health.torn += 1;
        }
        self.segments.push_back(Segment { number, bytes: bytes.len() as u64, events, live: 0 });
    }
}

impl<F: Files> Store for DiskStore<F> {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let mut numbers = self.files.list().map_err(|source| StoreError { action: "list its segments", source })?;
        numbers.sort_unstable();
        self.next_segment = numbers.last().map_or(0, |n| n.saturating_add(1));
        let (mut found, mut retired) = (Vec::new(), Vec::new());
        for number in numbers {
            self.scan(number, &mut found, &mut retired);
        }
        retired.sort_unstable();
        // Of an event that was copied, the copy counts: it lies behind.
        found.sort_by_key(|(place, _)| place.position);
        let mut events: Vec<Stored> = Vec::with_capacity(found.len());
        for (i, (place, expires)) in found.iter().enumerate() {
            let copied = found.get(i + 1).is_some_and(|(next, _)| next.position == place.position);
            if copied || retired.binary_search(&place.position).is_ok() {
                continue;
            }
            if let Some(segment) = self.segment(place.segment) {
                segment.live += 1;
            }
            self.places.push_back(*place);
            let bytes = place.bytes - EVENT_OVERHEAD as u32;
            events.push(Stored { position: place.position, expires: *expires, bytes });
        }
        drop((found, retired));
        // A process that was killed may have left records that no sync has covered. From here on they count as stored.
        let synced = self.segments.iter().try_for_each(|s| self.files.sync(s.number));
        // Whether the disk can be written to is known from the start.
        if let Err(e) = synced.and_then(|()| self.roll()).and_then(|()| self.collect()) {
            self.failed("make a segment", &e);
        }
        Ok(Recovered { events, next: self.next_position })
    }

    fn append(&mut self, position: Position, record: &Record) -> Result<(), StoreError> {
        self.next_position = self.next_position.max(position.saturating_add(1));
        match self.save_memory().and_then(|()| self.save(position, record)) {
            Ok(()) => {
                self.recovered();
                Ok(())
            }
            Err(e) => {
                self.failed("store an event", &e);
                self.memory.append(position, record)
            }
        }
    }

    fn read(&mut self, position: Position) -> Result<Option<Record>, StoreError> {
        match self.index(position).map(|i| self.places[i]) {
            Some(place) => self.load(place).map_err(|source| StoreError { action: "read an event", source }),
            None => self.memory.read(position),
        }
    }

    fn remove(&mut self, position: Position) -> Result<(), StoreError> {
        let Some(i) = self.index(position) else {
            if self.memory.read(position)?.is_some() {
                self.memory.remove(position)?;
                // A write that seemed to fail may have reached the disk.
                if self.active && self.retire(position).is_err() {
                    self.abandon();
                }
            }
            return Ok(());
        };
        let Some(place) = self.places.remove(i) else { return Ok(()) };
        let marked = self.retire(position);
        if let Some(segment) = self.segment(place.segment) {
            segment.live -= 1;
        }
        let collected = self.collect();
        let gone = self.segment(place.segment).is_none();
        match (marked, collected) {
            (Err(source), _) if !gone => {
                self.failed("retire an event", &source);
                Err(StoreError { action: "retire an event", source })
            }
            (_, Err(source)) => {
                // Nothing is lost and nothing comes back; the files only stay longer.
                self.failed("delete a segment", &source);
                Ok(())
            }
            _ => Ok(()),
        }
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

/// A record's bytes.
enum Frame {
    Event(zeroize::Zeroizing<Vec<u8>>),
    Mark([u8; MARK]),
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Event(bytes) => bytes,
            Self::Mark(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests;
