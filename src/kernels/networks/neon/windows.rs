//! The windows of convolutions: pixels gathered from rows, and the weights that meet them.

use std::arch::aarch64::*;

use super::super::{LANES, WeightGroup};
use super::finish::steps;

/// A group's weights, four output channels a register.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn four_registers(group: &WeightGroup) -> [int8x16_t; 4] {
    // SAFETY: a group is 64 bytes.
    let int8x16x4_t(a, b, c, d) = unsafe { vld1q_s8_x4(std::ptr::from_ref(group).cast()) };
    [a, b, c, d]
}

/// Where the 27 bytes of two neighbouring windows are in what is loaded from three rows.
#[derive(Clone, Copy)]
pub(super) struct Windows([[uint8x16_t; 2]; 2]);

impl Windows {
    /// For windows `step` bytes apart, at most 7.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(step: usize) -> Self {
        // Sixteen bytes of the upper of two rows, then sixteen of the lower. What lies after 27
        // bytes is zero.
        let index = |window: usize, half: usize| {
            let mut bytes = [255u8; LANES];
            for (to, at) in bytes.iter_mut().zip(16 * half..27) {
                *to = ((at / 9 - half) * LANES + at % 9 + window * step) as u8;
            }
            // SAFETY: sixteen bytes.
            unsafe { vld1q_u8(bytes.as_ptr()) }
        };
        Self([[index(0, 0), index(0, 1)], [index(1, 0), index(1, 1)]])
    }

    /// A window without gaps.
    ///
    /// # Safety
    /// Sixteen bytes can be read at each of `rows`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn one(&self, rows: [*const u8; 3]) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { self.two(rows) }.map(|[first, _]| first)
    }

    /// Two windows without gaps, 32 bytes each: `[half][window]`.
    ///
    /// # Safety
    /// Sixteen bytes can be read at each of `rows`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn two(&self, rows: [*const u8; 3]) -> [[int8x16_t; 2]; 2] {
        // SAFETY: the caller's promise.
        let [a, b, c] = rows.map(|row| unsafe { steps(row) });
        let (upper, lower) = (int8x16x2_t(a, b), int8x16x2_t(b, c));
        let [[a, b], [c, d]] = self.0;
        [[vqtbl2q_s8(upper, a), vqtbl2q_s8(upper, c)], [vqtbl2q_s8(lower, b), vqtbl2q_s8(lower, d)]]
    }
}

/// EdgeRows of one block with columns of zero around them.
#[derive(Clone, Copy)]
pub(super) struct EdgeRows<'a, const N: usize> {
    rows: [&'a [u8]; N],
    pixels: usize,
    left: usize,
}

impl<'a, const N: usize> EdgeRows<'a, N> {
    /// As many pixels as the shortest row has.
    pub(super) fn new(rows: [&'a [u8]; N], left: usize) -> Self {
        let bytes = rows.iter().map(|r| r.len()).min().unwrap_or(0);
        Self { rows, pixels: bytes / LANES, left }
    }

    /// Columns that are known to lie within the image end before this one.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.pixels + self.left
    }

    /// The signed steps of one column in each of the rows.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn column(&self, column: usize) -> [int8x16_t; N] {
        // Columns outside of the image hold zero; one comparison finds both sides.
        let at = column.wrapping_sub(self.left);
        if at >= self.pixels {
            return [vdupq_n_s8(0); N];
        }
        // SAFETY: the column lies within the rows.
        unsafe { self.within(column) }
    }

    /// A column that is known to lie within the image.
    ///
    /// # Safety
    /// `column - left` is below the number of pixels.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn within(&self, column: usize) -> [int8x16_t; N] {
        let at = (column - self.left) * LANES;
        let mut column = [vdupq_n_s8(0); N];
        for (value, row) in column.iter_mut().zip(self.rows) {
            // SAFETY: the caller's promise.
            *value = unsafe { steps(row.as_ptr().add(at)) };
        }
        column
    }
}

/// The weights of a 3 x 3 window: by row and column, sixteen channels each.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn taps(groups: &[WeightGroup; 3]) -> [[int8x16_t; 3]; 3] {
    let mut all = [[vdupq_n_s8(0); 3]; 3];
    for (taps, group) in all.iter_mut().zip(groups) {
        // SAFETY: a group is 64 bytes; the instruction parts every fourth of them.
        let int8x16x4_t(first, second, third, _) =
            unsafe { vld4q_s8(std::ptr::from_ref(group).cast()) };
        *taps = [first, second, third];
    }
    all
}

/// Calls `pixel` with three neighbouring columns for each output. With step 1 two of three columns
/// are those of the pixel before: three outputs at a time, their registers change roles instead of
/// being moved. `arrange` makes of a column what `pixel` takes.
#[inline(always)]
pub(super) fn slide<T: Copy>(
    rows: EdgeRows<'_, 3>,
    stride: usize,
    dst: &mut [u8],
    arrange: impl Fn([int8x16_t; 3]) -> T,
    mut pixel: impl FnMut([T; 3], &mut [u8; LANES]),
) {
    let (mut pixels, _) = dst.as_chunks_mut::<LANES>();
    // SAFETY: every AArch64 processor has the feature that reading columns is compiled with.
    let read = |column: usize| arrange(unsafe { rows.column(column) });
    let (mut a, mut b) = (read(0), read(1));
    // Outputs whose next columns certainly lie within the image.
    let inside = rows.end().saturating_sub(1 + stride) / stride;
    let (first, rest) = pixels.split_at_mut(inside.min(pixels.len()));
    let mut column = 2;
    // SAFETY: columns from `left` on and below `left + pixels` lie within the image; 2 is not below
    // `left`.
    let within = |column: usize| arrange(unsafe { rows.within(column) });
    if stride == 2 {
        for to in first {
            let c = within(column);
            pixel([a, b, c], to);
            (a, b) = (c, within(column + 1));
            column += 2;
        }
    } else {
        let (threes, _) = first.as_chunks_mut::<3>();
        for [first, second, third] in threes.iter_mut() {
            let c = within(column);
            pixel([a, b, c], first);
            a = within(column + 1);
            pixel([b, c, a], second);
            b = within(column + 2);
            pixel([c, a, b], third);
            column += 3;
        }
    }
    // What is left of a row, its right edge included.
    let done = (column - 2) / stride;
    pixels = if stride == 2 { rest } else { &mut dst.as_chunks_mut::<LANES>().0[done..] };
    for to in pixels {
        let c = read(column);
        pixel([a, b, c], to);
        (a, b) = if stride == 1 { (b, c) } else { (c, read(column + 1)) };
        column += stride;
    }
}
