//! The reference: what each operator means, in plain Rust. Every other kernel is compared with this
//! one byte for byte.

use super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Pointwise, Post, Stem, WeightGroup, ZERO,
};

/// Runs everywhere.
pub struct ScalarNetworks;

impl NetworkKernels for ScalarNetworks {
    fn set(&self) -> InstructionSet {
        InstructionSet::Scalar
    }

    fn pools(&self) -> bool {
        true
    }
}

/// Adding and subtracting 1.5 * 2^23 rounds an `f32` within +-2^22 to the nearest integer, ties to
/// even, because no fraction bits are left at that size. `f32::round_ties_even` says the same but
/// is a library call on plain x86-64.
const ROUNDER: f32 = 12_582_912.0;

/// The nearest 8-bit step, ties to even.
fn step(value: f32) -> f32 {
    // The bounds are integers, so clamping first is the same as clamping the rounded value.
    (value.clamp(-128.0, 127.0) + ROUNDER) - ROUNDER
}

fn store(step: f32) -> u8 {
    (step + f32::from(ZERO)) as u8
}

fn finish(sums: &[i32; LANES], post: &Post, activation: Activation, dst: &mut [u8]) {
    for lane in 0..LANES {
        let value = step(sums[lane] as f32 * post.scale[lane]);
        let value = match activation {
            Activation::Identity => value,
            Activation::Relu => value.max(0.0),
            Activation::PRelu if value < 0.0 => step(value * post.negative[lane]),
            Activation::PRelu => step(value * post.positive),
        };
        dst[lane] = store(value);
    }
}

fn dot(sums: &mut [i32; LANES], group: &WeightGroup, inputs: [u8; 4]) {
    for (sum, weights) in sums.iter_mut().zip(&group.0) {
        for (input, weight) in inputs.iter().zip(weights) {
            *sum += i32::from(*input) * i32::from(*weight);
        }
    }
}

