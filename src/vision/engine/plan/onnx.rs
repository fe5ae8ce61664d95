//! Reads an ONNX graph: constants, attributes and names, with every size checked, as plain Rust
//! values.

use std::collections::HashMap;

use tract_onnx::pb::{
    GraphProto, NodeProto, TensorProto, tensor_proto::DataType, tensor_shape_proto::dimension,
    type_proto,
};

/// A constant of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub values: Values,
}

/// The element types that lowering knows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    F32(Vec<f32>),
    I8(Vec<i8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Constant {
    /// The values where they are floating-point.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Whether all values are the integer zero: a symmetric quantization's zero point.
    pub fn is_zero(&self) -> bool {
        match &self.values {
            Values::F32(_) => false,
            Values::I8(v) => v.iter().all(|v| *v == 0),
            Values::I32(v) => v.iter().all(|v| *v == 0),
            Values::I64(v) => v.iter().all(|v| *v == 0),
        }
    }
}

fn elements<const N: usize, T>(raw: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    // `as_chunks` leaves a ragged end to the length check of the caller.
    raw.as_chunks::<N>().0.iter().map(|c| from(*c)).collect()
}

/// None where the type is unknown, the data lie in another file, or the count differs from the
/// shape.
fn constant(proto: &TensorProto) -> Option<Constant> {
    let dims = proto.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>()?;
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    let raw = &proto.raw_data;
    let values = match DataType::try_from(proto.data_type).ok()? {
        DataType::Float if raw.is_empty() => Values::F32(proto.float_data.clone()),
        DataType::Float => Values::F32(elements(raw, f32::from_le_bytes)),
        DataType::Int8 if raw.is_empty() => Values::I8(
            proto.int32_data.iter().map(|v| i8::try_from(*v).ok()).collect::<Option<_>>()?,
        ),
        DataType::Int8 => Values::I8(elements(raw, i8::from_le_bytes)),
        DataType::Int32 if raw.is_empty() => Values::I32(proto.int32_data.clone()),
        DataType::Int32 => Values::I32(elements(raw, i32::from_le_bytes)),
        DataType::Int64 if raw.is_empty() => Values::I64(proto.int64_data.clone()),
        DataType::Int64 => Values::I64(elements(raw, i64::from_le_bytes)),
        _ => return None,
    };
    let have = match &values {
        Values::F32(v) => v.len(),
        Values::I8(v) => v.len(),
        Values::I32(v) => v.len(),
        Values::I64(v) => v.len(),
    };
    (have == count).then_some(Constant { dims, values })
}

/// A graph with its constants decoded and the uses of each value counted.
pub(super) struct Graph<'a> {
    pub nodes: &'a [NodeProto],
    pub input: &'a str,
    /// The input's sides, None where the file leaves them open.
    pub input_dims: Vec<Option<usize>>,
    pub outputs: Vec<&'a str>,
    constants: HashMap<&'a str, Constant>,
    uses: HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    /// None where there is not exactly one input that is no constant, or it is no tensor.
    pub fn new(proto: &'a GraphProto) -> Option<Self> {
        let constants: HashMap<_, _> = proto
            .initializer
            .iter()
            .filter_map(|t| Some((t.name.as_str(), constant(t)?)))
            .collect();
        let mut inputs =
            proto.input.iter().filter(|i| !proto.initializer.iter().any(|t| t.name == i.name));
        let (input, None) = (inputs.next()?, inputs.next()) else { return None };
        let Some(type_proto::Value::TensorType(tensor)) = &input.r#type.as_ref()?.value else {
            return None;
        };
        let input_dims = tensor.shape.as_ref()?.dim.iter().map(|d| match d.value {
            Some(dimension::Value::DimValue(v)) => usize::try_from(v).ok(),
            _ => None,
        });
        let outputs: Vec<_> = proto.output.iter().map(|o| o.name.as_str()).collect();
        let mut uses = HashMap::new();
        for name in proto
            .node
            .iter()
            .flat_map(|n| &n.input)
            .map(String::as_str)
            .chain(outputs.iter().copied())
        {
            *uses.entry(name).or_insert(0) += 1;
        }
        Some(Self {
            nodes: &proto.node,
            input: &input.name,
            input_dims: input_dims.collect(),
            outputs,
            constants,
            uses,
        })
    }

    pub fn constant(&self, name: &str) -> Option<&Constant> {
        self.constants.get(name)
    }

    /// How many nodes and outputs read the value.
    pub fn uses(&self, name: &str) -> usize {
        self.uses.get(name).copied().unwrap_or(0)
    }
}

/// An integer attribute, or what the standard says where it is absent.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
}

/// A list of integers; empty where it is absent.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    node.attribute.iter().find(|a| a.name == name).map_or(&[], |a| &a.ints)
}

/// A string attribute, or what the standard says where it is absent.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> &'a str {
    let found = node.attribute.iter().find(|a| a.name == name);
    found.map_or(default, |a| std::str::from_utf8(&a.s).unwrap_or(""))
}
