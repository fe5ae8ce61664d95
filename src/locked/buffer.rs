//! Bytes that grow, in locked memory: frames, and what is decoded from them.
//!
//! * Beyond its length a buffer holds nothing but zeros: whoever makes it shorter wipes the rest.
//!   So a small frame leaves nothing of a larger one before it.
//! * What it grows out of, and what it is dropped with, is wiped.
//! * All buffers together lock at most half of what the process may lock, so that they never take
//!   the place of a list's templates. Beyond that they are left out of dumps, but not locked;
//!   [`LockedBuffer::is_locked`] says so.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Locked, wipe};

/// Least bytes of a mapping: a small frame grows once.
const LEAST: usize = 64 << 10;

/// Bytes that all buffers have locked.
static LOCKED: AtomicUsize = AtomicUsize::new(0);

/// A growing slice of bytes in locked memory.
pub struct LockedBuffer {
    /// All zeros from `len` on.
    memory: Locked<u8>,
    len: usize,
    /// Bytes that count in [`LOCKED`].
    counted: usize,
}

impl LockedBuffer {
    /// An empty one; takes no memory yet.
    pub const fn new() -> Self {
        Self { memory: Locked::empty(), len: 0, counted: 0 }
    }

    /// Whether the kernel keeps it from swap and dumps.
    pub fn is_locked(&self) -> bool {
        self.memory.is_locked()
    }

    /// Empties it; what it held is wiped, and the memory stays for the next frame.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Wipes and forgets what lies beyond `len`.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            wipe(&mut self.memory[len..self.len]);
            self.len = len;
        }
    }

    /// Makes it `len` bytes long; new ones are zero.
    pub fn resize(&mut self, len: usize) {
        self.truncate(len);
        self.reserve(len - self.len);
        self.len = len;
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.memory[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Makes room for `more` bytes.
    pub fn reserve(&mut self, more: usize) {
        let need = self.len.saturating_add(more);
        if need <= self.memory.len() {
            return;
        }
        let room = need.max(self.memory.len().saturating_mul(2)).max(LEAST);
        let Ok(mut memory) = Locked::hidden(room) else {
            let layout = Layout::array::<u8>(room).unwrap_or(Layout::new::<u8>());
            // As for a vector.
            handle_alloc_error(layout);
        };
        self.uncount();
        self.counted = Self::lock(&mut memory);
        memory[..self.len].copy_from_slice(self);
        // The old mapping is wiped as it goes.
        self.memory = memory;
    }

    /// Locks `memory` where buffers may still lock as much; returns the bytes that count. What the
    /// kernel refuses counts for nothing, and takes nothing of what others may lock.
    fn lock(memory: &mut Locked<u8>) -> usize {
        let room = memory.len();
        let before = LOCKED.fetch_add(room, Ordering::Relaxed);
        if before.saturating_add(room) <= may_lock() {
            memory.hold();
        } else {
            memory.held = false;
        }
        if memory.held {
            return room;
        }
        LOCKED.fetch_sub(room, Ordering::Relaxed);
        0
    }

    /// Gives the memory back.
    pub fn release(&mut self) {
        *self = Self::new();
    }

    fn uncount(&mut self) {
        LOCKED.fetch_sub(std::mem::take(&mut self.counted), Ordering::Relaxed);
    }
}

/// Bytes that buffers may lock: half of the process's limit.
fn may_lock() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into a value of this frame.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    match limit.rlim_cur {
        _ if !known => 0,
        libc::RLIM_INFINITY => usize::MAX,
        bytes => usize::try_from(bytes / 2).unwrap_or(usize::MAX),
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        self.uncount();
    }
}

impl Default for LockedBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for LockedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for LockedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl Clone for LockedBuffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl From<&[u8]> for LockedBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        buffer.extend_from_slice(bytes);
        buffer
    }
}

impl From<Vec<u8>> for LockedBuffer {
    /// The vector is wiped.
    fn from(mut bytes: Vec<u8>) -> Self {
        let buffer = Self::from(&*bytes);
        wipe(&mut bytes);
        buffer
    }
}

impl<T: AsRef<[u8]>> PartialEq<T> for LockedBuffer {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for LockedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedBuffer(<{} bytes>)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<u8>),
        Push(u8),
        Resize(usize),
        Truncate(usize),
        Clear,
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Step::Append),
            any::<u8>().prop_map(Step::Push),
            (0usize..200_000).prop_map(Step::Resize),
            (0usize..400).prop_map(Step::Truncate),
            Just(Step::Clear),
            Just(Step::Release),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_holds_what_a_vector_would_and_nothing_beyond(
            steps in prop::collection::vec(step(), 0..30),
        ) {
            let (mut buffer, mut model) = (LockedBuffer::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        buffer.extend_from_slice(&bytes);
                        model.extend_from_slice(&bytes);
                    }
                    Step::Push(byte) => {
                        buffer.push(byte);
                        model.push(byte);
                    }
                    Step::Resize(len) => {
                        buffer.resize(len);
                        model.resize(len, 0);
                    }
                    Step::Truncate(len) => {
                        buffer.truncate(len);
                        model.truncate(len);
                    }
                    Step::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                    Step::Release => {
                        buffer.release();
                        model.clear();
                    }
                }
                prop_assert_eq!(&*buffer, &*model);
                prop_assert!(buffer.memory[buffer.len..].iter().all(|b| *b == 0));
            }
        }
    }

    #[test]
    fn what_cannot_be_locked_says_so_and_takes_nothing_from_what_can() {
        // In a process of its own: limits are the whole process's.
        if std::env::var_os("WATCHPOST_TEST_LIMIT").is_none() {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "locked::buffer::tests::what_cannot_be_locked_says_so_and_takes_nothing_from_what_can"])
                .env("WATCHPOST_TEST_LIMIT", "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let limit = |bytes| {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: 8 << 20 };
            // SAFETY: reads a value of this frame.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
        };
        let filled = |bytes| {
            let mut buffer = LockedBuffer::new();
            buffer.resize(bytes);
            buffer
        };
        limit(1 << 20);
        let large = filled(2 << 20);
        assert!(!large.is_locked() && LOCKED.load(Ordering::Relaxed) == 0);
        let small = filled(LEAST);
        assert!(small.is_locked() && LOCKED.load(Ordering::Relaxed) == LEAST);
        // SAFETY: plain system calls.
        let is_root = unsafe { libc::geteuid() } == 0;
        if !is_root {
            // As many locks as others have taken: the kernel refuses though buffers may.
            let _others = Locked::<u8>::zeroed((1 << 20) - LEAST).unwrap();
            let refused = filled(LEAST);
            assert!(!refused.is_locked() && LOCKED.load(Ordering::Relaxed) == LEAST);
        }
        drop(small);
        assert_eq!(LOCKED.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_copy_and_a_vector_taken_over_hold_the_same_bytes_and_print_none() {
        let buffer = LockedBuffer::from(vec![7u8; 100]);
        assert_eq!(*buffer.clone(), [7; 100]);
        assert_eq!(format!("{buffer:?}"), "LockedBuffer(<100 bytes>)");
        assert!(buffer.is_locked(), "64 KiB are within every limit");
    }
}
