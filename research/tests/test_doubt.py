"""The section that tells how right the doubt of a model is."""

from __future__ import annotations

import json
from pathlib import Path

from research.experiments.__main__ import main
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.evaluation.evaluate import evaluate
from SpineLandmarksLib.predict import Localizer


def test_the_figures_of_calibrate_become_a_section(
    a_small_bundle: Bundle, a_phantom_dataset: Path, tmp_path: Path
) -> None:
    rows = load_annotations([a_phantom_dataset], a_small_bundle.landmarks)
    summary = evaluate(Localizer.open(a_small_bundle.folder), rows, tmp_path / "out", ["Data: 4 slices", "two folds"])
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- doubt:begin -->\nwhat was here\n<!-- doubt:end -->\nafter\n")
    assert main(["doubt", str(tmp_path / "out"), "--document", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("Before\n<!-- doubt:begin -->\n4 slices. two folds. radius95 covers ")
    assert text.endswith("<!-- doubt:end -->\nafter\n")
    assert "what was here" not in text
    for each in summary["calibration"]["confidence_bins"]:
        assert f"| {each['n']} | {each['mean_confidence']:.3f} |" in text
    assert "| L5-S1 |" in text
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["notes"] == ["Data: 4 slices", "two folds"]
