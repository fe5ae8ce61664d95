//! Blocks of a picture in pixels, whichever way up it is.

use std::ops::Range;

use super::Frame;
use crate::geometry::Axes;
use crate::kernels::pixels::{PixelKernels, Rgbx};
use crate::locked::wipe;

/// Native columns and rows that are turned at once: few enough for the first cache; as many columns
/// as are two cache lines of luma in the buffer, and as many rows as are one in what comes out.
const TILE: (usize, usize) = (128, 16);

impl Frame<'_> {
    /// Puts the pixels `columns` of each of the rows `rows` of the upright picture into `out`, row
    /// after row, `stride` pixels apart. What lies between two rows stays as it is.
    ///
    /// # Panics
    /// Where a pixel lies outside the picture or `out` is too short; of a picture that is neither
    /// turned nor mirrored also where `columns` begins at an odd column.
    pub fn block(
        &self,
        kernels: &dyn PixelKernels,
        columns: Range<usize>,
        rows: Range<usize>,
        out: &mut [Rgbx],
        stride: usize,
    ) {
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let Axes { swapped, columns_reversed, rows_reversed } = self.orientation.axes();
        let (width, height) = self.native_size();
        let back = |reversed: bool, range: Range<usize>, side: usize| match reversed {
            true => side - range.end..side - range.start,
            false => range,
        };
        if swapped {
            let native = NativePart {
                columns: back(columns_reversed, rows, width),
                rows: back(rows_reversed, columns, height),
            };
            return self.turned_block(kernels, native, out, stride);
        }
        let native = back(columns_reversed, columns, width);
        let native_rows = back(rows_reversed, rows, height);
        let count = native_rows.len();
        // In the buffer's order, in which the processor expects it to be read.
        for (i, row) in native_rows.enumerate() {
            let i = if rows_reversed { count - 1 - i } else { i };
            let out = &mut out[i * stride..][..native.len()];
            self.piece(kernels, row, native.clone(), out);
            if columns_reversed {
                out.reverse();
            }
        }
    }

    /// The pixels `columns` of the native row `row`.
    fn piece(
        &self,
        kernels: &dyn PixelKernels,
        row: usize,
        columns: Range<usize>,
        out: &mut [Rgbx],
    ) {
        let range = self.layout.range();
        let mut from = columns.start;
        let mut out = out;
        // A line begins at an even column. The first pixel of one that does not is the second of
        // its pair.
        if !from.is_multiple_of(2) {
            let mut pair = [[0; 4]; 2];
            kernels.convert(&self.line(row, from - 1..from + 1), range, &mut pair);
            let (first, rest) = out.split_at_mut(1);
            first[0] = pair[1];
            (from, out) = (from + 1, rest);
            wipe(pair.as_flattened_mut());
        }
        if from < columns.end {
            kernels.convert(&self.line(row, from..columns.end), range, out);
        }
    }

    /// [`Frame::block`] where rows become columns, by tiles: pieces of a few native rows are
    /// converted, and then go where they belong.
    fn turned_block(
        &self,
        kernels: &dyn PixelKernels,
        native: NativePart,
        out: &mut [Rgbx],
        stride: usize,
    ) {
        let Axes { columns_reversed, rows_reversed, .. } = self.orientation.axes();
        let NativePart { columns, rows } = native;
        // How far from the top, or from the left, of the block a native column or row is.
        let row_at = |column: usize| match columns_reversed {
            true => columns.end - 1 - column,
            false => column - columns.start,
        };
        let column_at = |tile: &Range<usize>| match rows_reversed {
            true => rows.end - tile.end,
            false => tile.start - rows.start,
        };
        let mut tile = [[[0; 4]; TILE.0]; TILE.1];
        for first_row in rows.clone().step_by(TILE.1) {
            let tile_rows = first_row..(first_row + TILE.1).min(rows.end);
            let x = column_at(&tile_rows);
            for first_column in columns.clone().step_by(TILE.0) {
                let tile_columns = first_column..(first_column + TILE.0).min(columns.end);
                for (i, row) in tile_rows.clone().enumerate() {
                    // The tile's rows lie as they come out.
                    let i = if rows_reversed { tile_rows.len() - 1 - i } else { i };
                    let pixels = &mut tile[i][..tile_columns.len()];
                    self.piece(kernels, row, tile_columns.clone(), pixels);
                }
                for (i, column) in tile_columns.enumerate() {
                    let out = &mut out[row_at(column) * stride + x..][..tile_rows.len()];
                    match <&mut [Rgbx; TILE.1]>::try_from(&mut *out) {
                        Ok(whole) => *whole = std::array::from_fn(|row| tile[row][i]),
                        Err(_) => out.iter_mut().zip(&tile).for_each(|(to, row)| *to = row[i]),
                    }
                }
            }
        }
        for row in &mut tile {
            wipe(row.as_flattened_mut());
        }
    }
}

/// Columns and rows of the native picture.
struct NativePart {
    columns: Range<usize>,
    rows: Range<usize>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PixelFormat;
    use super::super::fixture::{AllPixels, noisy, turned_copy};
    use super::*;
    use crate::geometry::Orientation;
    use crate::kernels::pixels::available;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_block_of_a_turned_picture_is_that_of_a_copy_that_was_turned(
            (w, h, pad) in (1u32..150, 1u32..90, 0usize..9),
            full: bool,
            seed: u32,
            (left, right, top, bottom) in
                (0usize..150, 0usize..150, 0usize..150, 0usize..150),
        ) {
            let formats = 0..PixelFormat::ALL.len();
            let each = formats.flat_map(|format| Orientation::all().map(move |o| (format, o)));
            for (format, orientation) in each {
                let (layout, data) = noisy((w, h, pad), (format, full), (seed, false));
                let native = Frame::new(layout, &data).unwrap();
                let (_, copy) = turned_copy(&native, orientation);
                let copy = copy.as_chunks::<3>().0;
                let frame = native.oriented(orientation);
                let (w, h) = (frame.width(), frame.height());
                prop_assert!(frame.read(AllPixels(w, h)) == copy);
                // The whole picture, and any piece of it.
                let piece = |a: usize, b: usize, side: usize| {
                    let (a, b) = (a % (side + 1), b % (side + 1));
                    a.min(b) & !1..a.max(b)
                };
                let pieces = [(0..w, 0..h), (piece(left, right, w), piece(top, bottom, h))];
                let of = |piece| available().into_iter().map(move |k| (piece, k));
                let each = pieces.iter().flat_map(of);
                for ((columns, rows), kernels) in each {
                    let stride = columns.len() + 3;
                    let mut out = vec![[9; 4]; stride * rows.len()];
                    frame.block(kernels, columns.clone(), rows.clone(), &mut out, stride);
                    for (i, got) in out.iter().enumerate() {
                        let (x, y) = (i % stride, i / stride);
                        let want = if x < columns.len() {
                            let [r, g, b] = copy[(rows.start + y) * w + columns.start + x];
                            [r, g, b, 0]
                        } else {
                            [9; 4]
                        };
                        prop_assert_eq!(
                            *got, want, "{} {:?} {} at {}, {}",
                            layout.format(), orientation, kernels.set(), x, y
                        );
                    }
                }
            }
        }
    }
}
