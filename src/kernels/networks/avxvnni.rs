//! x86-64 with the dot product of bytes in 256-bit registers: AVX-VNNI (Alder Lake, the N100 and
//! its like, Zen 5), or AVX-512 VNNI and VL where the 512-bit kernels need more than there is
//! (Cascade Lake).
//!
//! The two encode the same instruction, `vpdpbusd`, differently. All that uses it is therefore
//! written once, as a macro, and compiled for either.

use std::arch::x86_64::*;

use super::avx2::depthwise::global;
use super::avx2::elementwise::{add, head, max_pool, sigmoid};
use super::avx2::finish::{Finish256, IDENTITY, PRELU, RELU, Sums256};
use super::avx2::look_up;
use super::layout::RowPointers;
use super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Pointwise, Post, Stem, WeightGroup, ZERO,
};

/// The kernels in the encoding that the processor and the operating system support; in tests in
/// both, where they do.
pub(super) fn detect() -> Vec<&'static dyn NetworkKernels> {
    let mut all: Vec<&'static dyn NetworkKernels> = Vec::new();
    let has = InstructionSet::AvxVnni.is_available();
    if has && is_x86_feature_detected!("avxvnni") {
        all.push(&vex::KERNELS);
    }
    let evex = is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
    if has && evex && (all.is_empty() || cfg!(test)) {
        all.push(&evex::KERNELS);
    }
    all
}

/// Pixels of a tile: their sums fill twelve of sixteen registers.
const TILE: usize = 6;

/// The start of the next tile and its size: the last one is moved back over pixels that are already
/// computed rather than split.
fn tile(done: usize, pixels: usize) -> (usize, usize) {
    if pixels >= TILE { (done.min(pixels - TILE), TILE) } else { (done, 1) }
}

/// The weights of a window's row, `[four channels][four columns]` in both halves of a register, and
/// the same for the pixel to the right of the same four columns.
type RowWeights = [[__m256i; 4]; 2];

#[target_feature(enable = "avx2")]
fn row_weights(group: &WeightGroup) -> RowWeights {
    let mut first = [_mm256_setzero_si256(); 4];
    for (quad, first) in first.iter_mut().enumerate() {
        // SAFETY: a group is four times sixteen bytes.
        let four = unsafe { _mm_load_si128(group.0.as_ptr().add(4 * quad).cast()) };
        *first = _mm256_broadcastsi128_si256(four);
    }
    let mut second = first;
    for weights in &mut second {
        *weights = _mm256_slli_epi32::<8>(*weights);
    }
    [first, second]
}

/// Where sums start, four channels in both halves of a register.
#[target_feature(enable = "avx2")]
fn starts(finish: Finish256<'_, ZERO>) -> [__m256i; 4] {
    let mut starts = [_mm256_setzero_si256(); 4];
    for (quad, start) in starts.iter_mut().enumerate() {
        // SAFETY: four times four values.
        let four = unsafe { _mm_loadu_si128(finish.start().as_ptr().add(4 * quad).cast()) };
        *start = _mm256_broadcastsi128_si256(four);
    }
    starts
}

/// Four neighbouring columns of a row from padded column `column` on, and the four that begin two
/// columns further, channel by channel: `[four channels][four columns]`, the second in the upper
/// half. `INSIDE` says that all lie within the row.
///
/// # Safety
/// The rows' pixels can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn columns<const INSIDE: bool>(
    rows: &RowPointers,
    row: usize,
    column: usize,
) -> [__m256i; 4] {
    let one = |column: usize| match column.checked_sub(rows.left) {
        // SAFETY: the column lies within the row.
        Some(at) if INSIDE || at < rows.pixels => unsafe {
            _mm_loadu_si128(rows.bytes[row].add(at * LANES).cast())
        },
        _ => _mm_set1_epi8(ZERO as i8),
    };
    let mut pairs = [_mm256_setzero_si256(); 4];
    for (index, pair) in pairs.iter_mut().enumerate() {
        *pair = _mm256_set_m128i(one(column + index + 2), one(column + index));
    }
    let [a, b, c, d] = pairs;
    let (lower, upper) = (
        (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d)),
        (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d)),
    );
    [
        _mm256_unpacklo_epi16(lower.0, lower.1),
        _mm256_unpackhi_epi16(lower.0, lower.1),
        _mm256_unpacklo_epi16(upper.0, upper.1),
        _mm256_unpackhi_epi16(upper.0, upper.1),
    ]
}

