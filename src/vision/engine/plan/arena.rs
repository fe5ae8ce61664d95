//! One piece of memory for everything that a plan computes, and safe views of it.

use std::ops::Range;

/// A cache line: the unit of alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

/// The memory.
pub(super) struct Arena {
    lines: Vec<CacheLine>,
}

impl Arena {
    /// At least `bytes`, each of them `fill`.
    pub fn new(bytes: usize, fill: u8) -> Self {
        Self { lines: vec![CacheLine([fill; 64]); bytes.div_ceil(64)] }
    }

    /// All bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.lines.len() * 64;
        // SAFETY: `CacheLine` is 64 plain bytes without padding; the slice spans exactly the
        // vector's initialised elements and borrows it mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), bytes) }
    }

    /// `write` to be written, and what lies around it to be read.
    pub fn split(&mut self, write: Range<usize>) -> (Around<'_>, &mut [u8]) {
        let (below, rest) = self.bytes_mut().split_at_mut(write.start);
        let (written, above) = rest.split_at_mut(write.len());
        (Around { below, above, end: write.end }, written)
    }
}

/// The arena without one range.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    below: &'a [u8],
    above: &'a [u8],
    end: usize,
}

impl<'a> Around<'a> {
    /// A range by its place in the arena. Panics where it meets the written one: the schedule keeps
    /// them apart.
    pub fn get(&self, range: Range<usize>) -> &'a [u8] {
        if range.end <= self.below.len() {
            &self.below[range]
        } else {
            assert!(range.start >= self.end, "a stage reads what it writes");
            &self.above[range.start - self.end..range.end - self.end]
        }
    }
}
