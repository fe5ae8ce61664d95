//! The Merkle tree of RFC 6962, section 2.1: hashes, the right edge of a log that grows, proofs
//! and their verification. Sans-IO: where nodes are kept is a [`Nodes`].
//!
//! * Memory does not grow with the log: a [`RightEdge`] is one hash for each bit of its size.
//! * Each node is made once and never changes, so that nodes can be appended to a file in the order
//!   in which [`RightEdge::push`] makes them; [`position`] says where one is.
//! * A proof reads at most `2 * 64` nodes, however long the log is.
//! * Sizes end at [`MAX_SIZE`], proofs at [`MAX_PROOF`] hashes; what claims more is refused before
//!   anything is computed.
//!
//! Own code, because the crates of this tree keep all leaves in memory or bring their own storage,
//! and the whole of it is shorter than an adapter to one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Largest number of records: what the texts of the logs can say.
pub const MAX_SIZE: u64 = i64::MAX as u64;
/// Most hashes of a proof: one for each bit of [`MAX_SIZE`], and the old tree's last part.
pub const MAX_PROOF: usize = 64;

/// A proof; bounded.
pub type ProofPath = heapless::Vec<TreeHash, MAX_PROOF>;

/// A node of the tree: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash(pub [u8; 32]);

impl TreeHash {
    /// The root of a tree without records.
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// Of a record.
    pub fn leaf(record: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(record).finalize().into())
    }

    /// Of two nodes beside each other.
    pub fn above(left: &Self, right: &Self) -> Self {
        let hash = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why something does not follow from something else.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum TreeError {
    /// The record is not in a tree of this size.
    #[error("record {index} is not in a log of {size}")]
    Beyond {
        /// Of the record, from zero.
        index: u64,
        /// Of the tree.
        size: u64,
    },
    /// The later tree is smaller.
    #[error("a log of {old} records cannot become one of {new}")]
    Shrinks {
        /// Records before.
        old: u64,
        /// Records after.
        new: u64,
    },
    /// More records than can be counted.
    #[error("{0} records are more than a log can have")]
    TooLarge(u64),
    /// A proof of this question has another number of hashes.
    #[error("the proof has {found} hashes and {wanted} are needed")]
    Length {
        /// As given.
        found: usize,
        /// As the sizes ask for.
        wanted: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root hash")]
    Mismatch,
}

/// Finished nodes, each readable for as long as the log is.
pub trait Nodes {
    /// Why one cannot be read.
    type Error;
    /// The root of the `index`th complete tree of `2^level` records.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn node(&self, level: u32, index: u64) -> Result<TreeHash, Self::Error>;
}

/// Why a question about a log in memory has no answer.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum NoNode {
    /// The log has not come so far.
    #[error("the log has not grown so far")]
    Missing,
    /// It is no question about a log.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Nodes in memory, in the order in which they are finished: for those who read a log once.
#[derive(Debug, Default)]
pub struct MemoryNodes(pub Vec<TreeHash>);

impl Nodes for MemoryNodes {
    type Error = NoNode;
    fn node(&self, level: u32, index: u64) -> Result<TreeHash, NoNode> {
        let at = usize::try_from(position(level, index)).map_err(|_| NoNode::Missing)?;
        self.0.get(at).copied().ok_or(NoNode::Missing)
    }
}

/// Where a node is in the order in which nodes are finished, from zero.
pub fn position(level: u32, index: u64) -> u64 {
    // The node is finished with its last record, after the lower nodes that end there, too.
    let last = ((index + 1) << level) - 1;
    2 * last - u64::from(last.count_ones()) + u64::from(level)
}

/// How many nodes are finished with `size` records.
pub fn finished(size: u64) -> u64 {
    2 * size - u64::from(size.count_ones())
}

/// What must be known of a log to add to it: the roots of its complete trees from left to right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RightEdge {
    size: u64,
    peaks: heapless::Vec<TreeHash, 64>,
}

impl RightEdge {
    /// Records so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a record by its leaf hash. The nodes that it finishes go to `out` in their order.
    ///
    /// # Errors
    /// Where the log is full.
    pub fn push(&mut self, leaf: TreeHash, mut out: impl FnMut(TreeHash)) -> Result<(), TreeError> {
        if self.size >= MAX_SIZE {
            return Err(TreeError::TooLarge(self.size));
        }
        let mut node = leaf;
        out(node);
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a peak for each bit of the size");
            node = TreeHash::above(&left, &node);
            out(node);
        }
        self.peaks.push(node).expect("a size has fewer bits than there is room for");
        self.size += 1;
        Ok(())
    }

    /// The root hash.
    pub fn root(&self) -> TreeHash {
        let folded =
            self.peaks.iter().rev().copied().reduce(|right, left| TreeHash::above(&left, &right));
        folded.unwrap_or_else(TreeHash::empty)
    }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The root over the records from `from` to `to`, a subtree of some tree that begins at zero.
fn subtree<N: Nodes>(nodes: &N, from: u64, to: u64) -> Result<TreeHash, N::Error> {
    let (mut from, mut trees) = (from, heapless::Vec::<TreeHash, 64>::new());
    while from < to {
        let level = (to - from).ilog2();
        trees.push(nodes.node(level, from >> level)?).expect("one for each bit");
        from += 1 << level;
    }
    let folded = trees.iter().rev().copied().reduce(|right, left| TreeHash::above(&left, &right));
    Ok(folded.unwrap_or_else(TreeHash::empty))
}

/// Which part of a proof: records from and to.
type NodeSpan = (u64, u64);

/// The spans of an inclusion proof, from the leaf's sibling up.
fn inclusion_spans(index: u64, size: u64) -> heapless::Vec<NodeSpan, MAX_PROOF> {
    let (mut from, mut to) = (0, size);
    let mut spans = heapless::Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        let other = if index < middle { (middle, to) } else { (from, middle) };
        spans.push(other).expect("a level for each bit of the size");
        if index < middle { to = middle } else { from = middle }
    }
    spans.reverse();
    spans
}

