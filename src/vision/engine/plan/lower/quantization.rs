//! Where values become steps and steps values: each step ends the operator that waited for it.

use tract_onnx::pb::NodeProto;

use super::super::network::{Layer, LayerActivation, LayerKind, Tensor};
use super::super::onnx::{Values, int};
use super::{GraphValue, Lowered, Lowering, Unplaced};

impl<'a> Lowering<'a> {
    /// Scale(s) of a quantization, whose zero point must be zero.
    fn scales(&self, node: &NodeProto) -> Lowered<Vec<f32>> {
        let constant =
            |index: usize| node.input.get(index).and_then(|name| self.graph.constant(name));
        let scales = constant(1).and_then(|c| c.floats()).ok_or("its scale is no constant")?;
        // An absent zero point would mean unsigned steps.
        if !constant(2)
            .is_some_and(|z| z.is_zero() && matches!(z.values, Values::I8(_) | Values::I32(_)))
        {
            return Err("its zero point is not a signed 0".into());
        }
        if scales.is_empty() || !scales.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("its scale is not positive".into());
        }
        Ok(scales.to_vec())
    }

    fn one_scale(&self, node: &NodeProto) -> Lowered<f32> {
        match self.scales(node)?[..] {
            [scale] => Ok(scale),
            _ => Err("activations must have one scale".into()),
        }
    }

    pub(super) fn dequantize(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
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
            return Ok(GraphValue::Weights { values, dims, scale });
        }
        let scale = self.one_scale(node)?;
        let (have, real) = match *self.input(node, 0)? {
            GraphValue::ImageSteps => (self.network.image_scale, GraphValue::ImageReal),
            GraphValue::Steps(tensor) => {
                (self.network.tensors[tensor].scale, GraphValue::Real(tensor))
            }
            GraphValue::DoubledSteps(tensor) => {
                (self.network.tensors[tensor].scale, GraphValue::DoubledReal(tensor))
            }
            _ => return Err("its input is not quantized".into()),
        };
        if have != scale {
            return Err("its scale differs from the quantization's".into());
        }
        Ok(real)
    }

    pub(super) fn quantize(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let scale = self.one_scale(node)?;
        let kept = |have: f32| {
            if have == scale {
                Ok(())
            } else {
                Err("it changes the scale of an operator that keeps it")
            }
        };
        let waiting = match self.input(node, 0)? {
            GraphValue::Image => {
                self.network.image_scale = scale;
                return Ok(GraphValue::ImageSteps);
            }
            GraphValue::Waiting(waiting) => waiting.clone(),
            _ => return Err("its input is of no kind that can be quantized".into()),
        };
        let name = node.name.clone();
        match waiting {
            Unplaced::Conv { mut conv, input, size: [channels, height, width], scale: sums } => {
                conv.scale = sums.iter().map(|s| s / scale).collect();
                Ok(self.push(
                    name,
                    LayerKind::Conv(conv),
                    vec![input],
                    Tensor { channels, height, width, scale },
                ))
            }
            Unplaced::Activation { tensor, slopes } => self.fuse(tensor, slopes, scale),
            Unplaced::Add { first, second, doubled } => {
                let tensor = Tensor { scale, ..self.network.tensors[second].clone() };
                Ok(self.push(name, LayerKind::Add { doubled }, vec![first, second], tensor))
            }
            Unplaced::MaxPool { tensor } => {
                let from = self.network.tensors[tensor].clone();
                kept(from.scale)?;
                let to = Tensor { height: from.height / 2, width: from.width / 2, ..from };
                Ok(self.push(name, LayerKind::MaxPool, vec![tensor], to))
            }
            Unplaced::Doubled { tensor } => {
                kept(self.network.tensors[tensor].scale)?;
                Ok(GraphValue::DoubledSteps(tensor))
            }
            Unplaced::Same { tensor } => {
                kept(self.network.tensors[tensor].scale)?;
                Ok(GraphValue::Steps(tensor))
            }
        }
    }

    fn push(
        &mut self,
        name: String,
        kind: LayerKind,
        inputs: Vec<usize>,
        tensor: Tensor,
    ) -> GraphValue {
        let output = self.network.tensors.len();
        self.network.tensors.push(tensor);
        self.network.layers.push(Layer { name, kind, inputs, output: Some(output) });
        GraphValue::Steps(output)
    }

    /// Takes an activation function into the convolution that made the tensor, which nothing else
    /// reads.
    fn fuse(&mut self, tensor: usize, slopes: Option<Vec<f32>>, after: f32) -> Lowered<GraphValue> {
        let before = self.network.tensors[tensor].scale;
        let maker = self.network.layers.iter_mut().find(|l| l.output == Some(tensor));
        let Some(LayerKind::Conv(conv)) = maker.map(|l| &mut l.kind) else {
            return Err("the activation before it does not follow a convolution".into());
        };
        if conv.activation != LayerActivation::Identity {
            return Err("two activations in a row".into());
        }
        conv.activation = match slopes {
            None if before == after => LayerActivation::Relu,
            None => LayerActivation::PRelu {
                positive: factor(before, 1.0, after),
                negative: vec![0.0; conv.bias.len()],
            },
            Some(slopes) => LayerActivation::PRelu {
                positive: factor(before, 1.0, after),
                negative: slopes.iter().map(|slope| factor(before, *slope, after)).collect(),
            },
        };
        self.network.tensors[tensor].scale = after;
        Ok(GraphValue::Steps(tensor))
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
