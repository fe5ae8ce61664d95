"""Times the whole chain (JPEG, detection, alignment, embedding of every face, search) in watchpost
and in Python, in turns on one core.

    python3 -m venv VENV && VENV/bin/pip install -r benches/peers/requirements.txt cargo build
    --release VENV/bin/python benches/peers/pipeline.py --watchpost target/release/watchpost --float
    DIR [--rounds N]

The peer is what one would write: OpenCV decodes and warps, onnxruntime runs the networks, NumPy
reads their outputs and searches, OpenCV suppresses overlapping boxes. It runs once with the
networks in floating point (`--float DIR`: where `models/rebuild --float DIR` wrote them) and once
with the quantized ones; the faster one counts. The pictures, 640x480, hold 1, 5 and 100 faces,
composed from the bundled portraits. Neither side looks at a face a second time, as the daemon does.
Figures are medians of processor time; both sides say how many faces they found."""

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
import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 640, 480
CROWDS = (1, 5, 100)
MIN_SCORE, OVERLAP = 0.6, 0.3  # as in the daemon
TEMPLATE = np.float32(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
TEMPLATES, DIMENSIONS = 1000, 512
A_ROUND = 5


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Chain:
    def __init__(self, detector, embedder, normalization):
        self.detector, self.embedder = session(detector), session(embedder)
        self.normalization = normalization  # (mean, scale) of detector and embedder
        self.inputs = [s.get_inputs()[0].name for s in (self.detector, self.embedder)]
        self.outputs = [
            f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("cls", "obj", "bbox", "kps")
        ]
        gallery = np.random.default_rng(1).standard_normal((TEMPLATES, DIMENSIONS), np.float32)
        self.gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        self.cells = {}
        for stride in (8, 16, 32):
            y, x = np.mgrid[: HEIGHT // stride, : WIDTH // stride]
            self.cells[stride] = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)

    def blob(self, image, which):
        mean, scale = self.normalization[which]
        return cv2.dnn.blobFromImage(image, scale, mean=(mean, mean, mean))

    def detect(self, image):
        values = self.detector.run(self.outputs, {self.inputs[0]: self.blob(image, 0)})
        scores, boxes, points = [], [], []
        for level, stride in enumerate((8, 16, 32)):
            classes, objects, box, point = (
                v.reshape(-1, v.shape[-1]) for v in values[4 * level : 4 * level + 4]
            )
            score = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
            good = np.flatnonzero(score >= MIN_SCORE)
            cell, box, point = self.cells[stride][good], box[good], point[good]
            size = np.exp(box[:, 2:]) * stride
            scores.append(score[good])
            boxes.append(np.hstack([(cell + box[:, :2]) * stride - size / 2, size]))
            points.append((cell[:, None] + point.reshape(-1, 5, 2)) * stride)
        scores, boxes, points = map(np.concatenate, (scores, boxes, points))
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), MIN_SCORE, OVERLAP)
        return points[np.asarray(kept, int).ravel()]

    def align(self, image, points):
        """The similarity that is best in the least squares sense (Umeyama), then the warp."""
        a, b = points - points.mean(0), TEMPLATE - TEMPLATE.mean(0)
        norm = (a * a).sum()
        cos, sin = (a * b).sum() / norm, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
        turn = np.array([[cos, -sin], [sin, cos]])
        matrix = np.hstack([turn, (TEMPLATE.mean(0) - turn @ points.mean(0))[:, None]])
        return cv2.warpAffine(image, matrix, (112, 112), flags=cv2.INTER_LINEAR)

    def embed(self, face):
        embedding = self.embedder.run(None, {self.inputs[1]: self.blob(face, 1)})[0].ravel()
        return embedding / np.linalg.norm(embedding)

    def run(self, jpeg):
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        faces = self.detect(image)
        if len(faces):
            probes = np.stack([self.embed(self.align(image, points)) for points in faces])
            scores = probes @ self.gallery.T
            np.argpartition(scores, -4, axis=1)[:, -4:]
        return len(faces)


def picture(faces):
    """A JPEG file's bytes with so many bundled portraits side by side."""
    portraits = [cv2.imread(str(p)) for p in sorted((ROOT / "src/demo/portraits").glob("*.jpg"))]
    columns = max(int(np.ceil(np.sqrt(faces * WIDTH / HEIGHT))), 1)
    rows = -(-faces // columns)
    canvas = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    for i in range(faces):
        left, right = (WIDTH * (i % columns + n) // columns for n in (0, 1))
        top, bottom = (HEIGHT * (i // columns + n) // rows for n in (0, 1))
        portrait = portraits[i % len(portraits)]
        scale = min((right - left) / portrait.shape[1], (bottom - top) / portrait.shape[0])
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[
            : bottom - top, : right - left
        ]
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    # 4:2:2, as cameras compress.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        90,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    ]
    return cv2.imencode(".jpg", canvas, options)[1]


def watchpost(program, file):
    command = [
        program,
        "bench",
        "pipeline",
        "--json",
        "--runs",
        str(A_ROUND * 2),
        "--photographs",
        str(file),
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    frame = next(stage for stage in report["stages"] if stage["name"] == "frame")
    return frame["median_ms"], report["faces_a_frame"], report["engines"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--watchpost", required=True, help="the built program")
    parser.add_argument(
        "--float", required=True, type=pathlib.Path, help="folder with the floating-point networks"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    cv2.setNumThreads(1)
    peers = {
        "python, float32": Chain(
            arguments.float / "yunet_s_fp32.onnx",
            arguments.float / "fr_feature_fp32.onnx",
            ((0.0, 1.0), (127.5, 1 / 128)),
        ),
        "python, int8": Chain(
            ROOT / "models/yunet_s_int8.onnx",
            ROOT / "models/fr_feature_int8.onnx",
            ((128.0, 1.0), (128.0, 1.0)),
        ),
    }
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for crowd in CROWDS:
            jpeg = picture(crowd)
            file = pathlib.Path(folder) / f"{crowd}.jpg"
            file.write_bytes(jpeg.tobytes())
            times = {name: [] for name in (*peers, "watchpost")}
            found = {name: chain.run(jpeg) for name, chain in peers.items()}
            for _ in range(arguments.rounds):
                for name, chain in peers.items():
                    for _ in range(A_ROUND):
                        start = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
                        chain.run(jpeg)
                        times[name].append(
                            (time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3
                        )
                ms, found["watchpost"], engines = watchpost(arguments.watchpost, file)
                times["watchpost"].append(ms)
            ms = {name: float(np.median(t)) for name, t in times.items()}
            results.append(
                {
                    "faces": crowd,
                    "found": found,
                    "ms": ms,
                    "engines": engines,
                    "ratio": min(t for name, t in ms.items() if name != "watchpost")
                    / ms["watchpost"],
                }
            )
    if arguments.json:
        print(json.dumps(results))
        return
    for result in results:
        print(
            f"\n{result['faces']} faces: medians a frame, processor time, one core; "
            f"{', '.join(result['engines'])}"
        )
        for name, ms in sorted(result["ms"].items(), key=lambda row: row[1]):
            print(
                f"  {name:16} {ms:9.3f} ms  {1e3 / ms:8.1f} frames a second  "
                f"{result['found'][name]:5.0f} faces found"
            )
        print(f"  watchpost is {result['ratio']:.2f} times as fast as the faster of the others")


if __name__ == "__main__":
    sys.exit(main())
