"""Shares the inputs among processes of their own, so that a crash or hang of one is a finding and stops nothing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from research.fuzz.targets import TARGETS

#: A child that has not answered for so long hangs; loading the libraries may take this much longer.
HANG_S, START_S = 120.0, 900.0
#: Inputs that one process reads before another takes over.
SHARE = 2000


@dataclass
class Tally:
    """inputs: read so far. findings: what was wrong, by target."""

    inputs: int = 0
    findings: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, seed: int, number: int, texts: list[str]) -> None:
        with self.lock:
            self.inputs += 1
            for text in texts:
                again = f"python -m research.fuzz --only {name} --seed {seed} --first {number} --count 1"
                self.findings.append(f"{name} {number}: {text}\n    again: {again}")
                print(self.findings[-1], flush=True)


def run(name: str, seed: int, first: int, count: int, tally: Tally, keep: Path | None = None) -> None:
    """Have `count` inputs of a target read, beginning with number `first`."""
    end = first + count
    while first < end:
        first = _one_child(name, seed, first, min(end, first + SHARE), tally, keep)


def _one_child(name: str, seed: int, first: int, end: int, tally: Tally, keep: Path | None) -> int:
    """Number of the first input that is left to do."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as room:
        command = [sys.executable, "-m", "research.fuzz.child", name, str(seed), str(first), str(end), room]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        alive = [time.monotonic() + START_S]
        watch = threading.Thread(target=_watch, args=(child, alive), daemon=True)
        watch.start()
        current: int | None = None
        number = first
        assert child.stdout is not None
        for line in child.stdout:
            alive[0] = time.monotonic()
            answer = json.loads(line)
            if "found" in answer:
                current, number = None, answer["number"] + 1
                tally.add(name, seed, answer["number"], answer["found"])
                _keep(name, seed, answer["number"], keep if answer["found"] else None)
            else:
                current = answer["number"]
        status = child.wait()
        if current is None and not status:
            return number
        if current is None:
            said = child.stderr.read() if child.stderr else ""
            tally.add(name, seed, number, [f"the process ended with {status} before it: {said[-2000:]}"])
            return number + 1
        tally.add(name, seed, current, [f"crash or hang: status {status}"])
        _keep(name, seed, current, keep)
        return current + 1


def _watch(child: subprocess.Popen[str], alive: list[float]) -> None:
    while child.poll() is None:
        if time.monotonic() - alive[0] > HANG_S:
            child.kill()
        time.sleep(1)


def _keep(name: str, seed: int, number: int, folder: Path | None) -> None:
    if folder is not None:
        file, content = TARGETS[name].input(name, seed, number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{seed}-{number}-{file}").write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m research.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="inputs, over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each target")
    parser.add_argument("--only", choices=TARGETS, action="append", help="targets; all unless given")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the inputs of findings there")
    options = parser.parse_args()
    names = options.only or list(TARGETS)
    tally, started = Tally(), time.monotonic()
    each, more = divmod(options.count, len(names))
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(run, name, options.seed, options.first, each + (place < more), tally, options.keep)
            for place, name in enumerate(names)
        ]
        for job in jobs:
            job.result()
    print(f"{tally.inputs} inputs in {time.monotonic() - started:.0f} s, {len(tally.findings)} findings")
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main())
