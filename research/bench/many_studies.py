"""Memory and rate of `predict --recursive` over many studies, told after each tenth of them, and of a resumed run.

    python -m research.bench.many_studies [STUDIES] [BUNDLE]

The studies are links to one picture. Memory is read from /proc, which only Linux has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.phantom.phantom import make_phantom


def main(count: int = 500, bundle: str = DEFAULT) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree, output = make_tree(Path(name) / "tree", count), Path(name) / "out"
        command = [
            sys.executable,
            "-m",
            "SpineLandmarksLib",
            "predict",
            str(tree),
            "--recursive",
            "--spacing",
            "0.55",
            "--output",
            str(output),
            "--bundle",
            bundle,
            "--resume",
        ]
        watch(command, output / "studies.jsonl", count)
        begun = time.perf_counter()
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"again: {said.splitlines()[-1]}, in {time.perf_counter() - begun:.1f} s")


def make_tree(tree: Path, count: int) -> Path:
    tree.mkdir()
    middle = make_phantom(1, matrix=(544, 480), pixel_mm=0.55, slices=1).voxels[0]
    Image.fromarray((middle / middle.max() * 255).astype(np.uint8)).save(tree / "0.png")
    for number in range(1, count):
        os.link(tree / "0.png", tree / f"{number}.png")
    return tree


def watch(command: list[str], ledger: Path, count: int) -> None:
    begun, told = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            done = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
            if done * 10 // count > told:
                told = done * 10 // count
                rate = done / (time.perf_counter() - begun)
                print(f"{done:5} studies, {rate:.1f} a second, {resident_mb(process.pid):.0f} MB", flush=True)
            time.sleep(0.2)
    assert process.returncode == 0


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])  # type: ignore[arg-type]
