//! The operators with their weights, and what their slices must hold.

use super::layout::{Blocks, BlocksMut, LANES, WeightGroup, ZERO, span};
use super::packing::{InputRange, Packing, PointwiseWeights, StemWeights, is_narrow};

/// What follows the sixteen sums of a block.
#[derive(Debug, Clone, PartialEq)]
#[repr(C, align(64))]
pub struct Post {
    /// Where the sums start: the bias less 128 times the sum of the weights.
    pub(super) bias: [i32; LANES],
    /// From a sum to quantized output steps.
    pub(super) scale: [f32; LANES],
    /// PReLU's factor for values below zero, from steps before to steps after.
    pub(super) negative: [f32; LANES],
    /// PReLU's factor for the others: the same for all channels, because it only joins two scales.
    pub(super) positive: f32,
    /// Where sums of signed steps start: the bias as the network has it.
    pub(super) signed_bias: [i32; LANES],
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
    /// Values below zero become zero.
    Relu,
    /// Multiplication with a factor by sign, then rounding: see [`Post`].
    PRelu,
}

/// First layer: 3 x 3 over three interleaved channels.
#[derive(Debug, Clone)]
pub struct Stem {
    /// Of every output block.
    pub weights: StemWeights,
    /// One an output block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// Horizontal step in pixels, 1 or 2.
    pub stride: usize,
}

impl Stem {
    /// `weights` has, for each output block and each of three rows, three groups of four of the
    /// row's nine bytes; the last three weights of a row are zero.
    pub fn new(
        weights: Vec<[WeightGroup; 9]>,
        post: Vec<Post>,
        activation: Activation,
        stride: usize,
        packing: Packing,
    ) -> Self {
        Self { weights: StemWeights::packed(weights, packing), post, activation, stride }
    }

    /// Bytes of each of the three rows that may be read for `pixels` outputs: a window is nine
    /// bytes, of which a kernel may load sixteen.
    pub fn row_bytes(&self, pixels: usize) -> usize {
        (pixels - 1) * self.stride * 3 + 16
    }

    /// Panics where the slices do not hold the windows and outputs of `pixels` pixels: a fault of
    /// the plan.
    pub(super) fn check(&self, rows: [&[u8]; 3], dst: &BlocksMut<'_>, pixels: usize) {
        assert!(pixels > 0 && rows.iter().all(|r| r.len() >= self.row_bytes(pixels)));
        assert!(self.weights.blocks() == self.post.len() && !self.post.is_empty());
        assert!(dst.bytes.len() >= span(self.post.len(), dst.stride, pixels));
    }
}

/// 1 x 1 convolution.
#[derive(Debug, Clone)]
pub struct Pointwise {
    /// Groups of four input channels that hold weights; even.
    pub groups: usize,
    /// Input blocks, `groups / 4` rounded up.
    pub in_blocks: usize,
    /// Of every output block.
    pub weights: PointwiseWeights,
    /// One an output block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
}

impl Pointwise {
    /// For `inputs` channels of steps within `range`; `weights` is `[output block][group]`, with as
    /// many groups as [`Pointwise::groups`] says.
    pub fn new(
        (inputs, range): (usize, InputRange),
        weights: Vec<WeightGroup>,
        post: Vec<Post>,
        activation: Activation,
        packing: Packing,
    ) -> Self {
        let groups = Self::groups(inputs);
        let weights = PointwiseWeights::packed(weights, groups, range, packing);
        Self { groups, in_blocks: inputs.div_ceil(LANES), weights, post, activation }
    }

    /// Groups that `inputs` channels are multiplied in.
    pub fn groups(inputs: usize) -> usize {
        inputs.div_ceil(8) * 2
    }

    /// Panics where the slices do not hold `pixels` pixels in every block: a fault of the plan.
    pub(super) fn check(&self, src: &Blocks<'_>, dst: &BlocksMut<'_>, pixels: usize) {
        assert!(
            pixels > 0
                && self.groups.is_multiple_of(2)
                && self.groups > 0
                && self.groups <= 4 * self.in_blocks
        );
        assert!(self.weights.blocks(self.groups) == self.post.len() && !self.post.is_empty());
        assert!(src.bytes.len() >= span(self.in_blocks, src.stride, pixels));
        assert!(dst.bytes.len() >= span(self.post.len(), dst.stride, pixels));
    }
}

/// 3 x 3 convolution of each channel by itself.
#[derive(Debug, Clone)]
pub struct Depthwise {
    /// Per block and row of the window: the weights of three columns and a zero, a channel.
    pub weights: Vec<[WeightGroup; 3]>,
    /// One a block.
    pub post: Vec<Post>,
    /// What follows.
    pub activation: Activation,
    /// Horizontal step in pixels, 1 or 2.
    pub stride: usize,
    /// Columns of zero to the left of the input, 0 or 1.
    pub left: usize,
    /// As [`is_narrow`] says.
    pub narrow: bool,
}

impl Depthwise {
    /// Of its parts, as the fields say.
    pub fn new(
        weights: Vec<[WeightGroup; 3]>,
        post: Vec<Post>,
        activation: Activation,
        stride: usize,
        left: usize,
    ) -> Self {
        let narrow = is_narrow(weights.as_flattened());
        Self { weights, post, activation, stride, left, narrow }
    }

    /// Input and output pixels of a row. Panics where the rows differ in length or cannot be read
    /// so far.
    pub(super) fn check(&self, rows: [&[u8]; 3], dst: &[u8]) -> (usize, usize) {
        let (input, output) = (rows[0].len() / LANES, dst.len() / LANES);
        assert!(
            rows.iter().all(|r| r.len() == input * LANES)
                && dst.len() == output * LANES
                && output > 0
                && input > 0
        );
        assert!((1..=2).contains(&self.stride) && self.left <= 1);
        // The window of the last pixel starts within the row: at most two columns of zero to its
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
    pub(super) fn check_pool(&self, rows: [&[u8]; 4], dst: &[u8]) {
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
    /// zeros.
    pub weights: Vec<WeightGroup>,
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

    pub(super) fn check(&self, block: usize, src: &[u8]) {
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
    pub(super) fn check(&self, first: &[u8], second: &[u8], dst: &[u8]) {
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
pub struct FloatHead {
    /// Weights times the input's scale, row by row of the window.
    pub weights: [[f32; LANES]; 9],
    /// Where the sums start.
    pub bias: [f32; LANES],
}

impl FloatHead {
    pub(super) fn check(&self, rows: [&[u8]; 3], dst: &[f32]) -> usize {
        let pixels = rows[0].len() / LANES;
        assert!(rows.iter().all(|r| r.len() == pixels * LANES) && dst.len() == pixels * LANES);
        pixels
    }
}
