"""A bundle is believed only when every byte is the one that its checksums were taken of, and nothing in it can run."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save

from SpineLandmarksLib.backends import open_backend
from SpineLandmarksLib.bundle import (
    DETECTOR,
    GRAPH,
    METADATA,
    WEIGHTS,
    Bundle,
    find_bundle,
    load_bundle,
    models_to_choose,
    write_checksums,
)
from SpineLandmarksLib.errors import BackendError, BundleError
from SpineLandmarksLib.training.build import with_calibration
from SpineLandmarksLib.uncertainty import Calibration

CHECKED = (DETECTOR, WEIGHTS, GRAPH)


@pytest.fixture
def a_copy(a_small_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_small_bundle.folder, tmp_path / "copy"))


def settings_of(folder: Path) -> dict:
    return json.loads((folder / DETECTOR).read_text())


def rewrite_checksums(folder: Path, settings: dict | None = None) -> None:
    """Make the hashes right again, as somebody would who alters a bundle on purpose."""
    if settings is not None:
        (folder / DETECTOR).write_text(json.dumps(settings))
    write_checksums(folder, json.loads((folder / METADATA).read_text()))


@pytest.mark.parametrize("file", CHECKED, ids=str)
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_one_altered_byte_anywhere_is_found_and_its_file_named(a_copy: Path, file: Path, where: float) -> None:
    content = bytearray((a_copy / file).read_bytes())
    content[round(where * (len(content) - 1))] ^= 1
    (a_copy / file).write_bytes(content)
    with pytest.raises(BundleError, match=r"Expected sha256 .* The file was altered") as error:
        load_bundle(a_copy)
    assert str(a_copy / file) in str(error.value)


@pytest.mark.parametrize("file", CHECKED, ids=str)
def test_a_missing_file_is_named(a_copy: Path, file: Path) -> None:
    (a_copy / file).unlink()
    with pytest.raises(BundleError, match="missing") as error:
        load_bundle(a_copy)
    assert str(a_copy / file) in str(error.value)


def test_a_folder_in_place_of_a_file_is_not_believed(a_copy: Path) -> None:
    (a_copy / WEIGHTS).unlink()
    (a_copy / WEIGHTS).mkdir()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(a_copy)


@pytest.mark.parametrize("hashes", [None, {}, "all fine", {DETECTOR.as_posix(): "00"}])
def test_metadata_without_all_hashes_are_not_believed(a_copy: Path, hashes: object) -> None:
    metadata = json.loads((a_copy / METADATA).read_text())
    (a_copy / METADATA).write_text(json.dumps({**metadata, "sha256": hashes}))
    with pytest.raises(BundleError, match="Expected sha256 of"):
        load_bundle(a_copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00"])
def test_metadata_that_are_no_json_object_say_which_file(a_copy: Path, content: bytes) -> None:
    (a_copy / METADATA).write_bytes(content)
    with pytest.raises(BundleError, match=r"metadata\.json"):
        load_bundle(a_copy)


def test_a_screen_offers_corners_on_the_levels_of_the_default_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lumbar11", "lumbar11-open", "lumbar-corners"):
        (tmp_path / name / METADATA).parent.mkdir(parents=True)
        (tmp_path / name / METADATA).write_text("{}")
    monkeypatch.setattr("SpineLandmarksLib.bundle.models_folder", lambda: tmp_path)
    assert models_to_choose() == ["lumbar11", "lumbar11,lumbar-corners", "lumbar11-open"]
    assert find_bundle("lumbar11-heldout") == tmp_path / "lumbar11"  # the judged weights are the shipped ones


def test_an_unknown_name_lists_the_shipped_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lumbar11", "cervical"):
        (tmp_path / name / "configs").mkdir(parents=True)
        (tmp_path / name / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr("SpineLandmarksLib.bundle.models_folder", lambda: tmp_path)
    assert find_bundle("lumbar11") == tmp_path / "lumbar11"
    with pytest.raises(BundleError, match=r"\(cervical, lumbar11\); got 'lumbar12'"):
        find_bundle("lumbar12")


def test_a_folder_that_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Expected a bundle folder"):
        load_bundle(tmp_path)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("backend", ["light", "torch"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "garbage", "empty", "truncated"])
def test_weights_that_are_no_tensors_are_refused_and_never_run(
    a_copy: Path, tmp_path: Path, backend: str, kind: str
) -> None:
    import torch

    proof, weights = tmp_path / "ran", a_copy / WEIGHTS
    if kind == "pickle":
        weights.write_bytes(pickle.dumps(Bomb(proof)))
    elif kind == "torch":
        torch.save(Bomb(proof), weights)
    else:
        half = weights.read_bytes()[: weights.stat().st_size // 2]
        weights.write_bytes({"garbage": np.random.default_rng(0).bytes(999), "empty": b"", "truncated": half}[kind])
    rewrite_checksums(a_copy)
    with pytest.raises((BackendError, BundleError), match="cannot run"):
        open_backend(load_bundle(a_copy), backend)
    assert not proof.exists()


def test_a_graph_that_is_none_is_refused(a_copy: Path) -> None:
    (a_copy / GRAPH).write_bytes(b"not a graph")
    rewrite_checksums(a_copy)
    with pytest.raises(BackendError, match=r"cannot run .*model\.onnx"):
        open_backend(load_bundle(a_copy), "light")


def test_settings_of_a_later_version_are_not_guessed_at(a_copy: Path) -> None:
    settings = settings_of(a_copy)
    settings["preparation"]["denoise"] = True
    rewrite_checksums(a_copy, settings)
    with pytest.raises(BundleError, match=r"does not fit this version.*denoise"):
        load_bundle(a_copy)


@pytest.mark.parametrize("missing", ["landmarks", "preparation", "architecture", "chain_prior", "calibration"])
def test_a_missing_setting_is_named(a_copy: Path, missing: str) -> None:
    settings = settings_of(a_copy)
    del settings[missing]
    rewrite_checksums(a_copy, settings)
    with pytest.raises(BundleError, match=missing):
        load_bundle(a_copy)


@pytest.mark.parametrize(
    "change",
    [
        {"landmarks": ["L1", "L2"]},
        {"chain_prior": []},
        {"calibration": {"temperature": 1, "radius_factor": [1]}},
        {"calibration": {"temperature": 1, "radius_factor": [1] * 11, "in_space": [1]}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(a_copy: Path, change: dict) -> None:
    rewrite_checksums(a_copy, {**settings_of(a_copy), **change})
    with pytest.raises(BundleError, match=str(a_copy)):
        load_bundle(a_copy)


def test_weights_of_another_architecture_are_refused_by_torch(a_copy: Path) -> None:
    settings = settings_of(a_copy)
    settings["architecture"]["heatmap"]["filters"] = [8, 16, 24]
    rewrite_checksums(a_copy, settings)
    with pytest.raises(BackendError, match="cannot run"):
        open_backend(load_bundle(a_copy), "torch")


def test_a_graph_of_another_opset_says_what_to_do(a_copy: Path) -> None:
    model = onnx.load(a_copy / GRAPH, load_external_data=False)
    model.opset_import[0].version = 99
    (a_copy / GRAPH).write_bytes(model.SerializeToString())
    rewrite_checksums(a_copy)
    with pytest.raises(BackendError, match=r"(?s)spine-landmarks export .*, or choose --backend torch\..*[Oo]pset 99"):
        open_backend(load_bundle(a_copy), "light")
    assert open_backend(load_bundle(a_copy), "torch").name == "torch"


def test_a_graph_is_not_run_on_other_weights_than_its_own(a_copy: Path) -> None:
    """The same tensors in another order: the graph would read one tensor's bytes as another's."""
    tensors = load_file(a_copy / WEIGHTS)
    (a_copy / WEIGHTS).write_bytes(save(tensors, metadata={"saved": "by another program"}))
    rewrite_checksums(a_copy)
    with pytest.raises(BackendError, match=r"was written for .*spine-landmarks export .*, or choose --backend torch"):
        open_backend(load_bundle(a_copy), "light")
    assert open_backend(load_bundle(a_copy), "torch").name == "torch"


@pytest.mark.parametrize("backend", ["light", "torch"])
def test_a_bundle_may_lie_in_any_folder(a_small_bundle: Bundle, tmp_path: Path, backend: str) -> None:
    copy = load_bundle(shutil.copytree(a_small_bundle.folder, tmp_path / "mein Ordner" / "脊椎 Modell é"))
    images = np.zeros((1, 1, 64, 64), dtype=np.float32)
    assert open_backend(copy, backend).detect(images).xy.shape == (1, 11, 6, 2)


def test_another_calibration_leaves_all_else_as_it_was(a_small_bundle: Bundle, a_copy: Path) -> None:
    changed = with_calibration(load_bundle(a_copy), Calibration(2.5, (3.0,) * 11, "three slices"))
    assert changed.calibration == Calibration(2.5, (3.0,) * 11, "three slices")
    assert (changed.landmarks, changed.preparation) == (a_small_bundle.landmarks, a_small_bundle.preparation)
    before, after = (json.loads((folder / METADATA).read_text()) for folder in (a_small_bundle.folder, a_copy))
    assert before.pop("sha256")[WEIGHTS.as_posix()] == after.pop("sha256")[WEIGHTS.as_posix()]
    assert before == after


def test_the_label_is_name_and_version(a_small_bundle: Bundle) -> None:
    from SpineLandmarksLib import __version__

    assert a_small_bundle.label == f"small@{__version__}"
