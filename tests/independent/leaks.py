#!/usr/bin/env python3
"""Makes the daemon keep or log one kind of a passer-by's traces after the other, and sees that a
test fails for each and names it.

    tests/independent/leaks.py                 # every kind
    tests/independent/leaks.py box embedding   # some

The product has no switch for this: a text is replaced in a copy of its sources, and put back. The
copy and what is built of it are below `target/leaks`, or where `--folder` says. The first build
there takes as long as any first one; then each kind takes a build of this crate and a test.

First the tests run on the copy as it is, and must pass. Ends with 1 where they do not, where a
text is not there any more, or where a leak goes unnoticed. Reading the daemon's memory takes root.
Standard library only."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMORY = ("residue", "nothing_of_a_passer_by_is_left_in_memory_a_few_frames_later")
SILENT = ("residue", "nothing_of_a_passer_by_is_left_in_memory_once_the_camera_is_silent")
WRITTEN = (
    "residue",
    "nothing_of_strangers_is_written_logged_sent_counted_or_kept_whatever_is_logged",
)
STACK = ("pipeline", "what_looking_at_a_face_leaves_on_the_stack_is_wiped")

# What the test waits for in vain.
NO_END = "and its embedding with it"


def before(file, text, line):
    """A change: a line before a text."""
    return file, text, f"{line}\n{text}"


def at_view(line):
    """A line where a view of a passer-by is handed on."""
    return before("src/vision/analyze.rs", "            let company = InCompany {", line)


def keep(value):
    """A line that has the daemon keep a value for good. The compiler leaves out what nobody reads,
    and would leave out the leak."""
    return f"std::mem::forget(std::hint::black_box(Box::new({value})));"


ROW = """for row in 0..40 {
    let row = frame.height() / 2 + row;
    if let crate::frame::SampleLine::Ycc444(row) = frame.line(row, 0..frame.width() & !1) {
        std::mem::forget(std::hint::black_box(row.to_vec()));
    }
}"""
CROP = """{
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 85)
        .encode(view.face.rgb(), 112, 112, image::ExtendedColorType::Rgb8)
        .expect("a picture");
    file
}"""
SIDES = "[view.rect.x, view.rect.y, view.rect.width, view.rect.height]"
PIPELINE = "src/device/pipeline.rs"

# By name: what is changed, the test, and what it must say.
LEAKS = {
    "jpeg": (
        before(
            "src/daemon/vision_thread.rs",
            "                frame.bytes.clear();",
            keep("frame.bytes.clone()"),
        ),
        MEMORY,
        '"jpeg"',
    ),
    "row": (before(PIPELINE, "        let decode = stopwatch", ROW), MEMORY, '"decoded row"'),
    "aligned": (at_view(keep("view.face.clone()")), MEMORY, '"aligned face"'),
    "crop": (at_view(keep(CROP)), MEMORY, '"crop"'),
    "embedding": (at_view(keep("view.probe.clone()")), MEMORY, NO_END),
    "unnormalised": (
        at_view(keep("view.probe.values().iter().map(|v| v * 17.0).collect::<Vec<f32>>()")),
        MEMORY,
        NO_END,
    ),
    "template": (
        before(PIPELINE, "                    outlet.count(track, &probe);", keep("probe.clone()")),
        MEMORY,
        '"int8 embedding"',
    ),
    "box": (at_view(keep("view.rect")), MEMORY, '"box"'),
    "whole-box": (at_view(keep(f"{SIDES}.map(|v| v as i32)")), SILENT, '"box in whole numbers"'),
    "landmarks": (at_view(keep("view.landmarks")), SILENT, '"landmarks"'),
    # Without what wipes a track's place, and the stack.
    "track": (("src/locked/list.rs", "    list[last].zeroize();\n", ""), MEMORY, '"box"'),
    "stack": (
        (PIPELINE, "        self.decoder.wipe();\n        wipe_stack();", "self.decoder.wipe();"),
        STACK,
        '"landmarks"',
    ),
    "log": (
        at_view(f'log::trace!("A view: box={{:?}}.", {SIDES});'),
        WRITTEN,
        '"box in decimals"',
    ),
    "log-embedding": (
        at_view('log::trace!("A view: {:?}.", view.probe.values());'),
        WRITTEN,
        '"embedding in decimals"',
    ),
}


class Copy:
    """A copy of the sources, and what is built of it."""

    def __init__(self, folder):
        self.tree, self.target = folder / "tree", folder / "target"
        self.tree.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.split("\0")
        for name in filter(None, listed):
            source, copy = ROOT / name, self.tree / name
            if source.is_file() and not self._same(source, copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy)

    @staticmethod
    def _same(source, copy):
        return copy.is_file() and source.read_bytes() == copy.read_bytes()

    def test(self, file, name):
        """Runs one test; whether it passed, and what was said."""
        run = subprocess.run(
            ["cargo", "test", "--locked", "--test", file, "--", "--exact", name],
            cwd=self.tree,
            env={**os.environ, "CARGO_TARGET_DIR": str(self.target), "CI": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        ran = f"test {name} ... "
        if ran not in run.stdout:
            sys.exit(f"{name} did not run: {run.stdout[-3000:]}")
        return run.returncode == 0, run.stdout

    def leak(self, change, test, expected):
        """Makes a change, runs a test, takes the change back; what is wrong, or nothing."""
        file, text, other = change
        path = self.tree / file
        sources = path.read_text()
        if sources.count(text) != 1:
            return f"{file} has {text.strip()!r} {sources.count(text)} times, not once"
        try:
            path.write_text(sources.replace(text, other))
            passed, said = self.test(*test)
        finally:
            path.write_text(sources)
        if passed:
            return f"{test[1]} did not notice"
        return None if expected in said else f"{test[1]} does not name it: {said[-3000:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="kind", help=", ".join(LEAKS))
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "target/leaks")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(LEAKS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    chosen = {name: leak for name, leak in LEAKS.items() if name in (given.kinds or LEAKS)}
    copy = Copy(given.folder.resolve())
    for test in sorted({test for _, test, _ in chosen.values()}):
        passed, said = copy.test(*test)
        if not passed:
            sys.exit(f"without any leak {test[1]} fails: {said[-3000:]}")
        print(f"passes without a leak: {test[1]}", flush=True)
    unnoticed = 0
    for name, leak in chosen.items():
        wrong = copy.leak(*leak)
        unnoticed += wrong is not None
        print(f"{name}: {wrong or 'noticed, and named'}", flush=True)
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()
