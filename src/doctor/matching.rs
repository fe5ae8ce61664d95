//! Networks, keys, clock, list: whether faces would be compared.

use super::{Found, Patient};
use crate::device::keeper::Keeper;
use crate::vision::engines;
use crate::watchlist::text::stamp;
use crate::watchlist::trust::Role;
use crate::watchlist::{Trust, locked};

const REMEDY_MODELS: &str =
    "name a manifest and its files by vision.models, or leave it out for the built-in networks";
const REMEDY_TRUST: &str = "install the trust file of those who sign for this device (`watchpost \
    key trust` makes one), readable for the user that runs watchpost";

/// What to do about the reason `code` for which nobody is matched.
fn remedy(code: &str) -> &'static str {
    match code {
        "unsynchronised" => {
            "start a time service (`timedatectl set-ntp true`, or chrony) and wait until it has \
             the time"
        }
        "went-back" => {
            "set the clock right (`timedatectl set-ntp true`, or chrony); the device remembers \
             the latest time that it has seen, so that nothing expired comes back"
        }
        "damaged-state" => {
            "find out why (`ls -l` as the user that runs watchpost; the disk's health), move the \
             file away, and install a list whose version is higher than any before"
        }
        "no-device-key" | "device-key" => {
            "make the key with `watchpost key device`, readable for its owner alone; a key in \
             /etc/credstore is for the service only: examine as it does, with `systemd-run --pipe \
             --wait -p User=watchpost -p SupplementaryGroups=video -p LimitMEMLOCK=infinity -p \
             LoadCredential=watchpost-device-key:/etc/credstore/watchpost-device-key watchpost \
             doctor`"
        }
        "sealed-to-another" | "not-sealed" => {
            "have the list sealed to this device: `watchpost watchlist seal LIST --to age1...` \
             with what `watchpost key show KEYFILE` prints"
        }
        "no-list" => {
            "copy the sealed list to watchlist.list, readable for the user that runs watchpost"
        }
        "no-trust" => REMEDY_TRUST,
        "trust-not-valid" => "install a trust file that is valid today, or correct the clock",
        "too-few-signers" => {
            "have those sign whom the trust file names (`watchpost watchlist sign`), or install \
             the trust file of those who signed"
        }
        "wrong-device" => "correct device.id, or have the list made and signed for this device",
        "wrong-model" => {
            "enrol again with this device's networks, or name the list's networks by vision.models"
        }
        "expired" | "rolled-back" | "same-version" => {
            "install a newer version: `watchpost watchlist revise`, two signatures, seal"
        }
        "revoked" => "install another list; this one was withdrawn for good",
        "memory-not-locked" | "no-memory" => locked::REMEDY,
        "unreadable" | "altered" | "seal-broken" | "too-large" | "unknown-format" => {
            "copy the list again from those who made it; `watchpost watchlist show FILE` tells \
             what is in one"
        }
        _ => {
            "install a list that two signers signed for this device and this embedder; `watchpost \
             watchlist show FILE` tells what is in one"
        }
    }
}

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
            "the general engine is many times slower than the plan; quantize the network as \
             models/rebuild does",
        ),
    }
}

pub(super) fn trust(patient: &Patient<'_>) -> Found {
    match Trust::open(&patient.config.watchlist.trust) {
        Err(error) => Found::failed(error, REMEDY_TRUST),
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
            let now = patient.clock.now().wall;
            if now < trust.valid_from() || now > trust.valid_until() {
                Found::failed(detail, "the keys are not valid today; install a trust file that is")
            } else if holders(Role::Revoker) == 0 {
                Found::warning(
                    detail,
                    "nobody can revoke a list; give at least one key the role `revoker`",
                )
            } else {
                Found::ok(detail)
            }
        }
    }
}

pub(super) fn clock(patient: &Patient<'_>) -> Found {
    let now = patient.clock.now();
    match Keeper::new(&patient.config.watchlist).clock_verdict(now) {
        Ok(()) => Found::ok(stamp(&now.wall)),
        Err(blindness) => {
            let remedy = remedy(blindness.code);
            Found::failed(blindness, remedy)
        }
    }
}

pub(super) fn watchlist(patient: &Patient<'_>) -> Found {
    let config = patient.config;
    let Ok(models) = config.vision.open_models() else {
        return Found::skipped("needs models that can be used");
    };
    let now = patient.clock.now();
    let mut keeper = Keeper::new(&config.watchlist);
    if keeper.clock_verdict(now).is_err() {
        return Found::skipped("needs a clock that can be believed");
    }
    let force = match keeper.examine(config, &models, now) {
        Ok(force) => force,
        Err(blindness) => {
            let remedy = remedy(blindness.code);
            return Found::failed(blindness, remedy);
        }
    };
    let detail = force.summary();
    match force.permits(now.wall) {
        Ok(()) => Found::ok(detail),
        Err(blindness) => Found::warning(
            format!("{detail}; not now: {blindness}"),
            "wait, or install a list for this time",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_remedy() {
        for (code, words) in [
            ("unsynchronised", "time service"),
            ("damaged-state", "version"),
            ("no-device-key", "systemd-run"),
            ("sealed-to-another", "watchlist seal"),
            ("too-few-signers", "watchlist sign"),
            ("no-trust", "key trust"),
            ("wrong-device", "device.id"),
            ("expired", "watchlist revise"),
            ("memory-not-locked", "LimitMEMLOCK"),
        ] {
            assert!(remedy(code).contains(words), "{code}: {}", remedy(code));
        }
    }
}
