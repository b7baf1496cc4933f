"""`spine-landmarks export`: the graph of a bundle written anew from its weights, held to torch, and recorded."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import torch

from SpineLandmarksLib.backends import TorchBackend
from SpineLandmarksLib.bundle import DETECTOR, GRAPH, METADATA, WEIGHTS, Bundle, load_bundle, read_settings, seal
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.training.export import versions_of, write_graph
from SpineLandmarksLib.training.parity import Parity, measure_parity, phantom_slices


def export_command(options: argparse.Namespace) -> int:
    bundle, parity = export_bundle(options.bundle, options.output)
    opset = versions_of(bundle.folder / GRAPH)["opset"]
    print(f"Written: {bundle.folder / GRAPH}, opset {opset}")
    print(f"On {parity.slices} slices at most {parity.points_px:.2g} px and {parity.confidence:.2g} from torch")
    return 0


def export_bundle(name_or_folder: str | Path, output: Path | None = None) -> tuple[Bundle, Parity]:
    """Write the graph of a bundle whose settings and weights are whole, in place or into a copy at `output`.

    Nothing is changed unless the new graph agrees with torch. Raises BundleError when it does not or the bundle is
    damaged, BackendError when a runtime is missing, OutputError when `output` exists or cannot be written.
    """
    bundle = load_bundle(name_or_folder, (DETECTOR, WEIGHTS))
    if output is not None and output.exists():
        raise OutputError(f"Expected a new folder for the bundle; {output} exists")
    with tempfile.TemporaryDirectory() as scratch:
        draft = shutil.copytree(bundle.folder, Path(scratch) / bundle.name)
        write_graph(TorchBackend(bundle, "cpu").detector, draft)
        seal(draft, read_settings(draft / METADATA))
        parity = record_graph(draft).require(draft / GRAPH)
        if output is not None:
            _move_whole(draft, output)
        else:
            for file in (GRAPH, METADATA):
                with write_atomically(bundle.folder / file) as target:
                    target.write((draft / file).read_bytes())
    return load_bundle(output or bundle.folder), parity


def record_graph(folder: Path) -> Parity:
    """Measure a sealed bundle's graph against torch, and seal it again with what the graph is and how far it lies."""
    parity = measure_parity(load_bundle(folder), phantom_slices())
    graph = {
        "format": "onnx",
        **versions_of(folder / GRAPH),
        "written_with": f"torch {torch.__version__}",
        "parity_with_torch": parity.to_dict(),
    }
    seal(folder, {**read_settings(folder / METADATA), "graph": graph})
    return parity


def _move_whole(folder: Path, target: Path) -> None:
    """A copy beside the target first, since only a rename on the same disk is whole or not at all."""
    beside = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copytree(folder, beside)
        os.rename(beside, target)
    except OSError as error:
        raise OutputError(f"Could not write {target}: {error.strerror or error}. Nothing was changed") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
