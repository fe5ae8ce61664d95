//! What a detector gives: faces in pixels of the frame.

use crate::geometry::{Point, Rect};
use crate::locked::{Plain, wipe};

/// Most faces of one frame.
pub const MAX_FACES: usize = 128;

/// The faces of one frame, best score first.
pub type Faces = heapless::Vec<Detection, MAX_FACES>;

/// One face, in pixels of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Its box. Parts may lie outside the frame.
    pub rect: Rect,
    /// Image-left eye, image-right eye, nose tip, image-left and image-right corner of the mouth.
    pub landmarks: [Point; 5],
    /// The detector's confidence, 0 to 1.
    pub score: f32,
}

// SAFETY: numbers and what is made of them.
unsafe impl Plain for Detection {}

/// Empties a list of faces; where they were is wiped.
pub(super) fn forget(faces: &mut Faces) {
    wipe(faces);
    faces.clear();
}
