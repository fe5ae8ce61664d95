//! The one judge of a list: whether a device would use it.
//!
//! * The daemon, `check`, `doctor`, `identify` and `watchlist verify` ask it, so that none of them
//!   says yes where another says no.
//! * It holds the list against the keys, the device's name and networks, what the device promises,
//!   and the list's own budget.
//! * A site record in the list has to be of this very camera and place. Whether the device made it
//!   only the device can say; where it is not the device that asks, the answer leaves that open.
//! * Not judged here: what a device remembers (versions, revocations). The keeper adds that.

use time::OffsetDateTime;

use crate::calibrate::counts::place_of;
use crate::calibrate::origin::SiteKey;
use crate::calibrate::promotion;
use crate::calibrate::record::{CountingPlace, SiteRecord};
use crate::cause::Cause;
use crate::config::Config;
use crate::decision::curve::PromiseCurve;
use crate::decision::policy::{ActiveList, Blindness};
use crate::decision::{DecisionConfig, promise};
use crate::promise::{Promise, Stage};
use crate::vision::{Models, VisionConfig};
use crate::watchlist::memory::KnownRule;
use crate::watchlist::{Position, Refusal, Trust, Watchlist, verify};

/// The curve that the embedder was measured with, in the decision's terms.
///
/// # Errors
/// Where the manifest carries none or a broken one: without a measured curve no budget can be kept.
pub fn curve(models: &Models) -> Result<PromiseCurve, Blindness> {
    PromiseCurve::of(&models.manifest.embedder.groups)
        .map_err(|error| Blindness::new(Cause::NoFalseMatchCurve, error))
}

/// What a list's site record is held against.
enum SiteJudge {
    /// The device's own camera and key.
    Device { camera: String, key: Option<SiteKey> },
    /// A workstation that knows the camera's name, and not whether the device made the record.
    Workstation { camera: String },
    /// Photographs from anywhere: no record is of them, and each entry keeps the worst group's
    /// bound.
    Anywhere,
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
    site: SiteJudge,
}

impl ListJudge {
    /// That of a device of this configuration, which knows its site records by `key`.
    pub fn of(config: &Config, models: &Models, key: Option<SiteKey>) -> Self {
        let (vision, decision) = (&config.vision, &config.decision);
        let position = config.watchlist.position;
        let site = SiteJudge::Device { camera: config.device.camera.clone(), key };
        Self::new(config.device.id.clone(), position, models, vision, decision, site)
    }

    /// That of the device named `device` at `position`, whose configuration is as shipped, for
    /// photographs from anywhere.
    pub fn as_shipped(device: String, position: Option<Position>, models: &Models) -> Self {
        let (vision, decision) = (VisionConfig::default(), DecisionConfig::default());
        Self::new(device, position, models, &vision, &decision, SiteJudge::Anywhere)
    }

    /// For what the device's camera of this name sees.
    pub fn with_camera(self, camera: String) -> Self {
        Self { site: SiteJudge::Workstation { camera }, ..self }
    }

