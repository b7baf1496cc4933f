"""A model bundle: a MONAI-bundle folder with one set of weights, a graph that reads them, and what they mean.

The folder holds:

    configs/metadata.json    MONAI's metadata, and the sha256 of every file below
    configs/detector.json    landmark names, preparation, architecture, chain prior, calibration
    configs/inference.json   how MONAI's tools build and run a localizer from this folder
    models/model.safetensors the weights; tensors only, nothing is ever unpickled
    models/model.onnx        the graph for the light backend; its weights lie in model.safetensors, whose hash it names
    docs/                    model card, licences of the data, metrics
    LICENSE                  of the weights
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from SpineLandmarksLib.chain import ChainPrior, vote_growth
from SpineLandmarksLib.errors import BundleError, InputError, SpineLandmarksError
from SpineLandmarksLib.formats.atomic import sha256_of, write_atomically
from SpineLandmarksLib.landmarks import Schema, names_per_level
from SpineLandmarksLib.settings import from_dict, to_dict
from SpineLandmarksLib.transforms import Preparation
from SpineLandmarksLib.uncertainty import Calibration

LIBRARY = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The folder of the shipped model bundles, one folder each.

    Raises BundleError when the installation has none.
    """
    # Inside first: beside an installed library lie other people's packages.
    places = [LIBRARY / "Resources" / "Models", LIBRARY.parent / "Resources" / "Models"]
    for place in places:
        if place.is_dir():
            return place
    raise BundleError(f"Expected the shipped models in {' or '.join(map(str, places))}; got neither. Install again")


