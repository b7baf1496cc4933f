"""The ablation by source: what is left out is not learned from, and every hold-out judges every row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from research.experiments.__main__ import main
from research.experiments.experiment import Experiment
from research.experiments.sources import ALL, run_sources, sources_rows, sources_table
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.errors import DatasetError, OutputError
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.splits import lock, locked_patients

FILE = """
architecture: {heatmap: {network: unet, filters: [8, 16, 16], stride: 1}, stride: 1}
preparation: {resize: spacing, spacing_mm: 4.0, multiple: 32, intensity: percentile}
crop: [64, 64]
batch: 2
precision: float32
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(FILE)
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[Path, float | None]]:
    """Three data sets; two have a locked patient each."""
    found: list[tuple[Path, float | None]] = []
    for seed, (name, share) in enumerate([("one", None), ("two", 0.3), ("made", 0.1)]):
        folder = write_phantom_dataset(tmp_path / name, 3, seed)
        if name != "made":
            lock(folder, [load_annotations([folder], LUMBAR11)[seed].group])
        found.append((folder, share))
    return found


def an_experiment(sources: list[tuple[Path, float | None]], tmp_path: Path) -> Experiment:
    return Experiment(sources[0][0], tmp_path / "out", None, say=lambda _: None)


def test_each_row_is_judged_on_each_holdout_and_has_not_seen_what_it_leaves_out(
    sources: list[tuple[Path, float | None]], recipe: str, tmp_path: Path
) -> None:
    names = [folder.name for folder, _ in sources]
    experiment = an_experiment(sources, tmp_path)
    rows = sources_rows(sources, [(names[0],), (names[1], names[2])], recipe, 2)
    assert [row.title for row in rows] == [ALL, f"without {names[0]}", f"without {names[1]} and {names[2]}"]
    judged = run_sources(experiment, rows, sources, separate_patients=True)
    assert [(each.line.row.title, each.source, each.seen) for each in judged] == [
        (ALL, names[0], True),
        (ALL, names[1], True),
        (f"without {names[0]}", names[0], False),
        (f"without {names[0]}", names[1], True),
        (f"without {names[1]} and {names[2]}", names[0], True),
        (f"without {names[1]} and {names[2]}", names[1], False),
    ]
    cases = {
        row.key: json.loads((tmp_path / "out" / "networks" / row.key / "every-source" / "run.json").read_text())[
            "cases"
        ]
        for row in rows
    }
    assert list(cases.values()) == [7, 5, 2]  # two of each with a locked patient, three of the other
    for each in judged:
        (folder,) = (folder for folder, _ in sources if folder.name == each.source)
        locked = {row.group for row in load_annotations([folder], LUMBAR11)} - {
            group for group in each.line.predictions.groups
        }
        assert len(each.line.predictions) == each.patients == 1
        assert len(locked) == 2
    _, _, *body = sources_table(judged).splitlines()
    assert [line.split(" | ")[1] for line in body] == [
        *(names[0], f"{names[0]}, never seen", names[0]),
        *(names[1], names[1], f"{names[1]}, never seen"),
    ]


def test_a_patient_that_judges_and_is_learned_from_elsewhere_is_refused_by_number(
    sources: list[tuple[Path, float | None]], recipe: str, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(sources[0][0], again, ignore=shutil.ignore_patterns("holdout.json"))
    (shared,) = locked_patients(sources[0][0])
    sources = [*sources, (again, None)]
    rows = sources_rows(sources, [], recipe, 2)
    with pytest.raises(DatasetError, match=shared):
        run_sources(an_experiment(sources, tmp_path), rows, sources, separate_patients=False)


def test_sources_that_are_unknown_or_all_left_out_are_refused(
    sources: list[tuple[Path, float | None]], recipe: str
) -> None:
    names = tuple(folder.name for folder, _ in sources)
    with pytest.raises(OutputError, match=r"Expected to leave out sources of .*; got nowhere"):
        sources_rows(sources, [("nowhere",)], recipe, 2)
    with pytest.raises(OutputError, match="all of them left out"):
        sources_rows(sources, [names], recipe, 2)


def test_without_a_holdout_there_is_nothing_to_judge_on(
    sources: list[tuple[Path, float | None]], recipe: str, tmp_path: Path
) -> None:
    rows = sources_rows(sources[2:], [], recipe, 2)
    with pytest.raises(OutputError, match="Expected a locked hold-out"):
        run_sources(an_experiment(sources[2:], tmp_path), rows, sources[2:], separate_patients=True)


def test_the_command_leaves_each_source_out_and_writes_its_section(
    sources: list[tuple[Path, float | None]], recipe: str, tmp_path: Path
) -> None:
    page = tmp_path / "benchmarks.md"
    (main_source, _), *rest = sources
    extra = [part for folder, share in rest for part in ("--extra", f"{folder}={share}")]
    options = ["--recipe", recipe, "--steps", "2", "--separate-patients", "--document", str(page)]
    assert main(["sources", "--data", str(main_source), *extra, *options, "--output", str(tmp_path / "run")]) == 0
    text = page.read_text("utf-8")
    assert text.count(", never seen |") == 2
    assert text.count(f"| without {rest[1][0].name} |") == 3  # twice judged, once trained
    assert str(tmp_path) not in text.replace(recipe, "")
