//! What a person in front of a camera could leave behind, and the search for it: in memory, in
//! files, in messages, in logs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD as STANDARD_ENGINE,
};
use image::ImageEncoder as _;
use image::imageops::FilterType;
use time::OffsetDateTime;
use watchpost::clock::{Clock, Now};
use watchpost::frame::{Frame, Layout, PixelFormat, Range, SampleLine};
use watchpost::geometry::Point;
use watchpost::source::Decoder;
use watchpost::vision::{Analyzer, Faces, Models, Sighting, View, VisionConfig};

use super::memory::Mapping;
use super::places::{Face, Places};

/// Bytes of a piece that is searched for.
const PIECE: usize = 48;
/// Shortest run of base64 or hexadecimal digits that is decoded.
const DIGITS: usize = 64;
/// Side of an aligned face in px.
const SIDE: u32 = 112;
/// Quality of the JPEG that a candidate carries, where its setting is left alone.
const CROP_QUALITY: u8 = 85;

/// A picture as a camera gives it.
pub struct Shot {
    pub bytes: Vec<u8>,
    /// How raw samples lie; a JPEG has none.
    layout: Option<Layout>,
}

impl Shot {
    pub fn jpeg(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), layout: None }
    }

    /// The picture's samples in `format`, which is YUYV or NV12, in full range.
    pub fn raw(format: PixelFormat, picture: &image::RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        assert!(width % 2 == 0 && height % 2 == 0, "colours belong to pairs of pixels");
        let ycc = |x: u32, y: u32| {
            let [r, g, b] = picture.get_pixel(x, y).0.map(f32::from);
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            [luma, 128.0 + (b - luma) * 0.564, 128.0 + (r - luma) * 0.713].map(|v| v as u8)
        };
        let pairs = |y: u32| (0..width / 2).map(move |pair| (2 * pair, y));
        let bytes: Vec<u8> = match format {
            PixelFormat::Yuyv => {
                let pair = |(x, y)| {
                    let [left, right] = [ycc(x, y), ycc(x + 1, y)];
                    [left[0], left[1], right[0], left[2]]
                };
                (0..height).flat_map(pairs).flat_map(pair).collect()
            }
            PixelFormat::Nv12 => {
                let luma = (0..height).flat_map(|y| (0..width).map(move |x| ycc(x, y)[0]));
                let chroma = (0..height / 2).flat_map(|y| pairs(2 * y));
                luma.chain(chroma.flat_map(|(x, y)| [ycc(x, y)[1], ycc(x, y)[2]])).collect()
            }
            other => panic!("no shots in {}", other.name()),
        };
        let layout = Layout::packed(format, Range::Full, width, height).expect("a size");
        Self { bytes, layout: Some(layout) }
    }
}

/// What is searched for, of one face in one picture.
pub struct Traces {
    /// Pieces of bytes, by what they are of.
    pieces: Vec<(&'static str, Vec<u8>)>,
    /// Components of the embedding.
    embedding: Vec<f32>,
    /// The same as a list stores them.
    template: Vec<i8>,
    /// Where it is in the frame.
    places: Places,
    /// The aligned face, without colour.
    face: Vec<u8>,
}

impl Traces {
    /// Of the only face in a picture.
    pub fn of(jpeg: &[u8]) -> Self {
        Self::of_each(jpeg).pop().expect("one face that passes the gate")
    }

    /// Of each face in a picture, from left to right.
    pub fn of_each(jpeg: &[u8]) -> Vec<Self> {
        Self::of_shot(&Shot::jpeg(jpeg))
    }

    /// Of each face in a picture as a camera gives it, from left to right.
    pub fn of_shot(shot: &Shot) -> Vec<Self> {
        let mut decoder = Decoder::default();
        let frame = match shot.layout {
            Some(layout) => Frame::new(layout, &shot.bytes).expect("as long as its layout says"),
            None => decoder.decode_jpeg(&shot.bytes).expect("a portrait"),
        };
        let mut views = views(&frame);
        views.sort_by(|(a, _), (b, _)| a.rect.x.total_cmp(&b.rect.x));
        views.iter().map(|(view, found)| Self::of_view(shot, &frame, view, *found)).collect()
    }

