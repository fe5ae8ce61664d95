//! A rehearsal: volunteers who are on a test list walk past, and the record says how many of their
//! passes the device found at this place.
//!
//! * A false-alert bound says what a list costs; this says what it is good for, in this light, with
//!   this camera's focus and height. Only a place can tell: press photographs of different days are
//!   not a dark street.
//! * Everybody on the list has agreed. How often they walked is told by the people who held the
//!   rehearsal; the device counts in how many passes it would have published the right entry.
//! * Kept are numbers of passes, in no order: no picture, no time of a pass, no reference.
//! * Passes of one person are alike. The interval counts them with a design effect, and where all
//!   were found or none, each person once.
//!
//! Not promised: anything about people who are unlike the volunteers; that the record is genuine:
//! nothing follows from it, and it is not signed
//! (`decisions/003-the-rehearsals-record-is-not-signed.md`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::poisson::CONFIDENCE;
use crate::proportion::{lower_bound, upper_bound};

/// How long a record is good for, as that of a calibration: seasons and light change.
pub const VALID_FOR: time::Duration = time::Duration::days(180);
/// Fewest volunteers from whom a rate is told.
pub const LEAST_VOLUNTEERS: usize = 3;
/// Most bytes of a record.
pub const MAX_BYTES: u64 = 1 << 20;

/// Counts passes while volunteers walk.
#[derive(Debug)]
pub struct Rehearsal {
    /// Of each entry: passes that were found, and when the last was.
    found: Vec<(u32, Option<Duration>)>,
    /// Candidates of one entry that are closer to each other are of one pass.
    apart: Duration,
}

impl Rehearsal {
    /// Of so many volunteers, whose passes are at least so far apart.
    pub fn new(volunteers: usize, apart: Duration) -> Self {
        Self { found: vec![(0, None); volunteers], apart }
    }

    /// A candidate of `entry`, decided at `at` on the monotonic clock.
    pub fn candidate(&mut self, entry: usize, at: Duration) {
        let Some((found, last)) = self.found.get_mut(entry) else { return };
        if last.is_none_or(|last| at.saturating_sub(last) >= self.apart) {
            *found += 1;
        }
        *last = Some(at);
    }

    /// Passes that were found, of everybody.
    pub fn found(&self) -> u32 {
        self.found.iter().map(|(found, _)| found).sum()
    }

    /// What was found where each volunteer walked `passes` times.
    ///
    /// # Errors
    /// [`RehearsalError`].
    pub fn finish(&self, about: Rehearsed, passes: u32) -> Result<RehearsalRecord, RehearsalError> {
        if self.found.len() < LEAST_VOLUNTEERS {
            return Err(RehearsalError::TooFew(self.found.len()));
        }
        if passes == 0 {
            return Err(RehearsalError::NoPasses);
        }
        // Somebody who walked once more than was planned does not make up for somebody else.
        let mut found: Vec<u32> = self.found.iter().map(|(n, _)| *n.min(&passes)).collect();
        found.sort_unstable();
        Ok(RehearsalRecord { kind: RehearsalKind::Rehearsal, about, passes, found })
    }
}

/// Why there is no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RehearsalError {
    /// Too few people for a rate.
    #[error(
        "{0} volunteers tell nothing of others; a rehearsal takes {LEAST_VOLUNTEERS} or more, and \
         twenty give an interval that is of use"
    )]
    TooFew(usize),
    /// Nobody walked.
    #[error("say how often each volunteer walked past, at least once")]
    NoPasses,
    /// Not a record.
    #[error("this is no record of a rehearsal: {0}")]
    NotARecord(String),
}

/// What a record is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// The device.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// The test list.
    pub list: String,
    /// Its version.
    pub version: u64,
    /// The threshold of the test list: that of another list is another one.
    pub threshold: f32,
    /// SHA-256 of the promise that the device kept, hexadecimal.
    pub promise: String,
    /// Who allowed the rehearsal, as the list says.
    pub authority: String,
    /// The file number of that.
    pub decision: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Says nothing from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// Which record a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RehearsalKind {
    Rehearsal,
}

