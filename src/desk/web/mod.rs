//! Script and style of the pages, in the binary.

/// One file that is served as it is.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path below `/`.
    pub path: &'static str,
    /// Media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

/// All of them.
pub const ASSETS: &[Asset] = &[];
