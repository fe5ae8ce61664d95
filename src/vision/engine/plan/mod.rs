//! Runs quantized networks as a plan of fused int8 operators, laid out in one arena when the
//! network is loaded.
//!
//! # From file to plan
//! 1. [`onnx`]: the graph as tract's reader decodes it, sizes checked.
//! 2. [`lower`]: quantize/dequantize pairs and the operators between become int8 layers with their
//!    activation; heads that read the same image become one.
//! 3. [`compile`]: weights packed for the kernels, biases with the activations' offset folded in.
//! 4. [`schedule`]: the order of row-wise steps, ring buffers, and places in the arena.
//!
//! Lowering starts from the file's own graph, not from tract's typed one: the quantization is
//! explicit there and in the form that the quantizers of onnxruntime and others write, while
//! tract's analysis rewrites it into operators of its own that change from release to release. It
//! also saves tract's analysis at start. tract remains the reader of the format, the reference, and
//! the engine for everything that is not lowered.
//!
//! # Promises
//! * The same model and the same image give the same output bytes on every processor and kernel
//!   (see [`crate::kernels::networks`] for the arithmetic), each rounding of the quantized graph
//!   kept: outputs differ from onnxruntime's at most where a floating-point product lies within its
//!   own error of a tie.
//! * A run allocates nothing.
//! * A graph that is lowered is computed wholly; one that is not is an error that names the
//!   operator, never a guess.
//!
//! Not promised: float networks, zero points other than 0, batches.

mod arena;
mod compile;
mod lower;
mod network;
mod onnx;
mod schedule;
#[cfg(test)]
mod tests;

use tract_onnx::tract_core::framework::Framework;

use self::arena::Arena;
use self::compile::{Buffer, LEFT, Op, PlanStage};
use self::schedule::RowStep;
use super::{EngineError, Network, NetworkInput, Normalization, Outputs};
use crate::kernels::networks::{Blocks, BlocksMut, ByteTable, LANES, NetworkKernels};
use crate::locked::wipe;

/// Why there is no plan for a file: the reference engine should run it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlan {
    /// The bytes do not decode.
    #[error("not an ONNX file: {0}")]
    NotOnnx(String),
    /// The graph holds something that the plan does not know.
    #[error(transparent)]
    Unlowered(#[from] lower::Unlowered),
    /// Its numbers leave the range in which all processors agree.
    #[error("{0}")]
    Range(String),
}

/// A network as a plan.
pub(super) struct NetworkPlan {
    kernels: &'static dyn NetworkKernels,
    name: String,
    shape: [usize; 4],
    table: Box<ByteTable>,
    image_scale: f32,
    stages: Vec<PlanStage>,
    buffers: Vec<Buffer>,
    steps: Vec<RowStep>,
    /// Starts with `zero_row` bytes that stand for zero: the row above and below every image.
    arena: Arena,
    zero_row: usize,
    /// One row of a head, pixel by pixel.
    row: Vec<f32>,
    outputs: Outputs,
}

/// The step of a real value: `round(clamp(value / scale))`.
#[expect(clippy::manual_clamp, reason = "`clamp` would let a NaN pass")]
fn quantized(value: f32, scale: f32) -> i8 {
    // In this order a NaN becomes the lowest step; a cast of what is within -128 to 127 is exact.
    (value / scale).max(-128.0).min(127.0).round_ties_even() as i8
}

impl NetworkPlan {
    /// Lowers the file for images of `height` x `width`, which the caller has found to be within
    /// sensible bounds.
    pub fn load(
        onnx: &[u8],
        height: usize,
        width: usize,
        normalization: &Normalization,
        kernels: &'static dyn NetworkKernels,
    ) -> Result<Self, NoPlan> {
        // Decoding needs none of the operators that `tract_onnx::onnx` brings into the binary.
        let proto = tract_onnx::Onnx::default().proto_model_for_read(&mut &onnx[..]);
        let proto = proto.map_err(|e| NoPlan::NotOnnx(format!("{e:#}")))?;
        let graph =
            proto.graph.as_ref().ok_or_else(|| NoPlan::NotOnnx("it holds no graph".into()))?;
        let mut network = lower::lower(graph, height, width)?;
        network.join_heads(LANES);
        let mut compiled =
            compile::compile(&network, height, width, kernels.packing()).map_err(NoPlan::Range)?;
        if kernels.pools() {
            compiled.fuse_pools();
        }
        let compile::Compiled { mut buffers, stages } = compiled;
        let zero_row = buffers.iter().map(|b| b.row_bytes).max().unwrap_or(0);
        let (steps, bytes) = schedule::schedule(&stages, &mut buffers, zero_row);
        let mut channels = [[0; 256]; 3];
        for (channel, table) in channels.iter_mut().enumerate() {
            for (byte, entry) in (0u8..=255).zip(table) {
                let real =
                    (f32::from(byte) - normalization.mean[channel]) * normalization.scale[channel];
                *entry = quantized(real, network.image_scale).cast_unsigned() ^ kernels.zero_byte();
            }
        }
        let uniform = channels.iter().all(|c| *c == channels[0]);
        let heads =
            stages.iter().filter(|s| matches!(s.op, Op::Head { .. })).flat_map(|s| &s.inputs);
        let row = heads.map(|input| buffers[*input].row_bytes).max().unwrap_or(0);
        let (names, lengths): (_, Vec<usize>) = network.outputs.into_iter().unzip();
        Ok(Self {
            kernels,
            name: format!("plan {}", kernels.set()),
            shape: [1, 3, height, width],
            table: Box::new(ByteTable { channels, uniform }),
            image_scale: network.image_scale,
            stages,
            buffers,
            steps,
            arena: Arena::new(bytes, kernels.zero_byte()),
            zero_row,
            row: vec![0.0; row],
            outputs: Outputs { names, values: lengths.into_iter().map(|n| vec![0.0; n]).collect() },
        })
    }

