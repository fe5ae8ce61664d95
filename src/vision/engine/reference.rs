//! The reference engine: tract, as it comes. Runs whatever tract can run, quantized or not, and is
//! what every faster engine is checked against. Its intermediate tensors are allocated and freed by
//! tract on each run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use zeroize::Zeroize;

use super::{EngineError, MAX_SIDE, Network, NetworkInput, Normalization, Outputs, normalise};

/// A network run by tract.
pub(super) struct TractNetwork {
    state: TypedSimpleState,
    shape: [usize; 4],
    normalization: Normalization,
    outputs: Outputs,
}

/// Reads the file and fixes its input to `[1, 3, height, width]`; also the names of its outputs in
/// the file's order.
///
/// The result is analysed and decluttered but not yet optimised for tract: the form that other
/// engines lower from.
pub(super) fn typed(
    onnx: &[u8],
    height: usize,
    width: usize,
) -> Result<(TypedModel, Vec<String>), EngineError> {
    let unsupported = |reason: String| EngineError::Unsupported { height, width, reason };
    if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
        return Err(unsupported(format!("each side must be 1 to {MAX_SIDE} pixels")));
    }
    // The output shapes of a dynamic file are symbols of their own; analysis finds the real ones.
    let framework = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto = framework
        .proto_model_for_read(&mut &onnx[..])
        .map_err(|e| EngineError::NotOnnx { reason: format!("{e:#}") })?;
    let names: Vec<String> = match &proto.graph {
        Some(graph) if !graph.node.is_empty() => {
            graph.output.iter().map(|o| o.name.clone()).collect()
        }
        _ => return Err(EngineError::NotOnnx { reason: "it holds no graph".into() }),
    };
    if names.is_empty() {
        return Err(EngineError::Interface { reason: "it has no output".into() });
    }
    let model = guarded(|| framework.model_for_proto_model(&proto))
        .map_err(|e| unsupported(format!("{e:#}")))?;
    let [input] = model.inputs[..] else {
        return Err(EngineError::Interface {
            reason: format!("it has {} inputs", model.inputs.len()),
        });
    };
    let shape = [1, 3, height, width];
    let announced = &model.nodes[input.node].outputs[input.slot].fact.shape;
    let agrees = announced.dims().map(|d| d.concretize().and_then(|d| d.to_i64().ok()));
    let agrees = agrees.zip(shape).all(|(have, want)| have.is_none_or(|have| have == want as i64));
    if !agrees || !(announced.is_open() || announced.dims().count() == shape.len()) {
        return Err(EngineError::Interface {
            reason: format!("its input is {announced:?}, asked for {shape:?}"),
        });
    }
    let model = guarded(|| {
        model
            .with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), shape))?
            .into_typed()?
            .into_decluttered()
    })
    .map_err(|e| unsupported(format!("{e:#}")))?;
    Ok((model, names))
}

/// tract panics on some malformed graphs, such as one whose output no node computes: to the caller
/// that is an error.
fn guarded<T>(f: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    // Whatever `f` was building is dropped, so no broken state is seen afterwards.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        Err(TractError::msg(format!("tract panicked: {}", said.unwrap_or("no message"))))
    })
}

impl TractNetwork {
    /// See [`super::load`].
    pub(super) fn load(
        onnx: &[u8],
        height: usize,
        width: usize,
        normalization: Normalization,
    ) -> Result<Self, EngineError> {
        let unsupported =
            |e: TractError| EngineError::Unsupported { height, width, reason: format!("{e:#}") };
        let (model, names) = typed(onnx, height, width)?;
        let state =
            guarded(|| model.into_optimized()?.into_runnable()?.spawn()).map_err(unsupported)?;
        let mut outputs = Outputs { names, values: Vec::new() };
        for index in 0..outputs.names.len() {
            let fact = state.model().output_fact(index).map_err(unsupported)?;
            let name = &outputs.names[index];
            let len = fact.shape.as_concrete().map(|s| s.iter().product::<usize>());
            match len {
                Some(len) if fact.datum_type == f32::datum_type() && len > 0 => {
                    outputs.values.push(vec![0.0; len])
                }
                _ => {
                    return Err(EngineError::Interface {
                        reason: format!("its output `{name}` is {fact:?}"),
                    });
                }
            }
        }
        Ok(Self { state, shape: [1, 3, height, width], normalization, outputs })
    }
}

impl Network for TractNetwork {
    fn name(&self) -> &str {
        "tract"
    }

    fn input_shape(&self) -> [usize; 4] {
        self.shape
    }

    fn output_names(&self) -> &[String] {
        &self.outputs.names
    }

    fn run(&mut self, input: &NetworkInput<'_>) -> Result<(), EngineError> {
        let need = self.shape.iter().product();
        let got = match input {
            NetworkInput::Planes(values) => values.len(),
            NetworkInput::Interleaved(bytes) => bytes.len(),
        };
        if got != need {
            return Err(EngineError::Input { need, got });
        }
        let (state, shape, normalization, outputs) =
            (&mut self.state, &self.shape, &self.normalization, &mut self.outputs);
        let ran = guarded(|| {
            let mut tensor = Tensor::zero::<f32>(shape)?;
            let mut view = tensor.try_as_plain_ram_mut()?;
            match input {
                NetworkInput::Planes(values) => view.as_slice_mut()?.copy_from_slice(values),
                NetworkInput::Interleaved(bytes) => {
                    normalise(bytes, normalization, view.as_slice_mut()?)
                }
            }
            let results = state.run(tvec!(tensor.into_tvalue()))?;
            for (to, from) in outputs.values.iter_mut().zip(&results) {
                let from = from.try_as_plain_ram()?;
                let from = from.as_slice::<f32>()?;
                // The lengths come from the same facts that tract runs by.
                to.copy_from_slice(from);
            }
            Ok(())
        });
        if let Err(e) = ran {
            // A run that stopped half-way leaves tensors in place; the next one must not meet them.
            let _ = state.reset_turn();
            return Err(EngineError::Run { reason: format!("{e:#}") });
        }
        Ok(())
    }

    fn output(&self, index: usize) -> &[f32] {
        &self.outputs.values[index]
    }

    fn wipe(&mut self) {
        // tract frees its tensors after a run; only the copies are ours.
        self.outputs.values.iter_mut().for_each(|v| v.as_mut_slice().zeroize());
    }
}
