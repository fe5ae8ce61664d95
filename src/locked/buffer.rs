//! Bytes that grow, in locked memory: frames, and what is decoded from them.
//!
//! * Beyond its length a buffer holds nothing but zeros: whoever makes it shorter wipes the rest.
//!   So a small frame leaves nothing of a larger one before it.
//! * It grows without a copy, and what it is dropped with is wiped.
//! * All buffers together lock at most half of what the process may lock, so that they never take
//!   the place of a list's templates; not for a moment either, while one grows. Beyond that they
//!   are left out of dumps, but not locked; [`LockedBuffer::is_locked`] says so.
//! * One that could not be locked is locked with a later frame, once there is room.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Locked, wipe};

/// Bytes of which a mapping has a multiple: a small frame grows once, and what counts is what the
/// kernel counts, whose pages are as large at most.
const STEP: usize = 64 << 10;

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
        if need > self.memory.len() {
            self.grow(need);
        } else if self.len == 0 && !self.memory.is_locked() {
            // Others may have given back since what they had locked.
            self.lock();
        }
    }

    /// Makes the mapping at least `need` bytes long.
    fn grow(&mut self, need: usize) {
        let room = need.max(self.memory.len().saturating_mul(2));
        let room = room.checked_next_multiple_of(STEP).unwrap_or(room);
        let may_lock = self.count(room);
        if !may_lock {
            self.let_go();
        }
        if self.memory.grow(room).is_err() {
            let layout = Layout::array::<u8>(room).unwrap_or(Layout::new::<u8>());
            // As for a vector.
            handle_alloc_error(layout);
        }
        if may_lock {
            self.hold();
        }
    }

    /// Locks the whole mapping where buffers may still lock as much.
    fn lock(&mut self) {
        if self.count(self.memory.len()) {
            self.hold();
        }
    }

    /// Counts `room` bytes as locked by this buffer; false, and nothing, where all buffers would
    /// have more than they may lock.
    fn count(&mut self, room: usize) -> bool {
        let most = may_lock();
        let with_these =
            |locked: usize| (locked - self.counted).checked_add(room).filter(|all| *all <= most);
        let counts = LOCKED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_these).is_ok();
        if counts {
            self.counted = room;
        }
        counts
    }

    /// Locks what was counted. What the kernel refuses counts for nothing, and takes nothing of
    /// what others may lock.
    fn hold(&mut self) {
        self.memory.hold();
        if !self.memory.is_locked() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.memory.let_go();
        self.uncount();
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
        // First, so that nobody locks as much before it is given back.
        self.memory = Locked::empty();
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

    use super::super::limited;
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

    fn filled(bytes: usize) -> LockedBuffer {
        let mut buffer = LockedBuffer::new();
        buffer.resize(bytes);
        buffer
    }

    /// Bytes that buffers count as locked, which are all that the kernel counts beside `others`.
    fn locked_beside(others: usize) -> usize {
        let counted = LOCKED.load(Ordering::Relaxed);
        assert_eq!(limited::locked(), others + counted);
        counted
    }

    #[test]
    fn what_cannot_be_locked_says_so_and_takes_nothing_from_what_can() {
        if !limited::to(1 << 20, &what_cannot_be_locked_says_so_and_takes_nothing_from_what_can) {
            return;
        }
        let large = filled(2 << 20);
        assert!(!large.is_locked() && locked_beside(0) == 0);
        let small = filled(STEP);
        assert!(small.is_locked() && locked_beside(0) == STEP);
        // As many locks as others have taken: the kernel refuses though buffers may.
        let others = Locked::<u8>::zeroed((1 << 20) - STEP).unwrap();
        let refused = filled(STEP);
        assert!(others.is_locked() && !refused.is_locked());
        assert_eq!(locked_beside(others.len()), STEP);
        drop(small);
        assert_eq!(locked_beside(others.len()), 0);
    }

    #[test]
    fn growing_locks_no_byte_twice() {
        if !limited::to(1 << 20, &growing_locks_no_byte_twice) {
            return;
        }
        let list = Locked::<u8>::zeroed(1 << 19).unwrap();
        let mut buffer = LockedBuffer::new();
        for bytes in [1, STEP + 1, 3 * STEP, 1 << 19] {
            buffer.resize(bytes);
            buffer.fill(7);
            assert!(list.is_locked() && buffer.is_locked(), "{bytes} beside the list's half");
            assert_eq!(locked_beside(list.len()), buffer.memory.len());
        }
        assert_eq!(buffer, [7; 1 << 19]);
        // Beyond what buffers may lock it is locked no longer, and takes nothing from others.
        buffer.resize((1 << 19) + 1);
        assert!(!buffer.is_locked() && buffer[(1 << 19) - 1] == 7);
        assert_eq!(locked_beside(list.len()), 0);
        assert!(filled(1 << 19).is_locked());
    }

    #[test]
    fn what_could_not_be_locked_is_locked_with_a_later_frame_once_there_is_room() {
        let here = what_could_not_be_locked_is_locked_with_a_later_frame_once_there_is_room;
        if !limited::to(1 << 20, &here) {
            return;
        }
        // Two lists for the moment in which one takes the place of the other.
        let lists = [0; 2].map(|_| Locked::<u8>::zeroed(1 << 19).unwrap());
        let mut buffer = filled(STEP);
        assert!(!buffer.is_locked());
        drop(lists);
        buffer.clear();
        buffer.extend_from_slice(&[7]);
        assert!(buffer.is_locked() && locked_beside(0) == STEP);
    }

    #[test]
    fn a_buffer_that_is_refused_does_not_have_another_refused_meanwhile() {
        let here = a_buffer_that_is_refused_does_not_have_another_refused_meanwhile;
        if !limited::to(1 << 20, &here) {
            return;
        }
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut large = LockedBuffer::new();
                while !done.load(Ordering::Relaxed) {
                    assert!(!large.count(2 << 20));
                }
            });
            for round in 0..5000 {
                let small = filled(STEP);
                if !small.is_locked() {
                    done.store(true, Ordering::Relaxed);
                    panic!("refused in round {round}");
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(locked_beside(0), 0);
    }

    #[test]
    fn a_copy_and_a_vector_taken_over_hold_the_same_bytes_and_print_none() {
        let buffer = LockedBuffer::from(vec![7u8; 100]);
        assert_eq!(*buffer.clone(), [7; 100]);
        assert_eq!(format!("{buffer:?}"), "LockedBuffer(<100 bytes>)");
        assert!(buffer.is_locked(), "64 KiB are within every limit");
    }
}
