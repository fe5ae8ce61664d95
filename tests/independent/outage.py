#!/usr/bin/env python3
"""Breaks what the real daemon stands on at random moments while candidates are decided, and
compares what was decided with what a subscriber got. Shares no code with watchpost: keys, list and
daemon are the built program's, the broker is Debian's mosquitto, the subscriber is the MQTT client
below or mosquitto_sub, and the outbox's files are read by the documented format.

    cargo build && tests/independent/outage.py target/debug/watchpost --faults 100

Kinds of faults:

* daemon, broker, both: killed, and started again;
* stop-daemon, stop-broker: held for up to three seconds;
* cut, silent: all links end; all links stay and carry nothing;
* full, read-only, eio-write, eio-read: what the disk says to the outbox, to the device's memory, to
  the audit log, or to several of them, by `faults.c`, which needs `cc`. The daemon is not killed
  before the disk works again: what it holds in memory meanwhile is lost with it, and `status` says
  so;
* clock: the wall clock goes back by a minute to an hour for some seconds, by `faults.c`.

Now and then the device is suspended by a signed order, which is repeated until it answers.

Decided is what the ledger of the outbox (`broker.ledger`) names as taken or recovered. Of it, each
id must arrive; first arrivals must come in the order of decisions, but for a segment of the outbox
that a start could not read; the bytes must be those that lay
in the outbox when the daemon was killed, and a repetition's must be the same. Each order must be
answered, nothing may be decided while it holds, and no status may say `online` then or while the
clock is wrong.

The audit log is on. After each kill it must go on from what it was, record by record, and hold the
record of each candidate that has arrived by then; in the end each candidate's record must commit to
the bytes that arrived, at the index that they name, and the log's root, computed here, must be the
one that the device signed.

Ends with 1 where one of that does not hold. Standard library only."""

