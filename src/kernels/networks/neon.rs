//! AArch64 without the dot-product instructions: Cortex-A53, A72 (Raspberry Pi 4), and the parts
//! that those with them share.
//!
//! Stored bytes are the steps themselves. `smull` and `smlal` leave the sum of two products in 16
//! bits, which is exact as long as no weight is -128; `sadalp` adds neighbours to 32 bits. Where a
//! weight is -128, each product is added by itself.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{
    Activation, Add, Blocks, BlocksMut, Depthwise, Global, Group, Head, InstructionSet, Kernels, LANES, Pointwise,
    Post, Stem, Table, neon_dot, scalar,
};

struct Neon;

/// The kernels of this processor, the faster ones first. Advanced SIMD is part of every AArch64
/// processor that runs Linux.
pub(super) fn detect() -> impl Iterator<Item = &'static dyn Kernels> {
    neon_dot::detect().into_iter().chain([&Neon as &dyn Kernels])
}

impl Kernels for Neon {
    fn set(&self) -> InstructionSet {
        InstructionSet::Neon
    }

    fn nought(&self) -> u8 {
        0
    }

    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        let run = match (op.narrow, op.activation) {
            (true, Activation::Identity) => stem::<true, IDENTITY>,
            (true, Activation::Relu) => stem::<true, RELU>,
            (true, Activation::PRelu) => stem::<true, PRELU>,
            (false, Activation::Identity) => stem::<false, IDENTITY>,
            (false, Activation::Relu) => stem::<false, RELU>,
            (false, Activation::PRelu) => stem::<false, PRELU>,
        };
        // SAFETY: `check` found that all windows and outputs lie within the slices.
        unsafe { run(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        let run = match (op.narrow, op.activation) {
            (true, Activation::Identity) => pointwise::<true, IDENTITY>,
            (true, Activation::Relu) => pointwise::<true, RELU>,
            (true, Activation::PRelu) => pointwise::<true, PRELU>,
            (false, Activation::Identity) => pointwise::<false, IDENTITY>,
            (false, Activation::Relu) => pointwise::<false, RELU>,
            (false, Activation::PRelu) => pointwise::<false, PRELU>,
        };
        // SAFETY: `check` found that all inputs, weights and outputs lie within the slices.
        unsafe { run(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        op.check(rows, dst);
        let run = match (op.narrow, op.activation) {
            (true, Activation::Identity) => depthwise::<true, IDENTITY>,
            (true, Activation::Relu) => depthwise::<true, RELU>,
            (true, Activation::PRelu) => depthwise::<true, PRELU>,
            (false, Activation::Identity) => depthwise::<false, IDENTITY>,
            (false, Activation::Relu) => depthwise::<false, RELU>,
            (false, Activation::PRelu) => depthwise::<false, PRELU>,
        };
        // SAFETY: `check` found that the rows have one length.
        unsafe { run(op, block, rows, dst) }
    }

    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        op.check(block, src);
        // SAFETY: every AArch64 processor has the feature.
        unsafe { global(op, block, src, dst) }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { max_pool(rows, dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `check` found that the operands hold the output's pixels.
        unsafe { add(op, first, second, dst) }
    }

    fn head(&self, op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `check` found that the rows hold the output's pixels.
        unsafe { head(op, rows, dst) }
    }
}

/// Sums of sixteen channels in order, four a register.
pub(super) type Sums = [int32x4_t; 4];

/// Sixteen steps.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn steps(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_s8(at.cast()) }
}

/// The same reference, of which the compiler does not know that it is: what is read through it is
/// read where it is used. Registers are short in the loops below, and a load is no dearer than the
/// copy that keeping a start value in one would need.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read in the block: it is empty")]
pub(super) fn afresh<T>(value: &T) -> &T {
    let mut pointer = std::ptr::from_ref(value);
    // SAFETY: there is no instruction: the pointer comes out as it went in.
    unsafe {
        asm!("/* {0} */", inout(reg) pointer, options(nomem, nostack, preserves_flags));
        &*pointer
    }
}

/// A [`Post`] in registers, as far as they suffice: what is used for every pixel.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a, const ACTIVATION: u8> {
    post: &'a Post,
    scale: [float32x4_t; 4],
}

/// Activations as a constant parameter, so that none is decided in a loop.
pub(super) const IDENTITY: u8 = 0;
pub(super) const RELU: u8 = 1;
pub(super) const PRELU: u8 = 2;

impl<'a, const ACTIVATION: u8> Finish<'a, ACTIVATION> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn load(post: &'a Post) -> Self {
        Self { post, scale: floats(&post.scale) }
    }

    /// Where sums of signed steps start.
    #[inline]
    pub(super) fn biases(&self) -> &[i32; LANES] {
        &self.post.signed_bias
    }

    /// The same in registers.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn start(&self) -> Sums {
        let post = afresh(self.post);
        let load = |quarter: usize| {
            // SAFETY: sixteen values.
            unsafe { vld1q_s32(post.signed_bias.as_ptr().add(4 * quarter)) }
        };
        [load(0), load(1), load(2), load(3)]
    }

