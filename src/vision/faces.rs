//! What a detector gives: faces in pixels of the frame.

use crate::geometry::{Point, Rect};

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
