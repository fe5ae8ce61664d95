//! x86-64 with AVX-512 VNNI and VBMI: Ice Lake, Sapphire Rapids, Zen 4 and later.
//!
//! One register holds the sums of sixteen output channels of a pixel; `vpdpbusd` adds four products
//! to each. Four pixels' sums become 64 bytes of a block at once. The depth-wise convolutions use
//! the same instruction: one byte permutation turns four neighbouring pixels of sixteen channels
//! into sixteen dot-product operands, which serve two output pixels with the weights shifted by one
//! byte.

use std::arch::x86_64::*;

use super::{
    Activation, Add, Blocks, BlocksMut, Depthwise, Global, Group, Head, InstructionSet, Kernels, LANES, Pointwise,
    Post, Stem, Table, ZERO, scalar,
};

/// Made by [`detect`] only, on a processor that has every feature that the functions below enable.
struct Avx512Vnni(());

static KERNELS: Avx512Vnni = Avx512Vnni(());

/// The kernels, where the processor and the operating system support them.
pub(super) fn detect() -> Option<&'static dyn Kernels> {
    // More than the set promises: Cascade Lake has no VBMI.
    let has = InstructionSet::Avx512Vnni.is_available()
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi");
    has.then_some(&KERNELS)
}

impl Kernels for Avx512Vnni {
    fn set(&self) -> InstructionSet {
        InstructionSet::Avx512Vnni
    }

    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        if !table.uniform {
            return scalar::quantize(table, src, dst);
        }
        assert_eq!(src.len(), dst.len());
        // SAFETY: `detect` found the features; lengths are equal.
        unsafe { quantize(&table.channels[0], src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        // SAFETY: `detect` found the features; `check` that all windows and outputs lie within the
        // slices.
        unsafe {
            match op.activation {
                Activation::Identity => stem::<IDENTITY>(op, rows, dst, pixels),
                Activation::Relu => stem::<RELU>(op, rows, dst, pixels),
                Activation::PRelu => stem::<PRELU>(op, rows, dst, pixels),
            }
        }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        // SAFETY: `detect` found the features; `check` that all inputs, weights and outputs lie
        // within the slices.
        unsafe {
            match op.activation {
                Activation::Identity => pointwise::<IDENTITY>(op, src, dst, pixels),
                Activation::Relu => pointwise::<RELU>(op, src, dst, pixels),
                Activation::PRelu => pointwise::<PRELU>(op, src, dst, pixels),
            }
        }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        let (input, output) = op.check(rows, dst);
        let (weights, post) = (&op.weights[block], &op.post[block]);
        let rows = Rows { bytes: rows.map(<[u8]>::as_ptr), pixels: input, left: op.left };
        let run = match (op.stride, op.activation) {
            (1, Activation::Identity) => depthwise::<1, IDENTITY>,
            (1, Activation::Relu) => depthwise::<1, RELU>,
            (1, Activation::PRelu) => depthwise::<1, PRELU>,
            (_, Activation::Identity) => depthwise::<2, IDENTITY>,
            (_, Activation::Relu) => depthwise::<2, RELU>,
            (_, Activation::PRelu) => depthwise::<2, PRELU>,
        };
        // SAFETY: `detect` found the features; each row holds `input` pixels and `dst` holds
        // `output`.
        unsafe { run(weights, post, rows, dst.as_mut_ptr(), output) }
    }

    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        op.check(block, src);
        let weights = &op.weights[block * op.groups()..][..op.groups()];
        // SAFETY: `detect` found the features; `check` that there is a group for every four pixels.
        unsafe {
            match op.activation {
                Activation::Identity => global::<IDENTITY>(weights, &op.post[block], src, dst),
                Activation::Relu => global::<RELU>(weights, &op.post[block], src, dst),
                Activation::PRelu => global::<PRELU>(weights, &op.post[block], src, dst),
            }
        }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
        let fast = dst.len() / 64 * 64;
        // SAFETY: `detect` found the features; both rows hold twice the output's bytes.
        unsafe { max_pool(rows.map(<[u8]>::as_ptr), &mut dst[..fast]) }
        scalar::max_pool(rows.map(|r| &r[2 * fast..]), &mut dst[fast..]);
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `detect` found the features; `check` that the operands hold the output's pixels.
        unsafe { add(op, first, second, dst) }
    }

