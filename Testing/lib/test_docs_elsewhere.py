"""docs/elsewhere.md says only what works: its blocks of Python are run, in their order, on an exported data set."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.predict import Localizer

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "elsewhere.md"


@pytest.fixture
def an_export(a_phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(a_phantom_dataset, tmp_path / "data")
    assert main(["dataset", "init", str(folder), "--author", "Ann"]) == 0
    assert main(["dataset", "export", str(folder), "--output", str(tmp_path / "export")]) == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path / "export"


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # MONAI tells so of each reader that it does not find
def test_every_block_of_the_page_runs(an_export: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    try:
        import pandas  # noqa: F401
    except ImportError:
        blocks = [block for block in blocks if not re.search(r"\bpd\.", block)]
    names: dict[str, Any] = {"bundle": ROOT / "Resources" / "Models" / "lumbar11"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert isinstance(names["localizer"], Localizer)
    rows = json.loads((an_export / "landmarks.json").read_text())
    learned = {Path(one["image"]).name: one["image"] for one in names["training"]}
    assert 0 < len(learned) < len(rows)
    first = np.asarray(names["dataset"][0]["image"])[0]
    assert np.array_equal(first.T, np.asarray(Image.open(next(iter(learned.values())))))  # (column, row)
    folder = an_export / "nnUNet_raw" / "Dataset101_Lumbar"
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == len(rows) == 4
    for row in rows:
        label = np.asarray(Image.open(folder / "labelsTr" / f"{Path(row['image']).stem}.png"))
        x, y = np.rint(row["landmarks_px"]["L3"]).astype(int)
        assert label[y, x] == 1 + 5  # the sixth name
        assert set(np.unique(label)) <= set(range(12))
