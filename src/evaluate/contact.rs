//! The photographs of likely duplicates side by side, for a person to judge.
//!
//! * Made only where it is asked for: a report with a contact sheet holds pictures of people.
//! * Small: [`SIDE`] pixels, at most [`MOST_PICTURES`] of a cluster and [`MOST_CLUSTERS`] clusters;
//!   what is not shown is counted.
//! * Pixels in memory are wiped; a photograph that cannot be read any more is passed over.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, Rgb, imageops};
use zeroize::Zeroizing;

use super::duplicates::LikelyDuplicate;
use super::extract::padded;
use crate::source::Photograph;

/// Longest side of a picture in pixels.
pub const SIDE: u32 = 160;
/// Most pictures of one cluster.
pub const MOST_PICTURES: usize = 8;
/// Most clusters.
pub const MOST_CLUSTERS: usize = 200;
const QUALITY: u8 = 80;

/// One small picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The photograph below the root.
    pub file: String,
    /// A JPEG file in base64.
    pub jpeg: String,
}

/// The pictures of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Least similarity of its pairs.
    pub loosest: f32,
    /// Greatest.
    pub closest: f32,
    /// At most [`MOST_PICTURES`].
    pub pictures: Vec<Picture>,
    /// Photographs of the cluster that are not shown.
    pub more: usize,
}

/// The pictures of `clusters`, whose files lie below `root`.
pub fn sheet(root: &Path, clusters: &[LikelyDuplicate]) -> Vec<Strip> {
    clusters
        .iter()
        .take(MOST_CLUSTERS)
        .map(|cluster| {
            let shown = cluster.files.iter().take(MOST_PICTURES);
            let pictures: Vec<Picture> = shown.filter_map(|file| picture(root, file)).collect();
            Strip {
                loosest: cluster.loosest,
                closest: cluster.closest,
                more: cluster.files.len() - pictures.len(),
                pictures,
            }
        })
        .collect()
}

fn picture(root: &Path, file: &str) -> Option<Picture> {
    let photograph = Photograph::open(root.join(file)).ok()?;
    let (layout, mut rgb) = padded(&photograph.frame(), 0.0).ok()?;
    let (width, height) = (layout.width(), layout.height());
    let pixels = std::mem::take(&mut *rgb);
    let full = ImageBuffer::<Rgb<u8>, Vec<u8>>::from_raw(width, height, pixels)?;
    let longest = width.max(height);
    let side = |s: u32| (s * SIDE.min(longest)).div_ceil(longest).max(1);
    let small = imageops::thumbnail(&full, side(width), side(height));
    drop(Zeroizing::new(full.into_raw()));
    let mut jpeg = Zeroizing::new(Vec::new());
    JpegEncoder::new_with_quality(&mut *jpeg, QUALITY)
        .encode(&small, small.width(), small.height(), ExtendedColorType::Rgb8)
        .ok()?;
    drop(Zeroizing::new(small.into_raw()));
    Some(Picture { file: file.to_owned(), jpeg: STANDARD.encode(&*jpeg) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_small_pictures_and_counts_what_it_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let big = image::RgbImage::from_pixel(640, 320, Rgb([200, 30, 30]));
        big.save(dir.path().join("a.png")).unwrap();
        big.save(dir.path().join("b.png")).unwrap();
        let mut files = vec!["a.png".to_owned(), "b.png".to_owned(), "gone.png".to_owned()];
        let cluster =
            |files: Vec<String>| LikelyDuplicate { files, pairs: 1, closest: 0.7, loosest: 0.6 };
        let strips = sheet(dir.path(), &[cluster(files.clone())]);
        assert_eq!((strips[0].pictures.len(), strips[0].more), (2, 1));
        let jpeg = STANDARD.decode(&strips[0].pictures[0].jpeg).unwrap();
        let small = image::load_from_memory(&jpeg).unwrap().into_rgb8();
        assert_eq!((small.width(), small.height()), (160, 80));
        assert!(small.get_pixel(80, 40).0[0] > 150 && small.get_pixel(80, 40).0[1] < 80);
        files = vec!["a.png".to_owned(); 12];
        let strips = sheet(dir.path(), &vec![cluster(files); MOST_CLUSTERS + 1]);
        assert_eq!((strips.len(), strips[0].pictures.len()), (MOST_CLUSTERS, MOST_PICTURES));
        assert_eq!(strips[0].more, 4);
    }
}
