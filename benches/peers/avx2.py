"""Copies of the peers that see a processor without AVX-512, AVX-VNNI and AMX.

Few libraries have a switch for it, and `cpuid` cannot be made to fault on most machines. So that
any machine can print the AVX2 table, each library is copied and every `cpuid` of the copy becomes
an illegal instruction, which `avx2.c`, preloaded, answers without those bits.

* The installed libraries are left alone; `--keep` keeps the copies
  for the next run.
* An occurrence of the two bytes counts as the instruction only where disassembly from most of the
  places before it comes upon it; others are data or parts of longer instructions.
* What asks the kernel or the dynamic linker instead of the processor is not deceived: glibc's own
  `memcpy` is told by `GLIBC_TUNABLES`."""

import importlib.util
import os
import pathlib
import shutil
import struct
import subprocess

import capstone

HERE = pathlib.Path(__file__).resolve().parent
CPUID, MARK = b"\x0f\xa2", b"\x0f\xff"
# How far before an occurrence disassembly starts: instructions fall into step within a few.
BEFORE = 48
SWITCHES = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENCV_CPU_DISABLE": "AVX512_COMMON,AVX512_SKX,AVX512_ICL,AVX512-COMMON,AVX512-SKX,AVX512-ICL",
    "ATEN_CPU_CAPABILITY": "avx2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-AVX512ER",
    "WATCHPOST_KERNEL": "avx2",
}
# Packages whose own libraries choose kernels, and what their libraries are linked with.
PACKAGES = {
    "onnxruntime": ["onnxruntime"],
    "OpenVINO": ["openvino"],
    "ncnn": ["ncnn", "ncnn.libs"],
    "OpenCV DNN": ["cv2", "opencv_python_headless.libs"],
    "OpenCV FaceDetectorYN": ["cv2", "opencv_python_headless.libs"],
    "MNN": ["_mnncengine*.so", "_tools*.so", "MNN", "mnn.libs"],
    "ExecuTorch": ["executorch"],
    "LiteRT": ["ai_edge_litert"],
}


def code_segments(data):
    """Offsets and lengths of what the file maps as code."""
    if data[:5] != b"\x7fELF\x02":
        return []
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = (struct.unpack_from("<IIQQQQ", data, table + n * size) for n in range(count))
    return [
        (offset, length) for kind, flags, offset, _, _, length in headers if kind == 1 and flags & 1
    ]


def is_instruction(disassembler, data, start, at):
    """Whether most ways to fall into step come upon an instruction at `at`."""
    met = 0
    places = range(max(start, at - BEFORE), at)
    for place in places:
        starts = {a for a, *_ in disassembler.disasm_lite(data[place : at + 2], place)}
        met += at in starts
    return met * 2 > len(places)


def without_wide_registers(source, target):
    """Writes the copy; how many instructions were replaced."""
    data = bytearray(source.read_bytes())
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    replaced = 0
    for start, length in code_segments(data):
        at = data.find(CPUID, start, start + length)
        while at >= 0:
            if is_instruction(disassembler, bytes(data[at - BEFORE : at + 2]), 0, BEFORE):
                data[at : at + 2] = MARK
                replaced += 1
            at = data.find(CPUID, at + 2, start + length)
    target.write_bytes(data)
    shutil.copymode(source, target)
    return replaced


def site_packages():
    return pathlib.Path(importlib.util.find_spec("numpy").origin).parents[1]


def shadow(peer, folder):
    """A folder for `PYTHONPATH` with the copies of a peer's packages."""
    site, into = site_packages(), folder / f"avx2-{peer.replace(' ', '-')}"
    done = into / "complete"
    if done.exists():
        return into
    for pattern in PACKAGES[peer]:
        for package in site.glob(pattern):
            for file in package.rglob("*") if package.is_dir() else [package]:
                if file.is_dir() or file.suffix == ".pyc":
                    continue
                target = into / file.relative_to(site)
                target.parent.mkdir(parents=True, exist_ok=True)
                if ".so" in file.suffixes:
                    without_wide_registers(file, target)
                else:
                    shutil.copy2(file, target)
    done.touch()
    return into


def environment(peer, folder):
    """What a peer is started with, so that it knows of nothing beyond AVX2."""
    into = shadow(peer, folder)
    return {**SWITCHES, "PYTHONPATH": str(into), "LD_PRELOAD": str(preloaded(folder))}


def program(path, folder):
    """A copy of a program, and what it is started with."""
    copy = folder / f"avx2-{path.name}"
    if not copy.exists():
        without_wide_registers(path, copy)
    return copy, {**SWITCHES, "LD_PRELOAD": str(preloaded(folder))}


def preloaded(folder):
    """The library that answers in the place of the processor."""
    library = folder / "avx2.so"
    if not library.exists():
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "avx2.c")],
            check=True,
        )
    return library