DEFAULT = "lumbar11"
#: Finds corners of endplates on the levels of a bundle of centres.
CORNERS = "lumbar-corners"
#: What was shipped under another name: since 0.2.0 the weights that are judged are the ones that are shipped.
FORMER_NAMES = {"lumbar11-heldout": DEFAULT}
METADATA, DETECTOR = Path("configs/metadata.json"), Path("configs/detector.json")
WEIGHTS, GRAPH = Path("models/model.safetensors"), Path("models/model.onnx")
HASHED = (DETECTOR, WEIGHTS, GRAPH)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files have been checked against their hashes.

    landmarks: names in channel order. architecture: settings of `model.Architecture`. prior: None for landmarks that
    are no chain. weights_sha256: of the weights file, "" when there is none.
    """

    folder: Path
    name: str
    version: str
    landmarks: tuple[str, ...]
    preparation: Preparation
    architecture: dict[str, Any]
    prior: ChainPrior | None
    calibration: Calibration
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        count, factors = len(self.landmarks), len(self.calibration.radius_factor)
        steps = count - 1 if self.prior is None else len(self.prior.angle_mean)
        if count != factors or count != steps + 1 or len(self.calibration.in_space or self.landmarks) != count:
            raise BundleError(
                f"Bundle {self.folder}: expected a radius factor for each of {count} landmarks and {count - 1} offsets "
                f"between them; got {factors} and {steps}"
            )

    @property
    def schema(self) -> Schema:
        """The landmarks, and whether they are a chain."""
        return Schema(self.landmarks, self.prior is not None)

    @cached_property
    def names_per_level(self) -> int:
        """Landmarks from one to the same of the next level, 0 where names tell of none."""
        return names_per_level(self.landmarks)

    @property
    def counts_from_sacrum(self) -> bool:
        """Whether the lowest landmark lies at the sacrum, which tells the levels above it."""
        return self.prior is not None and "S1" in self.landmarks[-1]

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


def find_bundle(name_or_folder: str | Path) -> Path:
    """The folder of a bundle given as a folder or as the name of a shipped one."""
    for folder in (Path(name_or_folder), models_folder() / FORMER_NAMES.get(str(name_or_folder), name_or_folder)):
        if (folder / METADATA).is_file():
            return folder
    exist = ", ".join(shipped_bundles()) or "none"
    raise BundleError(f"Expected a bundle folder or a shipped bundle's name ({exist}); got {str(name_or_folder)!r}")


def bundles_named(bundle: str | Path) -> list[str]:
    """The bundles that one argument names, in their order: the first finds centres, the next the corners around them.

    >>> bundles_named("lumbar11,lumbar-corners"), bundles_named(Path("models/a"))
    (['lumbar11', 'lumbar-corners'], ['models/a'])
    """
    return [str(bundle)] if Path(bundle).is_dir() else str(bundle).split(",")


def shipped_bundles() -> list[str]:
    """The names of the bundles that came with the program."""
    return sorted(file.parent.parent.name for file in models_folder().glob(f"*/{METADATA.as_posix()}"))


def models_to_choose() -> list[str]:
    """What a screen offers: the shipped bundles of centres, and the default followed by the corners of endplates."""
    names = shipped_bundles()
    return sorted(f"{DEFAULT},{name}" if name == CORNERS else name for name in names)


def load_bundle(name_or_folder: str | Path = DEFAULT, files: Sequence[Path] = HASHED) -> Bundle:
    """Read a model bundle and check the hashes of its files.

    Args:
        name_or_folder: a shipped bundle's name, or a folder.
        files: those to check; all of them unless one is about to be written anew.

    Returns:
        The bundle. Its weights stay on disk until `backends.open_backend` reads them.

    Raises:
        BundleError: which file is missing or altered, or which setting does not fit.

    Source:
        The folder is a MONAI bundle, https://docs.monai.io/en/stable/mb_specification.html

    >>> load_bundle("lumbar11").landmarks[:3]
    ('T12-L1', 'L1', 'L1-L2')
    """
    folder = find_bundle(name_or_folder)
    metadata = read_settings(folder / METADATA)
    expected = metadata.get("sha256")
    if not isinstance(expected, dict) or not {file.as_posix() for file in HASHED} <= set(expected):
        raise BundleError(f"Expected sha256 of {', '.join(map(str, HASHED))} in {folder / METADATA}; got {expected}")
    for file in files:
        check_hash(folder / file, str(expected[file.as_posix()]))
    values = read_settings(folder / DETECTOR)
    try:
        return Bundle(
            folder=folder,
            name=str(metadata["name"]),
            version=str(metadata["version"]),
            landmarks=tuple(values["landmarks"]),
            preparation=from_dict(Preparation, values["preparation"], "preparation"),
            architecture=values["architecture"],
            prior=_prior_of(values["chain_prior"], tuple(values["landmarks"])),
            calibration=Calibration.from_dict(values["calibration"]),
            weights_sha256=expected[WEIGHTS.as_posix()],
        )
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, SpineLandmarksError) as error:
        raise BundleError(f"Bundle {folder}: a setting is missing or does not fit this version: {error!r}") from error


def _prior_of(values: dict[str, Any] | None, names: tuple[str, ...]) -> ChainPrior | None:
    if values is None:
        return None
    return ChainPrior.from_dict(values, vote_growth(names_per_level(names)))


def identity(bundle: Bundle) -> str:
    """SHA-256 of the file that holds the hashes of all others; empty for a bundle that is not on disk."""
    file = bundle.folder / METADATA
    return sha256_of(file) if file.is_file() else ""


def check_hash(path: Path, expected: str) -> None:
    """Raise BundleError unless the file is there and has the expected sha256."""
    if not path.is_file():
        raise BundleError(f"Expected the bundle's file {path}; it is missing. Install the bundle again")
    try:
        actual = sha256_of(path)
    except InputError as error:
        raise BundleError(str(error)) from error
    if actual != expected:
        raise BundleError(f"Expected sha256 {expected[:12]}... of {path}; got {actual[:12]}... The file was altered")


def write_settings(
    folder: Path,
    landmarks: tuple[str, ...],
    preparation: Preparation,
    architecture: dict[str, Any],
    prior: ChainPrior | None,
    calibration: Calibration,
) -> None:
    """Write `configs/detector.json`."""
    values = {
        "landmarks": list(landmarks),
        "preparation": to_dict(preparation),
        "architecture": architecture,
        "chain_prior": None if prior is None else prior.to_dict(),
        "calibration": calibration.to_dict(),
    }
    write_bundle_json(folder / DETECTOR, values)


def write_checksums(folder: Path, metadata: dict[str, Any]) -> None:
    """Write `configs/metadata.json` with the hashes of the files as they are now."""
    write_bundle_json(
        folder / METADATA, {**metadata, "sha256": {file.as_posix(): sha256_of(folder / file) for file in HASHED}}
    )


def write_bundle_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write((json.dumps(values, indent=2) + "\n").encode())


def read_settings(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a bundle; BundleError when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"Expected readable JSON in {path}; got: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"Expected settings in {path}; got {type(values).__name__}")
    return values
