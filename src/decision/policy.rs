//! Whether matching is allowed at this moment, with which list and at what threshold.
//!
//! * A verified list comes into force only if its own false-alert budget can be kept
//!   ([`ActiveList::enact`]).
//! * While in force it is asked again for each frame ([`ActiveList::permits`]), because hours,
//!   expiry and clock move on.
//! * Everything that is not a clear yes is a [`Blindness`] with its reason: the device then runs
//!   and matches nobody.

use std::fmt;

use time::OffsetDateTime;

use super::DecisionConfig;
use super::budget::{Budget, OverBudget, Plan};
use super::curve::{Entries, PromiseCurve};
use super::rates::ListRates;
use super::traffic::Traffic;
use crate::calibrate::record::{RecordError, SiteRecord};
use crate::cause::Cause;
use crate::promise::{Promise, Stage};
use crate::watchlist::rotation::RotationError;
use crate::watchlist::seal::SealError;
use crate::watchlist::text::{counted, stamp};
use crate::watchlist::{Gallery, Position, Refusal, Watchlist};

/// Why nothing is matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Blindness {
    /// Which cause; its code is published.
    pub cause: Cause,
    /// For people: what exactly is wrong, with names and numbers.
    pub reason: String,
}

impl Blindness {
    /// A reason in the words of whoever found it.
    pub fn new(cause: Cause, reason: impl fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }
}

impl fmt::Display for Blindness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.cause)
    }
}

impl From<OverBudget> for Blindness {
    fn from(error: OverBudget) -> Self {
        Self::new(Cause::OverBudget, error)
    }
}

impl From<RecordError> for Blindness {
    fn from(error: RecordError) -> Self {
        Self::new(error.cause(), error)
    }
}

impl From<Refusal> for Blindness {
    fn from(error: Refusal) -> Self {
        Self::new(error.cause(), error)
    }
}

impl From<SealError> for Blindness {
    fn from(error: SealError) -> Self {
        Self::new(error.cause(), error)
    }
}

impl From<RotationError> for Blindness {
    fn from(error: RotationError) -> Self {
        Self::new(error.cause(), error)
    }
}

/// Whether a device that promises `device` may use a list that was signed for `signed`.
fn keeps(signed: &[u8], device: &Promise) -> Result<(), Blindness> {
    let Some(signed) = Promise::from_bytes(signed) else {
        return Err(Blindness::new(
            Cause::PromiseDiffers,
            "what the list was signed for is written in another form than this program reads; \
             sign a new version with this version of watchpost",
        ));
    };
    let differences = signed.differences(device);
    if differences.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(Blindness::new(
        Cause::PromiseDiffers,
        format_args!(
            "the device cannot keep the promise that the list was signed for: {}",
            named.join("; ")
        ),
    ))
}

/// The plan of `list` for so many `faces` a day: from its authorised false alerts, and no less
/// strict than `stricter`. A silent list gives no alerts: where no threshold keeps its budget it is
/// counted at the strictest, so that a long list can find its rates on a street before anybody acts
/// on it.
fn plan(
    rates: &ListRates,
    list: &Watchlist,
    faces: u32,
    stricter: f32,
) -> Result<Plan, OverBudget> {
    let budget = Budget::of(faces, list.authorisation().false_alerts_per_day);
    let plan = match rates.plan(budget) {
        Err(_) if list.stage() == Stage::Silent => rates.strictest(budget),
        plan => plan?,
    };
    Ok(rates.at_least(plan, stricter, budget))
}

/// A list in force: verified, within its budget, ready for search.
pub struct ActiveList {
    list: Watchlist,
    gallery: Gallery,
    plan: Plan,
    /// At the time of enactment; what is wiped later only lowers them.
    rates: ListRates,
    /// When the site record ends, where there is one.
    site_until: Option<OffsetDateTime>,
    /// Faces a day that `plan` is for; those of the authorisation until more pass.
    planned_faces: u32,
    stricter_threshold: f32,
    /// More faces pass than any threshold can bear.
    too_busy: Option<Blindness>,
    position: Option<Position>,
}

impl fmt::Debug for ActiveList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActiveList({:?}, threshold {})", self.list, self.plan.threshold)
    }
}

impl ActiveList {
    /// Derives the threshold from the list's authorised budget and `curve`, raises it to the
    /// configured stricter one if there is any, and makes the list searchable. `position` is where
    /// the camera stands; `site` is the list's site record, once somebody has judged it.
    ///
    /// # Errors
    /// [`Blindness`] where `promise`, the device's, differs from the one that the list was signed
    /// for, the budget cannot be met with what was measured, or nobody is on the list.
    pub fn enact(
        mut list: Watchlist,
        curve: &PromiseCurve,
        promise: &Promise,
        config: &DecisionConfig,
        position: Option<Position>,
        site: Option<&SiteRecord>,
    ) -> Result<Self, Blindness> {
        keeps(list.promise(), promise)?;
        // In memory once: the gallery is what is searched.
        let gallery = list.take_gallery().filter(|g| g.templates() > 0);
        let Some(gallery) = gallery else {
            return Err(Blindness::new(
                Cause::EmptyList,
                "the watch list has no entry that is still valid; sign a new version",
            ));
        };
        let rates = match site {
            None => ListRates::by_groups(curve, list.photographs().collect::<Entries>()),
            Some(record) => {
                let templates = gallery.first_templates();
                let entries = templates.iter().zip(list.photographs());
                ListRates::at_site(curve, entries, record)
            }
        };
        let faces = list.authorisation().expected_faces_per_day;
        let plan = plan(&rates, &list, faces, config.stricter_threshold)?;
        Ok(Self {
            planned_faces: faces,
            list,
            gallery,
            plan,
            rates,
            site_until: site.map(|record| record.expires),
            stricter_threshold: config.stricter_threshold,
            too_busy: None,
            position,
        })
    }

