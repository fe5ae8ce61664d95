//! What each camera format costs from the captured frame to what the networks see: the whole
//! picture shrunk for the detector, and one aligned face. What the order in which camera formats
//! are preferred rests on.
//!
//! * All formats take turns, round after round, and each is compared with NV12 of the same round:
//!   what else the machine does then weighs on all alike.
//! * JPEG stands apart, for it is decoded first; so does a picture that is turned. The JPEG is
//!   4:4:4, which is dearer to decode than the 4:2:2 of most cameras.

use image::ImageEncoder;
use serde::Serialize;

use super::meter::{Meter, RunCosts};
use super::{Args, Workload, output};
use crate::cli::CliError;
use crate::demo::scene::Scene;
use crate::frame::{Frame, Layout, PixelFormat, Pixels, Range, Visitor};
use crate::geometry::{Orientation, Point, Turn};
use crate::kernels::pixels;
use crate::locked::LockedBuffer;
use crate::source::{Captured, Decoder, Payload};
use crate::vision::{AlignedFace, Alignment, Detector, Models};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const QUALITY: u8 = 85;
/// Pixels of the frame a pixel of the aligned face: some 60 between the eyes.
const FACE_SCALE: f32 = 1.7;

/// What was measured.
#[derive(Serialize)]
struct FormatReport {
    what: Workload,
    runs: u32,
    width: u32,
    height: u32,
    /// Long side of the detector's picture in pixels.
    long_side: usize,
    /// Instructions of the kernels.
    kernels: String,
    /// Uncompressed formats, as a camera holds them.
    formats: Vec<FormatCost>,
    /// NV12 of cameras that hang turned or mirrored.
    turned: Vec<FormatCost>,
    /// Decoding included.
    jpeg: FormatCost,
}

/// Of one format, processor time.
#[derive(Serialize)]
struct FormatCost {
    format: String,
    /// Median time to make the detector's picture.
    detector_ms: f64,
    /// Median time to align one face.
    face_ms: f64,
    /// Both together, in those of NV12 in the same round: the median of all rounds.
    nv12: f64,
}

/// A frame that is measured, and its times.
struct Contender {
    name: String,
    captured: Captured,
    orientation: Orientation,
    costs: [RunCosts; 2],
}

impl Contender {
    fn new(name: impl Into<String>, captured: Captured, orientation: Orientation) -> Self {
        Self { name: name.into(), captured, orientation, costs: Default::default() }
    }

    fn raw(format: PixelFormat, rgb: &[[u8; 3]], turn: Orientation) -> Result<Self, CliError> {
        let layout = Layout::packed(format, Range::Full, WIDTH, HEIGHT)?;
        let bytes = encoded(format, rgb);
        assert_eq!(bytes.len(), layout.min_len(), "{format}");
        let payload = Payload::Raw(layout);
        let captured = Captured { payload, bytes: bytes.into(), ..Captured::default() };
        let name = match turn {
            Orientation::NATIVE => format.name().to_owned(),
            Orientation { turn, mirrored: false } => format!("{format}, {}°", turn.degrees()),
            Orientation { .. } => format!("{format}, mirrored"),
        };
        Ok(Self::new(name, captured, turn))
    }

    /// Both times together, round after round.
    fn rounds(&self) -> impl Iterator<Item = f64> {
        let [detector, face] = self.costs.each_ref().map(|costs| costs.times.iter());
        detector.zip(face).map(|(a, b)| (*a + *b).as_secs_f64())
    }

    fn cost(&self, nv12: &[f64]) -> FormatCost {
        let mut ratios: Vec<f64> = self.rounds().zip(nv12).map(|(own, nv12)| own / nv12).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let median_ms = |costs: &RunCosts| {
            let mut times = costs.times.clone();
            times.sort_unstable();
            times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        let [detector_ms, face_ms] = self.costs.each_ref().map(median_ms);
        let nv12 = ratios.get(ratios.len() / 2).copied().unwrap_or(0.0);
        FormatCost { format: self.name.clone(), detector_ms, face_ms, nv12 }
    }
}

/// The formats that a camera can have: all but that of a decoded JPEG.
fn of_cameras() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|format| *format != PixelFormat::Ycc444)
}

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

fn luma(p: &[u8; 3]) -> u8 {
    ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) >> 8) as u8
}

/// Cb and Cr.
fn chroma(p: &[u8; 3]) -> [u8; 2] {
    let y = f32::from(luma(p));
    let towards = |part: u8, scale: f32| ((f32::from(part) - y) * scale + 128.0) as u8;
    [towards(p[2], 0.564), towards(p[0], 0.713)]
}

