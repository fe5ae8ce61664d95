"""Checks of several cameras on one board, of cameras that hang otherwise than upright, and of those
that come back under another number."""

import re
import time

import nodes
from bench import ENTRY, ROOT_TOPIC, several_id
from broker import Subscriber
from checking import PATIENCE, by_path, promise, visit
from formats import reads
from machine import BoardError

# How long a track survives without a face where four share an emulated core.
SURVIVES_MS = 10_000
UNIT = "usr/share/doc/watchpost/examples/watchpost@.service"


class One:
    """One of several daemons on the board, under what the packaged template unit says."""

    def __init__(self, bench, name, device):
        self.bench, self.name, self.device = bench, name, device
        topic = f"{ROOT_TOPIC}/v1/{several_id(name)}"
        self.events = Subscriber(bench.broker, topic, f"board-test-{name}")
        unit = (bench.package / UNIT).read_text().replace("%i", name)
        self.settings = dict(
            line.removeprefix("Environment=").split("=", 1)
            for line in unit.splitlines()
            if line.startswith("Environment=")
        )
        self.command = re.search("^ExecStart=(.*)$", unit, re.M)[1]

    def start(self):
        """Makes what systemd and whoever installs it make, and starts the daemon."""
        state = f"/var/lib/watchpost/{self.name}"
        link = f"/tmp/scene-{self.name}"
        self.show("nobody.mjpg")
        self.bench.also_feed("MJPG", self.device, link)
        # `load` as docs/operate.md says: the share of a core that each may have.
        self.bench.board.run(
            f"mkdir -p {state}; cp /several/watchlist.cose {state}; "
            f"chown -R watchpost:watchpost {state}; "
            f"sed -e 's,^id = .*,id = \"{several_id(self.name)}\",' "
            f"-e 's,^device = .*,device = \"{self.device}\",' -e 's,^load = .*,load = 0.2,' "
            # Four share an emulated core: seconds pass between two looks.
            f"-e 's,^track_survives_ms = .*,track_survives_ms = {SURVIVES_MS},' "
            f"/etc/watchpost/watchpost.toml >/etc/watchpost/{self.name}.toml"
        )
        self.bench.start(self.settings, self.command)

    def show(self, scene):
        """What happens before its camera; when that began."""
        self.bench.board.run(f"ln -sfn /scenes/{scene} /tmp/scene-{self.name}")
        return time.monotonic()

    def pid(self):
        """The daemon's process number; "" where it does not run."""
        return self.bench.board.run(
            f"for p in $(pidof watchpost); do tr '\\0' ' ' </proc/$p/cmdline | "
            f"grep -q ' /etc/watchpost/{self.name}.toml' && echo $p; done; true"
        ).strip()

    def wait(self, topic, accept, since, what):
        """The first event that `accept` takes, or the check fails."""
        message = self.events.wait(topic, accept, since, PATIENCE)
        if message is None:
            raise BoardError(
                f"{self.name}: no {what} within {PATIENCE} s. {self.bench.board.last_lines()}"
            )
        return message

    def status(self, state, since):
        """Waits for a status; when it arrived."""
        return self.wait("status", lambda d: d["state"] == state, since, f"status {state}").at

    def found(self, since):
        """Waits for a candidate."""
        return self.wait("candidate", lambda d: d["entry"] == ENTRY, since, "candidate")

    def quiet(self):
        """Returns when no face was seen for longer than a track survives one: who comes then is
        somebody else."""
        faces = "pipeline.vision.faces"
        first = self.wait("stats", lambda _: True, time.monotonic(), "counts")
        deadline = first.at + PATIENCE
        while True:
            latest = self.wait("stats", lambda _: True, time.monotonic(), "counts")
            if latest.data["counts"][faces] != first.data["counts"][faces]:
                first = latest
            elif latest.at - first.at > SURVIVES_MS / 1000 + 2:
                return
            promise(latest.at < deadline, f"{self.name}: there are faces all the time")

    def end(self):
        """Stops listening."""
        self.events.stop()


