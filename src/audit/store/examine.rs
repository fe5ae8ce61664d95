//! Whether a log could be opened, for those who only look.

use std::io::ErrorKind;
use std::path::Path;

use super::{
    AuditStoreError, CarriedRecords, LOG, read_checkpoint, read_cosigned, scan_with, tree_in,
};
use crate::audit::tree::{RightEdge, TreeHash};
use crate::files::open;

/// How many records the log of `origin` in `folder` has with what the outbox holds for it, none
/// where there is no log yet: judged as
/// [`AuditStore::open_with`](super::AuditStore::open_with) does, and nothing is made, mended or
/// locked. Its own daemon may write it meanwhile. Whether it can be written is not looked at.
///
/// # Errors
/// Where it cannot be read, or is not what it was.
pub fn examine(
    folder: &Path,
    origin: &str,
    outbox: &CarriedRecords,
) -> Result<u64, AuditStoreError> {
    // Before the log, which only grows: what is signed meanwhile is of what is read after it.
    let notes = [read_checkpoint(folder)?, read_cosigned(folder)?];
    let kept = notes.iter().flatten().map(|note| tree_in(note, origin).map(|t| (t.size, t.root)));
    let signed: Vec<_> = kept.chain(outbox.trees().iter().copied().map(Ok)).collect();
    let sizes = || signed.iter().map(|signed| signed.as_ref().ok().map(|(size, _)| *size));
    let mut edge = RightEdge::default();
    let mut roots: Vec<Option<TreeHash>> = vec![None; signed.len()];
    let note = |edge: &RightEdge, roots: &mut Vec<Option<TreeHash>>| {
        for (root, size) in roots.iter_mut().zip(sizes()) {
            if size == Some(edge.size()) {
                *root = Some(edge.root());
            }
        }
    };
    note(&edge, &mut roots);
    match open(&folder.join(LOG)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(AuditStoreError::at("open")(error)),
        Ok(log) => {
            let mut full = Ok(());
            let found = scan_with(log, outbox, |read| {
                full = full.and_then(|()| edge.push(read.leaf, drop));
                note(&edge, &mut roots);
            })?;
            full?;
            if found.origin != origin {
                let (found, wanted) = (found.origin, origin.to_owned());
                return Err(AuditStoreError::OtherOrigin { found, wanted });
            }
        }
    }
    let found = edge.size();
    for (signed, root) in signed.into_iter().zip(roots) {
        let (signed, signed_root) = signed?;
        match root {
            None => return Err(AuditStoreError::RolledBack { found, signed }),
            Some(root) if root != signed_root => {
                return Err(AuditStoreError::Rewritten { signed });
            }
            Some(_) => {}
        }
    }
    Ok(found)
}
