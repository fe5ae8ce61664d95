//! How activations and weights lie in memory.

/// Channels in a block.
pub const LANES: usize = 16;

/// The stored byte of the quantized value zero, where bytes are stored with an offset: 128.
pub const ZERO: u8 = 128;

/// Weights of sixteen output channels for four inputs each, the unit of a dot product: `[output
/// channel][input]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct WeightGroup(pub [[i8; 4]; LANES]);

impl WeightGroup {
    /// No weights yet.
    pub const NONE: WeightGroup = WeightGroup([[0; 4]; LANES]);
}

/// A run of neighbouring pixels in every channel block.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// From the first pixel of the first block on.
    pub bytes: &'a [u8],
    /// Bytes from a block to the next.
    pub stride: usize,
}

/// A run of neighbouring pixels in every channel block, to be written.
pub struct BlocksMut<'a> {
    /// From the first pixel of the first block on.
    pub bytes: &'a mut [u8],
    /// Bytes from a block to the next.
    pub stride: usize,
}

/// Three rows of one block, of one length.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct RowPointers {
    pub(super) bytes: [*const u8; 3],
    pub(super) pixels: usize,
    /// Columns of zero to the left.
    pub(super) left: usize,
}

/// From an image byte to a stored activation, one table a channel.
pub struct ByteTable {
    /// By channel and byte.
    pub channels: [[u8; 256]; 3],
    /// Whether the three are equal, which the fast kernels ask for.
    pub uniform: bool,
}

/// Bytes that `blocks` runs of `pixels` span.
pub(super) fn span(blocks: usize, stride: usize, pixels: usize) -> usize {
    (blocks - 1) * stride + pixels * LANES
}
