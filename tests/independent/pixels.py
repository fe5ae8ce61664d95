"""From a photograph to an embedding with onnxruntime, pillow and numpy: the same networks, none of
the program's code.

What differs on purpose: pillow decodes, shrinks and rotates; the second look at a face is upright
only, whatever the tilt; the embedding is not rounded to int8. Similarities therefore differ a
little; `check.py` says by how much. From the same pixels the landmarks are the same; but pillow
interpolates the colour of a JPEG where the program repeats it, and the int8 detector turns that
into a pixel or two of a landmark. PNG files and JPEG files are therefore counted apart."""

import tomllib

import numpy as np
import onnxruntime
from PIL import Image

# The second look: side of the picture of the face alone, and of the face's box in it.
SIDE, BOX = 160, 80


class Chain:
    def __init__(self, manifest, long_side, min_score):
        self.m = tomllib.loads(manifest.read_text())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3

        def open_(part):
            return onnxruntime.InferenceSession(
                manifest.with_name(self.m[part]["file"]).read_bytes(),
                options,
                providers=["CPUExecutionProvider"],
            )

        self.detector, self.embedder = open_("detector"), open_("embedder")
        self.long_side, self.min_score = long_side, min_score

    def blob(self, part, pixels):
        spec = self.m[part]
        x = pixels[..., ::-1] if spec["channels"] == "bgr" else pixels
        return (
            (x.astype(np.float32) - np.float32(spec["mean"])) * np.float32(spec["scale"])
        ).transpose(2, 0, 1)[None]

    def run(self, session, x):
        names = [o.name for o in session.get_outputs()]
        return dict(
            zip(
                names,
                session.run(names, {session.get_inputs()[0].name: np.ascontiguousarray(x)}),
                strict=True,
            )
        )

    def faces(self, image):
        """[(score, box x y w h, five points)], best first, in pixels of the image."""
        w, h = image.size
        scale = min(1.0, self.long_side / max(w, h))
        width, height = round(w * scale), round(h * scale)
        small = image if scale == 1 else image.resize((width, height), Image.Resampling.BOX)
        factor = np.array([w / width, h / height])

        def back(p):
            return (p + 0.5) * factor - 0.5

        found = self.found(small, self.min_score)
        return [
            (score, np.concatenate([back(box[:2]), box[2:] * factor]), back(points))
            for score, box, points in found
        ]

    def found(self, small, min_score):
        """The same of a picture that is not shrunk any more."""
        width, height = small.size
        multiple = self.m["detector"]["multiple"]
        canvas = np.zeros(
            (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3), np.uint8
        )
        canvas[:height, :width] = np.asarray(small)
        out = self.run(self.detector, self.blob("detector", canvas))
        found = []
        for level in self.m["detector"]["levels"]:
            s, columns = level["stride"], canvas.shape[1] // level["stride"]
            cls, obj = (np.clip(out[n].ravel(), 0, 1) for n in level["scores"])
            score, box, points = (
                np.sqrt(cls * obj),
                out[level["boxes"]].reshape(-1, 4),
                out[level["points"]].reshape(-1, 5, 2),
            )
            for i in np.flatnonzero(score >= min_score):
                cell = np.array([i % columns, i // columns])
                centre, size = (cell + box[i, :2]) * s, np.exp(box[i, 2:]) * s
                found.append(
                    (
                        float(score[i]),
                        np.concatenate([centre - size / 2, size]),
                        (cell + points[i]) * s,
                    )
                )
        found.sort(key=lambda f: -f[0])
        kept = []
        for f in found:
            if all(iou(f[1], k[1]) <= 0.3 for k in kept):
                kept.append(f)
        return kept

    def refined(self, image, face):
        """The face's points, averaged with those of a look at the face alone where that shows one
        in the middle."""
        score, box, points = face
        k, middle = box[2:].max() / BOX, box[:2] + box[2:] / 2
        # From a pixel of the picture to one of the image.
        a = np.array([[k, 0, middle[0] - k * SIDE / 2], [0, k, middle[1] - k * SIDE / 2]])
        for _, (x, y, w, h), again in self.found(sampled(image, a, SIDE), score / 2):
            if np.hypot(x + w / 2 - SIDE / 2, y + h / 2 - SIDE / 2) < BOX / 3:
                return (points + again * k + a[:, 2]) / 2
        return points

    def embedding(self, path):
        """Of the face that is large and near the centre; None where there is none."""
        image = Image.open(path).convert("RGB")
        faces = self.faces(image)
        if not faces:
            return None
        middle = np.array(image.size) / 2

        def weight(f):
            return f[1][2] * f[1][3] - 2 * ((f[1][:2] + f[1][2:] / 2 - middle) ** 2).sum()

        points = self.refined(image, max(faces, key=weight))
        spec = self.m["embedder"]
        # Estimated in the face's own pixels, and turned round: the other way it would come out a
        # little smaller.
        face = sampled(image, inverse(umeyama(points, np.array(spec["template"]))), spec["side"])
        e = self.run(self.embedder, self.blob("embedder", np.asarray(face)))[spec["output"]].ravel()
        return e / np.linalg.norm(e)


def sampled(image, a, side):
    """The picture of that side whose pixels `a` (2x3) takes to those of the image."""
    # Pillow counts from the corner of a pixel, landmarks from its centre.
    shift = a[:, 2] + 0.5 - a[:, :2] @ np.array([0.5, 0.5])
    # What shrinks by more than two is averaged.
    scale = np.sqrt(np.linalg.det(a[:, :2]))
    k = int(np.ceil(scale)) if scale > 2 else 1
    large = image.transform(
        (side * k, side * k),
        Image.Transform.AFFINE,
        np.column_stack([a[:, :2] / k, shift]).ravel(),
        Image.Resampling.BILINEAR,
    )
    return large if k == 1 else large.reduce(k)


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def inverse(a):
    back = np.linalg.inv(a[:, :2])
    return np.column_stack([back, -back @ a[:, 2]])


def umeyama(source, target):
    """The similarity (2x3) that takes `source` nearest to `target` in the least-squares sense
    (Umeyama 1991)."""
    ms, mt = source.mean(axis=0), target.mean(axis=0)
    s, t = source - ms, target - mt
    u, d, v = np.linalg.svd(t.T @ s / len(source))
    sign = np.diag([1.0, np.sign(np.linalg.det(u @ v))])
    rotation = u @ sign @ v
    scale = (d * np.diag(sign)).sum() / s.var(axis=0).sum()
    return np.column_stack([scale * rotation, mt - scale * rotation @ ms])
