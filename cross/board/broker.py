"""A mosquitto on this machine and a subscriber that keeps everything that the board publishes."""

import json
import socket
import subprocess
import threading
import time
from pathlib import Path


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """Starts and stops the broker; its sessions survive a stop, as those of a real one do."""

    def __init__(self, folder):
        self.port = free_port()
        self._folder = Path(folder)
        self._configuration = self._folder / "mosquitto.conf"
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self._folder}/\nuser root\nmax_queued_messages 10000\nlog_dest "
            f"file {self._folder}/mosquitto.log\n"
        )
        self._process = None

    def start(self):
        """Returns when it listens."""
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._configuration)], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self):
        """Ends it; all connections are lost."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def publish(self, topic, file, retain=False):
        """Publishes a file's bytes, acknowledged."""
        retained = ["-r"] if retain else []
        subprocess.run(
            [
                "mosquitto_pub",
                "-V",
                "5",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-q",
                "1",
                "-t",
                topic,
                "-f",
                str(file),
                *retained,
            ],
            check=True,
        )


class Message:
    """What arrived: when (monotonic clock of this machine), under which last parts of the topic,
    and the event."""

    def __init__(self, at, topic, retained, event):
        self.at, self.topic, self.retained, self.event = at, topic, retained, event

    @property
    def data(self):
        return self.event["data"]


class Subscriber:
    """Everything below the root, with a session of this name that outlives the broker's
    absence."""

    def __init__(self, broker, prefix, name):
        self._prefix = prefix
        self._messages = []
        self._condition = threading.Condition()
        self._process = subprocess.Popen(
            # Line by line: into a pipe it would wait for a full buffer.
            [
                "stdbuf",
                "-oL",
                "mosquitto_sub",
                "-V",
                "5",
                "-h",
                "127.0.0.1",
                "-p",
                str(broker.port),
                "-q",
                "1",
                "-c",
                "-x",
                "3600",
                "-i",
                name,
                "-t",
                f"{prefix}/#",
                "-F",
                "%r\t%t\t%p",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        for line in self._process.stdout:
            try:
                retained, topic, payload = line.rstrip(b"\n").split(b"\t", 2)
                event = json.loads(payload)
            except ValueError:
                # Signed lists that the test itself publishes: no JSON, and of many lines.
                continue
            message = Message(
                time.monotonic(),
                topic.decode().removeprefix(self._prefix + "/"),
                retained == b"1",
                event,
            )
            with self._condition:
                self._messages.append(message)
                self._condition.notify_all()

    def all(self, topic, since=0.0):
        """Messages of a topic that arrived at or after a time."""
        with self._condition:
            return [m for m in self._messages if m.topic == topic and m.at >= since]

    def wait(self, topic, accept, since, patience, ids=None):
        """The first message of `topic` at or after `since` that `accept` takes, with one of `ids`
        where there are some, or None after `patience` seconds from now."""
        deadline = time.monotonic() + patience
        with self._condition:
            while True:
                for message in self._messages:
                    if ids is not None and message.event["id"] not in ids:
                        continue
                    if message.topic == topic and message.at >= since and accept(message.data):
                        return message
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._condition.wait(left)

    def stop(self):
        """Ends it."""
        self._process.terminate()
        self._process.wait()
