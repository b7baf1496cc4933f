"""Our app for MONAI Label in a real server of it, where an environment of that has been made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from research import monai_label

SERVER = os.environ.get("SPINE_LANDMARKS_MONAILABEL", "")


@pytest.mark.skipif(not SERVER, reason="SPINE_LANDMARKS_MONAILABEL does not name the command of MONAI Label")
def test_monai_label_answers_with_the_landmarks_of_predict(tmp_path: Path) -> None:
    found = monai_label.compare(tmp_path, SERVER)
    assert max(found.values()) < monai_label.TOLERANCE_MM
