//! x86-64 with AVX2: Haswell, Zen 1 and later.

mod orders;

use std::arch::x86_64::*;

use super::matrix::Matrix;
use super::reorder;
use super::{
    BILINEAR, InstructionSet, KEEP, Patch, PixelKernels, Range, Rgbx, RingRows, SampleLine,
    SampleWalk, Taps, WEIGHT, Wide, scalar,
};

/// Made by [`detect`] only, on a processor that has every feature that the functions below enable.
struct Avx2Pixels(());

static KERNELS: Avx2Pixels = Avx2Pixels(());

/// The kernels, where the processor and the operating system support them.
pub(super) fn detect() -> Option<&'static dyn PixelKernels> {
    InstructionSet::Avx2.is_available().then_some(&KERNELS)
}

impl PixelKernels for Avx2Pixels {
    fn set(&self) -> InstructionSet {
        InstructionSet::Avx2
    }

    fn convert(&self, line: &SampleLine<'_>, range: Range, dst: &mut [Rgbx]) {
        assert!(line.holds(dst.len()));
        // SAFETY: `detect` found the feature; the line holds as many pixels as `dst`.
        let done = unsafe { convert(line, Matrix::of(range), dst) };
        let rest = &mut dst[done..];
        match line {
            SampleLine::Other(other) if done == 0 => reorder::convert(self, other, range, rest),
            _ => scalar::convert(&line.skip(done), range, rest),
        }
    }

    fn across(&self, taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
        assert!(line.len() >= taps.padded() && dst.len() == taps.targets());
        let run = match taps.most() {
            2 => across::<1>,
            4 => across::<2>,
            _ => across::<0>,
        };
        // SAFETY: `detect` found the feature; the line and `dst` are as long as the axis says.
        unsafe { run(taps, line, dst) }
    }

    fn down(&self, rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) {
        rows.check(weights, dst);
        // SAFETY: `detect` found the feature; each row holds as many pixels as `dst`.
        let done = unsafe { down(rows, first, weights, dst) };
        scalar::down_from(rows, first, weights, done, &mut dst[done..]);
    }

    fn pack(&self, bgr: bool, src: &[Rgbx], dst: &mut [u8]) {
        assert!(dst.len() == src.len() * 3);
        // SAFETY: `detect` found the feature; `dst` has three bytes for each pixel.
        let done = unsafe { pack(bgr, src, dst) };
        scalar::pack(bgr, &src[done..], &mut dst[done * 3..]);
    }

    fn swap(&self, src: &[u8], dst: &mut [u8]) {
        assert!(dst.len() == src.len() && src.len().is_multiple_of(3));
        // SAFETY: `detect` found the feature; both are equally long.
        let done = unsafe { swap(src, dst) };
        scalar::swap(&src[done..], &mut dst[done..]);
    }

    fn walk(&self, patch: &Patch<'_>, walk: &SampleWalk, x: usize, y: usize, dst: &mut [Rgbx]) {
        let rows = patch.check();
        walk.check();
        // SAFETY: `detect` found the feature; `check` that the patch holds its rows and at least
        // two pixels each way.
        let done = unsafe { bilinear(patch, rows, walk, x, y, dst) };
        scalar::walk(patch, walk, x + done, y, &mut dst[done..]);
    }
}

/// Pixels of one step of [`convert`].
const STEP: usize = 16;