    fn head(&self, op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `detect` found the features; `check` that the rows hold the output's pixels.
        unsafe { head(op, rows, dst) }
    }

    fn sigmoid(&self, values: &mut [f32]) {
        // SAFETY: `detect` found the features.
        unsafe { sigmoid(values) }
    }
}

/// Activations as a constant parameter, so that none is decided in a loop.
const IDENTITY: u8 = 0;
const RELU: u8 = 1;
const PRELU: u8 = 2;

/// A [`Post`] in registers.
#[derive(Clone, Copy)]
struct Finish {
    bias: __m512i,
    scale: __m512,
    negative: __m512,
    positive: __m512,
}

impl Finish {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(post: &Post) -> Self {
        // SAFETY: each field holds sixteen values of 32 bits.
        unsafe {
            Self {
                bias: _mm512_loadu_si512(post.bias.as_ptr().cast()),
                scale: _mm512_loadu_ps(post.scale.as_ptr()),
                negative: _mm512_loadu_ps(post.negative.as_ptr()),
                positive: _mm512_set1_ps(post.positive),
            }
        }
    }

    /// Sums to steps in 32 bits, not yet clamped to 8 but for what PReLU needs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn steps<const ACTIVATION: u8>(&self, sums: __m512i) -> __m512i {
        let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), self.scale);
        if ACTIVATION != PRELU {
            return _mm512_cvtps_epi32(value);
        }
        let value = _mm512_max_ps(value, _mm512_set1_ps(-128.0));
        let value = _mm512_min_ps(value, _mm512_set1_ps(127.0));
        let value =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        // A value that was rounded to minus nought counts as negative: its product is nought either
        // way.
        let below = _mm512_movepi32_mask(_mm512_castps_si512(value));
        let scaled = _mm512_mul_ps(value, self.positive);
        _mm512_cvtps_epi32(_mm512_mask_mul_ps(scaled, below, value, self.negative))
    }

    /// The sums of four pixels to 64 stored bytes in the order of memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    fn four<const ACTIVATION: u8>(&self, sums: [__m512i; 4]) -> __m512i {
        let [a, b, c, d] = sums;
        let ab = _mm512_packs_epi32(self.steps::<ACTIVATION>(a), self.steps::<ACTIVATION>(b));
        let cd = _mm512_packs_epi32(self.steps::<ACTIVATION>(c), self.steps::<ACTIVATION>(d));
        pack::<ACTIVATION>(_mm512_packs_epi16(ab, cd))
    }
}

/// What two levels of packing leave, `[four channels of 16][pixel][channel]`, to stored bytes
/// `[pixel][channel]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pack<const ACTIVATION: u8>(steps: __m512i) -> __m512i {
    let steps =
        if ACTIVATION == RELU { _mm512_max_epi8(steps, _mm512_setzero_si512()) } else { steps };
    let stored = _mm512_xor_si512(steps, _mm512_set1_epi8(ZERO as i8));
    _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        stored,
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn weights(group: &Group) -> __m512i {
    // SAFETY: a group is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(std::ptr::from_ref(group).cast()) }
}

// A loop, here and below, where `map` or `from_fn` would do: these are compiled without the
// features and cannot be inlined together with a closure that has them.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<const N: usize>(groups: &[Group; N]) -> [__m512i; N] {
    let mut all = [_mm512_setzero_si512(); N];
    for (register, group) in all.iter_mut().zip(groups) {
        *register = weights(group);
    }
    all
}

/// Four bytes in each of sixteen places.
///
/// # Safety
/// Four bytes can be read at `at`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast(at: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() })
}

