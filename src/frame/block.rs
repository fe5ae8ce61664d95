//! Blocks of a picture in pixels, whichever way up it is.

use std::ops::Range;

use super::Frame;
use crate::geometry::{Axes, Orientation};
use crate::kernels::pixels::{PixelKernels, Rgbx};
use crate::locked::wipe;

/// Native columns and rows that are turned at once: few enough for the first cache, and each row of
/// them long enough for whole cache lines of the buffer.
const TILE: (usize, usize) = (64, 8);

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
        if self.orientation != Orientation::NATIVE {
            self.turned_block(kernels, columns, rows, out, stride);
            return;
        }
        for (row, out) in rows.zip(out.chunks_mut(stride)) {
            let line = self.line(row, columns.clone());
            kernels.convert(&line, self.layout.range, &mut out[..columns.len()]);
        }
    }

    /// [`Frame::block`] by tiles: pieces of a few native rows are converted, and then go where they
    /// belong.
    fn turned_block(
        &self,
        kernels: &dyn PixelKernels,
        columns: Range<usize>,
        rows: Range<usize>,
        out: &mut [Rgbx],
        stride: usize,
    ) {
        let Axes { swapped, columns_reversed, rows_reversed } = self.orientation.axes();
        let (width, height) = self.native_size();
        let back = |reversed: bool, range: Range<usize>, side: usize| match reversed {
            true => side - range.end..side - range.start,
            false => range,
        };
        let (across, down) = if swapped { (rows, columns) } else { (columns, rows) };
        let native_columns = back(columns_reversed, across, width);
        let native_rows = back(rows_reversed, down, height);
        // How far from the left, or from the top, of the block a native column or row is.
        let place = |reversed: bool, native: Range<usize>| {
            move |at: usize| match reversed {
                true => native.end - 1 - at,
                false => at - native.start,
            }
        };
        let column_at = place(columns_reversed, native_columns.clone());
        let row_at = place(rows_reversed, native_rows.clone());
        // A line begins at an even column, which may be one before the first.
        let mut tile = [[[0; 4]; TILE.0 + 1]; TILE.1];
        for (first_row, first_column) in native_rows
            .clone()
            .step_by(TILE.1)
            .flat_map(|y| native_columns.clone().step_by(TILE.0).map(move |x| (y, x)))
        {
            let tile_rows = first_row..(first_row + TILE.1).min(native_rows.end);
            let tile_columns = first_column..(first_column + TILE.0).min(native_columns.end);
            let even = first_column & !1;
            for (row, pixels) in tile_rows.clone().zip(&mut tile) {
                let line = self.line(row, even..tile_columns.end);
                kernels.convert(&line, self.layout.range, &mut pixels[..tile_columns.end - even]);
            }
            if swapped {
                let from = row_at(tile_rows.start).min(row_at(tile_rows.end - 1));
                for at in tile_columns {
                    let out = &mut out[column_at(at) * stride + from..][..tile_rows.len()];
                    let column = tile.iter().map(|pixels| pixels[at - even]);
                    if rows_reversed {
                        out.iter_mut().rev().zip(column).for_each(|(to, pixel)| *to = pixel);
                    } else {
                        out.iter_mut().zip(column).for_each(|(to, pixel)| *to = pixel);
                    }
                }
            } else {
                let (first, last) = (tile_columns.start, tile_columns.end - 1);
                let from = column_at(first).min(column_at(last));
                for (at, pixels) in tile_rows.zip(&tile) {
                    let pixels = &pixels[tile_columns.start - even..tile_columns.end - even];
                    let out = &mut out[row_at(at) * stride + from..][..pixels.len()];
                    if columns_reversed {
                        out.iter_mut().rev().zip(pixels).for_each(|(to, pixel)| *to = *pixel);
                    } else {
                        out.copy_from_slice(pixels);
                    }
                }
            }
        }
        for pixels in &mut tile {
            wipe(pixels.as_flattened_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PixelFormat;
    use super::super::fixture::{AllPixels, noisy, turned_copy};
    use super::*;
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
                let each = pieces.iter().flat_map(|piece| available().into_iter().map(move |k| (piece, k)));
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
