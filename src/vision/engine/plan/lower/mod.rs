//! From an ONNX graph in the QDQ form to a [`LoweredNetwork`] of fused int8 layers.
//!
//! In that form, every tensor that is quantized passes a `QuantizeLinear` and a `DequantizeLinear`,
//! and the operators between are written in floating point. Walking the graph once in its order,
//! each value is what it means: quantized steps, their real values, a constant, or a computation
//! that waits for the `QuantizeLinear` that ends it. What does not fit is an error that names the
//! node: the caller then runs the reference engine.
//!
//! The last convolution before an output may go without a quantization after it: its sums then
//! become real values at once, which costs nothing and loses nothing.
//!
//! Activations must be symmetric (zero point 0) with one scale, weights symmetric with one
//! scale an output channel; an activation function may have a quantization before it as well as
//! after it, and keeps that rounding.

mod ends;
mod operators;
mod quantization;

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::network::{Conv, LoweredNetwork};
use super::onnx::Graph;

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
enum GraphValue {
    /// The network's input.
    Image,
    /// The input's steps, and their real values.
    ImageSteps,
    ImageReal,
    /// Steps of a tensor, and their real values.
    Steps(usize),
    Real(usize),
    /// A tensor enlarged to twice its size: its steps, and their real values.
    DoubledSteps(usize),
    DoubledReal(usize),
    /// Dequantized constants.
    Weights {
        values: Vec<i32>,
        dims: Vec<usize>,
        scale: Vec<f32>,
    },
    /// Computed, but not yet quantized.
    Waiting(Unplaced),
    /// A last fully connected layer (by index) in floating point.
    Sums(usize),
    /// On its way from a floating-point last layer (by index) to an output.
    Part {
        layer: usize,
        progress: HeadProgress,
    },
}

/// How far the output of a head has come on the way from NCHW to `[1, cells, channels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum HeadProgress {
    Planar,
    Interleaved,
    Flat,
}

#[derive(Debug, Clone)]
enum Unplaced {
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
pub(super) fn lower(
    proto: &GraphProto,
    height: usize,
    width: usize,
) -> Result<LoweredNetwork, Unlowered> {
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
        values: HashMap::from([(graph.input, GraphValue::Image)]),
        network: LoweredNetwork { outputs, ..LoweredNetwork::default() },
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
    values: HashMap<&'a str, GraphValue>,
    network: LoweredNetwork,
    /// Of the image: height, width.
    size: [usize; 2],
}

type Lowered<T> = Result<T, String>;

impl<'a> Lowering<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Lowered<()> {
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

    fn input(&self, node: &'a NodeProto, index: usize) -> Lowered<&GraphValue> {
        let name = node.input.get(index).ok_or_else(|| format!("has no input {index}"))?;
        self.values
            .get(name.as_str())
            .ok_or_else(|| format!("its input `{name}` is of no known kind"))
    }
}
