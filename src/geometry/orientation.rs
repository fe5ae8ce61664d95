//! Which way up a picture is: a camera may hang on its side or upside down.
//!
//! * The *native* picture is the one that lies in memory, the *upright* one what people see.
//! * An [`Orientation`] turns the native picture clockwise first and mirrors it afterwards. Each of
//!   the eight has one spelling.

/// Turns by right angles, clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Turn {
    /// None.
    #[default]
    Zero,
    /// By 90 degrees: what was at the top is at the right.
    Quarter,
    /// By 180 degrees.
    Half,
    /// By 270 degrees: what was at the top is at the left.
    ThreeQuarters,
}

impl Turn {
    /// Each of them, by rising angle.
    pub const ALL: [Self; 4] = [Self::Zero, Self::Quarter, Self::Half, Self::ThreeQuarters];

    /// The turn by so many degrees; `None` for any other number than 0, 90, 180 and 270.
    pub fn of_degrees(degrees: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|turn| i64::from(turn.degrees()) == degrees)
    }

    /// Degrees clockwise: 0, 90, 180 or 270.
    pub const fn degrees(self) -> u16 {
        self as u16 * 90
    }

    /// This turn, and then `other`.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        Self::ALL[(self as usize + other as usize) % Self::ALL.len()]
    }

    /// The turn that undoes it.
    #[must_use]
    pub fn back(self) -> Self {
        Self::ALL[(Self::ALL.len() - self as usize) % Self::ALL.len()]
    }
}

/// How a native picture becomes an upright one: turned, then mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    /// By how much it is turned.
    pub turn: Turn,
    /// Whether left and right are exchanged afterwards.
    pub mirrored: bool,
}

/// What an orientation does to rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes {
    /// Rows of the upright picture are columns of the native one.
    pub swapped: bool,
    /// Native columns are counted from the right.
    pub columns_reversed: bool,
    /// Native rows are counted from the bottom.
    pub rows_reversed: bool,
}

impl Orientation {
    /// As the picture lies in memory.
    pub const NATIVE: Self = Self { turn: Turn::Zero, mirrored: false };

    /// All eight.
    pub fn all() -> impl Iterator<Item = Self> {
        let both = |turn| [false, true].map(|mirrored| Self { turn, mirrored });
        Turn::ALL.into_iter().flat_map(both)
    }

    /// What it does to rows and columns.
    pub fn axes(self) -> Axes {
        let (swapped, columns_reversed, rows_reversed) = match (self.turn, self.mirrored) {
            (Turn::Zero, mirrored) => (false, mirrored, false),
            (Turn::Quarter, mirrored) => (true, false, !mirrored),
            (Turn::Half, mirrored) => (false, !mirrored, true),
            (Turn::ThreeQuarters, mirrored) => (true, true, mirrored),
        };
        Axes { swapped, columns_reversed, rows_reversed }
    }

    /// Width and height of the upright picture of a native one of this width and height.
    pub fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.axes().swapped { (height, width) } else { (width, height) }
    }

    /// Column and row in the native picture, of this width and height, of what is at column `x` and
    /// row `y` of the upright one.
    ///
    /// # Panics
    /// In debug builds where that is outside of the picture: the caller's mistake.
    pub fn native(self, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
        let Axes { swapped, columns_reversed, rows_reversed } = self.axes();
        let (column, row) = if swapped { (y, x) } else { (x, y) };
        (
            if columns_reversed { width - 1 - column } else { column },
            if rows_reversed { height - 1 - row } else { row },
        )
    }

    /// The point of the native picture that is at `upright` of the upright one; both are shares of
    /// width and height from the left top.
    pub fn native_share(self, [x, y]: [f32; 2]) -> [f32; 2] {
        let Axes { swapped, columns_reversed, rows_reversed } = self.axes();
        let [across, down] = if swapped { [y, x] } else { [x, y] };
        [
            if columns_reversed { 1.0 - across } else { across },
            if rows_reversed { 1.0 - down } else { down },
        ]
    }

    /// The turn with which somebody would stand upright who needs another `further` clockwise in
    /// the picture that this orientation gives.
    pub fn turned_further(self, further: Turn) -> Turn {
        // A turn after mirroring is the opposite turn before it.
        self.turn.then(if self.mirrored { further.back() } else { further })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture `a b c` above `d e f`, turned and mirrored.
    fn shown(orientation: Orientation) -> String {
        let (width, height) = orientation.size((3, 2));
        let row = |y| {
            (0..width).map(move |x| {
                let (column, row) = orientation.native((x, y), (3, 2));
                ["abc", "def"][row].as_bytes()[column] as char
            })
        };
        let rows: Vec<String> = (0..height).map(|y| row(y).collect()).collect();
        rows.join(" ")
    }

    #[test]
    fn a_picture_is_turned_clockwise_and_then_mirrored() {
        let of = |degrees, mirrored| {
            shown(Orientation { turn: Turn::of_degrees(degrees).unwrap(), mirrored })
        };
        assert_eq!([of(0, false), of(0, true)], ["abc def", "cba fed"]);
        assert_eq!([of(90, false), of(90, true)], ["da eb fc", "ad be cf"]);
        assert_eq!([of(180, false), of(180, true)], ["fed cba", "def abc"]);
        assert_eq!([of(270, false), of(270, true)], ["cf be ad", "fc eb da"]);
        for degrees in [-90, 1, 45, 360] {
            assert_eq!(Turn::of_degrees(degrees), None);
        }
    }

    #[test]
    fn a_share_of_the_picture_is_where_its_pixel_is() {
        let size = (4, 8);
        for orientation in Orientation::all() {
            let (width, height) = orientation.size(size);
            for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                let middle = |at: usize, side: usize| (at as f32 + 0.5) / side as f32;
                let share = [middle(x, width), middle(y, height)];
                let [column, row] = orientation.native_share(share);
                let (native_x, native_y) = orientation.native((x, y), size);
                assert_eq!([column, row], [middle(native_x, 4), middle(native_y, 8)]);
            }
        }
    }

    #[test]
    fn whoever_lies_stands_after_the_turn_that_is_named() {
        for before in Orientation::all() {
            for further in Turn::ALL {
                let after = Orientation { turn: before.turned_further(further), ..before };
                // The upright picture turned further is the picture of the new orientation.
                let size = before.size((3usize, 2usize));
                let again = Orientation { turn: further, mirrored: false };
                let (width, height) = again.size(size);
                assert_eq!((width, height), after.size((3, 2)));
                for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                    let through = before.native(again.native((x, y), size), (3, 2));
                    assert_eq!(through, after.native((x, y), (3, 2)));
                }
            }
        }
    }

    #[test]
    fn turns_add_up_and_are_undone() {
        for turn in Turn::ALL {
            assert_eq!(turn.then(turn.back()), Turn::Zero);
            assert_eq!(Turn::of_degrees(turn.degrees().into()), Some(turn));
        }
        assert_eq!(Turn::Half.then(Turn::ThreeQuarters), Turn::Quarter);
    }
}
