//! Sequential pictures with one scan for each component: legal, rare, and mixed up by the library
//! where chroma is subsampled. Each scan is decoded as a grey picture of its own, and the planes
//! are put together.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

use super::super::jpeg::{self, Component, JpegScan, Structure};
use super::{DecodeError, TRIPWIRE, colours, complete, decode, options, refusal};
use crate::frame::{Layout, PixelFormat, Range};
use crate::locked::LockedBuffer;

/// Decodes `picture`, which has one scan for each component. `completed` is working memory.
pub(super) fn decode_planes(
    picture: &[u8],
    structure: &Structure,
    completed: &mut LockedBuffer,
    pixels: &mut LockedBuffer,
) -> Result<Layout, DecodeError> {
    let format = format(picture, structure, completed)?;
    let layout = Layout::packed(format, Range::Full, structure.width, structure.height)?;
    let most = |of: fn(&Component) -> u8| {
        structure.components.iter().map(|c| u32::from(of(c))).max().unwrap_or(1)
    };
    let (across, down) = (most(|c| c.across), most(|c| c.down));
    let mut whole = LockedBuffer::new();
    whole.resize(layout.min_len());
    let mut filled = [false; 3];
    for scan in &structure.scans {
        let (at, selected) = component(picture, structure, scan)?;
        if std::mem::replace(&mut filled[at], true) {
            return Err(DecodeError::Corrupt("two scans of one component".into()));
        }
        let (h, v) = (u32::from(selected.across), u32::from(selected.down));
        if h == 0 || v == 0 {
            return Err(DecodeError::Corrupt("a component without samples".into()));
        }
        let size = ((structure.width * h).div_ceil(across), (structure.height * v).div_ceil(down));
        grey(picture, structure, (scan, selected), size, completed)?;
        let plane = decode(completed, size, pixels)?;
        if plane.format() != PixelFormat::Grey {
            return Err(DecodeError::Corrupt("a scan with several colours".into()));
        }
        let width = structure.width as usize;
        for (y, row) in whole.chunks_exact_mut(width * 3).enumerate() {
            let from = &pixels[y * v as usize / down as usize * size.0 as usize..];
            for (x, to) in row.iter_mut().skip(at).step_by(3).enumerate() {
                *to = from[x * h as usize / across as usize];
            }
        }
    }
    *pixels = whole;
    Ok(layout)
}

/// Whether three components are Y, Cb, Cr or red, green, blue: the library knows the signs.
fn format(
    picture: &[u8],
    structure: &Structure,
    completed: &mut LockedBuffer,
) -> Result<PixelFormat, DecodeError> {
    complete(picture, structure, structure.scans[0].end, completed);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&**completed), options());
    decoder.decode_headers().map_err(refusal)?;
    match colours(&decoder)?.0 {
        format if structure.components.len() == 3 => Ok(format),
        _ => Err(DecodeError::Unsupported("one sequential scan for each of four colours".into())),
    }
}

/// The component that a scan holds, and its number.
fn component<'a>(
    picture: &[u8],
    structure: &'a Structure,
    scan: &JpegScan,
) -> Result<(usize, &'a Component), DecodeError> {
    // Marker, length, count; then the component's name.
    let id = picture.get(scan.at + 5);
    let found = structure.components.iter().enumerate().find(|(_, c)| Some(&c.id) == id);
    found.ok_or_else(|| DecodeError::Corrupt("a scan of no component".into()))
}

/// Makes a grey picture of one scan.
fn grey(
    picture: &[u8],
    structure: &Structure,
    (scan, component): (&JpegScan, &Component),
    (width, height): (u32, u32),
    out: &mut LockedBuffer,
) -> Result<(), DecodeError> {
    out.clear();
    out.extend_from_slice(&[0xFF, 0xD8]);
    if !structure.has_huffman_tables {
        out.extend_from_slice(jpeg::STANDARD_TABLES);
    }
    let tables = structure
        .tables_before(scan)
        .ok_or_else(|| DecodeError::Unsupported("very many tables".into()))?;
    for table in tables {
        out.extend_from_slice(&picture[table.start..table.end]);
    }
    let (w, h) = ((width as u16).to_be_bytes(), (height as u16).to_be_bytes());
    // One component, one sample each.
    out.extend_from_slice(&[0xFF, 0xC0, 0, 11, 8, h[0], h[1], w[0], w[1], 1]);
    out.extend_from_slice(&[component.id, 0x11, component.table]);
    out.extend_from_slice(&picture[scan.at..scan.end]);
    out.extend_from_slice(&TRIPWIRE);
    Ok(())
}
