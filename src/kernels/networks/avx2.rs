//! x86-64 with AVX2, without any dot-product instruction: Haswell, Zen 1 to 3 and later.
//!
//! `vpmaddubsw` would saturate, so bytes are widened to 16 bits on the way into registers and
//! `vpmaddwd` adds exact products in pairs. A register holds two partial sums for each of four
//! output channels; they are joined once, at the end.

use std::arch::x86_64::*;

use super::{
    Activation, Add, Blocks, BlocksMut, Depthwise, FloatHead, InstructionSet, LANES,
    NetworkKernels, Pointwise, Post, Stem, WeightGroup, ZERO, scalar,
};

/// Made by [`detect`] only, on a processor that has every feature that the functions below enable.
struct Avx2Networks(());

static KERNELS: Avx2Networks = Avx2Networks(());

/// The kernels, where the processor and the operating system support them.
pub(super) fn detect() -> Option<&'static dyn NetworkKernels> {
    InstructionSet::Avx2.is_available().then_some(&KERNELS)
}

impl NetworkKernels for Avx2Networks {
    fn set(&self) -> InstructionSet {
        InstructionSet::Avx2
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        // SAFETY: `detect` found the feature; `check` that all windows and outputs lie within the
        // slices.
        unsafe { stem(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        // SAFETY: `detect` found the feature; `check` that all inputs, weights and outputs lie
        // within the slices.
        unsafe { pointwise(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        let (input, _) = op.check(rows, dst);
        // SAFETY: `detect` found the feature; each row holds `input` pixels.
        unsafe { depthwise(op, block, rows, input, dst) }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        // SAFETY: `detect` found the feature.
        unsafe { max_pool(rows, dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `detect` found the feature; `check` that the operands hold the output's pixels.
        unsafe { add(op, first, second, dst) }
    }

    fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `detect` found the feature; `check` that the rows hold the output's pixels.
        unsafe { head(op, rows, dst) }
    }

    fn sigmoid(&self, values: &mut [f32]) {
        // SAFETY: `detect` found the feature.
        unsafe { sigmoid(values) }
    }
}

/// Sums of sixteen channels in order, eight a register.
type Sums256 = [__m256i; 2];

/// Partial sums: `[four channels][channel][two]`.
type Partial256 = [__m256i; 4];

/// The two parts of eight lanes that a register for 64-bit parts 0 1 2 3 leaves as 0 2 1 3 when it
/// works in halves.
const IN_ORDER: i32 = 0b11_01_10_00;

/// # Safety
/// Eight values of 32 bits can be read at `at`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn integers(at: *const i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(at.cast()) }
}

/// Sums to steps of 8 bits in 16, in the order of channels.
#[inline]
#[target_feature(enable = "avx2")]
fn steps(sums: Sums256, post: &Post, activation: Activation) -> __m256i {
    let mut steps = sums;
    for (half, steps) in steps.iter_mut().enumerate() {
        // SAFETY: each field has two times eight values.
        let load = |field: &[f32; LANES]| unsafe { _mm256_loadu_ps(field.as_ptr().add(8 * half)) };
        let value = _mm256_mul_ps(_mm256_cvtepi32_ps(*steps), load(&post.scale));
        *steps = if activation == Activation::PRelu {
            let value = _mm256_max_ps(value, _mm256_set1_ps(-128.0));
            let value = _mm256_min_ps(value, _mm256_set1_ps(127.0));
            let value = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
            // By the sign bit: a value that was rounded to minus zero gives zero either way.
            let factor =
                _mm256_blendv_ps(_mm256_set1_ps(post.positive), load(&post.negative), value);
            _mm256_cvtps_epi32(_mm256_mul_ps(value, factor))
        } else {
            _mm256_cvtps_epi32(value)
        };
    }
    let packed = _mm256_permute4x64_epi64::<IN_ORDER>(_mm256_packs_epi32(steps[0], steps[1]));
    if activation == Activation::Relu {
        _mm256_max_epi16(packed, _mm256_setzero_si256())
    } else {
        packed
    }
}

/// Two pixels' steps to 32 stored bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn stored(first: __m256i, second: __m256i) -> __m256i {
    let bytes = _mm256_permute4x64_epi64::<IN_ORDER>(_mm256_packs_epi16(first, second));
    _mm256_xor_si256(bytes, _mm256_set1_epi8(ZERO as i8))
}

/// Writes the stored bytes of `P` pixels, 1 or 2.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store<const P: usize>(
    partial: &[Partial256; P],
    post: &Post,
    activation: Activation,
    to: *mut u8,
) {
    let mut all = [_mm256_setzero_si256(); P];
    for (steps_of, [a, b, c, d]) in all.iter_mut().zip(partial) {
        let mut sums = [_mm256_hadd_epi32(*a, *b), _mm256_hadd_epi32(*c, *d)];
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: two times eight biases.
            let bias = unsafe { integers(post.bias.as_ptr().add(8 * half)) };
            *sum = _mm256_add_epi32(_mm256_permute4x64_epi64::<IN_ORDER>(*sum), bias);
        }
        *steps_of = steps(sums, post, activation);
    }
    let bytes = stored(all[0], all[P - 1]);
    // SAFETY: the caller's promise.
    unsafe {
        if P == 2 {
            _mm256_storeu_si256(to.cast(), bytes);
        } else {
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
        }
    }
}

/// Adds the products of sixteen channels' weights with four inputs of each of `P` pixels.
///
/// # Safety
/// Four bytes can be read at `from + step * p` for each `p` below `P`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot<const P: usize>(
    partial: &mut [Partial256; P],
    group: &WeightGroup,
    from: *const u8,
    step: usize,
) {
    let mut inputs = [_mm256_setzero_si256(); P];
    for (pixel, input) in inputs.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let four = unsafe { from.add(step * pixel).cast::<i32>().read_unaligned() };
        *input = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
    }
    for quarter in 0..4 {
        // SAFETY: a group is four times sixteen bytes.
        let bytes =
            unsafe { _mm_load_si128(std::ptr::from_ref(group).cast::<__m128i>().add(quarter)) };
        let weights = _mm256_cvtepi8_epi16(bytes);
        for (partial, input) in partial.iter_mut().zip(inputs) {
            partial[quarter] =
                _mm256_add_epi32(partial[quarter], _mm256_madd_epi16(weights, input));
        }
    }
}

