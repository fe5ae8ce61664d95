//! What an evaluation scored, comparison by comparison, as JSON Lines: so that anybody can compute
//! the figures again with software of their own. Names of files, similarities and boxes; never a
//! template.
//!
//! | evaluation | a line |
//! |---|---|
//! | verification | a pair: `line`, `fold`, `a`, `b`, `genuine`, `similarity` (null where a photograph gave no template) |
//! | identification | an enrolled photograph: `draw`, `person`, `enrolled`, `template`; a probe: `draw`, `person`, `probe`, `mated`, `best` and `best_person` (null without a template) |
//! | detection | an image: `image`, `scale`, `faces` as `[left, top, width, height, score]`, best first |
//! | gate | a view that was compared: `file`, `degradation`, `similarity`, `hardly_able` (null where it is able), `detail`, `noise`, `contrast` (what was measured of it) |
//! | groups, curve | a pair of photographs with templates: `a`, `b`, `same_person`, `similarity`; with `groups` also `group_a`, `group_b` |

use std::io::{self, Write};

use serde::Serialize;

/// Where the lines go, if anywhere. The first failure is kept, and what follows it is not written.
#[derive(Default)]
pub struct Records {
    out: Option<Box<dyn Write>>,
    failed: Option<io::Error>,
}

impl Records {
    /// Lines go to `out`.
    pub fn to(out: impl Write + 'static) -> Self {
        Self { out: Some(Box::new(out)), failed: None }
    }

    /// Whether anybody wants them: what is only made for them need not be made otherwise.
    pub fn wanted(&self) -> bool {
        self.out.is_some() && self.failed.is_none()
    }

    /// Writes one line.
    pub fn add(&mut self, line: &impl Serialize) {
        let Some(out) = self.out.as_mut().filter(|_| self.failed.is_none()) else { return };
        let written = serde_json::to_writer(&mut *out, line)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        self.failed = written.err();
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// The first failure of all writing.
    pub fn finish(mut self) -> io::Result<()> {
        match (self.failed, &mut self.out) {
            (Some(e), _) => Err(e),
            (None, Some(out)) => out.flush(),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `0` bytes and is full then.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.0);
            self.0 -= n;
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_is_told_at_the_end_and_nobody_is_asked_when_nobody_wants_lines() {
        let mut records = Records::to(Full(10));
        (0..9).for_each(|n| records.add(&n));
        assert!(!records.wanted());
        assert_eq!(records.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut none = Records::default();
        none.add(&1);
        assert!(!none.wanted() && none.finish().is_ok());
    }
}
