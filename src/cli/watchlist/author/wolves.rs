//! Entries whose template resembles too many people: each of those would be taken for the person.
//!
//! * An entry is held against a cohort, people who are on no list: how many of them it resembles at
//!   the mild similarity [`MILD`], where some thousand comparisons are enough to tell. A count that
//!   is certainly above [`TIMES`] the rate of the worst-served group refuses the entry: no budget
//!   holds for it.
//! * It errs towards keeping an entry, and says nothing of likeness to anybody: a count of
//!   strangers is all that is looked at.

use std::path::Path;

use super::CliError;
use crate::calibrate::decoys::LEAST;
use crate::calibrate::draft::DecoyDraft;
use crate::device::judge;
use crate::poisson;
use crate::template::PIPELINE;
use crate::vision::Models;
use crate::watchlist::model::Entry;
use crate::watchlist::{Gallery, read_list};

/// Where resemblance is counted. Strangers of the worst-served group reach it about once in a
/// hundred comparisons, so that 500 of them tell something.
const MILD: f32 = 0.40;
/// How many times as often as the worst-served group an entry may resemble strangers. The template
/// of several photographs does so about twice as often as one photograph of the same person.
const TIMES: f64 = 3.0;

/// People who are on no list.
pub struct Cohort {
    gallery: Gallery,
    people: usize,
    /// Upper bound of the rate at which strangers of the worst-served group resemble one another.
    worst: f64,
}

impl Cohort {
    /// The decoys of the draft at `path`, enrolled with the embedder of `models`.
    pub fn read(path: &Path, models: &Models) -> Result<Self, CliError> {
        let named = |what: String| format!("{}: {what}", path.display());
        let draft = DecoyDraft::from_json(&read_list(path)?).map_err(|e| {
            named(format!("{e}; a cohort is a draft of `watchpost calibrate new` and `add`"))
        })?;
        if draft.embedder != models.manifest.embedder.sha256.0 || draft.pipeline != PIPELINE {
            return Err(named(
                "the cohort was enrolled with another embedder or another pipeline; add its \
                 photographs again"
                    .into(),
            )
            .into());
        }
        let people = draft.decoys.len();
        if people < LEAST {
            return Err(named(format!(
                "a cohort of {people} people tells nothing; it takes at least {LEAST}"
            ))
            .into());
        }
        let curve = judge::curve(models).map_err(|blindness| blindness.to_string())?;
        let worst = curve.single_rate_at(MILD).unwrap_or(1.0);
        let templates: Vec<_> = draft.decoys.into_iter().map(|d| d.template).collect();
        Ok(Self { gallery: Gallery::of_templates(&templates)?, people, worst })
    }

    /// Whether `entry` resembles no more of the cohort than it may.
    ///
    /// # Errors
    /// With the counts, for people.
    pub fn judge(&self, entry: &Entry) -> Result<(), String> {
        let template = entry.fused().map_err(|e| e.to_string())?.template;
        let mut resembled = 0u32;
        self.gallery.scan(std::slice::from_ref(&template), 0, |_, hit| {
            resembled += u32::from(hit.score >= MILD);
            f32::NEG_INFINITY
        });
        too_many(resembled, self.people, self.worst)
    }
}

/// Whether a count is certainly above what the worst-served group has.
fn too_many(resembled: u32, people: usize, worst: f64) -> Result<(), String> {
    let certain = poisson::lower_bound(f64::from(resembled), people as f64, 1.0);
    if certain <= TIMES * worst {
        return Ok(());
    }
    Err(format!(
        "its template resembles {resembled} of the {people} people of the cohort (similarity \
         {MILD:.2} or more), and at most {:.0} are expected of the worst-served group: strangers \
         would be taken for this person far more often than promised; use sharper photographs, \
         from the front, of other days",
        worst * people as f64
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture::{content, template};

    #[test]
    fn a_count_is_too_large_only_where_it_is_certain() {
        // As measured: 8.6e-3 at .40, 4.3 of 500.
        let judge = |resembled| too_many(resembled, 500, 8.6e-3);
        assert!(judge(0).is_ok() && judge(13).is_ok() && judge(19).is_ok());
        let refused = judge(25).unwrap_err();
        assert!(refused.contains("25 of the 500") && refused.contains("at most 4"), "{refused}");
    }

    #[test]
    fn a_template_that_is_like_many_is_refused_and_one_that_is_like_nobody_is_not() {
        let entry = content(1).entries.remove(0);
        let own = entry.fused().unwrap().template;
        let cohort = |alike: usize| {
            let strangers = (0..500)
                .map(|n| if n < alike { own.clone() } else { template(1_000_000 + n as u64) });
            let templates: Vec<_> = strangers.collect();
            let gallery = Gallery::of_templates(&templates).unwrap();
            Cohort { gallery, people: 500, worst: 8.6e-3 }
        };
        assert!(cohort(100).judge(&entry).is_err());
        // Random templates of 64 components are alike more often than faces are.
        assert!(cohort(0).judge(&entry).is_ok());
    }
}