/// The pixels that make whole steps; returns how many those are.
///
/// # Safety
/// The line holds as many pixels as `dst`.
#[target_feature(enable = "avx2")]
unsafe fn convert(line: &SampleLine<'_>, matrix: &Matrix, dst: &mut [Rgbx]) -> usize {
    let done = dst.len() / STEP * STEP;
    let grey = _mm256_set1_epi16(128);
    // SAFETY, of all loads below: a step's samples are within the line, as the caller promises. Its
    // pixels begin at a multiple of 16, so chroma is whole.
    let bytes = |from: &[u8], at: usize| {
        debug_assert!(at + 16 <= from.len());
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(from.as_ptr().add(at).cast()) }
    };
    let wide = |from: &[u8], at: usize| _mm256_cvtepu8_epi16(bytes(from, at));
    for (step, out) in dst.chunks_exact_mut(STEP).enumerate() {
        let x = step * STEP;
        let pixels = match *line {
            SampleLine::Grey(luma) => pixels(matrix, wide(luma, x), grey, grey),
            SampleLine::Yuyv(all) => {
                // SAFETY: as above: two bytes a pixel.
                let both = unsafe { _mm256_loadu_si256(all.as_ptr().add(x * 2).cast()) };
                let luma = _mm256_and_si256(both, _mm256_set1_epi16(0xff));
                let (cb, cr) = both_pixels(_mm256_srli_epi16::<8>(both));
                pixels(matrix, luma, cb, cr)
            }
            SampleLine::Nv12 { luma, chroma } => {
                let (cb, cr) = both_pixels(wide(chroma, x));
                pixels(matrix, wide(luma, x), cb, cr)
            }
            SampleLine::I420 { luma, cb, cr } => {
                let doubled = |plane: &[u8]| {
                    debug_assert!(x / 2 + 8 <= plane.len());
                    // SAFETY: as above: a byte for two pixels.
                    let eight = unsafe { _mm_loadl_epi64(plane.as_ptr().add(x / 2).cast()) };
                    _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(eight, eight))
                };
                pixels(matrix, wide(luma, x), doubled(cb), doubled(cr))
            }
            SampleLine::Ycc444(all) => {
                let apart = |at: usize, first: i8| planes(bytes(all, x * 3 + at), first);
                let [a, b, c, d] = [apart(0, 0), apart(12, 0), apart(24, 0), apart(32, 4)];
                let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
                let luma = _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(low, high));
                let cb = _mm256_cvtepu8_epi16(_mm_unpackhi_epi64(low, high));
                let cr = _mm_unpacklo_epi64(_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
                pixels(matrix, luma, cb, _mm256_cvtepu8_epi16(cr))
            }
            SampleLine::Rgb8(all) => {
                let four = |at: usize, first: i8| widened(bytes(all, x * 3 + at), first);
                let two = |low, high| _mm256_set_m128i(high, low);
                [two(four(0, 0), four(12, 0)), two(four(24, 0), four(32, 4))]
            }
            // SAFETY: as the caller promises.
            SampleLine::Other(ref line) => return unsafe { orders::convert(line, matrix, dst) },
        };
        let out: *mut __m256i = out.as_mut_ptr().cast();
        // SAFETY: sixteen pixels are two registers.
        unsafe {
            _mm256_storeu_si256(out, pixels[0]);
            _mm256_storeu_si256(out.add(1), pixels[1]);
        }
    }
    done
}

/// Cb and Cr of each of sixteen pixels, from Cb, Cr for two each.
#[inline]
#[target_feature(enable = "avx2")]
fn both_pixels(chroma: __m256i) -> (__m256i, __m256i) {
    let lanes = |mask: __m128i| _mm256_shuffle_epi8(chroma, _mm256_broadcastsi128_si256(mask));
    (
        lanes(_mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13)),
        lanes(_mm_setr_epi8(2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15)),
    )
}

/// Four pixels of three samples, which begin at byte `first`, as four bytes of each sample.
#[inline]
#[target_feature(enable = "avx2")]
fn planes(bytes: __m128i, first: i8) -> __m128i {
    let mask = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 0, 0, 0, 0);
    _mm_shuffle_epi8(bytes, _mm_add_epi8(mask, _mm_set1_epi8(first)))
}

/// Four pixels of three bytes, which begin at byte `first`, as four pixels of four.
#[inline]
#[target_feature(enable = "avx2")]
fn widened(bytes: __m128i, first: i8) -> __m128i {
    // With any of the numbers added that `first` may be, -128 stays negative, which gives zero.
    let mask = _mm_setr_epi8(0, 1, 2, -128, 3, 4, 5, -128, 6, 7, 8, -128, 9, 10, 11, -128);
    _mm_shuffle_epi8(bytes, _mm_add_epi8(mask, _mm_set1_epi8(first)))
}

