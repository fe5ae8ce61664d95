//! The plan as a whole: against the reference engine, against itself on every kernel, and on graphs
//! that it must refuse.

use tract_onnx::pb::{GraphProto, ModelProto};

use super::super::{Network, NetworkInput, Normalization};
#[cfg(feature = "any-network")]
use super::super::{load, reference};
use super::*;
use crate::kernels::networks as kernels;

const DETECTOR: &[u8] = include_bytes!("../../../../models/yunet_s_int8.onnx");
const EMBEDDER: &[u8] = include_bytes!("../../../../models/fr_feature_int8.onnx");
const SHIFTED: Normalization = Normalization { mean: [128.0; 3], scale: [1.0; 3] };

fn plan(onnx: &[u8], height: usize, width: usize, normalization: Normalization) -> NetworkPlan {
    NetworkPlan::load(onnx, height, width, &normalization, &kernels::scalar::ScalarNetworks)
        .unwrap()
}

/// Something with edges, gradients and every byte value, other for another `seed`.
fn picture(height: usize, width: usize, seed: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * height * width);
    for y in 0..height {
        for x in 0..width {
            let ring = (x * x + y * y * 2 + seed * 977) / 700 % 2 * 120;
            bytes.extend([
                (x * 255 / width) as u8,
                ((y * 3 + seed * 40) % 256) as u8,
                (ring + (x + y) % 100) as u8,
            ]);
        }
    }
    bytes
}

fn outputs(network: &mut dyn Network, image: &[u8]) -> Vec<Vec<f32>> {
    network.run(&NetworkInput::Interleaved(image)).unwrap();
    (0..network.output_names().len()).map(|o| network.output(o).to_vec()).collect()
}

#[cfg(feature = "any-network")]
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_kernel_gives_the_same_bytes_on_both_networks_at_many_sizes() {
    // Pools drop a row and a column of the next to last; the stem's window ends within the image.
    let sizes = [(32, 32), (64, 96), (96, 64), (160, 224), (256, 32), (36, 68), (37, 67)];
    let cases = sizes.map(|size| (DETECTOR, size, SHIFTED)).into_iter();
    for (onnx, (height, width), normalization) in cases.chain([(EMBEDDER, (112, 112), SHIFTED)]) {
        let image = picture(height, width, 1);
        let expected = outputs(&mut plan(onnx, height, width, normalization), &image);
        for kernels in kernels::available() {
            let mut other =
                NetworkPlan::load(onnx, height, width, &normalization, kernels).unwrap();
            assert!(
                outputs(&mut other, &image) == expected,
                "{} at {width}x{height}",
                other.name()
            );
        }
    }
}

#[cfg(feature = "any-network")]
#[test]
fn the_embedder_agrees_with_the_reference_as_nearly_as_roundings_let_it() {
    let mut plan = plan(EMBEDDER, 112, 112, SHIFTED);
    let mut reference = reference::TractNetwork::load(EMBEDDER, 112, 112, SHIFTED).unwrap();
    for seed in 0..3 {
        let image = picture(112, 112, seed);
        let (ours, theirs) = (outputs(&mut plan, &image), outputs(&mut reference, &image));
        // One step of one intermediate value is enough to move later ones: two engines that round
        // alike in all but a few places agree to about .995.
        let cosine = cosine(&ours[0], &theirs[0]);
        assert!(cosine > 0.98, "{cosine}");
    }
}

#[cfg(feature = "any-network")]
#[test]
fn the_detector_agrees_with_the_reference_in_every_output() {
    let (height, width) = (224, 320);
    let mut plan = plan(DETECTOR, height, width, SHIFTED);
    let mut reference = reference::TractNetwork::load(DETECTOR, height, width, SHIFTED).unwrap();
    assert_eq!(plan.output_names(), reference.output_names());
    let image = picture(height, width, 2);
    let (ours, theirs) = (outputs(&mut plan, &image), outputs(&mut reference, &image));
    for (name, (ours, theirs)) in plan.output_names().iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let mean =
            ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).sum::<f32>() / ours.len() as f32;
        assert!(mean < 0.05, "{name} differs by {mean} on average");
        if name.starts_with("bbox") || name.starts_with("kps") {
            assert!(cosine(ours, theirs) > 0.99, "{name}: {}", cosine(ours, theirs));
        }
    }
}

