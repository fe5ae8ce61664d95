//! The inner loops of quantized networks: one scalar reference, and one implementation a family of
//! processors that gives the same bytes.
//!
//! # Layout
//! A stored byte is the quantized value plus 128 (so that [`ZERO`] is nought), as the x86 dot
//! product takes it, or the value itself, as ARM's does: each kernel says which by
//! [`Kernels::nought`]. Channels lie in blocks of [`LANES`], padded with channels that are always
//! nought; within a block, a pixel is sixteen adjacent bytes and the next pixel follows: `[channel
//! block][row][column][16]`. So four neighbouring pixels of a block are one 64-byte load for the
//! depth-wise convolutions, sixteen 32-bit sums fill one 512-bit or four 128-bit registers, and a
//! network with 33 or 119 channels is padded to 48 or 128, never to 64 or 128.
//!
//! # Arithmetic, on every processor
//! * Sums are exact 32-bit integers. With an offset, the weights' part of it (`-128 * sum of
//!   weights`) is in the bias.
//! * Requantization is `clamp(round(f32(sum) * scale), -128, 127)`: the integer converted to `f32`
//!   (rounding to nearest, ties to even; exact below 2^24), one `f32` multiplication, and rounding
//!   to the nearest integer, ties to even.
//! * PReLU has a rounding of its own, as the quantized graph has it: the requantized value is
//!   multiplied with one of two `f32` factors by its sign, rounded and clamped again.
//! * Floating-point sums (the heads) are added in a fixed order, multiplication and addition
//!   rounded apart.
//!
//! Promised: for operands within the bounds that [`Post::new`] checks, all implementations give
//! identical bytes for every shape, which property tests compare. Not promised: speed of the scalar
//! one, or that the processor's rounding mode may be changed by others.
//!
//! Callers hand over slices; each kernel checks their lengths on entry, and only then works with
//! pointers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
pub mod scalar;
#[cfg(test)]
mod tests;

use super::choice::InstructionSet;

/// Channels in a block.
pub const LANES: usize = 16;

/// The stored byte of the quantized value nought, where bytes are stored with an offset: 128.
pub const ZERO: u8 = 128;

/// Weights of sixteen output channels for four inputs each, the unit of a dot product: `[output
/// channel][input]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Group(pub [[i8; 4]; LANES]);

impl Group {
    /// No weights yet.
    pub const NONE: Group = Group([[0; 4]; LANES]);
}

/// What follows the sixteen sums of a block.
#[derive(Debug, Clone, PartialEq)]
#[repr(C, align(64))]
pub struct Post {
    /// Where the sums start: the bias less 128 times the sum of the weights.
    bias: [i32; LANES],
    /// From a sum to quantized output steps.
    scale: [f32; LANES],
    /// PReLU's factor for values below nought, from steps before to steps after.
    negative: [f32; LANES],
    /// PReLU's factor for the others: the same for all channels, for it only joins two scales.
    positive: f32,
    /// Where sums of signed steps start: the bias as the network has it.
    signed_bias: [i32; LANES],
}

impl Post {
    /// `bias` is the network's (without the offset's part), `weights` the sum of the weights and
    /// `magnitude` the sum of their absolute values, per channel. None where a sum could leave 32
    /// bits, or a step could leave 16 before it is clamped to 8: kernels may narrow without
    /// saturating up to there. Steps of a network that is quantized to some purpose stay far
    /// within.
    pub fn new(
        bias: [i32; LANES],
        weights: [i32; LANES],
        magnitude: [i32; LANES],
        scale: [f32; LANES],
        positive: f32,
        negative: [f32; LANES],
    ) -> Option<Self> {
        let mut start = [0; LANES];
        for lane in 0..LANES {
            start[lane] = bias[lane].checked_sub(weights[lane].checked_mul(i32::from(ZERO))?)?;
            let partial = i64::from(magnitude[lane]) * 255 + i64::from(start[lane]).abs();
            let whole = i64::from(magnitude[lane]) * 128 + i64::from(bias[lane]).abs();
            let sound = partial < i64::from(i32::MAX)
                && scale[lane] >= 0.0
                && scale[lane] * (whole as f32) < 32_700.0
                && [positive, negative[lane]].iter().all(|f| f.abs() < 255.0);
            if !sound {
                return None;
            }
        }
        Some(Self { bias: start, scale, negative, positive, signed_bias: bias })
    }
}

/// What happens to a requantized value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// Values below nought become nought.
    Relu,
    /// Multiplication with a factor by sign, then rounding: see [`Post`].
    PRelu,
}

/// A run of neighbouring pixels in every channel block.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// From the first pixel of the first block on.
    pub bytes: &'a [u8],
    /// Bytes from a block to the next.
    pub stride: usize,
}

