"""What each runtime needs of Python packages, what of it is missing, and installing that with Slicer's own installer.

The light one needs a single wheel beside what Slicer ships. torch comes through the extension PyTorch, which knows the
graphics cards. What Slicer has already (numpy, SimpleITK, torch, requests ...) is pinned, so that pip cannot touch it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import slicer
from slicer.i18n import tr

from SpineLandmarksLib.errors import BackendError

#: Import name and requirement of each package, by runtime. A test holds them to pyproject.toml.
NEEDS = {
    "light": {"onnxruntime": "onnxruntime>=1.17"},
    "cases": {"sqlalchemy": "sqlalchemy>=2.0"},
    "torch": {"torch": "torch>=2.4", "monai": "monai>=1.4", "safetensors": "safetensors>=0.4"},
}
PINNED = ("numpy", "scipy", "SimpleITK", "requests", "torch", "pillow", "pydicom")


def missing(runtime: str) -> list[str]:
    """The requirements that are not installed, or of which only an older version is."""
    importlib.invalidate_caches()
    return [needed for name, needed in NEEDS[runtime].items() if not _is_there(name, needed)]


def _is_there(name: str, requirement: str) -> bool:
    """A package of that name which another distribution brought (onnxruntime-gpu) is taken as it is."""
    distribution, _, least = requirement.partition(">=")
    version = _version(distribution)
    return importlib.util.find_spec(name) is not None and (version is None or _numbers(version) >= _numbers(least))


def _numbers(version: str) -> list[int]:
    """Of the release: "2.4.0+cu121" gives [2, 4, 0]."""
    return [int(number) for number in re.match(r"[\d.]*", version)[0].split(".") if number]  # type: ignore[index]


def install(runtime: str, may_install: Callable[[str], bool]) -> bool:
    """Install what is missing; False when a person says no to the one question that is asked.

    may_install: asked before pip fetches anything; for torch the extension PyTorch asks. Raises BackendError with the
    next step when it fails.
    """
    needed = missing(runtime)
    if any(name.startswith("torch") for name in needed):
        if not _install_torch():
            return False
    elif needed:
        question = tr("{names} is missing. Install it now? It is fetched from the internet once")
        if not may_install(question.format(names=", ".join(needed))):
            return False
    _fetch(missing(runtime))
    still = missing(runtime)
    if still:
        text = tr("{names} is still missing. Press Install again, or restart Slicer. {by_hand}")
        raise BackendError(text.format(names=", ".join(still), by_hand=by_hand()))
    return True


def _fetch(needed: list[str]) -> None:
    if not needed:
        return
    with tempfile.TemporaryDirectory(prefix="SpineLandmarks-") as folder:
        try:
            _pip(needed, _constraints(Path(folder)))
        except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
            text = tr("{names} could not be installed: {error}. {by_hand}")
            raise BackendError(text.format(names=", ".join(needed), error=error, by_hand=by_hand())) from error


def by_hand() -> str:
    """What to try when the network does not give it."""
    proxy = urllib.request.getproxies().get("https")
    place = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else ""
    through = (
        tr("It was asked for through the proxy {place}").format(place=place)
        if place
        else tr("Behind a proxy, set HTTPS_PROXY")
    )
    return tr(
        "{through}; Slicer reads it when it is started. Without internet, fetch the wheels elsewhere "
        "and install them from a folder (docs/slicer.md, When something is wrong)"
    ).format(through=through)


def _install_torch() -> bool:
    """Whether it is there then. The extension asks before it fetches some GB."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise BackendError(
            tr(
                "The graphics card needs torch, which Slicer's extension PyTorch installs. Open the "
                "Extensions Manager, install PyTorch, restart Slicer and press Install again. The processor "
                "(CPU) needs none of this"
            )
        ) from error
    least = NEEDS["torch"]["torch"].removeprefix("torch")
    try:
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=least)
    except Exception as error:  # that extension raises what pip and the network raise
        raise BackendError(
            tr("The extension PyTorch could not install torch: {error}. {by_hand}").format(
                error=error, by_hand=by_hand()
            )
        ) from error
    return NEEDS["torch"]["torch"] not in missing("torch")


def _pip(requirements: list[str], constraints: Path) -> None:
    """Without a question: the panel has asked."""
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # Slicer before 5.12
        slicer.util.pip_install(["--constraint", str(constraints), *requirements])
    else:
        from packaging.requirements import Requirement  # Slicer 5.12 takes these only, later ones texts too

        wanted = [Requirement(each) for each in requirements]
        pip_ensure(wanted, constraints=constraints, prompt_install=False, requester="SpineLandmarks")


def _constraints(folder: Path) -> Path:
    """A file that holds what is there to its version."""
    found = {name: _version(name) for name in PINNED}
    file = folder / "constraints.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in found.items() if version), encoding="utf-8")
    return file


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