macro_rules! kernels {
    ($encoding:ident, $features:literal, $dot:ident) => {
        mod $encoding {
            use super::*;

            /// Handed out by [`detect`] only, on a processor that has every feature that the
            /// functions below enable.
            pub(super) struct AvxVnniNetworks(());

            pub(super) static KERNELS: AvxVnniNetworks = AvxVnniNetworks(());

            /// Adds the products of four inputs with `group` to the sums of `P` pixels.
            ///
            /// # Safety
            /// Four bytes can be read at `from + step * p` for each `p` below `P`.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn add_group<const P: usize>(
                sums: &mut [Sums256; P],
                group: &WeightGroup,
                from: *const u8,
                step: usize,
            ) {
                // SAFETY: a group is two times 32 bytes, aligned to 64.
                let weights = unsafe {
                    let at = std::ptr::from_ref(group).cast::<__m256i>();
                    [_mm256_load_si256(at), _mm256_load_si256(at.add(1))]
                };
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let four = unsafe { from.add(step * pixel).cast::<i32>().read_unaligned() };
                    let inputs = _mm256_set1_epi32(four);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = $dot(*sum, inputs, weights);
                    }
                }
            }

            /// # Safety
            /// The features, and [`Pointwise::check`] for `P` pixels from those at `from` and `to`
            /// on.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn pointwise_tile<const ACTIVATION: u8, const P: usize>(
                groups: &[WeightGroup],
                finish: Finish256<'_, ZERO>,
                (from, stride): (*const u8, usize),
                to: *mut u8,
            ) {
                let mut sums = [finish.bias(); P];
                for (block, groups) in groups.chunks(4).enumerate() {
                    for (index, group) in groups.iter().enumerate() {
                        // SAFETY: the caller's promise.
                        unsafe {
                            add_group(&mut sums, group, from.add(block * stride + 4 * index), LANES)
                        };
                    }
                }
                // SAFETY: the caller's promise.
                unsafe { finish.store::<ACTIVATION, P>(&sums, to) };
            }

            /// # Safety
            /// The features, and [`Pointwise::check`].
            #[target_feature(enable = $features)]
            unsafe fn pointwise<const ACTIVATION: u8>(
                op: &Pointwise,
                src: Blocks<'_>,
                dst: BlocksMut<'_>,
                pixels: usize,
            ) {
                let blocks = op.weights.groups().chunks_exact(op.groups).zip(&op.post);
                for (block, (groups, post)) in blocks.enumerate() {
                    let finish = Finish256::of(post);
                    let mut done = 0;
                    while done < pixels {
                        let (at, size) = tile(done, pixels);
                        // SAFETY: `check`; tiles lie within `pixels`.
                        unsafe {
                            let from = (src.bytes.as_ptr().add(at * LANES), src.stride);
                            let to = dst.bytes.as_mut_ptr().add(block * dst.stride + at * LANES);
                            if size == TILE {
                                pointwise_tile::<ACTIVATION, TILE>(groups, finish, from, to);
                            } else {
                                pointwise_tile::<ACTIVATION, 1>(groups, finish, from, to);
                            }
                        }
                        done = at + size;
                    }
                }
            }

            /// # Safety
            /// The features, and [`Stem::check`] for `P` pixels from those at `rows` and `to` on.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn stem_tile<const ACTIVATION: u8, const P: usize>(
                groups: &[WeightGroup; 9],
                finish: Finish256<'_, ZERO>,
                (rows, step): ([*const u8; 3], usize),
                to: *mut u8,
            ) {
                let mut sums = [finish.bias(); P];
                for (index, group) in groups.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        add_group(&mut sums, group, rows[index / 3].add(index % 3 * 4), step)
                    };
                }
                // SAFETY: the caller's promise.
                unsafe { finish.store::<ACTIVATION, P>(&sums, to) };
            }

            /// # Safety
            /// The features, and [`Stem::check`].
            #[target_feature(enable = $features)]
            unsafe fn stem<const ACTIVATION: u8>(
                op: &Stem,
                rows: [&[u8]; 3],
                dst: BlocksMut<'_>,
                pixels: usize,
            ) {
                let step = op.stride * 3;
                for (block, (groups, post)) in op.weights.rows().iter().zip(&op.post).enumerate() {
                    let finish = Finish256::of(post);
                    let mut done = 0;
                    while done < pixels {
                        let (at, size) = tile(done, pixels);
                        // SAFETY: `check`; tiles lie within `pixels`.
                        unsafe {
                            let from = (rows.map(|r| r.as_ptr().add(at * step)), step);
                            let to = dst.bytes.as_mut_ptr().add(block * dst.stride + at * LANES);
                            if size == TILE {
                                stem_tile::<ACTIVATION, TILE>(groups, finish, from, to);
                            } else {
                                stem_tile::<ACTIVATION, 1>(groups, finish, from, to);
                            }
                        }
                        done = at + size;
                    }
                }
            }

            /// Two pixels, the second's window two columns after the first's; or four, with those
            /// one column to the right of each.
            ///
            /// # Safety
            /// As [`depthwise`]; `INSIDE` says that all columns lie within the rows.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn windows<const INSIDE: bool, const TWICE: bool>(
                weights: &[RowWeights; 3],
                rows: &RowPointers,
                column: usize,
                start: [__m256i; 4],
            ) -> [[__m256i; 4]; 2] {
                let mut sums = [start; 2];
                for (row, weights) in weights.iter().enumerate() {
                    // SAFETY: the caller's promise.
                    let columns = unsafe { columns::<INSIDE>(rows, row, column) };
                    for quad in 0..4 {
                        sums[0][quad] = $dot(sums[0][quad], columns[quad], weights[0][quad]);
                        if TWICE {
                            sums[1][quad] = $dot(sums[1][quad], columns[quad], weights[1][quad]);
                        }
                    }
                }
                sums
            }

            /// # Safety
            /// The features; the rows can be read, and `pixels` pixels written at `to`.
            #[target_feature(enable = $features)]
            unsafe fn depthwise<const ONE: bool, const ACTIVATION: u8>(
                groups: &[WeightGroup; 3],
                post: &Post,
                rows: RowPointers,
                to: *mut u8,
                pixels: usize,
            ) {
                let finish = Finish256::<ZERO>::of(post);
                let mut weights = [[[_mm256_setzero_si256(); 4]; 2]; 3];
                for (weights, group) in weights.iter_mut().zip(groups) {
                    *weights = row_weights(group);
                }
                let start = starts(finish);
                // Pixels at a time, and the columns that are loaded for them.
                let (size, stride) = if ONE { (4, 1) } else { (2, 2) };
                let mut pixel = 0;
                while pixel < pixels {
                    let column = pixel * stride;
                    let inside = column >= rows.left && column + 6 <= rows.left + rows.pixels;
                    // SAFETY: the caller's promise; all columns lie within the rows where this is
                    // said.
                    let [even, odd] = unsafe {
                        if inside {
                            windows::<true, ONE>(&weights, &rows, column, start)
                        } else {
                            windows::<false, ONE>(&weights, &rows, column, start)
                        }
                    };
                    let even = finish.quads::<ACTIVATION>(even);
                    let written = if ONE {
                        let odd = finish.quads::<ACTIVATION>(odd);
                        [
                            _mm256_permute2x128_si256::<0x20>(even, odd),
                            _mm256_permute2x128_si256::<0x31>(even, odd),
                        ]
                    } else {
                        [even, even]
                    };
                    let left = (pixels - pixel).min(size);
                    // SAFETY: as many pixels as are left are written.
                    unsafe {
                        let to = to.add(pixel * LANES);
                        for (pair, bytes) in written.into_iter().enumerate().take(left.div_ceil(2))
                        {
                            let to = to.add(2 * pair * LANES);
                            if left - 2 * pair >= 2 {
                                _mm256_storeu_si256(to.cast(), bytes);
                            } else {
                                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
                            }
                        }
                    }
                    pixel += size;
                }
            }

            impl NetworkKernels for AvxVnniNetworks {
                fn set(&self) -> InstructionSet {
                    InstructionSet::AvxVnni
                }

                fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
                    look_up::<ZERO>(table, src, dst);
                }

                fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
                    op.check(rows, &dst, pixels);
                    let run = match op.activation {
                        Activation::Identity => stem::<IDENTITY>,
                        Activation::Relu => stem::<RELU>,
                        Activation::PRelu => stem::<PRELU>,
                    };
                    // SAFETY: `detect` found the features; `check` that all windows and outputs lie
                    // within the slices.
                    unsafe { run(op, rows, dst, pixels) }
                }

                fn pointwise(
                    &self,
                    op: &Pointwise,
                    src: Blocks<'_>,
                    dst: BlocksMut<'_>,
                    pixels: usize,
                ) {
                    op.check(&src, &dst, pixels);
                    let run = match op.activation {
                        Activation::Identity => pointwise::<IDENTITY>,
                        Activation::Relu => pointwise::<RELU>,
                        Activation::PRelu => pointwise::<PRELU>,
                    };
                    // SAFETY: `detect` found the features; `check` that all inputs, weights and
                    // outputs lie within the slices.
                    unsafe { run(op, src, dst, pixels) }
                }

                fn depthwise(
                    &self,
                    op: &Depthwise,
                    block: usize,
                    rows: [&[u8]; 3],
                    dst: &mut [u8],
                ) {
                    let (input, output) = op.check(rows, dst);
                    let bytes = rows.map(<[u8]>::as_ptr);
                    let rows = RowPointers { bytes, pixels: input, left: op.left };
                    let run = match (op.stride, op.activation) {
                        (1, Activation::Identity) => depthwise::<true, IDENTITY>,
                        (1, Activation::Relu) => depthwise::<true, RELU>,
                        (1, Activation::PRelu) => depthwise::<true, PRELU>,
                        (_, Activation::Identity) => depthwise::<false, IDENTITY>,
                        (_, Activation::Relu) => depthwise::<false, RELU>,
                        (_, Activation::PRelu) => depthwise::<false, PRELU>,
                    };
                    let (weights, post) = (&op.weights[block], &op.post[block]);
                    // SAFETY: `detect` found the features; each row holds `input` pixels and `dst`
                    // holds `output`.
                    unsafe { run(weights, post, rows, dst.as_mut_ptr(), output) }
                }

                fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
                    op.check(block, src);
                    let weights = &op.weights[block * op.groups()..][..op.groups()];
                    let run = match op.activation {
                        Activation::Identity => global::<ZERO, IDENTITY>,
                        Activation::Relu => global::<ZERO, RELU>,
                        Activation::PRelu => global::<ZERO, PRELU>,
                    };
                    // SAFETY: `detect` found the features; `check` that there is a group for every
                    // four pixels.
                    unsafe { run(weights, &op.post[block], src, dst) }
                }

                fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
                    assert!(
                        rows.iter().all(|r| r.len() >= 2 * dst.len())
                            && dst.len().is_multiple_of(LANES)
                    );
                    // SAFETY: `detect` found the features; both rows hold twice the output's bytes.
                    unsafe { max_pool::<ZERO>(rows.map(<[u8]>::as_ptr), dst) }
                }

                fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
                    op.check(first, second, dst);
                    // SAFETY: `detect` found the features; `check` that the operands hold the
                    // output's pixels.
                    unsafe { add::<ZERO>(op, first, second, dst) }
                }

                fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
                    op.check(rows, dst);
                    // SAFETY: `detect` found the features; `check` that the rows hold the output's
                    // pixels.
                    unsafe { head::<ZERO>(op, rows, dst) }
                }

                fn sigmoid(&self, values: &mut [f32]) {
                    // SAFETY: `detect` found the features.
                    unsafe { sigmoid(values) }
                }
            }
        }
    };
}

kernels!(vex, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
kernels!(evex, "avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