/// Writes the stored bytes of `P` pixels, 1 or a multiple of four.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
unsafe fn store<const ACTIVATION: u8, const P: usize>(
    finish: &Finish,
    sums: &[__m512i; P],
    to: *mut u8,
) {
    if P == 1 {
        let all = finish.four::<ACTIVATION>([sums[0]; 4]);
        // SAFETY: the caller's promise.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(all)) };
        return;
    }
    for (index, sums) in sums.as_chunks::<4>().0.iter().enumerate() {
        let all = finish.four::<ACTIVATION>(*sums);
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(64 * index).cast(), all) };
    }
}

/// The start of the next tile of eight, four or one pixels of `count`, after `done`: the last one
/// of a size is moved back over pixels that are already computed rather than split.
fn tile(done: usize, count: usize) -> (usize, usize) {
    for size in [8, 4] {
        if count >= size && (count - done > size / 2 || done + size <= count) {
            return (done.min(count - size), size);
        }
    }
    if count >= 4 { (count - 4, 4) } else { (done, 1) }
}

/// # Safety
/// The features, and [`Pointwise::check`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
unsafe fn pointwise<const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let (from, to) = (src.bytes.as_ptr(), dst.bytes.as_mut_ptr());
    let mut block = 0;
    while block < op.post.len() {
        let mut done = 0;
        // Four blocks with four pixels or two with eight: sixteen independent sums hide the latency
        // of the dot product.
        let blocks = match op.post.len() - block {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        while done < pixels {
            let (at, size) = tile(done, pixels);
            // SAFETY: `check`; `tile` gives tiles within `pixels`.
            unsafe {
                let (from, to) = (from.add(at * LANES), to.add(block * dst.stride + at * LANES));
                match (blocks, size) {
                    (1, 8) => pointwise_tile::<ACTIVATION, 1, 8>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (1, 4) => pointwise_tile::<ACTIVATION, 1, 4>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (1, _) => pointwise_tile::<ACTIVATION, 1, 1>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (2, 8) => pointwise_tile::<ACTIVATION, 2, 8>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (2, 4) => pointwise_tile::<ACTIVATION, 2, 4>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (2, _) => pointwise_tile::<ACTIVATION, 2, 1>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (_, 8) => {
                        pointwise_tile::<ACTIVATION, 4, 4>(
                            op, block, from, src.stride, to, dst.stride,
                        );
                        let (from, to) = (from.add(4 * LANES), to.add(4 * LANES));
                        pointwise_tile::<ACTIVATION, 4, 4>(
                            op, block, from, src.stride, to, dst.stride,
                        );
                    }
                    (_, 4) => pointwise_tile::<ACTIVATION, 4, 4>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                    (_, _) => pointwise_tile::<ACTIVATION, 4, 1>(
                        op, block, from, src.stride, to, dst.stride,
                    ),
                }
            }
            done = at + size;
        }
        block += blocks;
    }
}

/// `B` output blocks of `P` pixels.
///
/// # Safety
/// As [`pointwise`]; `from` and `to` are the first pixel's places in the first input block and in
/// output block `block`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
#[expect(clippy::needless_range_loop, reason = "two dimensions, the inner one first")]
unsafe fn pointwise_tile<const ACTIVATION: u8, const B: usize, const P: usize>(
    op: &Pointwise,
    block: usize,
    from: *const u8,
    from_stride: usize,
    to: *mut u8,
    to_stride: usize,
) {
    let mut sums = [[_mm512_setzero_si512(); P]; B];
    for (index, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the bias of an existing block.
        *sums = [unsafe { _mm512_loadu_si512(op.post.as_ptr().add(block + index).cast()) }; P];
    }
    // SAFETY: `block + B` blocks of `groups` groups exist, `in_blocks` input blocks of `P` pixels
    // can be read.
    unsafe {
        let groups = op.weights.as_ptr().add(block * op.groups);
        for pair in 0..op.groups / 2 {
            let inputs = from.add(pair / 2 * from_stride + pair % 2 * 8);
            for half in 0..2 {
                let mut filters = [_mm512_setzero_si512(); B];
                for (b, filter) in filters.iter_mut().enumerate() {
                    *filter = weights(&*groups.add(b * op.groups + 2 * pair + half));
                }
                for pixel in 0..P {
                    let input = broadcast(inputs.add(pixel * LANES + half * 4));
                    for b in 0..B {
                        sums[b][pixel] = _mm512_dpbusd_epi32(sums[b][pixel], input, filters[b]);
                    }
                }
            }
        }
    }
    for (index, sums) in sums.iter().enumerate() {
        // SAFETY: block `block + index` exists, and `P` of its pixels can be written.
        unsafe {
            let finish = Finish::load(&*op.post.as_ptr().add(block + index));
            store::<ACTIVATION, P>(&finish, sums, to.add(index * to_stride));
        }
    }
}

