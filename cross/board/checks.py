"""The checks, in the order in which they are done: each a promise, with what was seen and how long
recovery took.

A check returns what it saw, or raises. Later ones take over the board as the earlier ones left it,
and put right what they need themselves, so that one failure does not fail them all. Times are of
the emulated board: a real one is faster."""

import re
import time

import formats
import nodes
import several
from checking import FRAMES_TO_CANDIDATE, PATIENCE, by_path, leave, promise, visit


def cameras(bench):
    """`watchpost cameras` names formats and rates, and the remedy for nodes that cannot be read"""
    code, found = bench.command("cameras")
    seen = by_path(found)
    promise(code == 0, f"exit code {code}")
    camera = seen[nodes.VIVID]
    promise(
        camera["driver"] == "vivid" and camera["bus"],
        f"driver and bus are {camera['driver']!r} and {camera['bus']!r}",
    )
    promise(camera["verdict"]["state"] == "usable", f"the camera is {camera['verdict']}")
    sizes = [size for f in camera["formats"] if f["fourcc"] == "YUYV" for size in f["sizes"]]
    promise(len(sizes) > 1 and all(fps for _, fps in sizes), f"sizes and rates of YUYV are {sizes}")
    promise(
        any(not f["readable"] for f in camera["formats"]),
        "no format is named as one that is not read",
    )
    metadata = seen[nodes.METADATA]["verdict"]
    promise(
        metadata["state"] == "other" and "metadata" in metadata["what"],
        f"the metadata node is {metadata}",
    )
    planes = seen[nodes.MULTIPLANAR]["verdict"]
    promise(planes["state"] == "usable", f"the multi-planar node is {planes}")
    # Another program has the camera's buffers.
    bench.board.run(f"tool busy {nodes.VIVID} >/dev/null 2>&1 & echo $! >/tmp/busy; sleep 1")
    busy = by_path(bench.command("cameras")[1])[nodes.VIVID]["verdict"]
    bench.board.run("kill $(cat /tmp/busy)")
    promise(
        "in use" in busy.get("what", "") and "fuser" in busy.get("remedy", ""),
        f"the camera in use is {busy}",
    )
    code, found = bench.command("cameras", user="stranger")
    refused = by_path(found)[nodes.VIVID]["verdict"]
    promise(
        code == 1 and "group video" in refused.get("remedy", ""),
        f"exit code {code}; to a user outside the group it is {refused}",
    )
    return (
        f"{len(seen)} nodes; {camera['card']} on {camera['bus']}: {len(camera['formats'])} "
        f"formats, YUYV in {len(sizes)} sizes; read as {camera['verdict']['format']}"
    )


def controls(bench):
    """Exposure, flicker filter and steady rate are set as configured, and read back"""
    bench.board.wait_line(["Camera opened"], 0, PATIENCE)
    names = {
        "Power Line Frequency": 1,
        "Auto Exposure": 1,
        "Exposure Time, Absolute": 80,
        "Exposure, Dynamic Framerate": 0,
    }
    seen = {name: int(bench.board.run(f"tool value {nodes.LOOPBACK} '{name}'")) for name in names}
    promise(seen == names, f"the driver has {seen}, the configuration wants {names}")
    return ", ".join(f"{name} {value}" for name, value in seen.items())


def memory(bench):
    """The daemon's memory stays below 64 MB"""
    text = bench.board.run(f"cat /proc/{bench.runs()}/status")
    kilobytes = {
        name: int(value) for name, value in re.findall(r"^Vm(HWM|RSS|Lck):\s+(\d+)", text, re.M)
    }
    promise(kilobytes["HWM"] < 64 << 10, f"{kilobytes} kB")
    return (
        f"resident {kilobytes['RSS']} kB, at most {kilobytes['HWM']} kB, locked {kilobytes['Lck']} "
        "kB"
    )


def doctor(bench):
    """`watchpost doctor` finds nothing wrong where nothing is, and an unplugged camera"""
    bench.stop()
    # Its writer stays: v4l2loopback 0.12 that is asked what it can while a writer by `write` has
    # gone takes no format any more.
    bench.scene("none")
    bench.camera(nodes.VIVID)
    code, found = bench.command("doctor")
    wrong = [f for f in found if f["outcome"] == "failed"]
    promise(code == 0 and not wrong, f"exit code {code}: {wrong}")
    bench.board.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")
    code, found_without = bench.command("doctor", "--skip broker")
    bench.board.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind; sleep 1")
    wrong = [f["check"] for f in found_without if f["outcome"] == "failed"]
    promise(
        code == 1 and wrong == ["source"], f"without a camera: exit code {code}, failed {wrong}"
    )
    promise(
        all(
            f.get("remedy") for f in found + found_without if f["outcome"] in ("failed", "warning")
        ),
        "a failure without a remedy",
    )
    return "; ".join(
        f"{f['check']}: {f['detail']}" for f in found if f["check"] in ("cpu", "source", "broker")
    )