import argparse
import base64
import collections
import contextlib
import datetime
import errno
import hashlib
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PORTRAITS = pathlib.Path(__file__).resolve().parents[2] / "src/demo/portraits"
TOPIC = "site/v1/gate-1/candidate"
BROKERS = {
    # Holds nothing: what it acknowledged has been written to the subscriber's socket, or it says
    # that nobody listens.
    "memory": "persistence false\nmax_inflight_messages 0\nmax_queued_messages 0\n",
    # As Debian starts it, and a subscriber that is away is queued for in memory.
    "default": "persistence false\n",
    # Saved once a minute.
    "minute": "persistence true\nautosave_interval 60\nmax_inflight_messages 0\n"
    "max_queued_messages 10000\n",
    # Saved after each change.
    "each": "persistence true\nautosave_on_changes true\nautosave_interval 1\n"
    "max_inflight_messages 0\nmax_queued_messages 0\n",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# Seconds. The device itself waits for half a minute between two connections, and the machine may be
# busy.
PATIENCE = 180


def wait_for(what, condition, patience=PATIENCE):
    until = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > until:
            sys.exit(f"waited {patience} s for {what}")
        time.sleep(0.02)
    return found


KINDS = ["daemon", "broker", "both", "stop-daemon", "stop-broker", "cut", "silent"]
DISK = {
    "full": ("write", errno.ENOSPC),
    "read-only": ("write", errno.EROFS),
    "eio-write": ("write", errno.EIO),
    "eio-read": ("read", errno.EIO),
}
SHIMMED = [*DISK, "clock"]
# In the order of `faults.c`.
FILES = ["outbox", "state", "audit"]


class Shim:
    """What `faults.c` does to the daemon."""

    def __init__(self, folder):
        self.library, self.file = folder / "faults.so", folder / "faults.control"
        source = pathlib.Path(__file__).with_name("faults.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source)]
        subprocess.run(command, check=True)
        self.file.write_bytes(bytes(mmap.PAGESIZE))
        with self.file.open("r+b") as file:
            self.control = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self.environment = {
            "LD_PRELOAD": str(self.library),
            "FAULTS_CONTROL": str(self.file),
            "FAULTS_OUTBOX": str(folder / "outbox"),
            "FAULTS_STATE": str(folder / "state.json"),
            "FAULTS_AUDIT": str(folder / "audit"),
        }

    def set(self, write=0, read=0, files=(), clock=0):
        concerned = [name in files for name in FILES]
        self.control[:32] = struct.pack("=6iq", write, read, *concerned, 0, clock)


class Proxy(threading.Thread):
    """Between daemon and broker; ends its links, or carries nothing, when it is told to."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.to, self.listener = port, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.flows, self.links = threading.Event(), []
        self.flows.set()

    def run(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.to), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self.links = [*self.links[-4:], near, far]
            for one, other in [(near, far), (far, near)]:
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self.flows.wait()
                other.sendall(data)
        for end in [one, other]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for link in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


def connect(port, name, clean):
    link = socket.create_connection(("127.0.0.1", port), 5)
    body = b"\x00\x04MQTT\x04" + bytes([2 * clean]) + b"\x00\x00"
    body += struct.pack(">H", len(name)) + name
    link.sendall(bytes([0x10, len(body)]) + body)
    return link


def publish(port, topic, payload):
    """Retained, at QoS 1; whether the broker acknowledged it."""
    try:
        with connect(port, b"order", True) as link:
            body = struct.pack(">H", len(topic)) + topic.encode() + b"\x00\x01" + payload
            length, left = b"", len(body)
            while left or not length:
                left, digit = left >> 7, left & 0x7F
                length += bytes([digit | 0x80 * bool(left)])
            link.sendall(b"\x33" + length + body)
            answer = b""
            while len(answer) < 8:  # CONNACK and PUBACK.
                if not (more := link.recv(8 - len(answer))):
                    return False
                answer += more
            return answer[4] >> 4 == 4
    except OSError:
        return False


class Broker:
    def __init__(self, folder, settings):
        self.port, self.child, self.folder = free_port(), None, folder
        self.program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        user = "user root\n" if os.geteuid() == 0 else ""
        text = (
            f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence_location "
            f"{folder}/\n{settings}"
        )
        (folder / "mosquitto.conf").write_text(text)

    def start(self):
        log = open(self.folder / "mosquitto.log", "ab")
        command = [self.program, "-c", str(self.folder / "mosquitto.conf")]
        self.child = subprocess.Popen(command, stdout=log, stderr=log)

        def listens():
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        wait_for("mosquitto", listens)

    def kill(self):
        self.child.kill()
        self.child.wait()


class Said:
    """What the device says of itself."""

    def __init__(self):
        self.status, self.statuses, self.changes = {}, [], []

    def take(self, payload, topic):
        data = json.loads(payload)["data"]
        if topic.endswith(b"/status"):
            self.status = data
            self.statuses.append(data)
        elif change := data.get("last_change"):
            self.changes.append(change)


class Heard:
    """Payloads in the order of their first arrival."""

    def __init__(self):
        self.lock = threading.Lock()
        self.when = {}
        self.hashes, self.order, self.repetitions, self.altered = {}, [], 0, []
        self.committed = {}

    def take(self, payload, _topic=b""):
        event = json.loads(payload)
        data, event = event["data"], event["id"]
        digest = hashlib.sha256(payload).hexdigest()
        commitment = hashlib.sha256(b"watchpost candidate v1\n" + payload).digest()
        with self.lock:
            self.committed[event] = (data.get("audit", {}).get("index"), commitment)
            if event not in self.hashes:
                self.hashes[event] = digest
                self.when[event] = data["decided_at"]
                self.order.append(event)
            else:
                self.repetitions += 1
                if self.hashes[event] != digest:
                    self.altered.append(event)


class Client(threading.Thread):
    """A subscriber by MQTT 3.1.1 with a kept session; reads each connection to its end."""

    def __init__(self, port, heard, slow, name=b"judge", topics=(TOPIC,)):
        super().__init__(daemon=True)
        self.port, self.heard, self.slow = port, heard, slow
        self.client, self.topics = name, topics
        self.subscribed = threading.Event()
        self.link, self.away = None, False

    def run(self):
        while True:
            try:
                if not self.away:
                    with connect(self.port, self.client, False) as self.link:
                        self.connection(self.link)
            except (OSError, IndexError, struct.error):
                pass
            self.subscribed.clear()
            time.sleep(0.05)

    def leave(self, away):
        """Its connection breaks, and it stays away until it is told otherwise; its session is
        kept."""
        self.away = away
        if away and self.link:
            try:
                self.link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def connection(self, link):
        link.settimeout(None)
        subscribe = b"\x00\x01"
        for topic in self.topics:
            subscribe += struct.pack(">H", len(topic)) + topic.encode() + b"\x01"
        link.sendall(bytes([0x82, len(subscribe)]) + subscribe)
        reader = link.makefile("rb")
        while True:
            first = reader.read(1)
            if not first:
                return
            length = shift = 0
            while True:
                byte = reader.read(1)[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = reader.read(length)
            if len(body) < length:
                return
            if first[0] >> 4 == 9:
                self.subscribed.set()
            if first[0] >> 4 != 3:
                continue
            at = 2 + struct.unpack(">H", body[:2])[0]
            topic, rest = body[2:at], body[at:]
            packet = b""
            if first[0] >> 1 & 3:
                packet, rest = rest[:2], rest[2:]
            self.heard.take(rest, topic)
            time.sleep(self.slow)
            if packet:
                try:
                    link.sendall(b"\x40\x02" + packet)
                except OSError:
                    # The broker was killed; what it had sent before is still to be read.
                    pass


class MosquittoSub(threading.Thread):
    def __init__(self, port, heard):
        super().__init__(daemon=True)
        self.heard, self.subscribed = heard, threading.Event()
        command = [
            "mosquitto_sub",
            "-V",
            "5",
            "-p",
            str(port),
            "-t",
            TOPIC,
            "-q",
            "1",
            "-c",
            "-i",
            "judge",
            "-x",
            "86400",
            "-d",
        ]
        out = subprocess.PIPE
        self.child = subprocess.Popen(
            ["stdbuf", "-oL", *command], stdout=out, stderr=subprocess.STDOUT
        )

    def run(self):
        for line in self.child.stdout:
            if line.startswith(b"{"):
                self.heard.take(line.rstrip(b"\n"))
            elif b"SUBACK" in line or line.startswith(b"Subscribed"):
                self.subscribed.set()


class Daemon:
    def __init__(self, program, folder, port, environment):
        self.program, self.folder, self.child = program, folder, None
        self.environment = {**os.environ, **environment}
        self.desk()
        self.port = port

    def ok(self, *arguments):
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, cwd=self.folder
        )
        if done.returncode:
            sys.exit(f"watchpost {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def desk(self):
        """The device's identity, two keys, and a list with everybody in the bundled portraits that
        both have signed."""
        self.public = self.ok("key", "identity", "identity.key").strip()
        keys = []
        for key in ["alice.key", "bob.key"]:
            self.ok("key", "new", key, "--no-passphrase")
            keys.append(self.ok("key", "show", key).strip())
        self.ok("key", "trust", *keys, "--out", "trust.toml")
        new = (
            "--id judge --authority judge --decision 1/26 --aim consent --device gate-1 "
            "--most-entries 4"
        )
        new += " --faces-per-day 1000 --false-alerts-per-day 1 --expires 2099-01-01T00:00:00Z"
        self.ok("watchlist", "new", "draft.json", *new.split())
        for n, name in enumerate(["obama-2012.jpg", "biden-2010.jpg", "collins.jpg", "hopper.jpg"]):
            entry = ["--reference", f"case-{n}", "--legal-basis", "order", "--purpose", "judging"]
            self.ok("watchlist", "add", "draft.json", str(PORTRAITS / name), *entry)
        sign = ["--key", "alice.key", "--out", "list.cose", "--yes", "--cool-down-s", "0"]
        self.ok("watchlist", "sign", "draft.json", *sign)
        self.ok("watchlist", "sign", "list.cose", "--key", "bob.key", "--out", "list.cose", "--yes")

    def configure(self, pictures, slow):
        folder = self.folder / "pictures"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for n, name in enumerate(pictures):
            shutil.copy(PORTRAITS / name, folder / f"{n}-{name}")

        def at(name):
            return json.dumps(str(self.folder / name))

        (self.folder / "watchpost.toml").write_text(
            f'[device]\nid = "gate-1"\n'
            f"[watchlist]\nlist = {at('list.cose')}\ntrust = {at('trust.toml')}\nstate = "
            f"{at('state.json')}\n"
            "require_synchronised_clock = false\n"
            f'[broker]\nurl = "mqtt://127.0.0.1:{self.port}"\nroot = "site"\noutbox = '
            f"{at('outbox')}\n"
            f"ledger = {at('ledger')}\noutbox_events = 1000000\noutbox_bytes = 1073741824\n"
            f"[audit]\nidentity = {at('identity.key')}\nlog = {at('audit')}\n"
            "[vision]\nlong_side = 320\ntrack_survives_ms = 300\n[decision]\ncool_down_s = 0\n"
            "update_after_s = 1\n"
            f'[source]\nkind = "images"\n[source.images]\npath = {at("pictures")}\n'
            f"fps = {5.0 if slow else 0.0}\nrepeat = 0\nhold = 2\n"
        )

    def start(self):
        log = open(self.folder / "log", "ab")
        command = [self.program, "run", "--config", "watchpost.toml"]
        self.child = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self.environment,
        )

    def kill(self):
        if self.child.poll() is not None:
            sys.exit(f"the daemon ended by itself: {(self.folder / 'log').read_text()[-2000:]}")
        self.child.kill()
        self.child.wait()

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()

    def waiting(self):
        shown = self.ok("outbox", "show", str(self.folder / "outbox"), "--json")
        return [line for line in map(json.loads, shown.splitlines()) if line["state"] == "waiting"]

    def ledger(self):
        """What became of each event by its id, in the order in which they were taken. Positions of
        what only memory held are used again."""
        fates = {}
        for name in ["ledger.1", "ledger"]:
            path = self.folder / name
            for line in path.read_text().splitlines() if path.exists() else []:
                try:
                    line = json.loads(line)
                except ValueError:
                    continue  # Cut by a kill.
                if "id" in line:
                    fates.setdefault(line["id"], set()).add(line["fate"])
        return fates


def uuid(little_endian):
    h = little_endian[::-1].hex()
    return "-".join([h[:8], h[8:12], h[12:16], h[16:20], h[20:]])


def on_disk(folder):
    """Hashes of the payloads that lie in an outbox, by event id; see the head of
    src/delivery/outbox/disk/format.rs."""
    found = {}
    for path in folder.glob("*.events"):
        data = path.read_bytes()
        # Events, and events that carry their record of the audit log.
        for event in re.finditer(rb"\xffE[VL]\xfe", data):
            at = event.start()
            (length,) = struct.unpack_from("<I", data, at + 4)
            payload = data[at + 48 : at + 48 + length]
            if len(data) >= at + 52 + length:  # Whole.
                found[uuid(data[at + 16 : at + 32])] = hashlib.sha256(payload).hexdigest()
    return found


def audit_log(folder):
    """Bytes of the whole records of a log, their leaves, and of each candidate's record by the
    event's id where it is and what it commits to; see the head of src/audit/store.rs and
    config/schemas/audit.cddl."""
    data = (folder / "log").read_bytes() if (folder / "log").exists() else b""
    at = data.find(b"\n", data.find(b"\n") + 1) + 1
    leaves, candidates = [], {}
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        record = data[at + 12 : at + 12 + length]
        leaf = hashlib.sha256(b"\0" + record).digest()
        if not length or len(record) < length or leaf[:8] != data[at + 4 : at + 12]:
            break  # Torn.
        # {0: 1, 1: milliseconds, 2: 7, 3: [event, sequence, commitment]}
        if record[:4] == b"\xa4\0\x01\x01" and record[13:18] == b"\x02\x07\x03\x83\x50":
            event, commitment = record[18:34].hex(), record[37:69]
            parts = [event[:8], event[8:12], event[12:16], event[16:20], event[20:]]
            candidates["-".join(parts)] = (len(leaves), commitment)
        leaves.append(leaf)
        at += 12 + length
    return data[:at], leaves, candidates


def root(leaves):
    """Of the tree of RFC 6962."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


class LogJudge:
    """What must hold of the log after each kill."""

    def __init__(self, folder, heard):
        self.folder, self.heard, self.before, self.wrong = folder, heard, b"", []

    def look(self):
        data, _, candidates = audit_log(self.folder)
        if not data.startswith(self.before):
            self.wrong.append("the log did not go on from what it was")
        self.before = data
        with self.heard.lock:
            missing = [e for e in self.heard.order if e not in candidates]
        self.wrong += [f"{e} arrived and has no record" for e in missing]

    def close(self, daemon):
        self.look()
        _, leaves, candidates = audit_log(self.folder)
        for event, said in self.heard.committed.items():
            if candidates.get(event) != said:
                self.wrong.append(f"the record of {event} is {candidates.get(event)}, not {said}")
        note = (self.folder / "checkpoint").read_text().split("\n")
        signed = base64.b64decode(note[2])
        if (int(note[1]), signed) != (len(leaves), root(leaves)):
            self.wrong.append("the signed root is not that of the log")
        daemon.ok("audit", "verify", "--log", str(self.folder), "--key", daemon.public)
        return len(leaves), len(candidates)


def stamp(at):
    return datetime.datetime.fromisoformat(at)


class Trial:
    """The daemon, what it stands on, and what was done to it."""

    def __init__(self, given, folder, chance):
        self.given, self.folder, self.chance = given, folder, chance
        self.kinds, self.shim = [*KINDS], None
        if shutil.which("cc"):
            self.shim = Shim(folder)
            self.kinds += SHIMMED
        else:
            print("outage: no cc: no faults of the disk and the clock", file=sys.stderr)
        if given.kinds:
            self.kinds = [kind for kind in self.kinds if kind in given.kinds.split(",")]
        self.broker = Broker(folder, BROKERS[given.broker])
        self.broker.start()
        self.proxy = Proxy(self.broker.port)
        self.proxy.start()
        environment = self.shim.environment if self.shim else {}
        program = str(given.watchpost.resolve())
        self.daemon = Daemon(program, folder, self.proxy.port, environment)
        self.heard, self.said = Heard(), Said()
        if given.subscriber == "client":
            self.subscriber = Client(self.broker.port, self.heard, given.slow)
        else:
            self.subscriber = MosquittoSub(self.broker.port, self.heard)
        topics = ("site/v1/gate-1/status", "site/v1/gate-1/watchlist/state")
        self.watcher = Client(self.broker.port, self.said, 0, b"watcher", topics)
        for client in [self.subscriber, self.watcher]:
            client.start()
            wait_for("the subscriber", client.subscribed.is_set)
        self.done, self.lay = collections.Counter(), {}
        self.judge = LogJudge(folder / "audit", self.heard)
        self.orders, self.unanswered, self.false_online = [], [], []

    def fault(self):
        """One, at random; everything works again at its end."""
        chance, kind = self.chance, self.chance.choice(self.kinds)
        self.done[kind] += 1
        if kind in ["daemon", "broker", "both"]:
            self.kill(kind)
        elif kind.startswith("stop-"):
            process = (self.daemon if kind == "stop-daemon" else self.broker).child
            process.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0, 3))
            process.send_signal(signal.SIGCONT)
        elif kind == "cut":
            self.proxy.cut()
        elif kind == "silent":
            self.proxy.flows.clear()
            time.sleep(chance.uniform(0, 3))
            if chance.random() < 0.5:
                self.proxy.cut()
            self.proxy.flows.set()
        elif kind == "clock":
            self.clock()
        else:
            self.disk(*DISK[kind])

    def kill(self, what):
        chance, broker, daemon = self.chance, self.broker, self.daemon
        if what != "daemon":
            broker.kill()
        if what == "both":
            time.sleep(chance.choice([0, chance.uniform(0, 1)]))
        if what != "broker":
            daemon.kill()
            self.lay.update(on_disk(self.folder / "outbox"))
            self.judge.look()
        first, second = ("broker", "daemon") if chance.random() < 0.5 else ("daemon", "broker")
        for which in [first, second]:
            if which == "broker" and what != "daemon":
                time.sleep(chance.choice([0, chance.uniform(0, 1)]))
                broker.start()
            if which == "daemon" and what != "broker":
                daemon.start()

    def disk(self, what, error):
        files = self.chance.sample(FILES, self.chance.randint(1, len(FILES)))
        self.shim.set(**{what: error}, files=files)
        self.done |= {f"{what} of {name}": self.done[f"{what} of {name}"] + 1 for name in files}
        time.sleep(self.chance.uniform(0, 3))
        if self.chance.random() < 0.5:
            self.proxy.cut()
        self.shim.set()
        # What waits in memory is written within some seconds.
        wait_for("the disk to be used again", self.is_well)

    def is_well(self):
        # More faces than were declared degrade a device, too.
        degraded = self.said.status.get("degraded") or ""
        return self.said.status.get("matching") and "disk" not in degraded

    def clock(self):
        wait_for("the device to match", lambda: self.said.status.get("matching"))
        self.shim.set(clock=-self.chance.randint(60, 3600))
        # Without a link it is told when there is one again.
        until = time.monotonic() + PATIENCE
        while self.said.status.get("matching") and time.monotonic() < until:
            time.sleep(0.05)
        if self.said.status.get("matching"):
            self.false_online.append("clock")
        seen = len(self.said.statuses)
        time.sleep(self.chance.uniform(0, 2))
        self.false_online += ["clock" for s in self.said.statuses[seen:] if s["state"] == "online"]
        self.shim.set()

    def order(self):
        """Suspends the device for some seconds, while things break; waits for the answer."""
        number = len(self.orders)
        begin = datetime.datetime.now(datetime.UTC)
        end = begin + datetime.timedelta(seconds=20)
        file = self.folder / f"order-{number}"
        shown = self.daemon.ok(
            *["watchlist", "suspend", "--device", "gate-1", "--key", "alice.key", "--json"],
            *["--to", end.isoformat(timespec="seconds").replace("+00:00", "Z"), "--out", str(file)],
        )
        name = json.loads(shown)["order"]
        self.orders.append(name)
        topic = f"site/v1/gate-1/suspend/{name}"
        kinds, self.kinds = self.kinds, [k for k in self.kinds if k not in SHIMMED] or self.kinds
        until, answer = time.monotonic() + PATIENCE, None
        while not answer and time.monotonic() < until:
            publish(self.broker.port, topic, file.read_bytes())
            self.fault()
            time.sleep(0.5)
            answer = next((c for c in self.said.changes if c["detail"] == name), None)
        self.kinds = kinds
        if not answer:
            self.unanswered.append(name)
        elif answer["what"] == "suspended":
            at = stamp(answer["at"])
            wait_for("its end", lambda: datetime.datetime.now(datetime.UTC) > end)
            # The seconds of an order are whole.
            last = end - datetime.timedelta(seconds=1)
            decided = [e for e, when in self.heard.when.items() if at < stamp(when) < last]
            online = [s for s in self.said.statuses if s["state"] == "online"]
            online = [s for s in online if at < stamp(s["since"]) < last]
            self.unanswered += [f"{name}: {e}" for e in decided]
            self.false_online += [f"{name}: {s['since']}" for s in online]
        publish(self.broker.port, topic, b"")


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("watchpost", type=pathlib.Path)
    arguments.add_argument("--faults", type=int, default=100)
    arguments.add_argument("--kinds", help="only these, with commas between them")
    arguments.add_argument(
        "--order-every", type=int, default=40, help="faults between two orders; 0: none"
    )
    arguments.add_argument(
        "--broker", choices=BROKERS, default="memory", help="the broker's settings"
    )
    arguments.add_argument("--subscriber", choices=["client", "mosquitto_sub"], default="client")
    arguments.add_argument(
        "--slow",
        type=float,
        default=0,
        help="seconds for which the client thinks about each message",
    )
    arguments.add_argument(
        "--away", action="store_true", help="the client is away half of the time"
    )
    arguments.add_argument("--seed", type=int, default=None)
    arguments.add_argument("--keep", action="store_true", help="leave the folder there")
    given = arguments.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="outage-"))
    trial = Trial(given, folder, chance)
    broker, daemon, heard = trial.broker, trial.daemon, trial.heard
    subscriber, lay = trial.subscriber, trial.lay
    # One after the other: each time a new track and a new candidate.
    daemon.configure(["obama-2012.jpg", "collins.jpg", "biden-2010.jpg", "hopper.jpg"], slow=False)
    daemon.start()
    wait_for("the first candidate", lambda: heard.order, 120)
    print(f"outage: seed {seed}, {folder}", file=sys.stderr)
    for n in range(given.faults):
        if given.away:
            subscriber.leave(chance.random() < 0.5)
        time.sleep(chance.uniform(0, 1.5))
        trial.fault()
        if given.order_every and (n + 1) % given.order_every == 0:
            trial.order()
        if (n + 1) % 25 == 0:
            print(f"outage: {n + 1} faults, {len(heard.order)} events", file=sys.stderr)
    if given.away:
        subscriber.leave(False)
    daemon.kill()
    lay.update(on_disk(folder / "outbox"))
    # From here on nobody on the list is seen, and everything that waits goes out.
    daemon.configure(["hopper-mask.png"], slow=True)
    ended_at = len(audit_log(trial.judge.folder)[1])
    daemon.start()
    # Ended before it has begun it would sign nothing.
    wait_for("its record", lambda: len(audit_log(trial.judge.folder)[1]) > ended_at)
    wait_for("the outbox to empty", lambda: not daemon.waiting(), 300)
    daemon.end()
    fates = daemon.ledger()
    _, _, recorded = audit_log(trial.judge.folder)
    # The outbox has the log's entries, too; for them nobody need listen.
    decided = [e for e in fates if e in recorded or e in heard.hashes]
    records, of_candidates = trial.judge.close(daemon)
    # What the broker still has for a slow subscriber.
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 3 + 10 * given.slow:
        if len(heard.order) + heard.repetitions != seen:
            seen, since = len(heard.order) + heard.repetitions, time.monotonic()
        time.sleep(0.05)
    broker.kill()
    if given.subscriber == "mosquitto_sub":
        subscriber.child.kill()

    arrived = heard.hashes
    other = {f for f in ["expired", "dropped", "given_up", "revoked", "unreadable"]}
    named = [e for e in decided if e not in arrived and fates[e] & other]
    lost = [e for e in decided if e not in arrived and not fates[e] & other]
    by_broker = [e for e in lost if "delivered" in fates[e]]
    place = {e: n for n, e in enumerate(decided)}
    strange = [e for e in heard.order if e not in place]
    places = [place[e] for e in heard.order if e in place]
    reordered = sum(a > b for a, b in zip(places, places[1:], strict=False))
    # What a start cannot read of the outbox comes after a later one.
    left_alone = (folder / "log").read_text().count("cannot be read and is left alone: number=")
    differs = [e for e in arrived if e in lay and lay[e] != arrived[e]]
    result = {
        "broker": given.broker,
        "subscriber": given.subscriber
        + f", {given.slow} s a message" * (given.slow > 0)
        + ", half of the time away" * given.away,
        "faults": dict(trial.done),
        "orders": len(trial.orders),
        "orders_unobeyed": len(trial.unanswered),
        "false_online": len(trial.false_online),
        "decided": len(decided),
        "arrived": len(arrived),
        "repetitions": heard.repetitions,
        "compared_with_the_disk": sum(e in lay for e in arrived),
        "lost": len(lost),
        # The ledger lacks the line where the daemon was killed between the acknowledgement and the
        # line.
        "of_them_acknowledged_by_the_broker_as_the_ledger_says": len(by_broker),
        "left_under_another_name": len(named),
        "never_decided": len(strange),
        "out_of_order": reordered,
        "segments_that_a_start_could_not_read": left_alone,
        "other_bytes_than_on_the_disk": len(differs),
        "repetitions_with_other_bytes": len(heard.altered),
        "records": records,
        "records_of_candidates": of_candidates,
        "wrong_with_the_log": len(trial.judge.wrong),
    }
    print(json.dumps(result, indent=1))
    wrong = lost + strange + differs + heard.altered + trial.unanswered + trial.false_online
    wrong += trial.judge.wrong
    if wrong or reordered > left_alone:
        print(f"outage: seed {seed}; see {folder}: {wrong[:5]}", file=sys.stderr)
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
