"""What the checks have in common: a promise that fails, a visit of the listed person, the end of
one."""

import time

from machine import BoardError

# Processed frames from the one that first shows the listed person to the candidate. Two views must
# agree; some frames go by while the scene changes and until the counts are published.
FRAMES_TO_CANDIDATE = 12
# Emulation on a busy machine: what a board does in one second may take a minute.
PATIENCE = 180


def promise(condition, what):
    """Fails the check where the condition does not hold."""
    if not condition:
        raise BoardError(what)


def visit(bench, scene="listed.mjpg", between="nobody.mjpg"):
    """The listed person comes and goes; (candidate message, frames it took, seconds it took)."""
    bench.scene(between)
    start = bench.counts(time.monotonic())
    at = bench.scene(scene)
    before = bench.counts(at)["pipeline.frames"]
    message = bench.candidate(at, PATIENCE)
    frames = bench.counts(message.at)["pipeline.frames"] - before
    leave(bench, start, between)
    return message, frames, message.at - at


def leave(bench, before, nobody="nobody.mjpg"):
    """The person before the camera goes; returns when their track has ended, so that the next
    person is somebody else to the tracker. `before` are the counts before they came."""
    bench.scene(nobody)
    now = bench.counts(time.monotonic())
    if now["pipeline.vision.faces"] > before["pipeline.vision.faces"]:
        bench.count_reaches(
            "pipeline.vision.tracks", before["pipeline.vision.tracks"] + 1, PATIENCE
        )


def by_path(found):
    """What `watchpost cameras` says of each node."""
    return {node["path"]: node for node in found}
