#!/usr/bin/env python3
"""No crate of Cargo.lock is older than what mends a known advisory, but for the exceptions below.

A small stand-in for `cargo deny check advisories` where neither cargo-deny nor its database is to
be had: a list of crates that were looked up by hand, each with the version that is good. Exits 1
and names each offender. An exception names a version and the record that says why it does no
harm; one that is no longer in Cargo.lock fails, too."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Crate, first version without the advisories, the advisories.
GOOD = [
    (
        "rustls-webpki",
        (0, 103, 13),
        "RUSTSEC-2026-0049, RUSTSEC-2026-0098, RUSTSEC-2026-0099, RUSTSEC-2026-0104",
    ),
]

# Crate and version, and where it says why that does no harm.
EXCEPTIONS = {
    ("rustls-webpki", "0.102.8"): "src/delivery/decisions/004-the-client-and-its-old-webpki.md",
}


def number(version):
    """`0.103.13` as numbers, without what follows a dash or a plus."""
    return tuple(int(part) for part in version.split("-")[0].split("+")[0].split("."))


def main():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    there = {(package["name"], package["version"]) for package in lock["package"]}
    wrong = []
    for crate, good, advisories in GOOD:
        for name, version in sorted(there):
            if name != crate or number(version) >= good or (name, version) in EXCEPTIONS:
                continue
            wanted = ".".join(map(str, good))
            wrong.append(f"{name} {version}: {advisories}; {wanted} or later is good")
    for (name, version), record in EXCEPTIONS.items():
        if (name, version) not in there:
            wrong.append(f"{name} {version} is excepted and no longer used; see {record}")
        if not (ROOT / record).exists():
            wrong.append(f"{name} {version}: there is no {record}")
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{len(there)} crates, {len(GOOD)} looked up, {len(EXCEPTIONS)} excepted.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