/// Sixteen pixels of samples in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn pixels(matrix: &Matrix, luma: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 2] {
    let luma = _mm256_sub_epi16(luma, _mm256_set1_epi16(matrix.black));
    let middle = _mm256_set1_epi16(128);
    let (cb, cr) = (_mm256_sub_epi16(cb, middle), _mm256_sub_epi16(cr, middle));
    let weights = |first: i16, second: i16| {
        _mm256_set1_epi32((i32::from(second) << 16) | i32::from(first as u16))
    };
    let half = _mm256_set1_epi32(1 << 15);
    // Eight sums each: the halves of a register are interleaved and packed alike.
    let pairs = |a, b| [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)];
    let rounded = |sums: [__m256i; 2]| {
        let [low, high] = sums.map(|s| _mm256_srai_epi32::<16>(_mm256_add_epi32(s, half)));
        _mm256_packs_epi32(low, high)
    };
    let (with_cb, with_cr) = (pairs(luma, cb), pairs(luma, cr));
    let red = with_cr.map(|p| _mm256_madd_epi16(p, weights(matrix.luma, matrix.red)));
    let blue = with_cb.map(|p| _mm256_madd_epi16(p, weights(matrix.luma, matrix.blue)));
    let green: [__m256i; 2] = std::array::from_fn(|i| {
        _mm256_add_epi32(
            _mm256_madd_epi16(with_cr[i], weights(matrix.luma, matrix.green_cr)),
            _mm256_madd_epi16(with_cb[i], weights(0, matrix.green_cb)),
        )
    });
    let whole_cr = _mm256_mullo_epi16(cr, _mm256_set1_epi16(matrix.red_whole));
    let red = _mm256_add_epi16(_mm256_add_epi16(rounded(red), luma), whole_cr);
    let green_cr = _mm256_mullo_epi16(cr, _mm256_set1_epi16(matrix.green_whole));
    let green = _mm256_add_epi16(_mm256_add_epi16(rounded(green), luma), green_cr);
    let blue = _mm256_add_epi16(_mm256_add_epi16(rounded(blue), luma), _mm256_slli_epi16::<1>(cb));
    // Eight pixels' bytes in each half of a register, then by twos and fours.
    let red_blue = _mm256_packus_epi16(red, blue);
    let green_zero = _mm256_packus_epi16(green, _mm256_setzero_si256());
    let red_green = _mm256_unpacklo_epi8(red_blue, green_zero);
    let blue_zero = _mm256_unpackhi_epi8(red_blue, green_zero);
    let (low, high) =
        (_mm256_unpacklo_epi16(red_green, blue_zero), _mm256_unpackhi_epi16(red_green, blue_zero));
    [_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high)]
}

/// `PAIRS` is half of [`Taps::most`], or zero for any.
///
/// # Safety
/// `line` and `dst` are as long as `taps` says.
#[target_feature(enable = "avx2")]
unsafe fn across<const PAIRS: usize>(taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
    let pairs = if PAIRS == 0 { taps.most() / 2 } else { PAIRS };
    let (starts, weights) = taps.filled();
    assert!(starts.len() == dst.len() && weights.len() == dst.len() * pairs * 2);
    let side_by_side = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    let half = _mm256_set1_epi32(1 << (WEIGHT - KEEP - 1));
    // Two pixels of the line for one target pixel.
    let pixels = |i: usize, k: usize| {
        // SAFETY: `i` is a target pixel; it may read `2 * pairs` pixels from its first one on, as
        // the caller promises.
        unsafe {
            _mm_loadl_epi64(
                line.as_ptr().add(starts.get_unchecked(i).start as usize + 2 * k).cast(),
            )
        }
    };
    let pair = |i: usize, k: usize| {
        // SAFETY: there are `2 * pairs` weights a target pixel, as was just asserted.
        _mm256_set1_epi32(unsafe {
            weights.as_ptr().add((i * pairs + k) * 2).cast::<i32>().read_unaligned()
        })
    };
    // Two target pixels, four sums each.
    let two = |i: usize| {
        let mut sums = half;
        for k in 0..pairs {
            let pixels =
                _mm_shuffle_epi8(_mm_unpacklo_epi64(pixels(i, k), pixels(i + 1, k)), side_by_side);
            let weights = _mm256_blend_epi32::<0xf0>(pair(i, k), pair(i + 1, k));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_cvtepu8_epi16(pixels), weights));
        }
        _mm256_srli_epi32::<{ (WEIGHT - KEEP) as i32 }>(sums)
    };
    let mut i = 0;
    while i + 4 <= dst.len() {
        let packed =
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(two(i), two(i + 2)));
        // SAFETY: four pixels of eight bytes lie within `dst`.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().add(i).cast(), packed) };
        i += 4;
    }
    for (i, out) in dst.iter_mut().enumerate().skip(i) {
        *out = scalar::across_at(taps, line, i);
    }
}

