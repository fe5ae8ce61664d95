//! A disk in memory that fails, fills up and loses its power at any operation.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::delivery::outbox::QueuePosition;
use crate::delivery::outbox::disk::format::{self, ScannedItem};
use crate::delivery::outbox::disk::{Files, index};

/// What happens to the operation that the plan names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does a part of its work and fails; nothing works from then on, as at a kill or a power
    /// cut.
    Crash,
    /// It does a part of its work and fails; the next one works.
    Error(ErrorKind),
}

#[derive(Debug, Clone, Default)]
pub struct MemFile {
    pub bytes: Vec<u8>,
    /// So many of the first bytes survive a power cut.
    synced: usize,
    /// What was there before a restart that no sync has covered.
    old: Option<Vec<u8>>,
    /// Whether since then it was cut off: before that its size is what it was, whatever happens.
    cut: bool,
    /// Whether the name survives a power cut.
    named: bool,
    /// What was there under this name before a replacement that no sync of the folder has covered.
    replaced: Option<Vec<u8>>,
}

/// A disk in memory: it remembers what a power cut would leave.
#[derive(Debug, Default)]
pub struct Platter {
    pub files: BTreeMap<u64, MemFile>,
    /// Deleted, and back after a power cut.
    ghosts: BTreeMap<u64, MemFile>,
    pub operations: u64,
    /// Which operation fails, how, and the share of its work (of 256) that it does.
    pub plan: Option<(u64, Fault, u8)>,
    /// Refuses every write with this.
    pub refuses: Option<ErrorKind>,
    pub dead: bool,
    pub sync_failed: bool,
    /// No file can be cut off.
    pub stiff: bool,
    /// This file cannot be read as a whole.
    pub unreadable: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct MemDisk(Arc<Mutex<Platter>>);

impl MemDisk {
    pub fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no test panics with the lock held")
    }

    /// A file that is there from the start.
    pub fn put(&self, file: u64, bytes: Vec<u8>) {
        let synced = bytes.len();
        self.lock()
            .files
            .insert(file, MemFile { bytes, synced, named: true, ..MemFile::default() });
    }

    /// Whether any file holds the event.
    pub fn holds(&self, position: QueuePosition) -> bool {
        let held = |n: u64, f: &MemFile| {
            index::contents(n, &f.bytes).entries.iter().any(|e| e.position == position)
        };
        self.lock().files.iter().any(|(n, f)| held(*n, f))
    }

    /// What is carried in any file.
    pub fn carried(&self) -> Vec<Vec<u8>> {
        let mut carried = Vec::new();
        for (n, f) in &self.lock().files {
            format::scan(*n, &f.bytes, |found| {
                if let ScannedItem::Carried(at, length) = found {
                    carried.push(f.bytes[at..at + length].to_vec());
                }
            });
        }
        carried
    }

    /// Ids in the heads of events that lie in any file, whole or not.
    pub fn ids(&self) -> BTreeSet<u128> {
        let heads = |f: &MemFile| -> Vec<u128> {
            let tags = [*b"\xFFEV\xFE", *b"\xFFEL\xFE"];
            let begins = f.bytes.windows(32).filter(|w| tags.iter().any(|tag| w.starts_with(tag)));
            begins
                .map(|w| u128::from_le_bytes(w[16..].try_into().expect("sixteen bytes")))
                .collect()
        };
        self.lock().files.values().flat_map(heads).collect()
    }

