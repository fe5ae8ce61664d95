#!/usr/bin/env python3
"""Kills the real daemon and a real mosquitto at random moments while candidates are decided, and
compares what was decided with what a subscriber got. Shares no code with watchpost: keys, list and
daemon are the built program's, the broker is Debian's, the subscriber is the MQTT client below or
mosquitto_sub, and the outbox's files are read by the documented format.

    cargo build && tests/independent/outage.py target/debug/watchpost --kills 100

Decided is what the ledger of the outbox (`broker.ledger`) names as taken or recovered. Of it, each
id must arrive; first arrivals must come in the order of positions; the bytes must be those that lay
in the outbox when the daemon was killed, and a repetition's must be the same. Ends with 1 where one
of that does not hold. Standard library only."""

import argparse
import hashlib
import json
import os
import pathlib
import random
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


def wait_for(what, condition, patience=60):
    until = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > until:
            sys.exit(f"waited {patience} s for {what}")
        time.sleep(0.02)
    return found


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


class Heard:
    """Payloads in the order of their first arrival."""

    def __init__(self):
        self.lock = threading.Lock()
        self.hashes, self.order, self.repetitions, self.altered = {}, [], 0, []

    def take(self, payload):
        event, digest = json.loads(payload)["id"], hashlib.sha256(payload).hexdigest()
        with self.lock:
            if event not in self.hashes:
                self.hashes[event] = digest
                self.order.append(event)
            else:
                self.repetitions += 1
                if self.hashes[event] != digest:
                    self.altered.append(event)


class Client(threading.Thread):
    """A subscriber by MQTT 3.1.1 with a kept session; reads each connection to its end."""

    def __init__(self, port, heard, slow):
        super().__init__(daemon=True)
        self.port, self.heard, self.slow = port, heard, slow
        self.subscribed = threading.Event()
        self.link, self.away = None, False

    def run(self):
        while True:
            try:
                if not self.away:
                    with socket.create_connection(("127.0.0.1", self.port), 5) as self.link:
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
        name = b"judge"
        connect = b"\x00\x04MQTT\x04\x00\x00\x00" + struct.pack(">H", len(name)) + name
        link.sendall(bytes([0x10, len(connect)]) + connect)
        topic = TOPIC.encode()
        subscribe = b"\x00\x01" + struct.pack(">H", len(topic)) + topic + b"\x01"
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
            rest = body[2 + struct.unpack(">H", body[:2])[0] :]
            packet = b""
            if first[0] >> 1 & 3:
                packet, rest = rest[:2], rest[2:]
            self.heard.take(rest)
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
    def __init__(self, program, folder, port):
        self.program, self.folder, self.child = program, folder, None
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
        """Two keys, and a list with everybody in the bundled portraits that both have signed."""
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
            "[vision]\nlong_side = 320\ntrack_survives_ms = 300\n[decision]\ncool_down_s = 0\n"
            "update_after_s = 1\n"
            f'[source]\nkind = "images"\n[source.images]\npath = {at("pictures")}\n'
            f"fps = {5.0 if slow else 0.0}\nrepeat = 0\nhold = 2\n"
        )

    def start(self):
        log = open(self.folder / "log", "ab")
        command = [self.program, "run", "--config", "watchpost.toml"]
        self.child = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
        """Ids by position, and what became of each."""
        ids, fates = {}, {}
        for name in ["ledger.1", "ledger"]:
            path = self.folder / name
            for line in path.read_text().splitlines() if path.exists() else []:
                try:
                    line = json.loads(line)
                except ValueError:
                    continue  # Cut by a kill.
                if "id" in line:
                    ids[line["position"]] = line["id"]
                    fates.setdefault(line["id"], set()).add(line["fate"])
        return ids, fates


def uuid(little_endian):
    h = little_endian[::-1].hex()
    return "-".join([h[:8], h[8:12], h[12:16], h[16:20], h[20:]])


def on_disk(folder):
    """Hashes of the payloads that lie in an outbox, by event id; see the head of
    src/delivery/outbox/disk/format.rs."""
    found = {}
    for path in folder.glob("*.events"):
        data = path.read_bytes()
        at = 32
        while (at := data.find(b"\xffEV\xfe", at)) >= 0:
            (length,) = struct.unpack_from("<I", data, at + 4)
            payload = data[at + 48 : at + 48 + length]
            if len(data) >= at + 52 + length:  # Whole.
                found[uuid(data[at + 16 : at + 32])] = hashlib.sha256(payload).hexdigest()
            at += 4
    return found


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("watchpost", type=pathlib.Path)
    arguments.add_argument("--kills", type=int, default=100)
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
    broker = Broker(folder, BROKERS[given.broker])
    daemon = Daemon(str(given.watchpost.resolve()), folder, broker.port)
    broker.start()
    heard = Heard()
    if given.subscriber == "client":
        subscriber = Client(broker.port, heard, given.slow)
    else:
        subscriber = MosquittoSub(broker.port, heard)
    subscriber.start()
    wait_for("the subscriber", subscriber.subscribed.is_set)
    # One after the other: each time a new track and a new candidate.
    daemon.configure(["obama-2012.jpg", "collins.jpg", "biden-2010.jpg", "hopper.jpg"], slow=False)
    daemon.start()
    wait_for("the first candidate", lambda: heard.order, 120)
    kills, lay = {"daemon": 0, "broker": 0, "both": 0}, {}
    print(f"outage: seed {seed}, {folder}", file=sys.stderr)
    for n in range(given.kills):
        if given.away:
            subscriber.leave(chance.random() < 0.5)
        time.sleep(chance.uniform(0, 1.5))
        what = chance.choice(["daemon", "broker", "both"])
        kills[what] += 1
        if what != "daemon":
            broker.kill()
        if what == "both":
            time.sleep(chance.choice([0, chance.uniform(0, 1)]))
        if what != "broker":
            daemon.kill()
            lay.update(on_disk(folder / "outbox"))
        first, second = ("broker", "daemon") if chance.random() < 0.5 else ("daemon", "broker")
        for which in [first, second]:
            if which == "broker" and what != "daemon":
                time.sleep(chance.choice([0, chance.uniform(0, 1)]))
                broker.start()
            if which == "daemon" and what != "broker":
                daemon.start()
        if (n + 1) % 25 == 0:
            print(f"outage: {n + 1} kills, {len(heard.order)} events", file=sys.stderr)
    if given.away:
        subscriber.leave(False)
    daemon.kill()
    lay.update(on_disk(folder / "outbox"))
    # From here on nobody on the list is seen, and everything that waits goes out.
    daemon.configure(["hopper-mask.png"], slow=True)
    daemon.start()
    wait_for("the outbox to empty", lambda: not daemon.waiting(), 300)
    daemon.end()
    ids, fates = daemon.ledger()
    decided = [ids[p] for p in sorted(ids)]
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
    differs = [e for e in arrived if e in lay and lay[e] != arrived[e]]
    result = {
        "broker": given.broker,
        "subscriber": given.subscriber
        + f", {given.slow} s a message" * (given.slow > 0)
        + ", half of the time away" * given.away,
        "kills": kills,
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
        "other_bytes_than_on_the_disk": len(differs),
        "repetitions_with_other_bytes": len(heard.altered),
    }
    print(json.dumps(result, indent=1))
    if lost or strange or reordered or differs or heard.altered:
        print(
            f"outage: seed {seed}; see {folder}: {(lost + strange + differs)[:5]}", file=sys.stderr
        )
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