/// # Safety
/// The feature, and [`Pointwise::check`].
#[target_feature(enable = "avx2")]
unsafe fn pointwise(op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in
        op.weights.groups().chunks_exact(op.groups).zip(&op.post).enumerate()
    {
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let (from, to) = (src.bytes.as_ptr(), dst.bytes.as_mut_ptr());
                let (from, to) =
                    (from.add(pixel * LANES), to.add(block * dst.stride + pixel * LANES));
                if pixel + 2 <= pixels {
                    pointwise_tile::<2>(groups, post, op.activation, from, src.stride, to);
                } else {
                    pointwise_tile::<1>(groups, post, op.activation, from, src.stride, to);
                }
            }
            pixel += 2;
        }
    }
}

/// # Safety
/// As [`pointwise`], for `P` pixels from those at `from` and `to` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pointwise_tile<const P: usize>(
    groups: &[WeightGroup],
    post: &Post,
    activation: Activation,
    from: *const u8,
    stride: usize,
    to: *mut u8,
) {
    let mut partial = [[_mm256_setzero_si256(); 4]; P];
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { dot(&mut partial, group, from.add(index / 4 * stride + index % 4 * 4), LANES) };
    }
    // SAFETY: the caller's promise.
    unsafe { store(&partial, post, activation, to) };
}

/// # Safety
/// The feature, and [`Stem::check`].
#[target_feature(enable = "avx2")]
unsafe fn stem(op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.rows().iter().zip(&op.post).enumerate() {
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                let mut windows = [rows[0].as_ptr(), rows[1].as_ptr(), rows[2].as_ptr()];
                for window in &mut windows {
                    *window = window.add(pixel * op.stride * 3);
                }
                if pixel + 2 <= pixels {
                    stem_tile::<2>(groups, post, op, windows, to);
                } else {
                    stem_tile::<1>(groups, post, op, windows, to);
                }
            }
            pixel += 2;
        }
    }
}

/// # Safety
/// As [`stem`], for `P` pixels from those at `windows` and `to` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn stem_tile<const P: usize>(
    groups: &[WeightGroup; 9],
    post: &Post,
    op: &Stem,
    windows: [*const u8; 3],
    to: *mut u8,
) {
    let mut partial = [[_mm256_setzero_si256(); 4]; P];
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { dot(&mut partial, group, windows[index / 3].add(index % 3 * 4), op.stride * 3) };
    }
    // SAFETY: the caller's promise.
    unsafe { store(&partial, post, op.activation, to) };
}

/// The taps of a 3 x 3 window, `(row, column)`, in pairs for `vpmaddwd`; the last one stands alone.
const PAIRS: [[(usize, usize); 2]; 5] =
    [[(0, 0), (1, 0)], [(2, 0), (0, 1)], [(1, 1), (2, 1)], [(0, 2), (1, 2)], [(2, 2), (2, 2)]];

/// Weights of a pair of taps, alternating, for eight channels a register.
#[inline]
#[target_feature(enable = "avx2")]
fn paired(groups: &[WeightGroup; 3], pair: usize) -> [__m256i; 2] {
    let mut all = [_mm256_setzero_si256(); 2];
    for (half, register) in all.iter_mut().enumerate() {
        // The weight of one tap for eight channels, in the upper or lower 16 bits of each.
        let tap = |(row, column): (usize, usize)| {
            // SAFETY: half a group is 32 bytes.
            let bytes = unsafe {
                _mm256_load_si256(std::ptr::from_ref(&groups[row]).cast::<__m256i>().add(half))
            };
            let top = _mm256_sllv_epi32(bytes, _mm256_set1_epi32(24 - 8 * column as i32));
            _mm256_srai_epi32::<8>(top)
        };
        let upper = if pair == 4 { _mm256_setzero_si256() } else { tap(PAIRS[pair][1]) };
        *register =
            _mm256_blend_epi16::<0b1010_1010>(_mm256_srai_epi32::<16>(tap(PAIRS[pair][0])), upper);
    }
    all
}

