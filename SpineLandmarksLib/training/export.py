"""From a trained detector to a bundle: one file of weights, and a graph that reads its weights from that same file.

The weights are stored once, as safetensors with the large tensors in half precision, of which the last bits are zero so
that a wheel can compress them. The ONNX graph refers to the bytes of that file (ONNX external data), so graph and
weights cannot disagree. Both backends compute in float32.
"""

from __future__ import annotations

import json
import logging
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from SpineLandmarksLib.backends import WEIGHTS_OF_GRAPH
from SpineLandmarksLib.bundle import GRAPH, WEIGHTS
from SpineLandmarksLib.errors import BundleError
from SpineLandmarksLib.formats.atomic import sha256_of, write_atomically
from SpineLandmarksLib.model import Detector

#: Kernels with at least this many numbers are stored in half precision; norms and biases stay exact.
LARGE = 1024
#: Binary digits that such a kernel keeps of 11. A wheel with 7 is a fifth smaller and points move by 0.01 pixel
#: (python -m research.bench.rounding).
SIGNIFICANT_BITS = 7
#: What ONNX Runtime 1.17 runs, the oldest that is asked for. In ONNX Runtime 1.31 average pooling of opset 19 and later
#: has no fast kernel: it takes a hundred times as long.
OPSET, IR_VERSION = 18, 8
#: Bytes of computed constants that a graph may hold: tables of positions, and no weights.
MAX_CONSTANTS = 1_000_000


class Graph(nn.Module):
    """What the light backend runs: network, fusion and peaks in one graph."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.detector.detect(image)
        return found.xy, found.log_mass, found.covariance


def write_weights(detector: Detector, folder: Path) -> None:
    """Round the detector's large kernels to `SIGNIFICANT_BITS` in half precision, in place, and write them."""
    from safetensors.torch import save

    tensors = {}
    with torch.no_grad():
        for name, value in detector.state_dict().items():
            half = value.is_floating_point() and value.numel() >= LARGE and value.ndim > 1
            if half:
                value.copy_(shorten(value, SIGNIFICANT_BITS).half().to(value.dtype))
            tensors[name] = (value.half() if half else value).contiguous()
    (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / WEIGHTS) as file:
        file.write(save(tensors))


def shorten(value: Tensor, bits: int) -> Tensor:
    """The nearest numbers of that many significant bits.

    >>> shorten(torch.tensor([1.0, 0.7, -3.14159]), 4).tolist()
    [1.0, 0.6875, -3.25]
    """
    mantissa, exponent = torch.frexp(value)
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


def write_graph(detector: Detector, folder: Path, height: int = 256, width: int = 320) -> None:
    """Write the graph beside weights that `write_weights` has written. Batch, height and width stay free."""
    model = export_graph(detector, height, width)
    refer_to_weights(model, folder / WEIGHTS)
    forget_origin(model)
    model.ir_version = IR_VERSION
    model.metadata_props.add(key=WEIGHTS_OF_GRAPH, value=sha256_of(folder / WEIGHTS))
    with write_atomically(folder / GRAPH) as file:
        file.write(model.SerializeToString())


def export_graph(detector: Detector, height: int, width: int) -> Any:
    """An ONNX ModelProto whose initializers keep the names and values of the detector's own weights."""
    import onnxscript

    free = {"image": {0: "batch", 2: "height", 3: "width"}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # says which packages it would also know
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes about its own insides
        program = torch.onnx.export(
            Graph(detector).eval(),
            (torch.zeros(2, 1, height, width),),
            dynamo=True,
            opset_version=OPSET,
            optimize=False,  # would fold batch norms into other weights than those stored; the runtime folds at start
            verbose=False,
            input_names=["image"],
            output_names=["xy", "log_mass", "covariance"],
            dynamic_shapes=free,
        )
    assert program is not None
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    return program.model_proto


def refer_to_weights(model: Any, weights: Path) -> None:
    """Replace initializers by references into the safetensors file, with a cast where it stores half precision.

    Constants that the exporter computed, such as the windows of the peaks, stay in the graph. Raises BundleError when
    they are as large as weights: the exporter has then folded weights into others, which the file does not hold.
    """
    from onnx import TensorProto, helper

    stored = tensor_places(weights)
    casts, constants = [], 0
    for initializer in model.graph.initializer:
        name = initializer.name.removeprefix("detector.")
        if name not in stored:
            constants += len(initializer.raw_data)
            continue
        kind, offset, length = stored[name]
        initializer.ClearField("raw_data")
        initializer.ClearField("external_data")
        initializer.data_location = TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", offset), ("length", length)):
            initializer.external_data.add(key=key, value=str(value))
        if kind == "F16":
            exact = initializer.name
            initializer.name, initializer.data_type = exact + "_half", TensorProto.FLOAT16
            casts.append(helper.make_node("Cast", [initializer.name], [exact], to=TensorProto.FLOAT))
    if constants > MAX_CONSTANTS:
        raise BundleError(f"Expected the graph's weights in {weights}; got {constants} bytes that are not there")
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def forget_origin(model: Any) -> None:
    """Take out what the exporter notes of the source code of each node: three quarters of the file, and local paths."""
    for part in (model.graph, model.graph.node, model.graph.value_info, model.graph.initializer, model.graph.output):
        for item in [model.graph] if part is model.graph else part:
            item.ClearField("metadata_props")
            item.ClearField("doc_string")


def versions_of(graph: Path) -> dict[str, int]:
    """Opset and format version of an ONNX file."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    return {"opset": model.opset_import[0].version, "ir_version": model.ir_version}


def tensor_places(weights: Path) -> dict[str, tuple[str, int, int]]:
    """name -> (dtype, offset in the file, length in bytes), from a safetensors header."""
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    places = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            places[name] = (entry["dtype"], 8 + size + begin, end - begin)
    return places
