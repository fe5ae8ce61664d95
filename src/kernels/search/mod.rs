//! The inner loop of the search: dot products of int8 probes with many int8 rows, exact in 32 bits.
//!
//! * Every kernel gives the result of `scalar`, bit for bit. Property tests compare them.
//! * A probe and the rows are cut into [`ComponentLine`]s of 64 bytes; the unused rest of the last
//!   one is zero.
//! * Lengths are checked on entry; nothing is allocated.
//!
//! Work goes in tiles of a few rows by a few probes: each row is loaded once for several probes, so
//! that ten probes cost little more than the one pass over memory that the first of them needs. A
//! tile's four rows lie far apart, at the same place in each quarter of those handed over: the
//! processor then sees four streams of ascending addresses, which it reads ahead of by itself. Four
//! neighbours in turns it does not. Hand over some hundred rows at a time.

use super::choice::InstructionSet;

/// 64 components, aligned to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct ComponentLine(pub [i8; 64]);

impl ComponentLine {
    /// Nothing but zeros.
    pub const ZERO: Self = Self([0; 64]);
}

impl Default for ComponentLine {
    fn default() -> Self {
        Self::ZERO
    }
}

/// `probes` one after another, then `rows` one after another, both in rows of `stride` lines; `out`
/// receives the dot products of the first probe with all rows, then those of the second, and so on.
type SearchFn =
    fn(stride: usize, probes: &[ComponentLine], rows: &[ComponentLine], out: &mut [i32]);

/// A way to compute dot products.
#[derive(Clone, Copy)]
pub struct SearchKernel {
    /// The instructions that it is written for.
    pub set: InstructionSet,
    run: SearchFn,
}

impl SearchKernel {
    const SCALAR: Self = Self { set: InstructionSet::Scalar, run: scalar };

    /// The fastest that needs no more than `set`.
    pub fn with(set: InstructionSet) -> Self {
        Self::available().into_iter().find(|k| k.set <= set).unwrap_or(Self::SCALAR)
    }

    /// All that this processor can run, the fastest first; the scalar one is always there.
    pub fn available() -> Vec<Self> {
        let mut all = simd::all();
        all.retain(|k| k.set.is_available());
        all.push(Self::SCALAR);
        all
    }

    /// Dot products of each probe with each row, all of `stride` lines: `out[p * rows + r]`.
    ///
    /// # Panics
    /// Where the lengths do not fit together: the caller's mistake, which the kernels rely on being
    /// caught.
    pub fn dots(
        &self,
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        assert!(
            stride > 0 && probes.len().is_multiple_of(stride) && rows.len().is_multiple_of(stride),
            "whole rows"
        );
        assert_eq!(
            out.len(),
            probes.len() / stride * (rows.len() / stride),
            "a place for each probe and row"
        );
        if !out.is_empty() {
            (self.run)(stride, probes, rows, out);
        }
    }
}

/// The reference.
fn scalar(stride: usize, probes: &[ComponentLine], rows: &[ComponentLine], out: &mut [i32]) {
    for (probe, out) in probes.chunks_exact(stride).zip(out.chunks_exact_mut(rows.len() / stride)) {
        for (row, out) in rows.chunks_exact(stride).zip(out) {
            let line = |(p, r): (&ComponentLine, &ComponentLine)| -> i32 {
                p.0.iter().zip(&r.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
            };
            *out = probe.iter().zip(row).map(line).sum();
        }
    }
}

/// Walks over all tiles: four rows, one of each quarter, by as many probes as there are or fit,
/// then what is left of either. `$tile::<P, R>(stride, probes, rows, apart)` returns the dot
/// products of P probes with R rows that are `apart` lines apart.
// A macro, because a function that is generic over the tile could not inline it: each has target
// features of its own.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! walk {
    ($tile:ident, $stride:expr, $probes:expr, $rows:expr, $out:expr, [$($many:literal),+]) => {{
        let (stride, rows) = ($stride, $rows.len() / $stride);
        let quarter = rows / 4;
        // Each row of the first quarter stands for one in each of the others; then come those that
        // no quarter has.
        for row in (0..quarter).chain(4 * quarter..rows) {
            let lines = &$rows[row * stride..];
            let mut probe = 0;
            let mut left = $probes;
            while !left.is_empty() {
                // The first of these that is not more than what is left.
                $(if left.len() >= $many * stride {
                    let (now, after) = left.split_at($many * stride);
                    if row < quarter {
                        let dots = $tile::<$many, 4>(stride, now, lines, quarter * stride);
                        for (p, dots) in dots.iter().enumerate() {
                            for (r, dot) in dots.iter().enumerate() {
                                $out[(probe + p) * rows + r * quarter + row] = *dot;
                            }
                        }
                    } else {
                        let dots = $tile::<$many, 1>(stride, now, lines, 0);
                        for (p, dots) in dots.iter().enumerate() {
                            $out[(probe + p) * rows + row] = dots[0];
                        }
                    }
                    probe += $many;
                    left = after;
                    continue;
                })+
                unreachable!("one probe always fits");
            }
        }
    }};
}