    /// `found` are the landmarks as the detector finds them.
    fn of_view(shot: &Shot, frame: &Frame<'_>, view: &View, found: [Point; 5]) -> Self {
        let rect = view.rect;
        let rgb = view.face.rgb();
        let face = image::RgbImage::from_raw(SIDE, SIDE, rgb.to_vec()).expect("three bytes a px");
        let mut traces = Self {
            pieces: Vec::new(),
            embedding: view.probe.values().to_vec(),
            template: view.probe.quantize().values().to_vec(),
            places: Places::of(
                &Face { rect, landmarks: [found, view.landmarks] },
                [frame.width(), frame.height()],
                VisionConfig::default().long_side,
            ),
            face: image::DynamicImage::ImageRgb8(face).to_luma8().into_raw(),
        };
        let rows = (rect.y as usize..(rect.y + rect.height) as usize).step_by(5);
        let from = rect.x as usize & !1;
        if let Some(layout) = shot.layout {
            let row_bytes = layout.row_bytes();
            for row in rows {
                let across = row_bytes / frame.width();
                let face = &shot.bytes[row * row_bytes + from * across..][..64 * across];
                traces.add("row of samples", face, 16, PIECE);
            }
        } else {
            traces.add("jpeg", &shot.bytes[700..], 256, PIECE);
            for row in rows {
                let SampleLine::Ycc444(samples) = frame.line(row, from..from + 64) else {
                    panic!("a colour picture");
                };
                let luma: Vec<u8> = samples.iter().step_by(3).copied().collect();
                traces.add("decoded row", samples, 64, PIECE);
                traces.add("row of luma", &luma, 16, PIECE);
            }
        }
        let bgr: Vec<u8> = rgb.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
        traces.add("aligned face", rgb, 700, PIECE);
        traces.add("input of the embedder", &bgr, 700, PIECE);
        let mut crop = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut crop, CROP_QUALITY)
            .write_image(rgb, SIDE, SIDE, image::ExtendedColorType::Rgb8)
            .expect("a picture");
        // After its tables, which all have.
        traces.add("crop", &crop[700..], 64, PIECE);
        let template: Vec<u8> = traces.template.iter().map(|v| v.cast_unsigned()).collect();
        traces.add("int8 embedding", &template, 16, 16);
        // As kernels take it that multiply numbers without a sign.
        let raised: Vec<u8> = template.iter().map(|v| v ^ 0x80).collect();
        traces.add("int8 embedding", &raised, 16, 16);
        traces
    }

    /// Pieces of `bytes`, but for those that anything might hold.
    fn add(&mut self, what: &'static str, bytes: &[u8], step: usize, len: usize) {
        for piece in bytes.windows(len).step_by(step) {
            let mut kinds = piece.to_vec();
            kinds.sort_unstable();
            kinds.dedup();
            if kinds.len() >= 8 {
                self.pieces.push((what, piece.to_vec()));
            }
        }
    }