/// A picture of [`WIDTH`] x [`HEIGHT`] pixels with all 256 codes in the bytes of a format.
fn encoded(format: PixelFormat, rgb: &[[u8; 3]]) -> Vec<u8> {
    let row = WIDTH as usize;
    let y = || rgb.iter().map(luma);
    // Both sides are even.
    let quarter: Vec<[u8; 2]> = rgb
        .chunks_exact(2 * row)
        .flat_map(|rows| rows[..row].iter().step_by(2).map(chroma))
        .collect();
    let half: Vec<[u8; 2]> = rgb.iter().step_by(2).map(chroma).collect();
    let each = |places: [usize; 2], colours: &[[u8; 2]]| {
        y().chain(colours.iter().flat_map(|c| places.map(|p| c[p]))).collect()
    };
    let planes = |places: [usize; 2], colours: &[[u8; 2]]| {
        let plane = |p: usize| colours.iter().map(move |c| c[p]);
        y().chain(plane(places[0])).chain(plane(places[1])).collect()
    };
    let packed = |places: [usize; 4]| {
        let pairs = rgb.as_chunks().0.iter();
        let four = pairs.flat_map(|[a, b]| {
            let [cb, cr] = chroma(a);
            places.map(|p| [luma(a), cb, luma(b), cr][p])
        });
        four.collect()
    };
    let words = |bits: u32| y().flat_map(|y| (u16::from(y) << (bits - 8)).to_le_bytes()).collect();
    let bytes = |places: &[usize]| {
        let pixel = |p: &[u8; 3]| [p[0], p[1], p[2], 0];
        rgb.iter().flat_map(|p| places.iter().map(move |i| pixel(p)[*i])).collect()
    };
    match format {
        PixelFormat::Grey => y().collect(),
        PixelFormat::Yuyv => packed([0, 1, 2, 3]),
        PixelFormat::Uyvy => packed([1, 0, 3, 2]),
        PixelFormat::Yvyu => packed([0, 3, 2, 1]),
        PixelFormat::Vyuy => packed([3, 0, 1, 2]),
        PixelFormat::Nv12 => each([0, 1], &quarter),
        PixelFormat::Nv21 => each([1, 0], &quarter),
        PixelFormat::Nv16 => each([0, 1], &half),
        PixelFormat::Nv61 => each([1, 0], &half),
        PixelFormat::Nv24 => each([0, 1], &rgb.iter().map(chroma).collect::<Vec<_>>()),
        PixelFormat::Nv42 => each([1, 0], &rgb.iter().map(chroma).collect::<Vec<_>>()),
        PixelFormat::I420 => planes([0, 1], &quarter),
        PixelFormat::Yv12 => planes([1, 0], &quarter),
        PixelFormat::I422 => planes([0, 1], &half),
        PixelFormat::Yv16 => planes([1, 0], &half),
        PixelFormat::Y10 => words(10),
        PixelFormat::Y12 => words(12),
        PixelFormat::Y14 => words(14),
        PixelFormat::Y16 => words(16),
        PixelFormat::Y10p => {
            let four = y().collect::<Vec<_>>();
            four.as_chunks().0.iter().flat_map(|[a, b, c, d]| [*a, *b, *c, *d, 0]).collect()
        }
        PixelFormat::Y12p => {
            let two = y().collect::<Vec<_>>();
            two.as_chunks().0.iter().flat_map(|[a, b]| [*a, *b, 0]).collect()
        }
        PixelFormat::Ycc444 => {
            rgb.iter().map(|p| (luma(p), chroma(p))).flat_map(|(y, [b, r])| [y, b, r]).collect()
        }
        PixelFormat::Rgb8 => bytes(&[0, 1, 2]),
        PixelFormat::Bgr8 => bytes(&[2, 1, 0]),
        PixelFormat::Rgbx => bytes(&[0, 1, 2, 3]),
        PixelFormat::Bgrx => bytes(&[2, 1, 0, 3]),
        PixelFormat::Xrgb => bytes(&[3, 0, 1, 2]),
        PixelFormat::Xbgr => bytes(&[3, 2, 1, 0]),
        PixelFormat::Rgb565 => {
            let code = |[r, g, b]: &[u8; 3]| {
                let [r, g, b] = [*r, *g, *b].map(u16::from);
                ((r >> 3 << 11) | (g >> 2 << 5) | (b >> 3)).to_le_bytes()
            };
            rgb.iter().flat_map(code).collect()
        }
    }
}

fn jpeg(rgb: &[[u8; 3]]) -> Result<Contender, CliError> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, QUALITY).write_image(
        rgb.as_flattened(),
        WIDTH,
        HEIGHT,
        image::ExtendedColorType::Rgb8,
    )?;
    let payload = Payload::Jpeg { width: WIDTH, height: HEIGHT };
    let captured = Captured { payload, bytes: bytes.into(), ..Captured::default() };
    Ok(Contender::new("mjpg", captured, Orientation::NATIVE))
}

