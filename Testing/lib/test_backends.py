"""Both runtimes say the same, and one that is missing says what to install."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SpineLandmarksLib import backends
from SpineLandmarksLib.backends import OLDEST, LightBackend, TorchBackend, open_backend, usable_cpus, usable_threads
from SpineLandmarksLib.bundle import WEIGHTS, Bundle
from SpineLandmarksLib.errors import BackendError

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
ROOT = Path(__file__).resolve().parents[2]


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
        ("onnxruntime", "light", "pip install --upgrade onnxruntime"),
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


@pytest.mark.parametrize(
    ("module", "version", "backend", "line"),
    [
        ("onnxruntime", "1.16.3", "light", r"1\.17 or newer; got 1\.16\.3: pip install --upgrade onnxruntime"),
        ("torch", "2.3.1+cpu", "torch", r"2\.4 or newer; got 2\.3\.1\+cpu: pip install --upgrade 'spine-landmarks"),
    ],
)
def test_a_runtime_that_is_too_old_says_what_to_install(
    a_bundle_in_memory: Bundle, module: str, version: str, backend: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module(module), "__version__", version)
    with pytest.raises(BackendError, match=line):
        open_backend(a_bundle_in_memory, backend)


def test_the_oldest_runtimes_are_those_that_an_installation_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = " ".join([*project["dependencies"], *project["optional-dependencies"]["train"]])
    for name, version in OLDEST.items():
        assert re.search(rf"\b{name}>=([\d.]+)", asked)[1] == ".".join(map(str, version))


@pytest.mark.parametrize(
    ("told", "is_slow"),
    [
        ("model name\t: old\nflags\t\t: sse4_2 avx\n", True),
        ("flags\t\t: sse4_2 avx avx2 fma\n", False),
        ("Features\t: neon\n", False),
        (None, False),
    ],
    ids=["x86 without AVX2", "x86", "Arm", "not Linux"],
)
def test_a_processor_without_avx2_is_told_of(
    told: str | None, is_slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "CPU_INFO", tmp_path / "cpuinfo")
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    assert ("no AVX2: the light backend takes" in backends.cpu_warning()) is is_slow


def raising(text: str):
    def run(*_: object) -> None:
        raise RuntimeError(text)

    return run


@pytest.mark.parametrize("backend", ["light", "torch"])
def test_too_little_memory_is_told_as_such_and_other_faults_are_left_alone(
    both_backends: tuple[LightBackend, TorchBackend], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = both_backends[("light", "torch").index(backend)]
    images = np.zeros((4, 1, 64, 96), dtype=np.float32)
    what = {"light": "session", "torch": "detector"}[backend]
    for text in ("Failed to allocate memory for requested buffer", "DefaultCPUAllocator: no", "CUDA out of memory."):
        monkeypatch.setattr(one, what, SimpleNamespace(run=raising(text), detect=raising(text)))
        with pytest.raises(MemoryError, match="4 slices of 96 x 64 pixels"):
            one.detect(images)
    monkeypatch.setattr(one, what, SimpleNamespace(run=raising("shape mismatch"), detect=raising("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        one.detect(images)


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


def test_a_share_of_the_machine_limits_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    all_there_are = usable_cpus()
    assert usable_threads() == all_there_are
    for share, expected in (("1", 1), ("999", all_there_are), ("0", all_there_are), ("2,1", all_there_are)):
        monkeypatch.setenv("OMP_NUM_THREADS", share)
        assert (usable_threads(), usable_cpus()) == (expected, all_there_are)
