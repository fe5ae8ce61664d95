//! From an ONNX graph in the QDQ form to a [`Network`] of fused int8 layers.
//!
//! In that form, every tensor that is quantized passes a `QuantizeLinear` and a `DequantizeLinear`,
//! and the operators between are written in floating point. Walking the graph once in its order,
//! each value is what it means: quantized steps, their real values, a constant, or a computation
//! that waits for the `QuantizeLinear` that ends it. What does not fit is an error that names the
//! node: the caller then runs the reference engine.
//!
//! The last convolution before an output may go without a quantization behind it: its sums then
//! become real values at once, which costs nothing and loses nothing.
//!
//! Activations must be symmetric (zero point nought) with one scale, weights symmetric with one
//! scale an output channel; an activation function may have a quantization before it as well as
//! behind it, and keeps that rounding.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::network::{
    Activation, Conv, Head, IMAGE, Kind, Layer, Linear, Network, Part, Shape, Tensor,
};
use super::onnx::{Graph, Values, int, ints, text};

/// Why a graph stays with the reference engine.
#[derive(Debug, thiserror::Error)]
#[error("operator {operator} `{node}`: {reason}")]
pub(crate) struct Unlowered {
    pub operator: String,
    pub node: String,
    pub reason: String,
}

/// What a name of the graph stands for.
#[derive(Debug, Clone)]
enum Value {
    /// The network's input.
    Image,
    /// The input's steps, and their real values.
    ImageSteps,
    ImageReal,
    /// Steps of a tensor, and their real values.
    Steps(usize),
    Real(usize),
    /// A tensor enlarged to twice its size; likewise.
    DoubledSteps(usize),
    DoubledReal(usize),
    /// Dequantized constants.
    Weights {
        values: Vec<i32>,
        dims: Vec<usize>,
        scale: Vec<f32>,
    },
    /// Computed, but not yet quantized.
    Waiting(Waiting),
    /// A last fully connected layer (by index) in floating point.
    Sums(usize),
    /// On its way from a floating-point last layer (by index) to an output.
    Part {
        layer: usize,
        stage: Stage,
    },
}

/// How far the output of a head has come on the way from NCHW to `[1, cells, channels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Planar,
    Interleaved,
    Flat,
}

#[derive(Debug, Clone)]
enum Waiting {
    /// `scale`: of its sums, an output channel.
    Conv {
        conv: Conv,
        input: usize,
        size: [usize; 3],
        scale: Vec<f32>,
    },
    /// No slopes: ReLU.
    Activation {
        tensor: usize,
        slopes: Option<Vec<f32>>,
    },
    Add {
        first: usize,
        second: usize,
        doubled: bool,
    },
    MaxPool {
        tensor: usize,
    },
    Doubled {
        tensor: usize,
    },
    /// Another shape of the same values.
    Same {
        tensor: usize,
    },
}

/// Lowers a graph for images of `height` x `width`.
pub(super) fn lower(proto: &GraphProto, height: usize, width: usize) -> Result<Network, Unlowered> {
    let fail = |reason: &str| Unlowered {
        operator: "graph".into(),
        node: proto.name.clone(),
        reason: reason.into(),
    };
    let graph = Graph::new(proto).ok_or_else(|| fail("needs one tensor as its input"))?;
    let shape = [1, 3, height, width];
    if graph.input_dims.len() != 4
        || graph.input_dims.iter().zip(shape).any(|(d, want)| d.is_some_and(|d| d != want))
    {
        return Err(fail("the input has another shape"));
    }
    let outputs = graph.outputs.iter().map(|name| (name.to_string(), 0)).collect();
    let mut lowering = Lowering {
        values: HashMap::from([(graph.input, Value::Image)]),
        network: Network { outputs, ..Network::default() },
        size: [height, width],
        graph: &graph,
    };
    for node in graph.nodes {
        lowering.node(node).map_err(|reason| Unlowered {
            operator: node.op_type.clone(),
            node: node.name.clone(),
            reason,
        })?;
    }
    lowering.finish().map_err(|reason| fail(&reason))
}

struct Lowering<'a> {
    graph: &'a Graph<'a>,
    values: HashMap<&'a str, Value>,
    network: Network,
    /// Of the image: height, width.
    size: [usize; 2],
}

