"""The workbench of the test: keys and signed lists, the board's configuration, and the board with
everything around it."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import image
import machine
import scenes
from broker import Broker, Subscriber

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "board-1"
ROOT_TOPIC = "board-test"
ENTRY = "case-1"
# What differs from the packaged configuration, and why.
CHANGES = {
    "device.id": ('id = "watchpost-1"', f'id = "{DEVICE}"'),
    "source.v4l2.device": ('device = "/dev/video0"', 'device = "/dev/camera"'),
    "source.v4l2.width (emulation is slow)": (
        "width = 1280\nheight = 720\n# Frames",
        "width = 640\nheight = 480\n# Frames",
    ),
    "vision.long_side (emulation is slow)": ("long_side = 640", "long_side = 320"),
    "vision.track_survives_ms (emulation is slow)": (
        "track_survives_ms = 700",
        "track_survives_ms = 3000",
    ),
    "decision.cool_down_s (one visit a check)": ("cool_down_s = 60", "cool_down_s = 1"),
    "source.v4l2.controls.power_line": ('power_line = "as-is"', 'power_line = "50hz"'),
    "source.v4l2.controls.exposure": ('exposure = "as-is"', "exposure = 8000"),
    "source.v4l2.controls.steady_rate": ("steady_rate = false", "steady_rate = true"),
    "broker.url": ('url = "mqtt://localhost"', 'url = "mqtt://10.0.2.101"'),
    "broker.root": ('root = "watchpost"', f'root = "{ROOT_TOPIC}"'),
    "broker.stats_interval_s (the checks read counts)": (
        "stats_interval_s = 60",
        "stats_interval_s = 1",
    ),
}


def configuration(packaged):
    """The packaged configuration with the changes above; fails where one does not apply any
    more."""
    text = packaged
    for name, (old, new) in CHANGES.items():
        if text.count(old) != 1:
            raise SystemExit(
                f"The packaged configuration has no {name} as expected; change "
                "cross/board/bench.py."
            )
        text = text.replace(old, new)
    return text


class Desk:
    """A workstation at which lists are made, with this machine's own build: a board's cannot make
    any."""

    def __init__(self, folder, target):
        self.folder = Path(folder)
        cargo = os.environ.get("CARGO", "cargo")
        build = [cargo, "build", "--locked", "--quiet", "--bin", "watchpost"]
        subprocess.run(build, cwd=ROOT, check=True)
        self._program = [str(Path(target) / "debug" / "watchpost")]
        for key in ("alice.key", "bob.key"):
            self.watchpost("key", "new", key, "--no-passphrase")
        public = [self.watchpost("key", "show", key).strip() for key in ("alice.key", "bob.key")]
        self.watchpost("key", "trust", *public, "--out", "trust.toml")

    def watchpost(self, *arguments):
        """Runs the program in the desk's folder."""
        return image.run(*self._program, *arguments, cwd=self.folder)

    def lists(self, photographs):
        """version-1.cose and version-2.cose, each signed by both."""
        self.watchpost(
            "watchlist",
            "new",
            "draft.json",
            "--id",
            "board-test",
            "--authority",
            "a test",
            "--decision",
            "1/26",
            "--aim",
            "consent",
            "--device",
            DEVICE,
            "--most-entries",
            "2",
            "--faces-per-day",
            "1000",
            "--false-alerts-per-day",
            "0.2",
            "--expires",
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7 * 86400)),
        )
        self.watchpost(
            "watchlist",
            "add",
            "draft.json",
            *[Path(p).resolve() for p in photographs],
            "--reference",
            ENTRY,
            "--legal-basis",
            "consent of 2026",
            "--purpose",
            "a test of the board",
        )
        self._sign("draft.json", "version-1.cose")
        self.watchpost("watchlist", "revise", "version-1.cose", "--out", "draft-2.json")
        self._sign("draft-2.json", "version-2.cose")

    def _sign(self, draft, out):
        sign = ["--key", "alice.key", "--out", out, "--yes", "--cool-down-s", "1"]
        self.watchpost("watchlist", "sign", draft, *sign)
        self.watchpost("watchlist", "sign", out, "--key", "bob.key", "--out", out, "--yes")