/// # Safety
/// The features, and [`Stem::check`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
unsafe fn stem<const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    for (block, (groups, post)) in op.weights.iter().zip(&op.post).enumerate() {
        let finish = Finish::load(post);
        let groups = load(groups);
        let mut done = 0;
        while done < pixels {
            let (at, size) = tile(done, pixels);
            // SAFETY: `check`; `tile` gives tiles within `pixels`.
            unsafe {
                let rows = rows.map(|r| r.as_ptr().add(at * op.stride * 3));
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + at * LANES);
                match size {
                    8 => stem_tile::<ACTIVATION, 8>(&groups, &finish, rows, op.stride, to),
                    4 => stem_tile::<ACTIVATION, 4>(&groups, &finish, rows, op.stride, to),
                    _ => stem_tile::<ACTIVATION, 1>(&groups, &finish, rows, op.stride, to),
                }
            }
            done = at + size;
        }
    }
}

/// `P` pixels of one block.
///
/// # Safety
/// The windows of `P` pixels can be read at `rows`, and as many pixels written at `to`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
unsafe fn stem_tile<const ACTIVATION: u8, const P: usize>(
    groups: &[__m512i; 9],
    finish: &Finish,
    rows: [*const u8; 3],
    stride: usize,
    to: *mut u8,
) {
    let mut sums = [finish.bias; P];
    for (index, group) in groups.iter().enumerate() {
        for (pixel, sum) in sums.iter_mut().enumerate() {
            // SAFETY: byte `4 * 2 + 3` of a window is its last.
            let input =
                unsafe { broadcast(rows[index / 3].add(pixel * stride * 3 + index % 3 * 4)) };
            *sum = _mm512_dpbusd_epi32(*sum, input, *group);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store::<ACTIVATION, P>(finish, &sums, to) };
}

/// Four neighbouring columns of a row that has columns of nought around it.
#[derive(Clone, Copy)]
struct Columns {
    /// Of the first one, in bytes from the row's first pixel; before it where the first ones lie
    /// outside.
    start: isize,
    /// A pixel is four bits: those that lie within the row.
    within: __mmask16,
}

impl Columns {
    /// From column `column - left` on, of a row of `pixels`.
    #[inline]
    fn at(column: usize, left: usize, pixels: usize) -> Self {
        let before = left.saturating_sub(column).min(4);
        let until = (pixels + left).saturating_sub(column).min(4);
        let within = ((1u32 << (4 * until)) - 1) & !((1 << (4 * before)) - 1);
        Self {
            start: (column as isize - left as isize) * LANES as isize,
            within: within as __mmask16,
        }
    }

    /// The columns of the row at `row`, channel by channel: `[channel][pixel]`. `INSIDE` says that
    /// all lie within it.
    ///
    /// # Safety
    /// The row's pixels can be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi")]
    unsafe fn load<const INSIDE: bool>(self, row: *const u8) -> __m512i {
        const INDEX: [i8; 64] = {
            let mut index = [0; 64];
            let mut at = 0;
            while at < 64 {
                index[at] = ((at % 4) * 16 + at / 4) as i8;
                at += 1;
            }
            index
        };
        let start = row.wrapping_offset(self.start);
        // SAFETY: all four lie within the row, or only those that do are read; a masked load does
        // not touch the others.
        unsafe {
            let four = if INSIDE {
                _mm512_loadu_si512(start.cast())
            } else {
                _mm512_mask_loadu_epi32(_mm512_set1_epi8(ZERO as i8), self.within, start.cast())
            };
            _mm512_permutexvar_epi8(_mm512_loadu_si512(INDEX.as_ptr().cast()), four)
        }
    }
}

/// Rows of one block, of one length.
#[derive(Clone, Copy)]
struct Rows {
    bytes: [*const u8; 3],
    pixels: usize,
    /// Columns of nought to the left.
    left: usize,
}

/// # Safety
/// The features; the rows can be read, and `pixels` pixels written at `to`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
unsafe fn depthwise<const STRIDE: usize, const ACTIVATION: u8>(
    groups: &[Group; 3],
    post: &Post,
    rows: Rows,
    to: *mut u8,
    pixels: usize,
) {
    let finish = Finish::load(post);
    let first = load(groups);
    // For the pixel to the right of the same four columns.
    let mut second = first;
    for filter in &mut second {
        *filter = _mm512_slli_epi32::<8>(*filter);
    }
    // Columns that four pixels read.
    let width = if STRIDE == 1 { 6 } else { 10 };
    let mut pixel = 0;
    while pixel < pixels {
        let column = pixel * STRIDE;
        let left = pixels - pixel;
        // SAFETY: the caller's promise; as many pixels as are left are written, and where four are
        // and all their columns lie within the rows, this is said.
        unsafe {
            let to = to.add(pixel * LANES);
            if left >= 4 && column >= rows.left && column + width <= rows.left + rows.pixels {
                let sums =
                    depthwise_four::<STRIDE, true>(&first, &second, rows, column, finish.bias);
                _mm512_storeu_si512(to.cast(), finish.four::<ACTIVATION>(sums));
            } else {
                let sums =
                    depthwise_four::<STRIDE, false>(&first, &second, rows, column, finish.bias);
                let written = ((1u32 << (4 * left.min(4))) - 1) as __mmask16;
                _mm512_mask_storeu_epi32(to.cast(), written, finish.four::<ACTIVATION>(sums));
            }
        }
        pixel += 4;
    }
}

/// The sums of four pixels of a depth-wise convolution whose windows begin at `column`; `second` is
/// `first` for the pixel to the right.
///
/// # Safety
/// As [`depthwise`]; `INSIDE` says that all columns lie within the rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
#[expect(clippy::needless_range_loop, reason = "the rows of three arrays")]
unsafe fn depthwise_four<const STRIDE: usize, const INSIDE: bool>(
    first: &[__m512i; 3],
    second: &[__m512i; 3],
    rows: Rows,
    column: usize,
    bias: __m512i,
) -> [__m512i; 4] {
    let at = |column| Columns::at(column, rows.left, rows.pixels);
    let mut sums = [bias; 4];
    // SAFETY: the caller's promise.
    unsafe {
        if STRIDE == 1 {
            // Each four columns serve two pixels.
            let columns = [at(column), at(column + 2)];
            for row in 0..3 {
                for (half, columns) in columns.iter().enumerate() {
                    let columns = columns.load::<INSIDE>(rows.bytes[row]);
                    sums[2 * half] = _mm512_dpbusd_epi32(sums[2 * half], columns, first[row]);
                    sums[2 * half + 1] =
                        _mm512_dpbusd_epi32(sums[2 * half + 1], columns, second[row]);
                }
            }
        } else {
            let columns = [at(column), at(column + 2), at(column + 4), at(column + 6)];
            for row in 0..3 {
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = _mm512_dpbusd_epi32(
                        *sum,
                        columns.load::<INSIDE>(rows.bytes[row]),
                        first[row],
                    );
                }
            }
        }
    }
    sums
}