def several(bench):
    """Four cameras, a daemon each, one list: all find; a fault of one touches no other"""
    bench.stop()
    bench.stop_feed()
    bench.load("v4l2loopback", nodes.SEVERAL_ARGUMENTS, nodes.SEVERAL["west"])
    ones = [One(bench, name, device) for name, device in nodes.SEVERAL.items()]
    try:
        return four(bench, ones)
    finally:
        bench.stop()
        bench.stop_feed()
        for one in ones:
            one.end()
        bench.load_usual("v4l2loopback", nodes.LOOPBACK)


def four(bench, ones):
    """The check above, with the cameras there."""
    began = time.monotonic()
    for one in ones:
        one.start()
    for one in ones:
        one.status("online", began)
    online = time.monotonic() - began
    at = [one.show("listed.mjpg") for one in ones][0]
    for one in ones:
        message = one.found(at)
        device = message.data["device"]
        promise(device == several_id(one.name), f"{one.name}: the candidate is of {device}")
    found = time.monotonic() - at
    memory = re.findall(
        r"VmHWM:\s+(\d+)",
        bench.board.run("for p in $(pidof watchpost); do cat /proc/$p/status; done"),
    )
    promise(len(memory) == len(ones), f"{len(memory)} daemons run")
    promise(all(int(kilobytes) < 64 << 10 for kilobytes in memory), f"memory is {memory} kB")
    # They go, and the first camera is silent from here on.
    for one in ones:
        one.show("nobody.mjpg")
    for one in ones:
        one.quiet()
    north, *others = ones
    processes = [one.pid() for one in others]
    fault = north.show("none")
    blind = north.status("blind", fault) - fault
    at = [one.show("listed.mjpg") for one in others][0]
    for one in others:
        one.found(at)
    for one, process in zip(others, processes, strict=True):
        promise(process and one.pid() == process, f"{one.name} was restarted")
        said = [m.data["state"] for m in one.events.all("status", fault)]
        promise(set(said) <= {"online"}, f"{one.name} said {said} when north failed")
        latest = one.events.all("stats")[-1].data
        reopened = {**latest["counts"], **latest["drops"]}.get("source.reopened", 0)
        promise(reopened == 0, f"{one.name} opened its camera again")
    promise(not north.events.all("candidate", at), "the camera that failed found somebody")
    back = north.show("listed.mjpg")
    north.found(back)
    return (
        f"online after {online:.1f} s, all found within {found:.1f} s; north blind after "
        f"{blind:.1f} s, the others found meanwhile, and north again; at most "
        f"{max(map(int, memory))} kB each"
    )


def turned(bench):
    """A camera that hangs on its side, upside down or behind a mirror: found upright"""
    bench.stop()
    bench.camera(nodes.LOOPBACK)
    seen = []
    for name, settings, frame in (
        ("90", {"ROTATE": "90"}, [480, 640]),
        ("180", {"ROTATE": "180"}, [640, 480]),
        ("270", {"ROTATE": "270"}, [480, 640]),
        ("mirror", {"MIRROR": "true"}, [640, 480]),
        ("180-mirror", {"ROTATE": "180", "MIRROR": "true"}, [640, 480]),
    ):
        bench.feed("YUYV", f"turned-{name}.yuyv")
        at = bench.start({f"WATCHPOST__SOURCE__{k}": v for k, v in settings.items()})
        evidence = bench.fresh_candidate(at).data["evidence"]
        bench.cut_off()
        promise(evidence["frame"] == frame, f"{name}: the frame is {evidence['frame']}")
        # Upright the person stands at the left and at the top.
        x, y, width, height = evidence["box"]
        middle = ((x + width / 2) / frame[0], (y + height / 2) / frame[1])
        promise(middle[0] < 0.45 and middle[1] < 0.5, f"{name}: the face is at {middle}")
        seen.append(f"{name} at {middle[0]:.2f}, {middle[1]:.2f}")
    return "; ".join(seen)


