//! Pointwise convolutions and first layers.

use std::arch::x86_64::*;

use super::super::packing::Run;
use super::super::{Blocks, BlocksMut, LANES, Pointwise, PointwiseWeights, Stem, WeightGroup};
use super::finish::{Finish256, Sums256};

/// Adds the products of a run of `N` groups with the inputs of `P` pixels.
///
/// # Safety
/// `4 * N` bytes can be read at `from + 16 * p` for each `p` below `P`, and `N` groups at `groups`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_run<const N: usize, const P: usize>(
    sums: &mut [Sums256; P],
    groups: *const WeightGroup,
    from: *const u8,
) {
    let mut words = [[_mm256_setzero_si256(); 2]; P];
    for group in 0..N {
        // SAFETY: the caller's promise; a group is two times 32 bytes, aligned to 64.
        let weights = unsafe {
            let at = groups.add(group).cast::<__m256i>();
            [_mm256_load_si256(at), _mm256_load_si256(at.add(1))]
        };
        for (pixel, words) in words.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let four =
                unsafe { from.add(LANES * pixel + 4 * group).cast::<i32>().read_unaligned() };
            let inputs = _mm256_set1_epi32(four);
            for (words, weights) in words.iter_mut().zip(weights) {
                let products = _mm256_maddubs_epi16(inputs, weights);
                *words = if group == 0 { products } else { _mm256_add_epi16(*words, products) };
            }
        }
    }
    for (sum, words) in sums.as_flattened_mut().iter_mut().zip(words.as_flattened()) {
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*words, _mm256_set1_epi16(1)));
    }
}

/// Adds the products of all `runs` with the inputs of `P` pixels.
///
/// # Safety
/// `groups` holds as many groups as the runs count; the inputs of each run's block can be read from
/// `from` on, blocks `stride` bytes apart.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_runs<const P: usize>(
    sums: &mut [Sums256; P],
    (runs, groups): (&[Run], &[WeightGroup]),
    (from, stride): (*const u8, usize),
) {
    let mut groups = groups.as_ptr();
    for run in runs {
        // SAFETY: the caller's promise.
        unsafe {
            let from = from.add(usize::from(run.block) * stride + 4 * usize::from(run.group));
            match run.count {
                1 => add_run::<1, P>(sums, groups, from),
                2 => add_run::<2, P>(sums, groups, from),
                3 => add_run::<3, P>(sums, groups, from),
                _ => add_run::<4, P>(sums, groups, from),
            }
            groups = groups.add(usize::from(run.count));
        }
    }
}

/// The start of the next tile and its size, `full` or 1: the last one is moved back over pixels
/// that are already computed rather than split.
fn tile(done: usize, pixels: usize, full: usize) -> (usize, usize) {
    if pixels >= full { (done.min(pixels - full), full) } else { (done, 1) }
}

/// Pixels of a tile of runs: their sums in 32 and in 16 bits fill the registers.
const RUN_TILE: usize = 4;

/// # Safety
/// The feature, and [`Pointwise::check`]; no input is negative.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pointwise_runs<const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let PointwiseWeights::Runs(weights) = &op.weights else { return };
    for (block, post) in op.post.iter().enumerate() {
        let (runs, finish) = (weights.of(block), Finish256::<0>::of(post));
        let mut done = 0;
        while done < pixels {
            let (at, size) = tile(done, pixels, RUN_TILE);
            // SAFETY: `check`; runs count no group beyond the inputs, tiles lie within `pixels`.
            unsafe {
                let from = (src.bytes.as_ptr().add(at * LANES), src.stride);
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + at * LANES);
                if size == RUN_TILE {
                    let mut sums = [finish.bias(); RUN_TILE];
                    add_runs(&mut sums, runs, from);
                    finish.store::<ACTIVATION, RUN_TILE>(&sums, to);
                } else {
                    let mut sums = [finish.bias(); 1];
                    add_runs(&mut sums, runs, from);
                    finish.store::<ACTIVATION, 1>(&sums, to);
                }
            }
            done = at + size;
        }
    }
}

/// Pixels of a tile of pairs: their sums fill twelve of sixteen registers.
const PAIR_TILE: usize = 6;

/// Sixteen steps in 16 bits each.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Wide([i16; LANES]);

/// Blocks of inputs that are widened at a time.
const WIDE_BLOCKS: usize = 32;

/// Adds the products of a pair of inputs of `P` pixels with its weights for sixteen channels.
///
/// # Safety
/// 32 weights can be read at `weights`, two inputs at `from + step * p` for each `p` below `P`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_pair<const P: usize>(
    sums: &mut [Sums256; P],
    weights: *const i8,
    from: *const i16,
    step: usize,
) {
    // SAFETY: the caller's promise.
    let weights = unsafe {
        let at = weights.cast::<__m128i>();
        [_mm256_cvtepi8_epi16(_mm_load_si128(at)), _mm256_cvtepi8_epi16(_mm_load_si128(at.add(1)))]
    };
    for (pixel, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let inputs =
            _mm256_set1_epi32(unsafe { from.add(step * pixel).cast::<i32>().read_unaligned() });
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(inputs, weights));
        }
    }
}

