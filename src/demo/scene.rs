//! A hall in which several people walk by, as raw frames: a pure function of the seed and the
//! frame's number.
//!
//! Promises I420 frames of 640x480 px at 15 frames per second (BT.601, limited range, like a
//! camera's), the same bytes for the same seed and number, faces 60 to 140 px wide, and no
//! allocation once the caller's buffer is warm. Four different people cross the picture, one of
//! them twice; exactly one is the man of [`super::ENROLMENT_PHOTOGRAPH`], in another photograph.
//! The scene repeats every [`PERIOD`] frames for as long as it is asked to last.
//!
//! Only additions, multiplications, divisions and rounding are used, no functions of the platform's
//! mathematics library, so that every machine draws the same scene.

use super::backdrop;
use crate::frame::{Layout, PixelFormat, Range};
use crate::geometry::{Point, Rect};
use crate::locked::LockedBuffer;

/// Width in pixels.
pub const WIDTH: u32 = 640;
/// Height in pixels.
pub const HEIGHT: u32 = 480;
/// Frames per second at which the walking looks natural.
pub const FPS: u32 = 15;
/// Frames until the scene repeats: 24 seconds.
pub const PERIOD: u64 = 360;

const W: usize = WIDTH as usize;
const H: usize = HEIGHT as usize;
const CHROMA_W: usize = W / 2;
const CHROMA_LEN: usize = CHROMA_W * H / 2;
/// Top row of the parapet, behind which everybody walks: it hides where the photographs end. Even,
/// for the chroma planes.
const PARAPET: usize = 376;
/// Bytes of the repeated sensor noise; a prime, so that it does not line up with the rows.
const NOISE: usize = 4099;

/// A bundled photograph, cut out.
struct Portrait {
    jpeg: &'static [u8],
    /// 8-bit grey PNG of the same size: 255 where the picture shows the person.
    mask: &'static [u8],
    /// Where the face is in it, pixels.
    face: Rect,
}

const CAST: [Portrait; 4] = [
    Portrait {
        jpeg: include_bytes!("portraits/collins.jpg"),
        mask: include_bytes!("portraits/collins-mask.png"),
        face: Rect::new(149.6, 64.0, 87.8, 110.0),
    },
    Portrait {
        jpeg: include_bytes!("portraits/biden-2010.jpg"),
        mask: include_bytes!("portraits/biden-2010-mask.png"),
        face: Rect::new(167.9, 73.8, 119.8, 161.1),
    },
    Portrait {
        jpeg: include_bytes!("portraits/hopper.jpg"),
        mask: include_bytes!("portraits/hopper-mask.png"),
        face: Rect::new(141.6, 92.0, 130.1, 164.1),
    },
    Portrait {
        jpeg: include_bytes!("portraits/obama-2010.jpg"),
        mask: include_bytes!("portraits/obama-2010-mask.png"),
        face: Rect::new(198.0, 96.5, 120.0, 155.1),
    },
];

/// One person's way through the picture, at even speed on a straight line in space.
struct Crossing {
    /// Index into [`CAST`].
    who: usize,
    /// First frame of the period.
    enters: u64,
    /// First frame in which the person is gone.
    leaves: u64,
    /// Centre of the face (x in pixels) and its width at both ends; both x lie so far outside that
    /// nothing shows.
    from: (f32, f32),
    to: (f32, f32),
    /// Row of the face's centre.
    row: f32,
}

const WALKS: [Crossing; 5] = [
    Crossing {
        who: 0,
        enters: 0,
        leaves: 170,
        from: (-182.0, 84.0),
        to: (828.0, 88.0),
        row: 188.0,
    },
    Crossing {
        who: 1,
        enters: 25,
        leaves: 195,
        from: (790.0, 67.0),
        to: (-170.0, 84.0),
        row: 176.0,
    },
    Crossing {
        who: 2,
        enters: 85,
        leaves: 265,
        from: (-170.0, 94.0),
        to: (850.0, 108.0),
        row: 200.0,
    },
    Crossing {
        who: 3,
        enters: 185,
        leaves: 355,
        from: (-160.0, 68.0),
        to: (960.0, 136.0),
        row: 164.0,
    },
    Crossing {
        who: 0,
        enters: 235,
        leaves: 359,
        from: (828.0, 84.0),
        to: (-195.0, 86.0),
        row: 188.0,
    },
];

/// Index into [`WALKS`] of the man of [`super::ENROLMENT_PHOTOGRAPH`].
const LISTED: usize = 3;
/// First frame in which the listed person is gone.
pub const LISTED_LEAVES: u64 = WALKS[LISTED].leaves;

