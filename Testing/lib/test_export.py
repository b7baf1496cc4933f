"""Recipes beside the default: their graphs give the same peaks as torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from SpineLandmarksLib.bundle import GRAPH, WEIGHTS
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.training.export import write_graph, write_weights

SEED = Architecture(
    heatmap={"network": "unet", "filters": [4, 8, 8], "stride": 1},
    direct={"network": "xception", "width": 0.0625},
    fusion={"sigma_px": 12.0},
    heatmap_loss="binary_cross_entropy",
    direct_size=96,
)
SCN = Architecture(heatmap={"network": "scn_later", "filters": 4}, heatmap_loss="mean_squared_error", peak_radius=8)


@pytest.mark.parametrize("architecture", [SEED, SCN], ids=["seed", "scn"])
def test_the_graph_gives_the_peaks_of_torch(architecture: Architecture, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = Detector(architecture, 4).eval()
    if architecture is SCN:  # its start is flat to 1e-6, all pixels tied
        for parameter in detector.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    write_weights(detector, tmp_path)
    write_graph(detector, tmp_path, 128, 128)
    image = torch.randn(2, 1, 128, 128)
    with torch.inference_mode():
        xy, log_mass, _ = (part.numpy() for part in detector.detect(image))
    session = onnxruntime.InferenceSession(str(tmp_path / GRAPH), providers=["CPUExecutionProvider"])
    light_xy, light_mass, _ = session.run(None, {"image": image.numpy()})
    # an untrained network has near ties, so only the best peak of each landmark must be the same
    assert np.abs(light_xy - xy)[:, :, 0].max() < 0.05
    assert np.abs(light_mass - log_mass)[:, :, 0].max() < 0.01


def test_stored_kernels_keep_seven_bits_and_the_detector_runs_on_the_same(tmp_path: Path) -> None:
    detector = Detector(SEED, 4)
    write_weights(detector, tmp_path)
    stored = {name: value for name, value in load_file(tmp_path / WEIGHTS).items() if value.dtype == torch.float16}
    assert stored
    for name, value in stored.items():
        normal = value[value.abs() > torch.finfo(torch.float16).smallest_normal]
        assert (normal.view(torch.int16) & 0b1111 == 0).all()  # 4 of the 10 digits behind the leading one
        assert torch.equal(value.float(), detector.state_dict()[name])
