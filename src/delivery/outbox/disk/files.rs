//! The few file operations that the disk store needs, as a trait: tests implement it with a disk
//! that fails, fills up and loses its power at any of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder of numbered files.
pub trait Files: Send {
    /// Numbers of the files that are there, in any order.
    ///
    /// # Errors
    /// What the system says; likewise below.
    fn list(&mut self) -> io::Result<Vec<u64>>;
    /// A whole file.
    fn read(&mut self, file: u64) -> io::Result<Vec<u8>>;
    /// `length` bytes from `offset`; fewer at the end of the file.
    fn read_at(&mut self, file: u64, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Makes an empty file. Its name survives a power cut after [`Files::sync_folder`].
    fn create(&mut self, file: u64) -> io::Result<()>;
    /// Writes at the end. After an error a part of `bytes` may be there.
    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was appended survives a power cut. After an error nothing is known about what was
    /// appended since the last success, and a later success says nothing about it.
    fn sync(&mut self, file: u64) -> io::Result<()>;
    /// Cuts a file off.
    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()>;
    /// Overwrites the beginning and cuts off what follows it. A power cut before [`Files::sync`]
    /// may restore any of the old bytes; after an error there may be old and new ones.
    fn restart(&mut self, file: u64, beginning: &[u8]) -> io::Result<()>;
    /// Replaces a file's content by `whole`. A power cut before [`Files::sync_folder`] may restore
    /// the old content, but leaves no mixture; after an error it is one of the two.
    fn replace(&mut self, file: u64, whole: &[u8]) -> io::Result<()>;
    /// Removes a file. It may come back after a power cut before [`Files::sync_folder`].
    fn delete(&mut self, file: u64) -> io::Result<()>;
    /// Creations and deletions survive a power cut.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// Ending of the files' names.
const SUFFIX: &str = ".events";

/// The file that holds the lock.
const LOCK: &str = "lock";

/// Ending of the names of files that are being written to replace one.
const UNFINISHED: &str = ".new";

/// The path of a file of the folder.
pub fn name(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("{file:020}{SUFFIX}"))
}

fn unfinished(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("{file:020}{UNFINISHED}"))
}

/// Numbers of the files in a folder, ascending. Anything else in it is left alone.
///
/// # Errors
/// What the system says.
pub fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let found = entry?.file_name();
        if let Some(n) =
            found.to_str().and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| n.parse().ok())
            && name(folder, n).file_name() == Some(&found)
        {
            numbers.push(n);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Whether a folder may be one of an outbox: it has such files, or nothing of anybody else.
///
/// # Errors
/// What the system says.
pub fn may_be_an_outbox(folder: &Path) -> io::Result<bool> {
    if !numbers(folder)?.is_empty() {
        return Ok(true);
    }
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A real folder, locked by this process for as long as the value lives. Readable by its owner
/// only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: File,
    /// The file that grows.
    writer: Option<(u64, File)>,
    /// The file that was read last.
    reader: Option<(u64, File)>,
    /// Holds the lock. `None` on a disk that cannot be written and has none.
    _lock: Option<File>,
}

impl Folder {
    /// Opens the folder, made where it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceBusy`] where another process has it; otherwise what the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        let folder = File::open(path).map_err(|e| made.err().unwrap_or(e))?;
        let lock = path.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .or_else(|_| File::open(&lock))
            .ok();
        if let Some(Err(fs::TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        // What a kill during a replacement left; the old file is whole.
        for entry in fs::read_dir(path)?.flatten() {
            let found = entry.file_name();
            let number = found
                .to_str()
                .and_then(|n| n.strip_suffix(UNFINISHED))
                .and_then(|n| n.parse::<u64>().ok());
            if number.is_some_and(|n| unfinished(path, n).file_name() == Some(&found)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { path: path.to_owned(), folder, writer: None, reader: None, _lock: lock })
    }

    fn name(&self, file: u64) -> PathBuf {
        name(&self.path, file)
    }

    fn writer(&mut self, file: u64) -> io::Result<&mut File> {
        if self.writer.as_ref().is_none_or(|(n, _)| *n != file) {
            self.writer = Some((file, OpenOptions::new().append(true).open(self.name(file))?));
        }
        Ok(&mut self.writer.as_mut().expect("it was just opened").1)
    }
}

impl Files for Folder {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        numbers(&self.path)
    }

    fn read(&mut self, file: u64) -> io::Result<Vec<u8>> {
        fs::read(self.name(file))
    }

    fn read_at(&mut self, file: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if self.reader.as_ref().is_none_or(|(n, _)| *n != file) {
            self.reader = Some((file, File::open(self.name(file))?));
        }
        let reader = &mut self.reader.as_mut().expect("it was just opened").1;
        reader.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length);
        reader.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&mut self, file: u64) -> io::Result<()> {
        let made =
            OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.name(file))?;
        self.writer = Some((file, made));
        Ok(())
    }

    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        self.writer(file)?.write_all(bytes)
    }

    fn sync(&mut self, file: u64) -> io::Result<()> {
        self.writer(file)?.sync_data()
    }

    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()> {
        self.writer(file)?.set_len(length)
    }

    fn restart(&mut self, file: u64, beginning: &[u8]) -> io::Result<()> {
        // Not by the writer: a file that is open for appending writes at its end, whatever the
        // offset.
        let whole = OpenOptions::new().write(true).open(self.name(file))?;
        whole.write_all_at(beginning, 0)?;
        whole.set_len(beginning.len() as u64)
    }

    fn replace(&mut self, file: u64, whole: &[u8]) -> io::Result<()> {
        self.writer.take_if(|(n, _)| *n == file);
        self.reader.take_if(|(n, _)| *n == file);
        let new = unfinished(&self.path, file);
        let written = (|| {
            let mut out = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            out.write_all(whole)?;
            out.sync_data()?;
            fs::rename(&new, self.name(file))
        })();
        written.inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn delete(&mut self, file: u64) -> io::Result<()> {
        self.writer.take_if(|(n, _)| *n == file);
        self.reader.take_if(|(n, _)| *n == file);
        fs::remove_file(self.name(file))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.folder.sync_all()
    }
}