/// First frame in which half of the listed person's face is in the picture.
pub fn listed_enters(scene: &Scene) -> u64 {
    let Crossing { enters, leaves, .. } = WALKS[LISTED];
    (enters..leaves).find(|t| scene.pose(LISTED, *t).face.x >= 0.0).unwrap_or(enters)
}

/// The moving scene.
pub struct Scene {
    seed: u64,
    frames: u64,
    /// I420, nobody in it.
    hall: Vec<u8>,
    cast: Vec<Cutout>,
    noise: Vec<i8>,
}

impl Scene {
    /// One period of the scene. The seed sets the light's flicker, the gaits and the sensor's
    /// noise, not who walks where.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let noise = (0..NOISE).map(|_| ((mix(&mut state) >> 32) % 5) as i8 - 2).collect();
        Self {
            seed,
            frames: PERIOD,
            hall: hall(),
            cast: CAST.iter().map(Cutout::new).collect(),
            noise,
        }
    }

    /// The same scene, ending after `frames` frames.
    #[must_use]
    pub fn with_frames(self, frames: u64) -> Self {
        Self { frames, ..self }
    }

    /// Width and height in pixels.
    pub fn size() -> (u32, u32) {
        (WIDTH, HEIGHT)
    }

    /// How a frame lies in its buffer.
    pub fn layout() -> Layout {
        Layout::packed(PixelFormat::I420, Range::Limited, WIDTH, HEIGHT)
            .expect("640x480 is a valid size")
    }

    /// Draws frame `n`, counted from 0, into `i420`, which is resized to 460,800 bytes. False, and
    /// nothing is drawn, once the scene is over.
    pub fn frame(&self, n: u64, i420: &mut LockedBuffer) -> bool {
        if n >= self.frames {
            return false;
        }
        i420.clear();
        i420.extend_from_slice(&self.hall);
        let t = n % PERIOD;
        let mut present: heapless::Vec<(usize, Pose), { WALKS.len() }> = heapless::Vec::new();
        for (i, walk) in WALKS.iter().enumerate() {
            if (walk.enters..walk.leaves).contains(&t) {
                present.push((walk.who, self.pose(i, t))).ok().expect("at most one pose a walk");
            }
        }
        // Whoever is nearer hides whoever is farther.
        present.sort_unstable_by(|a, b| a.1.face_width.total_cmp(&b.1.face_width));
        for (who, pose) in &present {
            self.cast[*who].draw(pose, i420);
        }
        self.expose(n, i420);
        true
    }

    /// Where walk `i` has got to at frame `t` of the period.
    fn pose(&self, i: usize, t: u64) -> Pose {
        let walk = &WALKS[i];
        let u = (t - walk.enters) as f32 / (walk.leaves - walk.enters) as f32;
        let lerp = |a: f32, b: f32| a + (b - a) * u;
        // In space both the distance (1 / width) and the offset from the optical axis are linear in
        // time.
        let centre = W as f32 / 2.0;
        let offset = |(x, width): (f32, f32)| (x - centre) / width;
        let face_width = 1.0 / lerp(1.0 / walk.from.1, 1.0 / walk.to.1);
        let x = centre + lerp(offset(walk.from), offset(walk.to)) * face_width;
        let gait = (t as f32 + (self.phase(i as u64) * 16.0)) / 9.0;
        Pose {
            face: Point::new(x, walk.row + 0.03 * face_width * wave(gait)),
            face_width,
            tilt: 0.035 * wave(gait / 2.0),
            gain: 1.0 + 0.07 * wave(t as f32 / 47.0 + self.phase(i as u64 + 100)),
        }
    }

    /// Flickering light and sensor noise over the finished picture.
    fn expose(&self, n: u64, i420: &mut [u8]) {
        let gain = 1.0 + 0.03 * wave(n as f32 / 61.0 + self.phase(1000));
        let lut: [i16; 256] = std::array::from_fn(|y| ((y as f32 - 16.0) * gain + 16.0) as i16);
        let mut state = self.seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = (mix(&mut state) % NOISE as u64) as usize;
        let grain = self.noise[start..].iter().chain(self.noise.iter().cycle());
        for (y, grain) in i420[..W * H].iter_mut().zip(grain) {
            *y = (lut[usize::from(*y)] + i16::from(*grain)).clamp(16, 235) as u8;
        }
    }

    /// A number from 0 to 1 that depends on the seed and `salt` only.
    fn phase(&self, salt: u64) -> f32 {
        let mut state = self.seed ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (mix(&mut state) >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Where and how a person stands in one frame.
struct Pose {
    face: Point,
    face_width: f32,
    /// Radians, small.
    tilt: f32,
    /// Brightness, about 1.
    gain: f32,
}

/// A person without surroundings, in a pyramid of halved sizes so that a far, small one is not
/// drawn from skipped pixels.
struct Cutout {
    levels: Vec<PyramidLevel>,
    face: Rect,
}

impl Cutout {
    fn new(portrait: &Portrait) -> Self {
        let decode = |bytes| {
            image::load_from_memory(bytes).expect("the bundled portraits are valid pictures")
        };
        let picture = decode(portrait.jpeg).into_rgb8();
        let mask = decode(portrait.mask).into_luma8();
        assert_eq!(
            picture.dimensions(),
            mask.dimensions(),
            "a bundled portrait and its mask have one size"
        );
        let pixels = picture.pixels().zip(mask.pixels()).map(|(p, m)| {
            let [y, cb, cr] = rgb_to_ycc(p.0.map(f32::from));
            [y, cb, cr, f32::from(m.0[0])]
        });
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let whole = PyramidLevel { width, height, pixels: pixels.collect() };
        let half = whole.halved();
        let quarter = half.halved();
        Self { levels: vec![whole, half, quarter], face: portrait.face }
    }

    /// Blends the person into the planes of `i420`, above the parapet.
    fn draw(&self, pose: &Pose, i420: &mut [u8]) {
        let scale = pose.face_width / self.face.width;
        let level = usize::from(scale <= 0.5) + usize::from(scale <= 0.25);
        let shrunk = (1 << level) as f32;
        let source = &self.levels[level];
        // Half the diagonal of the part above and beside the face bounds what the tilt can move
        // into the picture.
        let margin = 4.0 + 20.0 * scale;
        let face = self.face.center();
        let left = pose.face.x - face.x * scale - margin;
        let right = pose.face.x + (source.width as f32 * shrunk - face.x) * scale + margin;
        let top = pose.face.y - face.y * scale - margin;
        // Even bounds: a chroma sample belongs to a block of two by two.
        let clip = |v: f32, to: usize| (v.max(0.0) as usize).min(to) & !1;
        let (x0, x1, y0) = (clip(left, W), clip(right + 2.0, W), clip(top, PARAPET));
        // Tilt is small: sin a = a, cos a = 1 - a^2 / 2.
        let (sin, cos) = (pose.tilt, 1.0 - pose.tilt * pose.tilt / 2.0);
        let inverse = 1.0 / (scale * shrunk);
        // `x`, `y` in pixels of the frame; pixel centres lie at integers in both pictures.
        let sample = |x: f32, y: f32| {
            let (dx, dy) = (x - pose.face.x, y - pose.face.y);
            let u = (dx * cos + dy * sin) * inverse + (face.x + 0.5) / shrunk - 0.5;
            let v = (dy * cos - dx * sin) * inverse + (face.y + 0.5) / shrunk - 0.5;
            source.sample(u, v)
        };
        let blend = |under: &mut u8, over: f32, alpha: f32| {
            let under_f = f32::from(*under);
            *under = (under_f + (over - under_f) * alpha + 0.5) as u8;
        };
        for y in y0..PARAPET {
            for x in x0..x1 {
                let [luma, _, _, alpha] = sample(x as f32, y as f32);
                if alpha > 0.0 {
                    let luma = ((luma - 16.0) * pose.gain + 16.0).clamp(16.0, 235.0);
                    blend(&mut i420[y * W + x], luma, alpha / 255.0);
                }
            }
        }
        for y in y0 / 2..PARAPET / 2 {
            for x in x0 / 2..x1 / 2 {
                let [_, cb, cr, alpha] = sample(x as f32 * 2.0 + 0.5, y as f32 * 2.0 + 0.5);
                if alpha > 0.0 {
                    let at = W * H + y * CHROMA_W + x;
                    blend(&mut i420[at], cb, alpha / 255.0);
                    blend(&mut i420[at + CHROMA_LEN], cr, alpha / 255.0);
                }
            }
        }
    }
}

/// Y, Cb, Cr and opacity, each 0 to 255, row by row.
struct PyramidLevel {
    width: usize,
    height: usize,
    pixels: Vec<[f32; 4]>,
}

impl PyramidLevel {
    /// Means of blocks of two by two; an odd last row or column is left out.
    fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let at = 2 * y * self.width + 2 * x;
                let p = &self.pixels;
                let (a, b, c, d) = (p[at], p[at + 1], p[at + self.width], p[at + self.width + 1]);
                pixels.push(std::array::from_fn(|i| (a[i] + b[i] + c[i] + d[i]) / 4.0));
            }
        }
        Self { width, height, pixels }
    }

    /// Bilinear; transparent outside.
    fn sample(&self, u: f32, v: f32) -> [f32; 4] {
        if !(u >= 0.0 && v >= 0.0) {
            return [0.0; 4];
        }
        let (x, y) = (u as usize, v as usize);
        if x + 1 >= self.width || y + 1 >= self.height {
            return [0.0; 4];
        }
        let (fx, fy) = (u - x as f32, v - y as f32);
        let at = y * self.width + x;
        let (top, bottom) =
            (&self.pixels[at..at + 2], &self.pixels[at + self.width..at + self.width + 2]);
        std::array::from_fn(|i| {
            let t = top[0][i] + (top[1][i] - top[0][i]) * fx;
            let b = bottom[0][i] + (bottom[1][i] - bottom[0][i]) * fx;
            t + (b - t) * fy
        })
    }
}

