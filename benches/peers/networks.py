"""Times the two networks in watchpost's engine and in its peers: same files, same input, same run,
one core, in turns.

    python3 -m venv VENV && VENV/bin/pip install -r benches/peers/requirements.txt cargo build
    --release --bench engine VENV/bin/python benches/peers/networks.py --engine
    target/release/deps/engine-HASH --float DIR [--image PHOTO] [--rounds N]

`--float DIR` is where `models/rebuild --float DIR` wrote the networks in floating point. Each round
runs every engine a few times, so that whatever else the machine does meets all of them alike; the
figures are medians of processor time (every engine has one thread). FaceDetectorYN also decodes and
suppresses, which the others are not timed for; tract runs once a round, as it is slow. The outputs
of the quantized files are compared with onnxruntime's, so that nobody is fast by being wrong."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

# Before any library starts its threads.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import cv2
import ncnn
import numpy as np
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).resolve().parents[2]
A_ROUND = 3


def processor_time():
    """Of this process, all threads."""
    return time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)


class Onnxruntime:
    def __init__(self, path, _folder):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name

    def run(self, blob):
        return self.session.run(None, {self.name: blob})


class OpenVino:
    def __init__(self, path, _folder, precision):
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        settings["INFERENCE_PRECISION_HINT"] = precision
        self.request = core.compile_model(str(path), "CPU", settings).create_infer_request()

    def run(self, blob):
        self.request.infer([blob], share_inputs=True)


class Ncnn:
    def __init__(self, path, folder, shape):
        copy = pathlib.Path(folder) / path.name
        if not copy.exists():
            copy.write_bytes(path.read_bytes())
        stem = copy.with_suffix("").name.replace(".", "_")
        param, weights = copy.parent / f"{stem}.ncnn.param", copy.parent / f"{stem}.ncnn.bin"
        if not param.exists():
            size = "[" + ",".join(str(s) for s in shape) + "]"
            subprocess.run(
                ["pnnx", str(copy), f"inputshape={size}"],
                check=True,
                cwd=copy.parent,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.net = ncnn.Net()
        self.net.opt.num_threads = 1
        if self.net.load_param(str(param)) or self.net.load_model(str(weights)):
            raise RuntimeError("ncnn does not load it")
        self.inputs, self.outputs = self.net.input_names(), self.net.output_names()

    def run(self, blob):
        extractor = self.net.create_extractor()
        extractor.input(self.inputs[0], ncnn.Mat(blob[0]))
        return [extractor.extract(name)[1] for name in self.outputs]


class OpenCv:
    def __init__(self, path, _folder):
        cv2.setNumThreads(1)
        self.net = cv2.dnn.readNet(str(path))
        self.names = self.net.getUnconnectedOutLayersNames()

    def run(self, blob):
        self.net.setInput(blob)
        return self.net.forward(self.names)


class FaceDetectorYn:
    """Takes the photograph itself, and decodes as well."""

    def __init__(self, path, _folder, shape):
        cv2.setNumThreads(1)
        self.detector = cv2.FaceDetectorYN.create(
            str(path), "", (shape[3], shape[2]), 0.6, 0.45, 5000
        )

    def run(self, image):
        return self.detector.detect(image)


class Engine:
    """One of the engines of `benches/engine.rs`, which runs `each` times for each line that it is
    sent."""

    def __init__(self, engine, model, shape, normalization, image, folder, each=A_ROUND, only=None):
        raw = pathlib.Path(folder) / f"{model.stem}.raw"
        raw.write_bytes(image.tobytes())
        self.outputs = pathlib.Path(folder) / f"{model.stem}.out"
        environment = {**os.environ, "SERVE": str(each)} | ({"ENGINES": only} if only else {})
        arguments = [
            engine,
            str(model),
            str(shape[2]),
            str(shape[3]),
            normalization,
            str(raw),
            str(self.outputs),
        ]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.micros = {}

    def round(self):
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        for name, micros in json.loads(self.process.stdout.readline()).items():
            self.micros.setdefault(name, []).extend(micros)

    def end(self):
        self.process.stdin.close()
        if self.process.wait():
            sys.exit("the engine's benchmark failed")


def compare(watchpost, reference):
    """The smallest cosine between an output of the plan and onnxruntime's on the same quantized
    file."""
    file = next(iter(watchpost.outputs.parent.glob(f"{watchpost.outputs.name}.plan-*.f32")), None)
    if file is None:
        return None
    theirs = [np.asarray(output, np.float64).ravel() for output in reference]
    ours = np.split(
        np.fromfile(file, np.float32).astype(np.float64), np.cumsum([t.size for t in theirs])[:-1]
    )
    return min(
        float(o @ t / (np.linalg.norm(o) * np.linalg.norm(t)))
        for o, t in zip(ours, theirs, strict=True)
    )


def measure(title, int8, float32, shape, image, mean, scale, arguments, folder):
    planes = image.astype(np.float32).transpose(2, 0, 1)[None]
    raw = np.ascontiguousarray(planes - 128.0)  # what the quantized files take
    blob = np.ascontiguousarray((planes - mean) * scale)  # what the floating-point files take
    wanted = {
        "onnxruntime fp32": lambda: (Onnxruntime(float32, folder), blob),
        "onnxruntime int8": lambda: (Onnxruntime(int8, folder), raw),
        "OpenVINO fp32": lambda: (OpenVino(float32, folder, "f32"), blob),
        "OpenVINO bf16": lambda: (OpenVino(float32, folder, "bf16"), blob),
        "OpenVINO int8": lambda: (OpenVino(int8, folder, "f32"), raw),
        "ncnn fp32": lambda: (Ncnn(float32, folder, shape), blob),
        "OpenCV DNN fp32": lambda: (OpenCv(float32, folder), blob),
        "OpenCV DNN int8": lambda: (OpenCv(int8, folder), raw),
    }
    if shape[2] > 112:
        wanted["OpenCV FaceDetectorYN"] = lambda: (FaceDetectorYn(float32, folder, shape), image)
    peers, absent = {}, {}
    for name, make in wanted.items():
        try:
            peer, data = make()
            peer.run(data)
            peers[name] = (peer, data, [])
        except Exception as error:  # a peer that cannot do it is named, not hidden
            absent[name] = str(error).strip().splitlines()[0][:120]
    # First the fastest kernels of this processor; then plain tract on either file.
    engines = {"watchpost": Engine(arguments.engine, int8, shape, "shifted", image, folder)}
    for file, normalization, kind in (
        (float32, "none" if scale == 1.0 else "symmetric", "fp32"),
        (int8, "shifted", "int8"),
    ):
        engines[f"plain {kind}"] = Engine(
            arguments.engine, file, shape, normalization, image, folder, 1, "tract"
        )
    ours = engines["watchpost"]
    for n in range(arguments.rounds + 3):
        for peer, data, micros in peers.values():
            for _ in range(A_ROUND):
                start = processor_time()
                peer.run(data)
                if n >= 3:
                    micros.append((processor_time() - start) * 1e6)
        for engine in engines.values():
            engine.round()
    for engine in engines.values():
        engine.end()
    rows = {name: float(np.median(micros)) for name, (_, _, micros) in peers.items()}
    for who, engine in engines.items():
        warm = 3 * (A_ROUND if engine is ours else 1)
        rows |= {
            f"{who} {name}": float(np.median(micros[warm:]))
            for name, micros in engine.micros.items()
        }
    plan = min(micros for name, micros in rows.items() if name.startswith("watchpost plan"))
    cosine = (
        compare(ours, peers["onnxruntime int8"][0].run(raw))
        if "onnxruntime int8" in peers
        else None
    )
    return {
        "network": title,
        "ms": {n: m / 1e3 for n, m in rows.items()},
        "ratio": {n: m / plan for n, m in rows.items()},
        "absent": absent,
        "smallest_cosine": cosine,
    }


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
    parser.add_argument("--image", help="photograph; a bundled one where absent")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    picture = arguments.image or next(iter(sorted((ROOT / "src/demo/portraits").glob("*.jpg"))))
    photograph = cv2.imread(str(picture))
    if photograph is None:
        sys.exit(f"{picture} is no readable photograph")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for title, stem, shape, mean, scale in (
            ("detector 640x480", "yunet_s", (1, 3, 480, 640), 0.0, 1.0),
            ("embedder 112x112", "fr_feature", (1, 3, 112, 112), 127.5, 1 / 128),
        ):
            image = cv2.resize(photograph, (shape[3], shape[2]), interpolation=cv2.INTER_AREA)
            results.append(
                measure(
                    title,
                    ROOT / f"models/{stem}_int8.onnx",
                    arguments.float / f"{stem}_fp32.onnx",
                    shape,
                    image,
                    mean,
                    scale,
                    arguments,
                    folder,
                )
            )
    if arguments.json:
        print(json.dumps(results))
        return
    for result in results:
        print(
            f"\n{result['network']}: medians of {arguments.rounds * A_ROUND} runs, processor time, "
            "one core"
        )
        for name, ms in sorted(result["ms"].items(), key=lambda row: row[1]):
            print(f"  {name:24} {ms:8.3f} ms  {result['ratio'][name]:6.2f} times the plan")
        for name, why in result["absent"].items():
            print(f"  {name:24} cannot: {why}")
        if result["smallest_cosine"] is not None:
            print(
                f"  outputs and onnxruntime's int8: cosine at least {result['smallest_cosine']:.5f}"
            )


if __name__ == "__main__":
    main()
