//! Pointwise convolutions and first layers.

use std::arch::x86_64::*;

use super::super::{Blocks, BlocksMut, LANES, Pointwise, Stem};
use super::finish::{Avx512Finish, broadcast, load, store, weights};

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
pub(super) unsafe fn pointwise<const ACTIVATION: u8>(
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
        let groups = op.weights.groups().as_ptr().add(block * op.groups);
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
            let finish = Avx512Finish::load(&*op.post.as_ptr().add(block + index));
            store::<ACTIVATION, P>(&finish, sums, to.add(index * to_stride));
        }
    }
}

/// # Safety
/// The features, and [`Stem::check`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni")]
pub(super) unsafe fn stem<const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    for (block, (groups, post)) in op.weights.rows().iter().zip(&op.post).enumerate() {
        let finish = Avx512Finish::load(post);
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
    finish: &Avx512Finish,
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
