//! Refuses a network whose weights are not numbers: it would run, and whatever it said of a face
//! would be made up.

use tract_onnx::pb::{GraphProto, TensorProto, tensor_proto::DataType};
use tract_onnx::prelude::Framework;

/// The name of a weight that is not finite, if there is one. A file that does not decode has none:
/// whoever loads it says why.
///
/// NaN is refused wherever it stands. An infinity is refused among weights, but not alone: as a
/// bound of a `Clip` it has a meaning.
pub(super) fn unsound(onnx: &[u8]) -> Option<String> {
    // Not `tract_onnx::onnx()`: it names every operator, which brings the whole engine into builds
    // that do without it.
    tract_onnx::Onnx::default()
        .proto_model_for_read(&mut &onnx[..])
        .ok()?
        .graph
        .as_ref()
        .and_then(weight)
}

fn weight(graph: &GraphProto) -> Option<String> {
    let constants = graph.node.iter().flat_map(|node| {
        let name = node.output.first().map_or(node.name.as_str(), String::as_str);
        node.attribute.iter().filter_map(move |a| Some((name, a.t.as_ref()?)))
    });
    let weights = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    weights.chain(constants).find(|(_, tensor)| !sound(tensor)).map(|(name, _)| name.to_owned())
}

fn sound(tensor: &TensorProto) -> bool {
    let raw = &tensor.raw_data;
    let (finite, nan) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            let bytes = raw.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c));
            of(bytes.chain(tensor.float_data.iter().copied()).map(|v| (v.is_finite(), v.is_nan())))
        }
        Ok(DataType::Double) => {
            let bytes = raw.as_chunks::<8>().0.iter().map(|c| f64::from_le_bytes(*c));
            of(bytes.chain(tensor.double_data.iter().copied()).map(|v| (v.is_finite(), v.is_nan())))
        }
        // Half precision: all bits of the exponent set; NaN where the fraction is not zero.
        Ok(DataType::Float16) => of(raw.as_chunks::<2>().0.iter().map(|c| {
            let bits = u16::from_le_bytes(*c);
            (bits & 0x7c00 != 0x7c00, bits & 0x7c00 == 0x7c00 && bits & 0x03ff != 0)
        })),
        _ => return true,
    };
    let alone = tensor.dims.iter().product::<i64>() <= 1;
    !nan && (finite || alone)
}

/// Whether all are finite, and whether any is NaN.
fn of(values: impl Iterator<Item = (bool, bool)>) -> (bool, bool) {
    values.fold((true, false), |(finite, nan), (f, n)| (finite && f, nan || n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{AttributeProto, NodeProto};

    fn tensor(values: &[f32], raw: bool) -> TensorProto {
        let mut t = TensorProto {
            dims: vec![values.len() as i64],
            data_type: DataType::Float.into(),
            name: "w".into(),
            ..TensorProto::default()
        };
        if raw {
            t.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        } else {
            t.float_data = values.to_vec();
        }
        t
    }

    #[test]
    fn nan_is_refused_wherever_it_stands_and_infinity_among_weights() {
        for raw in [false, true] {
            assert!(sound(&tensor(&[1.0, -0.0, f32::MAX], raw)));
            assert!(!sound(&tensor(&[1.0, f32::NAN], raw)) && !sound(&tensor(&[f32::NAN], raw)));
            assert!(
                !sound(&tensor(&[1.0, f32::NEG_INFINITY], raw))
                    && sound(&tensor(&[f32::INFINITY], raw))
            );
        }
        let half = |bits: u16| TensorProto {
            dims: vec![2],
            data_type: DataType::Float16.into(),
            raw_data: [bits.to_le_bytes(), [0, 0]].concat(),
            ..TensorProto::default()
        };
        assert!(sound(&half(0x7bff)) && !sound(&half(0x7c00)) && !sound(&half(0x7e00)));
    }

    #[test]
    fn the_shipped_networks_are_sound_and_a_constant_inside_a_node_is_looked_at_too() {
        assert_eq!(unsound(include_bytes!("../../../models/yunet_s_int8.onnx")), None);
        assert_eq!(unsound(include_bytes!("../../../models/fr_feature_int8.onnx")), None);
        assert_eq!(unsound(b"not a network"), None);
        let value = AttributeProto {
            name: "value".into(),
            t: Some(tensor(&[f32::NAN, 1.0], true)),
            ..Default::default()
        };
        let node = NodeProto {
            output: vec!["bias".into()],
            attribute: vec![value],
            ..NodeProto::default()
        };
        let graph = GraphProto { node: vec![node], ..GraphProto::default() };
        assert_eq!(weight(&graph).as_deref(), Some("bias"));
    }
}
