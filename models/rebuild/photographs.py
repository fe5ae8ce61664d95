"""Calibration images: photographs out of packages, and the variations made of them.

None of these people or pictures is in an evaluation set (LFW, WIDER FACE, UTKFace). They are read
from the packages at rebuild time and never stored in this repository. Few faces, many variations:
calibration needs the range and the covariance of activations, not identities. All randomness comes
from one fixed seed, all resampling is Pillow's fixed-point 8-bit or float64 arithmetic, so that the
pixels are the same on every machine."""

import io

import numpy as np
from PIL import Image, ImageFilter

from . import fetch
from .detect import detect

SEED = 20240927
SIDE = 112
# Where ArcFace-like embedders want eyes, nose and mouth corners in their 112 x 112 input.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
SCALES = (480, 720, 1080)
# Below it lie false detections in the photographs used; every face found above it was looked at.
SCORE = 0.75

PEOPLE = (
    *(("face-api", f"package/demo/sample{i}.jpg") for i in range(1, 7)),
    *(
        ("face-recognition", f"face_recognition-1.3.0/tests/test_images/{name}.jpg")
        for name in ("obama", "obama2", "obama3", "biden")
    ),
    ("scikit-image", "skimage/data/astronaut.png"),
)
# A screenshot of a demonstration: some 130 small faces of the author's own photographs, in the size
# they have there.
GALLERY = ("human", "package/assets/screenshot-facematch.jpg")
SCENES = tuple(
    ("scikit-image", f"skimage/data/{name}")
    for name in (
        "coffee.png",
        "chelsea.png",
        "motorcycle_left.png",
        "rocket.jpg",
        "brick.png",
        "grass.png",
    )
)


def load(cache, source):
    """A photograph as an RGB Pillow image."""
    return Image.open(io.BytesIO(fetch.member(source[0], cache, source[1]))).convert("RGB")


def fit(image, long_side):
    """Scaled so that the longer side has that many pixels."""
    factor = long_side / max(image.size)
    size = tuple(max(1, round(s * factor)) for s in image.size)
    return image.resize(size, Image.Resampling.BILINEAR)


def similarity(source, target):
    """2 x 3 matrix of the least-squares similarity (Umeyama 1991) from source to target points."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    s, t = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(t.T @ s / len(s))
    flip = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (singular * np.diag(flip)).sum() / (s**2).sum() * len(s)
    rotation = scale * (u @ flip @ vt)
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def warp(pixels, matrix, side=SIDE):
    """Bilinear sampling of an [h, w, 3] image under the inverse of `matrix`; black outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[0:side, 0:side]
    sx, sy, _ = np.tensordot(inverse, np.stack([x, y, np.ones_like(x)]), axes=1)
    padded = np.pad(pixels.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    sx = np.clip(sx + 1, 0, padded.shape[1] - 1.001)
    sy = np.clip(sy + 1, 0, padded.shape[0] - 1.001)
    x0, y0 = sx.astype(int), sy.astype(int)
    fx, fy = (sx - x0)[..., None], (sy - y0)[..., None]
    top = padded[y0, x0] * (1 - fx) + padded[y0, x0 + 1] * fx
    bottom = padded[y0 + 1, x0] * (1 - fx) + padded[y0 + 1, x0 + 1] * fx
    return np.clip(np.rint(top * (1 - fy) + bottom * fy), 0, 255).astype(np.uint8)


def _light(pixels, rng):
    """Random exposure, contrast and colour cast."""
    gain = rng.uniform(0.55, 1.35) * rng.uniform(0.88, 1.12, 3)
    offset = rng.uniform(-25, 25)
    return np.clip((pixels - 127.5) * gain + 127.5 + offset, 0, 255)


def _degrade(pixels, rng):
    """Sometimes blurred as a small or distant face is, sometimes noisy as in poor light."""
    image = Image.fromarray(pixels)
    if rng.random() < 0.5:
        small = int(rng.integers(36, 100))
        image = image.resize((small, small), Image.Resampling.BILINEAR).resize(
            (SIDE, SIDE), Image.Resampling.BILINEAR
        )
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.BoxBlur(1))
    pixels = np.asarray(image).astype(np.float64)
    if rng.random() < 0.5:
        pixels = pixels + rng.normal(0, rng.uniform(1, 9), pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def faces(cache, detector):
    """(photograph's pixels, landmarks) of every face found: the gallery's, then those of PEOPLE at
    several scales."""
    gallery = np.asarray(load(cache, GALLERY))
    found = [(gallery, points) for _, score, points in detect(detector, gallery) if score >= SCORE]
    for source in PEOPLE:
        image = load(cache, source)
        for long_side in SCALES:
            pixels = np.asarray(fit(image, long_side))
            found += [
                (pixels, points) for _, score, points in detect(detector, pixels) if score >= SCORE
            ]
    return found


def aligned_faces(cache, detector, count):
    """`count` aligned RGB crops [count, 112, 112, 3] uint8: all faces in turn, half of them varied
    in light and sharpness."""
    rng, found, crops = np.random.default_rng(SEED), faces(cache, detector), []
    order = rng.permutation(len(found))
    for i in range(count):
        pixels, points = found[order[i % len(found)]]
        eyes = np.linalg.norm(points[0] - points[1])
        jittered = points + rng.normal(0, 0.025, points.shape) * eyes
        crop = warp(pixels, similarity(jittered, TEMPLATE))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            crop = _degrade(np.rint(_light(crop, rng)).astype(np.uint8), rng)
        crops.append(crop)
    return np.stack(crops)


def scenes(cache, count, height=480, width=640):
    """`count` RGB scenes [count, height, width, 3] uint8: collages of the photographs at several
    sizes."""
    rng = np.random.default_rng(SEED + 1)
    people = [fit(load(cache, source), 1280) for source in PEOPLE]
    others = [load(cache, source) for source in SCENES]
    out = []
    for _ in range(count):
        canvas = np.zeros((height, width, 3), np.float64)
        tiles = int(rng.integers(1, 4))  # tiles x tiles photographs
        for row in range(tiles):
            for column in range(tiles):
                pool = people if rng.random() < 0.75 else others
                image = pool[int(rng.integers(len(pool)))]
                h, w = height // tiles, width // tiles
                factor = max(h / image.height, w / image.width) * rng.uniform(1.0, 2.0)
                size = (max(w, round(image.width * factor)), max(h, round(image.height * factor)))
                scaled = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
                y = int(rng.integers(scaled.shape[0] - h + 1)) // 3  # Heads are in the upper part.
                x = int(rng.integers(scaled.shape[1] - w + 1))
                part = scaled[y : y + h, x : x + w].astype(np.float64)
                if rng.random() < 0.5:
                    part = part[:, ::-1]
                canvas[row * h : row * h + h, column * w : column * w + w] = _light(part, rng)
        if rng.random() < 0.3:
            canvas += rng.normal(0, rng.uniform(1, 8), canvas.shape)
        out.append(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    return np.stack(out)