    /// Sums, biases included, to the steps of sixteen channels.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn finished(&self, sums: Sums) -> int8x16_t {
        let mut steps = sums;
        let post = if ACTIVATION == PRELU { afresh(self.post) } else { self.post };
        for (quarter, steps) in steps.iter_mut().enumerate() {
            let value = vmulq_f32(vcvtq_f32_s32(*steps), self.scale[quarter]);
            *steps = if ACTIVATION == PRELU {
                let value = vminq_f32(vmaxq_f32(value, vdupq_n_f32(-128.0)), vdupq_n_f32(127.0));
                let value = vrndnq_f32(value);
                // SAFETY: sixteen values.
                let negative = unsafe { vld1q_f32(post.negative.as_ptr().add(4 * quarter)) };
                let factor = vbslq_f32(vcltzq_f32(value), negative, vdupq_n_f32(post.positive));
                vcvtnq_s32_f32(vmulq_f32(value, factor))
            } else {
                vcvtnq_s32_f32(value)
            };
        }
        // Steps fit 16 bits, `Post::new` saw to it: their lower halves are enough.
        let halves = |a: int32x4_t, b: int32x4_t| {
            vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b))
        };
        let mut bytes =
            vqmovn_high_s16(vqmovn_s16(halves(steps[0], steps[1])), halves(steps[2], steps[3]));
        if ACTIVATION == RELU {
            bytes = vmaxq_s8(bytes, vdupq_n_s8(0));
        }
        bytes
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(lanes: &[f32; LANES]) -> [float32x4_t; 4] {
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_f32(lanes.as_ptr().add(4 * quarter)) };
    [load(0), load(1), load(2), load(3)]
}

/// Two partial sums a channel: `[two channels][channel][two]`.
type Partial = [int32x4_t; 8];

/// Where partial sums start: each bias beside a nought.
fn spread(post: &Post) -> [[i32; 4]; 8] {
    std::array::from_fn(|pair| [post.signed_bias[2 * pair], 0, post.signed_bias[2 * pair + 1], 0])
}

/// [`spread`] in registers, for each of `P` pixels.
#[inline]
#[target_feature(enable = "neon")]
fn start<const P: usize>(spread: &[[i32; 4]; 8]) -> [Partial; P] {
    let mut all = [[vdupq_n_s32(0); 8]; P];
    for partial in &mut all {
        for (register, values) in partial.iter_mut().zip(afresh(spread)) {
            // SAFETY: four values.
            *register = unsafe { vld1q_s32(values.as_ptr()) };
        }
    }
    all
}

/// Sixteen inputs, each four of them in all four places of a register.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn placed(at: *const u8) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    let int32x4x4_t(a, b, c, d) = unsafe { vld4q_dup_s32(at.cast()) };
    [a, b, c, d].map(|r| vreinterpretq_s8_s32(r))
}

/// A group's weights, four output channels a register.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn four_registers(group: &Group) -> [int8x16_t; 4] {
    // SAFETY: a group is 64 bytes.
    let int8x16x4_t(a, b, c, d) = unsafe { vld1q_s8_x4(std::ptr::from_ref(group).cast()) };
    [a, b, c, d]
}

/// Writes `P` neighbouring pixels.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const ACTIVATION: u8, const P: usize>(
    partial: &[Partial; P],
    finish: &Finish<'_, ACTIVATION>,
    to: *mut u8,
) {
    for (pixel, partial) in partial.iter().enumerate() {
        let sum = |quarter: usize| vpaddq_s32(partial[2 * quarter], partial[2 * quarter + 1]);
        let sums = [sum(0), sum(1), sum(2), sum(3)];
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(pixel * LANES).cast(), finish.finished(sums)) };
    }
}