/// `N` runs of `length` lines, `apart` lines from one to the next.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn runs<const N: usize>(
    lines: &[ComponentLine],
    length: usize,
    apart: usize,
) -> [&[ComponentLine]; N] {
    std::array::from_fn(|n| &lines[n * apart..][..length])
}

#[cfg(target_arch = "x86_64")]
mod simd {
    use std::arch::x86_64::*;

    use super::{ComponentLine, InstructionSet, SearchKernel, runs};

    /// The fastest first, whether or not this processor can run them.
    pub fn all() -> Vec<SearchKernel> {
        vec![
            SearchKernel { set: InstructionSet::Avx512Vnni, run: avx512vnni },
            SearchKernel { set: InstructionSet::Avx2, run: avx2 },
        ]
    }

    fn avx2(stride: usize, probes: &[ComponentLine], rows: &[ComponentLine], out: &mut [i32]) {
        // SAFETY: only reachable through `SearchKernel::available`, which found AVX2.
        unsafe { avx2_inner(stride, probes, rows, out) }
    }

    #[target_feature(enable = "avx2")]
    fn avx2_inner(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        // Eight sums and six widened operands are all that sixteen registers hold.
        walk!(avx2_tile, stride, probes, rows, out, [2, 1]);
    }

    // Tiles are loops, not maps over arrays: what a closure is inlined into may lack its target
    // features, and then it is called.