fn four(bytes: &[u8]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

/// See [`NetworkKernels::quantize`].
pub fn quantize(table: &ByteTable, src: &[u8], dst: &mut [u8]) {
    assert!(src.len() == dst.len() && src.len().is_multiple_of(3));
    for (to, from) in dst.chunks_exact_mut(3).zip(src.chunks_exact(3)) {
        for channel in 0..3 {
            to[channel] = table.channels[channel][usize::from(from[channel])];
        }
    }
}

/// See [`NetworkKernels::stem`].
pub fn stem(op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
    op.check(rows, &dst, pixels);
    for (block, (weights, post)) in op.weights.rows().iter().zip(&op.post).enumerate() {
        for pixel in 0..pixels {
            let mut sums = post.bias;
            for (row, groups) in rows.iter().zip(weights.chunks_exact(3)) {
                let window = &row[pixel * op.stride * 3..];
                for (index, group) in groups.iter().enumerate() {
                    dot(&mut sums, group, four(&window[4 * index..]));
                }
            }
            finish(
                &sums,
                post,
                op.activation,
                &mut dst.bytes[block * dst.stride + pixel * LANES..],
            );
        }
    }
}

/// See [`NetworkKernels::pointwise`].
pub fn pointwise(op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
    op.check(&src, &dst, pixels);
    for (block, (weights, post)) in
        op.weights.groups().chunks_exact(op.groups).zip(&op.post).enumerate()
    {
        for pixel in 0..pixels {
            let mut sums = post.bias;
            for (index, group) in weights.iter().enumerate() {
                let at = index / 4 * src.stride + pixel * LANES + index % 4 * 4;
                dot(&mut sums, group, four(&src.bytes[at..]));
            }
            finish(
                &sums,
                post,
                op.activation,
                &mut dst.bytes[block * dst.stride + pixel * LANES..],
            );
        }
    }
}

/// The sums of one pixel of a depth-wise convolution.
fn window(op: &Depthwise, block: usize, rows: [&[u8]; 3], pixel: usize) -> [i32; LANES] {
    let mut sums = op.post[block].bias;
    for (row, group) in rows.iter().zip(&op.weights[block]) {
        for tap in 0..3 {
            // Columns outside of the image hold zero.
            let column =
                (pixel * op.stride + tap).checked_sub(op.left).filter(|c| *c < row.len() / LANES);
            for (lane, sum) in sums.iter_mut().enumerate() {
                let value = column.map_or(ZERO, |c| row[c * LANES + lane]);
                *sum += i32::from(value) * i32::from(group.0[lane][tap]);
            }
        }
    }
    sums
}

/// See [`NetworkKernels::depthwise`].
pub fn depthwise(op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
    op.check(rows, dst);
    for (pixel, to) in dst.chunks_exact_mut(LANES).enumerate() {
        finish(&window(op, block, rows, pixel), &op.post[block], op.activation, to);
    }
}

/// See [`NetworkKernels::depthwise_pool`].
pub fn depthwise_pool(op: &Depthwise, block: usize, rows: [&[u8]; 4], dst: &mut [u8]) {
    op.check_pool(rows, dst);
    let [a, b, c, d] = rows;
    for (pixel, to) in dst.chunks_exact_mut(LANES).enumerate() {
        let mut largest = [i32::MIN; LANES];
        for (rows, column) in [([a, b, c], 0), ([a, b, c], 1), ([b, c, d], 0), ([b, c, d], 1)] {
            let sums = window(op, block, rows, 2 * pixel + column);
            largest.iter_mut().zip(sums).for_each(|(largest, sum)| *largest = (*largest).max(sum));
        }
        finish(&largest, &op.post[block], op.activation, to);
    }
}

/// See [`NetworkKernels::global`].
pub fn global(op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
    op.check(block, src);
    let mut sums = op.post[block].bias;
    let groups = &op.weights[block * op.groups()..][..op.groups()];
    for (pixel, values) in src.chunks_exact(LANES).enumerate() {
        for lane in 0..LANES {
            sums[lane] += i32::from(values[lane]) * i32::from(groups[pixel / 4].0[lane][pixel % 4]);
        }
    }
    finish(&sums, &op.post[block], op.activation, dst);
}

/// See [`NetworkKernels::max_pool`].
#[inline(always)]
pub fn max_pool(rows: [&[u8]; 2], dst: &mut [u8]) {
    assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
    let pairs = rows[0].chunks_exact(2 * LANES).zip(rows[1].chunks_exact(2 * LANES));
    for (to, (upper, lower)) in dst.chunks_exact_mut(LANES).zip(pairs) {
        for lane in 0..LANES {
            to[lane] =
                upper[lane].max(upper[LANES + lane]).max(lower[lane]).max(lower[LANES + lane]);
        }
    }
}

/// See [`NetworkKernels::add`].
pub fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    op.check(first, second, dst);
    for (pixel, to) in dst.chunks_exact_mut(LANES).enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        let (a, b) = (&first[from * LANES..][..LANES], &second[pixel * LANES..][..LANES]);
        for lane in 0..LANES {
            let a = f32::from(a[lane]) - f32::from(ZERO);
            let b = f32::from(b[lane]) - f32::from(ZERO);
            to[lane] = store(step(a * op.first + b * op.second));
        }
    }
}

/// See [`NetworkKernels::head`].
pub fn head(op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
    let pixels = op.check(rows, dst);
    for (pixel, to) in dst.chunks_exact_mut(LANES).enumerate() {
        to.copy_from_slice(&op.bias);
        for (row, weights) in rows.iter().zip(op.weights.chunks_exact(3)) {
            for (tap, weights) in weights.iter().enumerate() {
                let column = (pixel + tap).checked_sub(1).filter(|c| *c < pixels);
                for lane in 0..LANES {
                    // Zero outside of the image, and its product is added like any other: a sum's
                    // sign may depend on it.
                    let value =
                        column.map_or(0.0, |c| f32::from(row[c * LANES + lane]) - f32::from(ZERO));
                    to[lane] += weights[lane] * value;
                }
            }
        }
    }
}

/// `exp(x)` for `x` in +-87 within 2 units in the last place, from additions and multiplications
/// alone, so that it is the same on every processor and every C library. Cody and Waite's
/// reduction, and the polynomial of Cephes' `expf`.
fn exp(x: f32) -> f32 {
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = x - n * (355.0 / 512.0);
    let r = r - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // The low bits of `rounded` are n, which is within +-126: shifted by 23 they are the exponent
    // field of 2^n.
    p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

/// See [`NetworkKernels::sigmoid`]. Not a number counts as a large one.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "`clamp` would let a NaN pass")]
pub fn sigmoid(values: &mut [f32]) {
    for value in values {
        *value = 1.0 / (1.0 + exp((-*value).max(-87.0).min(87.0)));
    }
}