/// The spans of a consistency proof in its order; `0 < old < new`.
fn consistency_spans(old: u64, new: u64) -> heapless::Vec<NodeSpan, MAX_PROOF> {
    let (mut from, mut to) = (0, new);
    let mut spans = heapless::Vec::new();
    while to != old {
        let middle = from + split(to - from);
        let other = if old <= middle { (middle, to) } else { (from, middle) };
        spans.push(other).expect("a level for each bit of the size");
        if old <= middle { to = middle } else { from = middle }
    }
    // The old tree's root itself is known to whoever asks.
    if from > 0 {
        spans.push((from, to)).expect("one more than levels");
    }
    spans.reverse();
    spans
}

fn bounded(size: u64) -> Result<(), TreeError> {
    if size > MAX_SIZE { Err(TreeError::TooLarge(size)) } else { Ok(()) }
}

fn ordered(old: u64, new: u64) -> Result<(), TreeError> {
    bounded(new)?;
    if old > new { Err(TreeError::Shrinks { old, new }) } else { Ok(()) }
}

fn contains(index: u64, size: u64) -> Result<(), TreeError> {
    bounded(size)?;
    if index >= size { Err(TreeError::Beyond { index, size }) } else { Ok(()) }
}

fn read<N: Nodes>(nodes: &N, spans: &[NodeSpan]) -> Result<ProofPath, N::Error> {
    spans.iter().map(|(from, to)| subtree(nodes, *from, *to)).collect()
}

/// The root of the first `size` records.
///
/// # Errors
/// Where a node cannot be read.
pub fn root_of<N: Nodes>(nodes: &N, size: u64) -> Result<TreeHash, N::Error> {
    subtree(nodes, 0, size)
}

/// The proof that the record at `index` is in the log of `size` records.
///
/// # Errors
/// Where it is not, or a node cannot be read.
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<ProofPath, N::Error>
where
    N::Error: From<TreeError>,
{
    contains(index, size)?;
    read(nodes, &inclusion_spans(index, size))
}

/// The proof that a log of `old` records became one of `new` by additions only. Empty where one of
/// them says nothing: from no records, or to as many.
///
/// # Errors
/// Where it shrinks, or a node cannot be read.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<ProofPath, N::Error>
where
    N::Error: From<TreeError>,
{
    ordered(old, new)?;
    if old == 0 || old == new {
        return Ok(ProofPath::new());
    }
    read(nodes, &consistency_spans(old, new))
}

/// Whether `leaf` is the record at `index` of the log of `size` records with `root`.
///
/// # Errors
/// Why it does not follow.
pub fn verify_inclusion(
    leaf: TreeHash,
    index: u64,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), TreeError> {
    contains(index, size)?;
    let spans = inclusion_spans(index, size);
    of_length(proof, spans.len())?;
    let reached = spans.iter().zip(proof).fold(leaf, |node, ((from, _), other)| {
        if *from > index { TreeHash::above(&node, other) } else { TreeHash::above(other, &node) }
    });
    if reached == root { Ok(()) } else { Err(TreeError::Mismatch) }
}

/// Whether the log of `new` records with `new_root` begins with the one of `old` records with
/// `old_root`.
///
/// # Errors
/// Why it does not follow.
pub fn verify_consistency(
    old: u64,
    old_root: TreeHash,
    new: u64,
    new_root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), TreeError> {
    ordered(old, new)?;
    let same = |a, b| if a == b { Ok(()) } else { Err(TreeError::Mismatch) };
    if old == 0 || old == new {
        of_length(proof, 0)?;
        return same(old_root, if old == 0 { TreeHash::empty() } else { new_root });
    }
    let spans = consistency_spans(old, new);
    of_length(proof, spans.len())?;
    let mut steps = spans.iter().zip(proof);
    // Where the old tree is complete it is itself the first node of the way up.
    let (mut before, mut after) = if old.is_power_of_two() {
        (old_root, old_root)
    } else {
        let (_, first) = steps.next().expect("the old tree's last part");
        (*first, *first)
    };
    for ((from, _), other) in steps {
        if *from >= old {
            after = TreeHash::above(&after, other);
        } else {
            before = TreeHash::above(other, &before);
            after = TreeHash::above(other, &after);
        }
    }
    same(before, old_root).and(same(after, new_root))
}

fn of_length(proof: &[TreeHash], wanted: usize) -> Result<(), TreeError> {
    let found = proof.len();
    if found == wanted { Ok(()) } else { Err(TreeError::Length { found, wanted }) }
}

#[cfg(test)]
mod tests;
