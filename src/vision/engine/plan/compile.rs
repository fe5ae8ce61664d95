//! Packs a [`LoweredNetwork`]'s weights into the kernels' operators, and says which rows each of
//! them reads.

use super::network::{
    Conv, HeadPart, IMAGE, Layer, LayerActivation, LayerKind, Linear, LoweredNetwork, Shape,
};
use crate::kernels::networks::{
    self as kernels, Add, Depthwise, Global, InputRange, LANES, Packing, Pointwise, Post, Stem,
    WeightGroup,
};

/// Memory for an image: `[block][rows][row_bytes]`, a ring of rows where it holds fewer than the
/// image has.
#[derive(Debug, Clone)]
pub(super) struct Buffer {
    pub blocks: usize,
    pub row_bytes: usize,
    /// Of the image.
    pub height: usize,
    /// That there is room for; set by the schedule.
    pub rows: usize,
    /// Of the first byte in the arena; set by the schedule.
    pub offset: usize,
}

impl Buffer {
    pub fn bytes(&self) -> usize {
        self.blocks * self.stride()
    }

    /// Bytes from a block to the next.
    pub fn stride(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// Where a row of a block starts in the arena.
    pub fn at(&self, block: usize, row: usize) -> usize {
        self.offset + block * self.stride() + row % self.rows * self.row_bytes
    }
}

/// An operator with packed weights.
pub(super) enum Op {
    /// From the caller's image to the image buffer.
    Quantize,
    /// Its windows start `skip` bytes into the rows of the image buffer.
    Stem {
        op: Stem,
        skip: usize,
    },
    Pointwise(Pointwise),
    Depthwise(Depthwise),
    /// With a 2 x 2 maximum after it.
    DepthwisePool(Depthwise),
    Global(Global),
    MaxPool,
    Add(Add),
    Head {
        op: Box<kernels::FloatHead>,
        parts: Vec<HeadPart>,
    },
    Linear(Linear),
    Output {
        index: usize,
        scale: f32,
    },
}

/// One operator between buffers.
pub(super) struct PlanStage {
    pub op: Op,
    /// Indices of buffers.
    pub inputs: Vec<usize>,
    /// None where it writes outputs of the network.
    pub output: Option<usize>,
    /// Rows of the output.
    pub height: usize,
    /// An input's row that output row 0 starts at, negative above the image; then step and size of
    /// the window. Whatever reads its input as a whole has a window of its height.
    pub window: RowWindow,
}

/// Which rows an operator reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowWindow {
    pub top: usize,
    pub stride: usize,
    pub rows: usize,
}

impl PlanStage {
    /// The rows of an input that output rows `from..to` need, within the image of `height`.
    pub fn needs(
        &self,
        input: usize,
        height: usize,
        from: usize,
        to: usize,
    ) -> std::ops::Range<usize> {
        if let (Op::Add(Add { doubled: true, .. }), 0) = (&self.op, input) {
            return from / 2..to.div_ceil(2).min(height);
        }
        let RowWindow { top, stride, rows } = self.window;
        let end = (to - 1) * stride + rows;
        (from * stride).saturating_sub(top).min(height)..end.saturating_sub(top).min(height)
    }
}

/// Buffers and stages for a network on images of `height` x `width`; the image buffer is the last
/// one.
pub(super) struct Compiled {
    pub buffers: Vec<Buffer>,
    pub stages: Vec<PlanStage>,
}

/// Pixels of zero to the left of each row in the image buffer: the largest padding of a stem.
pub(super) const LEFT: usize = 1;

impl Compiled {
    /// Takes maxima into the depth-wise convolutions before them, where nothing else reads these:
    /// the sums are compared before they are finished, three of four not at all.
    pub fn fuse_pools(&mut self) {
        let mut at = 0;
        while at < self.stages.len() {
            let Some(maker) = self.pooled(at) else {
                at += 1;
                continue;
            };
            let output = self.stages[at].output;
            let height = self.stages[at].height;
            self.stages.remove(at);
            // The maker comes before its reader.
            let stage = &mut self.stages[maker];
            stage.window = RowWindow { rows: 4, stride: 2, ..stage.window };
            (stage.output, stage.height) = (output, height);
            stage.op = match std::mem::replace(&mut stage.op, Op::MaxPool) {
                Op::Depthwise(op) => Op::DepthwisePool(op),
                other => other,
            };
        }
    }

    /// The depth-wise convolution that only the maximum at `pool` reads.
    fn pooled(&self, pool: usize) -> Option<usize> {
        let (Op::MaxPool, &[tensor]) = (&self.stages[pool].op, &self.stages[pool].inputs[..])
        else {
            return None;
        };
        let readers = self.stages.iter().filter(|s| s.inputs.contains(&tensor)).count();
        let maker = self.stages[..pool].iter().position(|s| s.output == Some(tensor))?;
        match &self.stages[maker].op {
            Op::Depthwise(op) if readers == 1 && op.can_pool() => Some(maker),
            _ => None,
        }
    }
}