def clock(bench):
    """A clock that no time service keeps matches nobody; one that is kept does"""
    bench.camera(nodes.LOOPBACK)
    bench.feed("MJPG", "nobody.mjpg")
    started = bench.start()
    blind = bench.status("blind", started, PATIENCE, "clock")
    bench.board.run("tool synchronise")
    online = bench.status("online", blind, PATIENCE)
    return (
        f"blind after {blind - started:.1f} s; online {online - blind:.1f} s after the time "
        "service said so"
    )


def candidate_mjpeg(bench):
    """MJPEG: the listed person becomes a candidate"""
    message, frames, seconds = visit(bench)
    promise(
        frames <= FRAMES_TO_CANDIDATE,
        f"{frames} frames until the candidate; at most {FRAMES_TO_CANDIDATE} were promised",
    )
    data = message.data
    return (
        f"within {frames} frames ({seconds:.1f} s): similarity {data['score']:.2f}, threshold "
        f"{data['threshold']:.2f}"
    )


def nobody_else(bench):
    """MJPEG: nobody else becomes a candidate"""
    seen = []
    for number in range(len(bench.people.others)):
        bench.scene("nobody.mjpg")
        start = bench.counts(time.monotonic())
        at = bench.scene(f"other-{number}.mjpg")
        deadline = time.monotonic() + 45
        compared = 0
        while compared < 3 and time.monotonic() < deadline:
            now = bench.counts(time.monotonic())
            compared = now["pipeline.vision.embedded"] - start["pipeline.vision.embedded"]
        leave(bench, start)
        alarms = bench.events.all("candidate", at)
        promise(
            not alarms,
            f"{bench.people.others[number].name} became a candidate for "
            f"{[m.data['entry'] for m in alarms]}",
        )
        seen.append(compared)
    promise(
        any(seen), "not one of the others was compared: their faces were not found or are too small"
    )
    return f"{len(seen)} others, compared {'+'.join(map(str, seen))} times, no candidate"


def torn_mjpeg(bench):
    """Torn MJPEG frames are counted, the whole ones between them still make a candidate"""
    before = bench.counts(time.monotonic())
    _, frames, _ = visit(bench, "torn.mjpg")
    bad = ("pipeline.undecodable", "source.truncated", "source.short")
    after = bench.counts(time.monotonic())
    torn = {name: after[name] - before[name] for name in bad if after[name] > before[name]}
    promise(torn, f"no torn frame was counted under any of {bad}")
    return f"{torn}, candidate within {frames} frames"


def silent(bench):
    """A camera that never delivers is reported within seconds, and read again when it delivers"""
    process = bench.runs()
    at = bench.scene("none")
    blind = bench.status("blind", at, PATIENCE)
    # Over the daemon's stall limit, so that it opens the device again meanwhile. The driver then
    # repeats its last frame once.
    before = bench.counts(time.monotonic())
    bench.count_reaches("source.reopened", before["source.reopened"] + 1, PATIENCE)
    frames = bench.counts(time.monotonic())["source.frames"]
    back = bench.scene("nobody.mjpg")
    again, _ = bench.count_reaches("source.frames", frames + 2, PATIENCE)
    promise(bench.runs() == process, "the daemon was restarted meanwhile")
    return f"seen after {blind - at:.1f} s; read again within {again - back:.1f} s of delivering"


def format_change(bench):
    """The driver changes the format under the daemon (MJPEG to YUYV): it reads what is there"""
    process = bench.runs()
    frames = bench.counts(time.monotonic())["source.frames"]
    bench.feed("YUYV", "nobody.yuyv")
    at = time.monotonic()
    back, _ = bench.count_reaches("source.frames", frames + 5, PATIENCE)
    bench.board.wait_line(["Camera opened again", "YUYV"], 0, 1)
    promise(bench.runs() == process, "the daemon was restarted meanwhile")
    return f"recovered after {back - at:.1f} s"


