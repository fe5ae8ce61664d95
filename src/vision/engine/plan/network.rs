//! The quantized network between the ONNX graph and the kernels' operators: what is computed, not
//! yet how.

use crate::kernels::networks::InputRange;

/// A quantized image: values are `step * scale`, `step` an `i8`. By its index in
/// [`LoweredNetwork::tensors`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub scale: f32,
}

/// The image that goes in; not a tensor, for its three channels are interleaved.
pub(super) const IMAGE: usize = usize::MAX;

/// One step of the network.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The ONNX node that it came from, for messages.
    pub name: String,
    pub kind: LayerKind,
    /// Indices of tensors, or [`IMAGE`].
    pub inputs: Vec<usize>,
    /// None where it writes outputs of the network.
    pub output: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum LayerKind {
    Conv(Conv),
    /// 2 x 2, step 2.
    MaxPool,
    /// Of two tensors; `doubled` where the first one has half the size and is enlarged.
    Add {
        doubled: bool,
    },
    /// A last layer in floating point.
    Head(HeadLayer),
    /// A last layer that is fully connected.
    Linear(Linear),
    /// Quantized values to an output as they are.
    Output {
        index: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// 3 x 3 over the three channels of the image.
    Stem,
    Pointwise,
    /// 3 x 3, each channel by itself.
    Depthwise,
    /// The whole image, each channel by itself.
    Global,
}

#[derive(Debug, Clone)]
pub(super) struct Conv {
    pub shape: Shape,
    /// Both directions.
    pub stride: usize,
    /// Rows of zero above the image.
    pub top: usize,
    /// Columns of zero to its left.
    pub left: usize,
    /// `[output channel][input channel of its group][row][column]`
    pub weights: Vec<i8>,
    /// An output channel.
    pub bias: Vec<i32>,
    /// From a sum to the steps that the graph quantizes to after the convolution, an output
    /// channel.
    pub scale: Vec<f32>,
    pub activation: LayerActivation,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LayerActivation {
    Identity,
    Relu,
    /// Steps before to steps after: for values from zero on, and below zero an output channel.
    PRelu {
        positive: f32,
        negative: Vec<f32>,
    },
}

/// Sums over all channels of one pixel, in real values.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// `[output channel][input channel]`
    pub weights: Vec<i8>,
    /// An output channel, in steps of its sums.
    pub bias: Vec<i32>,
    /// From a sum to its real value, an output channel.
    pub scale: Vec<f32>,
    /// Index of the network's output.
    pub output: usize,
}

/// Depth-wise 3 x 3 in floating point on a quantized tensor.
#[derive(Debug, Clone)]
pub(super) struct HeadLayer {
    /// `[channel][9]`, times the tensor's scale.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// Which channels go where.
    pub parts: Vec<HeadPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeadPart {
    pub first: usize,
    pub channels: usize,
    /// Index of the network's output, `[1, height * width, channels]`.
    pub output: usize,
    pub sigmoid: bool,
}

/// The network.
#[derive(Debug, Clone, Default)]
pub(super) struct LoweredNetwork {
    pub tensors: Vec<Tensor>,
    /// Inputs come before the layers that read them.
    pub layers: Vec<Layer>,
    /// The image's scale.
    pub image_scale: f32,
    /// Names and lengths.
    pub outputs: Vec<(String, usize)>,
}

impl LoweredNetwork {
    /// Heads that hang on pointwise convolutions of one tensor are joined to one convolution and
    /// one head, as long as their channels fill at most `lanes`: a detector's box, points and
    /// scores cost one block instead of four.
    pub fn join_heads(&mut self, lanes: usize) {
        let mut at = 0;
        while at < self.layers.len() {
            match self.partner(at, lanes) {
                Some(other) => self.join(at, other),
                None => at += 1,
            }
        }
    }

    /// What is known of the steps of a tensor from the layer that makes it.
    pub fn range(&self, tensor: usize) -> InputRange {
        let Some(maker) = self.layers.iter().find(|l| l.output == Some(tensor)) else {
            return InputRange::Signed;
        };
        match &maker.kind {
            LayerKind::Conv(Conv { activation: LayerActivation::Relu, .. }) => {
                InputRange::NotNegative
            }
            // Neither a maximum nor a sum of what is not negative is; the factors are scales.
            LayerKind::MaxPool | LayerKind::Add { .. }
                if maker.inputs.iter().all(|t| self.range(*t) == InputRange::NotNegative) =>
            {
                InputRange::NotNegative
            }
            _ => InputRange::Signed,
        }
    }

    /// The pointwise layer that feeds only this head, which must be plain.
    fn feeder(&self, head: usize) -> Option<usize> {
        let (LayerKind::Head(_), &[tensor]) =
            (&self.layers[head].kind, &self.layers[head].inputs[..])
        else {
            return None;
        };
        let readers = self.layers.iter().filter(|l| l.inputs.contains(&tensor)).count();
        let feeder = self.layers.iter().position(|l| l.output == Some(tensor))?;
        match &self.layers[feeder].kind {
            LayerKind::Conv(c)
                if c.shape == Shape::Pointwise
                    && c.activation == LayerActivation::Identity
                    && readers == 1 =>
            {
                Some(feeder)
            }
            _ => None,
        }
    }

    fn partner(&self, head: usize, lanes: usize) -> Option<usize> {
        let feeder = self.feeder(head)?;
        let channels = |layer: usize| match &self.layers[layer].kind {
            LayerKind::Head(h) => h.bias.len(),
            _ => 0,
        };
        (head + 1..self.layers.len()).find(|&other| {
            self.feeder(other).is_some_and(|f| self.layers[f].inputs == self.layers[feeder].inputs)
                && channels(head) + channels(other) <= lanes
        })
    }

    fn join(&mut self, head: usize, other: usize) {
        let (Some(into), Some(from)) = (self.feeder(head), self.feeder(other)) else { return };
        let taken = (self.layers[from].kind.clone(), self.layers[other].kind.clone());
        let (LayerKind::Conv(conv), LayerKind::Head(float)) = taken else { return };
        let first = float.bias.len();
        let mut offset = 0;
        if let LayerKind::Head(h) = &mut self.layers[head].kind {
            offset = h.bias.len();
            h.weights.extend(float.weights);
            h.bias.extend(float.bias);
            h.parts
                .extend(float.parts.into_iter().map(|p| HeadPart { first: p.first + offset, ..p }));
        }
        if let LayerKind::Conv(c) = &mut self.layers[into].kind {
            c.weights.extend(conv.weights);
            c.bias.extend(conv.bias);
            c.scale.extend(conv.scale);
        }
        if let Some(tensor) = self.layers[into].output {
            self.tensors[tensor].channels = offset + first;
        }
        // The later one goes first, so that the earlier index stays valid. The joined layers stay
        // in order: both convolutions read the same tensor.
        self.layers.remove(other.max(from));
        self.layers.remove(other.min(from));
    }
}
