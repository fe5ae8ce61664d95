"""From photographs to embeddings with the committed int8 networks, run by onnxruntime.

Alignment, choice of the face and preprocessing are those of the program, except that photographs
are not shrunk and tilted heads are not looked at again: all ways that are compared share this, so
differences between them stand."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
from PIL import Image
from rebuild.detect import decode, planes, suppress
from rebuild.photographs import TEMPLATE, similarity, warp

SCORE = 0.6
# The second look: the face's box with this margin on each side, stretched to a square of that side.
MARGIN, SECOND = 0.5, 160


def _session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass
class View:
    """One face: unit embeddings of the crop, of its mirror image and (unless None) of the crop by
    landmarks refined in a second look; the length of the embedding before it was normalised, and
    the detector's score."""

    plain: np.ndarray
    mirrored: np.ndarray
    refined: np.ndarray | None
    length: float
    score: float


class Looker:
    """The two networks of `models`."""

    def __init__(self, models):
        self.detector = _session(models / "yunet_s_int8.onnx")
        self.embedder = _session(models / "fr_feature_int8.onnx")
        self.names = [o.name for o in self.detector.get_outputs()]

    def _faces(self, pixels):
        x = (planes(pixels) - 128).astype(np.float32)
        outputs = dict(zip(self.names, self.detector.run(self.names, {"input": x}), strict=True))
        boxes, scores, points = decode(outputs, x.shape[3], SCORE)
        kept = suppress(boxes, scores)
        return boxes[kept], scores[kept], points[kept]

    def _embed(self, crop):
        x = crop[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) - 128
        e = self.embedder.run(None, {"input": x})[0].ravel().astype(np.float64)
        length = np.linalg.norm(e)
        return e / length, length

    def _refine(self, pixels, box, points):
        """Landmarks of a second look at the face alone, averaged with those of the first."""
        centre, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * (1 + 2 * MARGIN)
        scale = SECOND / side
        matrix = np.array(
            [[scale, 0, SECOND / 2 - scale * centre[0]], [0, scale, SECOND / 2 - scale * centre[1]]]
        )
        boxes, _, found = self._faces(warp(pixels, matrix, SECOND))
        if not len(boxes):
            return points
        middle = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - SECOND / 2, axis=1)
        again = (found[middle.argmin()] - matrix[:, 2]) / scale
        return (points + again) / 2

    def look(self, path, refine):
        """The View of the largest face near the centre, or None."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        boxes, scores, points = self._faces(pixels)
        if not len(boxes):
            return None
        centre = np.array(pixels.shape[1::-1]) / 2
        distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - centre, axis=1)
        i = int(np.argmax(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - 2 * distance**2))
        crop = warp(pixels, similarity(points[i], TEMPLATE))
        plain, length = self._embed(crop)
        mirrored, _ = self._embed(crop[:, ::-1])
        refined = None
        if refine:
            refined, _ = self._embed(
                warp(pixels, similarity(self._refine(pixels, boxes[i], points[i]), TEMPLATE))
            )
        return View(plain, mirrored, refined, float(length), float(scores[i]))