/// A run of neighbouring pixels in every channel block, to be written.
pub struct BlocksMut<'a> {
    /// From the first pixel of the first block on.
    pub bytes: &'a mut [u8],
    /// Bytes from a block to the next.
    pub stride: usize,
}

/// Whether no weight is -128, so that the sum of two products fits 16 bits.
fn narrow(weights: &[Group]) -> bool {
    weights.iter().flat_map(|g| g.0.as_flattened()).all(|w| *w != i8::MIN)
}

/// Weights of a pointwise convolution in the order in which a processor without dot product takes
/// them, and how many of their products it may add in 16 bits.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone)]
struct Quarters {
    /// The same bytes, as runs of up to four groups a block of inputs: `[run][four output
    /// channels][group]`, 16 bytes each.
    weights: Vec<Group>,
    /// One a run: whether the sum of four products, one of each group, fits 16 bits whatever the
    /// inputs are.
    fours: Vec<bool>,
}

#[cfg(target_arch = "aarch64")]
impl Quarters {
    fn new(weights: &[Group], groups: usize) -> Self {
        let mut all = Self { weights: weights.to_vec(), fours: Vec::new() };
        for (from, to) in weights.chunks_exact(groups).zip(all.weights.chunks_exact_mut(groups)) {
            for (from, to) in from.chunks(4).zip(to.chunks_mut(4)) {
                let bytes = to.iter_mut().flat_map(|group| &mut group.0);
                let order = (0..LANES)
                    .step_by(4)
                    .flat_map(|first| from.iter().flat_map(move |g| &g.0[first..first + 4]));
                bytes.zip(order).for_each(|(to, from)| *to = *from);
                let magnitude = |at: usize| {
                    from.iter().map(|g| i32::from(g.0.as_flattened()[at]).abs()).sum::<i32>()
                };
                all.fours.push((0..4 * LANES).all(|at| magnitude(at) * 128 <= i32::from(i16::MAX)));
            }
        }
        all
    }
}

/// Weights of a first layer without the gaps between its rows: 27 bytes of a window, and five
/// noughts.
#[cfg(target_arch = "aarch64")]
fn dense(rows: &[Group; 9]) -> [Group; 8] {
    let mut groups = [Group::NONE; 8];
    for at in 0..27 {
        let (row, byte) = (at / 9, at % 9);
        for (to, from) in groups[at / 4].0.iter_mut().zip(&rows[3 * row + byte / 4].0) {
            to[at % 4] = from[byte % 4];
        }
    }
    groups
}

/// Bytes that `blocks` runs of `pixels` span.
fn span(blocks: usize, stride: usize, pixels: usize) -> usize {
    (blocks - 1) * stride + pixels * LANES
}

/// From an image byte to a stored activation, one table a channel.
pub struct Table {
    /// By channel and byte.
    pub channels: [[u8; 256]; 3],
    /// Whether the three are equal, which the fast kernels ask for.
    pub uniform: bool,
}

/// First layer: 3 x 3 over three interleaved channels.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(target_arch = "aarch64"),
    expect(dead_code, reason = "an ARM kernel reads `narrow`")
)]
pub struct Stem {
    /// Per output block: for each of three rows, three groups of four of its (up to nine) bytes;
    /// the last three weights of a row are nought.
    pub weights: Vec<[Group; 9]>,
    /// One an output block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// Horizontal step in pixels, 1 or 2.
    pub stride: usize,
    /// See [`narrow`].
    narrow: bool,
    /// See [`dense`].
    #[cfg(target_arch = "aarch64")]
    dense: Vec<[Group; 8]>,
    /// The same.
    #[cfg(target_arch = "aarch64")]
    quarters: Quarters,
}

impl Stem {
    /// Of its parts, as the fields say.
    pub fn new(
        weights: Vec<[Group; 9]>,
        post: Vec<Post>,
        activation: Activation,
        stride: usize,
    ) -> Self {
        #[cfg(target_arch = "aarch64")]
        let dense: Vec<_> = weights.iter().map(dense).collect();
        Self {
            narrow: narrow(weights.as_flattened()),
            #[cfg(target_arch = "aarch64")]
            quarters: Quarters::new(dense.as_flattened(), 8),
            #[cfg(target_arch = "aarch64")]
            dense,
            weights,
            post,
            activation,
            stride,
        }
    }

    /// Bytes of each of the three rows that may be read for `pixels` outputs: a window is nine
    /// bytes, of which a kernel may load sixteen.
    pub fn row_bytes(&self, pixels: usize) -> usize {
        (pixels - 1) * self.stride * 3 + 16
    }

