//! What the pipeline counts. Counts only: nothing here is about one person.

use serde::{Serialize, Serializer};

use crate::decision::candidate::DecisionCounters;
use crate::geometry::Turn;
use crate::vision::{FrameCounts, HardlyAble, SkipCounters, TooPoor, ViewCounts};

/// Counts since the start, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PipelineCounters {
    /// Pictures taken over.
    pub frames: u64,
    /// Pictures that could not be decoded.
    pub undecodable: u64,
    /// Pictures not looked at because no list was in force.
    pub blind: u64,
    /// Pictures not looked at because the schedule left them out, by reason.
    pub skipped: SkipCounters,
    /// Pictures on which the networks failed.
    pub failed: u64,
    /// Crops that could not be encoded; their candidates went out without.
    pub crops_failed: u64,
    /// Candidates that were not published, because the list in force is silent.
    pub silent: u64,
    /// Sums over all analysed pictures.
    pub vision: VisionTotals,
    /// The decider's own.
    pub decision: DecisionCounters,
}

/// What the frames held, summed.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct VisionTotals {
    /// Tracks that have ended: how many faces passed, as far as the tracker could tell.
    pub tracks: u64,
    /// Faces found, each in every frame in which it was.
    pub faces: u64,
    /// Faces beyond what a frame may hold.
    pub beyond_capacity: u64,
    /// Faces for which no track was free.
    pub untracked: u64,
    /// Views turned away, by reason.
    pub too_poor: TooPoorTotals,
    /// Views embedded.
    pub embedded: u64,
    /// Those of them that are hardly able to match, by reason.
    pub hardly_able: HardlyAbleTotals,
    /// Tracks of which a view was embedded.
    pub viewed_tracks: u64,
    /// Tracks of which a face lay on its side or stood on its head.
    pub lying_tracks: u64,
    /// Those of them that would stand upright with another `source.rotate`, by its value.
    pub upright_if_rotated: TurnTotals,
    /// Good views beyond a frame's budget of embeddings.
    pub deferred: u64,
}

/// Views turned away, by [`TooPoor`] reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct TooPoorTotals([u64; TooPoor::ALL.len()]);

impl Serialize for TooPoorTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(TooPoor::ALL.iter().map(|r| (r.name(), self.0[*r as usize])))
    }
}

/// Views embedded that are hardly able to match, by [`HardlyAble`] reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct HardlyAbleTotals([u64; HardlyAble::ALL.len()]);

impl Serialize for HardlyAbleTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(HardlyAble::ALL.iter().map(|r| (r.name(), self.0[*r as usize])))
    }
}

/// Tracks that lie, by the degrees of the [`Turn`] with which they would stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct TurnTotals([u64; Turn::ALL.len()]);

impl Serialize for TurnTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = Turn::ALL.iter().map(|t| (t.degrees().to_string(), self.0[*t as usize]));
        serializer.collect_map(counts)
    }
}

impl VisionTotals {
    /// Views embedded, and those hardly able to match.
    pub fn views(&self) -> ViewCounts {
        ViewCounts {
            embedded: self.embedded,
            hardly_able: self.hardly_able.0,
            viewed_tracks: self.viewed_tracks,
            lying_tracks: self.lying_tracks,
            upright_if_rotated: self.upright_if_rotated.0,
        }
    }

    /// Adds what one frame held.
    pub(super) fn add(&mut self, frame: &FrameCounts) {
        self.faces += u64::from(frame.faces);
        self.beyond_capacity += u64::from(frame.beyond_capacity);
        self.untracked += u64::from(frame.untracked);
        for reason in TooPoor::ALL {
            self.too_poor.0[reason as usize] += u64::from(frame.too_poor.of(reason));
        }
        self.embedded += u64::from(frame.embedded);
        for reason in HardlyAble::ALL {
            self.hardly_able.0[reason as usize] += u64::from(frame.hardly_able.of(reason));
        }
        self.viewed_tracks += u64::from(frame.viewed_tracks);
        self.lying_tracks += u64::from(frame.lying_tracks);
        for turn in Turn::ALL {
            self.upright_if_rotated.0[turn as usize] +=
                u64::from(frame.upright_if_rotated.of(turn));
        }
        self.deferred += u64::from(frame.deferred);
    }
}