    /// Widens to 16 bits, multiplies and adds pairs to 32 bits: two products of at most 2^14 each,
    /// so nothing saturates.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn avx2_tile<const P: usize, const R: usize>(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        apart: usize,
    ) -> [[i32; R]; P] {
        let (probes, rows) = (runs::<P>(probes, stride, stride), runs::<R>(rows, stride, apart));
        let wide = |line: &ComponentLine, quarter: usize| {
            // SAFETY: a line has 64 bytes, and 16 quarter + 16 <= 64. Lines are aligned to 64
            // bytes.
            let narrow = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * quarter).cast()) };
            _mm256_cvtepi8_epi16(narrow)
        };
        let mut sums = [[_mm256_setzero_si256(); R]; P];
        for i in 0..stride {
            for quarter in 0..4 {
                let mut widened = [_mm256_setzero_si256(); R];
                for (r, widened) in widened.iter_mut().enumerate() {
                    *widened = wide(&rows[r][i], quarter);
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let probe = wide(&probes[p][i], quarter);
                    for (sum, row) in sums.iter_mut().zip(widened) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(probe, row));
                    }
                }
            }
        }
        let mut dots = [[0; R]; P];
        for (dots, sums) in dots.iter_mut().zip(sums) {
            for (dot, sum) in dots.iter_mut().zip(sums) {
                *dot = total(sum);
            }
        }
        dots
    }

    /// The sum of the eight parts.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn total(sum: __m256i) -> i32 {
        let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
        _mm_cvtsi128_si32(sum)
    }

    fn avx512vnni(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        // SAFETY: only reachable through `SearchKernel::available`, which found AVX-512 F, BW and
        // VNNI.
        unsafe { avx512vnni_inner(stride, probes, rows, out) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn avx512vnni_inner(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        walk!(avx512vnni_tile, stride, probes, rows, out, [4, 3, 2, 1]);
        // What the tiles have too much, see there.
        for (probe, out) in
            probes.chunks_exact(stride).zip(out.chunks_exact_mut(rows.len() / stride))
        {
            let ones = _mm512_set1_epi8(1);
            let sum = probe.iter().fold(_mm512_setzero_si512(), |sum, line| {
                // SAFETY: a line has 64 bytes and is aligned to 64.
                _mm512_dpbusd_epi32(sum, ones, unsafe { _mm512_load_si512(line.0.as_ptr().cast()) })
            });
            let moved = _mm512_reduce_add_epi32(sum) * 128;
            out.iter_mut().for_each(|dot| *dot -= moved);
        }
    }

    /// `vpdpbusd` multiplies unsigned by signed: the rows' components are moved up by 128 (flipping
    /// the sign bit), which adds 128 times the probe's sum to every dot product; the caller takes
    /// it off. The instruction does not saturate.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn avx512vnni_tile<const P: usize, const R: usize>(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        apart: usize,
    ) -> [[i32; R]; P] {
        let (probes, rows) = (runs::<P>(probes, stride, stride), runs::<R>(rows, stride, apart));
        let flip = _mm512_set1_epi8(i8::MIN);
        let load = |line: &ComponentLine| {
            // SAFETY: a line has 64 bytes and is aligned to 64.
            unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
        };
        let mut sums = [[_mm512_setzero_si512(); R]; P];
        for i in 0..stride {
            let mut moved = [flip; R];
            for (r, moved) in moved.iter_mut().enumerate() {
                *moved = _mm512_xor_si512(load(&rows[r][i]), flip);
            }
            for (p, sums) in sums.iter_mut().enumerate() {
                let probe = load(&probes[p][i]);
                for (sum, row) in sums.iter_mut().zip(moved) {
                    *sum = _mm512_dpbusd_epi32(*sum, row, probe);
                }
            }
        }
        let mut dots = [[0; R]; P];
        for (dots, sums) in dots.iter_mut().zip(sums) {
            if let [a, b, c, d] = sums[..] {
                // Pairs are added across the four sums at once: a quarter of the work of adding
                // each up alone.
                let (ab, cd) = (
                    _mm256_hadd_epi32(halved(a), halved(b)),
                    _mm256_hadd_epi32(halved(c), halved(d)),
                );
                let pairs = _mm256_hadd_epi32(ab, cd);
                let four = _mm_add_epi32(
                    _mm256_castsi256_si128(pairs),
                    _mm256_extracti128_si256::<1>(pairs),
                );
                // SAFETY: there are R = 4 integers to write, and the store needs no alignment.
                unsafe { _mm_storeu_si128(dots.as_mut_ptr().cast(), four) };
            } else {
                for (dot, sum) in dots.iter_mut().zip(sums) {
                    *dot = _mm512_reduce_add_epi32(sum);
                }
            }
        }
        dots
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn halved(sum: __m512i) -> __m256i {
        _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum))
    }
}

#[cfg(target_arch = "aarch64")]
mod simd {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::{ComponentLine, InstructionSet, SearchKernel, runs};