    /// Panics where the slices do not hold the windows and outputs of `pixels` pixels: a fault of
    /// the plan.
    fn check(&self, rows: [&[u8]; 3], dst: &BlocksMut<'_>, pixels: usize) {
        assert!(pixels > 0 && rows.iter().all(|r| r.len() >= self.row_bytes(pixels)));
        assert!(self.weights.len() == self.post.len() && !self.post.is_empty());
        assert!(dst.bytes.len() >= span(self.post.len(), dst.stride, pixels));
    }
}

/// 1 x 1 convolution.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(target_arch = "aarch64"),
    expect(dead_code, reason = "an ARM kernel reads `narrow`")
)]
pub struct Pointwise {
    /// Groups of four input channels that hold weights; even.
    pub groups: usize,
    /// Input blocks, `groups / 4` rounded up.
    pub in_blocks: usize,
    /// `[output block][group]`.
    pub weights: Vec<Group>,
    /// One an output block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// See [`narrow`].
    narrow: bool,
    /// See [`Quarters`].
    #[cfg(target_arch = "aarch64")]
    quarters: Quarters,
}

impl Pointwise {
    /// For `inputs` channels; the groups as the field says.
    pub fn new(
        inputs: usize,
        weights: Vec<Group>,
        post: Vec<Post>,
        activation: Activation,
    ) -> Self {
        let groups = Self::groups(inputs);
        Self {
            groups,
            in_blocks: inputs.div_ceil(LANES),
            narrow: narrow(&weights),
            #[cfg(target_arch = "aarch64")]
            quarters: Quarters::new(&weights, groups),
            weights,
            post,
            activation,
        }
    }

    /// Groups that `inputs` channels are multiplied in.
    pub fn groups(inputs: usize) -> usize {
        inputs.div_ceil(8) * 2
    }

    /// Panics where the slices do not hold `pixels` pixels in every block: a fault of the plan.
    fn check(&self, src: &Blocks<'_>, dst: &BlocksMut<'_>, pixels: usize) {
        assert!(
            pixels > 0
                && self.groups.is_multiple_of(2)
                && self.groups > 0
                && self.groups <= 4 * self.in_blocks
        );
        assert!(self.weights.len() == self.post.len() * self.groups && !self.post.is_empty());
        assert!(src.bytes.len() >= span(self.in_blocks, src.stride, pixels));
        assert!(dst.bytes.len() >= span(self.post.len(), dst.stride, pixels));
    }
}

/// 3 x 3 convolution of each channel by itself.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(target_arch = "aarch64"),
    expect(dead_code, reason = "an ARM kernel reads `narrow`")
)]
pub struct Depthwise {
    /// Per block and row of the window: the weights of three columns and a nought, a channel.
    pub weights: Vec<[Group; 3]>,
    /// One a block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// Horizontal step in pixels, 1 or 2.
    pub stride: usize,
    /// Columns of nought to the left of the input, 0 or 1.
    pub left: usize,
    /// See [`narrow`].
    narrow: bool,
}

impl Depthwise {
    /// Of its parts, as the fields say.
    pub fn new(
        weights: Vec<[Group; 3]>,
        post: Vec<Post>,
        activation: Activation,
        stride: usize,
        left: usize,
    ) -> Self {
        let narrow = narrow(weights.as_flattened());
        Self { weights, post, activation, stride, left, narrow }
    }

    /// Input and output pixels of a row. Panics where the rows differ in length or cannot be read
    /// so far.
    fn check(&self, rows: [&[u8]; 3], dst: &[u8]) -> (usize, usize) {
        let (input, output) = (rows[0].len() / LANES, dst.len() / LANES);
        assert!(
            rows.iter().all(|r| r.len() == input * LANES)
                && dst.len() == output * LANES
                && output > 0
                && input > 0
        );
        assert!((1..=2).contains(&self.stride) && self.left <= 1);
        // The window of the last pixel starts within the row: at most two columns of nought to its
        // right.
        assert!((output - 1) * self.stride < input + self.left);
        (input, output)
    }

    /// Whether a 2 x 2 maximum may be taken of the sums instead of the finished bytes: what follows
    /// them keeps their order.
    pub fn can_pool(&self) -> bool {
        self.stride == 1 && self.activation != Activation::PRelu
    }

    /// As [`Depthwise::check`], for four rows that make two output rows, of which `dst` takes the
    /// maxima.
    fn check_pool(&self, rows: [&[u8]; 4], dst: &[u8]) {
        let (input, output) = (rows[0].len() / LANES, dst.len() / LANES);
        assert!(
            rows.iter().all(|r| r.len() == input * LANES)
                && dst.len() == output * LANES
                && output > 0
                && input > 0
        );
        assert!(self.can_pool() && self.left <= 1 && 2 * output - 1 < input + self.left);
    }
}

