//! Where the faces are in a set of images: JSON Lines, one image a line.
//!
//! ```json
//! {"image": "28--Sports_Fan/1.jpg", "boxes_xywh": [[470, 242, 170, 244]], "easy": [0], "medium": [0], "hard": [0]}
//! ```
//!
//! Boxes are left, top, width, height in pixels. `easy`, `medium` and `hard` list the boxes (by
//! place, from 0) that the WIDER FACE protocol asks for in that set; the other boxes are then
//! ignored: finding one neither helps nor harms. Where no line has any of these lists, all boxes
//! make up one set called `all`.

use serde::Deserialize;

use crate::evaluate::left_out::LeftOut;
use crate::geometry::Rect;

/// One image with its faces.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotated {
    /// Path below the root.
    pub image: String,
    /// All faces that are marked.
    pub boxes: Vec<Rect>,
    /// For each set of [`GroundTruth::sets`], the boxes that count.
    pub counted: Vec<Vec<usize>>,
}

/// A ground-truth file.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// Names of the sets.
    pub sets: Vec<&'static str>,
    /// The images.
    pub images: Vec<Annotated>,
}

#[derive(Deserialize)]
struct BoxesLine {
    image: String,
    boxes_xywh: Vec<[f64; 4]>,
    easy: Option<Vec<usize>>,
    medium: Option<Vec<usize>>,
    hard: Option<Vec<usize>>,
}

const WIDER_SETS: [&str; 3] = ["easy", "medium", "hard"];

/// Understands a ground-truth file. Lines that are none, with boxes that are none, or that name an
/// image again are left out.
pub fn parse(text: &str, left_out: &mut LeftOut) -> GroundTruth {
    let mut lines: Vec<BoxesLine> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (number, text) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match checked(text.trim_start_matches('\u{feff}')) {
            Ok(line) if !seen.insert(line.image.clone()) => {
                left_out.add(
                    format!("line {}", number + 1),
                    "image named a second time",
                    line.image,
                );
            }
            Ok(line) => lines.push(line),
            Err(e) => {
                left_out.add(format!("line {}", number + 1), "line that is no ground truth", e)
            }
        }
    }
    let with_sets =
        lines.iter().any(|l| l.easy.is_some() || l.medium.is_some() || l.hard.is_some());
    let images = lines
        .into_iter()
        .map(|l| {
            let counted = if with_sets {
                [l.easy, l.medium, l.hard].map(Option::unwrap_or_default).to_vec()
            } else {
                vec![(0..l.boxes_xywh.len()).collect()]
            };
            let boxes = l
                .boxes_xywh
                .iter()
                .map(|b| Rect::new(b[0] as f32, b[1] as f32, b[2] as f32, b[3] as f32))
                .collect();
            Annotated { image: l.image, boxes, counted }
        })
        .collect();
    GroundTruth { sets: if with_sets { WIDER_SETS.to_vec() } else { vec!["all"] }, images }
}

fn checked(text: &str) -> Result<BoxesLine, String> {
    let line: BoxesLine = serde_json::from_str(text).map_err(|e| e.to_string())?;
    // Within this, pixels are exact in f32.
    let usable = |b: &[f64; 4]| b.iter().all(|v| v.abs() <= 1e6) && b[2] >= 0.0 && b[3] >= 0.0;
    if let Some(at) = line.boxes_xywh.iter().position(|b| !usable(b)) {
        return Err(format!(
            "box {at} of {} is no box: left, top, width >= 0, height >= 0 in pixels",
            line.image
        ));
    }
    for list in [&line.easy, &line.medium, &line.hard].into_iter().flatten() {
        if let Some(bad) = list.iter().find(|i| **i >= line.boxes_xywh.len()) {
            return Err(format!(
                "a set of {} names box {bad}, but there are {}",
                line.image,
                line.boxes_xywh.len()
            ));
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_read_and_without_them_all_boxes_count() {
        let mut left_out = LeftOut::default();
        let g = parse(
            r#"{"image":"a.jpg","boxes_xywh":[[1,2,3,4],[5,6,7,8.5]],"easy":[1],"medium":[],"hard":[0,1]}"#,
            &mut left_out,
        );
        assert_eq!(g.sets, ["easy", "medium", "hard"]);
        assert_eq!(g.images[0].counted, [vec![1], vec![], vec![0, 1]]);
        let g = parse(
            "{\"image\":\"a.jpg\",\"boxes_xywh\":[[1,2,3,4]]}\n\n{\"image\":\"b.jpg\",\"boxes_xywh\":[]}",
            &mut left_out,
        );
        assert_eq!((g.sets.as_slice(), g.images.len()), (["all"].as_slice(), 2));
        assert_eq!(g.images[0].counted, [vec![0]]);
        assert!(left_out.is_empty());
    }

    #[test]
    fn what_is_no_ground_truth_is_listed_by_line() {
        let mut left_out = LeftOut::default();
        let g = parse(
            "{\"image\":\"a.jpg\",\"boxes_xywh\":[]}\nnonsense\n{\"image\":\"b.jpg\",\"boxes_xywh\":[[0,0,-1,5]]}\n{\"image\":\"c.jpg\",\"boxes_xywh\":[[0,0,1,5]],\"hard\":[1]}\n{\"image\":\"a.jpg\",\"boxes_xywh\":[]}",
            &mut left_out,
        );
        assert_eq!(g.images.len(), 1);
        let lines: Vec<&str> = left_out.omissions().iter().map(|o| o.what.as_str()).collect();
        assert_eq!(lines, ["line 2", "line 3", "line 4", "line 5"]);
        assert!(parse("", &mut left_out).images.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_listed(text in "[\\[\\]{}\":,0-9a-z\n. ]{0,200}") {
            parse(&text, &mut LeftOut::default());
        }
    }
}