/// The pixels that make whole eights; returns how many those are.
///
/// # Safety
/// Each row holds as many pixels as `dst`.
#[target_feature(enable = "avx2")]
unsafe fn down(rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) -> usize {
    let half = _mm256_set1_epi32(1 << (WEIGHT + KEEP - 1));
    for (step, out) in dst.chunks_exact_mut(8).enumerate() {
        let mut sums = [half; 4];
        for (k, pair) in weights.chunks(2).enumerate() {
            // An odd last row is its own second, which weighs nothing.
            let (weight, other) = (pair[0], pair.get(1).copied());
            let above = rows.at(first + 2 * k);
            let below = if other.is_some() { rows.at(first + 2 * k + 1) } else { above };
            let pair = _mm256_set1_epi32((i32::from(other.unwrap_or(0)) << 16) | i32::from(weight));
            let load = |row: &[Wide], part: usize| {
                debug_assert!(step * 8 + part * 4 + 4 <= row.len());
                // SAFETY: the row is as long as `dst`.
                unsafe { _mm256_loadu_si256(row.as_ptr().add(step * 8 + part * 4).cast()) }
            };
            for part in 0..2 {
                let (a, b) = (load(above, part), load(below, part));
                let add = |sum, pixels| _mm256_add_epi32(sum, _mm256_madd_epi16(pixels, pair));
                sums[2 * part] = add(sums[2 * part], _mm256_unpacklo_epi16(a, b));
                sums[2 * part + 1] = add(sums[2 * part + 1], _mm256_unpackhi_epi16(a, b));
            }
        }
        let [a, b, c, d] = sums.map(|s| _mm256_srli_epi32::<{ (WEIGHT + KEEP) as i32 }>(s));
        let bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
        // SAFETY: eight pixels are one register.
        unsafe {
            _mm256_storeu_si256(
                out.as_mut_ptr().cast(),
                _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes),
            )
        };
    }
    dst.len() / 8 * 8
}

/// The pixels that make whole eights; returns how many those are.
///
/// # Safety
/// `dst` has three bytes for each pixel of `src`.
#[target_feature(enable = "avx2")]
unsafe fn pack(bgr: bool, src: &[Rgbx], dst: &mut [u8]) -> usize {
    let mask = if bgr {
        _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1)
    } else {
        _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1)
    };
    let mask = _mm256_broadcastsi128_si256(mask);
    let together = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7);
    for (eight, out) in src.chunks_exact(8).zip(dst.chunks_exact_mut(24)) {
        // SAFETY: eight pixels are one register.
        let pixels = unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) };
        let bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(pixels, mask), together);
        // SAFETY: 16 and 8 bytes of 24.
        unsafe {
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(bytes));
            _mm_storel_epi64(out.as_mut_ptr().add(16).cast(), _mm256_extracti128_si256::<1>(bytes));
        }
    }
    src.len() / 8 * 8
}

