//! JPEG pictures for tests.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// A smooth picture in three colours.
pub(in crate::source) fn rgb(width: u32, height: u32) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend([
                (x * 255 / width) as u8,
                (y * 255 / height) as u8,
                ((x + y) % 251) as u8,
            ]);
        }
    }
    pixels
}

/// The same as JPEG.
pub(in crate::source) fn colour(width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 90)
        .write_image(&rgb(width, height), width, height, ExtendedColorType::Rgb8)
        .unwrap();
    out
}

/// One component.
pub(in crate::source) fn grey(width: u32, height: u32) -> Vec<u8> {
    let pixels: Vec<u8> = (0..width * height).map(|i| (i % width * 255 / width) as u8).collect();
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 90)
        .write_image(&pixels, width, height, ExtendedColorType::L8)
        .unwrap();
    out
}

/// `jpeg` with a segment after SOI.
pub(in crate::source) fn with_segment(jpeg: &[u8], code: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8, 0xFF, code];
    out.extend(((body.len() + 2) as u16).to_be_bytes());
    out.extend(body);
    out.extend(&jpeg[2..]);
    out
}

/// `jpeg` without its DHT segments, as UVC cameras send it.
pub(in crate::source) fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    let mut at = 2;
    loop {
        assert_eq!(jpeg[at], 0xFF);
        let len = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] == super::SOS {
            out.extend(&jpeg[at..]);
            return out;
        }
        if jpeg[at + 1] != super::DHT {
            out.extend(&jpeg[at..at + len]);
        }
        at += len;
    }
}