type Step<T> = Result<T, String>;

impl<'a> Lowering<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Step<()> {
        let [output] = &node.output[..] else { return Err("has more than one output".into()) };
        let value = match node.op_type.as_str() {
            "QuantizeLinear" => self.quantize(node)?,
            "DequantizeLinear" => self.dequantize(node)?,
            "Conv" => self.conv(node)?,
            "Relu" | "PRelu" => self.activation(node)?,
            "Add" => self.add(node)?,
            "MaxPool" => self.max_pool(node)?,
            "Resize" => self.resize(node)?,
            "Sigmoid" | "Transpose" => self.head_step(node)?,
            "Reshape" | "Flatten" => self.reshape(node)?,
            _ => return Err("not known to the plan".into()),
        };
        self.values.insert(output, value);
        Ok(())
    }

    fn input(&self, node: &'a NodeProto, index: usize) -> Step<&Value> {
        let name = node.input.get(index).ok_or_else(|| format!("has no input {index}"))?;
        self.values
            .get(name.as_str())
            .ok_or_else(|| format!("its input `{name}` is of no known kind"))
    }

    /// Scale(s) of a quantization, whose zero point must be nought.
    fn scales(&self, node: &NodeProto) -> Step<Vec<f32>> {
        let constant =
            |index: usize| node.input.get(index).and_then(|name| self.graph.constant(name));
        let scales = constant(1).and_then(|c| c.floats()).ok_or("its scale is no constant")?;
        // An absent zero point would mean unsigned steps.
        if !constant(2)
            .is_some_and(|z| z.is_nought() && matches!(z.values, Values::I8(_) | Values::I32(_)))
        {
            return Err("its zero point is not a signed nought".into());
        }
        if scales.is_empty() || !scales.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("its scale is not positive".into());
        }
        Ok(scales.to_vec())
    }

    fn one_scale(&self, node: &NodeProto) -> Step<f32> {
        match self.scales(node)?[..] {
            [scale] => Ok(scale),
            _ => Err("activations must have one scale".into()),
        }
    }

    fn dequantize(&mut self, node: &'a NodeProto) -> Step<Value> {
        let name = node.input.first().ok_or("has no input")?;
        if let Some(constant) = self.graph.constant(name) {
            let values = match &constant.values {
                Values::I8(v) => v.iter().map(|v| i32::from(*v)).collect(),
                Values::I32(v) => v.clone(),
                _ => return Err("constants must be int8 or int32".into()),
            };
            let (scale, dims) = (self.scales(node)?, constant.dims.clone());
            let channels = dims.first().copied().unwrap_or(1);
            if scale.len() != 1 && (scale.len() != channels || int(node, "axis", 1) != 0) {
                return Err("constants must have one scale, or one an output channel".into());
            }
            return Ok(Value::Weights { values, dims, scale });
        }
        let scale = self.one_scale(node)?;
        let (have, real) = match *self.input(node, 0)? {
            Value::ImageSteps => (self.network.image_scale, Value::ImageReal),
            Value::Steps(tensor) => (self.network.tensors[tensor].scale, Value::Real(tensor)),
            Value::DoubledSteps(tensor) => {
                (self.network.tensors[tensor].scale, Value::DoubledReal(tensor))
            }
            _ => return Err("its input is not quantized".into()),
        };
        if have != scale {
            return Err("its scale differs from the quantization's".into());
        }
        Ok(real)
    }

    fn quantize(&mut self, node: &'a NodeProto) -> Step<Value> {
        let scale = self.one_scale(node)?;
        let kept = |have: f32| {
            if have == scale {
                Ok(())
            } else {
                Err("it changes the scale of an operator that keeps it")
            }
        };
        let waiting = match self.input(node, 0)? {
            Value::Image => {
                self.network.image_scale = scale;
                return Ok(Value::ImageSteps);
            }
            Value::Waiting(waiting) => waiting.clone(),
            _ => return Err("its input is of no kind that can be quantized".into()),
        };
        let name = node.name.clone();
        match waiting {
            Waiting::Conv { mut conv, input, size: [channels, height, width], scale: sums } => {
                conv.scale = sums.iter().map(|s| s / scale).collect();
                Ok(self.push(
                    name,
                    Kind::Conv(conv),
                    vec![input],
                    Tensor { channels, height, width, scale },
                ))
            }
            Waiting::Activation { tensor, slopes } => self.fuse(tensor, slopes, scale),
            Waiting::Add { first, second, doubled } => {
                let tensor = Tensor { scale, ..self.network.tensors[second].clone() };
                Ok(self.push(name, Kind::Add { doubled }, vec![first, second], tensor))
            }
            Waiting::MaxPool { tensor } => {
                let from = self.network.tensors[tensor].clone();
                kept(from.scale)?;
                let to = Tensor { height: from.height / 2, width: from.width / 2, ..from };
                Ok(self.push(name, Kind::MaxPool, vec![tensor], to))
            }
            Waiting::Doubled { tensor } => {
                kept(self.network.tensors[tensor].scale)?;
                Ok(Value::DoubledSteps(tensor))
            }
            Waiting::Same { tensor } => {
                kept(self.network.tensors[tensor].scale)?;
                Ok(Value::Steps(tensor))
            }
        }
    }

    fn push(&mut self, name: String, kind: Kind, inputs: Vec<usize>, tensor: Tensor) -> Value {
        let output = self.network.tensors.len();
        self.network.tensors.push(tensor);
        self.network.layers.push(Layer { name, kind, inputs, output: Some(output) });
        Value::Steps(output)
    }

    /// Takes an activation function into the convolution that made the tensor, which nobody else
    /// reads.
    fn fuse(&mut self, tensor: usize, slopes: Option<Vec<f32>>, after: f32) -> Step<Value> {
        let before = self.network.tensors[tensor].scale;
        let maker = self.network.layers.iter_mut().find(|l| l.output == Some(tensor));
        let Some(Kind::Conv(conv)) = maker.map(|l| &mut l.kind) else {
            return Err("the activation before it does not follow a convolution".into());
        };
        if conv.activation != Activation::Identity {
            return Err("two activations in a row".into());
        }
        conv.activation = match slopes {
            None if before == after => Activation::Relu,
            None => Activation::PRelu {
                positive: factor(before, 1.0, after),
                negative: vec![0.0; conv.bias.len()],
            },
            Some(slopes) => Activation::PRelu {
                positive: factor(before, 1.0, after),
                negative: slopes.iter().map(|slope| factor(before, *slope, after)).collect(),
            },
        };
        self.network.tensors[tensor].scale = after;
        Ok(Value::Steps(tensor))
    }

    fn activation(&mut self, node: &'a NodeProto) -> Step<Value> {
        let mut value = self.input(node, 0)?.clone();
        let slopes = match node.op_type.as_str() {
            "Relu" => None,
            _ => {
                let slopes = node.input.get(1).and_then(|name| self.graph.constant(name));
                let slopes = slopes.and_then(|c| c.floats()).ok_or("its slopes are no constant")?;
                Some(slopes.to_vec())
            }
        };
        match (&mut value, slopes) {
            (Value::Real(tensor), slopes) => {
                let name = node.input[0].as_str();
                let steps =
                    self.graph.nodes.iter().find(|n| n.output.first().is_some_and(|o| o == name));
                let steps = steps.and_then(|n| n.input.first()).map_or("", String::as_str);
                if self.graph.uses(name) != 1 || self.graph.uses(steps) != 1 {
                    return Err("its input is read by others too".into());
                }
                let channels = self.network.tensors[*tensor].channels;
                let slopes = match slopes {
                    Some(s) if s.len() == 1 => Some(vec![s[0]; channels]),
                    Some(s) if s.len() != channels => {
                        return Err("needs one slope, or one a channel".into());
                    }
                    other => other,
                };
                Ok(Value::Waiting(Waiting::Activation { tensor: *tensor, slopes }))
            }
            // Rounding and cutting off below nought may change places, so one quantization behind
            // both is the same.
            (Value::Waiting(Waiting::Conv { conv, .. }), None)
                if self.graph.uses(&node.input[0]) == 1 =>
            {
                conv.activation = Activation::Relu;
                Ok(value)
            }
            _ => Err("its input is not quantized".into()),
        }
    }

    fn add(&mut self, node: &'a NodeProto) -> Step<Value> {
        let (first, second, doubled) = match (self.input(node, 0)?, self.input(node, 1)?) {
            (&Value::Real(a), &Value::Real(b)) => (a, b, false),
            (&Value::DoubledReal(a), &Value::Real(b))
            | (&Value::Real(b), &Value::DoubledReal(a)) => (a, b, true),
            _ => return Err("its operands are not both quantized images".into()),
        };
        let (a, b) = (&self.network.tensors[first], &self.network.tensors[second]);
        let factor = if doubled { 2 } else { 1 };
        if (a.channels, a.height * factor, a.width * factor) != (b.channels, b.height, b.width) {
            return Err("its operands differ in shape".into());
        }
        Ok(Value::Waiting(Waiting::Add { first, second, doubled }))
    }

    fn max_pool(&mut self, node: &'a NodeProto) -> Step<Value> {
        let &Value::Real(tensor) = self.input(node, 0)? else {
            return Err("its input is not quantized".into());
        };
        let plain = ints(node, "kernel_shape") == [2, 2]
            && ints(node, "strides") == [2, 2]
            && ints(node, "pads").iter().all(|p| *p == 0)
            && ints(node, "dilations").iter().all(|d| *d == 1)
            && int(node, "ceil_mode", 0) == 0
            && ["NOTSET", "VALID"].contains(&text(node, "auto_pad", "NOTSET"));
        let from = &self.network.tensors[tensor];
        if !plain || from.height < 2 || from.width < 2 {
            return Err("only 2 x 2 with step 2 and without padding".into());
        }
        Ok(Value::Waiting(Waiting::MaxPool { tensor }))
    }

    fn resize(&mut self, node: &'a NodeProto) -> Step<Value> {
        let &Value::Real(tensor) = self.input(node, 0)? else {
            return Err("its input is not quantized".into());
        };
        let scales =
            node.input.get(2).and_then(|name| self.graph.constant(name)).and_then(|c| c.floats());
        let plain = scales == Some(&[1.0, 1.0, 2.0, 2.0])
            && node.input.len() == 3
            && text(node, "mode", "nearest") == "nearest"
            && text(node, "coordinate_transformation_mode", "half_pixel") == "asymmetric"
            && text(node, "nearest_mode", "round_prefer_floor") == "floor";
        if !plain {
            return Err("only nearest-neighbour enlargement by two, asymmetric, floor".into());
        }
        Ok(Value::Waiting(Waiting::Doubled { tensor }))
    }

    fn conv(&mut self, node: &'a NodeProto) -> Step<Value> {
        if ints(node, "dilations").iter().any(|d| *d != 1) {
            return Err("dilated".into());
        }
        if text(node, "auto_pad", "NOTSET") != "NOTSET" {
            return Err("automatic padding".into());
        }
        let constant =
            |index: usize| node.input.get(index).and_then(|name| self.graph.constant(name));
        if let (&Value::Real(tensor), Some(weights)) = (self.input(node, 0)?, constant(1)) {
            let weights = weights.floats().ok_or("its weights are of another type")?.to_vec();
            let bias =
                constant(2).and_then(|c| c.floats()).ok_or("its bias is no constant")?.to_vec();
            return self.head(node, tensor, &weights, bias);
        }
        let Value::Weights { values: weights, dims, scale } = self.input(node, 1)? else {
            return Err("its weights are not quantized".into());
        };
        let &[out_channels, group_channels, rows, columns] = &dims[..] else {
            return Err("not two-dimensional".into());
        };
        let (input, [channels, height, width], in_scale) = match *self.input(node, 0)? {
            Value::ImageReal => (IMAGE, [3, self.size[0], self.size[1]], self.network.image_scale),
            Value::Real(t) => {
                let from = &self.network.tensors[t];
                (t, [from.channels, from.height, from.width], from.scale)
            }
            _ => return Err("its input is not quantized".into()),
        };
        let group = usize::try_from(int(node, "group", 1)).map_err(|_| "negative group")?;
        let (stride, pads) = geometry(node)?;
        let [top, left, bottom, right] = pads;
        let depthwise = group == channels && group_channels == 1 && out_channels == channels;
        let full = group == 1 && group_channels == channels;
        let shape = match (rows, columns) {
            (3, 3) if input == IMAGE && full && pads.iter().all(|p| *p <= 1) => Shape::Stem,
            (1, 1) if input != IMAGE && full && stride == 1 && pads == [0; 4] => Shape::Pointwise,
            (3, 3) if input != IMAGE && depthwise && pads.iter().all(|p| *p <= 1) => {
                Shape::Depthwise
            }
            (h, w)
                if input != IMAGE && depthwise && (h, w) == (height, width) && pads == [0; 4] =>
            {
                Shape::Global
            }
            _ => {
                return Err(format!(
                    "{rows} x {columns}, group {group} of {channels} channels, stride {stride}, \
                     padding {pads:?}"
                ));
            }
        };
        let sides = [(height + top + bottom, rows), (width + left + right, columns)];
        if sides.iter().any(|(side, window)| side < window) || out_channels == 0 {
            return Err("the image is smaller than the window".into());
        }
        let size = sides.map(|(side, window)| (side - window) / stride + 1);
        let weight_scale =
            |channel: usize| if scale.len() == 1 { scale[0] } else { scale[channel] };
        let sums: Vec<f32> = (0..out_channels).map(|c| in_scale * weight_scale(c)).collect();
        let bias = self.bias(node, &sums)?;
        let weights = weights.iter().map(|w| i8::try_from(*w)).collect::<Result<_, _>>();
        let weights = weights.map_err(|_| "its weights are not int8")?;
        let conv = Conv {
            shape,
            stride,
            top,
            left,
            weights,
            bias,
            scale: Vec::new(),
            activation: Activation::Identity,
        };
        Ok(Value::Waiting(Waiting::Conv {
            conv,
            input,
            size: [out_channels, size[0], size[1]],
            scale: sums,
        }))
    }

    /// The bias in steps of the sums.
    fn bias(&self, node: &'a NodeProto, sums: &[f32]) -> Step<Vec<i32>> {
        if node.input.len() < 3 {
            return Ok(vec![0; sums.len()]);
        }
        let Value::Weights { values, scale, .. } = self.input(node, 2)? else {
            return Err("its bias is not quantized".into());
        };
        if values.len() != sums.len() {
            return Err("its bias has another length".into());
        }
        let steps = values.iter().zip(sums).enumerate().map(|(channel, (value, sum))| {
            let own = if scale.len() == 1 { scale[0] } else { scale[channel] };
            let steps = f64::from(*value) * f64::from(own) / f64::from(*sum);
            (steps.abs() < f64::from(1 << 30)).then(|| steps.round_ties_even() as i32)
        });
        steps.collect::<Option<_>>().ok_or_else(|| "its bias is too large".into())
    }

    fn head(
        &mut self,
        node: &'a NodeProto,
        tensor: usize,
        weights: &[f32],
        bias: Vec<f32>,
    ) -> Step<Value> {
        let from = &self.network.tensors[tensor];
        let plain = ints(node, "kernel_shape") == [3, 3]
            && geometry(node)? == (1, [1; 4])
            && usize::try_from(int(node, "group", 1)) == Ok(from.channels)
            && weights.len() == 9 * from.channels
            && bias.len() == from.channels;
        if !plain {
            return Err("only 3 x 3 depth-wise with stride 1 can stay in floating point".into());
        }
        if !weights.iter().chain(&bias).all(|w| w.is_finite()) {
            return Err("its weights are not finite".into());
        }
        let weights = weights.iter().map(|w| w * from.scale).collect();
        let part = Part { first: 0, channels: from.channels, output: usize::MAX, sigmoid: false };
        let kind = Kind::Head(Head { weights, bias, parts: vec![part] });
        self.network.layers.push(Layer {
            name: node.name.clone(),
            kind,
            inputs: vec![tensor],
            output: None,
        });
        Ok(Value::Part { layer: self.network.layers.len() - 1, stage: Stage::Planar })
    }

    /// The part that a head was lowered to, and its cells.
    fn part(&mut self, layer: usize) -> Option<(&mut Part, usize)> {
        let cells = self.network.layers[layer].inputs.first().map(|t| &self.network.tensors[*t])?;
        let cells = cells.height * cells.width;
        match &mut self.network.layers[layer].kind {
            Kind::Head(h) => h.parts.first_mut().map(|p| (p, cells)),
            _ => None,
        }
    }

    /// A depth-wise convolution whose sums nobody quantizes: a head.
    fn quantized_head(&mut self, node: &NodeProto, waiting: &Waiting) -> Step<Value> {
        let Waiting::Conv { conv, input, size, scale } = waiting else {
            return Err("only behind a head's last convolution".into());
        };
        let from =
            self.network.tensors.get(*input).ok_or("only behind a head's last convolution")?;
        let plain = conv.shape == Shape::Depthwise
            && conv.activation == Activation::Identity
            && (conv.stride, conv.top, conv.left) == (1, 1, 1)
            && *size == [from.channels, from.height, from.width];
        if !plain {
            return Err("only 3 x 3 depth-wise with stride 1 can end in floating point".into());
        }
        let channels = from.channels;
        let weights =
            conv.weights.iter().enumerate().map(|(at, w)| f32::from(*w) * scale[at / 9]).collect();
        let bias = conv.bias.iter().zip(scale).map(|(b, s)| *b as f32 * s).collect();
        let part = Part { first: 0, channels, output: usize::MAX, sigmoid: false };
        let kind = Kind::Head(Head { weights, bias, parts: vec![part] });
        self.network.layers.push(Layer {
            name: node.name.clone(),
            kind,
            inputs: vec![*input],
            output: None,
        });
        Ok(Value::Part { layer: self.network.layers.len() - 1, stage: Stage::Planar })
    }

    fn head_step(&mut self, node: &'a NodeProto) -> Step<Value> {
        let value = match self.input(node, 0)?.clone() {
            Value::Waiting(waiting) => self.quantized_head(node, &waiting)?,
            other => other,
        };
        let Value::Part { layer, stage } = value else {
            return Err("only behind a head's last convolution".into());
        };
        if self.graph.uses(&node.input[0]) != 1 {
            return Err("its input is read by others too".into());
        }
        if node.op_type == "Transpose" {
            return match (ints(node, "perm"), stage) {
                ([0, 2, 3, 1], Stage::Planar) => {
                    Ok(Value::Part { layer, stage: Stage::Interleaved })
                }
                _ => Err("only from NCHW to NHWC".into()),
            };
        }
        match self.part(layer) {
            Some((part, _)) if !part.sigmoid => part.sigmoid = true,
            _ => return Err("twice in a row".into()),
        }
        Ok(Value::Part { layer, stage })
    }

    fn reshape(&mut self, node: &'a NodeProto) -> Step<Value> {
        let shape = node.input.get(1).and_then(|name| self.graph.constant(name));
        let shape = match shape.map(|c| &c.values) {
            Some(Values::I64(shape)) => &shape[..],
            _ if node.op_type == "Flatten" && int(node, "axis", 1) == 1 => &[1, -1],
            _ => return Err("its shape is no constant".into()),
        };
        if let Value::Waiting(Waiting::Conv { conv, input, size: [channels, 1, 1], scale }) =
            self.input(node, 0)?.clone()
            && conv.shape == Shape::Pointwise
            && conv.activation == Activation::Identity
            && self.graph.uses(&node.input[0]) == 1
        {
            let flat = |n: i64| n == -1 || usize::try_from(n) == Ok(channels);
            let ([1, n], true) = (
                shape,
                self.network.tensors[input].height * self.network.tensors[input].width == 1,
            ) else {
                return Err("only from one pixel to its channels".into());
            };
            if !flat(*n) {
                return Err("only from one pixel to its channels".into());
            }
            let Conv { weights, bias, .. } = conv;
            let kind = Kind::Linear(Linear { weights, bias, scale, output: usize::MAX });
            self.network.layers.push(Layer {
                name: node.name.clone(),
                kind,
                inputs: vec![input],
                output: None,
            });
            return Ok(Value::Sums(self.network.layers.len() - 1));
        }
        match *self.input(node, 0)? {
            Value::Real(tensor) => {
                let from = &self.network.tensors[tensor];
                // With one pixel, channels are what is left, in order.
                let flat = |n: i64| n == -1 || usize::try_from(n) == Ok(from.channels);
                match shape {
                    [1, n] if flat(*n) && from.height * from.width == 1 => {
                        Ok(Value::Waiting(Waiting::Same { tensor }))
                    }
                    _ => Err("only from one pixel to its channels".into()),
                }
            }
            Value::Part { layer, stage: Stage::Interleaved }
                if self.graph.uses(&node.input[0]) == 1 =>
            {
                let (part, cells) = self.part(layer).ok_or("its head is gone")?;
                let flat = |n: i64| n == -1 || usize::try_from(n) == Ok(cells);
                match shape {
                    [1, n, c] if flat(*n) && usize::try_from(*c) == Ok(part.channels) => {
                        Ok(Value::Part { layer, stage: Stage::Flat })
                    }
                    _ => Err("only from NHWC to cells".into()),
                }
            }
            _ => Err("only at the end of a head or of an embedding".into()),
        }
    }

    fn finish(mut self) -> Step<Network> {
        for (index, name) in self.graph.outputs.iter().enumerate() {
            match self.values.get(name) {
                Some(&Value::Part { layer, stage: Stage::Flat }) => {
                    let (part, cells) = self.part(layer).ok_or("a head is gone")?;
                    if part.output != usize::MAX {
                        return Err(format!("output `{name}` is given twice"));
                    }
                    part.output = index;
                    self.network.outputs[index].1 = cells * part.channels;
                }
                Some(&Value::Sums(layer)) => {
                    let Kind::Linear(linear) = &mut self.network.layers[layer].kind else {
                        return Err("a last layer is gone".into());
                    };
                    if linear.output != usize::MAX {
                        return Err(format!("output `{name}` is given twice"));
                    }
                    linear.output = index;
                    self.network.outputs[index].1 = linear.bias.len();
                }
                Some(&Value::Real(tensor)) | Some(&Value::Waiting(Waiting::Same { tensor })) => {
                    let from = &self.network.tensors[tensor];
                    if from.height * from.width != 1 {
                        return Err(format!("output `{name}` has more than one pixel"));
                    }
                    self.network.outputs[index].1 = from.channels;
                    let kind = Kind::Output { index };
                    self.network.layers.push(Layer {
                        name: name.to_string(),
                        kind,
                        inputs: vec![tensor],
                        output: None,
                    });
                }
                _ => return Err(format!("output `{name}` is of no kind that the plan gives")),
            }
        }
        let unread = |l: &Layer| match &l.kind {
            Kind::Head(h) => h.parts.iter().any(|p| p.output == usize::MAX),
            Kind::Linear(l) => l.output == usize::MAX,
            _ => false,
        };
        if let Some(layer) = self.network.layers.iter().find(|l| unread(l)) {
            return Err(format!("the last layer `{}` leads to no output", layer.name));
        }
        if self.network.layers.is_empty() {
            return Err("it computes nothing".into());
        }
        Ok(self.network)
    }
}