/// Five pixels at a time; returns the bytes that are done, whole pixels.
///
/// # Safety
/// `dst` is as long as `src`.
#[target_feature(enable = "avx2")]
unsafe fn swap(src: &[u8], dst: &mut [u8]) -> usize {
    let mask = _mm_setr_epi8(2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 15);
    let mut at = 0;
    while at + 16 <= src.len() {
        // SAFETY: sixteen bytes of both. The sixteenth is overwritten by the next step, or by who
        // does the rest.
        unsafe {
            let pixels = _mm_loadu_si128(src.as_ptr().add(at).cast());
            _mm_storeu_si128(dst.as_mut_ptr().add(at).cast(), _mm_shuffle_epi8(pixels, mask));
        }
        at += 15;
    }
    at
}

/// The pixels at eight places, and those to the right of them. Single loads: `vpgatherdd` is slower
/// on many processors.
///
/// # Safety
/// At each place from `base` on two pixels can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn neighbours(base: *const i32, places: &[i32; 8]) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    let [a, b, c, d, e, f, g, h] = unsafe {
        [
            _mm_loadl_epi64(base.add(places[0] as usize).cast()),
            _mm_loadl_epi64(base.add(places[1] as usize).cast()),
            _mm_loadl_epi64(base.add(places[2] as usize).cast()),
            _mm_loadl_epi64(base.add(places[3] as usize).cast()),
            _mm_loadl_epi64(base.add(places[4] as usize).cast()),
            _mm_loadl_epi64(base.add(places[5] as usize).cast()),
            _mm_loadl_epi64(base.add(places[6] as usize).cast()),
            _mm_loadl_epi64(base.add(places[7] as usize).cast()),
        ]
    };
    let first = _mm256_set_m128i(_mm_unpacklo_epi64(e, f), _mm_unpacklo_epi64(a, b));
    let second = _mm256_set_m128i(_mm_unpacklo_epi64(g, h), _mm_unpacklo_epi64(c, d));
    let (first, second) = (_mm256_castsi256_ps(first), _mm256_castsi256_ps(second));
    [
        _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(first, second)),
        _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(first, second)),
    ]
}

