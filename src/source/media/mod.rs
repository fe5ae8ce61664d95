//! The media graph behind a camera node: which sensor, receiver and image processor feed it, and
//! what has to be set so that they do.
//!
//! Many boards' nodes stream only after user space has enabled the links of their graph and given
//! both ends of each link the same format. This room reads the graph, finds the way from the
//! sensor to the node, and says what is missing as the lines to type.
//!
//! Promises:
//! * Reads only: no link, no format and no control is changed.
//! * However the kernel answers, it ends: counts are bounded, ids that name nothing are left out
//!   and counted, circles are walked once.
//! * A line to type carries names only of harmless characters; others become the entity's number.
//!
//! Not promised: that the sensor's own mode is a good one, and exposure. An image processor without
//! its control loop gives a dark or green picture; the board's own camera stack has that loop.

mod abi;
mod driver;
mod formats;
mod graph;
mod remedy;

pub use self::driver::behind;
pub use self::formats::PadFormat;
pub use self::graph::{
    GraphOfNode, MediaEntity, MediaFunction, MediaGraph, MediaLink, MediaNode, MediaPad, PadPlace,
};
pub use self::remedy::{GraphAdvice, advise, arriving};