/// # Safety
/// [`Pointwise::check`].
#[target_feature(enable = "neon")]
unsafe fn pointwise<const NARROW: bool, const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let runs = op.groups.div_ceil(4);
    let weights =
        op.quarters.weights.chunks_exact(op.groups).zip(op.quarters.fours.chunks_exact(runs));
    for (block, ((groups, fours), post)) in weights.zip(&op.post).enumerate() {
        let (finish, spread) = (Finish::<ACTIVATION>::load(post), spread(post));
        // SAFETY: `check`.
        unsafe {
            let mut from = src.bytes.as_ptr();
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 2 {
                let partial = if NARROW {
                    products_of_two(groups, fours, &spread, from, src.stride)
                } else {
                    products::<2>(groups, &spread, from, src.stride)
                };
                store(&partial, &finish, to);
                (from, to) = (from.add(2 * LANES), to.add(2 * LANES));
            }
            if !pixels.is_multiple_of(2) {
                store(&products::<1>(groups, &spread, from, src.stride), &finish, to);
            }
        }
    }
}

/// The partial sums of `P` pixels from `from` on, each product widened by itself.
///
/// # Safety
/// [`Pointwise::check`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products<const P: usize>(
    groups: &[Group],
    spread: &[[i32; 4]; 8],
    from: *const u8,
    stride: usize,
) -> [Partial; P] {
    let (mut partial, mut block) = (start::<P>(spread), from);
    for run in groups.chunks(4) {
        let mut inputs = [[vdupq_n_s8(0); 4]; P];
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { placed(block.add(pixel * LANES)) };
        }
        let weights = run.iter().flat_map(|group| group.0.as_flattened().as_chunks::<LANES>().0);
        for (at, weights) in weights.enumerate() {
            let (quarter, group) = (at / run.len(), at % run.len());
            // SAFETY: sixteen bytes.
            let weights = unsafe { vld1q_s8(weights.as_ptr()) };
            for (partial, inputs) in partial.iter_mut().zip(&inputs) {
                let [lower, upper] = [2 * quarter, 2 * quarter + 1];
                let product = vmull_s8(vget_low_s8(weights), vget_low_s8(inputs[group]));
                partial[lower] = vpadalq_s16(partial[lower], product);
                partial[upper] = vpadalq_s16(partial[upper], vmull_high_s8(weights, inputs[group]));
            }
        }
        block = block.wrapping_add(stride);
    }
    partial
}

/// The text of what multiplies two pixels' inputs (v16 on and v20 on) with a quarter's weights and
/// adds them to the four partial sums that it names. In 16 bits, of the first group, then of
/// further ones; at the end it widens them.
macro_rules! first {
    ($weights:literal, $left:literal, $right:literal) => {
        concat!(
            "smull v28.8h, v",
            $weights,
            ".8b, v",
            $left,
            ".8b\nsmull2 v29.8h, v",
            $weights,
            ".16b, v",
            $left,
            ".16b\n",
            "smull v30.8h, v",
            $weights,
            ".8b, v",
            $right,
            ".8b\nsmull2 v31.8h, v",
            $weights,
            ".16b, v",
            $right,
            ".16b\n",
        )
    };
}
macro_rules! further {
    ($weights:literal, $left:literal, $right:literal) => {
        concat!(
            "smlal v28.8h, v",
            $weights,
            ".8b, v",
            $left,
            ".8b\nsmlal2 v29.8h, v",
            $weights,
            ".16b, v",
            $left,
            ".16b\n",
            "smlal v30.8h, v",
            $weights,
            ".8b, v",
            $right,
            ".8b\nsmlal2 v31.8h, v",
            $weights,
            ".16b, v",
            $right,
            ".16b\n",
        )
    };
}
macro_rules! widened {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "sadalp v",
            $a,
            ".4s, v28.8h\nsadalp v",
            $b,
            ".4s, v29.8h\n",
            "sadalp v",
            $c,
            ".4s, v30.8h\nsadalp v",
            $d,
            ".4s, v31.8h\n",
        )
    };
}
/// A quarter of four groups: widened once,
macro_rules! four {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            further!("26", "18", "22"),
            further!("27", "19", "23"),
            widened!($a, $b, $c, $d),
        )
    };
}
/// or twice;
macro_rules! twice_two {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            widened!($a, $b, $c, $d),
            first!("26", "18", "22"),
            further!("27", "19", "23"),
            widened!($a, $b, $c, $d),
        )
    };
}
/// a quarter of two groups.
macro_rules! last_two {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b}}, [{weights}], #32\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            widened!($a, $b, $c, $d),
        )
    };
}

