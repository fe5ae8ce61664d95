//! Views as a street gives them, made from good photographs: smeared by motion, out of focus,
//! small, dark, noisy, compressed.
//!
//! * The same photograph, degradation and seed give the same pixels, for ever: the noise is drawn
//!   by [`Draw`], whose generator is part of the published protocol.
//! * Lengths are of a face whose eyes are [`EYES`] px apart, as in LFW, and follow the face's size.
//! * The order is that of a camera: size, focus, motion, light, noise, compression.
//!
//! Not promised: that these are the views of any one camera. They are said to be what they are.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use zeroize::Zeroizing;

use super::extract::padded;
use super::protocol::draw::Draw;
use crate::frame::{Frame, Layout, PixelFormat, Range};
use crate::source::Photograph;

/// Distance between the eyes that lengths are of, in pixels.
pub const EYES: f32 = 42.0;

/// An RGB picture, wiped when dropped.
#[derive(Clone)]
pub struct PlainPicture {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Three bytes a pixel.
    pub rgb: Zeroizing<Vec<u8>>,
}

impl PlainPicture {
    /// The pixels of `frame`.
    ///
    /// # Errors
    /// In words, where it cannot be converted.
    pub fn of(frame: &Frame<'_>) -> Result<Self, String> {
        let (layout, rgb) = padded(frame, 0.0).map_err(|e| e.to_string())?;
        Ok(Self { width: layout.width() as usize, height: layout.height() as usize, rgb })
    }

    /// How the pixels lie.
    ///
    /// # Errors
    /// In words, where it has more pixels than a frame may.
    pub fn layout(&self) -> Result<Layout, String> {
        let side = |s: usize| u32::try_from(s).map_err(|e| e.to_string());
        let (width, height) = (side(self.width)?, side(self.height)?);
        Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).map_err(|e| e.to_string())
    }
}

/// In which direction something moves while the shutter is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// To the side.
    Across,
    /// Up or down.
    Down,
    /// Both.
    Diagonal,
}

/// What is done to a photograph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degradation {
    /// As it is reported.
    pub name: &'static str,
    /// Distance between the eyes that the face is shrunk to, in pixels; 0 leaves it.
    eyes: f32,
    /// Standard deviation of the blur of a lens out of focus, in pixels.
    focus: f32,
    /// Length of the path that a point is smeared along, in pixels, and where to.
    motion: (f32, Motion),
    /// What the light is multiplied by.
    light: f32,
    /// Standard deviation of the sensor's noise, in steps of 255.
    noise: f32,
    /// Quality of a JPEG, 1 to 100; 0 for none.
    jpeg: u8,
}

const NOTHING: Degradation = Degradation {
    name: "nothing",
    eyes: 0.0,
    focus: 0.0,
    motion: (0.0, Motion::Across),
    light: 1.0,
    noise: 0.0,
    jpeg: 0,
};

/// Every degradation that is tried.
pub const ALL: [Degradation; 14] = [
    Degradation { name: "motion 7 px", motion: (7.0, Motion::Across), ..NOTHING },
    Degradation { name: "motion 11 px", motion: (11.0, Motion::Across), ..NOTHING },
    Degradation { name: "motion 11 px, down", motion: (11.0, Motion::Down), ..NOTHING },
    Degradation { name: "motion 11 px, diagonal", motion: (11.0, Motion::Diagonal), ..NOTHING },
    Degradation { name: "motion 15 px", motion: (15.0, Motion::Across), ..NOTHING },
    Degradation { name: "out of focus, 3 px", focus: 3.0, ..NOTHING },
    Degradation { name: "out of focus, 4 px", focus: 4.0, ..NOTHING },
    Degradation { name: "small, 20 px", eyes: 20.0, ..NOTHING },
    Degradation { name: "noise 25", noise: 25.0, ..NOTHING },
    Degradation { name: "noise 45", noise: 45.0, ..NOTHING },
    Degradation { name: "dark and noisy", light: 0.15, noise: 8.0, ..NOTHING },
    Degradation { name: "night", light: 0.06, noise: 5.0, ..NOTHING },
    Degradation {
        name: "street",
        eyes: 24.0,
        motion: (5.0, Motion::Across),
        light: 0.5,
        noise: 8.0,
        jpeg: 50,
        ..NOTHING
    },
    Degradation {
        name: "street at dusk",
        eyes: 24.0,
        motion: (5.0, Motion::Diagonal),
        light: 0.2,
        noise: 8.0,
        jpeg: 50,
        ..NOTHING
    },
];

