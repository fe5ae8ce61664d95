//! Networks, keys, clock, list: whether faces would be compared.

use super::{CheckResult, Configured};
use crate::cause::Cause;
use crate::config::{Config, promises};
use crate::delivery::ReceiptRule;
use crate::delivery::event::Ending;
use crate::device::Watched;
use crate::device::keeper::Keeper;
use crate::device::keys::TrustedKeys;
use crate::device::reviews::{REVIEWERS, Reviews};
use crate::device::state_file::StateFile;
use crate::device::vault::Vault;
use crate::review::config::ReviewConfig;
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

/// The keys that are believed: the pinned ones, or those that followed them.
pub(super) fn trust(configured: &Configured<'_>) -> CheckResult {
    let config = configured.config;
    let state = StateFile::open(config);
    match TrustedKeys::new(&config.watchlist).believed(state.memory().ok()) {
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            CheckResult::failed(blindness, remedy)
        }
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
            if !(trust.valid_from()..trust.valid_until()).contains(&now) {
                return CheckResult::failed(detail, Cause::TrustNotValid.remedy());
            }
            if config.broker.receipt == ReceiptRule::Required && holders(Role::Receiver) == 0 {
                return CheckResult::failed(format!("{detail}; {NO_RECEIVER}"), REMEDY_NO_RECEIVER);
            }
            let found = CheckResult::ok_until(detail, Ending::TrustFile, trust.valid_until(), now);
            let lacks = lacks(config, &trust);
            if lacks.is_empty() {
                return found;
            }
            let (what, remedies): (Vec<_>, Vec<_>) = lacks.into_iter().unzip();
            let remedies: Vec<_> = found.remedy().into_iter().chain(remedies).collect();
            let detail = format!("{}; {}", found.detail(), what.join("; "));
            CheckResult::warning(detail, remedies.join("; "))
        }
    }
}

const NO_RECEIVER: &str = concat!(
    setting!(broker.receipt),
    " = \"required\", and no desk is pinned: no candidate is ever retired, and after the \
     first 32 none is sent"
);
const REMEDY_NO_RECEIVER: &str = concat!(
    "pin the desk's key (`watchpost key trust ... --receiver KEY`, and sign the rotation), or set ",
    setting!(broker.receipt),
    " = \"broker\""
);

/// Who is missing in the trust file for what the configuration asks for, each with what to do.
fn lacks(config: &Config, trust: &Trust) -> Vec<(String, &'static str)> {
    let mut lacks = Vec::new();
    if trust.people(Role::Revoker) == 0 {
        lacks.push(("nobody can revoke a list".into(), "give at least one key the role `revoker`"));
    }
    let reviewers = trust.people(Role::Reviewer);
    let has_key = promises::has_device_key(config);
    if reviewers >= REVIEWERS && !has_key {
        lacks.push((
            format!("{reviewers} people may review, and the device has no key to ask them with"),
            concat!(
                "make one with `watchpost key device`, and name it by ",
                setting!(watchlist.device_key)
            ),
        ));
    }
    // Who names a file or a time for reviews wants them.
    let asked = reviewers > 0 || config.review != ReviewConfig::default();
    if asked && reviewers < REVIEWERS {
        lacks.push((
            format!(
                "{reviewers} people may review{}, and it takes {REVIEWERS}: nobody is asked, and \
                 no candidate waits for a verdict",
                match trust.unnamed_reviewers() {
                    0 => String::new(),
                    keys => format!(
                        " ({keys} keys of reviewers have no `person` and count as one person's)"
                    ),
                }
            ),
            "pin the keys of two different people, and say that they are (`watchpost key trust ... \
             --reviewer p-1=KEY --reviewer p-2=KEY`, and sign the rotation)",
        ));
    }
    lacks
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
    let state = StateFile::open(config);
    if state.clock_verdict(now).is_err() {
        return CheckResult::skipped("needs a clock that can be believed");
    }
    let mut keeper = Keeper::new(config, &models);
    let active = match keeper.examine(now) {
        Ok(active) => active,
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            return CheckResult::failed(blindness, remedy);
        }
    };
    let detail = active.summary();
    let by_reviews = || {
        let trust = keeper.trust().ok();
        Reviews::examine(config, Watched::of(&active, 0), trust.as_ref(), keeper.vault().key())
    };
    // In the daemon's order.
    let stands =
        state.stopped(now).and_then(|()| by_reviews()).and_then(|()| active.permits(now.wall));
    match stands {
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