/// The partial sums of two pixels from `from` on, where no weight is -128. In registers of its own
/// choice: sixteen sums, eight inputs, four weights and four products are all that there are, and
/// the compiler would rather keep something else.
///
/// # Safety
/// [`Pointwise::check`], and `fours` has one a run.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products_of_two(
    groups: &[Group],
    fours: &[bool],
    spread: &[[i32; 4]; 8],
    from: *const u8,
    stride: usize,
) -> [Partial; 2] {
    let (a, b, c, d, e, f, g, h): (
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
    );
    let (i, j, k, l, m, n, o, p): (
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
    );
    // SAFETY: reads the groups' bytes once from their start, sixteen bytes of each of two pixels in
    // each block of inputs, and one of `fours` for every four groups; the rest is registers, which
    // are all named.
    unsafe {
        asm!(
            // Both pixels start with the biases.
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{spread}], #64",
            "ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{spread}]",
            "sub {spread}, {spread}, #64",
            "ld1 {{v8.4s, v9.4s, v10.4s, v11.4s}}, [{spread}], #64",
            "ld1 {{v12.4s, v13.4s, v14.4s, v15.4s}}, [{spread}]",
            "cbz {runs}, 4f",
            "2:",
            "ldrb {four:w}, [{fours}], #1",
            // Each four of sixteen inputs, in all places of a register.
            "ld4r {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{left}], {stride}",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{right}], {stride}",
            "subs {runs}, {runs}, #1",
            "cbz {four:w}, 3f",
            four!("0", "1", "8", "9"), four!("2", "3", "10", "11"),
            four!("4", "5", "12", "13"), four!("6", "7", "14", "15"),
            "b.ne 2b",
            "b 4f",
            "3:",
            twice_two!("0", "1", "8", "9"), twice_two!("2", "3", "10", "11"),
            twice_two!("4", "5", "12", "13"), twice_two!("6", "7", "14", "15"),
            "b.ne 2b",
            "4:",
            "cbz {pair}, 5f",
            "ld4r {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{left}]",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{right}]",
            last_two!("0", "1", "8", "9"), last_two!("2", "3", "10", "11"),
            last_two!("4", "5", "12", "13"), last_two!("6", "7", "14", "15"),
            "5:",
            spread = inout(reg) spread.as_ptr() => _, runs = inout(reg) groups.len() / 4 => _,
            fours = inout(reg) fours.as_ptr() => _, four = out(reg) _, stride = in(reg) stride,
            left = inout(reg) from => _, right = inout(reg) from.wrapping_add(LANES) => _,
            weights = inout(reg) groups.as_ptr() => _, pair = in(reg) groups.len() % 4,
            out("v0") a, out("v1") b, out("v2") c, out("v3") d, out("v4") e, out("v5") f, out("v6") g, out("v7") h,
            out("v8") i, out("v9") j, out("v10") k, out("v11") l, out("v12") m, out("v13") n, out("v14") o, out("v15") p,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(pure, readonly, nostack),
        );
    }
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}

/// A first layer is a pointwise one over the bytes of its windows, which are gathered to two blocks
/// of sixteen.
///
/// # Safety
/// [`Stem::check`].
#[target_feature(enable = "neon")]
unsafe fn stem<const NARROW: bool, const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let step = op.stride * 3;
    let windows = Windows::new(step);
    let weights = op.quarters.weights.chunks_exact(8).zip(op.quarters.fours.chunks_exact(2));
    for (block, ((groups, fours), post)) in weights.zip(&op.post).enumerate() {
        let (finish, spread) = (Finish::<ACTIVATION>::load(post), spread(post));
        let mut at = rows.map(<[u8]>::as_ptr);
        // SAFETY: `check`.
        unsafe {
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 2 {
                let bytes = windows.two(at);
                let from = bytes.as_ptr().cast();
                let partial = if NARROW {
                    products_of_two(groups, fours, &spread, from, 2 * LANES)
                } else {
                    products::<2>(groups, &spread, from, 2 * LANES)
                };
                store(&partial, &finish, to);
                at = at.map(|at| at.wrapping_add(2 * step));
                to = to.add(2 * LANES);
            }
            if !pixels.is_multiple_of(2) {
                let bytes = windows.one(at);
                store(&products::<1>(groups, &spread, bytes.as_ptr().cast(), LANES), &finish, to);
            }
        }
    }
}

