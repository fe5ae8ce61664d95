"""Keeps the digests in SHA256SUMS and, where they stand, in manifest.toml."""

import re

SUMS = "SHA256SUMS"


def note(path, digest):
    """Writes the digest of a rebuilt file into SHA256SUMS beside it, and into manifest.toml if that names the file."""
    sums = path.parent / SUMS
    lines = sums.read_text().splitlines() if sums.exists() else []
    kept = [line for line in lines if line and line.split("  ", 1)[1] != path.name]
    ordered = sorted([*kept, f"{digest}  {path.name}"], key=lambda line: line.split("  ", 1)[1])
    sums.write_text("\n".join(ordered) + "\n")
    manifest = path.parent / "manifest.toml"
    if manifest.exists():
        text = manifest.read_text()
        changed = replace_digest(text, path.name, digest)
        if changed != text:
            manifest.write_text(changed)


def replace_digest(text, name, digest):
    """Replaces the 64 hexadecimal digits in the TOML table that names the file; other text stays as it is."""
    tables = re.split(r"(?m)^(?=\[)", text)
    for i, table in enumerate(tables):
        if f'"{name}"' in table:
            tables[i] = re.sub(r'(?m)^(\s*sha256\s*=\s*")(?:sha256:)?[0-9a-f]{64}(")', rf"\g<1>{digest}\g<2>", table)
    return "".join(tables)