#[test]
fn a_run_leaves_nothing_for_the_next() {
    let mut plan = plan(DETECTOR, 96, 128, SHIFTED);
    let (first, second) = (picture(96, 128, 1), picture(96, 128, 7));
    let expected = outputs(&mut plan, &first);
    assert!(outputs(&mut plan, &second) != expected);
    assert!(outputs(&mut plan, &first) == expected);
    plan.wipe();
    assert!((0..12).all(|o| plan.output(o).iter().all(|v| *v == 0.0)));
    assert!(outputs(&mut plan, &first) == expected, "the row of zeros is back after wiping");
}

#[test]
fn buffers_that_are_used_at_the_same_time_do_not_overlap() {
    for plan in &[plan(DETECTOR, 480, 640, SHIFTED), plan(EMBEDDER, 112, 112, SHIFTED)] {
        let uses = |buffer: usize| {
            let times = plan.steps.iter().enumerate().filter(move |(_, step)| {
                let stage = &plan.stages[step.stage];
                stage.inputs.contains(&buffer) || stage.output == Some(buffer)
            });
            let times: Vec<usize> = times.map(|(time, _)| time).collect();
            times.first().copied().zip(times.last().copied())
        };
        let spans: Vec<_> = plan.buffers.iter().map(|b| (b.offset, b.offset + b.bytes())).collect();
        for a in 0..spans.len() {
            for b in a + 1..spans.len() {
                let (Some(life_a), Some(life_b)) = (uses(a), uses(b)) else { continue };
                let together = life_a.0 <= life_b.1 && life_b.0 <= life_a.1;
                let apart = spans[a].1 <= spans[b].0 || spans[b].1 <= spans[a].0;
                assert!(!together || apart, "buffers {a} and {b}");
            }
        }
    }
}

#[test]
fn an_image_streams_through_the_large_layers_in_a_few_rows() {
    let plan = plan(DETECTOR, 480, 640, SHIFTED);
    let whole: usize = plan.buffers.iter().map(|b| b.blocks * b.height * b.row_bytes).sum();
    let arena = plan.buffers.iter().map(|b| b.offset + b.bytes()).max().unwrap();
    assert!(arena * 5 < whole, "{arena} of {whole} bytes");
}

#[test]
fn constants_out_of_range_and_not_a_number_are_defined() {
    assert_eq!(quantized(f32::NAN, 1.0), -128);
    assert_eq!(
        [f32::INFINITY, f32::NEG_INFINITY, 0.5, 1.5, -0.5].map(|v| quantized(v, 1.0)),
        [127, -128, 0, 2, 0]
    );
    let mut plan = plan(DETECTOR, 32, 32, SHIFTED);
    plan.run(&NetworkInput::Planes(&vec![f32::NAN; 3 * 32 * 32])).unwrap();
    assert!(plan.output(0).iter().all(|v| v.is_finite()));
}

fn graph(onnx: &[u8]) -> GraphProto {
    let proto: ModelProto = tract_onnx::onnx().proto_model_for_read(&mut &onnx[..]).unwrap();
    proto.graph.unwrap()
}

/// What lowering says of the detector after a change to its graph.
fn refusal(change: impl FnOnce(&mut GraphProto)) -> String {
    let mut graph = graph(DETECTOR);
    change(&mut graph);
    lower::lower(&graph, 64, 64).expect_err("not lowered").to_string()
}

#[test]
fn what_the_plan_does_not_know_is_refused_by_name() {
    let rename = |from: &'static str, to: &'static str| {
        move |g: &mut GraphProto| {
            g.node.iter_mut().find(|n| n.op_type == from).unwrap().op_type = to.into();
        }
    };
    assert!(refusal(rename("Relu", "Elu")).starts_with("operator Elu "));
    assert!(refusal(rename("MaxPool", "AveragePool")).contains("AveragePool"));
    let attribute = |op: &'static str, name: &'static str, value: i64| {
        move |g: &mut GraphProto| {
            let node = g.node.iter_mut().find(|n| n.op_type == op).unwrap();
            node.attribute
                .iter_mut()
                .find(|a| a.name == name)
                .unwrap()
                .ints
                .iter_mut()
                .for_each(|v| *v = value);
        }
    };
    assert!(refusal(attribute("Conv", "strides", 3)).contains("stride [3, 3]"));
    assert!(refusal(attribute("MaxPool", "kernel_shape", 3)).starts_with("operator MaxPool"));
    assert!(refusal(attribute("Transpose", "perm", 0)).starts_with("operator Transpose"));
}

