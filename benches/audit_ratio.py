#!/usr/bin/env python3
"""What the audit log costs the watch loop: the real daemon looks at the same frames with the log
and without it, in turns, in one run.

    cargo build --release && benches/audit_ratio.py target/release/watchpost --pairs 7

Frames are the bundled portraits, each person on the list, so that there are candidates, which cost
the log most. Candidates go through a mosquitto to a subscriber. Counted are the processor time of
the whole process and the time that passed, a frame, the start left out by a run of few frames:
while a record is synced to the disk nothing is computed, and time passes all the same. The device
takes each picture as soon as it is done with the one before, so that a wait is in the time that
passed.
Printed are both with the log and without, and their ratios with the least and the largest of the
pairs. Time that passed says something on a machine that does nothing else, and of its disk.
Standard library only."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/independent"))

from outage import BROKERS, Broker, Client, Daemon, Heard, wait_for  # noqa: E402  (the path first)

PICTURES = ["obama-2012.jpg", "hopper.jpg", "biden-2010.jpg", "collins.jpg"]
HOLD = 10


def seconds(daemon, logged, repeat):
    """Seconds of the processor and of the clock that a daemon takes to look at everything `repeat`
    times; its candidates."""
    config = daemon.folder / "watchpost.toml"
    daemon.configure(PICTURES, slow=False)
    text = config.read_text().replace("repeat = 0\nhold = 2", f"repeat = {repeat}\nhold = {HOLD}")
    if not logged:
        head, rest = text.split("[audit]\n")
        text = head + rest[rest.index("[vision]") :]
    config.write_text(text)
    command = [daemon.program, "run", "--config", str(config)]
    with (daemon.folder / "log").open("w+") as log:
        began = time.monotonic()
        child = subprocess.Popen(command, cwd=daemon.folder, stdin=subprocess.DEVNULL, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
        passed = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read()
    if child.returncode:
        sys.exit(f"the daemon ended with {child.returncode}: {said[-2000:]}")
    stopped = [line for line in said.splitlines() if "Stopped: candidates=" in line]
    times = {"processor": used.ru_utime + used.ru_stime, "wall": passed}
    return times, int(stopped[-1].split("candidates=")[1].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=20, help="of all pictures, a run")
    given = parser.parse_args()
    program = str(pathlib.Path(given.program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        broker = Broker(folder, BROKERS["memory"])
        broker.start()
        # What nobody hears is waited for at each end.
        listener = Client(broker.port, Heard(), 0)
        listener.start()
        wait_for("the subscription", listener.subscribed.is_set)
        daemon = Daemon(program, folder, broker.port, {})
        frames = len(PICTURES) * HOLD * (given.repeat - 1)
        kinds = ["processor", "wall"]
        ratios, candidates = {kind: [] for kind in kinds}, {}
        times = {kind: {True: [], False: []} for kind in kinds}
        for pair in range(given.pairs):
            found = {}
            for logged in [True, False] if pair % 2 else [False, True]:
                start, _ = seconds(daemon, logged, 1)
                whole, candidates[logged] = seconds(daemon, logged, given.repeat)
                found[logged] = {k: (whole[k] - start[k]) * 1000 / frames for k in kinds}
                for kind in kinds:
                    times[kind][logged].append(found[logged][kind])
            for kind in kinds:
                ratios[kind].append(found[True][kind] / found[False][kind])
        broker.kill()
    result = {"frames": frames, "pairs": given.pairs, "candidates": candidates[True]}
    for kind in kinds:
        result[kind] = {
            "ms_a_frame_with_log": round(statistics.median(times[kind][True]), 3),
            "ms_a_frame_without": round(statistics.median(times[kind][False]), 3),
            "ratio": round(statistics.median(ratios[kind]), 4),
            "least": round(min(ratios[kind]), 4),
            "largest": round(max(ratios[kind]), 4),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