/// What a rehearsal found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RehearsalRecord {
    kind: RehearsalKind,
    /// Of what.
    pub about: Rehearsed,
    /// How often each volunteer walked past.
    passes: u32,
    /// In how many of these each was found, least first: nobody's place in it says who they are.
    found: Vec<u32>,
}

/// The share of passes in which a listed person was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HitRate {
    /// People who walked.
    pub volunteers: usize,
    /// Their passes.
    pub passes: u64,
    /// Of these, found.
    pub found: u64,
    /// `found / passes`.
    pub rate: f64,
    /// Lower end of the two-sided 95 % interval.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
    /// How much less the passes tell than as many of different people.
    pub design_effect: f64,
}

impl RehearsalRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// Where it is none, or contradicts itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RehearsalError> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|e| RehearsalError::NotARecord(e.to_string()))?;
        let sound = record.found.len() >= LEAST_VOLUNTEERS
            && record.passes > 0
            && record.found.iter().all(|found| *found <= record.passes)
            && record.found.is_sorted()
            && (0.0..=1.0).contains(&record.about.threshold);
        if sound {
            Ok(record)
        } else {
            Err(RehearsalError::NotARecord("its counts contradict".into()))
        }
    }

    /// As a file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("numbers and texts serialise");
        json.push(b'\n');
        json
    }

    /// Whether it still says something at `now`.
    pub fn is_good_at(&self, now: OffsetDateTime) -> bool {
        now < self.about.expires
    }

    /// The share that was found, with its exact interval (Clopper and Pearson).
    pub fn rate(&self) -> HitRate {
        let (people, each) = (self.found.len() as f64, f64::from(self.passes));
        let found: u64 = self.found.iter().copied().map(u64::from).sum();
        let passes = self.found.len() as u64 * u64::from(self.passes);
        let rate = found as f64 / passes as f64;
        let effect = self.design_effect(rate);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let (count, of) = (found as f64 / effect, people * each / effect);
        HitRate {
            volunteers: self.found.len(),
            passes,
            found,
            rate,
            lower: lower_bound(count, of, tail),
            upper: upper_bound(count, of, tail),
            design_effect: effect,
        }
    }

    /// The variance between people over that of independent passes, 1 to the passes of each. Where
    /// everybody was found always, or nobody ever, nothing is known of it: the most.
    fn design_effect(&self, rate: f64) -> f64 {
        let (people, each) = (self.found.len() as f64, f64::from(self.passes));
        let independent = each * rate * (1.0 - rate);
        if independent <= 0.0 {
            return each;
        }
        let squares = self.found.iter().map(|n| (f64::from(*n) - each * rate).powi(2)).sum::<f64>();
        (squares / (people - 1.0) / independent).clamp(1.0, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn about() -> Rehearsed {
        let issued = OffsetDateTime::UNIX_EPOCH;
        Rehearsed {
            device: "gate-3".into(),
            camera: "main".into(),
            list: "rehearsal".into(),
            version: 1,
            threshold: 0.77,
            promise: "ab".repeat(32),
            authority: "a test".into(),
            decision: "1/26".into(),
            issued,
            expires: issued + VALID_FOR,
        }
    }

    fn record(found: &[u32], passes: u32) -> RehearsalRecord {
        let mut rehearsal = Rehearsal::new(found.len(), Duration::from_secs(10));
        for (entry, times) in found.iter().enumerate() {
            for pass in 0..*times {
                rehearsal.candidate(entry, Duration::from_secs(u64::from(pass) * 60));
            }
        }
        rehearsal.finish(about(), passes).unwrap()
    }

    #[test]
    fn candidates_close_to_each_other_are_one_pass_and_more_passes_than_planned_do_not_count() {
        let mut rehearsal = Rehearsal::new(3, Duration::from_secs(30));
        for second in [0, 5, 34, 63, 100] {
            rehearsal.candidate(0, Duration::from_secs(second));
        }
        // 5, 34 and 63 each follow the one before by less than half a minute.
        assert_eq!(rehearsal.found(), 2);
        rehearsal.candidate(9, Duration::ZERO);
        assert_eq!(rehearsal.found(), 2, "nobody has that entry");
        assert_eq!(rehearsal.finish(about(), 1).unwrap().rate().found, 1);
    }

    #[test]
    fn the_interval_is_exact_and_counts_alike_passes_once() {
        // As many as independent: 10 of 20, and the variance between people is the binomial one.
        let rate = record(&[1, 2, 2, 2, 3], 4).rate();
        assert_eq!((rate.found, rate.passes, rate.design_effect), (10, 20, 1.0));
        // R: binom.test(10, 20)$conf.int
        assert!((rate.lower - 0.271_957_8).abs() < 1e-6 && (rate.upper - 0.728_042_2).abs() < 1e-6);
        // Half of the people always, the others never: eight people, not thirty-two passes.
        let rate = record(&[0, 0, 0, 0, 4, 4, 4, 4], 4).rate();
        assert_eq!((rate.rate, rate.design_effect), (0.5, 4.0));
        // R: binom.test(4, 8)$conf.int
        assert!((rate.lower - 0.157_012_8).abs() < 1e-6, "{rate:?}");
        // Everybody always: as ten people.
        let rate = record(&[5; 10], 5).rate();
        assert!((rate.lower - 0.025f64.powf(0.1)).abs() < 1e-9 && rate.upper == 1.0, "{rate:?}");
        let rate = record(&[0; 10], 5).rate();
        assert!(rate.lower == 0.0 && rate.upper > 0.3, "{rate:?}");
    }

    #[test]
    fn a_record_says_nobodys_number_and_one_that_was_edited_into_nonsense_is_refused() {
        let json = record(&[3, 0, 4], 4).to_json();
        let text = String::from_utf8(json.clone()).unwrap();
        let read = RehearsalRecord::from_json(&json).unwrap();
        assert_eq!(read.rate().found, 7);
        assert_eq!(read.found, [0, 3, 4], "in no order of the list's");
        for (from, to) in [
            ("\"passes\": 4", "\"passes\": 3"),
            ("\"passes\": 4", "\"passes\": 0"),
            ("\"rehearsal\",\n  \"about\"", "\"site\",\n  \"about\""),
            ("\"threshold\": 0.77", "\"threshold\": 7.7"),
            ("\"found\"", "\"lost\""),
        ] {
            assert!(text.contains(from), "{from}");
            let edited = text.replacen(from, to, 1);
            assert!(RehearsalRecord::from_json(edited.as_bytes()).is_err(), "{to}");
        }
        let end = OffsetDateTime::UNIX_EPOCH + VALID_FOR;
        assert!(!read.is_good_at(end) && read.is_good_at(end - time::Duration::SECOND));
    }

    #[test]
    fn too_few_volunteers_and_no_passes_give_no_record() {
        let two = Rehearsal::new(2, Duration::ZERO);
        assert_eq!(two.finish(about(), 4), Err(RehearsalError::TooFew(2)));
        let three = Rehearsal::new(3, Duration::ZERO);
        assert_eq!(three.finish(about(), 0), Err(RehearsalError::NoPasses));
    }

    proptest! {
        #[test]
        fn the_rate_lies_in_its_interval(
            found in proptest::collection::vec(0u32..=9, 3..40), more in 0u32..5,
        ) {
            let passes = found.iter().max().copied().unwrap_or(0).max(1) + more;
            let rate = record(&found, passes).rate();
            prop_assert!(rate.lower <= rate.rate && rate.rate <= rate.upper, "{rate:?}");
            prop_assert!((1.0..=f64::from(passes)).contains(&rate.design_effect));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = RehearsalRecord::from_json(&bytes);
        }
    }
}
