"""Times the two networks in watchpost's engine and in its peers: same files, same input, same run,
one core, in turns.

    python3 -m venv VENV
    VENV/bin/pip install -r benches/peers/requirements.txt
    cargo bench --no-run --no-default-features --features any-network --bench engine
    VENV/bin/python benches/peers/networks.py --engine target/release/deps/engine-HASH \\
        --float DIR [--avx2] [--image PHOTO] [--rounds N] [--keep FOLDER] [--only NAME,NAME]

* `--float DIR` is where `models/rebuild --float DIR` wrote the networks in floating point.
* Every peer is a process of its own (`peer.py`), in its best setting for one thread. Each round
  runs every one of them a few times, so that whatever else the machine does meets all of them
  alike; the figures are medians of processor time.
* A peer that cannot run a network is named in the table, with the reason.
* `--avx2` hides wider registers and dot products from every peer (`avx2.py`), so that any machine
  prints the table of a processor that has AVX2 and no more.
* Every peer's outputs are compared with onnxruntime's of the floating-point file, ours with those
  of the quantized file as well, so that nobody is fast by being wrong.
* FaceDetectorYN also decodes and suppresses, which the others are not timed for. tract runs once a
  round, as it is slow."""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import avx2
import cv2
import numpy as np
import onnx
import peer as peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
A_ROUND = 3
WARM_UP = 3
# Each with the file that it runs: the quantized one of the repository, or the one in floating
# point, which it may quantize by itself.
WANTED = (
    ("onnxruntime", "fp32", "float"),
    ("onnxruntime", "int8", "int8"),
    ("OpenVINO", "fp32", "float"),
    ("OpenVINO", "bf16", "float"),
    ("OpenVINO", "int8", "int8"),
    ("LiteRT", "fp32", "float"),
    ("LiteRT", "int8", "int8"),
    ("ExecuTorch", "fp32", "float"),
    ("ExecuTorch", "int8", "float"),
    ("MNN", "fp32", "float"),
    ("MNN", "bf16", "float"),
    ("MNN", "int8", "float"),
    ("ncnn", "fp32", "float"),
    ("ncnn", "bf16", "float"),
    ("OpenCV DNN", "fp32", "float"),
    ("OpenCV DNN", "int8", "int8"),
    ("OpenCV FaceDetectorYN", "fp32", "float"),
)
OURS = ("avx2", "avxvnni", "avx512vnni", "neon", "neon-dot")


class Cannot(Exception):
    """Why a peer is not in the table."""