def candidate_yuyv(bench):
    """YUYV: the listed person becomes a candidate, others do not"""
    _, frames, seconds = visit(bench, "listed.yuyv", "nobody.yuyv")
    promise(
        frames <= FRAMES_TO_CANDIDATE,
        f"{frames} frames until the candidate; at most {FRAMES_TO_CANDIDATE} were promised",
    )
    start = bench.counts(time.monotonic())
    at = bench.scene("other-0.yuyv")
    bench.count_reaches("pipeline.frames", start["pipeline.frames"] + 8, PATIENCE)
    leave(bench, start, "nobody.yuyv")
    promise(not bench.events.all("candidate", at), "somebody else became a candidate")
    return f"within {frames} frames ({seconds:.1f} s)"


def torn_yuyv(bench):
    """Short YUYV buffers are counted and not read, the whole ones between them are"""
    before = bench.counts(time.monotonic())
    _, frames, _ = visit(bench, "torn.yuyv", "nobody.yuyv")
    short = bench.counts(time.monotonic())["source.short"] - before["source.short"]
    promise(short > 0, "no short buffer was counted")
    return f"{short} short, candidate within {frames} frames"


def size_change(bench):
    """The driver changes the size under the daemon (640x480 to 800x600): it reads what is there"""
    bench.feed("YUYV", "listed-large.yuyv", (800, 600))
    at = time.monotonic()
    message = bench.candidate(at, PATIENCE)
    promise(
        message.data["evidence"]["frame"] == [800, 600],
        f"the candidate speaks of {message.data['evidence']['frame']}",
    )
    return f"a candidate from 800x600 after {message.at - at:.1f} s"


def on_vivid(bench):
    """The daemon ends cleanly, and reads another camera (vivid); what that cannot set is logged"""
    bench.status("online", bench.start(), PATIENCE)
    at = time.monotonic()
    bench.stop()
    stopped = bench.status("stopped", at, PATIENCE)
    bench.camera(nodes.VIVID)
    started = bench.start()
    online = bench.status("online", started, PATIENCE)
    bench.board.wait_line(
        ["does not take a setting", "source.v4l2.controls.power_line"], started, 1
    )
    return (
        f"ended after {stopped - at:.1f} s; first frame looked at {bench.first_frame(started)} ms "
        f"after the start, online heard after {online - started:.1f} s"
    )


def error_flagged(bench):
    """A buffer that the driver flags as damaged is counted and not read; the stream goes on"""
    before = bench.counts(time.monotonic())
    for _ in range(3):
        bench.board.run(f"tool control {nodes.VIVID} 'Inject V4L2_BUF_FLAG_ERROR' 1; sleep 0.3")
    _, flagged = bench.count_reaches(
        "source.error_flagged", before["source.error_flagged"] + 1, PATIENCE
    )
    bench.count_reaches("source.frames", before["source.frames"] + 10, PATIENCE)
    return f"{flagged - before['source.error_flagged']} of 3 flagged buffers counted"


def gaps(bench):
    """Frames that the driver drops are counted by their sequence numbers"""
    before = bench.counts(time.monotonic())
    bench.board.run(f"tool control {nodes.VIVID} 'Percentage of Dropped Buffers' 50")
    _, missed = bench.count_reaches("source.missed", before["source.missed"] + 5, PATIENCE)
    bench.board.run(f"tool control {nodes.VIVID} 'Percentage of Dropped Buffers' 0")
    return f"{missed - before['source.missed']} counted as missed"


def replug(bench):
    """A camera that is unplugged in mid-stream is reported, and read again when it is plugged in"""
    process = bench.runs()
    at = time.monotonic()
    bench.board.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")
    blind = bench.status("blind", at, PATIENCE)
    promise(
        bench.board.run(f"ls {nodes.VIVID} 2>&1 || true").find("No such") >= 0,
        "the device is still there",
    )
    back = time.monotonic()
    bench.board.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/bind")
    online = bench.status("online", back, PATIENCE)
    promise(bench.runs() == process, "the daemon was restarted meanwhile")
    return f"seen after {blind - at:.1f} s; recovered {online - back:.1f} s after that"


def broker_away(bench):
    """Candidates that are decided while the broker is away arrive when it is back, each of them"""
    back_to_people(bench)
    bench.broker.stop()
    decide_unheard(bench)
    known = set(bench.decided())
    missing = known - set(bench.received())
    promise(missing, "no candidate was decided while the broker was away")
    at = time.monotonic()
    bench.broker.start()
    arrive(bench, known)
    return (
        f"{len(missing)} kept and delivered; the last {time.monotonic() - at:.1f} s after the "
        "broker was back"
    )