/// # Safety
/// The feature, and [`Pointwise::check`] for `P` pixels from those at `from` and `to` on; `WIDE`
/// has room for them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pair_tile<const ACTIVATION: u8, const P: usize>(
    op: &Pointwise,
    (from, from_stride): (*const u8, usize),
    (to, to_stride): (*mut u8, usize),
    wide: &mut [[Wide; PAIR_TILE]; WIDE_BLOCKS],
) {
    let PointwiseWeights::Pairs(weights) = &op.weights else { return };
    for (block, post) in op.post.iter().enumerate() {
        let finish = Finish256::<0>::of(post);
        let mut sums = [finish.bias(); P];
        for (part, groups) in weights.of(block).chunks(4 * WIDE_BLOCKS).enumerate() {
            // Once for all output blocks where the inputs have room.
            if block == 0 || op.in_blocks > WIDE_BLOCKS {
                let blocks = groups.len().div_ceil(4);
                for (index, wide) in wide.iter_mut().enumerate().take(blocks) {
                    for (pixel, wide) in wide.iter_mut().enumerate().take(P) {
                        // SAFETY: the caller's promise.
                        unsafe {
                            let block = part * WIDE_BLOCKS + index;
                            let from = from.add(block * from_stride + pixel * LANES);
                            let steps = _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast()));
                            _mm256_store_si256(wide.0.as_mut_ptr().cast(), steps);
                        }
                    }
                }
            }
            for (groups, wide) in groups.chunks(4).zip(&*wide) {
                for (index, group) in groups.iter().enumerate() {
                    let (weights, from) = (group.0.as_ptr().cast::<i8>(), wide.as_ptr());
                    // SAFETY: a group is two times 32 weights; four steps of each pixel.
                    unsafe {
                        let from = from.cast::<i16>().add(4 * index);
                        add_pair(&mut sums, weights, from, LANES);
                        add_pair(&mut sums, weights.add(32), from.add(2), LANES);
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { finish.store::<ACTIVATION, P>(&sums, to.add(block * to_stride)) };
    }
}

/// # Safety
/// The feature, and [`Pointwise::check`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pointwise_pairs<const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let mut wide = [[Wide([0; LANES]); PAIR_TILE]; WIDE_BLOCKS];
    let mut done = 0;
    while done < pixels {
        let (at, size) = tile(done, pixels, PAIR_TILE);
        // SAFETY: `check`; tiles lie within `pixels`.
        unsafe {
            let from = (src.bytes.as_ptr().add(at * LANES), src.stride);
            let to = (dst.bytes.as_mut_ptr().add(at * LANES), dst.stride);
            if size == PAIR_TILE {
                pair_tile::<ACTIVATION, PAIR_TILE>(op, from, to, &mut wide);
            } else {
                pair_tile::<ACTIVATION, 1>(op, from, to, &mut wide);
            }
        }
        done = at + size;
    }
}

/// Bytes of a row that a tile's windows read, widened: five pixels' steps of at most six bytes and
/// a window's ten, in registers of sixteen.
const WINDOW_ROW: usize = 48;

/// # Safety
/// The feature, and [`Stem::check`] for `P` pixels from those at `rows` and `to` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn stem_tile<const ACTIVATION: u8, const P: usize>(
    op: &Stem,
    rows: [*const u8; 3],
    (to, to_stride): (*mut u8, usize),
) {
    let mut wide = [[0i16; WINDOW_ROW]; 3];
    let bytes = op.row_bytes(P);
    for (row, wide) in rows.into_iter().zip(&mut wide) {
        let mut at = 0;
        while at < bytes {
            // SAFETY: `check`; a row has sixteen bytes at least, and what is read again is the
            // same. At most 46 bytes are wide.
            unsafe {
                let at = at.min(bytes - 16);
                let steps = _mm256_cvtepi8_epi16(_mm_loadu_si128(row.add(at).cast()));
                _mm256_storeu_si256(wide.as_mut_ptr().add(at).cast(), steps);
            }
            at += 16;
        }
    }
    for (block, post) in op.post.iter().enumerate() {
        let finish = Finish256::<0>::of(post);
        let mut sums = [finish.bias(); P];
        for (groups, wide) in op.weights.pairs().of(block).chunks_exact(3).zip(&wide) {
            for pair in 0..5 {
                // SAFETY: five pairs of six, the last of which is empty; windows of ten steps.
                unsafe {
                    let weights = groups.as_ptr().cast::<i8>().add(32 * pair);
                    add_pair(&mut sums, weights, wide.as_ptr().add(2 * pair), op.stride * 3);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { finish.store::<ACTIVATION, P>(&sums, to.add(block * to_stride)) };
    }
}

/// # Safety
/// The feature, and [`Stem::check`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn stem<const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let mut done = 0;
    while done < pixels {
        let (at, size) = tile(done, pixels, PAIR_TILE);
        // SAFETY: `check`; tiles lie within `pixels`.
        unsafe {
            let rows = rows.map(|row| row.as_ptr().add(at * op.stride * 3));
            let to = (dst.bytes.as_mut_ptr().add(at * LANES), dst.stride);
            if size == PAIR_TILE {
                stem_tile::<ACTIVATION, PAIR_TILE>(op, rows, to);
            } else {
                stem_tile::<ACTIVATION, 1>(op, rows, to);
            }
        }
        done = at + size;
    }
}