/// # Safety
/// The features; `src` holds at most four pixels for each of the groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
unsafe fn global<const ACTIVATION: u8>(
    groups: &[Group],
    post: &Post,
    src: &[u8],
    dst: &mut [u8; LANES],
) {
    let finish = Finish::load(post);
    let pixels = src.len() / LANES;
    let mut sum = finish.bias;
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: the row is the slice.
        let columns = unsafe { Columns::at(4 * index, 0, pixels).load::<false>(src.as_ptr()) };
        sum = _mm512_dpbusd_epi32(sum, columns, weights(group));
    }
    // SAFETY: sixteen bytes.
    unsafe { store::<ACTIVATION, 1>(&finish, &[sum], dst.as_mut_ptr()) };
}

/// # Safety
/// The features; each row holds twice the bytes of `dst`, which are a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn max_pool(rows: [*const u8; 2], dst: &mut [u8]) {
    for (index, to) in dst.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        // SAFETY: eight pixels of each row stand for four of the output.
        unsafe {
            let pixels = |at: usize| {
                let upper = _mm512_loadu_si512(rows[0].add(128 * index + at).cast());
                _mm512_max_epu8(upper, _mm512_loadu_si512(rows[1].add(128 * index + at).cast()))
            };
            let (a, b) = (pixels(0), pixels(64));
            let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
            let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_max_epu8(even, odd));
        }
    }
}

