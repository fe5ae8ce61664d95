//! Memory for templates, opened lists, keys and frames: locked, left out of dumps, empty in a
//! forked child, wiped when dropped.
//!
//! Each [`Locked`] is a mapping of its own (`mmap`, `mlock`, `MADV_DONTDUMP`, `MADV_WIPEONFORK`),
//! so that no allocator ever hands a part of it on, and nothing of it reaches swap or a core file.
//! Its size is fixed, but for a [`LockedBuffer`]'s, which grows by moving its pages and leaves no
//! copy. A [`WipingAllocator`] wipes whatever else is freed. What is neither freed nor used any
//! more, on the stack or in a list of fixed capacity, is wiped by [`wipe_stack`], [`take_out`] and
//! [`wipe_list`].
//!
//! `mlock` is refused where the process may not lock that much (`RLIMIT_MEMLOCK`, 8 MiB on many
//! systems). The memory is usable then, and [`Locked::is_locked`] is false: a caller that promises
//! more has to ask. The remedy is
//! [`Cause::MemoryNotLocked`](crate::cause::Cause)'s.

mod allocator;
mod buffer;
#[cfg(test)]
pub(crate) mod limited;
mod list;
mod stack;

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};

pub use self::allocator::WipingAllocator;
pub use self::buffer::LockedBuffer;
pub use self::list::{take_out, wipe_list};
pub use self::stack::{STACK_WIPED, wipe_stack};

/// Bytes from which on a mapping asks for huge pages: no list of a few thousand templates, whose
/// memory should not be rounded up.
const LARGE: usize = 16 << 20;

/// Types of which any bytes, all zero ones included, are values, and which own nothing.
///
/// # Safety
/// That must be so; `size_of` must not be zero, the alignment at most that of a page.
pub unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for u8 {}
// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A slice in locked memory.
pub struct Locked<T: Plain> {
    at: NonNull<T>,
    len: usize,
    /// Bytes of the mapping; 0 where there is none, because nothing is held.
    mapped: usize,
    /// The kernel leaves it out of dumps.
    hidden: bool,
    /// The kernel keeps it from swap.
    held: bool,
}

// SAFETY: the mapping belongs to this value alone, and `Plain` types are plain data.
unsafe impl<T: Plain + Send> Send for Locked<T> {}
// SAFETY: as above; shared references only read.
unsafe impl<T: Plain + Sync> Sync for Locked<T> {}

impl<T: Plain> Locked<T> {
    /// Nothing.
    pub const fn empty() -> Self {
        Self { at: NonNull::dangling(), len: 0, mapped: 0, hidden: true, held: true }
    }

    /// `len` zero elements.
    ///
    /// # Errors
    /// Where the system has no memory. That it could not be locked is no error; see
    /// [`Locked::is_locked`].
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let mut memory = Self::hidden(len)?;
        memory.hold();
        Ok(memory)
    }

    /// As [`Locked::zeroed`], but not locked yet.
    fn hidden(len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self::empty());
        }
        let bytes = Self::bytes(len)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing
        // that exists.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at =
            NonNull::new(at.cast()).expect("mmap never answers with null unless it was asked to");
        let mut memory = Self { at, len, mapped: bytes, hidden: false, held: false };
        memory.advise();
        Ok(memory)
    }

    fn bytes(len: usize) -> io::Result<usize> {
        len.checked_mul(size_of::<T>()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Has the kernel leave it out of dumps and of forked children.
    fn advise(&mut self) {
        let at = self.at.as_ptr().cast();
        // SAFETY: the range is this value's mapping. Advice changes no contents.
        unsafe {
            self.hidden = libc::madvise(at, self.mapped, libc::MADV_DONTDUMP) == 0;
            // Kernels before 4.14 do not know it, and this program does not fork.
            libc::madvise(at, self.mapped, libc::MADV_WIPEONFORK);
            if self.mapped >= LARGE {
                // Reading through much memory once waits for the translation of addresses, page by
                // page. Where it is refused, it is slower and no worse.
                libc::madvise(at, self.mapped, libc::MADV_HUGEPAGE);
            }
        }
    }

    /// Makes it `len` elements long, which is more than it has; new ones are zero. Its pages move
    /// where they cannot stay: there is never a second copy of them, neither in memory nor in what
    /// the process has locked. It stays locked where the kernel lets it.
    ///
    /// # Errors
    /// Where the system has no memory. It is as long as before, and may be no longer locked.
    fn grow(&mut self, len: usize) -> io::Result<()> {
        if self.mapped == 0 {
            *self = Self::hidden(len)?;
            return Ok(());
        }
        let bytes = Self::bytes(len)?;
        let mut moved = self.moved(bytes);
        if moved.is_err() && self.held {
            // Perhaps because the process may not lock so much more.
            self.let_go();
            moved = self.moved(bytes);
        }
        (self.at, self.len, self.mapped) = (moved?, len, bytes);
        self.advise();
        Ok(())
    }

    /// Where its mapping is once it has `bytes` bytes.
    fn moved(&mut self, bytes: usize) -> io::Result<NonNull<T>> {
        // SAFETY: the range is this value's mapping, all of which has the same attributes; nothing
        // refers to it, for `self` is borrowed mutably.
        let at = unsafe {
            libc::mremap(self.at.as_ptr().cast(), self.mapped, bytes, libc::MREMAP_MAYMOVE)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(NonNull::new(at.cast()).expect("mremap never answers with null"))
    }

    /// Keeps it from swap, where the process may.
    fn hold(&mut self) {
        // SAFETY: the range is this value's mapping. A lock changes no contents.
        self.held =
            self.mapped == 0 || unsafe { libc::mlock(self.at.as_ptr().cast(), self.mapped) } == 0;
    }

    /// No longer keeps it from swap, so that others may lock as much.
    fn let_go(&mut self) {
        if self.mapped > 0 {
            // SAFETY: as for the lock. That it was none is no error.
            unsafe { libc::munlock(self.at.as_ptr().cast(), self.mapped) };
            self.held = false;
        }
    }

    /// A copy of `from`.
    ///
    /// # Errors
    /// As for [`Locked::zeroed`].
    pub fn copy_of(from: &[T]) -> io::Result<Self> {
        let mut copy = Self::zeroed(from.len())?;
        copy.copy_from_slice(from);
        Ok(copy)
    }

    /// Whether the kernel keeps it from swap and dumps.
    pub fn is_locked(&self) -> bool {
        self.hidden && self.held
    }

    /// Forgets all elements from `len` on; they are wiped.
    pub fn shorten(&mut self, len: usize) {
        if len < self.len {
            wipe(&mut self[len..]);
            self.len = len;
        }
    }
}

/// Overwrites with zeros that the compiler may not leave out, as fast as memory is written.
pub fn wipe<T: Plain>(values: &mut [T]) {
    // SAFETY: the range is the slice's, and all zero bytes are values of a `Plain` type.
    unsafe { wipe_at(values.as_mut_ptr().cast(), size_of_val(values)) };
}

/// As [`wipe`], of memory that may hold no values.
///
/// # Safety
/// `bytes` bytes at `at` may be written, and nobody refers to values in them.
unsafe fn wipe_at(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::write_bytes(at, 0, bytes) };
    // Somebody could look: the pointer leaves through here.
    std::hint::black_box(at);
    compiler_fence(Ordering::SeqCst);
}

impl<T: Plain> Deref for Locked<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements of the mapping (or none, at a dangling but aligned address), all
        // initialised by the kernel.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for Locked<T> {
    fn drop(&mut self) {
        wipe(self);
        if self.mapped > 0 {
            // SAFETY: the mapping was made by `zeroed`, is this value's alone, and nothing refers
            // to it any more.
            unsafe { libc::munmap(self.at.as_ptr().cast(), self.mapped) };
        }
    }
}

