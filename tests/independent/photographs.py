"""Photographs to evaluate, made of the bundled portraits: many, bad and hostile ones. Who counts as
whom is drawn: the arithmetic of an evaluation does not ask whether labels are true, and labels that
are not give errors of every kind to count."""

import json
import random
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

PORTRAITS = Path(__file__).resolve().parents[2] / "src/demo/portraits"
NAMES = ("biden-2010", "collins", "hopper", "obama-2010", "obama-2012")


def variant(portrait, rng):
    """The portrait under other conditions, some so bad that no face is found."""
    w, h = portrait.size
    margin = rng.randrange(0, 24)
    image = portrait.crop((margin, rng.randrange(0, 24), w - rng.randrange(0, 24), h - margin))
    if rng.random() < 0.4:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(rng.choice([0, 0, 1, 2, 4])))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.35, 1.5))
    shrink = rng.choice([1, 1, 0.6, 0.3, 0.12])
    return image.resize((max(8, round(image.width * shrink)), max(8, round(image.height * shrink))))


def people(root, rng, count):
    """A folder a person, named as in LFW, in all three extensions; with copies, unreadable files
    and strays."""
    portraits = [Image.open(PORTRAITS / f"{n}.jpg").convert("RGB") for n in NAMES]
    for number in range(count):
        name = f"Some_One_{number:03d}"
        folder = root / name
        folder.mkdir(parents=True)
        of = portraits[number % len(portraits)]
        for photograph in range(1, rng.choice([1, 2, 2, 3, 5]) + 1):
            extension = rng.choice(["jpg", "jpeg", "png", "png"])
            variant(of, rng).save(folder / f"{name}_{photograph:04d}.{extension}", quality=92)
    nobody = root / "Some_One_000" / "Some_One_000_0008.png"
    Image.new("RGB", (120, 90), (90, 120, 150)).save(nobody)
    (root / "Some_One_001" / "Some_One_001_0008.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    first = next((root / "Some_One_002").iterdir())
    (root / "Some_One_003" / f"Some_One_003_0009{first.suffix}").write_bytes(first.read_bytes())
    (root / "Some_One_004" / "notes.txt").write_text("a stray")
    (root / "Some_One_empty").mkdir()


def pairs(root, rng, folds, kind):
    """A pairs file; `folds` 0 for the form without. A few name files that are not there."""

    def number(f):
        return int(f.stem.rsplit("_", 1)[1])

    by_person = {
        p.name: sorted(f for f in p.iterdir() if f.suffix != ".txt") for p in sorted(root.iterdir())
    }
    several = [p for p, files in by_person.items() if len(files) > 1]
    some = [p for p, files in by_person.items() if files]
    text = [f"{folds}\t{kind}" if folds else f"{kind}"]
    for _ in range(max(folds, 1)):
        for _ in range(kind):
            p = rng.choice(several)
            a, b = rng.sample(by_person[p], 2)
            text.append(f"{p}\t{number(a)}\t{number(b)}")
        for _ in range(kind):
            p, q = rng.sample(some, 2)
            text.append(
                f"{p}\t{number(rng.choice(by_person[p]))}\t{q}\t{number(rng.choice(by_person[q]))}"
            )
    text[3] = f"{several[0]}\t1\t77"
    return "\r\n".join(text) + "\r\n"


def scenes(root, rng, count):
    """Several faces a picture, and a ground truth that is right, shifted, of a face that is not
    there, or in no set."""
    root.mkdir()
    portraits = [Image.open(PORTRAITS / f"{n}.jpg").convert("RGB") for n in NAMES]
    lines = []
    for number in range(count):
        scene = Image.new(
            "RGB",
            (rng.randrange(300, 1100), rng.randrange(300, 900)),
            tuple(rng.randrange(256) for _ in range(3)),
        )
        boxes = []
        for _ in range(rng.randrange(0, 7)):
            portrait = rng.choice(portraits)
            height = rng.randrange(60, 420)
            width = round(portrait.width * height / portrait.height)
            x, y = rng.randrange(-20, scene.width), rng.randrange(-20, scene.height)
            scene.paste(portrait.resize((width, height)), (x, y))
            shift = rng.choice([0, 0, 0, 0.3])
            boxes.append(
                [
                    round(x + width * (0.28 + shift)),
                    round(y + height * 0.17),
                    round(width * 0.4),
                    round(height * 0.42),
                ]
            )
        boxes = [b for b in boxes if b[0] < scene.width and b[1] < scene.height]
        hard = [i for i in range(len(boxes)) if rng.random() < 0.9]
        medium = [i for i in hard if boxes[i][3] > 50]
        easy = [i for i in medium if boxes[i][3] > 90]
        name = f"{number:03d}.{rng.choice(['jpg', 'png'])}"
        scene.save(root / name, quality=90)
        lines.append(
            {"image": name, "boxes_xywh": boxes, "easy": easy, "medium": medium, "hard": hard}
        )
    lines.append(
        {
            "image": "missing.jpg",
            "boxes_xywh": [[1, 1, 5, 5]],
            "easy": [],
            "medium": [],
            "hard": [0],
        }
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def labels(root, rng):
    """CSV of three groups, with everything that CSV allows."""
    text = ["\ufeffgroup,note,File,person"]
    for at, person in enumerate(sorted(p for p in root.iterdir() if p.is_dir())):
        group = ["north", "south", 'the "east", of it'][at % 3]
        quoted = '"' + group.replace('"', '""') + '"'
        for file in sorted(person.iterdir()):
            if file.suffix != ".txt":
                text.append(f"{quoted},x,{file.relative_to(root)},{person.name}")
    text.append("north,x,no/such.jpg,nobody")
    return "\r\n".join(text)


def everything(folder, seed):
    """Writes it all; returns what `check.py` needs."""
    rng = random.Random(seed)
    people(folder / "people", rng, 60)
    (folder / "pairs.txt").write_text(pairs(folder / "people", rng, 10, 40))
    (folder / "pairsDevTest.txt").write_text(
        pairs(folder / "people", rng, 0, 1100).replace("\t", " ")
    )
    (folder / "truth.jsonl").write_text(scenes(folder / "scenes", rng, 40))
    (folder / "groups.csv").write_text(labels(folder / "people", rng), encoding="utf-8")
