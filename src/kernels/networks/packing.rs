//! The weights of first layers and pointwise convolutions in the order in which a kernel reads
//! them.
//!
//! * A network holds its weights once, in the order of the kernel that runs it: each kernel names
//!   its [`Packing`], and the plan packs before it stores.
//! * Reading weights in another order than they were packed in is a panic: a fault of the plan.
//! * Depth-wise and global convolutions have one order for all kernels.

use super::layout::{LANES, WeightGroup};

/// What is known of the steps that a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRange {
    /// From -128 to 127.
    Signed,
    /// From 0 to 127, as after a ReLU. A kernel may rely on it for its sums.
    NotNegative,
}

/// The order in which a kernel reads weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are built: `[output block][group]`; a first layer has three groups for each row of
    /// its window, of which the last three bytes are zero.
    Groups,
    /// First layers without the gaps between the rows of a window: 27 bytes and five zeros in
    /// eight groups. Pointwise convolutions as they are built.
    Dense,
    /// As [`Quarters`] has it, first layers without gaps before.
    Quarters,
    /// As [`Runs`] has it where inputs are not negative, else and in first layers as [`Pairs`] has
    /// it.
    Runs,
}

/// Weights in pairs of inputs, for `vpmaddwd`: the first two of each group for sixteen output
/// channels, then the other two.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    weights: Vec<WeightGroup>,
    /// Groups of each output block.
    groups: usize,
}

impl Pairs {
    /// Packs `groups` groups for each output block.
    pub fn new(mut weights: Vec<WeightGroup>, groups: usize) -> Self {
        for group in &mut weights {
            let given = group.0;
            let pair =
                |first: usize| given.iter().flat_map(move |four| [four[first], four[first + 1]]);
            let order = pair(0).chain(pair(2));
            group.0.as_flattened_mut().iter_mut().zip(order).for_each(|(to, from)| *to = from);
        }
        Self { weights, groups }
    }

    /// The groups of an output block.
    pub fn of(&self, block: usize) -> &[WeightGroup] {
        &self.weights[block * self.groups..][..self.groups]
    }
}

/// Weights in runs of neighbouring groups whose products may be added in 16 bits, for `vpmaddubsw`,
/// which multiplies bytes without a sign with signed ones and adds pairs of products. For inputs
/// that are not negative: a lane of 16 bits holds the sum of any weights of which those of either
/// sign add up to 258, as no step is above 127.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// Run after run.
    weights: Vec<WeightGroup>,
    /// Of all output blocks, one block after the other.
    runs: Vec<Run>,
    /// For each output block, behind its last run and its last group.
    ends: Vec<[usize; 2]>,
    /// Groups that each output block had.
    groups: usize,
}

/// Neighbouring groups of one block of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub(super) block: u16,
    /// The first group within it.
    pub(super) group: u8,
    /// 1 to 4.
    pub(super) count: u8,
}

impl Runs {
    /// Packs `groups` groups for each output block.
    pub fn new(weights: Vec<WeightGroup>, groups: usize) -> Self {
        let (mut runs, mut ends) = (Vec::new(), Vec::new());
        for of_block in weights.chunks_exact(groups) {
            for (block, part) in of_block.chunks(4).enumerate() {
                let mut first = 0;
                while first < part.len() {
                    let longest = part.len() - first;
                    let fits = |count: &usize| fits(&part[first..first + count]);
                    // A group by itself always fits: 2 * 128 * 127.
                    let count = (2..=longest).rev().find(fits).unwrap_or(1);
                    runs.push(Run { block: block as u16, group: first as u8, count: count as u8 });
                    first += count;
                }
            }
            ends.push([runs.len(), (ends.len() + 1) * groups]);
        }
        Self { weights, runs, ends, groups }
    }

    /// The runs of an output block, and their weights: as many groups as the runs count.
    pub fn of(&self, block: usize) -> (&[Run], &[WeightGroup]) {
        let [run, group] = block.checked_sub(1).map_or([0; 2], |before| self.ends[before]);
        let [run_end, group_end] = self.ends[block];
        (&self.runs[run..run_end], &self.weights[group..group_end])
    }
}

/// Whether the sums of pairs of products over `groups` fit 16 bits where no input is negative.
fn fits(groups: &[WeightGroup]) -> bool {
    // Inputs 0 and 1 of each group are added in one lane, 2 and 3 in the next.
    (0..LANES).flat_map(|lane| [(lane, 0), (lane, 2)]).all(|(lane, first)| {
        let weights = || groups.iter().flat_map(|g| &g.0[lane][first..first + 2]);
        let of_sign = |sign: i32| weights().map(|w| (sign * i32::from(*w)).max(0)).sum::<i32>();
        of_sign(1).max(of_sign(-1)) <= 258
    })
}

/// Weights in runs of up to four groups, one for each block of inputs, for processors without a
/// dot product; and how many of their products may be added in 16 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarters {
    /// `[run][four output channels][group]`, 16 bytes each.
    pub weights: Vec<WeightGroup>,
    /// One for each run: whether the sum of four products, one of each group, fits 16 bits
    /// whatever the inputs are.
    pub fours: Vec<bool>,
    /// As [`is_narrow`] says.
    pub narrow: bool,
}

