"""What the cameras see: photographs made into frames, as MJPEG and as YUYV."""

import io
import re
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png"}
# Each photograph moves a little from frame to frame, so that no two frames are alike.
SHIFTS = [0, 6, 12, 18, 12, 6]


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


def make(folder, people, size=(640, 480), other_size=(800, 600)):
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
    (folder / "none").mkdir()
