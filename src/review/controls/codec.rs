//! The bytes of a control docket, as the device keeps them on its disk. No other program reads
//! them.

use super::{Control, ControlDocket, ControlEnd, MAX_CONTROLS, Published};
use crate::review::control::recipient;
use crate::review::docket::DocketError;
use crate::review::docket::codec::{read_case, write_case};
use crate::watchlist::cbor::{CborReader, CborWriter};

const VERSION: u64 = 1;
/// `age1` and 58 characters.
const RECIPIENT: usize = 62;

pub fn write(docket: &ControlDocket) -> Vec<u8> {
    let mut w = CborWriter::with_capacity(64 + docket.controls.len() * 512);
    w.array(2).uint(VERSION).array(docket.controls.len());
    for Control { case, scores_to, registration } in &docket.controls {
        w.array(3);
        write_case(&mut w, case, ControlEnd::number);
        w.text(&scores_to.to_string()).bytes(registration);
    }
    w.finish()
}

pub fn read(bytes: &[u8]) -> Result<ControlDocket, DocketError> {
    let mut r = CborReader::new(bytes);
    r.items(2)?;
    let version = r.uint(u64::MAX)?;
    if version != VERSION {
        return Err(DocketError::Version(version));
    }
    let mut controls = Vec::new();
    for _ in 0..r.array(MAX_CONTROLS)? {
        r.items(3)?;
        let case = read_case(&mut r, ControlEnd::of_number)?;
        let scores_to =
            recipient(r.text(RECIPIENT)?).map_err(|_| DocketError::Unknown("key of a desk"))?;
        controls.push(Control { case, scores_to, registration: r.fixed()? });
    }
    r.end()?;
    Ok(ControlDocket { controls, published: Published::default() })
}
