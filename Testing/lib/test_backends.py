"""Both runtimes say the same, and one that is missing says what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from SpineLandmarksLib.backends import LightBackend, TorchBackend, open_backend
from SpineLandmarksLib.bundle import WEIGHTS, Bundle
from SpineLandmarksLib.errors import BackendError


@pytest.fixture(scope="module")
def both_backends(a_small_bundle: Bundle) -> tuple[LightBackend, TorchBackend]:
    return LightBackend(a_small_bundle), TorchBackend(a_small_bundle, "cpu")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (256, 320), (40, 8)])
def test_light_says_what_torch_says(
    both_backends: tuple[LightBackend, TorchBackend], batch: int, size: tuple[int, int]
) -> None:
    images = np.random.default_rng(batch).normal(size=(batch, 1, *size)).astype(np.float32)
    light, torch = (backend.detect(images) for backend in both_backends)
    for part in (*light, *torch):
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
    assert light.xy.shape == (batch, 11, 6, 2)
    assert light.covariance.shape == (batch, 11, 6, 3)
    assert np.abs(light.log_mass - torch.log_mass).max() < 0.01
    assert np.abs(light.xy - torch.xy).max() < 0.05
    assert np.abs(light.covariance - torch.covariance).max() < 0.05


def test_candidates_come_best_first_and_inside_the_image(both_backends: tuple[LightBackend, TorchBackend]) -> None:
    images = np.random.default_rng(5).normal(size=(2, 1, 64, 96)).astype(np.float32)
    found = both_backends[0].detect(images)
    assert (np.diff(found.log_mass, axis=-1) <= 0).all()
    assert (found.xy > -0.5).all()
    assert (found.xy < [95.5, 63.5]).all()


def test_an_image_does_not_depend_on_those_beside_it(both_backends: tuple[LightBackend, TorchBackend]) -> None:
    images = np.random.default_rng(6).normal(size=(3, 1, 64, 64)).astype(np.float32)
    for backend in both_backends:
        together, alone = backend.detect(images), backend.detect(images[1:2])
        assert np.abs(together.xy[1] - alone.xy[0]).max() < 0.05


def test_auto_is_light_and_light_is_on_the_cpu(a_small_bundle: Bundle) -> None:
    assert open_backend(a_small_bundle).name == "light"
    assert open_backend(a_small_bundle, "auto", "cpu").name == "light"
    assert open_backend(a_small_bundle, "torch", "cpu").name == "torch"


def test_light_on_cuda_is_refused(a_bundle_in_memory: Bundle) -> None:
    with pytest.raises(BackendError, match="choose --backend torch"):
        open_backend(a_bundle_in_memory, "light", "cuda")


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_cuda_without_cuda_is_refused(
    a_bundle_in_memory: Bundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(BackendError, match=r"Expected a CUDA device for --device cuda; torch .* sees none"):
        open_backend(a_bundle_in_memory, backend, "cuda")


@pytest.mark.parametrize(("backend", "device"), [("onnx", "cpu"), ("light", "gpu"), ("", "")])
def test_unknown_names_list_the_known_ones(a_bundle_in_memory: Bundle, backend: str, device: str) -> None:
    with pytest.raises(BackendError, match=r"'auto', 'light', 'torch'.*'auto', 'cpu', 'cuda'"):
        open_backend(a_bundle_in_memory, backend, device)


@pytest.mark.parametrize(
    ("module", "backend", "line"),
    [
        ("onnxruntime", "light", "pip install onnxruntime"),
        ("torch", "torch", r"pip install 'spine-landmarks\[train\]'"),
        ("safetensors.torch", "torch", r"pip install 'spine-landmarks\[train\]'"),
    ],
)
def test_a_missing_runtime_says_what_to_install(
    a_bundle_in_memory: Bundle, module: str, backend: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # an import of it now fails
    with pytest.raises(BackendError, match=line):
        open_backend(a_bundle_in_memory, backend)


def test_norms_and_biases_keep_every_digit_and_large_kernels_half(tmp_path: Path) -> None:
    """A norm of 2048 channels, as Xception ends with, whose variance a half-precision number cannot hold."""
    import torch
    from safetensors.numpy import load_file

    from SpineLandmarksLib.training.export import write_weights

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2048, 1), torch.nn.BatchNorm2d(2048), torch.nn.Conv2d(8, 8, 3))
    network[1].running_var.fill_(1e6)
    write_weights(network, tmp_path)  # type: ignore[arg-type]
    stored = load_file(tmp_path / WEIGHTS)
    assert {name for name, value in stored.items() if value.dtype == np.float16} == {"0.weight"}
    assert stored["1.running_var"].max() == 1e6
    kept = network[0].weight.detach().numpy()
    assert np.array_equal(kept, stored["0.weight"].astype(np.float32))  # what runs is what is stored
