//! Records on their way to the disk: segments are begun, appended to and synced.

use std::io::{self, ErrorKind};

use super::format::{self, CARRIED_OVERHEAD, EVENT_OVERHEAD, HEADER, MARK};
use super::index::IndexEntry;
use super::segment::Segment;
use super::{DiskStore, Files, MARKS_A_SYNC, SEGMENT};
use crate::delivery::outbox::{EventRecord, QueuePosition, Store, nanoseconds};

/// The bytes of records.
enum RecordBytes {
    Events(zeroize::Zeroizing<Vec<u8>>),
    Mark([u8; MARK]),
}

impl RecordBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Events(bytes) => bytes,
            Self::Mark(bytes) => bytes,
        }
    }
}

impl<F: Files> DiskStore<F> {
    /// Begins a new segment. The one before is synced first: a sync of the new one says nothing
    /// about it.
    pub(super) fn roll(&mut self) -> io::Result<()> {
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
            // What is left of it is recognised and deleted by the next start.
            let _ = self.files.delete(number);
            self.moved = true;
            return Err(e);
        }
        self.segments.push_back(Segment::of(number, HEADER as u64, &[]));
        self.indices.put(number, Vec::new());
        (self.active, self.moved) = (true, false);
        (self.unsynced, self.unsynced_marks) = (false, 0);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.back() else { return Ok(()) };
        self.files.sync(last.number)?;
        (self.unsynced, self.unsynced_marks) = (false, 0);
        Ok(())
    }

    /// After a failed write or sync: what the end of the segment holds is not known, so that
    /// nothing is written after it.
    pub(super) fn abandon(&mut self) {
        if std::mem::take(&mut self.active)
            && let Some(last) = self.segments.back_mut()
        {
            // Retirements in it are good, and nothing else will sync them.
            let cut = self
                .files
                .truncate(last.number, last.bytes)
                .and_then(|()| self.files.sync(last.number));
            last.doubtful |= cut.is_err();
        }
        (self.unsynced, self.unsynced_marks) = (false, 0);
    }

    /// Writes one record of `length` bytes to the active segment and returns its offset.
    fn write(&mut self, length: usize, encode: impl FnOnce(u64) -> RecordBytes) -> io::Result<u64> {
        if !self.active || self.segments.back().is_none_or(|s| s.bytes + length as u64 > SEGMENT) {
            self.roll()?;
        }
        let last = self.segments.back_mut().expect("roll made one");
        let frame = encode(last.number);
        self.files.append(last.number, frame.bytes())?;
        let offset = last.bytes;
        last.bytes += length as u64;
        self.unsynced = true;
        Ok(offset)
    }

    /// Writes events into one segment, after what is carried with them, and syncs them; once more
    /// in a new segment where the active one fails.
    pub(super) fn save(
        &mut self,
        first: QueuePosition,
        records: &[&EventRecord],
        carried: Option<&[u8]>,
    ) -> io::Result<()> {
        let events: usize = records.iter().map(|r| EVENT_OVERHEAD + r.payload.len()).sum();
        let before = carried.map_or(0, |bytes| CARRIED_OVERHEAD + bytes.len());
        let length = before + events;
        self.make_room(length as u64)?;
        let encode = |segment| {
            let mut frames = zeroize::Zeroizing::new(Vec::with_capacity(length));
            if let Some(bytes) = carried {
                let number = records.len() as u32;
                frames.extend_from_slice(&format::carried(segment, first, number, bytes));
            }
            let event = if carried.is_some() { format::carrying } else { format::event };
            for (position, record) in (first..).zip(records) {
                frames.extend_from_slice(&event(segment, position, record));
            }
            RecordBytes::Events(frames)
        };
        let once = |store: &mut Self| {
            let written = store.write(length, encode);
            let written_but_not_synced = written.is_ok();
            written.and_then(|at| store.sync().map(|()| at)).inspect_err(|_| {
                if written_but_not_synced && let Some(last) = store.segments.back_mut() {
                    last.bytes -= length as u64;
                }
                store.abandon();
            })
        };
        let mut offset = once(self).or_else(|_| once(self))? as u32 + before as u32;
        let last = self.segments.back_mut().expect("it was just written to");
        last.carries |= carried.is_some();
        for (position, record) in (first..).zip(records) {
            let bytes = record.payload.len() as u32;
            let entry =
                IndexEntry { position, expires: nanoseconds(record.expires), offset, bytes };
            last.add(&entry);
            self.indices.push(last.number, entry);
            offset += EVENT_OVERHEAD as u32 + bytes;
        }
        Ok(())
    }

    /// What could not be saved earlier goes first.
    pub(super) fn save_memory(&mut self) -> io::Result<()> {
        while let Some((position, record)) = self.memory.front() {
            self.save(position, &[&record], None)?;
            self.memory.remove(position).map_err(|e| e.source)?;
        }
        Ok(())
    }

    /// Writes that an event is retired.
    pub(super) fn mark(&mut self, position: QueuePosition) -> io::Result<()> {
        let encode = |segment| RecordBytes::Mark(format::mark(segment, position));
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

    /// The disk did not do what it was asked to.
    pub(super) fn failed(&mut self, what: &str, e: &io::Error) {
        self.health.failures += 1;
        let problem = match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                format!("the disk is full ({e}); free some space")
            }
            ErrorKind::ReadOnlyFilesystem => {
                format!("the disk is read-only ({e}); check it and mount it again")
            }
            _ => format!("the disk failed to {what} ({e}); check it"),
        };
        if self.health.problem.is_none() {
            log::error!(
                "The outbox's disk fails; what it does not take waits in memory: reason={problem}."
            );
        }
        self.health.problem = Some(problem);
    }

    pub(super) fn works_again(&mut self) {
        if self.health.problem.take().is_some() {
            log::info!("The outbox's disk works again; nothing waits in memory only.");
        }
    }
}
