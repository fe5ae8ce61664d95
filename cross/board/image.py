"""What the board boots: Debian's arm64 kernel, its camera drivers, busybox, and the packaged
daemon."""

import gzip
import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import nodes

ROOT = Path(__file__).resolve().parents[2]
TOOL = [Path(__file__).parent / "guest" / name for name in ("tool.c", "play.c", "usb.c")]
GNU = "aarch64-linux-gnu"
RELEASE = "bookworm"
USER = 990
# Somebody who is not in the group of cameras.
STRANGER = 991
GROUPS = {"root": 0, "video": 44, "watchpost": USER, "stranger": STRANGER}
# What a USB camera's settings are to the kernel, for the camera that others write into: the kernel
# keeps and checks them, and they change nothing of its pictures. Aperture priority and manual
# exposure, as in nearly every such camera.
CONTROLS = """
	v4l2_ctrl_new_std_menu(hdl, &camera_ctrl_ops, V4L2_CID_EXPOSURE_AUTO,
		V4L2_EXPOSURE_APERTURE_PRIORITY, 5, V4L2_EXPOSURE_APERTURE_PRIORITY);
	v4l2_ctrl_new_std(hdl, &camera_ctrl_ops, V4L2_CID_EXPOSURE_ABSOLUTE, 1, 5000, 1, 157);
	v4l2_ctrl_new_std(hdl, &camera_ctrl_ops, V4L2_CID_EXPOSURE_AUTO_PRIORITY, 0, 1, 1, 1);
	v4l2_ctrl_new_std_menu(hdl, &camera_ctrl_ops, V4L2_CID_POWER_LINE_FREQUENCY,
		V4L2_CID_POWER_LINE_FREQUENCY_60HZ, 0, V4L2_CID_POWER_LINE_FREQUENCY_DISABLED);
"""
CONTROLS_KEPT = """
static int camera_s_ctrl(struct v4l2_ctrl *ctrl) { return 0; }
static const struct v4l2_ctrl_ops camera_ctrl_ops = { .s_ctrl = camera_s_ctrl };
"""