class Bench:
    """Board, broker, subscriber, cameras. Everything of it lies in `folder`."""

    def __init__(self, folder, target, package, people):
        self.folder = Path(folder)
        self.people = people
        unpacked = self.folder / "package"
        subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
        sysroot = Path(target) / "cross" / "bullseye-arm64"
        self.desk = Desk(self.folder, target)
        self.desk.lists(people.enrolled)
        scenes.make(self.folder / "scenes", people)
        self._parts = image.Parts(target)
        self._initramfs = self.folder / "initramfs.gz"
        packaged = unpacked / "etc/watchpost/watchpost.toml"
        files = {
            "etc/watchpost/watchpost.toml": configuration(packaged.read_text()).encode(),
            "etc/watchpost/trust.toml": (self.folder / "trust.toml").read_bytes(),
            # For an attempt to put the older list back on the disk.
            "old/watchlist.cose": (self.folder / "version-1.cose").read_bytes(),
        }
        packaged.unlink()
        image.initramfs(
            self._initramfs, self._parts, unpacked, files, self.folder / "scenes", sysroot
        )
        self._disk = self.folder / "disk.img"
        state = self.folder / "state"
        state.mkdir()
        shutil.copy(self.folder / "version-1.cose", state / "watchlist.cose")
        # Room for what the daemon wants beside a full outbox.
        machine.empty_disk(self._disk, 256, state)
        self.broker = Broker(self.folder)
        self.broker.start()
        self.topic = f"{ROOT_TOPIC}/v1/{DEVICE}"
        self.events = Subscriber(self.broker, self.topic)
        self.board = None

    def power_on(self):
        """Boots the board from its disk."""
        self.board = machine.Machine(
            self._parts.kernel, self._initramfs, self._disk, self.folder, self.broker.port
        )

    def close(self):
        """Ends whatever runs."""
        if self.board:
            self.board.kill()
        self.events.stop()
        self.broker.stop()

    # The cameras.

    def camera(self, device):
        """Which of the two cameras the daemon reads, from its next start on."""
        self.board.run(f"ln -sfn {device} /dev/camera")

    def scene(self, name):
        """What happens before the camera from now on."""
        self.board.run(f"ln -sfn /scenes/{name} /tmp/scene")
        return time.monotonic()

    def feed(self, fourcc, scene, size=(640, 480), fps=5):
        """Switches the camera that others write into on, with this format; one that was on is
        switched off."""
        self.stop_feed()
        self.scene(scene)
        self.board.run(
            f"tool feed {image.LOOPBACK} {fourcc} {size[0]} {size[1]} {fps} /tmp/scene "
            ">/dev/ttyAMA0 2>&1 & echo $! >/tmp/feed.pid"
        )

    def stop_feed(self):
        """Switches it off."""
        self.board.run("[ ! -e /tmp/feed.pid ] || { kill $(cat /tmp/feed.pid); rm /tmp/feed.pid; }")

    # The daemon.

    def start(self):
        """Starts the daemon as the service would: as its user, under the packaged configuration.
        When it was started."""
        self.board.run(
            "su -s /bin/sh watchpost -c 'umask 077; exec /usr/bin/watchpost run' 2>&1 </dev/null | "
            "cat >/dev/ttyAMA0 &"
        )
        return time.monotonic()

    def stop(self):
        """Asks the daemon to end, and waits until it has."""
        self.board.run(
            "kill $(pidof watchpost); while pidof watchpost >/dev/null; do sleep 0.1; done",
            patience=60,
        )

    def runs(self):
        """The daemon's process number; fails where it does not run."""
        return self.board.run("pidof watchpost").strip()

    def command(self, *arguments, user="watchpost"):
        """Runs a command of the program on the board as a user: (exit code, objects of its JSON
        lines)."""
        script = (
            f"su -s /bin/sh {user} -c '/usr/bin/watchpost {' '.join(arguments)} --json' "
            "2>/dev/null; echo $?"
        )
        *lines, code = self.board.run(script).splitlines()
        return int(code), [json.loads(line) for line in lines]

    def first_frame(self, since):
        """What the daemon said of the time to its first frame after it was started at `since`."""
        self.board.wait_line(["The first frame was looked at"], since, 60)
        text = next(t for t in self.board.lines(since) if "The first frame was looked at" in t)
        return int(re.search(r"after_ms=(\d+)", text)[1])

    def counts(self, since, patience=60):
        """The next counts that the board publishes: {name: number}, drops among them."""
        message = self.events.wait("stats", lambda _: True, since, patience)
        if message is None:
            raise machine.BoardError(f"No counts within {patience} s. {self.board.last_lines()}")
        return {**message.data["counts"], **message.data["drops"]}

    def count_reaches(self, name, least, patience):
        """Waits until a count is at least so high; (host's time, value), or fails."""
        message = self.events.wait(
            "stats",
            lambda d: (d["counts"] | d["drops"]).get(name, 0) >= least,
            time.monotonic(),
            patience,
        )
        if message is None:
            latest = self.events.all("stats")[-1:]
            seen = {**latest[0].data["counts"], **latest[0].data["drops"]} if latest else {}
            raise machine.BoardError(
                f"{name} did not reach {least} within {patience} s; "
                f"{ ({k: v for k, v in seen.items() if v}) }. {self.board.last_lines()}"
            )
        return message.at, (message.data["counts"] | message.data["drops"])[name]

    def status(self, state, since, patience, reason=""):
        """Waits for a status; when it arrived."""
        message = self.events.wait(
            "status",
            lambda d: d["state"] == state and reason in (d.get("reason") or ""),
            since,
            patience,
        )
        if message is None:
            said = [
                f"{m.data['state']} {m.data.get('reason', '')}"
                for m in self.events.all("status", since)
            ]
            raise machine.BoardError(
                f"No status {state} {reason!r} within {patience} s, but {said}. "
                f"{self.board.last_lines()}"
            )
        return message.at

    def candidate(self, since, patience):
        """Waits for a candidate about the listed person."""
        message = self.events.wait("candidate", lambda d: d["entry"] == ENTRY, since, patience)
        if message is None:
            raise machine.BoardError(f"No candidate within {patience} s. {self.board.last_lines()}")
        return message

    def decided(self):
        """Ids of all events that the daemon logged as decided since this power-on."""
        text = "\n".join(self.board.lines())
        return re.findall(r"Candidate decided: .*event=([0-9a-f-]{36})", text)

    def received(self):
        """Ids of all candidate events that arrived, in order, repetitions included."""
        return [m.event["id"] for m in self.events.all("candidate")]


def need_tools():
    """Names what is missing on this machine."""
    missing = [
        t
        for t in ("qemu-system-aarch64", "mosquitto", "mosquitto_sub", "busybox", "make")
        if not shutil.which(t)
    ]
    if missing:
        raise SystemExit(f"Missing: {', '.join(missing)}; PATH is {os.environ['PATH']}")
