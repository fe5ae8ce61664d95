"""Compares the figures of `watchpost evaluate` with an implementation that shares nothing with it.

    python3 tests/independent/check.py --binary target/debug/watchpost
    python3 tests/independent/check.py --binary ... --lfw ROOT PAIRS --detection ROOT TRUTH \\
        --groups ROOT CSV

The first uses photographs made of the bundled portraits, the second your own.

Two comparisons. Exact: every figure is computed again from the similarities and boxes that the
program wrote with --scores (`figures.py`). From the pixels: photographs go through the same
networks in onnxruntime, with pillow and numpy for the rest (`pixels.py`); similarities and accuracy
must agree within the bounds below. On x86-64 processors without VNNI the int8 sums of onnxruntime
are not exact: `--figures-only` leaves the second comparison out, and says so. Exit code 1 where
anything differs."""

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures  # noqa: E402
import photographs  # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / "models"
# Differences that other decoding, shrinking, warping and int8 templates may make on photographs as
# bad as the bundled ones: on average, and in accuracy. A step of one in a pixel of the aligned face
# moves an int8 embedding by some hundredths already.
PNG_DIFFERENCE, JPEG_DIFFERENCE, ACCURACY_DIFFERENCE = 0.025, 0.035, 0.01


class Checker:
    def __init__(self, binary, folder, figures_only):
        self.binary, self.folder, self.led = binary, folder, figures.Ledger()
        self.figures_only = figures_only

    def evaluate(self, what, *arguments):
        """The program's JSON and its lines."""
        scores = self.folder / f"{what}.jsonl"
        command = [self.binary, "evaluate", what, "--json", "--scores", scores, *arguments]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout), figures.lines(scores)

    def verification(self, root, pairs, name):
        result, records = self.evaluate(
            "verification", "--root", root, "--pairs", pairs, "--threshold", "0.35"
        )
        figures.verification(result, records, self.led, name)
        return result, records

    def identification(self, root, **plan):
        arguments = [a for k, v in plan.items() for a in (f"--{k}", v)]
        result, records = self.evaluate("identification", "--root", root, *arguments)
        figures.identification(result, records, usable(root), self.led)
        return result

    def detection(self, root, truth):
        result, records = self.evaluate("detection", "--root", root, "--ground-truth", truth)
        figures.detection(result, records, figures.lines(truth), self.led)
        return result

    def groups(self, root, labels, *more):
        result, records = self.evaluate(
            "groups", "--root", root, "--groups", labels, "--threshold", "0.35", *more
        )
        rows = csv.DictReader(io.StringIO(Path(labels).read_text(encoding="utf-8-sig")))
        persons = {r.get("file") or r["File"]: r["person"] for r in rows}
        figures.groups(result, records, persons, self.led)
        return result

    def curve(self, root, *more):
        result, records = self.evaluate("curve", "--root", root, *more)
        persons = {f: p for p, files in usable(root).items() for f in files}
        figures.curve(result, records, persons, self.led)
        return result

    def from_pixels(self, root, records, settings, tell):
        """The pairs of a verification once more, from the photographs."""
        if self.figures_only:
            tell("NOT compared: similarities from the pixels (--figures-only)")
            return
        # Imports onnxruntime.
        import pixels

        chain = pixels.Chain(MODELS / "manifest.toml", settings["long_side"], settings["min_score"])
        files = sorted({r[k] for r in records for k in ("a", "b")})
        embeddings = {f: chain.embedding(Path(root) / f) for f in files}
        scored, unlike = [], 0
        for r in records:
            a, b = embeddings[r["a"]], embeddings[r["b"]]
            if (a is None or b is None) != (r["similarity"] is None):
                unlike += 1
            elif a is not None and b is not None:
                exact = r["a"].endswith(".png") and r["b"].endswith(".png")
                scored.append((r["similarity"], float(a @ b), r["genuine"], exact))
        theirs, mine, genuine, exact = (np.array(column) for column in zip(*scored, strict=True))
        difference = np.abs(theirs - mine)
        best = [figures.best_accuracy(s[genuine], s[~genuine]) / len(s) for s in (theirs, mine)]
        for kind, chosen, bound in (
            ("PNG", exact, PNG_DIFFERENCE),
            ("JPEG", ~exact, JPEG_DIFFERENCE),
        ):
            if chosen.any():
                d = difference[chosen]
                tell(
                    f"from the pixels, {kind}: similarities of {len(d)} pairs differ by "
                    f"{d.mean():.4f} (99 % below {np.quantile(d, 0.99):.3f})"
                )
                self.led.true(
                    f"pixels similarity {kind}", d.mean() <= bound, f"{d.mean()} on average"
                )
        tell(
            f"from the pixels: best accuracy {best[0]:.4f} and {best[1]:.4f}; {unlike} pairs have "
            "a face in one only"
        )
        self.led.true("pixels accuracy", abs(best[0] - best[1]) <= ACCURACY_DIFFERENCE, f"{best}")
        self.led.true(
            "pixels acquisition", unlike <= 0.02 * len(records), f"{unlike} of {len(records)}"
        )


