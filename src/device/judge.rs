//! The one judge of a list: whether a device would use it.
//!
//! * The daemon, `check`, `doctor`, `identify` and `watchlist verify` ask it, so that none of them
//!   says yes where another says no.
//! * It holds the list against the keys, the device's name and networks, what the device promises,
//!   and the list's own budget.
//! * Not judged here: what a device remembers (versions, revocations). The keeper adds that.

use time::OffsetDateTime;

use crate::cause::Cause;
use crate::config::Config;
use crate::decision::curve::PromiseCurve;
use crate::decision::policy::{ActiveList, Blindness};
use crate::decision::{DecisionConfig, promise};
use crate::promise::Promise;
use crate::vision::{Models, VisionConfig};
use crate::watchlist::{Position, Trust, Watchlist, verify};

/// The curve that the embedder was measured with, in the decision's terms.
///
/// # Errors
/// Where the manifest carries none or a broken one: without a measured curve no budget can be kept.
pub fn curve(models: &Models) -> Result<PromiseCurve, Blindness> {
    PromiseCurve::of(&models.manifest.embedder.groups)
        .map_err(|error| Blindness::new(Cause::NoFalseMatchCurve, error))
}

/// What a list must fit; fixed when it is made.
pub struct ListJudge {
    device: String,
    position: Option<Position>,
    /// Digest of the embedder.
    embedder: [u8; 32],
    curve: Result<PromiseCurve, Blindness>,
    /// What the device keeps of what a list is signed for.
    promise: Promise,
    decision: DecisionConfig,
}

impl ListJudge {
    /// That of a device of this configuration.
    pub fn of(config: &Config, models: &Models) -> Self {
        let (vision, decision) = (&config.vision, &config.decision);
        let position = config.watchlist.position;
        Self::new(config.device.id.clone(), position, models, vision, decision)
    }

    /// That of the device named `device` at `position`, whose configuration is as shipped.
    pub fn as_shipped(device: String, position: Option<Position>, models: &Models) -> Self {
        let (vision, decision) = (VisionConfig::default(), DecisionConfig::default());
        Self::new(device, position, models, &vision, &decision)
    }