/// Where the 27 bytes of two neighbouring windows are in what is loaded from three rows.
#[derive(Clone, Copy)]
pub(super) struct Windows([[uint8x16_t; 2]; 2]);

impl Windows {
    /// For windows `step` bytes apart, at most 7.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(step: usize) -> Self {
        // Sixteen bytes of the upper of two rows, then sixteen of the lower. What lies behind 27
        // bytes is nought.
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

/// Rows of one block with columns of nought around them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const N: usize> {
    rows: [&'a [u8]; N],
    pixels: usize,
    left: usize,
}

impl<'a, const N: usize> Rows<'a, N> {
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
        // Columns outside of the image hold nought; one comparison finds both sides.
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
pub(super) fn taps(groups: &[Group; 3]) -> [[int8x16_t; 3]; 3] {
    let mut all = [[vdupq_n_s8(0); 3]; 3];
    for (taps, group) in all.iter_mut().zip(groups) {
        // SAFETY: a group is 64 bytes; the instruction parts every fourth of them.
        let int8x16x4_t(first, second, third, _) =
            unsafe { vld4q_s8(std::ptr::from_ref(group).cast()) };
        *taps = [first, second, third];
    }
    all
}

// The compiler parts the intrinsics of these instructions into two: it keeps the upper halves of
// all weights in registers of their own, which there are not enough of. So they are written out.
macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $text:literal, ($($from:ident: $type:ty),*) -> $sum:ident: $result:ty) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name($sum: $result, $($from: $type),*) -> $result {
            let mut sum = $sum;
            // SAFETY: the instruction, which every AArch64 processor has, reads and writes the
            // named registers only.
            unsafe {
                asm!($text, sum = inout(vreg) sum, $($from = in(vreg) $from,)* options(pure, nomem, nostack, preserves_flags));
            }
            sum
        }
    };
}

instruction! {
    /// Adds the products of the upper eight.
    mlal_high, "smlal2 {sum:v}.8h, {a:v}.16b, {b:v}.16b", (a: int8x16_t, b: int8x16_t) -> sum: int16x8_t
}
instruction! {
    /// Adds the lower four.
    addw, "saddw {sum:v}.4s, {sum:v}.4s, {a:v}.4h", (a: int16x8_t) -> sum: int32x4_t
}
instruction! {
    /// Adds the upper four.
    addw_high, "saddw2 {sum:v}.4s, {sum:v}.4s, {a:v}.8h", (a: int16x8_t) -> sum: int32x4_t
}

/// The products of the upper eight.
#[inline]
#[target_feature(enable = "neon")]
fn mull_high(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let product: int16x8_t;
    // SAFETY: as above.
    unsafe {
        asm!(
            "smull2 {product:v}.8h, {a:v}.16b, {b:v}.16b",
            product = lateout(vreg) product, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
}

/// Products of two taps, added to sums of 32 bits by way of 16, or one by one where two might not
/// fit.
#[inline]
#[target_feature(enable = "neon")]
fn two<const NARROW: bool>(sums: &mut Sums, values: [int8x16_t; 2], weights: [int8x16_t; 2]) {
    if !NARROW {
        one(sums, values[0], weights[0]);
        return one(sums, values[1], weights[1]);
    }
    let lower = vmull_s8(vget_low_s8(values[0]), vget_low_s8(weights[0]));
    let lower = vmlal_s8(lower, vget_low_s8(values[1]), vget_low_s8(weights[1]));
    widen(sums, lower, mlal_high(mull_high(values[0], weights[0]), values[1], weights[1]));
}

/// Products of one tap, added to sums of 32 bits.
#[inline]
#[target_feature(enable = "neon")]
fn one(sums: &mut Sums, value: int8x16_t, weight: int8x16_t) {
    widen(sums, vmull_s8(vget_low_s8(value), vget_low_s8(weight)), mull_high(value, weight));
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(sums: &mut Sums, lower: int16x8_t, upper: int16x8_t) {
    sums[0] = addw(sums[0], lower);
    sums[1] = addw_high(sums[1], lower);
    sums[2] = addw(sums[2], upper);
    sums[3] = addw_high(sums[3], upper);
}

/// # Safety
/// [`Depthwise::check`].
#[target_feature(enable = "neon")]
unsafe fn depthwise<const NARROW: bool, const ACTIVATION: u8>(
    op: &Depthwise,
    block: usize,
    rows: [&[u8]; 3],
    dst: &mut [u8],
) {
    let finish = Finish::<ACTIVATION>::load(&op.post[block]);
    let taps = taps(&op.weights[block]);
    let pixel = |[a, b, c]: [[int8x16_t; 3]; 3], to: &mut [u8; LANES]| {
        let mut sums = finish.start();
        two::<NARROW>(&mut sums, [a[0], a[1]], [taps[0][0], taps[1][0]]);
        two::<NARROW>(&mut sums, [a[2], b[0]], [taps[2][0], taps[0][1]]);
        two::<NARROW>(&mut sums, [b[1], b[2]], [taps[1][1], taps[2][1]]);
        two::<NARROW>(&mut sums, [c[0], c[1]], [taps[0][2], taps[1][2]]);
        one(&mut sums, c[2], taps[2][2]);
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), finish.finished(sums)) };
    };
    slide(Rows::new(rows, op.left), op.stride, dst, |column| column, pixel);
}

