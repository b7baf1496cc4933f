"""Our report is read by what OHIF reads reports with, where that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from research.cornerstone import FOLDER, TOLERANCE_MM, compare, install

ROOT = Path(__file__).resolve().parents[2]


def test_cornerstone_reads_our_points_in_millimetres_and_in_pixels() -> None:
    folder = ROOT / FOLDER
    if not (shutil.which("node") and (folder / "node_modules").is_dir()):
        pytest.skip("Node or @cornerstonejs/adapters is not here: python -m research.cornerstone installs it")
    install(folder)
    assert max(compare(folder).values()) < TOLERANCE_MM
