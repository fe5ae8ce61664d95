//! Where a face is in its picture, in each form in which a program could hold that, and the search
//! for it.
//!
//! * Its box as a corner and a size, as two corners, and as its middle and a size; its landmarks as
//!   the detector finds them, and as they are refined.
//! * In px of the frame, in px of the detector's canvas, and in parts of the frame.
//! * As numbers in floating point, of which two in a row are enough; as whole numbers, all four; as
//!   decimals in a text.
//!
//! Not looked for: what the detector says of a face in the picture of that face alone, in that
//! picture's own px.

use watchpost::geometry::{Point, Rect};

use super::traces::numbers;

/// Numbers in floating point are these where they are so near, in px: as near as rounding and the
/// tracker's filter leave them, and nearer than others would be by chance.
const NEAR: f64 = 0.002;
/// Numbers in a text within which the four of a box are looked for.
const BOX_WINDOW: usize = 16;
/// A box in a text is this one where its numbers are so near, in px.
const BOX_NEAR: f64 = 1.5;
/// Bytes of a text after the first number of a box within which the others are.
const BOX_TEXT: usize = 160;

/// Where one face is.
pub struct Face {
    pub rect: Rect,
    /// As the detector finds them, and refined.
    pub landmarks: [[Point; 5]; 2],
}

/// Two numbers that follow each other.
struct Pair {
    what: &'static str,
    values: [f64; 2],
    near: f64,
}

/// What is searched for, of one face.
pub struct Places {
    pairs: Vec<Pair>,
    /// Whether a pair may begin with a number, by the first bits of that.
    begins: [Vec<bool>; 2],
    /// Boxes as whole numbers.
    whole: Vec<[i64; 4]>,
    /// Boxes in px and in parts of the frame, and how near their numbers are in a text.
    boxes: Vec<([f64; 4], f64)>,
}

/// First bits of a number by which it is looked up.
const LOOKED_UP: u32 = 20;

/// A number in floating point of 4 or 8 bytes.
trait Float: Copy {
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Self;
    fn of(value: f64) -> Self;
    fn value(self) -> f64;
    /// Its place among the looked-up.
    fn place(self) -> usize;
}

impl Float for f32 {
    const BYTES: usize = 4;
    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes[..4].try_into().expect("four"))
    }
    fn of(value: f64) -> Self {
        value as Self
    }
    fn value(self) -> f64 {
        self.into()
    }
    fn place(self) -> usize {
        (self.to_bits() >> (u32::BITS - LOOKED_UP)) as usize
    }
}

impl Float for f64 {
    const BYTES: usize = 8;
    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes[..8].try_into().expect("eight"))
    }
    fn of(value: f64) -> Self {
        value
    }
    fn value(self) -> f64 {
        self
    }
    fn place(self) -> usize {
        (self.to_bits() >> (u64::BITS - LOOKED_UP)) as usize
    }
}

/// One of the measures in which places are held.
struct Measure {
    /// Of a number in px of the frame plus `shift`, across and down.
    scale: [f64; 2],
    shift: f64,
}

impl Measure {
    fn point(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [across, down] = self.scale;
        [(x + self.shift) * across - self.shift, (y + self.shift) * down - self.shift]
    }

    fn size(&self, [w, h]: [f64; 2]) -> [f64; 2] {
        [w * self.scale[0], h * self.scale[1]]
    }
}

impl Places {
    /// Of a face in a frame of `size` px, of which the detector sees at most `long_side`.
    pub fn of(face: &Face, size: [usize; 2], long_side: usize) -> Self {
        let [wide, high] = size.map(|side| side as f64);
        let shrunk = (long_side as f64 / wide.max(high)).min(1.0);
        let canvas = [wide, high].map(|side| (side * shrunk).round() / side);
        let measures = [
            Measure { scale: [1.0; 2], shift: 0.0 },
            // The middle of a px is a whole number.
            Measure { scale: canvas, shift: 0.5 },
            Measure { scale: [1.0 / wide, 1.0 / high], shift: 0.0 },
        ];
        let Rect { x, y, width, height } = face.rect;
        let [x, y, w, h] = [x, y, width, height].map(f64::from);
        let mut pairs = Vec::new();
        let mut sides = Vec::new();
        for measure in &measures {
            let near = NEAR * measure.scale[0].min(measure.scale[1]);
            let mut add = |what, values| pairs.push(Pair { what, values, near });
            let (from, size) = (measure.point([x, y]), measure.size([w, h]));
            let to = [from[0] + size[0], from[1] + size[1]];
            add("box", from);
            add("box", size);
            add("box", to);
            add("box", measure.point([x + w / 2.0, y + h / 2.0]));
            for point in face.landmarks.as_flattened() {
                add("landmarks", measure.point([point.x, point.y].map(f64::from)));
            }
            sides.push([[from[0], from[1], size[0], size[1]], [from[0], from[1], to[0], to[1]]]);
        }
        // Round numbers are anybody's.
        pairs.retain(|pair| {
            pair.values.iter().all(|v| v.abs() > 2.0 * pair.near)
                && pair.values.iter().any(|v| (v - v.round()).abs() > 2.0 * pair.near)
        });
        let begins = [begins_of::<f32>(&pairs), begins_of::<f64>(&pairs)];
        let whole = sides[..2].as_flattened().iter().map(|b| b.map(|v| v.round() as i64)).collect();
        let near = [BOX_NEAR, BOX_NEAR / wide];
        let boxes = [sides[0], sides[2]].into_iter().zip(near);
        let boxes = boxes.flat_map(|(two, near)| two.map(|sides| (sides, near))).collect();
        Self { pairs, begins, whole, boxes }
    }