impl Degradation {
    /// What `self` makes of `picture`, whose subject's eyes are `eyes` px apart. `seed` is of the
    /// noise.
    ///
    /// # Errors
    /// In words, where the picture cannot be compressed or read again.
    pub fn apply(
        &self,
        picture: &PlainPicture,
        eyes: f32,
        seed: u64,
    ) -> Result<PlainPicture, String> {
        let mut out = picture.clone();
        let mut scale = eyes / EYES;
        if self.eyes > 0.0 && self.eyes < eyes {
            out = shrunk(&out, self.eyes / eyes);
            // What moves is smeared in the camera's pixels, whatever its size.
            scale = 1.0;
        }
        if self.focus > 0.0 {
            out = unfocused(&out, self.focus * scale);
        }
        if self.motion.0 > 0.0 {
            out = smeared(&out, self.motion.0 * scale, self.motion.1);
        }
        if self.light != 1.0 || self.noise > 0.0 {
            let mut draw = Draw::new(seed, 0);
            for v in out.rgb.iter_mut() {
                let noise = if self.noise > 0.0 { self.noise * draw.normal() as f32 } else { 0.0 };
                *v = (f32::from(*v) * self.light + noise).round().clamp(0.0, 255.0) as u8;
            }
        }
        if self.jpeg > 0 { compressed(&out, self.jpeg) } else { Ok(out) }
    }
}