/// The empty hall as I420.
fn hall() -> Vec<u8> {
    let mut out = vec![0u8; W * H + 2 * CHROMA_LEN];
    let round = |v: f32| (v + 0.5) as u8;
    let at = |x: usize, y: usize| rgb_to_ycc(backdrop::colour(x as i32, y as i32, PARAPET as i32));
    for y in 0..H {
        for x in 0..W {
            out[y * W + x] = round(at(x, y)[0]);
        }
    }
    for y in 0..H / 2 {
        for x in 0..CHROMA_W {
            let block = [
                at(2 * x, 2 * y),
                at(2 * x + 1, 2 * y),
                at(2 * x, 2 * y + 1),
                at(2 * x + 1, 2 * y + 1),
            ];
            for (plane, i) in [(0, 1), (1, 2)] {
                let mean = block.iter().map(|p| p[i]).sum::<f32>() / 4.0;
                out[W * H + plane * CHROMA_LEN + y * CHROMA_W + x] = round(mean);
            }
        }
    }
    out
}

/// BT.601, limited range (the inverse of [`crate::frame::ycc_to_rgb`]).
fn rgb_to_ycc([r, g, b]: [f32; 3]) -> [f32; 3] {
    [
        16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0,
        128.0 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255.0,
        128.0 + (112.0 * r - 93.786 * g - 18.214 * b) / 255.0,
    ]
}