class Child:
    """A process that runs its network so many times for each line that it is sent."""

    def __init__(self, command, environment, outputs, errors):
        self.outputs, self.errors, self.micros = outputs, errors, []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.open("w"),
            text=True,
            env={**os.environ, **environment},
        )

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            why = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            said = self.errors.read_text(errors="replace").strip().splitlines()
            raise Cannot(f"{why} {said[-1][:120] if said else ''}".strip())
        return json.loads(line)

    def round(self):
        # One that has ended says why where its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        answer = self.answer()
        # The engine names what it ran.
        self.micros += answer if isinstance(answer, list) else next(iter(answer.values()))

    def end(self):
        """The outputs, one after the other."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.wait():
            raise Cannot(f"exit code {self.process.returncode} at the end")
        file = next(iter(sorted(self.outputs.parent.glob(f"{self.outputs.name}*"))), None)
        return None if file is None else np.fromfile(file, np.float32).astype(np.float64)


class Network:
    """One of the two networks: its files, and the picture that it is given."""

    def __init__(self, title, stem, shape, mean, scale, photograph, arguments, folder):
        self.title, self.stem, self.shape = title, stem, shape
        self.mean, self.scale = mean, scale
        self.arguments, self.folder = arguments, folder
        self.int8 = ROOT / f"models/{stem}_int8.onnx"
        self.float32 = arguments.float / f"{stem}_fp32.onnx"
        size = (shape[3], shape[2])
        image = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)
        self.raw = folder / f"{stem}.raw"
        self.raw.write_bytes(image.tobytes())
        self.names = [output.name for output in onnx.load(str(self.int8)).graph.output]

    def peer(self, name, precision, file):
        """Starts a peer, which converts the file first."""
        quantized = file == "int8"
        outputs = self.folder / f"{self.stem}-{name}-{precision}.out".replace(" ", "-")
        fields = {
            "peer": name,
            "precision": precision,
            "file": str(self.int8 if quantized else self.float32),
            "folder": str(self.folder),
            "shape": self.shape,
            "mean": 128.0 if quantized else self.mean,
            "scale": 1.0 if quantized else self.scale,
            "image": str(self.raw),
            "names": self.names,
            "values": sum(sizes_of(self)),
            "outputs": str(outputs),
            "each": A_ROUND,
        }
        environment = {}
        if self.arguments.avx2:
            environment = avx2.environment(name, self.arguments.keep)
        child = Child(
            [sys.executable, str(pathlib.Path(peers.__file__)), json.dumps(fields)],
            environment,
            outputs,
            outputs.with_suffix(".err"),
        )
        if why := child.answer().get("cannot"):
            raise Cannot(why)
        return child

    def engine(self, only, file, each=A_ROUND):
        """Starts one of the engines of `benches/engine.rs`."""
        outputs = self.folder / f"{self.stem}-{only}-{file}.plan"
        normalization = "shifted"
        if file == "float":
            normalization = "none" if self.scale == 1.0 else "symmetric"
        program, environment = self.arguments.engine, {"ENGINES": only, "SERVE": str(each)}
        if only == "tract" and self.arguments.avx2:
            program, hidden = avx2.program(pathlib.Path(program), self.arguments.keep)
            environment |= hidden
        arguments = [self.int8 if file == "int8" else self.float32, *self.shape[2:], normalization]
        arguments += [self.raw, outputs]
        return Child(
            [str(program), *map(str, arguments)],
            environment,
            outputs,
            outputs.with_suffix(".err"),
        )

    def starts(self):
        """Name in the table -> how it is started, ours first."""
        starts = {}
        for kernels in OURS:
            starts[f"watchpost {kernels}"] = lambda k=kernels: self.engine(k, "int8")
        for name, precision, file in WANTED:
            if name == "OpenCV FaceDetectorYN":
                if self.shape[2] > 112:
                    starts[name] = lambda n=name, p=precision, f=file: self.peer(n, p, f)
                continue
            starts[f"{name} {precision}"] = lambda n=name, p=precision, f=file: self.peer(n, p, f)
        starts["tract fp32"] = lambda: self.engine("tract", "float", 1)
        starts["tract int8"] = lambda: self.engine("tract", "int8", 1)
        return starts


def cosine(mine, theirs, sizes):
    """The smallest one between outputs of the same place."""
    if mine is None or theirs is None or mine.size != theirs.size:
        return None
    ends = np.cumsum(sizes)[:-1]
    return min(
        float(m @ t / (np.linalg.norm(m) * np.linalg.norm(t) or 1.0))
        for m, t in zip(np.split(mine, ends), np.split(theirs, ends), strict=True)
    )


def sizes_of(network):
    """How many values each output has, by the shapes of the network."""
    if network.shape[2] == 112:
        return [512]
    cells = [network.shape[2] * network.shape[3] // stride**2 for stride in (8, 16, 32)]
    return [c * of for of in (1, 1, 4, 10) for c in cells]


def measure(network):
    arguments, running, absent = network.arguments, {}, {}
    chosen = arguments.only.split(",") if arguments.only else None
    for name, start in network.starts().items():
        if chosen and not any(name.startswith(c) for c in chosen):
            continue
        try:
            child = start()
            child.round()
            running[name] = child
        except Cannot as why:
            # Instruction sets of another machine need no line.
            if not name.startswith("watchpost"):
                absent[name] = str(why)
    for n in range(arguments.rounds + WARM_UP):
        for name, child in list(running.items()):
            try:
                child.round()
            except Cannot as why:
                absent[name] = str(why)
                del running[name]
                continue
            if n == WARM_UP - 1:
                child.micros.clear()
    ms, outputs = {}, {}
    for name, child in running.items():
        try:
            outputs[name] = child.end()
        except Cannot as why:
            absent[name] = str(why)
            continue
        ms[name] = float(np.median(child.micros)) / 1e3
    sizes = sizes_of(network)
    near = {
        kind: {n: cosine(o, outputs.get(f"onnxruntime {kind}"), sizes) for n, o in outputs.items()}
        for kind in ("fp32", "int8")
    }
    return {"network": network.title, "ms": ms, "absent": absent, "cosine": near}


def show(result, arguments):
    where = "AVX2, wider registers hidden" if arguments.avx2 else "this machine's best"
    print(
        f"\n{result['network']}, {where}: medians of {arguments.rounds * A_ROUND} runs, processor "
        "time, one core"
    )
    ours = {name: ms for name, ms in result["ms"].items() if name.startswith("watchpost")}
    if arguments.avx2:  # the others are no AVX2
        ours = {name: ms for name, ms in ours.items() if name == "watchpost avx2"} or ours
    plan = min(ours.values(), default=None)
    print("                            ms   times ours   cosine with onnxruntime's fp32, int8")
    for name, ms in sorted(result["ms"].items(), key=lambda row: row[1]):
        near = [result["cosine"][kind].get(name) for kind in ("fp32", "int8")]
        said = "  ".join("  -    " if n is None else f"{n:.5f}" for n in near)
        times = f"{ms / plan:8.2f}" if plan else " " * 8
        print(f"  {name:22} {ms:8.3f}   {times}     {said}")
    for name, why in result["absent"].items():
        print(f"  {name:22} cannot: {why}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--engine", required=True, help="the built benchmark, target/release/deps/engine-HASH"
    )
    parser.add_argument(
        "--float", required=True, type=pathlib.Path, help="folder with the floating-point networks"
    )
    parser.add_argument("--avx2", action="store_true", help="hold every peer to AVX2")
    parser.add_argument("--image", help="photograph; a bundled one where absent")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="beginnings of names in the table, with commas")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for what --avx2 copies")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    picture = arguments.image or next(iter(sorted((ROOT / "src/demo/portraits").glob("*.jpg"))))
    photograph = cv2.imread(str(picture))
    if photograph is None:
        sys.exit(f"{picture} is no readable photograph")
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        arguments.keep = arguments.keep or folder
        for title, stem, shape, mean, scale in (
            ("detector 640x480", "yunet_s", (1, 3, 480, 640), 0.0, 1.0),
            ("embedder 112x112", "fr_feature", (1, 3, 112, 112), 127.5, 1 / 128),
        ):
            network = Network(title, stem, shape, mean, scale, photograph, arguments, folder)
            results.append(measure(network))
            if not arguments.json:
                show(results[-1], arguments)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