const PLAIN: RowWindow = RowWindow { top: 0, stride: 1, rows: 1 };

/// # Errors
/// Names the layer whose sums or scales leave the range in which all processors agree, or whose
/// shape the image does not allow.
pub(super) fn compile(
    network: &LoweredNetwork,
    height: usize,
    width: usize,
    packing: Packing,
) -> Result<Compiled, String> {
    let mut buffers: Vec<Buffer> = network
        .tensors
        .iter()
        .map(|t| Buffer {
            blocks: t.channels.div_ceil(LANES),
            row_bytes: t.width * LANES,
            height: t.height,
            rows: t.height,
            offset: 0,
        })
        .collect();
    let image = buffers.len();
    // Read by loads of 16 bytes that start up to one pixel left of the image and end right of it.
    buffers.push(Buffer {
        blocks: 1,
        row_bytes: (width + 2 * LEFT) * 3 + 16,
        height,
        rows: height,
        offset: 0,
    });
    let mut stages = vec![PlanStage {
        op: Op::Quantize,
        inputs: vec![],
        output: Some(image),
        height,
        window: PLAIN,
    }];
    for layer in &network.layers {
        let inputs = layer.inputs.iter().map(|t| if *t == IMAGE { image } else { *t }).collect();
        let (op, window) = operator(network, layer, packing).ok_or_else(|| {
            format!(
                "the sums or scales of `{}` are too large to be the same on every processor",
                layer.name
            )
        })?;
        let height = layer.output.map_or_else(
            || match op {
                Op::Output { .. } | Op::Linear(_) => 1,
                _ => layer.inputs.first().map_or(0, |t| network.tensors[*t].height),
            },
            |t| network.tensors[t].height,
        );
        stages.push(PlanStage { op, inputs, output: layer.output, height, window });
    }
    Ok(Compiled { buffers, stages })
}

fn operator(network: &LoweredNetwork, layer: &Layer, packing: Packing) -> Option<(Op, RowWindow)> {
    let tensor = |index: usize| &network.tensors[layer.inputs[index]];
    Some(match &layer.kind {
        LayerKind::MaxPool => (Op::MaxPool, RowWindow { top: 0, stride: 2, rows: 2 }),
        LayerKind::Add { doubled } => {
            let sum = network.tensors[layer.output?].scale;
            let (first, second) = (tensor(0).scale / sum, tensor(1).scale / sum);
            let sound = |factor: f32| (0.0..1e6).contains(&factor);
            (sound(first) && sound(second)).then_some(())?;
            (Op::Add(Add { first, second, doubled: *doubled }), PLAIN)
        }
        LayerKind::Output { index } => {
            (Op::Output { index: *index, scale: tensor(0).scale }, PLAIN)
        }
        LayerKind::Linear(linear) => {
            let inputs = tensor(0).channels;
            // Sums below 2^24 are the same in `f32` on every processor.
            let magnitude = |channel: usize| {
                let weights = &linear.weights[channel * inputs..][..inputs];
                weights.iter().map(|w| i64::from(*w).abs() * 128).sum::<i64>()
                    + i64::from(linear.bias[channel]).abs()
            };
            (0..linear.bias.len()).all(|channel| magnitude(channel) < 1 << 24).then_some(())?;
            (Op::Linear(linear.clone()), PLAIN)
        }
        LayerKind::Head(head) => {
            let mut op = kernels::FloatHead { weights: [[0.0; LANES]; 9], bias: [0.0; LANES] };
            for (channel, bias) in head.bias.iter().enumerate() {
                *op.bias.get_mut(channel)? = *bias;
                for tap in 0..9 {
                    op.weights[tap][channel] = head.weights[9 * channel + tap];
                }
            }
            (
                Op::Head { op: Box::new(op), parts: head.parts.clone() },
                RowWindow { top: 1, stride: 1, rows: 3 },
            )
        }
        LayerKind::Conv(conv) => {
            let window = RowWindow { top: conv.top, stride: conv.stride, rows: 3 };
            match conv.shape {
                Shape::Stem => {
                    (Op::Stem { op: stem(conv, packing)?, skip: (LEFT - conv.left) * 3 }, window)
                }
                Shape::Pointwise => {
                    let inputs = (tensor(0).channels, network.range(layer.inputs[0]));
                    (Op::Pointwise(pointwise(conv, inputs, packing)?), PLAIN)
                }
                Shape::Depthwise => (Op::Depthwise(depthwise(conv)?), window),
                Shape::Global => {
                    let from = tensor(0);
                    let window = RowWindow { top: 0, stride: 1, rows: from.height };
                    (Op::Global(global(conv, from.height * from.width)?), window)
                }
            }
        }
    })
}

