//! When which rows are computed, and where they lie.
//!
//! The order is fixed when the network is loaded. Rows are computed on demand, starting from the
//! outputs: before an operator computes a few rows, its inputs are brought as far as these rows
//! need. So an image streams through the large early layers a few rows at a time while they are in
//! the first-level cache, and a buffer is a ring of just the rows that are still read. Small
//! images are computed as a whole, so that weights are read once.
//!
//! Buffers whose times do not overlap share memory. Nothing is allocated while the network runs.

use super::compile::{Buffer, Op, PlanStage};

/// Rows `from..to` of a stage's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowStep {
    pub stage: usize,
    pub from: usize,
    pub to: usize,
}

/// A buffer of up to this many bytes is computed in one step.
const WHOLE: usize = 32 << 10;

/// Otherwise a step computes about this many bytes.
const PORTION: usize = 12 << 10;

/// Buffers start on cache lines.
const ALIGNMENT: usize = 64;

struct Scheduler<'a> {
    stages: &'a [PlanStage],
    buffers: &'a mut [Buffer],
    /// Stage that writes a buffer.
    writers: Vec<usize>,
    /// Stages that read it, and as which of their inputs.
    readers: Vec<Vec<(usize, usize)>>,
    /// Rows that each stage has computed.
    done: Vec<usize>,
    steps: Vec<RowStep>,
}

/// Orders the stages' rows, sizes and places the buffers. `reserved` bytes at the arena's start
/// stay free. Gives the steps and the arena's size.
pub(super) fn schedule(
    stages: &[PlanStage],
    buffers: &mut [Buffer],
    reserved: usize,
) -> (Vec<RowStep>, usize) {
    let mut readers = vec![Vec::new(); buffers.len()];
    let mut writers = vec![0; buffers.len()];
    for (index, stage) in stages.iter().enumerate() {
        for (slot, input) in stage.inputs.iter().enumerate() {
            readers[*input].push((index, slot));
        }
        if let Some(output) = stage.output {
            writers[output] = index;
        }
    }
    for buffer in buffers.iter_mut() {
        buffer.rows = 1;
    }
    let mut s = Scheduler {
        stages,
        buffers,
        writers,
        readers,
        done: vec![0; stages.len()],
        steps: Vec::new(),
    };
    for (index, stage) in stages.iter().enumerate() {
        if stage.output.is_none() {
            s.advance(index, stage.height);
        }
    }
    let steps = s.steps;
    let arena = place(stages, buffers, &steps, reserved);
    (steps, arena)
}

impl Scheduler<'_> {
    /// Rows of a step.
    fn portion(&self, stage: &PlanStage) -> usize {
        let Some(output) = stage.output.or(stage.inputs.first().copied()) else { return 1 };
        let buffer = &self.buffers[output];
        let row = buffer.blocks * buffer.row_bytes;
        if row * buffer.height <= WHOLE {
            stage.height
        } else {
            (PORTION / row).max(1).next_multiple_of(2)
        }
    }

    /// Brings a stage's output to at least `to` rows. Recursion is as deep as the network is long.
    fn advance(&mut self, index: usize, to: usize) {
        let stage = &self.stages[index];
        while self.done[index] < to {
            let from = self.done[index];
            let end = (from + self.portion(stage)).min(stage.height);
            for (slot, input) in stage.inputs.iter().enumerate() {
                let need = stage.needs(slot, self.buffers[*input].height, from, end).end;
                self.advance(self.writers[*input], need);
            }
            if let Some(output) = stage.output {
                let live = end - self.oldest(output).min(from);
                let buffer = &mut self.buffers[output];
                buffer.rows = buffer.rows.max(live);
            }
            self.steps.push(RowStep { stage: index, from, to: end });
            self.done[index] = end;
        }
    }

    /// The first row of a buffer that a reader still needs.
    fn oldest(&self, buffer: usize) -> usize {
        let height = self.buffers[buffer].height;
        let needs = self.readers[buffer].iter().map(|(stage, slot)| {
            let (done, stage) = (self.done[*stage], &self.stages[*stage]);
            if done == stage.height {
                height
            } else {
                stage.needs(*slot, height, done, done + 1).start
            }
        });
        needs.min().unwrap_or(height)
    }
}

/// Gives each buffer the lowest place that is free for as long as it is used, the largest first.
fn place(
    stages: &[PlanStage],
    buffers: &mut [Buffer],
    steps: &[RowStep],
    reserved: usize,
) -> usize {
    for (index, buffer) in buffers.iter_mut().enumerate() {
        // Rings of nearly all rows, and images that are read as a whole, lie in order.
        let whole =
            stages.iter().any(|s| matches!(s.op, Op::Global(_)) && s.inputs.contains(&index));
        if whole || buffer.rows * 4 >= buffer.height * 3 {
            buffer.rows = buffer.height;
        }
    }
    let mut lives = vec![None::<(usize, usize)>; buffers.len()];
    for (time, step) in steps.iter().enumerate() {
        let stage = &stages[step.stage];
        for buffer in stage.inputs.iter().copied().chain(stage.output) {
            let life = lives[buffer].get_or_insert((time, time));
            life.1 = time;
        }
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|b| lives[*b].is_some()).collect();
    order.sort_by_key(|b| std::cmp::Reverse(buffers[*b].bytes()));
    let start = reserved.next_multiple_of(ALIGNMENT);
    let mut size = start;
    let mut placed: Vec<usize> = Vec::new();
    for buffer in order {
        let meets = |other: usize| match (lives[buffer], lives[other]) {
            (Some((a, b)), Some((c, d))) => a <= d && c <= b,
            _ => false,
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|other| meets(**other))
            .map(|other| (buffers[*other].offset, buffers[*other].offset + buffers[*other].bytes()))
            .collect();
        taken.sort_unstable();
        let need = buffers[buffer].bytes();
        let mut offset = start;
        for (from, to) in taken {
            if from >= offset + need {
                break;
            }
            offset = offset.max(to.next_multiple_of(ALIGNMENT));
        }
        buffers[buffer].offset = offset;
        size = size.max(offset + need);
        placed.push(buffer);
    }
    size
}
