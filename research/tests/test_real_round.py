"""One real round: what it is made of, and what is told of it."""

from __future__ import annotations

from pathlib import Path

from research.real_round import main
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.splits import lock


def test_a_round_begins_with_the_bundle_and_is_judged_on_each_source(
    a_small_bundle: Bundle, tmp_path: Path, monkeypatch
) -> None:
    from research import real_round

    command = real_round.spine_landmarks
    monkeypatch.setattr(
        real_round, "spine_landmarks", lambda said: command([*said, *(["--steps", "1"] * (said[0] == "retrain"))])
    )
    for name, seed in (("new", 3), ("known", 9)):
        folder = write_phantom_dataset(tmp_path / "sources" / name, 3, seed)
        lock(folder, [read_landmarks_json(folder)[0].group])
    output, document = tmp_path / "round", tmp_path / "loop.md"
    told = ["--judges", "known", "--bundle", str(a_small_bundle.folder), "--output", str(output), "--studies", "1"]
    assert main([str(tmp_path / "sources"), "new", *told, "--document", str(document)]) == 0
    assert len(read_landmarks_json(output)) == 2  # one to learn from, one that judges
    text = document.read_text()
    assert "1 studies, 1 steps" in text
    assert "kept as a candidate" in text
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:] == [
        "| new, corrected",
        "| known",
    ]
