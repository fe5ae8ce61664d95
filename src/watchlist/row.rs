//! One template as the kernels of the search take it.

use zeroize::{DefaultIsZeroes, Zeroize};

use crate::kernels::search::ComponentLine;
use crate::template::MAX_DIMENSIONS;

impl DefaultIsZeroes for ComponentLine {}

/// One template in lines, the rest zero; on the stack, because a search allocates nothing. Wiped
/// when dropped.
pub struct Row {
    lines: [ComponentLine; MAX_DIMENSIONS / 64],
    used: usize,
}

impl Row {
    /// # Panics
    /// Where there are more values than a template can have.
    pub fn new(values: &[i8]) -> Self {
        let mut row = Self {
            lines: [ComponentLine::ZERO; MAX_DIMENSIONS / 64],
            used: values.len().div_ceil(64),
        };
        for (line, chunk) in row.lines.iter_mut().zip(values.chunks(64)) {
            line.0[..chunk.len()].copy_from_slice(chunk);
        }
        assert!(row.used <= row.lines.len(), "templates have at most {MAX_DIMENSIONS} components");
        row
    }

    pub fn lines(&self) -> &[ComponentLine] {
        &self.lines[..self.used]
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.lines[..self.used].zeroize();
    }
}
