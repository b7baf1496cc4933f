"""`spine-landmarks export`, and how far the graphs that it writes lie from torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from SpineLandmarksLib.annotated_slices import load_annotations, load_image, spacing_of
from SpineLandmarksLib.backends import LightBackend, Peaks
from SpineLandmarksLib.bundle import GRAPH, METADATA, WEIGHTS, Bundle, load_bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BundleError, OutputError
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.training import export_bundle as module
from SpineLandmarksLib.training.export_bundle import Parity, export_bundle, measure_parity, phantom_slices

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(file.parents[1] for file in (ROOT / "Resources" / "Models").glob("*/configs/metadata.json"))


@pytest.fixture
def a_copy(a_small_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_small_bundle.folder, tmp_path / "copy"))


@pytest.fixture
def no_new_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that is there passes for a new one: writing one takes seconds."""
    monkeypatch.setattr(module, "write_graph", lambda *_: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_lost_graph_is_written_anew_and_recorded(a_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(a_copy)
    (a_copy / GRAPH).unlink()
    assert main(["export", str(a_copy), "--format", "onnx"]) == 0
    assert capsys.readouterr().out.startswith(f"Written: {a_copy / GRAPH}, opset 18\nOn 8 slices at most ")
    after, metadata = contents(a_copy), json.loads((a_copy / METADATA).read_text())
    assert {name for name in before if before[name] != after[name]} <= {str(GRAPH), str(METADATA)}
    assert metadata["graph"]["opset"] == onnx.load(a_copy / GRAPH, load_external_data=False).opset_import[0].version
    assert metadata["graph"]["parity_with_torch"]["points_px"] < 0.05
    load_bundle(a_copy)  # all hashes are right


@pytest.mark.usefixtures("no_new_graph")
def test_a_copy_is_a_whole_bundle_and_the_first_one_stays_as_it_was(a_copy: Path, tmp_path: Path) -> None:
    before = contents(a_copy)
    bundle, _ = export_bundle(a_copy, tmp_path / "new")
    assert bundle.folder == tmp_path / "new"
    assert contents(a_copy) == before
    assert set(contents(tmp_path / "new")) == set(before)
    with pytest.raises(OutputError, match="new folder for the bundle"):
        export_bundle(a_copy, tmp_path / "new")


@pytest.mark.usefixtures("no_new_graph")
@pytest.mark.parametrize("parity", [Parity(8, 0.06, 0.0), Parity(8, 0.0, 0.02), Parity(8, np.inf, 0.0)])
def test_a_graph_that_is_off_is_not_kept(a_copy: Path, parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_parity", lambda *_: parity)
    before = contents(a_copy)
    with pytest.raises(BundleError, match=r"agree with torch to 0\.05 px and 0\.01; they differ by"):
        export_bundle(a_copy)
    assert contents(a_copy) == before


def test_altered_weights_are_not_exported(a_copy: Path) -> None:
    content = bytearray((a_copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (a_copy / WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match="was altered"):
        export_bundle(a_copy)


def test_parity_finds_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A light backend whose candidates lie 2 input pixels of 1.25 mm to the right."""
    image, _, pixel_mm = make_slice(np.random.default_rng(1), contrast="T2")
    detect = LightBackend.detect

    def moved(self: LightBackend, images: np.ndarray) -> Peaks:
        xy, log_mass, covariance = detect(self, images)
        return Peaks(xy + np.float32([2, 0]), log_mass, covariance)

    monkeypatch.setattr(LightBackend, "detect", moved)
    parity = measure_parity(load_bundle("lumbar11"), [(image, (pixel_mm, pixel_mm))])
    assert parity.slices == 1
    assert parity.points_px == pytest.approx(2 * 1.25 / pixel_mm, rel=0.02)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_graph_is_of_an_old_opset_and_tells_nothing_of_where_it_was_written(folder: Path) -> None:
    content = (folder / GRAPH).read_bytes()
    model = onnx.load_from_string(content)
    assert (model.opset_import[0].version, model.ir_version) == (18, 8)  # what ONNX Runtime 1.17 runs
    assert b"stack_trace" not in content
    assert b".py" not in content


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_graph_says_what_torch_says(folder: Path) -> None:
    measure_parity(load_bundle(folder), phantom_slices(3)).require(folder / GRAPH)
    recorded = json.loads((folder / METADATA).read_text())["graph"]["parity_with_torch"]
    Parity(**recorded).require(folder / GRAPH)


@pytest.mark.parametrize("name", ["spider", "tianchi150"])
def test_the_default_graph_says_what_torch_says_on_real_slices(real_data: Path, name: str) -> None:
    """A few of them; `research/bench/parity.py` takes them all."""
    rows = load_annotations([real_data / name], LUMBAR11)[::24]
    slices = [(load_image(row.image), spacing_of(row)) for row in rows]
    measure_parity(load_bundle("lumbar11"), slices).require("lumbar11")