fn activation(conv: &Conv) -> kernels::Activation {
    match conv.activation {
        LayerActivation::Identity => kernels::Activation::Identity,
        LayerActivation::Relu => kernels::Activation::Relu,
        LayerActivation::PRelu { .. } => kernels::Activation::PRelu,
    }
}

/// Per block, what follows the sums of a convolution with `window` weights an output channel.
fn posts(conv: &Conv, window: usize) -> Option<Vec<Post>> {
    let channels = conv.bias.len();
    let block = |block: usize| {
        let mut parts =
            ([0i32; LANES], [0i32; LANES], [0i32; LANES], [0f32; LANES], 1.0, [0f32; LANES]);
        for lane in 0..LANES {
            let channel = block * LANES + lane;
            if channel == channels {
                break;
            }
            let weights = &conv.weights[channel * window..][..window];
            parts.0[lane] = conv.bias[channel];
            parts.1[lane] = weights.iter().map(|w| i32::from(*w)).sum();
            parts.2[lane] = weights.iter().map(|w| i32::from(*w).abs()).sum();
            parts.3[lane] = conv.scale[channel];
            if let LayerActivation::PRelu { positive, negative } = &conv.activation {
                (parts.4, parts.5[lane]) = (*positive, negative[channel]);
            }
        }
        let (bias, weights, magnitude, scale, positive, negative) = parts;
        Post::new(bias, weights, magnitude, scale, positive, negative)
    };
    (0..channels.div_ceil(LANES)).map(block).collect()
}

fn blocks<T>(channels: usize, pack: impl Fn(usize) -> T) -> Vec<T> {
    (0..channels.div_ceil(LANES)).map(pack).collect()
}

fn stem(conv: &Conv, packing: Packing) -> Option<Stem> {
    let channels = conv.bias.len();
    let weights = blocks(channels, |block| {
        let mut groups = [WeightGroup::NONE; 9];
        for lane in 0..LANES.min(channels - block * LANES) {
            // [input channel][row][column] to nine bytes a row: [row][column][input channel].
            let weights = &conv.weights[(block * LANES + lane) * 27..][..27];
            for (at, weight) in weights.iter().enumerate() {
                let (input, row, column) = (at / 9, at / 3 % 3, at % 3);
                let byte = column * 3 + input;
                groups[row * 3 + byte / 4].0[lane][byte % 4] = *weight;
            }
        }
        groups
    });
    Some(Stem::new(weights, posts(conv, 27)?, activation(conv), conv.stride, packing))
}

fn pointwise(
    conv: &Conv,
    (inputs, range): (usize, InputRange),
    packing: Packing,
) -> Option<Pointwise> {
    let channels = conv.bias.len();
    let groups = Pointwise::groups(inputs);
    let mut weights = vec![WeightGroup::NONE; channels.div_ceil(LANES) * groups];
    for (channel, row) in conv.weights.chunks_exact(inputs).enumerate() {
        for (input, weight) in row.iter().enumerate() {
            weights[channel / LANES * groups + input / 4].0[channel % LANES][input % 4] = *weight;
        }
    }
    let posts = posts(conv, inputs)?;
    Some(Pointwise::new((inputs, range), weights, posts, activation(conv), packing))
}

fn depthwise(conv: &Conv) -> Option<Depthwise> {
    let channels = conv.bias.len();
    let weights = blocks(channels, |block| {
        let mut groups = [WeightGroup::NONE; 3];
        for lane in 0..LANES.min(channels - block * LANES) {
            for (at, weight) in conv.weights[(block * LANES + lane) * 9..][..9].iter().enumerate() {
                groups[at / 3].0[lane][at % 3] = *weight;
            }
        }
        groups
    });
    Some(Depthwise::new(weights, posts(conv, 9)?, activation(conv), conv.stride, conv.left))
}

fn global(conv: &Conv, pixels: usize) -> Option<Global> {
    let (channels, groups) = (conv.bias.len(), pixels.div_ceil(4));
    let mut weights = vec![WeightGroup::NONE; channels.div_ceil(LANES) * groups];
    for (channel, image) in conv.weights.chunks_exact(pixels).enumerate() {
        for (pixel, weight) in image.iter().enumerate() {
            weights[channel / LANES * groups + pixel / 4].0[channel % LANES][pixel % 4] = *weight;
        }
    }
    Some(Global { weights, post: posts(conv, pixels)?, activation: activation(conv), pixels })
}
