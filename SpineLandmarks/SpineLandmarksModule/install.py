"""What each runtime needs of Python packages, what of it is missing, and installing that with Slicer's own installer.

The light one needs a single wheel beside what Slicer ships. torch comes through the extension PyTorch, which knows the
graphics cards. What Slicer has already (numpy, SimpleITK, torch, requests ...) is pinned, so that pip cannot touch it.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import slicer

from SpineLandmarksLib.errors import BackendError

#: Import name and requirement of each package, by runtime. A test holds them to pyproject.toml.
NEEDS = {
    "light": {"onnxruntime": "onnxruntime>=1.17"},
    "torch": {"torch": "torch>=2.4", "monai": "monai>=1.4", "safetensors": "safetensors>=0.4"},
}
PINNED = ("numpy", "scipy", "SimpleITK", "requests", "torch", "pillow", "pydicom")
BY_HAND = (
    "Behind a proxy, set HTTPS_PROXY before Slicer is started. Without internet, fetch the wheels elsewhere and "
    "install them by hand (docs/slicer.md, Troubleshooting)"
)


def missing(runtime: str) -> list[str]:
    """The requirements that are not installed."""
    importlib.invalidate_caches()
    return [needed for name, needed in NEEDS[runtime].items() if importlib.util.find_spec(name) is None]


def install(runtime: str) -> None:
    """Install what is missing, after Slicer has asked. Raises BackendError with the next step when that fails."""
    needed = missing(runtime)
    if any(name.startswith("torch") for name in needed):
        _install_torch()
        needed = missing(runtime)
    if not needed:
        return
    with tempfile.TemporaryDirectory(prefix="SpineLandmarks-") as folder:
        try:
            _pip(needed, _constraints(Path(folder)))
        except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
            raise BackendError(f"{', '.join(needed)} could not be installed: {error}. {BY_HAND}") from error
    still = missing(runtime)
    if still:
        raise BackendError(f"{', '.join(still)} is still missing. Press Install again, or restart Slicer. {BY_HAND}")


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise BackendError(
            "The graphics card needs torch, which Slicer's extension PyTorch installs. Open the Extensions Manager, "
            "install PyTorch, restart Slicer and press Install again. The processor (CPU) needs none of this"
        ) from error
    try:
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    except Exception as error:  # that extension raises what pip and the network raise
        raise BackendError(f"The extension PyTorch could not install torch: {error}. {BY_HAND}") from error


def _pip(requirements: list[str], constraints: Path) -> None:
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # Slicer before 5.12
        if slicer.util.confirmOkCancelDisplay(f"SpineLandmarks needs {', '.join(requirements)}. Install it now?"):
            slicer.util.pip_install(["--constraint", str(constraints), *requirements])
    else:
        from packaging.requirements import Requirement  # Slicer 5.12 takes these only, later ones texts too

        pip_ensure([Requirement(each) for each in requirements], constraints=constraints, requester="SpineLandmarks")


def _constraints(folder: Path) -> Path:
    """A file that holds what is there to its version."""
    found = {name: _version(name) for name in PINNED}
    file = folder / "constraints.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in found.items() if version))
    return file


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
