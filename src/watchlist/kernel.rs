//! The inner loop of the search: dot products of one int8 probe with many int8 rows, exact in 32 bits.
//!
//! Every kernel gives bit for bit the result of [`scalar`]; which one runs is chosen once, from what the processor can do. A
//! probe and the rows are cut into [`Line`]s of 64 bytes, the unused rest of the last one zero.

use zeroize::{DefaultIsZeroes, Zeroize};

use crate::template::MAX_DIMENSIONS;

/// 64 components, aligned to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [i8; 64]);

impl Line {
    pub const ZERO: Self = Self([0; 64]);
}

impl Default for Line {
    fn default() -> Self {
        Self::ZERO
    }
}

impl DefaultIsZeroes for Line {}

// SAFETY: 64 numbers without padding, aligned to far less than a page.
unsafe impl super::locked::Plain for Line {}

/// One template in lines, the rest zero; on the stack, because a search allocates nothing. Wiped when dropped.
pub struct Row {
    lines: [Line; MAX_DIMENSIONS / 64],
    used: usize,
}

impl Row {
    /// # Panics
    /// Where there are more values than a template can have.
    pub fn new(values: &[i8]) -> Self {
        let mut row = Self { lines: [Line::ZERO; MAX_DIMENSIONS / 64], used: values.len().div_ceil(64) };
        for (line, chunk) in row.lines.iter_mut().zip(values.chunks(64)) {
            line.0[..chunk.len()].copy_from_slice(chunk);
        }
        assert!(row.used <= row.lines.len(), "templates have at most {MAX_DIMENSIONS} components");
        row
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines[..self.used]
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.lines[..self.used].zeroize();
    }
}

/// A way to compute the dot products of `probe` with each row of `rows`, one after another into `out`.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// For reports.
    pub name: &'static str,
    run: fn(probe: &[Line], rows: &[Line], out: &mut [i32]),
}

impl Kernel {
    /// The fastest that this processor has.
    pub fn best() -> Self {
        *Self::available().last().expect("the scalar kernel is always available")
    }

    /// All that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self { name: "scalar", run: scalar }];
        all.extend(simd::available());
        all
    }

    /// Dot products of `probe` with `out.len()` rows of `probe.len()` lines each.
    ///
    /// # Panics
    /// Where `rows` has not that many lines: the caller's mistake, which the kernels rely on being caught.
    pub fn dots(&self, probe: &[Line], rows: &[Line], out: &mut [i32]) {
        assert_eq!(rows.len(), probe.len() * out.len(), "rows are as long as the probe");
        (self.run)(probe, rows, out);
    }
}