fn measured(args: &Args, models: &Models, meter: &Meter) -> Result<FormatReport, CliError> {
    let mut pixels = LockedBuffer::new();
    Scene::new(1).frame(120, &mut pixels);
    let scene = Frame::new(Scene::layout(), &pixels)?;
    let rgb = scene.read(Resized(Scene::layout(), (WIDTH, HEIGHT)));
    let formats = of_cameras().map(|format| Contender::raw(format, &rgb, Orientation::NATIVE));
    let mut formats = formats.collect::<Result<Vec<_>, _>>()?;
    let turns = [(Turn::Zero, true), (Turn::Quarter, false), (Turn::Half, false)];
    let turned = turns.map(|(turn, mirrored)| {
        Contender::raw(PixelFormat::Nv12, &rgb, Orientation { turn, mirrored })
    });
    let mut turned = turned.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut jpeg = jpeg(&rgb)?;

    let mut detector = Detector::new(models, args.long_side)?;
    let alignment = Alignment::from(&models.manifest.embedder);
    let mut face = AlignedFace::new(alignment.side);
    let mut decoder = Decoder::default();
    let warm_up = args.runs / 10 + 1;
    for round in 0..warm_up + args.runs {
        let all = formats.iter_mut().chain(&mut turned).chain([&mut jpeg]);
        for Contender { captured, orientation, costs: [detect, align], .. } in all {
            let counts = round >= warm_up;
            let frame = meter.time(counts.then_some(&mut *detect), || {
                let frame = decoder.decode(captured)?.oriented(*orientation);
                std::hint::black_box(detector.fill(&frame));
                Ok::<_, CliError>(frame)
            })?;
            let middle = Point::new(frame.width() as f32 / 2.0, frame.height() as f32 / 2.0);
            let landmarks = alignment.template.map(|p| {
                Point::new(
                    middle.x + (p.x - 56.0) * FACE_SCALE,
                    middle.y + (p.y - 56.0) * FACE_SCALE,
                )
            });
            meter.time(counts.then_some(align), || {
                let placed = face.warp(&frame, &landmarks, &alignment);
                std::hint::black_box(placed).ok_or("no landmarks")
            })?;
        }
    }
    let nv12 = formats.iter().find(|c| c.name == PixelFormat::Nv12.name());
    let nv12: Vec<f64> = nv12.expect("it is a camera's format").rounds().collect();
    let costs = |contenders: &[Contender]| contenders.iter().map(|c| c.cost(&nv12)).collect();
    Ok(FormatReport {
        what: args.what,
        runs: args.runs,
        width: WIDTH,
        height: HEIGHT,
        long_side: args.long_side,
        kernels: pixels::in_use().set().to_string(),
        formats: costs(&formats),
        turned: costs(&turned),
        jpeg: jpeg.cost(&nv12),
    })
}

pub fn run(args: &Args, models: &Models, meter: &Meter) -> Result<(), CliError> {
    let mut report = measured(args, models, meter)?;
    if args.format.json {
        return Ok(output::json_line(&report)?);
    }
    let FormatReport { runs, width, height, long_side, kernels, .. } = &report;
    output::line(format!(
        "{runs} rounds of {width}x{height}, shrunk to {long_side} px, pixels {kernels}"
    ))?;
    report.formats.sort_by(|a, b| a.nv12.total_cmp(&b.nv12));
    let all = report.formats.iter().chain(&report.turned).chain([&report.jpeg]);
    let rows: Vec<Vec<String>> = all
        .map(|c| {
            let ms = [c.detector_ms, c.face_ms].map(|ms| format!("{ms:.3}"));
            let [detector, face] = ms;
            vec![c.format.clone(), detector, face, format!("{:.2}", c.nv12)]
        })
        .collect();
    output::table(&["format", "detector's picture ms", "one face ms", "times nv12"], &rows)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_holds_the_same_picture() {
        let rgb: Vec<[u8; 3]> = (0..WIDTH * HEIGHT)
            .map(|i| [(i % WIDTH / 6) as u8, (i / WIDTH / 4) as u8, 90])
            .collect();
        let raw = of_cameras().map(|f| Contender::raw(f, &rgb, Orientation::NATIVE).unwrap());
        for Contender { name, captured, .. } in raw.chain([jpeg(&rgb).unwrap()]) {
            let mut decoder = Decoder::default();
            let frame = decoder.decode(&captured).unwrap();
            let seen = frame.read(Resized(*frame.layout(), (64, 36)));
            let without_colour = name == "grey" || name.starts_with("y1");
            for (i, got) in seen.iter().enumerate() {
                let want = rgb[i / 64 * 20 * 1280 + i % 64 * 20];
                let want = if without_colour { [luma(&want); 3] } else { want };
                let near = want.iter().zip(got).all(|(a, b)| a.abs_diff(*b) <= 8);
                assert!(near, "{name} at {i}: {got:?} for {want:?}");
            }
        }
    }
}
