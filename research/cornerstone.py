"""Read our report with what OHIF reads reports with, @cornerstonejs/adapters, in Node.

    python -m research.cornerstone [--folder build/cornerstone]

The first run installs the packages into the folder by npm. Points in millimetres must be ours; points in pixels, which
the adapters turn into millimetres on the plane of their image, must be ours but for what lies between that plane and
the point. Both to 0.01 mm.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.formats.dicom_plane import ImagePlane, nearest_plane
from SpineLandmarksLib.formats.dicom_sr import write_sr
from SpineLandmarksLib.formats.sr_codes import NAMES
from SpineLandmarksLib.geometry import apply, lps_from_ras
from SpineLandmarksLib.imaging.dicom_source import image_planes
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LandmarkSet, Point
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import make_phantom

PACKAGES = ("@cornerstonejs/adapters@5.14.0", "dcmjs@0.52.0", "@babel/runtime@8.1.3")
FOLDER = Path("build/cornerstone")
TOLERANCE_MM = 0.01


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.cornerstone", description=__doc__.partition("\n")[0])
    p.add_argument("--folder", type=Path, default=FOLDER, help=f"of the packages (default {FOLDER})")
    options = p.parse_args(arguments)
    if not shutil.which("npm"):
        print("Expected Node and npm; found none", file=sys.stderr)
        return 2
    install(options.folder)
    farthest_mm = compare(options.folder)
    print("\n".join(f"{what}: farthest {mm:.6f} mm" for what, mm in farthest_mm.items()))
    return not max(farthest_mm.values()) < TOLERANCE_MM


def install(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
    if not (folder / "node_modules").is_dir():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        subprocess.run(npm, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def compare(folder: Path) -> dict[str, float]:
    """How far the points that Node reads lie from ours, by how they are written. Raises ValueError for one missing."""
    with tempfile.TemporaryDirectory() as temporary:
        phantom = make_phantom(11, slices=7, matrix=(96, 80), pixel_mm=3.1)
        series, truth = write_dicom_series(phantom, Path(temporary) / "s"), phantom.landmarks
        stack = read_study(series)
        planes, report = image_planes(series, stack.series_uid), Path(temporary) / "x.sr.dcm"
        write_sr(LandmarkSet(tuple(truth), series_uid=stack.series_uid, bundle="phantom@1"), planes, report)
        geometry = Path(temporary) / "planes.json"
        geometry.write_text(json.dumps({str(plane.header.SOPInstanceUID): _plane(plane) for plane in planes}))
        wanted = {mark.name: mark.position_ras_mm for mark in truth if mark.position_ras_mm is not None}
        on_plane = {name: _projected(planes, point) for name, point in wanted.items()}
        return {
            "in millimetres": _farthest(_read(folder, report, geometry, is_flat=False), wanted),
            "in pixels": _farthest(_read(folder, report, geometry, is_flat=True), on_plane),
        }


def _read(folder: Path, report: Path, planes: Path, is_flat: bool) -> list[dict[str, Any]]:
    words = ["node", "cornerstone.mjs", str(report), str(planes), str(int(is_flat))]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"tool"')]


def _farthest(read: list[dict[str, Any]], wanted: dict[str, Point]) -> float:
    points = {NAMES[one["site"]]: one["point"] for one in read}
    if points.keys() != wanted.keys():
        raise ValueError(f"Expected points of {', '.join(wanted)}; got {', '.join(points) or 'none'}")
    return max(math.dist(points[name], lps_from_ras(point)) for name, point in wanted.items())


def _projected(planes: Sequence[ImagePlane], point: Point) -> Point:
    plane, (x, y) = nearest_plane(planes, point)
    r, a, s = apply(plane.ras_from_pixel, (x, y, 0.0)).tolist()
    return r, a, s


def _plane(plane: ImagePlane) -> dict[str, Any]:
    """As cornerstone wants it, whose `rowCosines` run along a row and whose `rowPixelSpacing` is between its pixels."""
    lps = lps_from_ras(plane.ras_from_pixel)
    column_mm, row_mm = np.linalg.norm(lps[:3, :2], axis=0)
    return {
        "rowCosines": (lps[:3, 0] / column_mm).tolist(),
        "columnCosines": (lps[:3, 1] / row_mm).tolist(),
        "imagePositionPatient": lps[:3, 3].tolist(),
        "rowPixelSpacing": float(column_mm),
        "columnPixelSpacing": float(row_mm),
        "frameOfReferenceUID": str(plane.header.FrameOfReferenceUID),
    }


if __name__ == "__main__":
    sys.exit(main())
