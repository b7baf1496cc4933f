"""Kill `predict --recursive --resume` at random points, again and again, and see that nothing is lost or done twice.

    python -m research.kills --count 200 [--studies 12] [--seed 0]

Each kill is SIGKILL or SIGTERM, at random, between the start and a little more than a whole run takes. After each,
every result file must be whole. After each run that ends by itself, every study must have been finished exactly once,
each must be in the summary, and nothing may be left over.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from SpineLandmarksLib import SpineLandmarksError, read_csv, read_json, read_markups
from SpineLandmarksLib.batch.ledger import FILE_NAME
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom

#: The first kill comes no earlier, and a run is given this much more than the last whole one took, s.
EARLIEST_S, MORE = 0.1, 1.2


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.kills", description=__doc__.partition("\n")[0])
    p.add_argument("--count", type=int, default=200, metavar="N")
    p.add_argument("--studies", type=int, default=12, metavar="N")
    p.add_argument("--seed", type=int, default=0)
    options = p.parse_args(arguments)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        tree = make_tree(Path(folder) / "tree", options.studies)
        kills, rounds, problems = 0, 0, list[str]()
        takes_s = whole_run(tree, Path(folder) / "first")
        while kills < options.count:
            output = Path(folder) / f"round{rounds}"
            while kills < options.count and not run(tree, output, rng, takes_s):
                kills += 1
                problems += damaged(output)
            age(output)
            whole_run(tree, output)
            problems += [*damaged(output), *unfinished(output, options.studies)]
            rounds += 1
    print(f"{kills} kills in {rounds} rounds of {options.studies} studies: {len(problems)} problems")
    print("\n".join(problems[:20]))
    return bool(problems)


def make_tree(tree: Path, count: int) -> Path:
    for seed in range(count):
        folder = tree / f"patient{seed:03d}"
        folder.mkdir(parents=True)
        write_nifti(make_phantom(seed, slices=3, matrix=(160, 128), pixel_mm=2.0), folder / "t2.nii")
    return tree


def command(tree: Path, output: Path) -> list[str]:
    words = ["predict", str(tree), "--recursive", "--resume", "--output", str(output)]
    return [sys.executable, "-m", "SpineLandmarksLib", *words]


def whole_run(tree: Path, output: Path) -> float:
    """Run to the end; seconds."""
    started = time.monotonic()
    subprocess.run(command(tree, output), check=True, capture_output=True)
    return time.monotonic() - started


def run(tree: Path, output: Path, rng: random.Random, takes_s: float) -> bool:
    """Start, and kill at a random point; whether it had ended before."""
    process = subprocess.Popen(command(tree, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(rng.uniform(EARLIEST_S, MORE * takes_s))
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        process.wait()
        return False


def age(output: Path) -> None:
    """Make what kills have left half written old enough for the next run to take it away."""
    for file in output.glob(".spine-landmarks-*"):
        os.utime(file, (0, 0))


def damaged(output: Path) -> list[str]:
    """Result files that are not whole."""
    readers = {".mrk.json": read_markups, ".json": read_json, ".csv": read_csv}
    found = []
    for file in sorted(output.glob("patient*")):
        ending = next((end for end in readers if file.name.endswith(end)), None)
        try:
            if file.suffix == ".png":
                Image.open(file).load()
            elif ending is not None:
                readers[ending](file)
        except (SpineLandmarksError, OSError) as error:
            found.append(f"{file.name}: {error}")
    return found


def unfinished(output: Path, count: int) -> list[str]:
    """Studies that a run that has ended has not finished once, and what lies there besides results."""
    lines = [json.loads(line) for line in (output / FILE_NAME).read_text().splitlines() if line.endswith("}")]
    finished = Counter(line["study"] for line in lines if line["status"] == "done")
    with (output / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = Counter(row["study"] for row in csv.DictReader(file))
    found = [f"{output.name}: {name} finished {times} times" for name, times in finished.items() if times != 1]
    if len(finished) != count or set(rows.values()) != {1} or len(rows) != count:
        found.append(f"{output.name}: {len(finished)} of {count} finished, {len(rows)} in the summary")
    left = [file.name for file in output.iterdir() if file.name.startswith(".spine-landmarks")]
    return [*found, *(f"{output.name}: {name} is left over" for name in left)]


if __name__ == "__main__":
    sys.exit(main())
