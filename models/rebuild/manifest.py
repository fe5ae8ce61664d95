"""Keeps the digests in SHA256SUMS and, where they stand, in manifest.toml; writes the float32
networks' manifest."""

import re

SUMS = "SHA256SUMS"


def note(path, digest):
    """Writes the digest of a rebuilt file into SHA256SUMS beside it, and into manifest.toml if that
    names the file."""
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
    """Replaces the 64 hexadecimal digits in the TOML table that names the file; other text stays as
    it is."""
    tables = re.split(r"(?m)^(?=\[)", text)
    for i, table in enumerate(tables):
        if f'"{name}"' in table:
            tables[i] = re.sub(
                r'(?m)^(\s*sha256\s*=\s*")(?:sha256:)?[0-9a-f]{64}(")',
                rf"\g<1>{digest}\g<2>",
                table,
            )
    return "".join(tables)


FLOAT_HEAD = """\
# The float32 networks that the quantized ones are made of: for measuring what quantization costs,
# with the same program on the same photographs. Threshold tables below are those of the quantized
# embedder; never run a device with this file.
"""


def for_float(text, networks):
    """The manifest of the float32 networks, from that of the int8 ones: only name, file, digest and
    normalization differ.

    `networks`: (int8 file name, float32 file name, digest, mean, scale)."""
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    tables = re.split(r"(?m)^(?=\[)", "".join(lines[start:]))
    for int8, name, digest, mean, scale in networks:
        at = [i for i, table in enumerate(tables) if f'file = "{int8}"' in table]
        if len(at) != 1:
            raise ValueError(f"manifest.toml has {len(at)} tables with the file {int8}")
        table = (
            replace_digest(tables[at[0]], int8, digest)
            .replace(f'"{int8}"', f'"{name}"')
            .replace(" int8", " float32", 1)
        )
        table = re.sub(r"(, equalised)?( and|,) quantized", "", table)
        table = re.sub(r"(?m)^mean = .*$", f"mean = [{', '.join([repr(float(mean))] * 3)}]", table)
        tables[at[0]] = re.sub(
            r"(?m)^scale = .*$", f"scale = [{', '.join([repr(float(scale))] * 3)}]", table
        )
    return FLOAT_HEAD + "\n" + "".join(tables)