/// The reference.
fn scalar(probe: &[Line], rows: &[Line], out: &mut [i32]) {
    for (row, out) in rows.chunks_exact(probe.len()).zip(out) {
        *out = probe
            .iter()
            .zip(row)
            .map(|(p, r)| p.0.iter().zip(&r.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>())
            .sum();
    }
}

#[cfg(target_arch = "x86_64")]
mod simd {
    use std::arch::x86_64::*;

    use super::{Kernel, Line};

    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        if is_x86_feature_detected!("avx2") {
            all.push(Kernel { name: "avx2", run: avx2 });
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
        {
            all.push(Kernel { name: "avx512vnni", run: avx512vnni });
        }
        all
    }

    fn avx2(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        // SAFETY: this function is only reachable through `available`, which found AVX2.
        unsafe { avx2_inner(probe, rows, out) }
    }

    /// Widens to 16 bits, multiplies and adds pairs to 32 bits: two products of at most 2^14 each, so nothing saturates.
    #[target_feature(enable = "avx2")]
    fn avx2_inner(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        for (row, out) in rows.chunks_exact(probe.len()).zip(out) {
            let mut sums = [_mm256_setzero_si256(); 4];
            for (p, r) in probe.iter().zip(row) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a line has 64 bytes, and 16 i + 16 <= 64. Lines are aligned to 64 bytes.
                    let (p, r) = unsafe {
                        (
                            _mm_load_si128(p.0.as_ptr().add(16 * i).cast()),
                            _mm_load_si128(r.0.as_ptr().add(16 * i).cast()),
                        )
                    };
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(p), _mm256_cvtepi8_epi16(r)));
                }
            }
            let sum = _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
            let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
            *out = _mm_cvtsi128_si32(sum);
        }
    }

    fn avx512vnni(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        // SAFETY: this function is only reachable through `available`, which found AVX-512 F, BW and VNNI.
        unsafe { avx512vnni_inner(probe, rows, out) }
    }

    /// `vpdpbusd` multiplies unsigned by signed: the row's components are moved up by 128 (flipping the sign bit), which adds
    /// 128 times the probe's sum to every dot product; it is taken off at the end. The instruction does not saturate.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn avx512vnni_inner(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        let flip = _mm512_set1_epi8(i8::MIN);
        let moved: i32 = probe.iter().flat_map(|p| p.0).map(i32::from).sum::<i32>() * 128;
        let load = |line: &Line| {
            // SAFETY: a line has 64 bytes and is aligned to 64.
            unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
        };
        // Four rows at a time: one load of the probe serves four, and four sums hide the latency of the additions.
        let n = probe.len();
        let mut quads = out.chunks_exact_mut(4);
        let mut rest = rows;
        for out in &mut quads {
            let (rows, after) = rest.split_at(4 * n);
            rest = after;
            let mut sums = [_mm512_setzero_si512(); 4];
            for (i, p) in probe.iter().enumerate() {
                let p = load(p);
                for (q, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(&rows[q * n + i]), flip), p);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = _mm512_reduce_add_epi32(sum) - moved;
            }
        }
        for (row, out) in rest.chunks_exact(n).zip(quads.into_remainder()) {
            let mut sum = _mm512_setzero_si512();
            for (p, r) in probe.iter().zip(row) {
                sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(load(r), flip), load(p));
            }
            *out = _mm512_reduce_add_epi32(sum) - moved;
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod simd {
    use std::arch::aarch64::*;
    use std::arch::{asm, is_aarch64_feature_detected};

    use super::{Kernel, Line};

    pub fn available() -> Vec<Kernel> {
        let mut all = Vec::new();
        if is_aarch64_feature_detected!("neon") {
            all.push(Kernel { name: "neon", run: neon });
        }
        if is_aarch64_feature_detected!("dotprod") {
            all.push(Kernel { name: "neon-dotprod", run: dotprod });
        }
        all
    }

    fn neon(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        // SAFETY: this function is only reachable through `available`, which found NEON.
        unsafe { neon_inner(probe, rows, out) }
    }

    /// A product has at most 2^14, so that it fits 16 bits; pairs are added in 32.
    #[target_feature(enable = "neon")]
    fn neon_inner(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        for (row, out) in rows.chunks_exact(probe.len()).zip(out) {
            let mut sums = [vdupq_n_s32(0); 4];
            for (p, r) in probe.iter().zip(row) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (p, r) = (load(p, i), load(r, i));
                    *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(p), vget_low_s8(r)));
                    *sum = vpadalq_s16(*sum, vmull_high_s8(p, r));
                }
            }
            *out = total(sums);
        }
    }

    fn dotprod(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        // SAFETY: this function is only reachable through `available`, which found the dot product instructions.
        unsafe { dotprod_inner(probe, rows, out) }
    }

    /// `sdot` adds four products to each 32-bit sum and does not saturate.
    #[target_feature(enable = "neon,dotprod")]
    fn dotprod_inner(probe: &[Line], rows: &[Line], out: &mut [i32]) {
        for (row, out) in rows.chunks_exact(probe.len()).zip(out) {
            let mut sums = [vdupq_n_s32(0); 4];
            for (p, r) in probe.iter().zip(row) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = sdot(*sum, load(p, i), load(r, i));
                }
            }
            *out = total(sums);
        }
    }

    /// The instruction itself, because its intrinsic (`vdotq_s32`) is not stable.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: reads and writes the named registers only; callers have the instruction.
        unsafe {
            asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn load(line: &Line, quarter: usize) -> int8x16_t {
        let quarter: &[i8; 16] = line.0[16 * quarter..][..16].try_into().expect("a line has four quarters of 16");
        // SAFETY: the reference is to 16 readable bytes.
        unsafe { vld1q_s8(quarter.as_ptr()) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn total(sums: [int32x4_t; 4]) -> i32 {
        vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod simd {
    pub fn available() -> Vec<super::Kernel> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_extremes_neither_saturate_nor_overflow() {
        for (a, b) in [(i8::MIN, i8::MIN), (i8::MIN, i8::MAX), (i8::MAX, i8::MAX)] {
            let (probe, rows) = (Row::new(&[a; 1024]), Row::new(&[b; 1024]).lines().repeat(5));
            for kernel in Kernel::available() {
                let mut out = [0; 5];
                kernel.dots(probe.lines(), &rows, &mut out);
                assert_eq!(out, [1024 * i32::from(a) * i32::from(b); 5], "{}", kernel.name);
            }
        }
    }

    proptest! {
        #[test]
        fn every_kernel_gives_the_plain_sum(
            (probe, rows) in (64usize..=1024, 0usize..9).prop_flat_map(|(n, rows)| (
                proptest::collection::vec(any::<i8>(), n),
                proptest::collection::vec(proptest::collection::vec(any::<i8>(), n), rows),
            ))
        ) {
            let plain: Vec<i32> =
                rows.iter().map(|r| r.iter().zip(&probe).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()).collect();
            let flat: Vec<Line> = rows.iter().flat_map(|r| Row::new(r).lines().to_vec()).collect();
            for kernel in Kernel::available() {
                let mut out = vec![0; rows.len()];
                kernel.dots(Row::new(&probe).lines(), &flat, &mut out);
                prop_assert_eq!(&out, &plain, "{}", kernel.name);
            }
        }
    }
}