/// A wave of period 2 between -1 and 1: parabolas, close to a sine.
fn wave(t: f32) -> f32 {
    let t = t - 2.0 * (t / 2.0).floor() - 1.0;
    -4.0 * t * (1.0 - t.abs())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SCENE: LazyLock<Scene> = LazyLock::new(|| Scene::new(1));

    fn drawn(scene: &Scene, n: u64) -> Vec<u8> {
        let mut out = LockedBuffer::new();
        assert!(scene.frame(n, &mut out), "frame {n} is part of the scene");
        out.to_vec()
    }

    #[test]
    fn a_frame_depends_on_the_seed_and_its_number_only() {
        let again = Scene::new(1);
        let _ = drawn(&again, 7);
        assert_eq!(drawn(&again, 200), drawn(&SCENE, 200));
        assert_ne!(drawn(&Scene::new(2), 200), drawn(&SCENE, 200));
        assert_ne!(drawn(&SCENE, 201), drawn(&SCENE, 200));
    }

    #[test]
    fn every_frame_fits_its_layout_and_keeps_to_the_limited_range() {
        let frame = drawn(&SCENE, 120);
        assert_eq!(frame.len(), Scene::layout().min_len());
        assert!(Frame::new(Scene::layout(), &frame).is_ok());
        assert!(frame[..W * H].iter().all(|y| (16..=235).contains(y)));
        assert!(frame[W * H..].iter().all(|c| (16..=240).contains(c)));
    }

    #[test]
    fn the_scene_ends_when_it_was_asked_to_and_draws_nothing_afterwards() {
        let mut out = LockedBuffer::from(vec![7; 3]);
        assert!(!SCENE.frame(PERIOD, &mut out));
        assert_eq!(out, [7; 3]);
        let long = Scene::new(1).with_frames(PERIOD + 1);
        assert!(long.frame(PERIOD, &mut out));
        assert!(!long.frame(PERIOD + 1, &mut out));
        assert!(!Scene::new(1).with_frames(0).frame(0, &mut out));
    }

    #[test]
    fn a_warm_buffer_is_kept() {
        let mut out = LockedBuffer::new();
        out.reserve(1_000_003);
        let warm = out.as_ptr();
        for n in [0, 150, 300] {
            assert!(SCENE.frame(n, &mut out));
            assert_eq!(out.as_ptr(), warm);
        }
    }

    /// Every pose of the period with the walk it belongs to.
    fn poses(scene: &Scene) -> impl Iterator<Item = (&'static Crossing, u64, Pose)> + '_ {
        WALKS.iter().enumerate().flat_map(move |(i, walk)| {
            (walk.enters..walk.leaves).map(move |t| (walk, t, scene.pose(i, t)))
        })
    }

    #[test]
    fn faces_that_can_be_seen_are_60_to_140_px_wide() {
        for (walk, t, pose) in poses(&SCENE) {
            if (0.0..W as f32).contains(&pose.face.x) {
                assert!(
                    (60.0..=140.0).contains(&pose.face_width),
                    "who={} t={t} width={}",
                    walk.who,
                    pose.face_width
                );
            }
        }
    }

    #[test]
    fn nobody_appears_or_vanishes_inside_the_picture() {
        for (i, walk) in WALKS.iter().enumerate() {
            let portrait = &SCENE.cast[walk.who];
            for t in [walk.enters, walk.leaves - 1] {
                let pose = SCENE.pose(i, t);
                let scale = pose.face_width / portrait.face.width;
                let left = pose.face.x - portrait.face.center().x * scale;
                let right = left + portrait.levels[0].width as f32 * scale;
                // The soft edge is a few pixels wide, and one step is up to 10 px.
                assert!(
                    right < 14.0 || left > W as f32 - 14.0,
                    "walk {i} at {t}: {left} to {right}"
                );
            }
        }
    }

    #[test]
    fn the_parapet_hides_where_the_photographs_end() {
        for (walk, t, pose) in poses(&SCENE) {
            let portrait = &SCENE.cast[walk.who];
            let scale = pose.face_width / portrait.face.width;
            let below = (portrait.levels[0].height as f32 - portrait.face.center().y) * scale;
            // The tilt lifts the outer corner by a few pixels.
            let bottom = pose.face.y + below
                - pose.tilt.abs() * portrait.levels[0].width as f32 * scale / 2.0;
            assert!(bottom >= PARAPET as f32, "who={} t={t}: ends at {bottom}", walk.who);
        }
    }

    #[test]
    fn at_some_moment_three_people_are_in_the_picture_and_at_another_none() {
        let present = |t: u64| {
            let inside = |p: &Pose| (20.0..620.0).contains(&p.face.x);
            poses(&SCENE).filter(|(_, at, pose)| *at == t && inside(pose)).count()
        };
        assert!((0..PERIOD).any(|t| present(t) >= 3));
        assert_eq!(present(0), 0);
    }

    #[test]
    fn the_bundled_photographs_stay_below_a_megabyte() {
        let bytes: usize = CAST.iter().map(|p| p.jpeg.len() + p.mask.len()).sum();
        assert!(bytes + crate::demo::ENROLMENT_PHOTOGRAPH.len() < 1 << 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_pose_panics(
            x in -2000f32..2000.0,
            y in -2000f32..2000.0,
            width in 1f32..900.0,
            tilt in -0.5f32..0.5,
        ) {
            let mut out = drawn(&SCENE, 0);
            for cutout in &SCENE.cast {
                cutout.draw(
                    &Pose { face: Point::new(x, y), face_width: width, tilt, gain: 1.0 },
                    &mut out,
                );
            }
        }

        #[test]
        fn no_seed_and_no_number_panics(seed in any::<u64>(), n in any::<u64>()) {
            let scene = Scene {
                seed,
                frames: u64::MAX,
                hall: SCENE.hall.clone(),
                cast: Vec::new(),
                noise: SCENE.noise.clone(),
            };
            for (i, walk) in WALKS.iter().enumerate() {
                let pose = scene.pose(i, walk.enters + n % (walk.leaves - walk.enters));
                prop_assert!(pose.face.x.is_finite() && pose.face_width > 1.0);
            }
            let mut out = LockedBuffer::from(&*scene.hall);
            scene.expose(n, &mut out);
            prop_assert!(SCENE.frame(n % PERIOD, &mut out));
        }
    }
}
