"""What the page stands on asks nobody and writes nothing, when it is imported and when it makes its views."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SCENE = """
import asyncio

async def make():
    from trame.app import get_server
    from SpineLandmarksLib.web.scene import Scene
    Scene(get_server("views", client_type="vue3"), print, print, print)

asyncio.run(make())
"""


@pytest.mark.parametrize(
    "code", ["import SpineLandmarksLib, trame, vtkmodules.all, trame_slicer.core", SCENE, "import onnxruntime"]
)
def test_nothing_is_sent_or_written(watched: Callable[..., tuple[set[str], str]], code: str) -> None:
    assert watched("-c", f"import SpineLandmarksLib\n{code}") == (set(), "")