/// Calls `pixel` with three neighbouring columns for each output. With step 1 two of three columns
/// are those of the pixel before: three outputs at a time, their registers change roles instead of
/// being moved. `arrange` makes of a column what `pixel` takes.
#[inline(always)]
pub(super) fn slide<T: Copy>(
    rows: Rows<'_, 3>,
    stride: usize,
    dst: &mut [u8],
    arrange: impl Fn([int8x16_t; 3]) -> T,
    mut pixel: impl FnMut([T; 3], &mut [u8; LANES]),
) {
    let (mut pixels, _) = dst.as_chunks_mut::<LANES>();
    // SAFETY: every AArch64 processor has the feature that reading columns is compiled with.
    let read = |column: usize| arrange(unsafe { rows.column(column) });
    let (mut a, mut b) = (read(0), read(1));
    // Outputs whose next columns surely lie within the image.
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

/// A convolution with a window as large as the image, one pixel at a time.
#[target_feature(enable = "neon")]
pub(super) fn global(op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
    let post = &op.post[block];
    let mut sums = post.signed_bias;
    for (group, pixels) in op.weights[block * op.groups()..].iter().zip(src.chunks(4 * LANES)) {
        for (pixel, values) in pixels.chunks_exact(LANES).enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += i32::from(values[lane].cast_signed()) * i32::from(group.0[lane][pixel]);
            }
        }
    }
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_s32(sums.as_ptr().add(4 * quarter)) };
    let sums = [load(0), load(1), load(2), load(3)];
    let finished = match op.activation {
        Activation::Identity => Finish::<IDENTITY>::load(post).finished(sums),
        Activation::Relu => Finish::<RELU>::load(post).finished(sums),
        Activation::PRelu => Finish::<PRELU>::load(post).finished(sums),
    };
    // SAFETY: sixteen bytes.
    unsafe { vst1q_s8(dst.as_mut_ptr().cast(), finished) };
}

#[target_feature(enable = "neon")]
pub(super) fn max_pool(rows: [&[u8]; 2], dst: &mut [u8]) {
    assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
    for (index, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: two pixels of each row stand for one of the output, and a pixel is sixteen bytes.
        unsafe {
            let pixel = |row: usize, column: usize| {
                steps(rows[row].as_ptr().add((2 * index + column) * LANES))
            };
            let largest =
                vmaxq_s8(vmaxq_s8(pixel(0, 0), pixel(0, 1)), vmaxq_s8(pixel(1, 0), pixel(1, 1)));
            vst1q_s8(to.as_mut_ptr().cast(), largest);
        }
    }
}

/// Four steps as real values.
///
/// # Safety
/// Four bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn real(at: *const u8) -> float32x4_t {
    // SAFETY: the caller's promise.
    let steps = vreinterpret_s8_u32(vdup_n_u32(unsafe { at.cast::<u32>().read_unaligned() }));
    vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(steps))))
}

