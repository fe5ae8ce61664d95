//! The weights of first layers and pointwise convolutions in the order in which a kernel reads
//! them.
//!
//! * A network holds its weights once, in the order of the kernel that runs it: each kernel names
//!   its [`Packing`], and the plan packs before it stores.
//! * Reading weights in another order than they were packed in is a panic: a fault of the plan.
//! * Depth-wise and global convolutions have one order for all kernels.

use super::layout::{LANES, WeightGroup};

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
        }
    }

    /// Output blocks.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Rows(weights) => weights.len(),
            Self::Dense(weights) => weights.len(),
            Self::Quarters(quarters) => quarters.weights.len() / 8,
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
}

/// Weights of a pointwise convolution.
#[derive(Debug, Clone, PartialEq)]
pub enum PointwiseWeights {
    /// [`Packing::Groups`] and [`Packing::Dense`]: `[output block][group]`.
    Groups(Vec<WeightGroup>),
    /// [`Packing::Quarters`].
    Quarters(Quarters),
}

impl PointwiseWeights {
    /// Packs `groups` groups for each output block.
    pub fn packed(weights: Vec<WeightGroup>, groups: usize, packing: Packing) -> Self {
        match packing {
            Packing::Groups | Packing::Dense => Self::Groups(weights),
            Packing::Quarters => Self::Quarters(Quarters::new(weights, groups)),
        }
    }

    /// All groups, in whatever order.
    pub fn count(&self) -> usize {
        match self {
            Self::Groups(weights) => weights.len(),
            Self::Quarters(quarters) => quarters.weights.len(),
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn groups(&self) -> &[WeightGroup] {
        match self {
            Self::Groups(weights) => weights,
            Self::Quarters(_) => {
                panic!("the weights of a pointwise convolution were packed in quarters")
            }
        }
    }

    /// # Panics
    /// Where they were packed otherwise.
    pub fn quarters(&self) -> &Quarters {
        match self {
            Self::Quarters(quarters) => quarters,
            Self::Groups(_) => {
                panic!("the weights of a pointwise convolution were not packed in quarters")
            }
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
