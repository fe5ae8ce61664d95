"""The emulated board: a QEMU process, its console, and commands run inside it over a virtio
port."""

import base64
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

# A command's line in the guest is read into memory as a whole; scripts here are far shorter.
BOOT_PATIENCE_S = 240


class BoardError(Exception):
    """The board did not do what was asked of it."""


class Machine:
    """One power-on. `kill` is the power cut: what the guest had not flushed to its disk is gone."""

    def __init__(self, kernel, initramfs, disk, folder, broker_port, cpu="cortex-a72"):
        self.console = Path(folder) / "console.log"
        self._lines = []
        self._condition = threading.Condition()
        path = Path(folder) / f"agent-{time.monotonic_ns()}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        forward = (
            f"guestfwd=tcp:10.0.2.101:1883-cmd:{shutil.which('busybox')} nc 127.0.0.1 {broker_port}"
        )
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [
                "qemu-system-aarch64",
                "-accel",
                "tcg",
                "-M",
                "virt",
                "-cpu",
                cpu,
                "-m",
                "768",
                "-smp",
                "1",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
                "-kernel",
                str(kernel),
                "-initrd",
                str(initramfs),
                "-append",
                "console=ttyAMA0 quiet panic=-1",
                "-drive",
                f"file={disk},if=none,id=disk,format=raw,cache=writeback",
                "-device",
                "virtio-blk-device,drive=disk",
                "-netdev",
                f"user,id=net,restrict=on,{forward}",
                "-device",
                "virtio-net-device,netdev=net",
                "-device",
                "virtio-serial-device",
                "-chardev",
                f"socket,id=agent,path={path}",
                "-device",
                "virtserialport,chardev=agent,name=agent",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._follow_console, daemon=True).start()
        try:
            listener.settimeout(30)
            self._agent, _ = listener.accept()
            self._agent.settimeout(BOOT_PATIENCE_S)
            self._reader = self._agent.makefile("rb")
            greeting = self._reader.readline()
        except OSError as error:
            self.kill()
            raise BoardError(f"The board did not boot: {error}. {self.last_lines()}") from error
        finally:
            listener.close()
            path.unlink()
        if not greeting.startswith(b"ready"):
            raise BoardError(f"The board did not boot. {self.last_lines()}")
        self.booted = time.monotonic()

    def _follow_console(self):
        with open(self.console, "ab") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                with self._condition:
                    self._lines.append((time.monotonic(), line.decode("utf-8", "replace").rstrip()))
                    self._condition.notify_all()

    def last_lines(self, count=12):
        """The end of the console, for error messages."""
        return "\n    ".join(
            ["Last lines of the console:"] + [text for _, text in self._lines[-count:]]
        )

    def lines(self, since=0.0):
        """Lines of the console at or after a time of the monotonic clock."""
        with self._condition:
            return [text for at, text in self._lines if at >= since]

    def wait_line(self, words, since, patience):
        """When a line with all of `words` appeared at or after `since`; fails after `patience`
        seconds from now."""
        deadline = time.monotonic() + patience
        with self._condition:
            while True:
                for at, text in self._lines:
                    if at >= since and all(word in text for word in words):
                        return at
                left = deadline - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    raise BoardError(f"No line with {words} in {patience} s. {self.last_lines()}")
                self._condition.wait(min(left, 1.0))

    def run(self, script, patience=120):
        """Runs a shell script in the guest; its output, or BoardError where it fails."""
        self._agent.settimeout(patience)
        try:
            self._agent.sendall(base64.b64encode(script.encode()) + b"\n")
            answer = self._reader.readline().split()
        except OSError as error:
            raise BoardError(f"No answer to {script!r}: {error}. {self.last_lines()}") from error
        if not answer:
            raise BoardError(f"The board is gone. {self.last_lines()}")
        output = base64.b64decode(answer[0]).decode("utf-8", "replace") if len(answer) == 2 else ""
        if answer[-1] != b"0":
            raise BoardError(f"{script!r} failed in the guest: {output.strip()}")
        return output

    def alive(self):
        """Whether the emulator runs."""
        return self._process.poll() is None

    def kill(self):
        """Takes the power away."""
        self._process.kill()
        self._process.wait()


def empty_disk(path, megabytes, content):
    """An ext4 file system in a file, with the files of the folder `content`."""
    tool = shutil.which("mke2fs") or "/sbin/mke2fs"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), megabytes << 20)
    subprocess.run([tool, "-q", "-t", "ext4", "-d", str(content), str(path)], check=True)
