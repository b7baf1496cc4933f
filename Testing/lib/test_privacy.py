"""Nothing leaves the computer, and nothing is written but what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Watched = Callable[..., tuple[set[str], str]]


def test_the_watch_sees_a_look_up_and_a_file(watched: Watched) -> None:
    files, told = watched("-c", "import socket; socket.getaddrinfo('localhost', 80); open('trace', 'w')")
    assert files == {"trace"}
    assert "localhost" in told


def test_predict_writes_its_output_alone_and_asks_nobody(watched: Watched, a_picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    options = ("--output", output)
    assert watched("-m", "SpineLandmarksLib", "predict", a_picture, *options) == (set(), "")
    assert (output / "slice.json").is_file()


@pytest.mark.parametrize("module", ["onnxruntime", "torch", "monai", "onnx", "ray"])
def test_what_the_library_stands_on_asks_nobody_when_it_is_imported(watched: Watched, module: str) -> None:
    pytest.importorskip(module)
    files, told = watched("-c", f"import SpineLandmarksLib, {module}")
    assert {file for file in files if "matplotlib" not in file} == set()  # the list of fonts of this computer
    assert told == ""


def test_a_cluster_reports_to_nobody(watched: Watched) -> None:
    pytest.importorskip("ray")
    watched(
        "-c",
        "import SpineLandmarksLib; from ray._common.usage import usage_lib as u; assert not u.usage_stats_enabled()",
    )
