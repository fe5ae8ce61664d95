//! Networks, keys, clock, list: whether faces would be compared.

use super::{CheckResult, Configured};
use crate::cause::Cause;
use crate::delivery::event::Ending;
use crate::device::keeper::Keeper;
use crate::device::state_file::StateFile;
use crate::device::vault::Vault;
use crate::vision::engines;
use crate::watchlist::Trust;
use crate::watchlist::text::stamp;
use crate::watchlist::trust::Role;

const REMEDY_MODELS: &str = concat!(
    "name a manifest and its files by ",
    setting!(vision.models),
    ", or leave it out for the built-in networks"
);

pub(super) fn models(configured: &Configured<'_>) -> CheckResult {
    let vision = &configured.config.vision;
    let models = match vision.open_models() {
        Ok(models) => models,
        Err(error) => return CheckResult::failed(error, REMEDY_MODELS),
    };
    let (detector, embedder) = (&models.manifest.detector.name, &models.manifest.embedder.name);
    match engines(&models, vision.long_side) {
        Err(error) => CheckResult::failed(error, REMEDY_MODELS),
        Ok([d, e]) if d.starts_with("plan") && e.starts_with("plan") => {
            CheckResult::ok(format!("{detector} ({d}), {embedder} ({e})"))
        }
        Ok([d, e]) => CheckResult::warning(
            format!("{detector} ({d}), {embedder} ({e})"),
            "the general engine is many times slower than the plan; quantize the network as \
             models/rebuild does",
        ),
    }
}

pub(super) fn trust(configured: &Configured<'_>) -> CheckResult {
    match Trust::open(&configured.config.watchlist.trust) {
        Err(error) => CheckResult::failed(error, Cause::NoTrust.remedy()),
        Ok(trust) => {
            let holders = |role| trust.keys().iter().filter(|k| k.roles().contains(&role)).count();
            let detail = format!(
                "{} of {} signers needed, {} revokers, {} suspenders, {} reviewers; until {}",
                trust.signers_needed(),
                holders(Role::Signer),
                holders(Role::Revoker),
                holders(Role::Suspender),
                holders(Role::Reviewer),
                stamp(&trust.valid_until()),
            );
            let now = configured.clock.now().wall;
            if now < trust.valid_from() || now > trust.valid_until() {
                CheckResult::failed(detail, Cause::TrustNotValid.remedy())
            } else if holders(Role::Revoker) == 0 {
                CheckResult::warning(
                    detail,
                    "nobody can revoke a list; give at least one key the role `revoker`",
                )
            } else {
                CheckResult::ok_until(detail, Ending::TrustFile, trust.valid_until(), now)
            }
        }
    }
}

pub(super) fn clock(configured: &Configured<'_>) -> CheckResult {
    let now = configured.clock.now();
    match StateFile::open(configured.config).clock_verdict(now) {
        Ok(()) => CheckResult::ok(stamp(&now.wall)),
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            CheckResult::failed(blindness, remedy)
        }
    }
}

pub(super) fn device_key(configured: &Configured<'_>) -> CheckResult {
    match Vault::new(&configured.config.watchlist).key_for_people() {
        Ok(detail) => CheckResult::ok(detail),
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            CheckResult::failed(blindness, remedy)
        }
    }
}

pub(super) fn watchlist(configured: &Configured<'_>) -> CheckResult {
    let config = configured.config;
    let Ok(models) = config.vision.open_models() else {
        return CheckResult::skipped("needs models that can be used");
    };
    let now = configured.clock.now();
    if StateFile::open(config).clock_verdict(now).is_err() {
        return CheckResult::skipped("needs a clock that can be believed");
    }
    let active = match Keeper::new(config, &models).examine(now) {
        Ok(active) => active,
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            return CheckResult::failed(blindness, remedy);
        }
    };
    let detail = active.summary();
    match active.permits(now.wall) {
        Ok(()) => {
            let list = active.list().expires();
            let (what, ends) = match active.site_until() {
                Some(site) if site < list => (Ending::SiteRecord, site),
                _ => (Ending::List, list),
            };
            CheckResult::ok_until(detail, what, ends, now.wall)
        }
        Err(blindness) => {
            let (text, remedy) =
                (format!("{detail}; not now: {blindness}"), blindness.cause.remedy());
            // Hours pass by themselves; a place does not.
            match blindness.cause {
                Cause::OutsideHours => CheckResult::warning(text, remedy),
                _ => CheckResult::failed(text, remedy),
            }
        }
    }
}