/// Each pixel the mean of those that fall into it.
fn shrunk(picture: &PlainPicture, scale: f32) -> PlainPicture {
    let side = |s: usize| ((s as f32 * scale).round() as usize).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    // For each pixel of the result those of the source with their weights.
    let spans = |from: usize, to: usize| -> Vec<Vec<(usize, f32)>> {
        let step = from as f32 / to as f32;
        (0..to)
            .map(|i| {
                let (low, high) = (i as f32 * step, (i + 1) as f32 * step);
                (low as usize..(high.ceil() as usize).min(from))
                    .map(|s| (s, (high.min((s + 1) as f32) - low.max(s as f32)) / step))
                    .collect()
            })
            .collect()
    };
    let (columns, rows) = (spans(picture.width, width), spans(picture.height, height));
    let mut rgb = Zeroizing::new(Vec::with_capacity(width * height * 3));
    for row in &rows {
        for column in &columns {
            for c in 0..3 {
                let mut sum = 0.0;
                for (y, a) in row {
                    for (x, b) in column {
                        sum += a * b * f32::from(picture.rgb[(y * picture.width + x) * 3 + c]);
                    }
                }
                rgb.push(sum.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    PlainPicture { width, height, rgb }
}

/// The mean over a line of so many pixels.
fn smeared(picture: &PlainPicture, length: f32, motion: Motion) -> PlainPicture {
    let (dx, dy) = match motion {
        Motion::Across => (1.0, 0.0),
        Motion::Down => (0.0, 1.0),
        Motion::Diagonal => (std::f32::consts::FRAC_1_SQRT_2, std::f32::consts::FRAC_1_SQRT_2),
    };
    let taps = length.round().max(1.0) as i32;
    let weight = 1.0 / taps as f32;
    let path: Vec<(i32, i32, f32)> = (0..taps)
        .map(|k| {
            let at = k as f32 - (taps - 1) as f32 / 2.0;
            // An even number of places has no middle: down, so that none is left out.
            let place = |by: f32| (at * by + 1e-3).floor() as i32;
            (place(dx), place(dy), weight)
        })
        .collect();
    filtered(picture, &path)
}

/// A Gaussian of this standard deviation.
fn unfocused(picture: &PlainPicture, deviation: f32) -> PlainPicture {
    let reach = (3.0 * deviation).ceil() as i32;
    let bell = |k: i32| (-0.5 * (k as f32 / deviation).powi(2)).exp();
    let sum: f32 = (-reach..=reach).map(bell).sum();
    let line: Vec<(i32, f32)> = (-reach..=reach).map(|k| (k, bell(k) / sum)).collect();
    let across: Vec<(i32, i32, f32)> = line.iter().map(|(k, w)| (*k, 0, *w)).collect();
    let down: Vec<(i32, i32, f32)> = line.iter().map(|(k, w)| (0, *k, *w)).collect();
    filtered(&filtered(picture, &across), &down)
}

/// The weighted sum over the places of `taps` (across, down, weight). The border goes on as it is.
fn filtered(picture: &PlainPicture, taps: &[(i32, i32, f32)]) -> PlainPicture {
    let PlainPicture { width, height, rgb } = picture;
    let inside = |at: usize, by: i32, side: usize| (at as i32 + by).clamp(0, side as i32 - 1);
    let mut out = Zeroizing::new(Vec::with_capacity(rgb.len()));
    for y in 0..*height {
        for x in 0..*width {
            let mut sum = [0f32; 3];
            for (dx, dy, weight) in taps {
                let (x, y) = (inside(x, *dx, *width) as usize, inside(y, *dy, *height) as usize);
                let pixel = &rgb[(y * width + x) * 3..][..3];
                sum.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += weight * f32::from(*v));
            }
            out.extend(sum.map(|v| v.round().clamp(0.0, 255.0) as u8));
        }
    }
    PlainPicture { width: *width, height: *height, rgb: out }
}

fn compressed(picture: &PlainPicture, quality: u8) -> Result<PlainPicture, String> {
    let layout = picture.layout()?;
    let mut bytes = Zeroizing::new(Vec::new());
    JpegEncoder::new_with_quality(&mut *bytes, quality)
        .encode(&picture.rgb, layout.width(), layout.height(), ExtendedColorType::Rgb8)
        .map_err(|e| e.to_string())?;
    let photograph = Photograph::decode(&bytes).map_err(|e| e.to_string())?;
    PlainPicture::of(&photograph.frame())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A white point in the middle of black.
    fn point() -> PlainPicture {
        let mut rgb = vec![0; 41 * 41 * 3];
        rgb[(20 * 41 + 20) * 3..][..3].fill(255);
        PlainPicture { width: 41, height: 41, rgb: Zeroizing::new(rgb) }
    }

    fn lit(picture: &PlainPicture) -> Vec<(usize, usize)> {
        let at = |i: &usize| picture.rgb[i * 3] > 0;
        let lit = (0..picture.width * picture.height).filter(at);
        lit.map(|i| (i % picture.width, i / picture.width)).collect()
    }

    #[test]
    fn motion_smears_along_its_line_and_nowhere_else() {
        let across = lit(&smeared(&point(), 11.0, Motion::Across));
        assert_eq!(across, (15..=25).map(|x| (x, 20)).collect::<Vec<_>>());
        let down = lit(&smeared(&point(), 11.0, Motion::Down));
        assert_eq!(down, (15..=25).map(|y| (20, y)).collect::<Vec<_>>());
        let diagonal = lit(&smeared(&point(), 11.0, Motion::Diagonal));
        assert!(diagonal.len() > 6 && diagonal.iter().all(|(x, y)| x == y), "{diagonal:?}");
        // A face twice as large is smeared over twice the pixels.
        let large = ALL[1].apply(&point(), 2.0 * EYES, 1).unwrap();
        assert_eq!(lit(&large).len(), 22);
    }

    #[test]
    fn focus_and_size_keep_the_light_and_lose_the_point() {
        let grey = PlainPicture { rgb: Zeroizing::new(vec![200; 41 * 41 * 3]), ..point() };
        for picture in [shrunk(&grey, 0.4), unfocused(&grey, 3.0)] {
            assert!(picture.rgb.iter().all(|v| *v == 200), "{:?}", &picture.rgb[..3]);
        }
        let small = shrunk(&grey, 0.5);
        assert_eq!((small.width, small.height, small.rgb.len()), (21, 21, 21 * 21 * 3));
        assert!(*unfocused(&point(), 3.0).rgb.iter().max().unwrap() < 10);
    }

    #[test]
    fn every_degradation_is_the_same_again_and_unlike_every_other() {
        let mut draw = Draw::new(3, 0);
        let rgb = (0..96 * 96 * 3).map(|_| draw.below(256) as u8).collect();
        let picture = PlainPicture { width: 96, height: 96, rgb: Zeroizing::new(rgb) };
        let mut seen: Vec<Vec<u8>> = vec![picture.rgb.to_vec()];
        for degradation in ALL {
            let [a, b] = [(); 2].map(|()| degradation.apply(&picture, EYES, 7).unwrap());
            assert_eq!(a.rgb, b.rgb, "{}", degradation.name);
            assert_eq!(a.rgb.len(), a.width * a.height * 3);
            assert!(seen.iter().all(|other| *other != *a.rgb), "{}", degradation.name);
            seen.push(a.rgb.to_vec());
        }
        let noisy = ALL.iter().find(|d| d.name == "noise 25").unwrap();
        let other = noisy.apply(&picture, EYES, 8).unwrap();
        assert_ne!(other.rgb, noisy.apply(&picture, EYES, 7).unwrap().rgb, "another draw");
    }
}
