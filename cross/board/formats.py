"""Checks of what cameras give, on vivid: a picture that is played into its output comes back from
its input through the kernel's own buffers, in each format that both know."""

import base64
import io
import time

from PIL import Image

import nodes
from checking import PATIENCE, by_path, promise
from machine import BoardError

# Most that the face's mean colour may differ from the one in the photograph, of 255: networks,
# JPEG and the rounding of codes change it by a few. Red and blue in each other's place are 30
# apart.
COLOUR = 12
# Without colour.
GREY = ("GREY", "Y10 ", "Y12 ", "Y16 ")


def single_planar(bench):
    """vivid, frames in one buffer: the listed person is found in every format, in true colours"""
    return each_format(bench, nodes.VIVID)


def multi_planar(bench):
    """vivid, multi-planar: found in each format of several buffers, and in some of one"""
    some = ("YUYV", "NV12", "YU12", "RGB3")
    return each_format(bench, nodes.MULTIPLANAR, lambda f: f[1] == "M" or f in some)


def each_format(bench, node, wanted=lambda fourcc: True):
    """Every wanted format of the node that the product says it reads: the person is found."""
    hdmi(bench, node, (640, 480), "progressive")
    offered = by_path(bench.command("cameras")[1])[node]["formats"]
    readable = [f["fourcc"] for f in offered if f["readable"]]
    # `watchpost cameras` leaves the blank out that ends some names.
    readable = [name for name in (name.ljust(4) for name in readable) if wanted(name)]
    several = ["NM12", "NM16", "YM12", "YM16"]
    expected = ["YUYV", "NV12", "RGB3"] + (several if node == nodes.MULTIPLANAR else ["Y10 "])
    promise(set(expected) <= set(readable), f"of {expected} some are not readable: {readable}")
    began = time.monotonic()
    wrong, colours = {}, {}
    for fourcc in readable:
        bench.play(fourcc, nodes.OUTPUT[node], "listed.rgb")
        try:
            colours[fourcc] = found(bench, {**reads(node), FORMAT: fourcc.strip()}, fourcc)
        except BoardError as error:
            promise(bench.board.alive(), str(error))
            wrong[fourcc] = str(error).splitlines()[0]
    true = colours.get("YUYV")
    for fourcc, colour in colours.items():
        want = [luma(true)] * 3 if fourcc in GREY else true
        off = max(abs(a - b) for a, b in zip(colour, want, strict=True))
        if off > COLOUR:
            wrong[fourcc] = f"the face's colour is {colour} where it is {want}"
    promise(not wrong, f"{len(wrong)} of {len(readable)}: {wrong}")
    seconds = (time.monotonic() - began) / len(readable)
    return f"{len(readable)} formats, {seconds:.1f} s each: {' '.join(n.strip() for n in readable)}"


def interlaced(bench):
    """Television (vivid, S-Video): of the two fields one is used, and the log says so"""
    at = television(bench)
    data = in_one_field(bench, at, (720, 576), 576)
    return f"found in {data['evidence']['frame']} with somebody else in the other field"


def one_field(bench):
    """Interlaced HDMI (vivid): a buffer with one field is read as a picture"""
    # The smallest that the driver has.
    size = (1920, 1080)
    hdmi(bench, nodes.MULTIPLANAR, size, "interlaced")
    at = time.monotonic()
    bench.play("NM12", nodes.OUTPUT[nodes.MULTIPLANAR], "listed-hd.rgb", size)
    data = in_one_field(bench, at, size, size[1] // 2)
    return f"found in {data['evidence']['frame']}"


FORMAT = "WATCHPOST__SOURCE__V4L2__FORMAT"


def reads(node):
    """Settings of a daemon that reads a node. It is ended after the visit, so a track may survive
    for long: on a busy machine seconds pass between two looks."""
    return {
        "WATCHPOST__SOURCE__V4L2__DEVICE": node,
        "WATCHPOST__VISION__TRACK_SURVIVES_MS": "10000",
    }


def hdmi(bench, node, size, scan):
    """vivid with a way by HDMI from output to input."""
    bench.stop()
    bench.stop_feed()
    bench.load("vivid", nodes.HDMI, nodes.OUTPUT[nodes.MULTIPLANAR])
    for device in (node, nodes.OUTPUT[node]):
        bench.board.run(f"tool timings {device} {size[0]} {size[1]} {scan}")
    loop(bench, node)


def television(bench):
    """vivid as a television's grabber that shows the woven picture; when that began."""
    bench.stop()
    bench.stop_feed()
    bench.load("vivid", nodes.TELEVISION, nodes.OUTPUT[nodes.MULTIPLANAR])
    loop(bench, nodes.MULTIPLANAR)
    at = time.monotonic()
    bench.play("NM12", nodes.OUTPUT[nodes.MULTIPLANAR], "woven.rgb", (720, 576))
    return at


def loop(bench, node):
    """Leads the output to the input, without the driver's own text over the picture, and with a few
    pictures a second: 60 are too many for an emulated processor."""
    bench.control(node, "Loop Video", 1)
    bench.control(node, "OSD Text Mode", 2)
    bench.control(node, "Percentage of Dropped Buffers", 85)


def in_one_field(bench, at, size, rows):
    """The candidate's data from an interlaced picture of this size, with so many rows a buffer."""
    size_wanted = {
        "WATCHPOST__SOURCE__V4L2__WIDTH": size[0],
        "WATCHPOST__SOURCE__V4L2__HEIGHT": rows,
    }
    bench.start({**reads(nodes.MULTIPLANAR), **size_wanted, FORMAT: "NM12"})
    message = bench.fresh_candidate(at)
    bench.board.wait_line(["picture is interlaced", "one of its two fields is used"], at, 1)
    bench.stop()
    frame = message.data["evidence"]["frame"]
    promise(frame == list(size), f"the candidate speaks of {frame}")
    return message.data


def found(bench, settings, fourcc):
    """Starts the daemon, waits until it has found the listed person in this format, ends it. The
    face's mean colour, red, green and blue."""
    started = bench.start(settings)
    try:
        bench.board.wait_line(["Camera opened"], started, PATIENCE)
        opened = [line for line in bench.board.lines(started) if "Camera opened" in line]
        promise(f" {fourcc}" in opened[0], f"another format was taken: {opened[0]}")
        message = bench.fresh_candidate(started)
    finally:
        bench.cut_off()
    crop = base64.b64decode(message.data["crop"]["base64"])
    return mean(Image.open(io.BytesIO(crop)))


def mean(picture):
    """The mean colour of the middle of a face."""
    w, h = picture.size
    middle = picture.convert("RGB").crop((w // 4, h // 4, 3 * w // 4, 3 * h // 4))
    return middle.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))


def luma(colour):
    """How bright a colour is."""
    r, g, b = colour
    return round(0.299 * r + 0.587 * g + 0.114 * b)