/// The pixels that make whole eights; returns how many those are.
///
/// # Safety
/// The patch holds `rows` rows; both its sides are at least 2.
#[target_feature(enable = "avx2")]
unsafe fn bilinear(
    patch: &Patch<'_>,
    rows: usize,
    walk: &SampleWalk,
    x: usize,
    y: usize,
    dst: &mut [Rgbx],
) -> usize {
    let (left, top) = (patch.left, patch.top);
    let (right, bottom) = (left + patch.width as i32 - 2, top + rows as i32 - 2);
    let total = (walk.samples * walk.samples) as i32;
    // Row sums are shifted by 32768 into 16 bits; each sample weighs 256.
    let undo = _mm256_set1_epi32(total.wrapping_mul((1 << 23) + (1 << 15)));
    let one = _mm256_set1_ps((1 << BILINEAR) as f32);
    let width = _mm256_set1_epi32(patch.width as i32);
    let base: *const i32 = patch.pixels.as_ptr().cast();
    for (step, out) in dst.chunks_exact_mut(8).enumerate() {
        let from = (x + 8 * step) as i32;
        let columns =
            _mm256_add_epi32(_mm256_set1_epi32(from), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        let columns = _mm256_cvtepi32_ps(columns);
        let mut sums = [undo; 4];
        for sy in 0..walk.samples {
            let py = y as f32 + walk.offset(sy);
            let (of_x, of_y) = (_mm256_set1_ps(walk.b * py), _mm256_set1_ps(walk.a * py));
            for sx in 0..walk.samples {
                let px = _mm256_add_ps(columns, _mm256_set1_ps(walk.offset(sx)));
                let ax = _mm256_mul_ps(_mm256_set1_ps(walk.a), px);
                let bx = _mm256_mul_ps(_mm256_set1_ps(walk.b), px);
                let fx = _mm256_add_ps(_mm256_sub_ps(ax, of_x), _mm256_set1_ps(walk.tx));
                let fy = _mm256_add_ps(_mm256_add_ps(bx, of_y), _mm256_set1_ps(walk.ty));
                let (low_x, low_y) = (_mm256_floor_ps(fx), _mm256_floor_ps(fy));
                let weight = |v, low| {
                    let part = _mm256_mul_ps(_mm256_sub_ps(v, low), one);
                    _mm256_cvttps_epi32(_mm256_add_ps(part, _mm256_set1_ps(0.5)))
                };
                let (wx, wy) = (weight(fx, low_x), weight(fy, low_y));
                // The operand of the bound comes second: what is no number becomes the bound.
                let place = |low, first: i32, last: i32| {
                    let low = _mm256_max_ps(low, _mm256_set1_ps(first as f32));
                    let low = _mm256_min_ps(low, _mm256_set1_ps(last as f32));
                    _mm256_sub_epi32(_mm256_cvttps_epi32(low), _mm256_set1_epi32(first))
                };
                let at = _mm256_mullo_epi32(place(low_y, top, bottom), width);
                let at = _mm256_add_epi32(at, place(low_x, left, right));
                let mut places = [0i32; 8];
                // SAFETY: eight values of 32 bits.
                unsafe { _mm256_storeu_si256(places.as_mut_ptr().cast(), at) };
                // SAFETY: a place is within the first `rows - 1` rows and the first `width - 1`
                // columns of the patch, so that two pixels can be read there and one row below.
                let ([a, b], [c, d]) = unsafe {
                    (neighbours(base, &places), neighbours(base.add(patch.width), &places))
                };
                let zero = _mm256_setzero_si256();
                let twice = _mm256_or_si256(wx, _mm256_slli_epi32::<16>(wx));
                // 256 p + (q - p) w is at most 65280: right in 16 bits without a sign, whatever the
                // difference's sign.
                let blend = |p, q, w| {
                    let rise = _mm256_mullo_epi16(_mm256_sub_epi16(q, p), w);
                    let sum = _mm256_add_epi16(_mm256_slli_epi16::<8>(p), rise);
                    _mm256_xor_si256(sum, _mm256_set1_epi16(i16::MIN))
                };
                let low = |v| _mm256_unpacklo_epi8(v, zero);
                let high = |v| _mm256_unpackhi_epi8(v, zero);
                let (w_low, w_high) =
                    (_mm256_unpacklo_epi32(twice, twice), _mm256_unpackhi_epi32(twice, twice));
                let above = [blend(low(a), low(b), w_low), blend(high(a), high(b), w_high)];
                let below = [blend(low(c), low(d), w_low), blend(high(c), high(d), w_high)];
                let rest = _mm256_sub_epi32(_mm256_set1_epi32(1 << BILINEAR), wy);
                let pairs = _mm256_or_si256(rest, _mm256_slli_epi32::<16>(wy));
                let weights = [
                    _mm256_shuffle_epi32::<0x00>(pairs),
                    _mm256_shuffle_epi32::<0x55>(pairs),
                    _mm256_shuffle_epi32::<0xaa>(pairs),
                    _mm256_shuffle_epi32::<0xff>(pairs),
                ];
                for half in 0..2 {
                    let low = _mm256_unpacklo_epi16(above[half], below[half]);
                    let high = _mm256_unpackhi_epi16(above[half], below[half]);
                    for (part, pixels) in [low, high].into_iter().enumerate() {
                        let sum = &mut sums[2 * half + part];
                        *sum = _mm256_add_epi32(
                            *sum,
                            _mm256_madd_epi16(pixels, weights[2 * half + part]),
                        );
                    }
                }
            }
        }
        let mut means = sums.map(|s| _mm256_srli_epi32::<{ 2 * BILINEAR as i32 }>(s));
        if total > 1 {
            // Exact: below 2^16, and half a unit from where rounding would matter.
            means = means.map(|m| {
                let value = _mm256_add_ps(_mm256_cvtepi32_ps(m), _mm256_set1_ps(0.5));
                _mm256_cvttps_epi32(_mm256_div_ps(value, _mm256_set1_ps(total as f32)))
            });
        }
        let [a, b, c, d] = means;
        let bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
        // SAFETY: eight pixels are one register.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
    }
    dst.len() / 8 * 8
}
