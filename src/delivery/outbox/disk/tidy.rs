//! Frees bytes that are no longer needed: segments are cut off, deleted, or rewritten without what
//! is retired.
//!
//! A power cut may restore a deleted segment, or what was left out of a rewritten one, until the
//! folder is synced. Retirements are therefore dropped, with their segment or out of it, only after
//! such a sync, and only where no older segment holds what they retire.
//!
//! What is carried for the audit log goes only once the log needs it no more. A segment in which
//! nothing else is of use waits for that, and one that is rewritten keeps it; where its room is
//! needed the log is brought to its own disk first.

use std::io::{self, ErrorKind};

use zeroize::Zeroizing;

use super::format::{self, EVENT_OVERHEAD, HEADER, ScannedItem};
use super::index::{self, IndexEntry};
use super::segment::Segment;
use super::{DiskStore, Files, SEGMENT};
use crate::delivery::outbox::QueuePosition;

impl<F: Files> DiskStore<F> {
    /// Makes deletions and replacements last.
    fn settle_folder(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.moved) {
            self.files.sync_folder().inspect_err(|_| self.moved = true)?;
        }
        Ok(())
    }

    /// Makes everything last: deletions, replacements, and what was written to the active segment.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.settle_folder()?;
        if self.active && self.unsynced {
            self.sync().inspect_err(|_| self.abandon())?;
        }
        Ok(())
    }

    /// Deletes segments without waiting events, from the oldest on.
    pub(super) fn collect(&mut self) -> io::Result<()> {
        // What cannot be read is left alone until the next start.
        if self.segments.iter().any(|s| s.left) {
            self.active &= self.segments.back().is_none_or(|s| !s.left);
            self.segments.retain(|s| !s.left);
            self.hidden = true;
        }
        while let Some(oldest) = self.segments.front()
            && oldest.live == 0
        {
            if oldest.carries && !self.log_is_settled() {
                self.waits_for_log = true;
                return Ok(());
            }
            if self.active && self.segments.len() == 1 {
                return self.empty();
            }
            self.delete_oldest()?;
        }
        Ok(())
    }

    /// Whether the log needs nothing that is carried. Where there is no log, nobody does.
    fn log_is_settled(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.is_settled())
    }

    /// Brings the log to its own disk, if that works: otherwise what is carried stays.
    fn settle_log(&self) {
        if let Some(log) = &self.log {
            // Those who write the log find out and say so.
            let _ = log.settle();
        }
    }

    /// Deletes what waits for the log, once the log needs it no more; `settle`: brings the log to
    /// its own disk for it.
    pub(super) fn let_go_of_carried(&mut self, settle: bool) -> io::Result<()> {
        if !self.waits_for_log {
            return Ok(());
        }
        if settle {
            self.settle_log();
        }
        self.waits_for_log = false;
        self.collect()
    }

    /// Cuts the only segment off, none of whose events waits.
    fn empty(&mut self) -> io::Result<()> {
        // If this lasted and an older segment's deletion did not, that one's retirements would be
        // gone too early.
        self.settle_folder()?;
        let Some(last) = self.segments.back_mut().filter(|s| s.events > 0) else { return Ok(()) };
        let number = last.number;
        let header = format::header(number, self.next_position);
        if let Err(e) = self.files.restart(number, &header) {
            // What the file holds is not known; the next collection deletes it.
            self.abandon();
            return Err(e);
        }
        *last = Segment::of(number, HEADER as u64, &[]);
        self.indices.put(number, Vec::new());
        (self.unsynced, self.unsynced_marks) = (true, 0);
        Ok(())
    }

    fn delete_oldest(&mut self) -> io::Result<()> {
        // If the younger one's deletion lasted and the older one's did not, its retirements would
        // be gone too early.
        self.settle_folder()?;
        if !self.segments.is_empty() {
            self.delete(0)?;
        }
        if self.segments.is_empty() {
            self.active = false;
        }
        Ok(())
    }

    /// Deletes the segment at `at`, of which nothing is needed.
    pub(super) fn delete(&mut self, at: usize) -> io::Result<()> {
        let number = self.segments[at].number;
        match self.files.delete(number) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.moved = true;
        self.segments.remove(at);
        self.indices.remove(number);
        Ok(())
    }

    /// Makes room for `bytes` more, at the expense of what is retired.
    pub(super) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let fits = |store: &Self| store.disk_bytes() + bytes <= store.limit;
        if !fits(self) && self.segments.iter().any(|s| s.carries) {
            self.settle_log();
        }
        // First where much is gained by writing little.
        for least in [SEGMENT / 4, 1] {
            let mut at = 0;
            while !fits(self) && at + usize::from(self.active) < self.segments.len() {
                let before = self.segments.len();
                if self.segments[at].waste() >= least {
                    self.rewrite(at)?;
                }
                at += usize::from(self.segments.len() == before);
            }
        }
        if fits(self) { Ok(()) } else { Err(ErrorKind::QuotaExceeded.into()) }
    }

    /// Rewrites the segment at `at` with its waiting events and the retirements that are needed;
    /// deletes it where there are none. The bytes of the others are gone when this returns.
    pub(super) fn rewrite(&mut self, at: usize) -> io::Result<()> {
        self.settle_folder()?;
        if self.active && at + 1 == self.segments.len() {
            // Of two writers of one file none would know its end.
            if self.unsynced {
                self.sync()?;
            }
            self.active = false;
        }
        let entries = self.index(at).to_vec();
        if self.stalled {
            // What it holds is not known now, and must not be thrown away.
            return Err(io::Error::other("a segment cannot be read"));
        }
        let Segment { number, bytes, left, .. } = self.segments[at];
        if left {
            return Ok(());
        }
        let mut file = Zeroizing::new(self.files.read(number)?);
        file.truncate(bytes as usize);
        let mut kept: Vec<IndexEntry> = Vec::new();
        // Never grown: that would leave copies of faces in freed memory.
        let mut out = Zeroizing::new(Vec::with_capacity(file.len().max(HEADER)));
        // All positions up to now are used, also those that no record names any more.
        out.extend(format::header(number, self.next_position));
        for entry in entries {
            let whole = entry.offset as usize
                ..entry.offset as usize + EVENT_OVERHEAD + entry.bytes as usize;
            let is_retired = self.segments[at].retired.contains(entry.position);
            if let Some(event) = file.get(whole)
                && !is_retired
                && !self.is_shadowed(entry.position, at)
            {
                kept.push(IndexEntry { offset: out.len() as u32, ..entry });
                // It stands without what it carried from now on.
                match format::read_event(number, event) {
                    Some((position, record)) => {
                        out.extend(format::event(number, position, &record).iter());
                    }
                    None => out.extend(event),
                }
            }
        }
        let carries = self.segments[at].carries && !self.log_is_settled();
        if carries {
            format::scan(number, &file, |found| {
                if let ScannedItem::Carried(at, length) = found {
                    out.extend(&file[format::carried_frame(at, length)]);
                }
            });
        }
        for position in index::contents(number, &file).marks {
            if self.is_needed(position, at) || self.stalled {
                out.extend(format::mark(number, position));
            }
        }
        // The last one's header says which positions were used.
        if out.len() == HEADER && at + 1 < self.segments.len() {
            self.delete(at)?;
        } else {
            let replaced = self.files.replace(number, &out);
            self.moved = true;
            if let Err(e) = replaced {
                // Which of the two it is shows when it is read.
                self.indices.remove(number);
                return Err(e);
            }
            self.segments[at] = Segment::of(number, out.len() as u64, &kept);
            self.segments[at].carries = carries;
            self.indices.put(number, kept);
        }
        self.settle_folder()
    }

    /// Whether a retirement in the segment at `at` retires what is still in an older one.
    fn is_needed(&mut self, position: QueuePosition, at: usize) -> bool {
        self.hidden
            || (0..at).any(|older| {
                self.segments[older].doubtful
                    || self.segments[older].spans(position)
                        && self.index(older).binary_search_by_key(&position, |e| e.position).is_ok()
            })
    }

    /// Rewrites the segment `number` where it holds retired events, and any that may hold unknown
    /// events.
    pub(super) fn scrub_segment(&mut self, number: Option<u64>) -> io::Result<()> {
        let mut at = 0;
        while at < self.segments.len() {
            let segment = &self.segments[at];
            let before = self.segments.len();
            if segment.doubtful || Some(segment.number) == number && segment.events > segment.live {
                self.rewrite(at)?;
            }
            at += usize::from(self.segments.len() == before);
        }
        Ok(())
    }

    /// The same for all segments.
    pub(super) fn scrub_all(&mut self) -> io::Result<()> {
        let numbers: Vec<u64> = self.segments.iter().map(|s| s.number).collect();
        numbers.into_iter().try_for_each(|number| self.scrub_segment(Some(number)))
    }
}