def usable(root):
    """Person -> photographs below the root: readable, no copies of others, in the order of their
    names' bytes."""
    people, seen = {}, set()
    for person in sorted(
        (p for p in Path(root).iterdir() if p.is_dir()), key=lambda p: os.fsencode(p.name)
    ):
        files = []
        for file in sorted(person.iterdir(), key=lambda p: os.fsencode(p.name)):
            if file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            data = file.read_bytes()
            digest = hashlib.sha256(data).digest()
            if digest in seen:
                continue
            seen.add(digest)
            try:
                Image.open(io.BytesIO(data)).load()
            except Exception:
                continue
            files.append(str(file.relative_to(root)))
        if files:
            people[person.name] = files
    return people


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--lfw", nargs=2, metavar=("ROOT", "PAIRS"))
    parser.add_argument("--detection", nargs=2, metavar=("ROOT", "TRUTH"))
    parser.add_argument("--groups", nargs=2, metavar=("ROOT", "CSV"))
    parser.add_argument("--pad", default="0", help="border of the photographs of --groups")
    parser.add_argument(
        "--curve-people",
        type=int,
        default=300,
        help="people of --lfw whose pairs the curve is checked on",
    )
    parser.add_argument(
        "--figures-only",
        action="store_true",
        help="compare nothing with onnxruntime's int8 arithmetic",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        check = Checker(options.binary.resolve(), folder, options.figures_only)
        if options.lfw or options.detection or options.groups:
            own(check, options)
        else:
            bundled(check)
    total = sum(check.led.compared.values())
    for what, n in sorted(check.led.compared.items()):
        print(f"{n:7d}  {what}")
    print(f"{total:7d}  figures compared, {len(check.led.different)} differ")
    for line in check.led.different[:40]:
        print(line)
    sys.exit(bool(check.led.different))


def bundled(check):
    folder = check.folder / "photographs"
    folder.mkdir()
    photographs.everything(folder, seed=20261124)
    people = folder / "people"
    result, records = check.verification(people, folder / "pairs.txt", "verification, folds")
    check.from_pixels(people, records, result["settings"], print)
    check.verification(people, folder / "pairsDevTest.txt", "verification, no folds")
    check.identification(people, gallery=20, draws=5, seed=3, probes=3)
    check.identification(people, gallery=500, draws=2, seed=18446744073709551615)
    check.detection(folder / "scenes", folder / "truth.jsonl")
    check.groups(people, folder / "groups.csv")
    check.curve(people, "--least-pairs", "5")


def own(check, options):
    if options.lfw:
        root, pairs = options.lfw
        result, records = check.verification(root, pairs, "verification")
        print(f"accuracy {result['accuracy']['mean']:.4f}")
        check.from_pixels(root, records, result["settings"], print)
        check.identification(root, gallery=200, draws=3, seed=1)
        part = check.folder / "part"
        part.mkdir()
        for person in sorted(Path(root).iterdir())[: options.curve_people]:
            (part / person.name).symlink_to(person.resolve())
        check.curve(part)
    if options.detection:
        result = check.detection(*options.detection)
        print("AP " + ", ".join(f"{s['set']} {s['average_precision']:.4f}" for s in result["sets"]))
    if options.groups:
        check.groups(*options.groups, "--pad", options.pad)


if __name__ == "__main__":
    main()