/// # Safety
/// [`Add::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let (by_first, by_second) = (vdupq_n_f32(op.first), vdupq_n_f32(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        // SAFETY: `check`.
        let (a, b) = unsafe {
            (steps(first.as_ptr().add(from * LANES)), steps(second.as_ptr().add(pixel * LANES)))
        };
        let (a, b) = (reals(a), reals(b));
        let mut steps = [vdupq_n_s32(0); 4];
        for (quarter, steps) in steps.iter_mut().enumerate() {
            // Not fused: both products are rounded. The conversion saturates, and so do the
            // narrowings.
            *steps = vcvtnq_s32_f32(vaddq_f32(
                vmulq_f32(a[quarter], by_first),
                vmulq_f32(b[quarter], by_second),
            ));
        }
        let lower = vqmovn_high_s32(vqmovn_s32(steps[0]), steps[1]);
        let upper = vqmovn_high_s32(vqmovn_s32(steps[2]), steps[3]);
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), vqmovn_high_s16(vqmovn_s16(lower), upper)) };
    }
}

/// Sixteen signed steps as real values.
#[inline]
#[target_feature(enable = "neon")]
fn reals(steps: int8x16_t) -> [float32x4_t; 4] {
    let (lower, upper) = (vmovl_s8(vget_low_s8(steps)), vmovl_high_s8(steps));
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(lower))),
        vcvtq_f32_s32(vmovl_high_s16(lower)),
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(upper))),
        vcvtq_f32_s32(vmovl_high_s16(upper)),
    ]
}

/// # Safety
/// [`Head::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn head(op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
    // Four channels at a time: their weights and three columns of three rows fit the registers.
    for quarter in 0..4 {
        // SAFETY: sixteen values.
        let load = |lanes: &[f32; LANES]| unsafe { vld1q_f32(lanes.as_ptr().add(4 * quarter)) };
        let bias = load(&op.bias);
        let mut weights = [bias; 9];
        for (register, lanes) in weights.iter_mut().zip(&op.weights) {
            *register = load(lanes);
        }
        let outside = [vdupq_n_f32(0.0); 3];
        let column = |column: usize| {
            let mut values = outside;
            for (value, row) in values.iter_mut().zip(rows) {
                // SAFETY: four channels of a column within the row.
                *value = unsafe { real(row.as_ptr().add(column * LANES + 4 * quarter)) };
            }
            values
        };
        let (mut a, mut b) = (outside, column(0));
        let mut pixel = |c: [float32x4_t; 3], to: &mut [f32; LANES]| {
            let mut sum = bias;
            // Row by row, as the reference adds.
            for row in 0..3 {
                for (tap, values) in [a, b, c].iter().enumerate() {
                    sum = vaddq_f32(sum, vmulq_f32(values[row], weights[3 * row + tap]));
                }
            }
            // SAFETY: sixteen values.
            unsafe { vst1q_f32(to.as_mut_ptr().add(4 * quarter), sum) };
            (a, b) = (b, c);
        };
        if let Some((last, others)) = dst.as_chunks_mut::<LANES>().0.split_last_mut() {
            for (index, to) in others.iter_mut().enumerate() {
                pixel(column(index + 1), to);
            }
            pixel(outside, last);
        }
    }
}

/// Looks sixteen bytes up at a time, in four steps of 64 entries: an index out of a step's range
/// leaves the byte as it is.
#[target_feature(enable = "neon")]
pub(super) fn quantize(table: &Table, src: &[u8], dst: &mut [u8]) {
    if !table.uniform {
        return scalar::quantize(table, src, dst);
    }
    assert_eq!(src.len(), dst.len());
    let entries = &table.channels[0];
    // SAFETY: 256 bytes in four times 64.
    let quarter = |q: usize| unsafe { vld1q_u8_x4(entries.as_ptr().add(64 * q)) };
    let quarters = [quarter(0), quarter(1), quarter(2), quarter(3)];
    let (from, to) = (src.as_chunks::<LANES>(), dst.as_chunks_mut::<LANES>());
    for (from, to) in from.0.iter().zip(to.0) {
        // SAFETY: sixteen bytes.
        let index = unsafe { vld1q_u8(from.as_ptr()) };
        let mut found = vqtbl4q_u8(quarters[0], index);
        found = vqtbx4q_u8(found, quarters[1], vsubq_u8(index, vdupq_n_u8(64)));
        found = vqtbx4q_u8(found, quarters[2], vsubq_u8(index, vdupq_n_u8(128)));
        found = vqtbx4q_u8(found, quarters[3], vsubq_u8(index, vdupq_n_u8(192)));
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), found) };
    }
    for (from, to) in from.1.iter().zip(to.1) {
        *to = entries[usize::from(*from)];
    }
}