impl<T: Plain> std::fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Locked(<{} elements>)", self.len)
    }
}

/// Forbids core files and the reading of this process's memory by others of the same user, and
/// allows itself to lock as much memory as its limits can be raised to. For the whole process and
/// for good.
///
/// # Errors
/// Where the kernel refuses one of the first two.
pub fn forbid_dumps() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on values of this frame.
    unsafe {
        if libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
            || libc::setrlimit(libc::RLIMIT_CORE, &raw const none) != 0
        {
            return Err(io::Error::last_os_error());
        }
        let mut most = none;
        if libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut most) == 0
            && most.rlim_cur < most.rlim_max
        {
            most.rlim_cur = most.rlim_max;
            // What cannot be raised shows where memory is locked.
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const most);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping at `address`, as the kernel shows them (`VmFlags` in
    /// `/proc/self/smaps`).
    fn flags_at(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split_once(' ').and_then(|(r, _)| r.split_once('-'));
            if let Some((Ok(from), Ok(to))) =
                range.map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)))
            {
                inside = (from..to).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.to_owned();
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn the_kernel_says_that_it_is_locked_and_left_out_of_dumps() {
        let memory = Locked::<u8>::zeroed(5000).unwrap();
        assert!(memory.is_locked(), "5000 bytes are within every limit");
        let flags = flags_at(memory.as_ptr() as usize);
        let has = |flag| flags.split_whitespace().any(|f| f == flag);
        assert!(has("lo") && has("dd") && has("wf"), "{flags}");
    }

    #[test]
    fn the_kernel_says_that_it_is_locked_and_left_out_of_dumps_to_the_end_of_its_last_page() {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).expect("each system has pages");
        for bytes in [1, page - 1, page, page + 1, 3 * page + 7] {
            let memory = Locked::<u8>::zeroed(bytes).unwrap();
            assert!(memory.is_locked(), "{bytes}");
            let at = memory.as_ptr() as usize;
            assert_eq!(at % page, 0, "{bytes}");
            let flags = flags_at(at + (bytes - 1) / page * page);
            let has = |flag| flags.split_whitespace().any(|f| f == flag);
            assert!(has("lo") && has("dd") && has("wf"), "{bytes}: {flags}");
        }
    }

    #[test]
    fn nothing_costs_nothing_and_what_is_cut_off_is_wiped() {
        let none = Locked::<f32>::zeroed(0).unwrap();
        assert!(none.is_locked() && none.is_empty());
        let mut some = Locked::copy_of(&[7u8; 100]).unwrap();
        let cut_off = some[40..].as_ptr();
        some.shorten(40);
        assert_eq!(&*some, [7; 40]);
        // SAFETY: within the mapping, which lives until `some` is dropped.
        assert_eq!(unsafe { std::slice::from_raw_parts(cut_off, 60) }, [0; 60]);
    }

    #[test]
    fn more_than_the_address_space_is_an_error_and_no_panic() {
        assert!(Locked::<f32>::zeroed(usize::MAX / 2).is_err());
        assert!(Locked::<u8>::zeroed(1 << 60).is_err());
    }
}