    /// Calls `note` with the name of each that is found in `bytes`, which are aligned as memory is.
    pub fn find(&self, bytes: &[u8], note: &mut impl FnMut(&'static str)) {
        self.floats::<f32>(&self.begins[0], bytes, note);
        self.floats::<f64>(&self.begins[1], bytes, note);
        self.whole_numbers(bytes, note);
        self.decimals(bytes, note);
    }

    fn floats<F: Float>(&self, begins: &[bool], bytes: &[u8], note: &mut impl FnMut(&'static str)) {
        for two in bytes.windows(2 * F::BYTES).step_by(F::BYTES) {
            let first = F::read(two);
            if !begins[first.place()] {
                continue;
            }
            let values = [first, F::read(&two[F::BYTES..])].map(Float::value);
            for pair in &self.pairs {
                if pair.values.iter().zip(values).all(|(a, b)| (a - b).abs() <= pair.near) {
                    note(pair.what);
                }
            }
        }
    }

    fn whole_numbers(&self, bytes: &[u8], note: &mut impl FnMut(&'static str)) {
        let short = |at: usize| i64::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let starts = |value: i64| self.whole.iter().any(|sides| (sides[0] - value).abs() <= 1);
        let is_one = |at: &dyn Fn(usize) -> i64| {
            let same = |sides: &[i64; 4]| (0..4).all(|i| (sides[i] - at(i)).abs() <= 1);
            self.whole.iter().any(same)
        };
        for at in (0..bytes.len().saturating_sub(7)).step_by(2) {
            if !starts(short(at)) {
                continue;
            }
            let long = |at: usize| {
                i64::from(i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")))
            };
            let shorts = is_one(&|i| short(at + 2 * i));
            let longs = at + 16 <= bytes.len() && is_one(&|i| long(at + 4 * i));
            if shorts || longs {
                note("box in whole numbers");
            }
        }
    }

    fn decimals(&self, bytes: &[u8], note: &mut impl FnMut(&'static str)) {
        let starts: Vec<String> = self
            .boxes
            .iter()
            .filter(|(sides, _)| sides[0] >= 10.0)
            .flat_map(|(sides, _)| (-2..=2).map(|by| (sides[0] as i64 + by).to_string()))
            .collect();
        let mut before = b' ';
        for (at, byte) in bytes.iter().copied().enumerate() {
            let begins = byte.is_ascii_digit() && !before.is_ascii_digit() && before != b'.';
            before = byte;
            if begins && starts.iter().any(|start| bytes[at..].starts_with(start.as_bytes())) {
                let text = &bytes[at..bytes.len().min(at + BOX_TEXT)];
                (0..self.boxes_in(&numbers(text))).for_each(|_| note("box in decimals"));
            }
        }
    }

    /// How often the box is in these numbers of a text, as sides or as corners, in px or in parts
    /// of the frame.
    pub fn boxes_in(&self, numbers: &[f64]) -> usize {
        let times = |(wanted, near): &([f64; 4], f64)| {
            let begins = |at: &usize| (numbers[*at] - wanted[0]).abs() <= *near;
            let follows = |at: usize| {
                let mut rest = numbers[at..].iter().take(BOX_WINDOW);
                wanted.iter().all(|side| rest.any(|n| (n - side).abs() <= *near))
            };
            (0..numbers.len()).filter(begins).filter(|at| follows(*at)).count()
        };
        self.boxes.iter().map(times).sum()
    }

    /// Bytes with all of it, each form by itself and named as it is found.
    pub fn planted(&self) -> Vec<(&'static str, Vec<u8>)> {
        let floats = self.pairs.iter().flat_map(|Pair { what, values, .. }| {
            let short = values.map(|v| (v as f32).to_le_bytes()).concat();
            let long = values.map(f64::to_le_bytes).concat();
            [(*what, short), (*what, long)]
        });
        let whole = self.whole.iter().flat_map(|sides| {
            let short = sides.map(|v| (v as i16).to_le_bytes()).concat();
            let long = sides.map(|v| (v as i32).to_le_bytes()).concat();
            [("box in whole numbers", short), ("box in whole numbers", long)]
        });
        let [x, y, width, height] = self.boxes[0].0;
        let text =
            format!("Rect {{ x: {x:.1}, y: {y:.1}, width: {width:.1}, height: {height:.1} }}");
        floats.chain(whole).chain([("box in decimals", text.into_bytes())]).collect()
    }
}

/// Which numbers may be the first of a pair.
fn begins_of<F: Float>(pairs: &[Pair]) -> Vec<bool> {
    let mut begins = vec![false; 1 << LOOKED_UP];
    for Pair { values: [first, _], near, .. } in pairs {
        let [a, b] = [first - near, first + near].map(|end| F::of(end).place());
        begins[a.min(b)..=a.max(b)].fill(true);
    }
    begins
}