def new_version(bench):
    """A new version of the list, offered over the broker, comes into force while running"""
    at = time.monotonic()
    bench.broker.publish(f"{bench.topic}/watchlist/offer", bench.folder / "version-2.cose")
    message = bench.events.wait(
        "watchlist/state", lambda d: (d.get("list") or {}).get("version") == 2, at, PATIENCE
    )
    promise(message, "version 2 did not come into force")
    return f"after {message.at - at:.1f} s"


def power_cut(bench):
    """Power cut with undelivered candidates: each arrives after the restart from the same disk"""
    bench.broker.stop()
    decide_unheard(bench)
    bench.board.run(
        'while [ -z "$(ls /var/lib/watchpost/outbox/*.events 2>/dev/null)" ]; do sleep 0.1; done'
    )
    known = set(bench.decided())
    missing = known - set(bench.received())
    promise(missing, "no candidate waited for the broker")
    bench.board.kill()
    cut = time.monotonic()
    bench.broker.start()
    bench.power_on()
    booted = time.monotonic()
    bench.board.run("tool synchronise")
    bench.camera(nodes.LOOPBACK)
    bench.feed("MJPG", "nobody.mjpg")
    started = bench.start()
    arrive(bench, known)
    arrived = time.monotonic()
    online = bench.status("online", started, PATIENCE)
    return (
        f"{len(missing)} waited, {len(missing)} arrived; booted {booted - cut:.1f} s, delivered "
        f"{arrived - started:.1f} s, "
        f"online {online - started:.1f} s after the start"
    )


def no_roll_back(bench):
    """After the power cut the newer list is in force; the older one is refused, however it comes"""
    message = bench.events.all("watchlist/state")[-1]
    promise(
        message.data.get("list", {}).get("version") == 2, f"in force is {message.data.get('list')}"
    )
    at = time.monotonic()
    bench.broker.publish(f"{bench.topic}/watchlist/offer", bench.folder / "version-1.cose")
    refused = bench.events.wait(
        "watchlist/state",
        lambda d: (d.get("last_change") or {}).get("what") == "refused",
        at,
        PATIENCE,
    )
    promise(refused, "the offer of version 1 was not answered")
    promise(refused.data["list"]["version"] == 2, "version 1 came into force")
    # Somebody with the disk in hand puts the old file back.
    bench.stop()
    bench.board.run(
        "cp /var/lib/watchpost/watchlist.cose /tmp/newer; cat /old/watchlist.cose "
        ">/var/lib/watchpost/watchlist.cose"
    )
    started = bench.start()
    blind = bench.events.wait(
        "status",
        lambda d: d["state"] == "blind" and "starting" not in d.get("reason", ""),
        started,
        PATIENCE,
    )
    promise(blind and not blind.data["matching"], "the older list on the disk was taken")
    bench.stop()
    bench.board.run("cat /tmp/newer >/var/lib/watchpost/watchlist.cose")
    started = bench.start()
    bench.status("online", started, PATIENCE)
    return (
        f"refused: {refused.data['last_change']['detail']}; from the disk: {blind.data['reason']}"
    )


def back_to_people(bench):
    """The daemon on the camera that shows people."""
    bench.stop()
    bench.camera(nodes.LOOPBACK)
    bench.feed("MJPG", "nobody.mjpg")
    bench.status("online", bench.start(), PATIENCE)


def decide_unheard(bench):
    """The listed person comes and goes while nobody hears of it."""
    at = bench.scene("listed.mjpg")
    bench.board.wait_line(["Candidate decided"], at, PATIENCE)
    bench.scene("nobody.mjpg")


def arrive(bench, wanted):
    """Waits until all these events have arrived."""
    deadline = time.monotonic() + PATIENCE
    while wanted - set(bench.received()):
        promise(
            time.monotonic() < deadline,
            f"lost: {len(wanted - set(bench.received()))} of {len(wanted)} events. "
            f"{bench.board.last_lines()}",
        )
        time.sleep(0.1)


CHECKS = [
    cameras,
    clock,
    controls,
    candidate_mjpeg,
    nobody_else,
    memory,
    torn_mjpeg,
    silent,
    format_change,
    candidate_yuyv,
    torn_yuyv,
    size_change,
    doctor,
    on_vivid,
    error_flagged,
    gaps,
    replug,
    formats.single_planar,
    formats.multi_planar,
    formats.interlaced,
    formats.one_field,
    several.several,
    several.turned,
    several.another_number,
    several.usb,
    broker_away,
    new_version,
    power_cut,
    no_roll_back,
]
