//! The conversion of [`ycc_to_rgb`](super::ycc_to_rgb) for 16-bit lanes.
//!
//! A coefficient of 16.16 fixed point is split into a whole number, which is added apart, and a
//! rest that fits 16 bits: `(65536 w x + f x + 32768) >> 16` is `w x + ((f x + 32768) >> 16)`,
//! exactly. Those of luma, of green's Cb and of blue's Cb are 1, 0 and 2 in all; red's Cr has 1 or
//! 2, green's Cr -1 or 0.

use super::Range;

/// The rests, and what else differs between the ranges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix {
    /// Subtracted from luma.
    pub black: i16,
    /// Rest of luma in all three.
    pub luma: i16,
    /// Rest of red's Cr.
    pub red: i16,
    /// Whole of red's Cr.
    pub red_whole: i16,
    /// All of green's Cb.
    pub green_cb: i16,
    /// Rest of green's Cr.
    pub green_cr: i16,
    /// Whole of green's Cr.
    pub green_whole: i16,
    /// Rest of blue's Cb.
    pub blue: i16,
}

impl Matrix {
    pub(super) const fn of(range: Range) -> &'static Self {
        const FULL: Matrix = Matrix {
            black: 0,
            luma: 0,
            red: 26_345,
            red_whole: 1,
            green_cb: -22_554,
            green_cr: 18_734,
            green_whole: -1,
            blue: -14_942,
        };
        const LIMITED: Matrix = Matrix {
            black: 16,
            luma: 10_773,
            red: -26_475,
            red_whole: 2,
            green_cb: -25_675,
            green_cr: 12_257,
            green_whole: -1,
            blue: 1_129,
        };
        const FULL_HD: Matrix = Matrix {
            black: 0,
            luma: 0,
            red: -27_866,
            red_whole: 2,
            green_cb: -12_276,
            green_cr: -30_679,
            green_whole: 0,
            blue: -9_463,
        };
        const LIMITED_HD: Matrix = Matrix {
            black: 16,
            luma: 10_773,
            red: -13_583,
            red_whole: 2,
            green_cb: -13_975,
            green_cr: 30_611,
            green_whole: -1,
            blue: 7_366,
        };
        match range {
            Range::Full => &FULL,
            Range::Limited => &LIMITED,
            Range::FullHd => &FULL_HD,
            Range::LimitedHd => &LIMITED_HD,
        }
    }
}