    /// Plans for as many faces a day as pass, never for fewer than were authorised: the threshold
    /// rises so that the budget is kept. Where no threshold keeps it, matching stops
    /// ([`ActiveList::permits`]). True where something has changed.
    pub fn follow(&mut self, traffic: &Traffic) -> bool {
        let faces = traffic.planned(self.declared_faces());
        if faces == self.planned_faces {
            return false;
        }
        self.planned_faces = faces;
        match plan(&self.rates, &self.list, faces, self.stricter_threshold) {
            Ok(plan) => {
                self.too_busy = None;
                self.plan = plan;
            }
            Err(over) => {
                self.too_busy = Some(Blindness::new(
                    Cause::OverBudget,
                    format_args!(
                        "{faces} faces a day pass or passed within the last week, and the list \
                         declares {}: {over}",
                        self.declared_faces()
                    ),
                ));
            }
        }
        true
    }

    /// Faces a day that the authorisation declares.
    pub fn declared_faces(&self) -> u32 {
        self.list.authorisation().expected_faces_per_day
    }

    /// Faces a day that the threshold is planned for.
    pub fn planned_faces(&self) -> u32 {
        self.planned_faces
    }

    /// Whether matching is allowed at `now`.
    ///
    /// # Errors
    /// [`Blindness`], when the list or its site record has ended, the list has not begun or is
    /// outside its hours or area, or when more faces pass than its budget can bear.
    pub fn permits(&self, now: OffsetDateTime) -> Result<(), Blindness> {
        if let Some(busy) = &self.too_busy {
            return Err(busy.clone());
        }
        if self.gallery.live_entries() == 0 {
            return Err(Blindness::new(
                Cause::EmptyList,
                "every entry of the watch list has expired or was revoked",
            ));
        }
        if let Some(until) = self.site_until.filter(|until| now >= *until) {
            return Err(Blindness::new(
                Cause::SiteEnded,
                format_args!(
                    "the site record of the list has ended at {}; calibrate again",
                    stamp(&until)
                ),
            ));
        }
        let standing = self.list.standing(now, self.position);
        match standing.cause() {
            None => Ok(()),
            Some(cause) => Err(Blindness::new(cause, format_args!("the watch list is {standing}"))),
        }
    }

    /// The list, without its templates.
    pub fn list(&self) -> &Watchlist {
        &self.list
    }

    /// What is searched.
    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Wipes the templates of entries whose own expiry has passed; returns how many entries it
    /// were.
    pub fn wipe_expired(&mut self, now: OffsetDateTime) -> usize {
        self.gallery.wipe_expired(now)
    }

    /// Wipes the templates of one entry; its position, where there is such an entry and it was not
    /// wiped before.
    pub fn revoke(&mut self, reference: &str) -> Option<usize> {
        self.list.position(reference).filter(|entry| self.gallery.wipe(*entry))
    }

    /// The rate at which a stranger's track is expected to reach `score` on this list, upper bound;
    /// `None` below what was measured.
    pub fn expected_rate(&self, score: f32) -> Option<f64> {
        self.rates.at(score)
    }

    /// Digest of the promise that the list was signed for.
    pub fn promise(&self) -> Option<[u8; 32]> {
        Promise::from_bytes(self.list.promise()).map(|promise| promise.digest())
    }

    /// Entries whose rate was measured at this place; the others are held to the worst group's
    /// bound.
    pub fn covered(&self) -> usize {
        self.rates.covered()
    }

    /// When the site record ends, where the threshold rests on one.
    pub fn site_until(&self) -> Option<OffsetDateTime> {
        self.site_until
    }

    /// The list and what its budget came to, in one line for people.
    pub fn summary(&self) -> String {
        let site = self.site_until.map_or_else(String::new, |until| {
            let (covered, until) = (self.covered(), stamp(&until));
            format!(", {covered} of them measured by this place's site record until {until}")
        });
        format!(
            "{} version {}{}, {}{site}, valid until {}, threshold {:.2} for at most {:.4} \
             false alerts a day{}",
            self.list().id(),
            self.list().version(),
            match self.list().stage() {
                Stage::InForce => "",
                Stage::Silent => " (silent: compared and counted, no candidate is published)",
            },
            counted(self.list().entries().len(), "entry", "entries"),
            self.list().expires(),
            self.plan().threshold,
            self.plan().false_alerts_a_day,
            if self.plan().extrapolated { " (extrapolated)" } else { "" },
        )
    }

