"""How much an installation takes on disk: the closure of a package's dependencies, file by file.

    python -m research.bench.sizes JOB.json     {"packages": {"row": ["torch", ...]}, "without": ...}

in the environment that is asked about. MB are 2^20 bytes of content, compiled Python files included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from SpineLandmarksLib.bundle import LIBRARY, models_folder

PROJECT = "spine-landmarks"
#: What 3D Slicer brings itself, of what `predict` asks for.
SLICER_HAS = ("numpy", "scipy", "SimpleITK", "pydicom", "requests", "pillow", "packaging", "typing_extensions")


def main(job: dict[str, Any]) -> dict[str, float]:
    """MB of each row of packages, of this project with all it needs, and of that beyond what Slicer brings."""
    core = closure([PROJECT])
    beyond = core - closure(SLICER_HAS)
    in_slicer = closure(["onnxruntime"]) - closure(SLICER_HAS)
    without = job.get("without", {})
    rows = {
        name: megabytes(closure(packages, without.get(name, ())) - {PROJECT}) + own()
        for name, packages in job["packages"].items()
    }
    return {
        **rows,
        "standalone": megabytes(core - {PROJECT}) + own(),
        "beyond Slicer": megabytes(beyond - {PROJECT}) + own(),
        "in Slicer": megabytes(in_slicer) + own(),
        "own": own(),
    }


def closure(packages: Iterable[str], without: Iterable[str] = ()) -> set[str]:
    """Names of installed distributions that these need, themselves included; only such extras as are asked for.

    without: distributions that are left out together with what only they need.
    """
    from packaging.requirements import Requirement

    found: set[str] = set()
    wanted = [Requirement(name) for name in packages]
    while wanted:
        requirement = wanted.pop()
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue  # not needed here: another system's, or an extra's
        name = distribution.metadata["Name"].lower()
        if name in without or (name in found and not requirement.extras):
            continue
        found.add(name)
        for text in distribution.requires or []:
            needed = Requirement(text)
            extras = ["", *requirement.extras]
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(needed)
    return found


def megabytes(packages: Iterable[str]) -> float:
    """Of the files that pip recorded for these distributions and that are there."""
    total = 0
    for name in packages:
        for file in metadata.distribution(name).files or []:
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total / 2**20


def own() -> float:
    """This project: its code, compiled too, and every bundle that is installed, which leaves out those to judge by."""
    bundles = [folder for folder in models_folder().iterdir() if not folder.name.endswith("-heldout")]
    files = {*LIBRARY.rglob("*"), *(file for folder in bundles for file in folder.rglob("*"))}
    return float(sum(file.stat().st_size for file in files if file.is_file()) / 2**20)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
