//! Lists the folder of an outbox, for people and programs that look from outside.

use std::io::{self, ErrorKind};
use std::path::Path;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::files;
use super::format::{self, Header, ScannedItem};
use crate::delivery::event::EventId;
use crate::delivery::outbox::QueuePosition;

/// A record of a folder, for people and programs that look from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    /// Its place.
    pub position: QueuePosition,
    /// The event's id.
    pub id: EventId,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Whether it was retired: delivered, or gone under another name.
    pub retired: bool,
}

/// The events in the folder of an outbox, in the order of positions, and how many runs of bytes are
/// no records. Changes nothing and asks for no lock, so that it may be called while another
/// process delivers; what that one does meanwhile may be seen or not.
///
/// # Errors
/// Where the folder cannot be read.
pub fn look(path: &Path) -> io::Result<(Vec<KeptEvent>, u64)> {
    let (mut kept, mut retired, mut bad) = (Vec::new(), Vec::new(), 0);
    for number in files::numbers(path)? {
        let bytes = match std::fs::read(files::name(path, number)) {
            Ok(bytes) => Zeroizing::new(bytes),
            // Delivered and deleted between the two calls.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Header::Foreign { .. } = format::read_header(number, &bytes) {
            bad += 1;
            continue;
        }
        format::scan(number, &bytes, |found| match found {
            ScannedItem::Event(_, head) => kept.push(KeptEvent {
                position: head.position,
                id: head.id,
                expires: head.expires,
                bytes: head.bytes,
                retired: false,
            }),
            ScannedItem::Retired(position) => retired.push(position),
            ScannedItem::Carried(..) => {}
            ScannedItem::Damaged | ScannedItem::Torn => bad += 1,
        });
    }
    kept.sort_by_key(|k| k.position);
    kept.dedup_by_key(|k| k.position);
    retired.sort_unstable();
    for k in &mut kept {
        k.retired = retired.binary_search(&k.position).is_ok();
    }
    Ok((kept, bad))
}

/// What the folder of an outbox carries for the audit log, retired or not, in the order in which it
/// was written. Changes nothing and asks for no lock; a folder that is not there carries nothing.
///
/// # Errors
/// Where it cannot be read.
pub fn carried(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut carried = Vec::new();
    let numbers = match files::numbers(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(carried),
        numbers => numbers?,
    };
    for number in numbers {
        let bytes = match std::fs::read(files::name(path, number)) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if let Header::Foreign { .. } = format::read_header(number, &bytes) {
            continue;
        }
        format::scan(number, &bytes, |found| {
            if let ScannedItem::Carried(at, length) = found {
                carried.push(bytes[at..at + length].to_vec());
            }
        });
    }
    Ok(carried)
}
