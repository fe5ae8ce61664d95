"""What the cameras see: photographs made into frames, as MJPEG and as YUYV."""

import io
import re
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png"}
# Each photograph moves a little from frame to frame, so that no two frames are alike.
SHIFTS = [0, 6, 12, 18, 12, 6]
# Frames that the guest plays into an output: one for each of the driver's buffers.
BUFFERS = 4


class People:
    """The enrolled person in two photographs (or more), and photographs of others, one each."""

    def __init__(self, enrolled, shown, others, name):
        self.enrolled, self.shown, self.others, self.name = enrolled, shown, others, name


def photographs(folder):
    """The photographs of each person: one folder a person, or NAME-2010.jpg, NAME_0001.jpg in one
    folder."""
    people = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.stem.endswith("-mask"):
            continue
        parent = path.parent
        name = parent.name if parent != Path(folder) else re.sub(r"[-_ ]*\d+$", "", path.stem)
        people[name].append(path)
    return people


def choose(folder, person=None, most_others=4):
    """Whom to enrol: `person`, or the first of whom there are two photographs. The last one is
    enrolled, the one before it shown."""
    people = photographs(folder)
    with_two = [name for name, files in sorted(people.items()) if len(files) >= 2]
    if person is None and not with_two:
        raise SystemExit(
            f"{folder} has nobody of whom there are two photographs: one is enrolled, another one "
            "shown to the camera."
        )
    name = person or with_two[0]
    if len(people.get(name, [])) < 2:
        raise SystemExit(f"{folder} has no two photographs of {name!r}.")
    others = [files[0] for other, files in sorted(people.items()) if other != name][:most_others]
    if not others:
        raise SystemExit(
            f"{folder} has photographs of one person only; others are needed of whom nothing may "
            "be reported."
        )
    *_, shown, enrolled = people[name]
    return People([enrolled], shown, others, name)


def canvas(photograph, size, shift):
    """The photograph, as large as it fits, before a grey wall."""
    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    wall = Image.new("RGB", size, (104, 108, 112))
    picture = ImageOps.contain(picture, (size[0] - 2 * max(SHIFTS), size[1]))
    wall.paste(
        picture,
        (
            (size[0] - picture.width) // 2 + shift - max(SHIFTS) // 2,
            (size[1] - picture.height) // 2,
        ),
    )
    return wall


def beside(photograph, size):
    """The photograph at the left and at the top, before a grey wall."""
    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    wall = Image.new("RGB", size, (104, 108, 112))
    wall.paste(ImageOps.contain(picture, (size[0] * 2 // 3, size[1] * 4 // 5)), (0, 0))
    return wall


def turned(photograph, size):
    """What cameras of this size see of one who stands upright, by how they hang: the name says what
    has to be done to make it upright."""
    width, height = size
    lying, upright = beside(photograph, (height, width)), beside(photograph, size)
    turn = Image.Transpose
    return {
        "90": lying.transpose(turn.ROTATE_90),
        "180": upright.transpose(turn.ROTATE_180),
        "270": lying.transpose(turn.ROTATE_270),
        "mirror": ImageOps.mirror(upright),
        # Upside down, not turned.
        "180-mirror": ImageOps.flip(upright),
    }


def woven(first, second):
    """Two pictures as the two fields of one: the rows of each in turn."""
    out = second.copy()
    for row in range(0, first.height, 2):
        out.paste(first.crop((0, row, first.width, row + 1)), (0, row))
    return out


def jpeg(picture):
    """As a UVC camera sends it: baseline, 4:2:2."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85, subsampling=1)
    return out.getvalue()


def yuyv(picture):
    """Packed 4:2:2 in limited range, BT.601, as `YUYV` of a UVC camera."""
    y, cb, cr = picture.convert("YCbCr").split()
    limited = [16 + value * 219 // 255 for value in range(256)]
    chroma = [16 + value * 224 // 255 for value in range(256)]
    half = (picture.width // 2, picture.height)
    y, cb, cr = (
        y.point(limited).tobytes(),
        cb.resize(half).point(chroma).tobytes(),
        cr.resize(half).point(chroma).tobytes(),
    )
    out = bytearray(2 * len(y))
    out[0::2], out[1::4], out[3::4] = y, cb, cr
    return bytes(out)


def write(folder, frames):
    """A scene as the guest's feeder reads it."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        (folder / str(number)).write_bytes(frame)


def make(folder, people, size=(640, 480), other_size=(800, 600), television=(720, 576)):
    """All scenes of the test below `folder`."""
    folder = Path(folder)
    shifted = {
        "listed": [canvas(people.shown, size, s) for s in SHIFTS],
        "nobody": [Image.new("RGB", size, (104, 108, 112))],
    }
    for number, other in enumerate(people.others):
        shifted[f"other-{number}"] = [canvas(other, size, s) for s in SHIFTS]
    for name, pictures in shifted.items():
        write(folder / f"{name}.mjpg", map(jpeg, pictures))
    for name in ("listed", "nobody", "other-0"):
        write(folder / f"{name}.yuyv", map(yuyv, shifted[name][:4]))
    large = [canvas(people.shown, other_size, s) for s in SHIFTS[:2]]
    write(folder / "listed-large.yuyv", map(yuyv, large))
    # Every other frame is cut off within its entropy-coded data, as by a lost USB packet.
    whole = [jpeg(picture) for picture in shifted["listed"]]
    write(folder / "torn.mjpg", [f[: len(f) * 2 // 3] if n % 2 else f for n, f in enumerate(whole)])
    raw = [yuyv(picture) for picture in shifted["listed"][:4]]
    write(folder / "torn.yuyv", [f[: len(f) // 2] if n % 2 else f for n, f in enumerate(raw)])
    for name, picture in turned(people.shown, size).items():
        write(folder / f"turned-{name}.yuyv", [yuyv(picture)])
    # Plain pixels, which the guest turns into the format that is wanted.
    listed = [canvas(people.shown, television, s) for s in SHIFTS[:BUFFERS]]
    other = [canvas(people.others[0], television, s) for s in SHIFTS[:BUFFERS]]
    plain = {
        "listed": shifted["listed"][:BUFFERS],
        "listed-hd": [canvas(people.shown, (1920, 1080), 0)],
        "woven": map(woven, listed, other),
    }
    for name, pictures in plain.items():
        write(folder / f"{name}.rgb", (picture.tobytes() for picture in pictures))
    (folder / "none").mkdir()
