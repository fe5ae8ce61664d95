//! The machine: processor, heat, memory.

use std::fs;
use std::path::Path;

use super::CheckResult;
use crate::hardware;
use crate::kernels::choice::{self, InstructionSet, VARIABLE};
use crate::kernels::{networks, pixels, search};

/// From here most boards slow down, or are about to (Raspberry Pi: 80 degrees soft, 85 hard;
/// Jetson: 97).
const WARM: f64 = 78.0;

/// The processor's instructions and what the networks make of them.
pub(super) fn cpu() -> CheckResult {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let available = InstructionSet::available();
    let names: Vec<&str> = available.iter().map(|set| set.name()).collect();
    let names = names.join(", ");
    let chosen = match choice::chosen() {
        Err(unusable) => return CheckResult::failed(unusable.fault(), unusable.remedy()),
        Ok(chosen) => chosen,
    };
    let detail = format!(
        "{cores} {} cores; of {names} the networks run on {}, pixels are made by {}, the search \
         runs on {}",
        std::env::consts::ARCH,
        networks::with(chosen).set(),
        pixels::with(chosen).set(),
        search::SearchKernel::with(chosen).set,
    );
    if chosen == InstructionSet::fastest() {
        CheckResult::ok(detail)
    } else {
        let fastest = InstructionSet::fastest();
        CheckResult::warning(detail, format!("unset {VARIABLE} to use {fastest}"))
    }
}

/// The hottest sensor, and whether the board has slowed itself down.
pub(super) fn temperature() -> CheckResult {
    let heat = hardware::read(Path::new("/sys"));
    let Some((name, celsius)) = heat.zones.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return CheckResult::skipped("the kernel names no temperature sensor");
    };
    let detail = format!("{celsius:.0} degrees at {name}");
    if heat.throttled == Some(true) {
        CheckResult::warning(
            format!("{detail}; the board slows itself down"),
            "use the board's own power supply, a short cable, and a heat sink or a fan",
        )
    } else if *celsius >= WARM {
        CheckResult::warning(
            detail,
            "give the board a heat sink, a fan or shade; it slows down before it stops",
        )
    } else {
        CheckResult::ok(detail)
    }
}

/// Whether memory may reach a disk.
pub(super) fn swap() -> CheckResult {
    match fs::read_to_string("/proc/swaps") {
        Err(_) => CheckResult::skipped("/proc/swaps cannot be read"),
        Ok(text) => {
            let disks: Vec<&str> = text
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().next())
                .filter(|name| !name.contains("zram"))
                .collect();
            if disks.is_empty() {
                CheckResult::ok("none on a disk")
            } else {
                CheckResult::warning(
                    format!("memory may be written to {}", disks.join(", ")),
                    "run the daemon with MemorySwapMax=0, as the packaged unit does, or `swapoff \
                     -a`",
                )
            }
        }
    }
}
