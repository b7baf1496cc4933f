"""`python -m research.monai_label --server MONAILABEL`: our app for MONAI Label, in a real server of it.

A phantom goes in by POST /infer, as a study of the server's folder and as an upload; the landmarks that come back must
be those of `predict`, and the label image must have a ball at each. MONAI Label has an environment of its own:
`nox --session monailabel` makes one and runs this.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.formats.json_result import read_json
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom

ROOT = Path(__file__).parents[1]
APP = ROOT / "SpineLandmarksLib" / "monai_label"
PREDICT = [sys.executable, "-m", "SpineLandmarksLib", "predict"]
TOLERANCE_MM = 0.01
#: What the server may take to start, s.
START_S = 300.0


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.monai_label", description=__doc__.partition("\n")[0])
    p.add_argument("--server", required=True, metavar="MONAILABEL", help="the command of MONAI Label's environment")
    options = p.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        farthest_mm = compare(Path(temporary), options.server)
    print("\n".join(f"{what}: farthest {mm:.4f} mm" for what, mm in farthest_mm.items()))
    return not max(farthest_mm.values()) < TOLERANCE_MM


def compare(folder: Path, server: str) -> dict[str, float]:
    """How far the points that MONAI Label gives lie from those of `predict`, by how the study was given."""
    studies = folder / "studies"
    studies.mkdir()
    study = write_nifti(make_phantom(8, slices=7, matrix=(224, 224), pixel_mm=1.4), studies / "phantom.nii.gz")
    subprocess.run([*PREDICT, str(study), "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    wanted = read_json(folder / "phantom.json")
    with served(folder, studies, server) as address:
        named = asked(f"{address}/infer/lumbar11?image=phantom&output=json", {})
        sent = asked(f"{address}/infer/lumbar11?output=json", {"file": study})
        labels = asked(f"{address}/infer/lumbar11?image=phantom&output=image", {}, is_json=False)
        require_refusal(f"{address}/infer/lumbar11?output=json", folder)
    (folder / "labels.nii.gz").write_bytes(labels)
    found = {"named": points_of(named), "sent": points_of(sent)}
    return {what: farthest(points, wanted) for what, points in found.items()} | ball_errors(folder, wanted)


def require_refusal(address: str, folder: Path) -> None:
    """Raise ValueError unless what is no image is refused with the rule."""
    wrong = folder / "wrong.nii.gz"
    wrong.write_bytes(b"no image")
    try:
        asked(address, {"file": wrong})
    except RuntimeError as error:
        if "Expected" in str(error):
            print(f"no image: {error}")
            return
        raise
    raise ValueError("Expected a refusal of what is no image; got an answer")


@contextmanager
def served(folder: Path, studies: Path, server: str) -> Iterator[str]:
    """Address of a MONAI Label with a copy of our app, into whose folder it writes."""
    app, command = Path(shutil.copytree(APP, folder / "app")), folder / "command"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m SpineLandmarksLib "$@"\n')
    command.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What its command runs, which is a shell script: that would be ended without the server.
    words = [str(Path(server).with_name("python")), "-m", "monailabel.main", "start_server", "--app", str(app)]
    words += ["--studies", str(studies), "--port", str(port), "--host", "127.0.0.1", "--conf", "command", str(command)]
    environment = {**os.environ, "PYTHONPATH": ""}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    try:
        await_server(process, f"http://127.0.0.1:{port}/info/", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def await_server(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(address, timeout=60) as answer:
            answer.read()
            return
        time.sleep(0.5)
    raise RuntimeError(f"MONAI Label did not start:\n{log.read_text(errors='replace')[-4000:]}")


def asked(address: str, files: dict[str, Path], is_json: bool = True) -> Any:
    """The answer to a form that is sent with files."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n\r\n'.encode()
        + file.read_bytes()
        + b"\r\n"
        for name, file in files.items()
    ]
    parameters = b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(address, b"".join([*parts, parameters]), kind, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{address}: {error.code} {error.read()[:2000].decode(errors='replace')}") from error
    return json.loads(content) if is_json else content


def points_of(result: dict[str, Any]) -> dict[str, list[float]]:
    return {mark["name"]: mark["position_ras_mm"] for mark in result["landmarks"] if mark["position_ras_mm"]}


def farthest(points: dict[str, list[float]], wanted: LandmarkSet) -> float:
    """Raises ValueError where a landmark is missing."""
    known = {mark.name: mark.position_ras_mm for mark in wanted if mark.position_ras_mm is not None}
    if points.keys() != known.keys():
        raise ValueError(f"Expected points of {', '.join(known)}; got {', '.join(points) or 'none'}")
    return max(math.dist(points[name], place) for name, place in known.items())


def ball_errors(folder: Path, wanted: LandmarkSet) -> dict[str, float]:
    """0 where the voxel of each landmark has its number in the label image; ValueError where one has not."""
    import nibabel

    labels: Any = nibabel.load(folder / "labels.nii.gz")
    voxels = np.asarray(labels.dataobj)
    for number, mark in enumerate(wanted, start=1):
        if mark.position_ras_mm is not None:
            ijk = np.rint(nibabel.affines.apply_affine(np.linalg.inv(labels.affine), mark.position_ras_mm)).astype(int)
            if voxels[tuple(ijk)] != number:
                raise ValueError(f"Expected {number} at {mark.name} in the label image; got {voxels[tuple(ijk)]}")
    return {"label image": 0.0}


if __name__ == "__main__":
    sys.exit(main())