/// Convolution of each channel by itself with a window as large as the image: one output pixel.
#[derive(Debug, Clone)]
pub struct Global {
    /// `[block][group of four pixels]`, per channel four pixels; the last group is filled up with
    /// noughts.
    pub weights: Vec<Group>,
    /// One a block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// Pixels of the image.
    pub pixels: usize,
}

impl Global {
    /// Groups of four pixels.
    pub fn groups(&self) -> usize {
        self.pixels.div_ceil(4)
    }

    fn check(&self, block: usize, src: &[u8]) {
        assert!(
            src.len() == self.pixels * LANES
                && self.weights.len() == self.post.len() * self.groups()
        );
        assert!(block < self.post.len());
    }
}

/// `round(a * first + b * second)`, the sum of two quantized images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Add {
    /// From a step of the first operand to a step of the sum.
    pub first: f32,
    /// From a step of the second.
    pub second: f32,
    /// Whether each pixel of the first operand stands for two neighbours: nearest-neighbour
    /// enlargement.
    pub doubled: bool,
}

impl Add {
    fn check(&self, first: &[u8], second: &[u8], dst: &[u8]) {
        let pixels = dst.len() / LANES;
        let wanted = if self.doubled { pixels.div_ceil(2) } else { pixels };
        assert!(
            dst.len() == pixels * LANES
                && second.len() == dst.len()
                && first.len() == wanted * LANES
        );
    }
}

/// Last layer of a head: 3 x 3, each channel by itself, quantized input, floating-point output;
/// stride 1, padded by 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Weights times the input's scale, row by row of the window.
    pub weights: [[f32; LANES]; 9],
    /// Where the sums start.
    pub bias: [f32; LANES],
}

impl Head {
    fn check(&self, rows: [&[u8]; 3], dst: &[f32]) -> usize {
        let pixels = rows[0].len() / LANES;
        assert!(rows.iter().all(|r| r.len() == pixels * LANES) && dst.len() == pixels * LANES);
        pixels
    }
}

/// The operators, each on a row or a run of pixels. The provided bodies are the reference.
pub trait Kernels: Send + Sync {
    /// The instructions that they are written for.
    fn set(&self) -> InstructionSet;

    /// The stored byte of the quantized value nought: [`ZERO`] where bytes are steps plus 128, as
    /// the provided bodies have it, or 0 where they are the steps themselves in two's complement.
    fn nought(&self) -> u8 {
        ZERO
    }

    /// Interleaved image bytes to stored activations. Lengths are equal and multiples of three.
    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        scalar::quantize(table, src, dst);
    }

    /// One output row; `rows` start at the left edge of the first window.
    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        scalar::stem(op, rows, dst, pixels);
    }

    /// A run of pixels.
    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        scalar::pointwise(op, src, dst, pixels);
    }

    /// One output row of one block.
    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        scalar::depthwise(op, block, rows, dst);
    }

    /// Whether [`Kernels::depthwise_pool`] is worth while here: it needs registers for four columns
    /// and two rows of sums, and pays where finishing sums is a large part of the whole.
    fn pools(&self) -> bool {
        false
    }

    /// One row of one block of the 2 x 2 maximum with step 2 over two rows of a depth-wise
    /// convolution, of which [`Depthwise::can_pool`] holds. The same bytes as
    /// [`Kernels::depthwise`] twice and [`Kernels::max_pool`]. Only for kernels that say so by
    /// [`Kernels::pools`].
    fn depthwise_pool(&self, op: &Depthwise, block: usize, rows: [&[u8]; 4], dst: &mut [u8]) {
        scalar::depthwise_pool(op, block, rows, dst);
    }

    /// One block.
    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        scalar::global(op, block, src, dst);
    }

    /// One output row of one block of a 2 x 2 maximum with step 2.
    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        scalar::max_pool(rows, dst);
    }

    /// One row of one block.
    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        scalar::add(op, first, second, dst);
    }

    /// One row of one block.
    fn head(&self, op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
        scalar::head(op, rows, dst);
    }

    /// The logistic function, in place.
    fn sigmoid(&self, values: &mut [f32]) {
        scalar::sigmoid(values);
    }
}

/// Every kernel that this processor can run, the fastest first; the scalar one is always there.
pub fn available() -> Vec<&'static dyn Kernels> {
    let mut all: Vec<&'static dyn Kernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(avx512::detect());
        all.extend(avx2::detect());
    }
    #[cfg(target_arch = "aarch64")]
    all.extend(neon::detect());
    all.push(&scalar::Scalar);
    all
}

/// The fastest kernels that need no more than `set`.
pub fn with(set: InstructionSet) -> &'static dyn Kernels {
    available().into_iter().find(|k| k.set() <= set).unwrap_or(&scalar::Scalar)
}
