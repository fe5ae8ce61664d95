//! From a captured frame to the detector's input, by format: what the order in which camera formats
//! are preferred rests on.
//!
//! The JPEG is 4:4:4, which is dearer to decode than the 4:2:2 of most cameras.

use image::ImageEncoder;

use super::meter::Meter;
use super::{Args, Measurement, report, stage};
use crate::cli::CliError;
use crate::demo::scene::Scene;
use crate::frame::{Frame, Layout, PixelFormat, Pixels, Range, Visitor};
use crate::kernels::pixels;
use crate::locked::LockedBuffer;
use crate::source::{Captured, Decoder, Payload};
use crate::vision::{Detector, Models};

const SIZES: [(u32, u32); 2] = [(640, 480), (1280, 720)];
const QUALITY: u8 = 85;

/// The nearest pixels of a frame on another grid.
struct Resized(Layout, (u32, u32));

impl Visitor for Resized {
    type Output = Vec<[u8; 3]>;
    fn visit<P: Pixels>(self, pixels: &P) -> Vec<[u8; 3]> {
        let Self(from, (width, height)) = self;
        let at = |i: u32, side: u32, of: u32| (i * side / of) as usize;
        let row =
            |y| (0..width).map(move |x| (at(x, from.width(), width), at(y, from.height(), height)));
        (0..height).flat_map(row).map(|(x, y)| pixels.rgb(x, y)).collect()
    }
}

/// One full-range frame of every format, with the same picture.
fn frames(
    rgb: &[[u8; 3]],
    (width, height): (u32, u32),
) -> Result<Vec<(&'static str, Captured)>, CliError> {
    let luma = |p: &[u8; 3]| {
        ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) >> 8) as u8
    };
    let towards =
        |part: u8, y: u8, scale: f32| ((f32::from(part) - f32::from(y)) * scale + 128.0) as u8;
    let chroma = |p: &[u8; 3]| [towards(p[2], luma(p), 0.564), towards(p[0], luma(p), 0.713)];
    let y: Vec<u8> = rgb.iter().map(luma).collect();
    // Both sides are even.
    let row = width as usize;
    let quarters =
        || rgb.chunks_exact(2 * row).flat_map(|rows| rows[..row].iter().step_by(2).map(chroma));
    let plane = |which: usize| quarters().map(move |c| c[which]);
    let raw = |format, bytes: Vec<u8>| -> Result<Captured, CliError> {
        let payload = Payload::Raw(Layout::packed(format, Range::Full, width, height)?);
        Ok(Captured { payload, bytes: bytes.into(), ..Captured::default() })
    };
    let yuyv = rgb.chunks_exact(2).flat_map(|p| {
        let [cb, cr] = chroma(&p[0]);
        [luma(&p[0]), cb, luma(&p[1]), cr]
    });
    let yuyv: Vec<u8> = yuyv.collect();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, QUALITY).write_image(
        rgb.as_flattened(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    let payload = Payload::Jpeg { width, height };
    let jpeg = Captured { payload, bytes: jpeg.into(), ..Captured::default() };
    let large = width > SIZES[0].0;
    let name = |small, big| if large { big } else { small };
    Ok(vec![
        (name("nv12 640x480", "nv12 1280x720"), {
            raw(PixelFormat::Nv12, y.iter().copied().chain(quarters().flatten()).collect())?
        }),
        (name("i420 640x480", "i420 1280x720"), {
            raw(PixelFormat::I420, y.iter().copied().chain(plane(0)).chain(plane(1)).collect())?
        }),
        (name("yuyv 640x480", "yuyv 1280x720"), raw(PixelFormat::Yuyv, yuyv.clone())?),
        (name("uyvy 640x480", "uyvy 1280x720"), {
            let swapped = yuyv.as_chunks().0.iter().flat_map(|[y, c]| [*c, *y]);
            raw(PixelFormat::Uyvy, swapped.collect())?
        }),
        (name("nv21 640x480", "nv21 1280x720"), {
            let swapped = quarters().flat_map(|[cb, cr]| [cr, cb]);
            raw(PixelFormat::Nv21, y.iter().copied().chain(swapped).collect())?
        }),
        (name("nv24 640x480", "nv24 1280x720"), {
            raw(PixelFormat::Nv24, y.iter().copied().chain(rgb.iter().flat_map(chroma)).collect())?
        }),
        (name("rgb8 640x480", "rgb8 1280x720"), {
            raw(PixelFormat::Rgb8, rgb.as_flattened().to_vec())?
        }),
        (name("bgrx 640x480", "bgrx 1280x720"), {
            raw(PixelFormat::Bgrx, rgb.iter().flat_map(|[r, g, b]| [*b, *g, *r, 0]).collect())?
        }),
        (name("rgb565 640x480", "rgb565 1280x720"), {
            let code = |[r, g, b]: &[u8; 3]| {
                let [r, g, b] = [*r, *g, *b].map(u16::from);
                ((r >> 3 << 11) | (g >> 2 << 5) | (b >> 3)).to_le_bytes()
            };
            raw(PixelFormat::Rgb565, rgb.iter().flat_map(code).collect())?
        }),
        (name("grey 640x480", "grey 1280x720"), raw(PixelFormat::Grey, y.clone())?),
        (name("grey-10 640x480", "grey-10 1280x720"), {
            let words = y.iter().flat_map(|y| (u16::from(*y) << 2).to_le_bytes());
            raw(PixelFormat::Y10, words.collect())?
        }),
        (name("grey-10-packed 640x480", "grey-10-packed 1280x720"), {
            let fives = y.as_chunks().0.iter().flat_map(|[a, b, c, d]| [*a, *b, *c, *d, 0]);
            raw(PixelFormat::Y10p, fives.collect())?
        }),
        (name("mjpg 640x480", "mjpg 1280x720"), jpeg),
    ])
}

pub fn run(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let mut pixels = LockedBuffer::new();
    Scene::new(1).frame(120, &mut pixels);
    let scene = Frame::new(Scene::layout(), &pixels)?;
    let mut detector = Detector::new(models, args.long_side)?;
    let mut decoder = Decoder::default();
    let mut stages = Vec::new();
    for size in SIZES {
        for (name, captured) in frames(&scene.read(Resized(Scene::layout(), size)), size)? {
            let samples = meter.measure(args.runs, || {
                let frame = decoder.decode(&captured)?;
                std::hint::black_box(detector.fill(&frame));
                Ok::<_, CliError>(())
            })?;
            stages.push(stage(name, samples));
        }
    }
    let engines = vec![
        format!("pixels {}", pixels::in_use().set()),
        format!("long side {} px", args.long_side),
    ];
    Ok(report(args, engines, stages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_holds_the_same_picture() {
        let size = SIZES[0];
        let rgb: Vec<[u8; 3]> =
            (0..size.0 * size.1).map(|i| [(i % 640 / 3) as u8, (i / 640 / 2) as u8, 90]).collect();
        for (name, captured) in frames(&rgb, size).unwrap() {
            let mut decoder = Decoder::default();
            let frame = decoder.decode(&captured).unwrap();
            let seen = frame.read(Resized(*frame.layout(), (64, 48)));
            for (i, got) in seen.iter().enumerate() {
                let want = rgb[i / 64 * 10 * 640 + i % 64 * 10];
                let grey = name.starts_with("grey");
                let near = want.iter().zip(got).all(|(a, b)| a.abs_diff(*b) <= 8);
                assert!(grey || near, "{name} at {i}: {got:?} for {want:?}");
            }
        }
    }
}