    fn step(&mut self, step: RowStep, input: &NetworkInput<'_>) {
        let stage = &self.stages[step.stage];
        match &stage.op {
            Op::Pointwise(_) | Op::Global(_) => self.runs(step),
            Op::Head { .. } => (step.from..step.to).for_each(|row| self.head(step.stage, row)),
            Op::Output { .. } => self.output_channels(step.stage),
            Op::Linear(_) => self.linear(step.stage),
            Op::Quantize => {
                (step.from..step.to).for_each(|row| self.image_row(step.stage, row, input))
            }
            _ => self.rows(step),
        }
    }

    /// One row of the caller's image, with zero left and right of it.
    fn image_row(&mut self, stage: usize, row: usize, input: &NetworkInput<'_>) {
        let Some(output) = self.stages[stage].output else { return };
        let buffer = &self.buffers[output];
        let [_, _, height, width] = self.shape;
        let at = buffer.at(0, row);
        let bytes = &mut self.arena.bytes_mut()[at..at + buffer.row_bytes];
        let (before, rest) = bytes.split_at_mut(LEFT * 3);
        let (pixels, after) = rest.split_at_mut(width * 3);
        before.fill(self.kernels.zero_byte());
        after.fill(self.kernels.zero_byte());
        match input {
            NetworkInput::Interleaved(image) => {
                self.kernels.quantize(&self.table, &image[row * width * 3..][..width * 3], pixels);
            }
            NetworkInput::Planes(planes) => {
                for (channel, plane) in planes.chunks_exact(height * width).enumerate() {
                    let values = &plane[row * width..][..width];
                    for (pixel, value) in pixels.chunks_exact_mut(3).zip(values) {
                        pixel[channel] = quantized(*value, self.image_scale).cast_unsigned()
                            ^ self.kernels.zero_byte();
                    }
                }
            }
        }
    }

    /// Operators on runs of pixels: as many rows at a time as lie in order in both buffers.
    fn runs(&mut self, step: RowStep) {
        let stage = &self.stages[step.stage];
        let (Some(output), &[input]) = (stage.output, &stage.inputs[..]) else { return };
        let (src, dst) = (&self.buffers[input], &self.buffers[output]);
        let whole = dst.offset..dst.offset + dst.bytes();
        let (around, written) = self.arena.split(whole);
        match &stage.op {
            Op::Pointwise(op) => {
                let mut row = step.from;
                while row < step.to {
                    let rows = (step.to - row)
                        .min(src.rows - row % src.rows)
                        .min(dst.rows - row % dst.rows);
                    let from = around.get(src.at(0, row)..src.offset + src.bytes());
                    let to = &mut written[dst.at(0, row) - dst.offset..];
                    let pixels = rows * src.row_bytes / LANES;
                    let from = Blocks { bytes: from, stride: src.stride() };
                    self.kernels.pointwise(
                        op,
                        from,
                        BlocksMut { bytes: to, stride: dst.stride() },
                        pixels,
                    );
                    row += rows;
                }
            }
            Op::Global(op) => {
                let (pixels, _) = written.as_chunks_mut::<LANES>();
                for (block, to) in pixels.iter_mut().enumerate() {
                    let from = around.get(src.at(block, 0)..src.at(block, 0) + src.stride());
                    self.kernels.global(op, block, from, to);
                }
            }
            _ => {}
        }
    }

