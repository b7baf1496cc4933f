"""What MONAI's own tools ask of a bundle besides what this program reads: metadata, a config that runs, a checkpoint.

    configs/inference.json   `python -m monai.bundle run`, `load`, `ckpt_export`: localizes every study in `dataset_dir`
    models/model.pt          the weights as torch saves them; made by `export --format monai` alone, twice the size

https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from SpineLandmarksLib import __version__
from SpineLandmarksLib.bundle import DETECTOR, METADATA, read_settings, write_bundle_json

INFERENCE, CHECKPOINT = Path("configs/inference.json"), Path("models/model.pt")
_AUTHORS = "SpineLandmarks developers"
#: What reading images and running the graph needs, besides what MONAI's own keys name.
_PACKAGES = ("nibabel", "pydicom", "onnxruntime", "safetensors")


def complete_for_monai(folder: Path) -> None:
    """Write the config of a bundle, and into its metadata what MONAI asks for and it lacks."""
    settings = read_settings(folder / DETECTOR)
    write_bundle_json(folder / INFERENCE, inference_config(settings["architecture"], len(settings["landmarks"])))
    write_bundle_json(folder / METADATA, complete_metadata(read_settings(folder / METADATA), settings))


def complete_metadata(metadata: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The metadata with every field that MONAI's schema and its Model Zoo ask for; those that are there stay.

    settings: of `configs/detector.json`.
    """
    added = {
        "authors": _AUTHORS,
        "copyright": _AUTHORS,
        "required_packages_version": {"spine-landmarks": __version__} | _versions(),
    }
    # The Zoo installs this version, which an index knows without the name of a build.
    public = {key: str(metadata[key]).partition("+")[0] for key in ("pytorch_version",) if key in metadata}
    changelog = {metadata["version"]: "First version"} | metadata.get("changelog", {})
    return {**added, **metadata, **public, "changelog": changelog, "network_data_format": network_data_format(settings)}


def _versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def network_data_format(settings: dict[str, Any]) -> dict[str, Any]:
    """What goes into `network_def` and what comes out: a prepared slice, and log probabilities of each landmark."""
    multiple, stride = settings["preparation"]["multiple"], settings["architecture"]["stride"]
    shape = {"dtype": "float32", "value_range": [], "is_patch_data": False}
    image = {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1}
    names = {str(channel): name for channel, name in enumerate(settings["landmarks"])}
    pred = {"type": "probabilities", "format": "log_probability", "modality": "n/a", "num_channels": len(names)}
    sides, small = [f"{multiple}*n"] * 2, [f"{multiple // stride}*n"] * 2
    return {
        "inputs": {"image": {**image, "spatial_shape": sides, **shape, "channel_def": {"0": "image"}}},
        "outputs": {"pred": {**pred, "spatial_shape": small, **shape, "channel_def": names}},
    }


def inference_config(architecture: dict[str, Any], landmarks: int) -> dict[str, Any]:
    """`ConfigParser` builds the localizer and the network from it; set `bundle_root` to the folder."""
    return {
        "imports": ["$from pathlib import Path"],
        "bundle_root": ".",
        "backend": "auto",
        "device": "auto",
        "dataset_dir": "$str(Path(@bundle_root) / 'data')",
        "output_dir": "$str(Path(@bundle_root) / 'eval')",
        "formats": ["json", "csv", "mrk.json"],
        "network_def": {
            "_target_": "SpineLandmarksLib.model.network_of_bundle",
            "architecture": architecture,
            "landmarks": landmarks,
        },
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "localizer": {
            "_target_": "SpineLandmarksLib.predict.Localizer.open",
            "bundle": "@bundle_root",
            "backend": "@backend",
            "device": "@device",
        },
        "dataset": "$[Path(@dataset_dir)]",
        "evaluator": {
            "_target_": "SpineLandmarksLib.batch.predict_all",
            "_mode_": "callable",
            "inputs": "@dataset",
            "engine": "@localizer",
            "output": "$Path(@output_dir)",
            "formats": "@formats",
            "tree": True,
        },
        "run": ["$@evaluator()"],
    }