    /// Counts an operation that writes; `Err` with the share of the work that is done all the same.
    fn begin(&self) -> Result<MutexGuard<'_, Platter>, (MutexGuard<'_, Platter>, u8, io::Error)> {
        let mut p = self.lock();
        if p.dead {
            return Err((p, 0, io::Error::other("dead")));
        }
        p.operations += 1;
        if let Some(kind) = p.refuses {
            return Err((p, 0, kind.into()));
        }
        match p.plan {
            Some((at, fault, share)) if at == p.operations => {
                let error = match fault {
                    Fault::Crash => {
                        p.dead = true;
                        io::Error::other("crash")
                    }
                    Fault::Error(kind) => kind.into(),
                };
                Err((p, share, error))
            }
            _ => Ok(p),
        }
    }

    /// What is there after a kill (all that was written) or a power cut (what was synced, and of
    /// the rest what `random` says).
    pub fn restart(&self, power: bool, random: &mut impl FnMut() -> u8) {
        let mut p = self.lock();
        (p.dead, p.plan, p.refuses) = (false, None, None);
        if power {
            for (n, ghost) in std::mem::take(&mut p.ghosts) {
                if random() < 128 {
                    p.files.entry(n).or_insert(ghost);
                }
            }
            p.files.retain(|_, f| f.named || random() < 128);
            for f in p.files.values_mut() {
                if let Some(old) = f.replaced.take().filter(|_| random() < 128) {
                    *f = MemFile {
                        synced: old.len(),
                        bytes: old,
                        named: f.named,
                        ..MemFile::default()
                    };
                }
                if let Some(old) = f.old.take() {
                    let kept = f.bytes.len() * usize::from(random()) / 255;
                    f.bytes.truncate(kept);
                    // Where there was no cut, or it did not come to the disk, what was written lies
                    // over the old bytes.
                    if !f.cut || random() < 170 {
                        f.bytes.extend(old.iter().skip(kept));
                    }
                    f.synced = f.bytes.len();
                }
                f.cut = false;
                let tail = f.bytes.len() - f.synced;
                // The size may be there as it was written, whatever of the blocks is.
                let share = if random() < 64 { 255 } else { random() };
                let kept = f.synced + tail * usize::from(share) / 255;
                f.bytes.truncate(kept);
                // A hole where the size came to the disk and the block did not.
                if random() < 64 {
                    let hole = f.synced + (kept - f.synced) * usize::from(random()) / 255;
                    f.bytes[hole..].fill(0);
                }
                // Blocks come to the disk in any order.
                if random() < 64 {
                    let hole = f.synced + (kept - f.synced) * usize::from(random()) / 255;
                    let end = hole + (kept - hole) * usize::from(random()) / 255;
                    f.bytes[hole..end].fill(0);
                }
            }
        }
        p.ghosts.clear();
        for f in p.files.values_mut() {
            f.replaced = None;
            (f.synced, f.named) = if power { (f.bytes.len(), true) } else { (f.synced, f.named) };
        }
    }
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Files for MemDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.lock().files.keys().rev().copied().collect())
    }
    fn read(&mut self, file: u64) -> io::Result<Vec<u8>> {
        let p = self.lock();
        if p.unreadable == Some(file) {
            return Err(io::Error::other("unreadable"));
        }
        p.files.get(&file).map(|f| f.bytes.clone()).ok_or_else(missing)
    }
    fn read_at(&mut self, file: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(file)?;
        let from = (offset as usize).min(bytes.len());
        Ok(bytes[from..(from + length).min(bytes.len())].to_vec())
    }
    fn create(&mut self, file: u64) -> io::Result<()> {
        let (mut p, error) = match self.begin() {
            Ok(p) => (p, None),
            Err((p, share, e)) if share < 128 => return Err((p, e).1),
            Err((p, _, e)) => (p, Some(e)),
        };
        assert!(!p.files.contains_key(&file), "no file is made twice");
        p.files.insert(file, MemFile::default());
        error.map_or(Ok(()), Err)
    }
    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut p, share, error) = match self.begin() {
            Ok(p) => (p, 255, None),
            Err((p, share, e)) => (p, share, Some(e)),
        };
        let part = &bytes[..bytes.len() * usize::from(share) / 255];
        p.files.get_mut(&file).ok_or_else(missing)?.bytes.extend(part);
        error.map_or(Ok(()), Err)
    }
    fn sync(&mut self, file: u64) -> io::Result<()> {
        let mut p = self.begin().map_err(|(mut p, _, e)| {
            p.sync_failed = true;
            e
        })?;
        let f = p.files.get_mut(&file).ok_or_else(missing)?;
        (f.synced, f.old, f.cut) = (f.bytes.len(), None, false);
        Ok(())
    }
    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()> {
        let mut p = self.begin().map_err(|(_p, _, e)| e)?;
        if p.stiff {
            return Err(io::Error::other("stiff"));
        }
        let f = p.files.get_mut(&file).ok_or_else(missing)?;
        f.cut |= f.old.is_some() && f.bytes.len() > length as usize;
        f.bytes.truncate(length as usize);
        f.synced = f.synced.min(length as usize);
        Ok(())
    }
    fn restart(&mut self, file: u64, beginning: &[u8]) -> io::Result<()> {
        let (mut p, share, error) = match self.begin() {
            Ok(p) => (p, 255, None),
            Err((p, share, e)) => (p, share, Some(e)),
        };
        let f = p.files.get_mut(&file).ok_or_else(missing)?;
        if share > 64 {
            let old = f.bytes.clone();
            f.old.get_or_insert(old);
            f.synced = 0;
            f.bytes[..beginning.len()].copy_from_slice(beginning);
        }
        if share > 128 {
            f.bytes.truncate(beginning.len());
            f.cut = true;
        }
        error.map_or(Ok(()), Err)
    }
    fn replace(&mut self, file: u64, whole: &[u8]) -> io::Result<()> {
        let (mut p, share, error) = match self.begin() {
            Ok(p) => (p, 255, None),
            Err((p, share, e)) => (p, share, Some(e)),
        };
        let f = p.files.get_mut(&file).ok_or_else(missing)?;
        if share > 128 {
            let old = std::mem::replace(&mut f.bytes, whole.to_vec());
            f.replaced.get_or_insert(old);
            (f.synced, f.old, f.cut) = (whole.len(), None, false);
        }
        error.map_or(Ok(()), Err)
    }
    fn delete(&mut self, file: u64) -> io::Result<()> {
        let mut p = self.begin().map_err(|(_p, _, e)| e)?;
        let gone = p.files.remove(&file).ok_or_else(missing)?;
        if gone.named {
            p.ghosts.insert(file, gone);
        }
        Ok(())
    }
    fn sync_folder(&mut self) -> io::Result<()> {
        let mut p = self.begin().map_err(|(_p, _, e)| e)?;
        p.ghosts.clear();
        p.files.values_mut().for_each(|f| (f.named, f.replaced) = (true, None));
        Ok(())
    }
}