/// The real value of sixteen stored bytes.
///
/// # Safety
/// Sixteen bytes can be read at `from`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn real(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
    _mm512_sub_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(f32::from(ZERO)))
}

/// # Safety
/// The features, and [`Add::check`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let factors = (_mm512_set1_ps(op.first), _mm512_set1_ps(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        // SAFETY: `check`.
        let (a, b) = unsafe {
            (real(first.as_ptr().add(from * LANES)), real(second.as_ptr().add(pixel * LANES)))
        };
        let sum = _mm512_add_ps(_mm512_mul_ps(a, factors.0), _mm512_mul_ps(b, factors.1));
        let sum = _mm512_min_ps(_mm512_max_ps(sum, _mm512_set1_ps(-128.0)), _mm512_set1_ps(127.0));
        let stored = _mm512_add_epi32(_mm512_cvtps_epi32(sum), _mm512_set1_epi32(i32::from(ZERO)));
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(stored)) };
    }
}

/// # Safety
/// The features, and [`Head::check`].
#[target_feature(enable = "avx512f")]
unsafe fn head(op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
    let mut weights = [_mm512_setzero_ps(); 9];
    for (register, tap) in weights.iter_mut().zip(&op.weights) {
        // SAFETY: sixteen values.
        *register = unsafe { _mm512_loadu_ps(tap.as_ptr()) };
    }
    // SAFETY: sixteen values.
    let bias = unsafe { _mm512_loadu_ps(op.bias.as_ptr()) };
    let pixels = dst.len() / LANES;
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sum = bias;
        for (row, weights) in rows.iter().zip(weights.as_chunks::<3>().0) {
            for (tap, weights) in weights.iter().enumerate() {
                let value = match (pixel + tap).checked_sub(1).filter(|c| *c < pixels) {
                    // SAFETY: the column lies within the row.
                    Some(column) => unsafe { real(row.as_ptr().add(column * LANES)) },
                    None => _mm512_setzero_ps(),
                };
                sum = _mm512_add_ps(sum, _mm512_mul_ps(value, *weights));
            }
        }
        // SAFETY: sixteen values.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) };
    }
}

#[target_feature(enable = "avx512f")]
fn sigmoid(values: &mut [f32]) {
    // Plain Rust that the compiler widens with these features; without contraction the results stay
    // the same.
    scalar::sigmoid(values);
}

/// # Safety
/// The features; the slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn quantize(table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
    let mut parts = [_mm512_setzero_si512(); 4];
    for (register, part) in parts.iter_mut().zip(table.as_chunks::<64>().0) {
        // SAFETY: 64 bytes.
        *register = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
    }
    let mut at = 0;
    while at < src.len() {
        let left = src.len() - at;
        let mask: __mmask64 = if left >= 64 { !0 } else { (1 << left) - 1 };
        // SAFETY: the mask holds as many bytes as are left.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, src.as_ptr().add(at).cast());
            let lower = _mm512_permutex2var_epi8(parts[0], bytes, parts[1]);
            let upper = _mm512_permutex2var_epi8(parts[2], bytes, parts[3]);
            let stored = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), lower, upper);
            _mm512_mask_storeu_epi8(dst.as_mut_ptr().add(at).cast(), mask, stored);
        }
        at += 64;
    }
}