def run(*command, **options):
    """Runs a command and stops the test where it fails, showing what it said."""
    done = subprocess.run(
        [str(c) for c in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def fetch(suite, architecture, folder, *packages):
    """Debian packages of another release and architecture, unpacked."""
    return run(ROOT / "cross/toolchain/fetch", suite, architecture, folder, *packages)


def with_controls(source):
    """Gives v4l2loopback a camera's settings; fails where its source is not as expected."""
    text = source.read_text()
    for before, added in (
        ("\tv4l2_ctrl_new_custom(hdl, &v4l2loopback_ctrl_timeoutimageio, NULL);\n", CONTROLS),
        (
            "static const struct v4l2_ctrl_ops v4l2loopback_ctrl_ops = "
            "{\n\t.s_ctrl = v4l2loopback_s_ctrl,\n};\n",
            CONTROLS_KEPT,
        ),
    ):
        if text.count(before) != 1:
            raise SystemExit(
                f"{source} is another version than expected; change cross/board/image.py."
            )
        text = text.replace(before, before + added)
    source.write_text(text)


class Parts:
    """Kernel, modules and busybox, made once and kept below target/cross/board."""

    def __init__(self, target):
        self.folder = Path(target) / "cross" / "board"
        kernel = fetch(RELEASE, "arm64", "--depends", "linux-image-arm64").split()[0]
        self.version = kernel.removeprefix("linux-image-")
        self.tree = self.folder / self.version
        # What was made by another version of this file is made again.
        made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        complete = self.tree / "complete"
        if not complete.exists() or complete.read_text() != made_by:
            shutil.rmtree(self.tree, ignore_errors=True)
            self._make(kernel)
            complete.write_text(made_by)
        run(
            f"{GNU}-gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-o",
            self.tree / "tool",
            *TOOL,
        )
        self.kernel = self.tree / "guest" / "boot" / f"vmlinuz-{self.version}"

    def _make(self, kernel):
        guest, build = self.tree / "guest", self.tree / "build"
        fetch(RELEASE, "arm64", guest, kernel, "busybox-static")
        headers = kernel.replace("image", "headers")
        common = re.sub(r"-arm64$", "-common", headers)
        fetch(RELEASE, "arm64", build, headers, common, "v4l2loopback-dkms")
        # The programs of the kernel's build must run here.
        fetch(RELEASE, "amd64", build, "linux-kbuild-" + ".".join(self.version.split(".")[:2]))
        tree = build / "usr/src" / headers
        makefile = tree / "Makefile"
        makefile.write_text(makefile.read_text().replace("/usr/src/", f"{build}/usr/src/"))
        source = next((build / "usr/src").glob("v4l2loopback-*"))
        with_controls(source / "v4l2loopback.c")
        run(
            "make",
            "-C",
            tree,
            f"M={source}",
            "ARCH=arm64",
            f"CROSS_COMPILE={GNU}-",
            f"CC={GNU}-gcc",
            "modules",
        )
        extra = guest / "lib/modules" / self.version / "extra"
        extra.mkdir()
        shutil.copy(source / "v4l2loopback.ko", extra)
        run(shutil.which("depmod") or "/sbin/depmod", "-b", guest, self.version)

    def modules(self, wanted):
        """(file, arguments) of every module of `wanted`, those that others stand on first."""
        base = self.tree / "guest/lib/modules" / self.version
        needs, by_name = {}, {}
        for line in (base / "modules.dep").read_text().splitlines():
            file, _, depends = line.partition(":")
            needs[file] = depends.split()
            by_name[Path(file).name.removesuffix(".ko").replace("-", "_")] = file
        ordered = {}
        for name, arguments in wanted.items():
            if name not in by_name:
                continue  # Built into the kernel.
            # modules.dep lists the nearest needs first; loading goes the other way.
            for file in reversed(needs[by_name[name]]):
                ordered.setdefault(file, "")
            ordered[by_name[name]] = arguments
        return [(base / file, arguments) for file, arguments in ordered.items()]


class Archive:
    """A cpio archive in the kernel's `newc` format, made without root."""

    def __init__(self, path):
        self._out = gzip.open(path, "wb", compresslevel=1)
        self._number = 0
        self._folders = {""}

    def _entry(self, name, mode, data=b"", owner=0):
        self._number += 1
        encoded = name.encode() + b"\0"
        fields = [self._number, mode, owner, owner, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + encoded
        self._out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def folder(self, name, mode=0o755, owner=0):
        """A folder and those above it."""
        name = name.strip("/")
        if name not in self._folders:
            self.folder(os.path.dirname(name))
            self._folders.add(name)
            self._entry(name, stat.S_IFDIR | mode, owner=owner)

    def file(self, name, data, mode=0o644, owner=0):
        """A file with these bytes."""
        self.folder(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFREG | mode, data, owner)

    def tree(self, source, below=""):
        """Everything in a folder of this machine, owned by root."""
        for path in sorted(Path(source).rglob("*")):
            name = f"{below}/{path.relative_to(source)}"
            if path.is_symlink():
                self.folder(os.path.dirname(name.strip("/")))
                self._entry(name.strip("/"), stat.S_IFLNK | 0o777, os.readlink(path).encode())
            elif path.is_dir():
                self.folder(name)
            else:
                self.file(name, path.read_bytes(), path.stat().st_mode & 0o777)

    def close(self):
        """Ends the archive."""
        self._entry("TRAILER!!!", 0)
        self._out.close()


def initramfs(path, parts, package, files, scenes, sysroot):
    """The board's root: the package as unpacked, bullseye's C library, and `files` (path to bytes)
    over it."""
    archive = Archive(path)
    for folder in ("proc", "sys", "dev", "tmp", "run", "sbin", "usr/sbin", "var/lib"):
        archive.folder(folder)
    archive.file("bin/busybox", (parts.tree / "guest/bin/busybox").read_bytes(), 0o755)
    archive.file("bin/tool", (parts.tree / "tool").read_bytes(), 0o755)
    archive.file("init", (Path(__file__).parent / "guest/init").read_bytes(), 0o755)
    archive.file(
        "etc/passwd",
        (
            f"root:x:0:0::/:/bin/sh\nwatchpost:x:{USER}:{USER}::/:/bin/sh\n"
            f"stranger:x:{STRANGER}:{STRANGER}::/:/bin/sh\n"
        ).encode(),
    )
    archive.file(
        "etc/group",
        "".join(
            f"{n}:x:{i}:{'watchpost' if n == 'video' else ''}\n" for n, i in GROUPS.items()
        ).encode(),
    )
    archive.file("etc/mdev.conf", b"video[0-9]+ root:video 660\n.* root:root 660\n")
    loaded = parts.modules(nodes.MODULES)
    later = [m for m in parts.modules(nodes.LATER) if m[0] not in [m[0] for m in loaded]]
    for order, modules in (("order", loaded), ("later", later)):
        for module, _ in modules:
            archive.file(f"modules/{module.name}", module.read_bytes())
        lines = "".join(f"{m.name} {a}\n" for m, a in modules)
        archive.file(f"modules/{order}", lines.encode())
    archive.folder("var/lib/watchpost", 0o750, USER)
    archive.file(
        "lib/ld-linux-aarch64.so.1", (sysroot / "lib/ld-linux-aarch64.so.1").read_bytes(), 0o755
    )
    for library in (
        "libc.so.6",
        "libm.so.6",
        "libpthread.so.0",
        "libdl.so.2",
        "librt.so.1",
        "libgcc_s.so.1",
    ):
        archive.file(f"lib/{GNU}/{library}", (sysroot / "lib" / GNU / library).read_bytes(), 0o755)
    archive.tree(scenes, "scenes")
    for name, data in files.items():
        archive.file(name, data)
    archive.tree(package)
    archive.close()