def another_number(bench):
    """A camera that comes back under another number is found; another one under its number is not
    read"""
    bench.stop()
    bench.stop_feed()
    bench.load_usual("vivid", nodes.MULTIPLANAR)
    started = bench.start(reads(nodes.VIVID))
    bench.status("online", started, PATIENCE)
    process = bench.runs()
    at = time.monotonic()
    bench.board.run("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")
    bench.status("blind", at, PATIENCE)
    bench.load("vivid", nodes.GONE, nodes.VIVID)
    at = time.monotonic()
    bench.status("blind", at, PATIENCE, "is another camera now")
    frames = bench.counts(time.monotonic())["source.frames"]
    bench.board.run("while grep -q '^vivid ' /proc/modules; do rmmod vivid || sleep 0.2; done")
    promise(bench.counts(time.monotonic())["source.frames"] == frames, "the other camera was read")
    back = time.monotonic()
    bench.load("vivid", nodes.SWAPPED, nodes.ELSEWHERE)
    online = bench.status("online", back, PATIENCE)
    bench.board.wait_line(["has another node now", nodes.ELSEWHERE], back, 1)
    promise(bench.runs() == process, "the daemon was restarted meanwhile")
    bench.stop()
    bench.load_usual("vivid", nodes.MULTIPLANAR)
    return f"found as {nodes.ELSEWHERE} {online - back:.1f} s after it was back"


def usb(bench):
    """USB cameras (uvcvideo): found by its numbers in any socket, no other in its name"""
    bench.stop()
    bench.stop_feed()
    bench.load_usb()
    try:
        return sockets(bench)
    finally:
        bench.stop()
        for port in (0, 1, 2):
            bench.unplug(port)


def sockets(bench):
    """The check above, with the host controller there."""
    first, other = "usb:1d6b:0102:FIRST", "usb:1d6b:0102:OTHER"
    bench.scene("nobody.mjpg")
    node = bench.plug(0, "FIRST", "/tmp/scene")
    seen = by_path(bench.command("cameras")[1])[node]
    promise(
        (seen["driver"], seen["usb"]) == ("uvcvideo", first),
        f"{node} is {seen['driver']} {seen['usb']}",
    )
    promise(seen["verdict"] == {"state": "usable", "format": "MJPG"}, f"it is {seen['verdict']}")
    started = bench.start({"WATCHPOST__SOURCE__V4L2__DEVICE": first})
    bench.status("online", started, PATIENCE)
    process = bench.runs()
    visit(bench)
    # Another camera of the same model comes in its place, and sees the listed person.
    at = time.monotonic()
    bench.unplug(0)
    bench.status("blind", at, PATIENCE)
    before = bench.counts(time.monotonic())
    place = bench.plug(0, "OTHER", "/scenes/listed.mjpg")
    promise(place == node, f"the other camera has the number {place}, not {node}")
    at = time.monotonic()
    bench.status("blind", at - 60, PATIENCE, f"no camera {first} is plugged in")
    # Long enough for some more attempts.
    bench.count_reaches("source.timeouts", before["source.timeouts"] + 8, PATIENCE)
    now = bench.counts(time.monotonic())
    promise(now["source.frames"] == before["source.frames"], "the other camera was read")
    promise(not bench.events.all("candidate", at), "the other camera found somebody")
    # Without a serial number it could be each of them.
    back = time.monotonic()
    moved = bench.plug(2, "FIRST", "/tmp/scene")
    bench.board.wait_line(["has another node now", moved], back, PATIENCE)
    online = bench.status("online", back, PATIENCE)
    visit(bench)
    promise(bench.runs() == process, "the daemon was restarted meanwhile")
    bench.stop()
    at = bench.start(reads("usb:1d6b:0102"))
    bench.board.wait_line(["could be each of 2 cameras", first, other], at, PATIENCE)
    return f"{node} became {moved}; found {online - back:.1f} s after it was plugged in again"