    /// A tile whose sums grow by `$add`, sixteen products at a time. A macro, as a function that
    /// has the features is no closure.
    macro_rules! tile {
        ($name:ident, $features:tt, $add:ident) => {
            #[target_feature(enable = $features)]
            #[inline]
            fn $name<const P: usize, const R: usize>(
                stride: usize,
                probes: &[ComponentLine],
                rows: &[ComponentLine],
                apart: usize,
            ) -> [[i32; R]; P] {
                let (probes, rows) =
                    (runs::<P>(probes, stride, stride), runs::<R>(rows, stride, apart));
                let mut sums = [[vdupq_n_s32(0); R]; P];
                for i in 0..stride {
                    for quarter in 0..4 {
                        let mut loaded = [vdupq_n_s8(0); R];
                        for (r, loaded) in loaded.iter_mut().enumerate() {
                            *loaded = load(&rows[r][i], quarter);
                        }
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let probe = load(&probes[p][i], quarter);
                            for (sum, row) in sums.iter_mut().zip(loaded) {
                                *sum = $add(*sum, probe, row);
                            }
                        }
                    }
                }
                totals(sums)
            }
        };
    }

    tile!(neon_tile, "neon", widened);
    tile!(dotprod_tile, "neon,dotprod", sdot);

    /// The fastest first, whether or not this processor can run them.
    pub fn all() -> Vec<SearchKernel> {
        vec![
            SearchKernel { set: InstructionSet::NeonDot, run: dotprod },
            SearchKernel { set: InstructionSet::Neon, run: neon },
        ]
    }

    fn neon(stride: usize, probes: &[ComponentLine], rows: &[ComponentLine], out: &mut [i32]) {
        // SAFETY: only reachable through `SearchKernel::available`, which found NEON.
        unsafe { neon_inner(stride, probes, rows, out) }
    }

    #[target_feature(enable = "neon")]
    fn neon_inner(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        walk!(neon_tile, stride, probes, rows, out, [2, 1]);
    }

    /// A product has at most 2^14, so that it fits 16 bits; pairs are added in 32.
    #[target_feature(enable = "neon")]
    #[inline]
    fn widened(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        let sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        vpadalq_s16(sum, vmull_high_s8(a, b))
    }

    fn dotprod(stride: usize, probes: &[ComponentLine], rows: &[ComponentLine], out: &mut [i32]) {
        // SAFETY: only reachable through `SearchKernel::available`, which found the dot product
        // instructions.
        unsafe { dotprod_inner(stride, probes, rows, out) }
    }

    #[target_feature(enable = "neon,dotprod")]
    fn dotprod_inner(
        stride: usize,
        probes: &[ComponentLine],
        rows: &[ComponentLine],
        out: &mut [i32],
    ) {
        walk!(dotprod_tile, stride, probes, rows, out, [5, 4, 3, 2, 1]);
    }

    /// Adds four products to each 32-bit sum and does not saturate. The instruction itself, because
    /// its intrinsic (`vdotq_s32`) is not stable.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: reads and writes the named registers only; callers have the instruction.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn totals<const P: usize, const R: usize>(sums: [[int32x4_t; R]; P]) -> [[i32; R]; P] {
        let mut dots = [[0; R]; P];
        for (dots, sums) in dots.iter_mut().zip(sums) {
            for (dot, sum) in dots.iter_mut().zip(sums) {
                *dot = vaddvq_s32(sum);
            }
        }
        dots
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn load(line: &ComponentLine, quarter: usize) -> int8x16_t {
        let quarter: &[i8; 16] =
            line.0[16 * quarter..][..16].try_into().expect("a line has four quarters of 16");
        // SAFETY: the reference is to 16 readable bytes.
        unsafe { vld1q_s8(quarter.as_ptr()) }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod simd {
    pub fn all() -> Vec<super::SearchKernel> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(rows: &[Vec<i8>]) -> Vec<ComponentLine> {
        let line = |part: &[i8]| {
            let mut line = ComponentLine::ZERO;
            line.0[..part.len()].copy_from_slice(part);
            line
        };
        rows.iter().flat_map(|r| r.chunks(64).map(line)).collect()
    }

    #[test]
    fn the_extremes_neither_saturate_nor_overflow() {
        for (a, b) in [(i8::MIN, i8::MIN), (i8::MIN, i8::MAX), (i8::MAX, i8::MAX)] {
            let (probes, rows) = (lines(&vec![vec![a; 1024]; 3]), lines(&vec![vec![b; 1024]; 5]));
            for kernel in SearchKernel::available() {
                let mut out = [0; 15];
                kernel.dots(16, &probes, &rows, &mut out);
                assert_eq!(out, [1024 * i32::from(a) * i32::from(b); 15], "{}", kernel.set);
            }
        }
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_plain_sums(
            (probes, rows) in
                (64usize..=1024, 0usize..8, 0usize..23).prop_flat_map(|(n, probes, rows)| {
                    let templates = |count| {
                        proptest::collection::vec(proptest::collection::vec(any::<i8>(), n), count)
                    };
                    (templates(probes), templates(rows))
                }),
        ) {
            let dot = |a: &[i8], b: &[i8]| {
                a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>()
            };
            let plain: Vec<i32> =
                probes.iter().flat_map(|p| rows.iter().map(|r| dot(p, r))).collect();
            let stride = probes.iter().chain(&rows).next().map_or(1, |t| t.len().div_ceil(64));
            for kernel in SearchKernel::available() {
                let mut out = vec![0; plain.len()];
                kernel.dots(stride, &lines(&probes), &lines(&rows), &mut out);
                prop_assert_eq!(&out, &plain, "{}", kernel.set);
            }
        }
    }
}