#[cfg(feature = "any-network")]
#[test]
fn a_network_is_loaded_as_a_plan_where_it_can_be_and_by_the_reference_engine_otherwise() {
    for (onnx, side) in [(DETECTOR, 64), (EMBEDDER, 112)] {
        let network = load(onnx, side, side, SHIFTED).unwrap();
        assert!(network.name().starts_with("plan "), "{}", network.name());
    }
    // The operator's type as the file has it, field 4 of a node: another function of the same
    // length.
    let mut other = DETECTOR.to_vec();
    let at = other.windows(6).position(|w| w == b"\x22\x04Relu").expect("the detector has one");
    other[at + 2..at + 6].copy_from_slice(b"Tanh");
    let mut network = load(&other, 32, 32, SHIFTED).unwrap();
    assert_eq!(network.name(), "tract");
    network.run(&NetworkInput::Interleaved(&picture(32, 32, 1))).unwrap();
}

#[test]
fn quantizations_that_it_would_get_wrong_are_refused() {
    // An asymmetric activation.
    let zero_point = refusal(|g| {
        let name = g.node.iter().find(|n| n.op_type == "QuantizeLinear").unwrap().input[2].clone();
        let zero = g.initializer.iter_mut().find(|t| t.name == name).unwrap();
        (zero.raw_data, zero.int32_data) = (vec![3], vec![]);
    });
    assert!(zero_point.contains("zero point"), "{zero_point}");
    // Another scale out than in.
    let scale = refusal(|g| {
        let name = g.node.iter().find(|n| n.op_type == "QuantizeLinear").unwrap().output[0].clone();
        let node =
            g.node.iter().find(|n| n.op_type == "DequantizeLinear" && n.input[0] == name).unwrap();
        let own = node.input[1].clone();
        let others = g.node.iter().filter(|n| n.op_type == "QuantizeLinear" && n.input[1] != own);
        let other = others.map(|n| n.input[1].clone()).next().unwrap();
        let node = g
            .node
            .iter_mut()
            .find(|n| n.op_type == "DequantizeLinear" && n.input[0] == name)
            .unwrap();
        node.input[1] = other;
    });
    assert!(scale.contains("scale differs"), "{scale}");
    // Fewer weights than the shape says.
    let short = refusal(|g| {
        let stem = g.node.iter().find(|n| n.op_type == "Conv").unwrap().input[1].clone();
        let real = g.node.iter().find(|n| n.output[0] == stem).unwrap().input[0].clone();
        let weights = g.initializer.iter_mut().find(|t| t.name == real).unwrap();
        weights.raw_data.truncate(20);
        weights.int32_data.truncate(20);
    });
    assert!(short.starts_with("operator DequantizeLinear"), "{short}");
}

#[test]
fn graphs_cut_at_any_node_are_refused_and_never_panic() {
    let whole = graph(DETECTOR);
    for keep in 0..whole.node.len() {
        let mut graph = whole.clone();
        graph.node.truncate(keep);
        assert!(lower::lower(&graph, 64, 64).is_err());
        let mut graph = whole.clone();
        graph.node.remove(keep);
        assert!(lower::lower(&graph, 64, 64).is_err(), "without node {keep}");
    }
}