/// One factor for what the graph writes as three operations, `step * before * slope / after`, such
/// that no step of 8 bits rounds differently.
///
/// The plain quotient fails where a product lies nearer to a tie than the roundings of the three
/// operations; a neighbouring `f32` then does not. Should none of a few neighbours fit, the
/// quotient has to do.
fn factor(before: f32, slope: f32, after: f32) -> f32 {
    let nearest = before * slope / after;
    let fits = |factor: f32| {
        (1..=128u8).map(f32::from).all(|step| {
            (step * factor).round_ties_even() == (step * before * slope / after).round_ties_even()
                // Beyond the clamp it does not matter.
                || (step * factor).abs() > 129.0
        })
    };
    let neighbours = (1..=8).flat_map(|n| {
        [(0..n).fold(nearest, |f, _| f.next_up()), (0..n).fold(nearest, |f, _| f.next_down())]
    });
    std::iter::once(nearest).chain(neighbours).find(|f| fits(*f)).unwrap_or(nearest)
}

/// Stride (the same both ways, 1 or 2) and padding: top, left, bottom, right.
fn geometry(node: &NodeProto) -> Step<(usize, [usize; 4])> {
    let stride = match ints(node, "strides") {
        [] | [1, 1] => 1,
        [2, 2] => 2,
        other => return Err(format!("stride {other:?}")),
    };
    let pads = match ints(node, "pads") {
        [] => [0; 4],
        &[t, l, b, r] => [t, l, b, r],
        other => return Err(format!("padding {other:?}")),
    };
    if pads.iter().any(|p| !(0..=8).contains(p)) {
        return Err(format!("padding {pads:?}"));
    }
    Ok((stride, pads.map(|p| p as usize)))
}