    /// How often each was found in `memory`.
    pub fn found(&self, memory: &[Mapping]) -> BTreeMap<&'static str, usize> {
        let mut found = BTreeMap::new();
        self.find(memory.iter().map(|mapping| &mapping.bytes[..]), &mut found);
        found
    }

    fn find<'a>(
        &self,
        memory: impl Iterator<Item = &'a [u8]>,
        found: &mut BTreeMap<&'static str, usize>,
    ) {
        let mut by_start: Vec<Vec<usize>> = vec![Vec::new(); 1 << 16];
        let start = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        for (i, (_, piece)) in self.pieces.iter().enumerate() {
            by_start[start(piece)].push(i);
        }
        for bytes in memory {
            for at in 0..bytes.len().saturating_sub(1) {
                for &i in &by_start[start(&bytes[at..])] {
                    let (what, piece) = &self.pieces[i];
                    if bytes[at..].starts_with(piece) {
                        *found.entry(*what).or_default() += 1;
                    }
                }
            }
            let embeddings = self.embeddings(bytes);
            if embeddings > 0 {
                *found.entry("embedding").or_default() += embeddings;
            }
            self.places.find(bytes, &mut |what| *found.entry(what).or_default() += 1);
        }
    }

    /// Sixteen components in a row, of one scale with those of the embedding: normalised or not,
    /// one view or a sum of several.
    fn embeddings(&self, bytes: &[u8]) -> usize {
        const RUN: usize = 16;
        let mut found = 0;
        let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        for run in self.embedding.chunks_exact(RUN).step_by(4) {
            let (peak_at, peak) = run
                .iter()
                .copied()
                .enumerate()
                .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
                .expect("sixteen");
            for at in (0..(bytes.len() + 1).saturating_sub(RUN * 4)).step_by(4) {
                let there = value(&bytes[at + 4 * peak_at..]);
                let scale = there / peak;
                // Most of memory is zero, or no such number.
                if !(1e-4..1e4).contains(&scale) {
                    continue;
                }
                let same = run.iter().enumerate().all(|(i, v)| {
                    (value(&bytes[at + 4 * i..]) - v * scale).abs() <= there.abs() * 1e-3
                });
                found += usize::from(same);
            }
        }
        found
    }

    /// The same and more in what was written or sent: also where it stands in base64, in
    /// hexadecimal or as decimal numbers, and the box of the face.
    pub fn found_in(&self, text: &Written) -> BTreeMap<&'static str, usize> {
        let mut found = BTreeMap::new();
        self.find(text.decoded.iter().map(Vec::as_slice), &mut found);
        // In memory they are aligned; here they need not be.
        let shifted = (1..8).flat_map(|by| text.decoded.iter().filter_map(move |d| d.get(by..)));
        let mut embeddings = 0;
        for bytes in shifted {
            embeddings += self.embeddings(bytes);
            self.places.find(bytes, &mut |what| *found.entry(what).or_default() += 1);
        }
        let numbers: Vec<u8> =
            text.numbers.iter().flat_map(|n| (*n as f32).to_le_bytes()).collect();
        let mut note = |what, times: usize| {
            if times > 0 {
                *found.entry(what).or_default() += times;
            }
        };
        note("embedding", embeddings);
        note("embedding in decimals", self.embeddings(&numbers));
        let template: Vec<f64> = self.template.iter().map(|v| f64::from(*v)).collect();
        let whole =
            text.numbers.windows(16).filter(|w| template.chunks_exact(16).any(|part| part == *w));
        note("int8 embedding in decimals", whole.count());
        note("box in decimals", self.places.boxes_in(&text.numbers));
        note("picture of the face", text.pictures.iter().filter(|p| self.shows(p)).count());
        found
    }

    /// Some bytes with all of it, in many spellings: a search that finds less proves nothing.
    pub fn planted(&self, jpeg: &[u8]) -> Vec<u8> {
        let face = image::GrayImage::from_raw(SIDE, SIDE, self.face.clone()).expect("a byte a px");
        let mut crop = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut crop).encode_image(&face).expect("a picture");
        let [crop, base64] = [&crop[..], jpeg].map(|bytes| STANDARD_ENGINE.encode(bytes));
        let text = format!(
            "a face: {{\"crop\":\"{crop}\",\"frame\":\"{base64}\",\"probe\":{:?},\"template\":{:?}}}\n",
            self.embedding, self.template
        );
        let raw: Vec<u8> = self.embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
        let hex: String = raw.iter().map(|b| format!("{b:02x}")).collect();
        let pieces: Vec<u8> = self.pieces.iter().flat_map(|(_, piece)| piece.clone()).collect();
        let places: Vec<_> = self.places.planted().into_iter().map(|(_, bytes)| bytes).collect();
        [text.as_bytes(), hex.as_bytes(), b"\n", &places.join(&b'\n'), b"\n", &pieces].concat()
    }

    /// Bytes with one kind each, named as it is found in memory, in all forms that are searched
    /// for.
    pub fn planted_alone(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut pieces: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
        for (what, piece) in &self.pieces {
            pieces.entry(what).or_default().extend(piece);
        }
        let scaled = |scale: f32| {
            let values = self.embedding.iter().flat_map(|v| (v * scale).to_le_bytes()).collect();
            ("embedding", values)
        };
        // Of length one, as the network gives it, a sum of views, and a mean of few.
        let embeddings = [1.0, 17.3, 2.6, 0.31].map(scaled);
        pieces.into_iter().chain(embeddings).chain(self.places.planted()).collect()
    }

    /// Whether a picture shows this face, aligned: its brightness goes up and down where the
    /// face's does.
    pub fn shows(&self, picture: &image::GrayImage) -> bool {
        let small = image::imageops::resize(picture, SIDE, SIDE, FilterType::Triangle);
        correlation(&small, &self.face) > 0.8
    }
}

fn correlation(a: &[u8], b: &[u8]) -> f64 {
    let mean = |v: &[u8]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - ma, f64::from(*y) - mb);
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
    }
    if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