#[test]
fn files_cut_anywhere_are_refused_or_whole_and_never_panic() {
    for (onnx, side) in [(DETECTOR, 32), (EMBEDDER, 112)] {
        let image = picture(side, side, 3);
        let whole = outputs(&mut plan(onnx, side, side, SHIFTED), &image);
        // Throughout the file, and at each of its last bytes, where what is cut off may be nothing
        // that matters.
        let cuts = (0..onnx.len()).step_by(onnx.len() / 97).chain(onnx.len() - 40..onnx.len());
        for cut in cuts {
            match NetworkPlan::load(
                &onnx[..cut],
                side,
                side,
                &SHIFTED,
                &kernels::scalar::ScalarNetworks,
            ) {
                Ok(mut plan) => {
                    assert!(cut + 40 > onnx.len() && outputs(&mut plan, &image) == whole, "{cut}")
                }
                Err(reason) => assert!(!reason.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn saturated_images_give_finite_values_and_the_same_on_every_kernel() {
    for (onnx, side) in [(DETECTOR, 64), (EMBEDDER, 112)] {
        let size = 3 * side * side;
        let checkered = |n: usize| if (n / 3 + n / 3 / side).is_multiple_of(2) { 0 } else { 255 };
        let images = [vec![0; size], vec![255; size], (0..size).map(checkered).collect()];
        let extremes = [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
        let planes: Vec<f32> = (0..size).map(|n| extremes[n % extremes.len()]).collect();
        let all = |kernels| {
            let mut plan = NetworkPlan::load(onnx, side, side, &SHIFTED, kernels).unwrap();
            let mut all: Vec<_> = images.iter().map(|image| outputs(&mut plan, image)).collect();
            plan.run(&NetworkInput::Planes(&planes)).unwrap();
            all.push((0..plan.output_names().len()).map(|o| plan.output(o).to_vec()).collect());
            all
        };
        let expected = all(&kernels::scalar::ScalarNetworks);
        assert!(expected.iter().flatten().flatten().all(|v| v.is_finite()));
        for kernels in kernels::available() {
            assert!(all(kernels) == expected, "{}", kernels.set());
        }
    }
}

#[test]
fn sizes_at_which_the_detectors_images_do_not_meet_are_refused() {
    // 40 rows become 5 and 2: twice 2 is not 5.
    assert!(lower::lower(&graph(DETECTOR), 40, 64).is_err());
    for (height, width) in [(1, 1), (32, 1), (8, 8), (17, 4001)] {
        assert!(lower::lower(&graph(DETECTOR), height, width).is_err());
    }
}

#[test]
fn the_shipped_networks_run_on_the_plan() {
    for (onnx, side) in [(DETECTOR, 64), (EMBEDDER, 112)] {
        let network = super::super::load(onnx, side, side, SHIFTED).unwrap();
        assert!(network.name().starts_with("plan "), "{}", network.name());
    }
}

#[test]
fn the_last_layer_of_the_embedder_is_what_the_file_says_in_real_values() {
    let mut plan = plan(EMBEDDER, 112, 112, SHIFTED);
    let values = outputs(&mut plan, &picture(112, 112, 5)).remove(0);
    let proto = graph(EMBEDDER);
    let file = onnx::Graph::new(&proto).unwrap();
    let maker = |name: &str| proto.node.iter().find(|n| n.output[0] == name).unwrap();
    let conv = maker(&proto.node.iter().find(|n| n.op_type == "Flatten").unwrap().input[0]);
    // A constant's real values, as the standard defines them.
    let real = |name: &str, per_channel: usize| -> Vec<f64> {
        let node = maker(name);
        let scales = file.constant(&node.input[1]).unwrap().floats().unwrap().to_vec();
        let steps: Vec<f64> = match &file.constant(&node.input[0]).unwrap().values {
            onnx::Values::I8(v) => v.iter().map(|v| f64::from(*v)).collect(),
            onnx::Values::I32(v) => v.iter().map(|v| f64::from(*v)).collect(),
            other => panic!("{other:?}"),
        };
        steps
            .iter()
            .enumerate()
            .map(|(at, v)| v * f64::from(scales[at / per_channel % scales.len()]))
            .collect()
    };
    let bias = real(&conv.input[2], 1);
    let inputs = real(&conv.input[1], 1).len() / bias.len();
    let weights = real(&conv.input[1], inputs);
    let scale =
        f64::from(file.constant(&maker(&conv.input[0]).input[1]).unwrap().floats().unwrap()[0]);
    let stage = plan.stages.iter().find(|s| matches!(s.op, Op::Linear(_))).unwrap();
    let src = &plan.buffers[stage.inputs[0]];
    let zero = plan.kernels.zero_byte();
    let bytes = plan.arena.bytes_mut()[src.offset..][..inputs].to_vec();
    assert_eq!(values.len(), bias.len());
    let mut telling = 0;
    for (channel, value) in values.iter().enumerate() {
        let products = weights[channel * inputs..][..inputs].iter().zip(&bytes);
        let sum: f64 =
            products.map(|(w, b)| w * f64::from((*b ^ zero).cast_signed()) * scale).sum();
        let (want, tolerance) = (sum + bias[channel], 1e-4 * sum.abs().max(0.01));
        assert!((f64::from(*value) - want).abs() < tolerance, "{channel}: {value} {want}");
        telling += usize::from(bias[channel].abs() > 2.0 * tolerance);
    }
    assert!(telling > 100, "a forgotten bias would show in only {telling} channels");
}