    /// The threshold and what it is expected to cost.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::promise;
    use crate::vision::{Models, VisionConfig};
    use crate::watchlist::{fixture, verify};

    #[test]
    fn a_list_comes_into_force_only_under_the_promise_that_was_signed() {
        let models = Models::builtin().expect("as committed");
        let curve = PromiseCurve::of(&models.manifest.embedder.groups).expect("measured");
        let strict = DecisionConfig::default();
        let signed = promise::of(&models, &VisionConfig::default(), &strict);
        let enact = |bytes: &[u8], device: &Promise| {
            let mut content = fixture::content(1);
            content.promise = bytes.to_vec();
            content.authorisation.expected_faces_per_day = 1000;
            let list = fixture::signed_by_two(&content, fixture::now());
            let (now, trust) = (fixture::now(), fixture::trust());
            let list = verify(&list, &trust, now, fixture::DEVICE, &fixture::EMBEDDER);
            ActiveList::enact(list.expect("valid"), &curve, device, &strict, None, None)
        };
        let in_force = enact(&signed.bytes(), &signed).expect("the same promise");
        assert!(in_force.plan().threshold >= crate::promise::FLOOR);

        let mut looser = VisionConfig::default();
        (looser.quality.min_sharpness, looser.views.max_a_track) = (0.0, 100);
        let looser = promise::of(&models, &looser, &strict);
        let refused = enact(&signed.bytes(), &looser).expect_err("looser in two ways");
        assert_eq!(refused.cause, Cause::PromiseDiffers);
        for key in ["vision.quality.min_sharpness", "vision.views.max_a_track"] {
            assert!(refused.reason.contains(key), "{refused}");
        }
        assert!(enact(&looser.bytes(), &signed).is_ok(), "stricter than signed");
        let refused = enact(b"a promise", &signed).expect_err("not a promise");
        assert_eq!(refused.cause, Cause::PromiseDiffers);
    }

    #[test]
    fn a_silent_list_may_be_over_its_budget_and_one_in_force_may_not() {
        let models = Models::builtin().expect("as committed");
        let curve = PromiseCurve::of(&models.manifest.embedder.groups).expect("measured");
        let config = DecisionConfig::default();
        let signed = promise::of(&models, &VisionConfig::default(), &config);
        let enact = |stage| {
            let mut content = fixture::content(5);
            (content.promise, content.stage) = (signed.bytes(), stage);
            content.authorisation.expected_faces_per_day = 10_000_000;
            let list = fixture::signed_by_two(&content, fixture::now());
            let (now, trust) = (fixture::now(), fixture::trust());
            let list = verify(&list, &trust, now, fixture::DEVICE, &fixture::EMBEDDER);
            ActiveList::enact(list.expect("valid"), &curve, &signed, &config, None, None)
        };
        let refused = enact(Stage::InForce).expect_err("over its budget");
        assert_eq!(refused.cause, Cause::OverBudget);
        let silent = enact(Stage::Silent).expect("nothing of it is published");
        assert!(silent.plan().threshold >= curve.strictest(&Entries::of_three(1)).threshold);
        assert!(silent.plan().false_alerts_a_day > 0.5, "told as it is");
    }

    #[test]
    fn the_threshold_rises_with_the_faces_that_pass_and_falls_again_a_week_later() {
        let models = Models::builtin().expect("as committed");
        let curve = PromiseCurve::of(&models.manifest.embedder.groups).expect("measured");
        let config = DecisionConfig::default();
        let signed = promise::of(&models, &VisionConfig::default(), &config);
        let mut content = fixture::content(1);
        content.promise = signed.bytes();
        content.authorisation.expected_faces_per_day = 1000;
        content.authorisation.false_alerts_per_day = 0.5;
        let list = fixture::signed_by_two(&content, fixture::now());
        let (now, trust) = (fixture::now(), fixture::trust());
        let list = verify(&list, &trust, now, fixture::DEVICE, &fixture::EMBEDDER);
        let list = list.expect("valid");
        let mut active = ActiveList::enact(list, &curve, &signed, &config, None, None)
            .expect("within its budget");
        let declared = active.plan().threshold;
        let mut traffic = Traffic::default();
        traffic.observe(0, now);
        assert!(!active.follow(&traffic), "nobody has passed");
        traffic.observe(1001, now);
        assert!(active.follow(&traffic) && !active.follow(&traffic));
        assert!(active.plan().threshold > declared && active.planned_faces() == 2000);
        assert!(active.plan().false_alerts_a_day <= 0.5);
        // No threshold keeps the budget: nobody is matched, which says so.
        traffic.observe(50_000_000, now);
        assert!(active.follow(&traffic));
        assert_eq!(active.permits(now).map_err(|b| b.cause), Err(Cause::OverBudget));
        for days in [1, 9] {
            traffic.observe(50_000_000, now + time::Duration::days(days));
        }
        assert!(active.follow(&traffic));
        assert_eq!((active.plan().threshold, active.permits(now)), (declared, Ok(())));
    }
}
