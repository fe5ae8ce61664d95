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
        if jpeg[at + 1] == 0xDA {
            out.extend(&jpeg[at..]);
            return out;
        }
        if jpeg[at + 1] != 0xC4 {
            out.extend(&jpeg[at..at + len]);
        }
        at += len;
    }
}

/// Where the first scan of `jpeg` begins.
pub(in crate::source) fn scan_at(jpeg: &[u8]) -> usize {
    structure(jpeg).scans[0].at
}

/// What its markers say. A picture of the encoder's is clean.
pub(in crate::source) fn structure(jpeg: &[u8]) -> super::Structure {
    super::read(jpeg, &mut crate::locked::LockedBuffer::new()).unwrap()
}

/// `jpeg`, its height after the first scan instead of in its header.
pub(in crate::source) fn with_height_after_the_scan(jpeg: &[u8]) -> Vec<u8> {
    let s = structure(jpeg);
    let height = s.frame_at.unwrap() + 5;
    let end = s.scans[0].end;
    let mut out =
        [&jpeg[..end], &[0xFF, 0xDC, 0, 4], &jpeg[height..height + 2], &jpeg[end..]].concat();
    out[height..height + 2].fill(0);
    out
}

/// The colours of [`rgb`] with one scan for each, chroma at half width and height.
pub(in crate::source) fn one_scan_a_colour(width: u32, height: u32) -> Vec<u8> {
    let rgb = rgb(width, height);
    let ycc = |x: u32, y: u32| {
        let at = ((y.min(height - 1) * width + x.min(width - 1)) * 3) as usize;
        let [r, g, b] = [0, 1, 2].map(|i| f32::from(rgb[at + i]));
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        [luma, (b - luma) * 0.564 + 128.0, (r - luma) * 0.713 + 128.0].map(|v| v.round() as u8)
    };
    let planes = [(width, height), (width.div_ceil(2), height.div_ceil(2))];
    let plane = |which: usize| {
        let ((w, h), step) = if which == 0 { (planes[0], 1) } else { (planes[1], 2) };
        let samples: Vec<u8> = (0..w * h).map(|i| ycc(i % w * step, i / w * step)[which]).collect();
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, 95)
            .write_image(&samples, w, h, ExtendedColorType::L8)
            .unwrap();
        out
    };
    let mut out = Vec::new();
    for which in 0..3 {
        let grey = plane(which);
        let s = structure(&grey);
        let (frame_at, scan) = (s.frame_at.unwrap(), s.scans[0]);
        if which == 0 {
            out.extend(&grey[..frame_at]);
            out.extend([0xFF, 0xC0, 0, 17, 8]);
            out.extend((height as u16).to_be_bytes());
            out.extend((width as u16).to_be_bytes());
            out.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
            // What lies between the header and the scan.
            let len = 2 + usize::from(u16::from_be_bytes([grey[frame_at + 2], grey[frame_at + 3]]));
            out.extend(&grey[frame_at + len..scan.at]);
        }
        let mut part = grey[scan.at..scan.end].to_vec();
        part[5] = which as u8 + 1;
        out.extend(part);
    }
    out.extend([0xFF, 0xD9]);
    out
}
