//! Convolutions, activations, sums, maxima and enlargements: what waits for a quantization.

use tract_onnx::pb::NodeProto;

use super::super::network::{Conv, IMAGE, LayerActivation, Shape};
use super::super::onnx::{int, ints, text};
use super::{GraphValue, Lowered, Lowering, Unplaced};

impl<'a> Lowering<'a> {
    pub(super) fn activation(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
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
            (GraphValue::Real(tensor), slopes) => {
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
                Ok(GraphValue::Waiting(Unplaced::Activation { tensor: *tensor, slopes }))
            }
            // Rounding and cutting off below zero may change places, so one quantization after
            // both is the same.
            (GraphValue::Waiting(Unplaced::Conv { conv, .. }), None)
                if self.graph.uses(&node.input[0]) == 1 =>
            {
                conv.activation = LayerActivation::Relu;
                Ok(value)
            }
            _ => Err("its input is not quantized".into()),
        }
    }

    pub(super) fn add(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let (first, second, doubled) = match (self.input(node, 0)?, self.input(node, 1)?) {
            (&GraphValue::Real(a), &GraphValue::Real(b)) => (a, b, false),
            (&GraphValue::DoubledReal(a), &GraphValue::Real(b))
            | (&GraphValue::Real(b), &GraphValue::DoubledReal(a)) => (a, b, true),
            _ => return Err("its operands are not both quantized images".into()),
        };
        let (a, b) = (&self.network.tensors[first], &self.network.tensors[second]);
        let factor = if doubled { 2 } else { 1 };
        if (a.channels, a.height * factor, a.width * factor) != (b.channels, b.height, b.width) {
            return Err("its operands differ in shape".into());
        }
        Ok(GraphValue::Waiting(Unplaced::Add { first, second, doubled }))
    }

    pub(super) fn max_pool(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let &GraphValue::Real(tensor) = self.input(node, 0)? else {
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
        Ok(GraphValue::Waiting(Unplaced::MaxPool { tensor }))
    }

    pub(super) fn resize(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        let &GraphValue::Real(tensor) = self.input(node, 0)? else {
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
        Ok(GraphValue::Waiting(Unplaced::Doubled { tensor }))
    }

    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Lowered<GraphValue> {
        if ints(node, "dilations").iter().any(|d| *d != 1) {
            return Err("dilated".into());
        }
        if text(node, "auto_pad", "NOTSET") != "NOTSET" {
            return Err("automatic padding".into());
        }
        let constant =
            |index: usize| node.input.get(index).and_then(|name| self.graph.constant(name));
        if let (&GraphValue::Real(tensor), Some(weights)) = (self.input(node, 0)?, constant(1)) {
            let weights = weights.floats().ok_or("its weights are of another type")?.to_vec();
            let bias =
                constant(2).and_then(|c| c.floats()).ok_or("its bias is no constant")?.to_vec();
            return self.head(node, tensor, &weights, bias);
        }
        let GraphValue::Weights { values: weights, dims, scale } = self.input(node, 1)? else {
            return Err("its weights are not quantized".into());
        };
        let &[out_channels, group_channels, rows, columns] = &dims[..] else {
            return Err("not two-dimensional".into());
        };
        let (input, [channels, height, width], in_scale) = match *self.input(node, 0)? {
            GraphValue::ImageReal => {
                (IMAGE, [3, self.size[0], self.size[1]], self.network.image_scale)
            }
            GraphValue::Real(t) => {
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
            activation: LayerActivation::Identity,
        };
        Ok(GraphValue::Waiting(Unplaced::Conv {
            conv,
            input,
            size: [out_channels, size[0], size[1]],
            scale: sums,
        }))
    }

    /// The bias in steps of the sums.
    fn bias(&self, node: &'a NodeProto, sums: &[f32]) -> Lowered<Vec<i32>> {
        if node.input.len() < 3 {
            return Ok(vec![0; sums.len()]);
        }
        let GraphValue::Weights { values, scale, .. } = self.input(node, 2)? else {
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
}

/// Stride (the same both ways, 1 or 2) and padding: top, left, bottom, right.
pub(super) fn geometry(node: &NodeProto) -> Lowered<(usize, [usize; 4])> {
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
