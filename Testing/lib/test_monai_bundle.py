"""MONAI's own tools take our bundles: what they check of metadata, shapes and exports, and what they run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from jsonschema import validate
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, load, onnx_export, run, verify_net_in_out

from SpineLandmarksLib.backends import TorchBackend
from SpineLandmarksLib.bundle import Bundle, load_bundle, read_settings
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.formats.json_result import read_json
from SpineLandmarksLib.model import Architecture, network_of_bundle
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.settings import to_dict

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(file.parents[1] for file in (ROOT / "Resources" / "Models").glob("*/configs/metadata.json"))
# It warns that a config runs code, each time.
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

TEXT, SHAPE = {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": ["integer", "string"]}}
TENSOR = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "format": TEXT,
        "modality": TEXT,
        "num_channels": {"type": "integer"},
        "spatial_shape": SHAPE,
        "dtype": TEXT,
        "value_range": {"type": "array"},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "minProperties": 1},
    },
}
TENSOR["required"] = list(TENSOR["properties"])
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
#: What the specification of MONAI bundles asks of metadata.json, and the Model Zoo of a bundle that it takes.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("schema", "version", "monai_version", "pytorch_version", "numpy_version"), TEXT),
        **dict.fromkeys(("task", "description", "authors", "copyright"), TEXT),
        "changelog": {"type": "object", "additionalProperties": TEXT},
        "required_packages_version": {"type": "object", "additionalProperties": TEXT},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
}
SCHEMA["required"] = list(SCHEMA["properties"])


@pytest.fixture(scope="module")
def for_monai(a_small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle as `export --format monai` writes it."""
    folder = tmp_path_factory.mktemp("monai") / "small"
    assert main(["export", str(a_small_bundle.folder), "--format", "monai", "--output", str(folder)]) == 0
    return folder


def of(folder: Path) -> dict[str, str]:
    """The arguments by which MONAI's tools are told a bundle."""
    configs = folder / "configs"
    return {
        "meta_file": str(configs / "metadata.json"),
        "config_file": str(configs / "inference.json"),
        "bundle_root": str(folder),
    }


def test_monai_builds_a_localizer_from_the_bundle_folder(a_small_bundle: Bundle) -> None:
    parser = ConfigParser()
    parser.read_config(str(a_small_bundle.folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(a_small_bundle.folder)
    localizer = parser.get_parsed_content("localizer")
    assert isinstance(localizer, Localizer)
    assert localizer.bundle.label == a_small_bundle.label


def require_for_the_zoo(folder: Path) -> None:
    """What the Model Zoo's verify_bundle asks but the download of its schema."""
    metadata = read_settings(folder / "configs" / "metadata.json")
    validate(metadata, SCHEMA)
    assert metadata["version"] in metadata["changelog"]
    assert "+" not in metadata["pytorch_version"]
    verify_net_in_out(net_id="network_def", device="cpu", **of(folder))
    workflow = ConfigWorkflow(workflow_type="inference", **of(folder))
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_bundle_is_what_monai_and_its_zoo_ask_for(folder: Path) -> None:
    require_for_the_zoo(folder)
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE.txt").read_bytes()
    assert not (folder / "models" / "model.pt").exists(), "the weights are shipped once"


def test_a_copy_for_monai_is_a_whole_bundle_with_the_same_weights(a_small_bundle: Bundle, for_monai: Path) -> None:
    require_for_the_zoo(for_monai)
    assert load_bundle(for_monai).weights_sha256 == a_small_bundle.weights_sha256
    assert main(["export", str(a_small_bundle.folder), "--format", "monai"]) == 2
    assert main(["export", str(a_small_bundle.folder), "--format", "monai", "--output", str(for_monai)]) == 2


def test_monai_loads_the_network_with_its_weights(for_monai: Path) -> None:
    network = load("small", bundle_dir=for_monai.parent, workflow_type="inference", device="cpu").eval()
    image = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    detector = TorchBackend(load_bundle(for_monai), "cpu").detector
    with torch.inference_mode():
        assert torch.allclose(network(image), detector(image).log_p, atol=1e-5)
    with pytest.warns(UserWarning, match="return state dict"):  # without a training config, which we have not
        assert set(load("small", bundle_dir=for_monai.parent, device="cpu")) == set(detector.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_monai_exports_torchscript_and_onnx_that_say_what_the_network_says(for_monai: Path, tmp_path: Path) -> None:
    checkpoint = str(for_monai / "models" / "model.pt")
    ckpt_export(net_id="network_def", filepath=str(tmp_path / "a.ts"), ckpt_file=checkpoint, **of(for_monai))
    named = {"filename": str(tmp_path / "b.onnx")}  # else MONAI leaves a temporary file open
    wanted_file = {"filepath": str(tmp_path / "a.onnx"), "converter_kwargs": named}
    onnx_export(net_id="network_def", ckpt_file=checkpoint, **wanted_file, **of(for_monai))
    multiple = read_settings(for_monai / "configs" / "detector.json")["preparation"]["multiple"]
    image = torch.rand(1, 1, multiple, multiple, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = TorchBackend(load_bundle(for_monai), "cpu").detector(image).log_p
        assert torch.allclose(torch.jit.load(tmp_path / "a.ts")(image), wanted, atol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert np.allclose(said, wanted, atol=1e-4)


def test_monai_runs_the_bundle_on_a_folder_of_studies(for_monai: Path, a_phantom_study: Path, tmp_path: Path) -> None:
    """As `python -m monai.bundle run` does, with the points that `predict` writes."""
    (tmp_path / "data").mkdir()
    shutil.copy(a_phantom_study, tmp_path / "data")
    places = {"dataset_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "out")}
    run(run_id="run", **of(for_monai), **places)
    found = tmp_path / "out" / "phantom.json"
    command = ["predict", str(a_phantom_study), "--bundle", str(for_monai), "--output", str(tmp_path / "own")]
    assert main(command) == 0
    assert read_json(found).landmarks == read_json(tmp_path / "own" / "phantom.json").landmarks
    assert json.loads((tmp_path / "out" / "summary.json").read_text())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_detector_with_a_direct_network_is_a_network_for_monai_too() -> None:
    settings = Architecture(
        heatmap={"network": "unet", "filters": [4, 4]}, direct={"network": "xception"}, direct_size=71
    )
    network = network_of_bundle(to_dict(settings), 3).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert network(image).shape == (1, 3, 64, 64)
        assert torch.allclose(torch.jit.trace(network, image)(image), network(image), atol=1e-5)