    fn new(
        device: String,
        position: Option<Position>,
        models: &Models,
        vision: &VisionConfig,
        decision: &DecisionConfig,
    ) -> Self {
        Self {
            device,
            position,
            embedder: models.manifest.embedder.sha256.0,
            curve: curve(models),
            promise: promise::of(models, vision, decision),
            decision: decision.clone(),
        }
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where the camera stands.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The list in `bytes`, signed for this device and its networks and valid at `now`; not held
    /// against its promise and its budget.
    ///
    /// # Errors
    /// Why it is not.
    pub fn verified(
        &self,
        bytes: &[u8],
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Result<Watchlist, Blindness> {
        Ok(verify(bytes, trust, now, &self.device, &self.embedder)?)
    }

    /// The list in `bytes` as it comes into force at `now`. `remembered` says what memory has
    /// against it, once it is verified.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(
        &self,
        bytes: &[u8],
        trust: &Trust,
        now: OffsetDateTime,
        remembered: impl FnOnce(&Watchlist) -> Result<(), Blindness>,
    ) -> Result<ActiveList, Blindness> {
        let curve = self.curve.as_ref().map_err(Clone::clone)?;
        let list = self.verified(bytes, trust, now)?;
        remembered(&list)?;
        ActiveList::enact(list, curve, &self.promise, &self.decision, self.position)
    }

    /// As [`ListJudge::judge`] by a device that remembers nothing, for use at `now`.
    ///
    /// # Errors
    /// Why it cannot be used now.
    pub fn usable_now(
        &self,
        bytes: &[u8],
        trust: &Trust,
        now: OffsetDateTime,
    ) -> Result<ActiveList, Blindness> {
        let active = self.judge(bytes, trust, now, |_| Ok(()))?;
        active.permits(now)?;
        Ok(active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promise::{Setting, Stricter};
    use crate::watchlist::fixture::{self, DEVICE, now, trust};
    use crate::watchlist::model::{Area, Content, Hours, Window};

    /// A list of one person for the built-in embedder, signed for what the program promises as
    /// shipped.
    fn list(models: &Models, change: impl Fn(&mut Content)) -> Vec<u8> {
        let (vision, decision) = (VisionConfig::default(), DecisionConfig::default());
        let mut list = fixture::content(1);
        list.embedder = models.manifest.embedder.sha256.0;
        list.promise = promise::of(models, &vision, &decision).bytes();
        list.authorisation.expected_faces_per_day = 1000;
        change(&mut list);
        fixture::signed_by_two(&list, now())
    }

    fn cause(judge: &ListJudge, list: &[u8]) -> Option<Cause> {
        judge.usable_now(list, &trust(), now()).err().map(|b| b.cause)
    }

    /// The configuration with one key set.
    fn edited(key: &str, value: f64) -> Config {
        let text = format!("device.id = \"{DEVICE}\"\n{key} = {value}\n");
        // Some keys are whole numbers, some are not, and the file says which by a point.
        let with_a_point = format!("device.id = \"{DEVICE}\"\n{key} = {value:.1}\n");
        toml::from_str(&text)
            .or_else(|_| toml::from_str(&with_a_point))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn no_edit_of_the_configuration_loosens_what_was_signed() {
        let models = Models::builtin().expect("as committed");
        let list = list(&models, |_| ());
        let shipped = ListJudge::as_shipped(DEVICE.into(), None, &models);
        assert_eq!(cause(&shipped, &list), None);
        let signed = promise::of(&models, &VisionConfig::default(), &DecisionConfig::default());
        for setting in Setting::ALL {
            let value = f64::from(signed.setting(setting)) / 1000.0;
            for share in [0.01, 0.3, 0.9] {
                let whole = value.fract() == 0.0;
                let looser = match setting.stricter() {
                    Stricter::Higher if whole => (value * (1.0 - share)).floor(),
                    Stricter::Higher => value * (1.0 - share),
                    Stricter::Lower if whole => (value * (1.0 + share)).ceil(),
                    Stricter::Lower => value * (1.0 + share),
                };
                let judge = ListJudge::of(&edited(setting.key(), looser), &models);
                let refused = judge.usable_now(&list, &trust(), now()).expect_err("looser");
                assert_eq!(refused.cause, Cause::PromiseDiffers, "{} = {looser}", setting.key());
                assert!(refused.reason.contains(setting.key()), "{refused}");
            }
            let stricter = match setting.stricter() {
                Stricter::Higher => (value * 1.2).ceil(),
                Stricter::Lower => (value * 0.8).floor(),
            };
            let judge = ListJudge::of(&edited(setting.key(), stricter), &models);
            assert_eq!(cause(&judge, &list), None, "{} = {stricter}", setting.key());
        }
    }

    #[test]
    fn a_curve_of_one_row_at_which_strangers_are_alike_is_refused() {
        let models = Models::builtin().expect("as committed");
        let mut forged = models.clone();
        forged.manifest.embedder.groups.truncate(1);
        for curve in [vec![(0.05, 1e-9)], vec![(0.05, 1e-9), (0.9, 1e-9)]] {
            forged.manifest.embedder.groups[0].curve = curve;
            let judge = ListJudge::as_shipped(DEVICE.into(), None, &forged);
            let refused = judge
                .usable_now(&list(&models, |_| ()), &trust(), now())
                .expect_err("signed for another curve");
            assert_eq!(refused.cause, Cause::PromiseDiffers);
            assert!(refused.reason.contains("false-match curve"), "{refused}");
            // Signed for it, the floor stays.
            let judged = judge.usable_now(&list(&forged, |_| ()), &trust(), now());
            assert!(judged.map_or(true, |a| a.plan().threshold >= crate::promise::FLOOR));
        }
    }

    #[test]
    fn a_list_over_budget_outside_its_hours_or_of_an_unknown_place_is_not_usable() {
        let models = Models::builtin().expect("as committed");
        let judge = ListJudge::as_shipped(DEVICE.into(), None, &models);
        let over = list(&models, |l| l.authorisation.expected_faces_per_day = 10_000_000);
        assert_eq!(cause(&judge, &over), Some(Cause::OverBudget));
        // It is noon.
        let night = Window { days: 0x7f, from_minute: 0, to_minute: 60 };
        let hours = Hours { utc_offset_minutes: 0, windows: vec![night] };
        let other = list(&models, |l| l.authorisation.hours = hours.clone());
        assert_eq!(cause(&judge, &other), Some(Cause::OutsideHours));
        let corner = |latitude, longitude| Position { latitude, longitude };
        let area = Area(vec![corner(52.5, 13.4), corner(52.6, 13.4), corner(52.5, 13.5)]);
        let bound = list(&models, |l| l.authorisation.areas = vec![area.clone()]);
        assert_eq!(cause(&judge, &bound), Some(Cause::PositionUnknown));
        let inside = ListJudge::as_shipped(DEVICE.into(), Some(corner(52.51, 13.41)), &models);
        assert_eq!(cause(&inside, &bound), None);
        let outside = ListJudge::as_shipped(DEVICE.into(), Some(corner(50.0, 13.0)), &models);
        assert_eq!(cause(&outside, &bound), Some(Cause::OutsideArea));
    }
}