/// What was written into a file, or sent in a message, in all its readings.
pub struct Written {
    /// The bytes, and what base64 and hexadecimal in them stand for.
    decoded: Vec<Vec<u8>>,
    /// Decimal numbers, in their order.
    numbers: Vec<f64>,
    /// Pictures in any of it.
    pub pictures: Vec<image::GrayImage>,
}

impl Written {
    pub fn new(bytes: &[u8]) -> Self {
        let mut decoded = vec![bytes.to_vec()];
        let base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(b);
        for run in bytes.split(|b| !base64(b)).filter(|run| run.len() >= DIGITS) {
            // A base64 text may hang together with what is before it.
            for offset in 0..4 {
                decoded.extend(unbase64(&run[offset..]));
            }
        }
        let runs = bytes.split(|b| !b.is_ascii_hexdigit()).filter(|run| run.len() >= DIGITS);
        for run in runs {
            let digit = |b: u8| char::from(b).to_digit(16).expect("a digit") as u8;
            for offset in 0..2 {
                let pairs = run[offset..].chunks_exact(2);
                decoded.push(pairs.map(|p| digit(p[0]) << 4 | digit(p[1])).collect());
            }
        }
        let pictures = decoded.iter().flat_map(|bytes| pictures(bytes)).collect();
        Self { numbers: numbers(bytes), pictures, decoded }
    }
}

impl Written {
    /// Whether a word is in the bytes as they are.
    pub fn mentions(&self, word: &str) -> bool {
        self.decoded[0].windows(word.len()).any(|w| w == word.as_bytes())
    }
}

fn unbase64(run: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let end = run.iter().position(|b| *b == b'=').unwrap_or(run.len());
    let whole = &run[..end - usize::from(end % 4 == 1)];
    [STANDARD, URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(whole).ok())
}

/// Each JPEG and PNG that begins in `bytes` and can be decoded.
fn pictures(bytes: &[u8]) -> Vec<image::GrayImage> {
    let begins = |at: &usize| {
        bytes[*at..].starts_with(&[0xFF, 0xD8, 0xFF]) || bytes[*at..].starts_with(b"\x89PNG")
    };
    (0..bytes.len())
        .filter(begins)
        .filter_map(|at| Some(image::load_from_memory(&bytes[at..]).ok()?.to_luma8()))
        .collect()
}

/// The decimal numbers of a text, in their order.
pub(super) fn numbers(text: &[u8]) -> Vec<f64> {
    let part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
    let words = text.split(|b| !part(b)).filter_map(|word| std::str::from_utf8(word).ok());
    // A sentence may end after a number.
    words.filter_map(|word| word.trim_end_matches(['.', 'e', 'E', '-']).parse().ok()).collect()
}

/// The best view of each face, and its landmarks as the detector finds them.
fn views(frame: &Frame<'_>) -> Vec<(View, [Point; 5])> {
    let config = VisionConfig::default();
    let mut analyzer = Analyzer::new(&Models::builtin().expect("built in"), &config).expect("load");
    let now = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
    let mut found = Vec::new();
    let out = &mut |sighting: Sighting<'_>| {
        if let Sighting::Viewed { view, .. } = sighting {
            found.push(view);
        }
    };
    analyzer.analyze(frame, now, &mut Clock::default(), out).expect("the networks run");
    let mut faces = Faces::new();
    analyzer.detector().detect(frame, config.min_score, &mut faces).expect("the networks run");
    let first = |view: View| {
        let face = faces.iter().find(|face| face.rect == view.rect).expect("it was found again");
        let landmarks = face.landmarks;
        (view, landmarks)
    };
    found.into_iter().map(first).collect()
}

/// Files that process `id` has open for writing; sockets, pipes and devices are none.
pub fn files_written_by(id: u32) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(format!("/proc/{id}/fd")).expect("a process of this test");
    let open = folder.flatten().filter(|entry| {
        let number = entry.file_name();
        let info = format!("/proc/{id}/fdinfo/{}", number.to_string_lossy());
        let info = std::fs::read_to_string(info).unwrap_or_default();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
        // Octal; the lowest two bits are O_RDONLY where they are zero.
        flags.is_some_and(|f| !f.trim().ends_with(['0', '4']))
    });
    let paths = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    paths.filter(|path| path.is_file()).collect()
}
