//! Networks, keys, clock, list: whether faces would be compared.

use super::{Found, Patient};
use crate::daemon::enforce::Keeper;
use crate::vision::engines;
use crate::watchlist::Trust;
use crate::watchlist::trust::Role;

const REMEDY_MODELS: &str = "name a manifest and its files by vision.models, or leave it out for the built-in networks";

pub(super) fn models(patient: &Patient<'_>) -> Found {
    let vision = &patient.config.vision;
    let models = match vision.open_models() {
        Ok(models) => models,
        Err(error) => return Found::failed(error, REMEDY_MODELS),
    };
    let (detector, embedder) = (&models.manifest.detector.name, &models.manifest.embedder.name);
    match engines(&models, vision.long_side) {
        Err(error) => Found::failed(error, REMEDY_MODELS),
        Ok([d, e]) if d.starts_with("plan") && e.starts_with("plan") => {
            Found::ok(format!("{detector} ({d}), {embedder} ({e})"))
        }
        Ok([d, e]) => Found::warning(
            format!("{detector} ({d}), {embedder} ({e})"),
            "the general engine is many times slower than the plan; quantize the network as models/rebuild does",
        ),
    }
}

pub(super) fn trust(patient: &Patient<'_>) -> Found {
    match Trust::open(&patient.config.watchlist.trust) {
        Err(error) => Found::failed(
            error,
            "install the trust file of those who sign for this device (`watchpost key trust` makes one), readable for \
             the user that runs watchpost",
        ),
        Ok(trust) => {
            let holders = |role| trust.keys().iter().filter(|k| k.roles().contains(&role)).count();
            let detail = format!(
                "{} of {} signers needed, {} revokers, {} suspenders, {} reviewers; until {}",
                trust.signers_needed(),
                holders(Role::Signer),
                holders(Role::Revoker),
                holders(Role::Suspender),
                holders(Role::Reviewer),
                trust.valid_until(),
            );
            let now = patient.clock.now().wall;
            if now < trust.valid_from() || now > trust.valid_until() {
                Found::failed(detail, "the keys are not valid today; install a trust file that is")
            } else if holders(Role::Revoker) == 0 {
                Found::warning(detail, "nobody can revoke a list; give at least one key the role `revoker`")
            } else {
                Found::ok(detail)
            }
        }
    }
}

pub(super) fn clock(patient: &Patient<'_>) -> Found {
    let now = patient.clock.now();
    match Keeper::new(&patient.config.watchlist).clock_verdict(now) {
        Ok(()) => Found::ok(now.wall.to_string()),
        Err(blindness) => Found::failed(
            blindness,
            "start a time service (`timedatectl set-ntp true`, or chrony) and wait until it has the time",
        ),
    }
}

pub(super) fn watchlist(patient: &Patient<'_>) -> Found {
    let config = patient.config;
    let Ok(models) = config.vision.open_models() else { return Found::skipped("needs models that can be used") };
    let now = patient.clock.now();
    let mut keeper = Keeper::new(&config.watchlist);
    if keeper.clock_verdict(now).is_err() {
        return Found::skipped("needs a clock that can be believed");
    }
    let force = match keeper.examine(config, &models, now) {
        Ok(force) => force,
        Err(blindness) => {
            return Found::failed(
                blindness,
                "install a list that two signers signed for this device and this embedder; `watchpost watchlist show FILE` \
                 tells what is in one",
            );
        }
    };
    let detail = force.summary();
    match force.permits(now.wall) {
        Ok(()) => Found::ok(detail),
        Err(blindness) => {
            Found::warning(format!("{detail}; not now: {blindness}"), "wait, or install a list for this time")
        }
    }
}