/// # Safety
/// The feature; each row holds `input` pixels.
#[target_feature(enable = "avx2")]
unsafe fn depthwise(op: &Depthwise, block: usize, rows: [&[u8]; 3], input: usize, dst: &mut [u8]) {
    let post = &op.post[block];
    let mut weights = [[_mm256_setzero_si256(); 2]; 5];
    for (pair, weights) in weights.iter_mut().enumerate() {
        *weights = paired(&op.weights[block], pair);
    }
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let first = pixel * op.stride;
        let inside = first >= op.left && first - op.left + 3 <= input;
        let tap = |(row, column): (usize, usize)| {
            if inside || (first + column).checked_sub(op.left).is_some_and(|c| c < input) {
                // SAFETY: the column lies within the row.
                unsafe {
                    _mm_loadu_si128(
                        rows[row].as_ptr().add((first + column - op.left) * LANES).cast(),
                    )
                }
            } else {
                _mm_set1_epi8(ZERO as i8)
            }
        };
        // SAFETY: two times eight biases.
        let mut sums =
            unsafe { [integers(post.bias.as_ptr()), integers(post.bias.as_ptr().add(8))] };
        for (pair, weights) in PAIRS.iter().zip(&weights) {
            let (a, b) = (tap(pair[0]), tap(pair[1]));
            let lower = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            let upper = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(lower, weights[0]));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(upper, weights[1]));
        }
        let steps = steps(sums, post, op.activation);
        // SAFETY: sixteen bytes.
        unsafe {
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_castsi256_si128(stored(steps, steps)))
        };
    }
}

#[target_feature(enable = "avx2")]
fn max_pool(rows: [&[u8]; 2], dst: &mut [u8]) {
    scalar::max_pool(rows, dst);
}

#[target_feature(enable = "avx2")]
fn sigmoid(values: &mut [f32]) {
    // Plain Rust that the compiler widens with this feature; without contraction the results stay
    // the same.
    scalar::sigmoid(values);
}

/// The real value of eight stored bytes.
///
/// # Safety
/// Eight bytes can be read at `from`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn real(from: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let bytes = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(from.cast()) });
    _mm256_sub_ps(_mm256_cvtepi32_ps(bytes), _mm256_set1_ps(f32::from(ZERO)))
}

/// # Safety
/// The feature, and [`Add::check`].
#[target_feature(enable = "avx2")]
unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let factors = (_mm256_set1_ps(op.first), _mm256_set1_ps(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        let mut steps = [_mm256_setzero_si256(); 2];
        for (half, steps) in steps.iter_mut().enumerate() {
            // SAFETY: `check`.
            let (a, b) = unsafe {
                let second = second.as_ptr().add(pixel * LANES + 8 * half);
                (real(first.as_ptr().add(from * LANES + 8 * half)), real(second))
            };
            let sum = _mm256_add_ps(_mm256_mul_ps(a, factors.0), _mm256_mul_ps(b, factors.1));
            let sum =
                _mm256_min_ps(_mm256_max_ps(sum, _mm256_set1_ps(-128.0)), _mm256_set1_ps(127.0));
            *steps = _mm256_cvtps_epi32(sum);
        }
        let packed = _mm256_permute4x64_epi64::<IN_ORDER>(_mm256_packs_epi32(steps[0], steps[1]));
        // SAFETY: sixteen bytes.
        unsafe {
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm256_castsi256_si128(stored(packed, packed)))
        };
    }
}

/// # Safety
/// The feature, and [`FloatHead::check`].
#[target_feature(enable = "avx2")]
unsafe fn head(op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
    let pixels = dst.len() / LANES;
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        for half in [0, 8] {
            // SAFETY: two times eight values.
            let mut sum = unsafe { _mm256_loadu_ps(op.bias.as_ptr().add(half)) };
            for (tap, weights) in op.weights.iter().enumerate() {
                let value = match (pixel + tap % 3).checked_sub(1).filter(|c| *c < pixels) {
                    // SAFETY: the column lies within the row.
                    Some(column) => unsafe {
                        real(rows[tap / 3].as_ptr().add(column * LANES + half))
                    },
                    None => _mm256_setzero_ps(),
                };
                // SAFETY: two times eight values.
                let weights = unsafe { _mm256_loadu_ps(weights.as_ptr().add(half)) };
                sum = _mm256_add_ps(sum, _mm256_mul_ps(value, weights));
            }
            // SAFETY: two times eight values.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr().add(half), sum) };
        }
    }
}