    fn new(
        device: String,
        position: Option<Position>,
        models: &Models,
        vision: &VisionConfig,
        decision: &DecisionConfig,
        site: SiteJudge,
    ) -> Self {
        Self {
            site,
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
    /// against it, once it is verified, and which rule for coming into force it knows.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(
        &self,
        bytes: &[u8],
        trust: &Trust,
        now: OffsetDateTime,
        remembered: impl FnOnce(&Watchlist) -> Result<Option<KnownRule>, Blindness>,
    ) -> Result<ActiveList, Blindness> {
        let curve = self.curve.as_ref().map_err(Clone::clone)?;
        let list = self.verified(bytes, trust, now)?;
        let known = remembered(&list)?;
        let site = self.site_of(&list, now)?;
        self.is_promoted(&list, site.as_ref(), known)?;
        let (promise, decision) = (&self.promise, &self.decision);
        ActiveList::enact(list, curve, promise, decision, self.position, site.as_ref())
    }

    /// The site record of `list`, if it has one, that counts at this camera and `now`.
    fn site_of(
        &self,
        list: &Watchlist,
        now: OffsetDateTime,
    ) -> Result<Option<SiteRecord>, Blindness> {
        let Some(bytes) = list.site() else { return Ok(None) };
        let record = SiteRecord::from_bytes(bytes)?;
        let camera = match &self.site {
            SiteJudge::Device { camera, .. } | SiteJudge::Workstation { camera } => camera,
            SiteJudge::Anywhere => return Ok(None),
        };
        let own = self.promise.digest();
        let place = CountingPlace {
            device: &self.device,
            camera,
            position: self.position.map(place_of),
            // What the device does not keep of the list's promise is refused when it is enacted.
            promises: [own, Promise::from_bytes(list.promise()).map_or(own, |p| p.digest())],
        };
        record.counts_at(place, now)?;
        if let SiteJudge::Device { key, .. } = &self.site {
            record.is_made_by(key.as_ref())?;
        }
        Ok(Some(record))
    }

    /// Whether `list` may be in force by the rule under which it was silent. Photographs from
    /// anywhere have no record that could say.
    fn is_promoted(
        &self,
        list: &Watchlist,
        site: Option<&SiteRecord>,
        known: Option<KnownRule>,
    ) -> Result<(), Blindness> {
        let Some(rule) = list.promotion().filter(|_| list.stage() == Stage::InForce) else {
            return Ok(());
        };
        if let SiteJudge::Anywhere = self.site {
            return Ok(());
        }
        let since = known.map(|known| known.since());
        promotion::shown(rule, list, site, since)
            .map_err(|why| Blindness::new(Cause::NotPromoted, why))
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
        let active = self.judge(bytes, trust, now, |list| match list.removed_entries() {
            0 => Ok(None),
            missing => Err(Refusal::EntriesMissing {
                id: list.id().clone(),
                version: list.version(),
                missing,
            }
            .into()),
        })?;
        active.permits(now)?;
        Ok(active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::counts::Setup;
    use crate::calibrate::{counts, record, strata};
    use crate::promise::{Setting, Stricter};
    use crate::template::Template;
    use crate::watchlist::fixture::{self, DEVICE, now, trust};
    use crate::watchlist::model::{Area, Content, Entry, Hours, StoredTemplate, Window};

    const HOUR: time::Duration = time::Duration::HOUR;
    type Edit = fn(&mut SiteRecord);

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
                let judge = ListJudge::of(&edited(setting.key(), looser), &models, None);
                let refused = judge.usable_now(&list, &trust(), now()).expect_err("looser");
                assert_eq!(refused.cause, Cause::PromiseDiffers, "{} = {looser}", setting.key());
                assert!(refused.reason.contains(setting.key()), "{refused}");
            }
            let stricter = match setting.stricter() {
                Stricter::Higher => (value * 1.2).ceil(),
                Stricter::Lower => (value * 0.8).floor(),
            };
            let judge = ListJudge::of(&edited(setting.key(), stricter), &models, None);
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

    /// Where the camera of the site records stands.
    const PLACE: Position = Position { latitude: 52.5, longitude: 13.4 };

    fn signed_promise(models: &Models) -> Promise {
        promise::of(models, &VisionConfig::default(), &DecisionConfig::default())
    }

    /// Of three entries of [`site_list`], proven by the device's key 1.
    fn site_record(models: &Models) -> SiteRecord {
        let setup = Setup {
            promise: signed_promise(models).digest(),
            least_faces: 1000,
            ..counts::tests::setup()
        };
        record::tests::made(setup, now() - time::Duration::days(1))
    }

    /// A list for one device, of three entries that `record` covers and `more` that it does not.
    fn site_list(models: &Models, record: &[u8], more: usize) -> Vec<u8> {
        list(models, |l| {
            l.authorisation.devices = vec![DEVICE.parse().expect("a reference")];
            l.authorisation.false_alerts_per_day = 20.0;
            let templates = strata::tests::entries(3 + more as u8);
            l.entries = (0..).zip(templates).map(|(n, t)| entry_of(l, n, t)).collect();
            l.site = Some(record.to_vec());
        })
    }

    fn entry_of(list: &Content, n: u8, template: Template) -> Entry {
        let stored = StoredTemplate::of_one(template, 0.75, [n; 32]);
        fixture::person(list, &format!("case-{n}"), stored)
    }

    fn device_at(camera: &str, position: Option<Position>, key: Option<u8>) -> ListJudge {
        let mut config: Config = edited("decision.cool_down_s", 60.0);
        (config.device.camera, config.watchlist.position) = (camera.into(), position);
        let models = Models::builtin().expect("as committed");
        ListJudge::of(&config, &models, key.map(SiteKey::for_tests))
    }

    #[test]
    fn thresholds_follow_from_a_site_record_for_the_entries_that_it_covers() {
        let models = Models::builtin().expect("as committed");
        let (record, device) = (site_record(&models), device_at("main", Some(PLACE), Some(1)));
        let plan = |bytes: &[u8]| {
            let active = device.usable_now(bytes, &trust(), now()).expect("its own record");
            (active.covered(), active.plan().threshold, active.site_until())
        };
        let (covered, threshold, until) = plan(&site_list(&models, &record.to_bytes(), 0));
        assert_eq!((covered, until), (3, Some(record.expires)));
        let longer = plan(&site_list(&models, &record.to_bytes(), 1));
        assert_eq!(longer.0, 3, "a new entry is not covered");
        assert!(longer.1 >= threshold);
        let workstation = ListJudge::as_shipped(DEVICE.into(), Some(PLACE), &models);
        let list = site_list(&models, &record.to_bytes(), 0);
        let photographs = workstation.usable_now(&list, &trust(), now()).expect("a list");
        assert_eq!(photographs.covered(), 0, "photographs are from anywhere");
        assert!(photographs.plan().threshold > threshold);
        let verified = workstation.with_camera("main".into()).usable_now(&list, &trust(), now());
        assert_eq!(verified.expect("of this camera").covered(), 3);
    }

    #[test]
    fn a_list_whose_site_record_is_not_the_devices_own_here_and_now_is_refused() {
        let models = Models::builtin().expect("as committed");
        let record = site_record(&models);
        let device = device_at("main", Some(PLACE), Some(1));
        let judged = |judge: &ListJudge, bytes: &[u8]| cause(judge, &site_list(&models, bytes, 0));
        let own = record.to_bytes();
        assert_eq!(judged(&device, &own), None);
        let moved = Some(Position { latitude: 52.5001, ..PLACE });
        for (judge, wanted) in [
            (device_at("side", Some(PLACE), Some(1)), Cause::SiteElsewhere),
            (device_at("main", moved, Some(1)), Cause::SiteElsewhere),
            (device_at("main", None, Some(1)), Cause::SiteElsewhere),
            (device_at("main", Some(PLACE), Some(2)), Cause::SiteNotOurs),
            (device_at("main", Some(PLACE), None), Cause::SiteNotOurs),
        ] {
            assert_eq!(judged(&judge, &own), Some(wanted));
        }
        let edits: [(Edit, Cause); 6] = [
            (|r| r.setup.device = "gate-4".parse().expect("a reference"), Cause::SiteElsewhere),
            (|r| r.setup.position = None, Cause::SiteElsewhere),
            (|r| r.setup.promise = [1; 32], Cause::SitePromiseDiffers),
            (|r| (r.issued, r.expires) = (now() + HOUR, now() + 2 * HOUR), Cause::SiteEnded),
            (|r| r.expires = now(), Cause::SiteEnded),
            (|r| r.days.truncate(3), Cause::BadSiteRecord),
        ];
        for (n, (edit, wanted)) in edits.into_iter().enumerate() {
            let mut other = record.clone();
            edit(&mut other);
            let other = record::tests::proven(other).to_bytes();
            assert_eq!(judged(&device, &other), Some(wanted), "edit {n}");
        }
        let mut edited = record.clone();
        edited.curve.effects[30] -= 1;
        assert_eq!(judged(&device, &edited.to_bytes()), Some(Cause::SiteNotOurs));
        for bytes in [&own[1..], b"", b"no record"] {
            assert_eq!(judged(&device, bytes), Some(Cause::BadSiteRecord));
        }
    }

    #[test]
    fn matching_stops_when_the_site_record_ends() {
        let models = Models::builtin().expect("as committed");
        let mut record = site_record(&models);
        record.expires = now() + HOUR;
        let record = record::tests::proven(record).to_bytes();
        let device = device_at("main", Some(PLACE), Some(1));
        let list = site_list(&models, &record, 0);
        let active = device.usable_now(&list, &trust(), now()).expect("an hour before");
        assert_eq!(active.permits(now() + HOUR).map_err(|b| b.cause), Err(Cause::SiteEnded));
    }
}
