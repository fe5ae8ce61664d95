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
import nodes
import scenes
from broker import Broker, Subscriber
from checking import PATIENCE

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


def several_id(name):
    """The device that one of several daemons on the board is."""
    return f"board-{name}"


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
        """version-1.cose and version-2.cose for the board, and cameras.cose for several daemons on
        it; each signed by both."""
        self._draft("draft.json", "board-test", [DEVICE], "0.2", photographs)
        self._sign("draft.json", "version-1.cose")
        self.watchpost("watchlist", "revise", "version-1.cose", "--out", "draft-2.json")
        self._sign("draft-2.json", "version-2.cose")
        # A place with a budget of 0.8, shared out as docs/operate.md says.
        several = [several_id(name) for name in nodes.SEVERAL]
        self._draft("draft-several.json", "board-cameras", several, "0.2", photographs)
        self._sign("draft-several.json", "cameras.cose")

    def _draft(self, file, name, devices, false_alerts_per_day, photographs):
        self.watchpost(
            "watchlist",
            "new",
            file,
            "--id",
            name,
            "--authority",
            "a test",
            "--decision",
            "1/26",
            "--aim",
            "consent",
            *[word for device in devices for word in ("--device", device)],
            "--most-entries",
            "2",
            "--faces-per-day",
            "1000",
            "--false-alerts-per-day",
            false_alerts_per_day,
            "--expires",
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7 * 86400)),
        )
        self.watchpost(
            "watchlist",
            "add",
            file,
            *[Path(p).resolve() for p in photographs],
            "--reference",
            ENTRY,
            "--legal-basis",
            "consent of 2026",
            "--purpose",
            "a test of the board",
        )

    def _sign(self, draft, out):
        sign = ["--key", "alice.key", "--out", out, "--yes", "--cool-down-s", "1"]
        self.watchpost("watchlist", "sign", draft, *sign)
        self.watchpost("watchlist", "sign", out, "--key", "bob.key", "--out", out, "--yes")


class Bench:
    """Board, broker, subscriber, cameras. Everything of it lies in `folder`."""

    def __init__(self, folder, target, package, people):
        self.folder = Path(folder)
        self.people = people
        self.package = unpacked = self.folder / "package"
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
            "several/watchlist.cose": (self.folder / "cameras.cose").read_bytes(),
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
        self.events = Subscriber(self.broker, self.topic, "board-test")
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

    def feed(self, fourcc, scene, size=(640, 480), fps=5, device=nodes.LOOPBACK):
        """Switches a camera that others write into on, with this format; one that was on is
        switched off."""
        self.stop_feed()
        self.scene(scene)
        self.also_feed(fourcc, device, "/tmp/scene", size, fps)

    def also_feed(self, fourcc, device, scene, size=(640, 480), fps=5):
        """Switches another camera on; `scene` is a folder, or a link to one."""
        self._feed(f"tool feed {device} {fourcc} {size[0]} {size[1]} {fps} {scene}")

    def play(self, fourcc, device, scene, size=(640, 480)):
        """Shows a scene of plain pixels to an output of vivid, in this format; returns when it is
        shown."""
        at = time.monotonic()
        self.stop_feed()
        self._feed(f"tool play {device} '{fourcc}' {size[0]} {size[1]} /scenes/{scene}")
        self.board.wait_line([f"play: {device} {fourcc} "], at, 60)

    def _feed(self, command):
        self.board.run(f"{command} >/dev/ttyAMA0 2>&1 & echo $! >>/tmp/feed.pids")

    def stop_feed(self):
        """Switches all of them off."""
        self.board.run(
            "[ ! -e /tmp/feed.pids ] || { for p in $(cat /tmp/feed.pids); do kill $p; "
            "while [ -e /proc/$p ]; do sleep 0.05; done; done; rm /tmp/feed.pids; }"
        )

    def load(self, module, arguments, node):
        """Loads a driver of cameras anew; returns when `node`, of its last camera, is there. Nobody
        may have one of them open."""
        self.board.run(
            # A daemon that looks for its camera may have one open for a moment.
            f"while grep -q '^{module} ' /proc/modules; do rmmod {module} || sleep 0.2; done; "
            f"insmod /modules/{module}.ko {arguments} && "
            f"while [ ! -c {node} ]; do sleep 0.1; done"
        )

    def load_usb(self):
        """Loads what USB cameras without a wire take."""
        self.board.run(
            "while read -r module arguments; do insmod /modules/$module $arguments; done "
            "</modules/later; : >/modules/later"
        )

    def plug(self, port, serial, scene):
        """Plugs a USB camera that shows a scene, or a link to one, into a port; its node."""
        at = f"/sys/devices/platform/vhci_hcd.0/usb*/*-{port + 1}/*:1.0/video4linux/video*/index"
        return self.board.run(
            f"tool usb {port} '{serial}' 5 {scene} >/dev/ttyAMA0 2>&1 & echo $! >/tmp/usb-{port}; "
            # The camera's second node is of metadata.
            f"while ! index=$(grep -l '^0$' {at} 2>/dev/null); do sleep 0.1; done; "
            "node=/dev/$(basename $(dirname $index)); "
            "while [ ! -c $node ]; do sleep 0.1; done; echo $node"
        ).strip()

    def unplug(self, port):
        """Pulls the camera out of the port; returns when its node has gone."""
        at = f"/sys/devices/platform/vhci_hcd.0/usb*/*-{port + 1}"
        self.board.run(
            f"[ ! -e /tmp/usb-{port} ] || {{ kill $(cat /tmp/usb-{port}); rm /tmp/usb-{port}; }}; "
            f"while ls -d {at} >/dev/null 2>&1; do sleep 0.1; done"
        )

    def load_usual(self, module, node):
        """Loads a driver with the cameras that most checks are about."""
        self.load(module, nodes.MODULES[module], node)

    def control(self, device, name, value):
        """Sets a control of a camera's driver."""
        self.board.run(f"tool control {device} '{name}' {value}")

    # The daemon.

    def start(self, settings=None, command="/usr/bin/watchpost run"):
        """Starts a daemon as the service would: as its user, under the packaged configuration but
        for `settings`, which are variables of its environment. When it was started."""
        exports = "".join(f'export {name}="{value}"; ' for name, value in (settings or {}).items())
        self.board.run(
            # As the unit has it.
            "ulimit -l unlimited; "
            f"su -s /bin/sh watchpost -c 'umask 077; {exports}exec {command}' 2>&1 </dev/null | "
            "cat >/dev/ttyAMA0 &"
        )
        return time.monotonic()

    def stop(self):
        """Asks the daemon to end, and waits until it has."""
        self.board.run(
            "! pidof watchpost >/dev/null || kill $(pidof watchpost); "
            "while pidof watchpost >/dev/null; do sleep 0.1; done",
            patience=120,
        )

    def cut_off(self):
        """Ends the daemon at once, as a power cut would."""
        self.board.run(
            "kill -9 $(pidof watchpost); while pidof watchpost >/dev/null; do sleep 0.1; done",
            patience=120,
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

    def fresh_candidate(self, since):
        """Waits for a candidate that was decided at or after `since`: what an outbox kept from
        before comes, too."""
        self.board.wait_line(["Candidate decided"], since, PATIENCE)
        fresh = self.decided(since)
        message = self.events.wait("candidate", lambda _: True, since, PATIENCE, fresh)
        if message is None:
            raise machine.BoardError(f"It did not arrive: {fresh}. {self.board.last_lines()}")
        return message

    def decided(self, since=0.0):
        """Ids of all events that the daemon logged as decided since this power-on."""
        text = "\n".join(self.board.lines(since))
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
