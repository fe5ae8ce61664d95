#!/usr/bin/env python3
"""Times exact search beside faiss and usearch, on one core, in turns, and prints ratios.

    pip install numpy faiss-cpu usearch cargo build --release && python3 benches/peers/search.py
    [--templates N] [--rounds N] [--binary PATH]

Each round runs every program once in a process of its own, pinned to the same core; the figures are
medians over the rounds of processor time, and ratios are taken round by round. All search as many
templates of 512 dimensions exactly, for the four best, with one probe and with ten at once, all on
huge pages where the kernel gives them. faiss: IndexScalarQuantizer with inner product, QT_8bit (a
scale a dimension) and QT_8bit_direct_signed (integers as they are, as ours), and IndexFlatIP in
float32; usearch: exact search over int8. Their templates are random as ours are; an exhaustive
search takes the same time whatever it searches."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

DIMENSIONS = 512


def median_ms(run, runs):
    times = []
    for n in range(runs + 1):
        start = time.thread_time()
        run()
        if n:
            times.append(1e3 * (time.thread_time() - start))
    return statistics.median(times)


def peer(name, templates, runs):
    """Runs in a process of its own; prints [one probe, ten probes] in milliseconds."""
    import numpy

    random = numpy.random.default_rng(1)
    base = random.standard_normal((templates, DIMENSIONS), dtype=numpy.float32)
    base /= numpy.linalg.norm(base, axis=1, keepdims=True)
    probes = base[:10] + 0.01
    if name.startswith("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        if name == "faiss 8 bit":
            index = faiss.IndexScalarQuantizer(
                DIMENSIONS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
            )
            index.train(base[:20_000])
        elif name == "faiss signed":
            index = faiss.IndexScalarQuantizer(
                DIMENSIONS, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
            )
            base = numpy.clip(base * 127 / 0.25, -127, 127).round()
            probes = base[:10] + 1
        else:
            index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(base)
        del base

        def search(count):
            return index.search(probes[:count], 4)
    else:
        from usearch.index import MetricKind
        from usearch.index import search as exact

        bytes_ = numpy.clip(base * 127 / 0.25, -127, 127).astype(numpy.int8)
        few = numpy.clip(probes * 127 / 0.25, -127, 127).astype(numpy.int8)
        del base

        def search(count):
            return exact(bytes_, few[:count], 4, MetricKind.IP, exact=True, threads=1)

    print(json.dumps([median_ms(lambda count=count: search(count), runs) for count in (1, 10)]))


def ours(binary, templates, runs):
    command = [
        binary,
        "bench",
        "search",
        "--templates",
        str(templates),
        "--runs",
        str(runs),
        "--json",
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [stage["median_ms"] for stage in report["stages"]], report["engines"][0]


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--templates", type=int, default=300_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--runs", type=int, default=20, help="searches a round")
    arguments.add_argument("--core", type=int, default=0)
    arguments.add_argument(
        "--binary",
        default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/watchpost"),
    )
    arguments.add_argument("--peer", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.peer:
        return peer(given.peer, given.templates, given.runs)

    # Python's allocator then asks for huge pages, as we do.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    # Whatever is started from here on runs on this one core.
    os.sched_setaffinity(0, {given.core})
    peers = ["faiss 8 bit", "faiss signed", "faiss float32", "usearch int8"]
    times = {name: [] for name in ["watchpost", *peers]}
    read, engine = [], ""
    for _ in range(given.rounds):
        (one, ten, once), engine = ours(given.binary, given.templates, given.runs)
        times["watchpost"].append([one, ten])
        read.append(once)
        for name in peers:
            command = [
                sys.executable,
                __file__,
                "--peer",
                name,
                "--templates",
                str(given.templates),
                "--runs",
                str(given.runs),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{name}: left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            else:
                times[name].append(json.loads(done.stdout))
    print(f"{engine}; reading the memory once takes {statistics.median(read):.2f} ms")
    print(f"{'':16}{'one probe':>12}{'x ours':>9}{'ten probes':>13}{'a probe':>10}{'x ours':>9}")
    for name, rounds in times.items():
        if not rounds:
            continue
        one, ten = (statistics.median(r[i] for r in rounds) for i in (0, 1))
        ratios = [
            statistics.median(r[i] / o[i] for r, o in zip(rounds, times["watchpost"], strict=False))
            for i in (0, 1)
        ]
        print(
            f"{name:16}{one:9.2f} ms{ratios[0]:9.1f}{ten:10.2f} ms{ten / 10:10.2f}{ratios[1]:9.1f}"
        )
    over = statistics.median(o[0] / r for o, r in zip(times["watchpost"], read, strict=False))
    print(f"one probe takes {over:.2f} times reading the memory once")
    for name in peers:
        if not times[name]:
            continue
        rounds = list(zip(times["watchpost"], times[name], read, strict=False))
        parts = [
            statistics.median(part)
            for part in zip(
                *[(o[0] / e[0], r / e[0], o[1] / 10 / e[0]) for o, e, r in rounds], strict=False
            )
        ]
        print(
            f"of one probe in {name}: one takes {parts[0]:.2f}, reading {parts[1]:.2f}, one of ten "
            f"at once {parts[2]:.3f}"
        )


if __name__ == "__main__":
    main()
