#!/usr/bin/env python3
"""Every dependency's licence is one that deny.toml allows, and every dependency comes from the
registry or from this tree. So for the npm packages of which the desk's script is made.

A small stand-in for `cargo deny check licenses sources` where cargo-deny is not installed. Reads
deny.toml, so that there is one list. Exits 1 and names each offender."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def packages(targets):
    """Every package of any of the targets, by id."""
    found = {}
    for target in targets:
        command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
        out = subprocess.run(
            [*command, "--filter-platform", target], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        for package in json.loads(out.stdout)["packages"]:
            found[package["id"]] = package
    return found.values()


def bundled():
    """The npm packages of the desk's script, and those that make it, each with its name."""
    lock = json.loads((ROOT / "src/desk/web/age/package-lock.json").read_text())
    for path, package in lock["packages"].items():
        if path:
            yield f"{path.removeprefix('node_modules/')} {package['version']}", package


def allowed(expression, allow):
    """Whether an SPDX expression can be met from `allow`. The old `A/B` means `A OR B`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else None

    def take():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def one():
        token = take()
        if token == "(":
            value = either()
            if take() != ")":
                raise ValueError(expression)
            return value
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allow

    def both():
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def either():
        value = both()
        while peek() == "OR":
            take()
            value = both() or value
        return value

    value = either()
    if peek() is not None:
        raise ValueError(expression)
    return value


def self_test():
    """The evaluator refuses what it must."""
    allow = {"MIT", "ISC", "Apache-2.0 WITH LLVM-exception"}
    for expression, expected in [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("(GPL-2.0-only OR MIT) AND ISC", True),
        ("MIT/Unlicense", True),
        ("Apache-2.0", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT AND (ISC OR GPL-3.0-only)", True),
    ]:
        assert allowed(expression, allow) is expected, expression


def main():
    self_test()
    deny = tomllib.loads((ROOT / "deny.toml").read_text())
    allow = set(deny["licenses"]["allow"])
    banned = {entry["crate"] for entry in deny["bans"]["deny"]}
    wrong = []
    checked = 0
    for package in packages(deny["graph"]["targets"]):
        name = f"{package['name']} {package['version']}"
        checked += 1
        try:
            fine = allowed(package["license"] or "none stated", allow)
        except (ValueError, IndexError):
            fine = False
        if not fine:
            wrong.append(f"{name}: licence {package['license']!r} is not one that deny.toml allows")
        if package["name"] in banned:
            wrong.append(f"{name}: banned in deny.toml")
        source = package["source"]
        inside = ROOT in Path(package["manifest_path"]).resolve().parents
        if not (inside if source is None else source.startswith("registry+")):
            wrong.append(
                f"{name}: comes from {source or package['manifest_path']}, neither the registry "
                "nor this tree"
            )
    for name, package in bundled():
        checked += 1
        if not allowed(package.get("license", "none stated"), allow):
            wrong.append(f"{name}: licence {package.get('license')!r} is not allowed by deny.toml")
        if not package.get("integrity", "").startswith("sha512-"):
            wrong.append(f"{name}: the lock file has no SHA-512 of it")
    print(
        "\n".join(wrong)
        if wrong
        else f"{checked} packages, all under licences that deny.toml allows"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
