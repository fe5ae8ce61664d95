"""YuNet's post-processing, for finding the faces in calibration photographs and for the tests."""

import numpy as np

from .net import run

STRIDES = (8, 16, 32)


def planes(pixels):
    """[h, w, 3] RGB -> [1, 3, H, W] BGR 0..255, padded right and below with zeros to multiples of
    32."""
    height, width = (-(-s // 32) * 32 for s in pixels.shape[:2])
    padded = np.zeros((height, width, 3))
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded[:, :, ::-1].transpose(2, 0, 1)[None]


def decode(outputs, width, minimum):
    """Boxes [n, 4] x0 y0 x1 y1, scores [n], landmarks [n, 5, 2] of one image's outputs; no
    suppression yet."""
    boxes, scores, points = [], [], []
    for stride in STRIDES:
        score = np.sqrt(outputs[f"cls_{stride}"].ravel() * outputs[f"obj_{stride}"].ravel())
        chosen = np.flatnonzero(score >= minimum)
        cell = np.stack([chosen % (width // stride), chosen // (width // stride)], axis=1)
        box = outputs[f"bbox_{stride}"].reshape(-1, 4)[chosen]
        centre, size = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
        boxes.append(np.hstack([centre - size / 2, centre + size / 2]))
        scores.append(score[chosen])
        points.append((outputs[f"kps_{stride}"].reshape(-1, 5, 2)[chosen] + cell[:, None]) * stride)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)


def suppress(boxes, scores, overlap=0.3):
    """Indices that survive greedy non-maximum suppression, best first."""
    order, kept = list(np.argsort(-scores, kind="stable")), []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while order:
        best, rest = order[0], np.array(order[1:], int)
        kept.append(best)
        low, high = (
            np.maximum(boxes[best, :2], boxes[rest, :2]),
            np.minimum(boxes[best, 2:], boxes[rest, 2:]),
        )
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        order = list(rest[shared <= overlap * (areas[best] + areas[rest] - shared)])
    return kept


def detect(net, pixels, minimum=0.3):
    """[(box, score, landmarks)] for an RGB image."""
    x = planes(pixels)
    outputs = run(net, x)
    boxes, scores, points = decode(outputs, x.shape[3], minimum)
    return [(boxes[i], scores[i], points[i]) for i in suppress(boxes, scores)]