    /// Operators that make an output row from a few input rows.
    fn rows(&mut self, step: RowStep) {
        let stage = &self.stages[step.stage];
        let Some(output) = stage.output else { return };
        let dst = &self.buffers[output];
        let bytes = dst.row_bytes;
        if let (Op::Stem { op, skip }, &[input]) = (&stage.op, &stage.inputs[..]) {
            let src = &self.buffers[input];
            let (around, written) = self.arena.split(dst.offset..dst.offset + dst.bytes());
            for row in step.from..step.to {
                let rows = std::array::from_fn(|tap| {
                    let at = (row * stage.window.stride + tap).checked_sub(stage.window.top);
                    let at = at.filter(|r| *r < src.height).map_or(0, |r| src.at(0, r));
                    &around.get(at..at + src.row_bytes)[*skip..]
                });
                let to = &mut written[dst.at(0, row) - dst.offset..];
                self.kernels.stem(
                    op,
                    rows,
                    BlocksMut { bytes: to, stride: dst.stride() },
                    bytes / LANES,
                );
            }
            return;
        }
        for block in 0..dst.blocks {
            for row in step.from..step.to {
                let at = dst.at(block, row);
                let (around, to) = self.arena.split(at..at + bytes);
                // A row of an input's block; the row of zeros outside of the image.
                let read = |input: usize, row: Option<usize>| {
                    let src = &self.buffers[stage.inputs[input]];
                    let at = row.filter(|r| *r < src.height).map_or(0, |r| src.at(block, r));
                    around.get(at..at + src.row_bytes)
                };
                let window =
                    |tap: usize| (row * stage.window.stride + tap).checked_sub(stage.window.top);
                match &stage.op {
                    Op::Depthwise(op) => {
                        let rows = [0, 1, 2].map(|tap| read(0, window(tap)));
                        self.kernels.depthwise(op, block, rows, to);
                    }
                    Op::DepthwisePool(op) => {
                        let rows = [0, 1, 2, 3].map(|tap| read(0, window(tap)));
                        self.kernels.depthwise_pool(op, block, rows, to);
                    }
                    Op::MaxPool => {
                        self.kernels.max_pool([0, 1].map(|tap| read(0, window(tap))), to)
                    }
                    Op::Add(op) => {
                        let first = if op.doubled { row / 2 } else { row };
                        self.kernels.add(op, read(0, Some(first)), read(1, Some(row)), to);
                    }
                    _ => {}
                }
            }
        }
    }

    /// One row of a head to its outputs.
    fn head(&mut self, stage: usize, row: usize) {
        let Op::Head { op, parts } = &self.stages[stage].op else { return };
        let &[input] = &self.stages[stage].inputs[..] else { return };
        let src = &self.buffers[input];
        let (around, _) = self.arena.split(0..0);
        let rows = [0, 1, 2].map(|tap| {
            let at =
                (row + tap).checked_sub(1).filter(|r| *r < src.height).map_or(0, |r| src.at(0, r));
            around.get(at..at + src.row_bytes)
        });
        let values = &mut self.row[..src.row_bytes];
        self.kernels.head(op, rows, values);
        let pixels = src.row_bytes / LANES;
        for part in parts {
            let output = &mut self.outputs.values[part.output][row * pixels * part.channels..]
                [..pixels * part.channels];
            for (to, from) in output.chunks_exact_mut(part.channels).zip(values.chunks_exact(LANES))
            {
                to.copy_from_slice(&from[part.first..part.first + part.channels]);
            }
            if part.sigmoid {
                self.kernels.sigmoid(output);
            }
        }
    }

    /// A fully connected last layer. Plain code: a five-hundredth of an embedder's work, and exact
    /// in any order.
    fn linear(&mut self, stage: usize) {
        let Op::Linear(op) = &self.stages[stage].op else { return };
        let &[input] = &self.stages[stage].inputs[..] else { return };
        let src = &self.buffers[input];
        // One pixel: the blocks lie in order.
        let bytes = &self.arena.bytes_mut()[src.offset..src.offset + src.bytes()];
        let (inputs, zero) = (op.weights.len() / op.bias.len(), self.kernels.zero_byte());
        let outputs = self.outputs.values[op.output].iter_mut().zip(&op.bias).zip(&op.scale);
        for (((value, bias), scale), weights) in outputs.zip(op.weights.chunks_exact(inputs)) {
            let steps = bytes.iter().map(|byte| i32::from((*byte ^ zero).cast_signed()));
            let products =
                weights.iter().zip(steps).map(|(weight, step)| i32::from(*weight) * step);
            *value = (bias + products.sum::<i32>()) as f32 * scale;
        }
    }

    fn output_channels(&mut self, stage: usize) {
        let Op::Output { index, scale } = self.stages[stage].op else { return };
        let &[input] = &self.stages[stage].inputs[..] else { return };
        let src = &self.buffers[input];
        // One pixel: the blocks lie in order.
        let bytes = &self.arena.bytes_mut()[src.offset..src.offset + src.bytes()];
        for (value, byte) in self.outputs.values[index].iter_mut().zip(bytes) {
            *value = f32::from((*byte ^ self.kernels.zero_byte()).cast_signed()) * scale;
        }
    }
}

impl Network for NetworkPlan {
    fn name(&self) -> &str {
        &self.name
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
        for index in 0..self.steps.len() {
            self.step(self.steps[index], input);
        }
        Ok(())
    }

    fn output(&self, index: usize) -> &[f32] {
        &self.outputs.values[index]
    }

    fn wipe(&mut self) {
        let zero_row = self.zero_row;
        let bytes = self.arena.bytes_mut();
        wipe(bytes);
        bytes[..zero_row].fill(self.kernels.zero_byte());
        wipe(&mut self.row);
        self.outputs.values.iter_mut().for_each(|v| wipe(v));
    }
}

impl Drop for NetworkPlan {
    fn drop(&mut self) {
        self.wipe();
    }
}
