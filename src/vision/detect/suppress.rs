//! Greedy non-maximum suppression: of boxes that overlap, the best is one face.

use super::super::faces::Detection;
use crate::geometry::Rect;
use crate::locked::wipe;

/// Candidates that are looked at; a crowd of as many faces as a frame may have has a quarter of
/// these.
pub(super) const MAX_CANDIDATES: usize = 4096;

/// Looks at the best `most` candidates, and wipes the others: the best of those that overlap by
/// more than `overlap` is offered to `keep`, best first. Returns how many `keep` had no place for.
pub(super) fn suppress(
    candidates: &mut Vec<Detection>,
    kept: &mut Vec<Rect>,
    most: usize,
    overlap: f32,
    mut keep: impl FnMut(&Detection) -> bool,
) -> usize {
    let by_score = |a: &Detection, b: &Detection| b.score.total_cmp(&a.score);
    if candidates.len() > most {
        candidates.select_nth_unstable_by(most, by_score);
        wipe(&mut candidates[most..]);
        candidates.truncate(most);
    }
    candidates.sort_unstable_by(by_score);
    kept.clear();
    kept.reserve(MAX_CANDIDATES);
    let mut beyond = 0;
    for c in candidates.iter() {
        if kept.iter().any(|k| k.iou(&c.rect) > overlap) {
            continue;
        }
        kept.push(c.rect);
        beyond += usize::from(!keep(c));
    }
    beyond
}

#[cfg(test)]
mod tests {
    use super::super::super::faces::Faces;
    use super::super::OVERLAP;
    use super::*;
    use crate::geometry::Point;
    use proptest::prelude::*;

    fn found(x: f32, y: f32, size: f32, score: f32) -> Detection {
        Detection { rect: Rect::new(x, y, size, size), landmarks: [Point::new(x, y); 5], score }
    }

    #[test]
    fn the_best_of_overlapping_candidates_is_kept_and_faces_beyond_128_are_counted() {
        let mut candidates = vec![
            found(0.0, 0.0, 10.0, 0.7),
            found(1.0, 0.0, 10.0, 0.9),
            found(50.0, 0.0, 10.0, 0.8),
        ];
        let (mut kept, mut faces) = (Vec::new(), Faces::new());
        assert_eq!(suppress(&mut candidates, &mut kept, 9, OVERLAP, |c| faces.push(*c).is_ok()), 0);
        assert_eq!(faces.iter().map(|f| f.score).collect::<Vec<_>>(), [0.9, 0.8]);

        let mut crowd: Vec<_> =
            (0..200).map(|i| found(20.0 * i as f32, 0.0, 10.0, 0.5 + i as f32 / 1000.0)).collect();
        faces.clear();
        assert_eq!(suppress(&mut crowd, &mut kept, 200, OVERLAP, |c| faces.push(*c).is_ok()), 72);
        assert_eq!((faces.len(), faces[0].score), (128, 0.5 + 199.0 / 1000.0));
        faces.clear();
        assert_eq!(suppress(&mut crowd, &mut kept, 50, OVERLAP, |c| faces.push(*c).is_ok()), 0);
        assert_eq!((faces.len(), faces[49].score), (50, 0.5 + 150.0 / 1000.0));
    }

    proptest! {
        #[test]
        fn faces_are_sorted_apart_and_no_more_than_the_candidates(
            boxes in proptest::collection::vec(
                (0.0f32..300.0, 0.0f32..300.0, 1.0f32..80.0, 0.0f32..1.0),
                0..300,
            ),
        ) {
            let mut candidates: Vec<_> =
                boxes.iter().map(|(x, y, s, score)| found(*x, *y, *s, *score)).collect();
            let mut faces = Faces::new();
            let beyond = suppress(&mut candidates, &mut Vec::new(), MAX_CANDIDATES, OVERLAP, |c| {
                faces.push(*c).is_ok()
            });
            prop_assert!(faces.len() + beyond <= boxes.len());
            prop_assert!(faces.windows(2).all(|w| w[0].score >= w[1].score));
            for (i, a) in faces.iter().enumerate() {
                prop_assert!(faces[..i].iter().all(|b| a.rect.iou(&b.rect) <= OVERLAP));
            }
        }
    }
}
