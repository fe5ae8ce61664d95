//! The last layers, in floating point, and which output each of them gives.

use tract_onnx::pb::NodeProto;

use super::super::network::{
    Conv, HeadLayer, HeadPart, Layer, LayerActivation, LayerKind, Linear, LoweredNetwork, Shape,
};
use super::super::onnx::{Values, int, ints};
use super::operators::geometry;
use super::{GraphValue, HeadProgress, Lowered, Lowering, Unplaced};

impl<'a> Lowering<'a> {
    pub(super) fn head(
        &mut self,
        node: &'a NodeProto,
        tensor: usize,
        weights: &[f32],
        bias: Vec<f32>,
    ) -> Lowered<GraphValue> {
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
        let part =
            HeadPart { first: 0, channels: from.channels, output: usize::MAX, sigmoid: false };
        let kind = LayerKind::Head(HeadLayer { weights, bias, parts: vec![part] });
        self.network.layers.push(Layer {
            name: node.name.clone(),
            kind,
            inputs: vec![tensor],
            output: None,
        });
        Ok(GraphValue::Part {
            layer: self.network.layers.len() - 1,
            progress: HeadProgress::Planar,
        })
    }

    /// The part that a head was lowered to, and its cells.
    fn part(&mut self, layer: usize) -> Option<(&mut HeadPart, usize)> {
        let cells = self.network.layers[layer].inputs.first().map(|t| &self.network.tensors[*t])?;
        let cells = cells.height * cells.width;
        match &mut self.network.layers[layer].kind {
            LayerKind::Head(h) => h.parts.first_mut().map(|p| (p, cells)),
            _ => None,
        }
    }

    /// A depth-wise convolution whose sums are not quantized: a head.
    fn quantized_head(&mut self, node: &NodeProto, waiting: &Unplaced) -> Lowered<GraphValue> {
        let Unplaced::Conv { conv, input, size, scale } = waiting else {
            return Err("only after a head's last convolution".into());
        };
        let from =
            self.network.tensors.get(*input).ok_or("only after a head's last convolution")?;
        let plain = conv.shape == Shape::Depthwise
            && conv.activation == LayerActivation::Identity
            && (conv.stride, conv.top, conv.left) == (1, 1, 1)
            && *size == [from.channels, from.height, from.width];
        if !plain {
            return Err("only 3 x 3 depth-wise with stride 1 can end in floating point".into());
        }
        let channels = from.channels;
        let weights =
            conv.weights.iter().enumerate().map(|(at, w)| f32::from(*w) * scale[at / 9]).collect();
        let bias = conv.bias.iter().zip(scale).map(|(b, s)| *b as f32 * s).collect();
        let part = HeadPart { first: 0, channels, output: usize::MAX, sigmoid: false };
        let kind = LayerKind::Head(HeadLayer { weights, bias, parts: vec![part] });
        self.network.layers.push(Layer {
            name: node.name.clone(),
            kind,
            inputs: vec![*input],
            output: None,
        });
        Ok(GraphValue::Part {
            layer: self.network.layers.len() - 1,
            progress: HeadProgress::Planar,
        })
    }

    pub(super) fn head_step(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let value = match self.input(node, 0)?.clone() {
            GraphValue::Waiting(waiting) => self.quantized_head(node, &waiting)?,
            other => other,
        };
        let GraphValue::Part { layer, progress } = value else {
            return Err("only after a head's last convolution".into());
        };
        if self.graph.uses(&node.input[0]) != 1 {
            return Err("its input is read by others too".into());
        }
        if node.op_type == "Transpose" {
            return match (ints(node, "perm"), progress) {
                ([0, 2, 3, 1], HeadProgress::Planar) => {
                    Ok(GraphValue::Part { layer, progress: HeadProgress::Interleaved })
                }
                _ => Err("only from NCHW to NHWC".into()),
            };
        }
        match self.part(layer) {
            Some((part, _)) if !part.sigmoid => part.sigmoid = true,
            _ => return Err("twice in a row".into()),
        }
        Ok(GraphValue::Part { layer, progress })
    }

    pub(super) fn reshape(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let shape = node.input.get(1).and_then(|name| self.graph.constant(name));
        let shape = match shape.map(|c| &c.values) {
            Some(Values::I64(shape)) => &shape[..],
            _ if node.op_type == "Flatten" && int(node, "axis", 1) == 1 => &[1, -1],
            _ => return Err("its shape is no constant".into()),
        };
        if let GraphValue::Waiting(Unplaced::Conv { conv, input, size: [channels, 1, 1], scale }) =
            self.input(node, 0)?.clone()
            && conv.shape == Shape::Pointwise
            && conv.activation == LayerActivation::Identity
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
            let kind = LayerKind::Linear(Linear { weights, bias, scale, output: usize::MAX });
            self.network.layers.push(Layer {
                name: node.name.clone(),
                kind,
                inputs: vec![input],
                output: None,
            });
            return Ok(GraphValue::Sums(self.network.layers.len() - 1));
        }
        match *self.input(node, 0)? {
            GraphValue::Real(tensor) => {
                let from = &self.network.tensors[tensor];
                // With one pixel, channels are what is left, in order.
                let flat = |n: i64| n == -1 || usize::try_from(n) == Ok(from.channels);
                match shape {
                    [1, n] if flat(*n) && from.height * from.width == 1 => {
                        Ok(GraphValue::Waiting(Unplaced::Same { tensor }))
                    }
                    _ => Err("only from one pixel to its channels".into()),
                }
            }
            GraphValue::Part { layer, progress: HeadProgress::Interleaved }
                if self.graph.uses(&node.input[0]) == 1 =>
            {
                let (part, cells) = self.part(layer).ok_or("its head is gone")?;
                let flat = |n: i64| n == -1 || usize::try_from(n) == Ok(cells);
                match shape {
                    [1, n, c] if flat(*n) && usize::try_from(*c) == Ok(part.channels) => {
                        Ok(GraphValue::Part { layer, progress: HeadProgress::Flat })
                    }
                    _ => Err("only from NHWC to cells".into()),
                }
            }
            _ => Err("only at the end of a head or of an embedding".into()),
        }
    }

    pub(super) fn finish(mut self) -> Lowered<LoweredNetwork> {
        for (index, name) in self.graph.outputs.iter().enumerate() {
            match self.values.get(name) {
                Some(&GraphValue::Part { layer, progress: HeadProgress::Flat }) => {
                    let (part, cells) = self.part(layer).ok_or("a head is gone")?;
                    if part.output != usize::MAX {
                        return Err(format!("output `{name}` is given twice"));
                    }
                    part.output = index;
                    self.network.outputs[index].1 = cells * part.channels;
                }
                Some(&GraphValue::Sums(layer)) => {
                    let LayerKind::Linear(linear) = &mut self.network.layers[layer].kind else {
                        return Err("a last layer is gone".into());
                    };
                    if linear.output != usize::MAX {
                        return Err(format!("output `{name}` is given twice"));
                    }
                    linear.output = index;
                    self.network.outputs[index].1 = linear.bias.len();
                }
                Some(&GraphValue::Real(tensor))
                | Some(&GraphValue::Waiting(Unplaced::Same { tensor })) => {
                    let from = &self.network.tensors[tensor];
                    if from.height * from.width != 1 {
                        return Err(format!("output `{name}` has more than one pixel"));
                    }
                    self.network.outputs[index].1 = from.channels;
                    let kind = LayerKind::Output { index };
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
            LayerKind::Head(h) => h.parts.iter().any(|p| p.output == usize::MAX),
            LayerKind::Linear(l) => l.output == usize::MAX,
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
