//! The conversion of [`ycc_to_rgb`](super::ycc_to_rgb) for 16-bit lanes.
//!
//! A coefficient of 16.16 fixed point is split into a whole number, which is added apart, and a
//! rest that fits 16 bits: `(65536 w x + f x + 32768) >> 16` is `w x + ((f x + 32768) >> 16)`,
//! exactly. Those of luma, of green's chroma and of blue's are 1, 0 and -1, and 2 in both ranges;
//! red's is 1 or 2.

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
            blue: -14_942,
        };
        const LIMITED: Matrix = Matrix {
            black: 16,
            luma: 10_773,
            red: -26_475,
            red_whole: 2,
            green_cb: -25_675,
            green_cr: 12_257,
            blue: 1_129,
        };
        match range {
            Range::Full => &FULL,
            Range::Limited => &LIMITED,
        }
    }
}