impl Quarters {
    /// Packs `groups` groups for each output block.
    pub fn new(mut weights: Vec<WeightGroup>, groups: usize) -> Self {
        let narrow = is_narrow(&weights);
        let mut fours = Vec::with_capacity(weights.len().div_ceil(4));
        for run in weights.chunks_exact_mut(groups).flat_map(|block| block.chunks_mut(4)) {
            let magnitude = |at: usize| {
                run.iter().map(|g| i32::from(g.0.as_flattened()[at]).abs()).sum::<i32>()
            };
            fours.push((0..4 * LANES).all(|at| magnitude(at) * 128 <= i32::from(i16::MAX)));
            let given = run.to_vec();
            let order = (0..LANES)
                .step_by(4)
                .flat_map(|first| given.iter().flat_map(move |g| &g.0[first..first + 4]));
            run.iter_mut().flat_map(|g| &mut g.0).zip(order).for_each(|(to, from)| *to = *from);
        }
        Self { weights, fours, narrow }
    }
}

/// Weights of a first layer.
#[derive(Debug, Clone, PartialEq)]
pub enum StemWeights {
    /// [`Packing::Groups`], for each output block.
    Rows(Vec<[WeightGroup; 9]>),
    /// [`Packing::Dense`], for each output block.
    Dense(Vec<[WeightGroup; 8]>),
    /// [`Packing::Quarters`], eight groups for each output block.
    Quarters(Quarters),
    /// [`Packing::Runs`], nine groups for each output block.
    Pairs(Pairs),
}

impl StemWeights {
    /// Packs what was built by rows.
    pub fn packed(rows: Vec<[WeightGroup; 9]>, packing: Packing) -> Self {
        match packing {
            Packing::Groups => Self::Rows(rows),
            Packing::Dense => Self::Dense(rows.iter().map(dense).collect()),
            Packing::Quarters => {
                let dense = rows.iter().flat_map(dense).collect();
                Self::Quarters(Quarters::new(dense, 8))
            }
            Packing::Runs => Self::Pairs(Pairs::new(rows.as_flattened().to_vec(), 9)),
        }
    }

    /// Output blocks.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Rows(weights) => weights.len(),
            Self::Dense(weights) => weights.len(),
            Self::Quarters(quarters) => quarters.weights.len() / 8,
            Self::Pairs(pairs) => pairs.weights.len() / 9,
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn rows(&self) -> &[[WeightGroup; 9]] {
        match self {
            Self::Rows(weights) => weights,
            _ => panic!("the weights of a first layer were not packed by rows"),
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn dense(&self) -> &[[WeightGroup; 8]] {
        match self {
            Self::Dense(weights) => weights,
            _ => panic!("the weights of a first layer were not packed densely"),
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn quarters(&self) -> &Quarters {
        match self {
            Self::Quarters(quarters) => quarters,
            _ => panic!("the weights of a first layer were not packed in quarters"),
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn pairs(&self) -> &Pairs {
        match self {
            Self::Pairs(pairs) => pairs,
            _ => panic!("the weights of a first layer were not packed in pairs"),
        }
    }
}

/// Weights of a pointwise convolution.
#[derive(Debug, Clone, PartialEq)]
pub enum PointwiseWeights {
    /// [`Packing::Groups`] and [`Packing::Dense`]: `[output block][group]`.
    Groups(Vec<WeightGroup>),
    /// [`Packing::Quarters`].
    Quarters(Quarters),
    /// [`Packing::Runs`], where no input is negative.
    Runs(Runs),
    /// [`Packing::Runs`], where inputs may be.
    Pairs(Pairs),
}

impl PointwiseWeights {
    /// Packs `groups` groups for each output block.
    pub fn packed(
        weights: Vec<WeightGroup>,
        groups: usize,
        range: InputRange,
        packing: Packing,
    ) -> Self {
        match packing {
            Packing::Groups | Packing::Dense => Self::Groups(weights),
            Packing::Quarters => Self::Quarters(Quarters::new(weights, groups)),
            Packing::Runs => match range {
                InputRange::NotNegative => Self::Runs(Runs::new(weights, groups)),
                InputRange::Signed => Self::Pairs(Pairs::new(weights, groups)),
            },
        }
    }

    /// Output blocks, of `groups` groups each.
    pub fn blocks(&self, groups: usize) -> usize {
        match self {
            Self::Groups(weights) => weights.len() / groups,
            Self::Quarters(quarters) => quarters.weights.len() / groups,
            // Other groups than they were packed for would be read beyond the inputs.
            Self::Runs(runs) if runs.groups == groups => runs.ends.len(),
            Self::Pairs(pairs) if pairs.groups == groups => pairs.weights.len() / groups,
            Self::Runs(_) | Self::Pairs(_) => 0,
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn groups(&self) -> &[WeightGroup] {
        match self {
            Self::Groups(weights) => weights,
            _ => panic!("the weights of a pointwise convolution were not packed in groups"),
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn quarters(&self) -> &Quarters {
        match self {
            Self::Quarters(quarters) => quarters,
            _ => panic!("the weights of a pointwise convolution were not packed in quarters"),
        }
    }
}

/// Whether no weight is -128, so that the sum of two products fits 16 bits.
pub fn is_narrow(weights: &[WeightGroup]) -> bool {
    weights.iter().flat_map(|g| g.0.as_flattened()).all(|w| *w != i8::MIN)
}

/// Weights of a first layer without the gaps between its rows: 27 bytes of a window, and five
/// zeros.
fn dense(rows: &[WeightGroup; 9]) -> [WeightGroup; 8] {
    let mut groups = [WeightGroup::NONE; 8];
    for at in 0..27 {
        let (row, byte) = (at / 9, at % 9);
        for (to, from) in groups[at / 4].0.iter_mut().zip(&rows[3 * row + byte / 4].0) {
            to[at % 4] = from[byte % 4];
        }
    }
    groups
}
