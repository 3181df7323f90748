"""A network as one ONNX model, for images of any size, which is compared with the network before it is written.

The model is made by torch's tracer for ONNX. The newer exporter of torch (`dynamo=True`) makes equal models, but takes
much longer, and does not end in a bearable time for a network with coarse passes (docs/log.md).
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adacode_cli.checkpoints.base_models import notice_of
from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.format import Weights, write_file
from adacode_cli.checkpoints.load import build
from adacode_cli.errors import UsageError, WeightsError, translated
from adacode_cli.export.onnx_check import TOLERANCE, largest_difference
from adacode_cli.export.portable import PortableNetwork
from adacode_cli.model.config import NetworkConfig
from adacode_cli.version import __version__

if TYPE_CHECKING:
    import onnx

# The operations of this version are enough, and programs of 2023 and later read it.
OPSET = 18
# An ONNX file is one message of Protocol Buffers, which has at most 2 GiB; some of them are for the graph.
_MAX_BYTES = (1 << 31) - (1 << 26)
_IMAGE, _MASK, _OUTPUT = "image", "mask", "output"


def require_libraries() -> None:
    """Raises UsageError, naming the extra, unless `onnx` and `onnxruntime` can be imported."""
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            hint = "Install it: pip install 'adacode-cli[onnx]'."
            raise UsageError(f"{name} cannot be imported: {error}", hint=hint) from error


def write_onnx(weights: Weights, name: str, source: Path, target: Path) -> list[str]:
    """Writes whole weights as an ONNX model, float32, atomically. What there is to say about the model.

    name: what the weights are called; source: their own file, for messages. Raises WeightsError where onnxruntime's
    results differ from the network's by more than `onnx_check.TOLERANCE`; UsageError without the libraries;
    OutputError.
    """
    require_libraries()
    if sum(4 * tensor.numel() for tensor in weights.tensors.values()) > _MAX_BYTES:
        what = "has more values than the 2 GB of an ONNX file hold"
        raise WeightsError(what, path=source, hint="Use --to single.")
    network = build(weights.config, weights.tensors, source)
    model = PortableNetwork(network).eval()
    content = _described(_traced(model), weights, name)
    difference, sizes = largest_difference(content, network, model)
    if not difference <= TOLERANCE:
        what = f"the ONNX model differs from the network by up to {difference:.1e}, so it is not written"
        raise WeightsError(what, path=source, hint="Report this, with the versions of torch, onnx and onnxruntime.")
    write_file(target, content)
    shown = " and ".join(f"{width}×{height}" for height, width in sizes)
    notes = [f"onnxruntime and torch differ by at most {difference:.1e} of 1 on test images of {shown} pixels"]
    if weights.faithful:
        notes.append("note: left out: the values that keep noise: the file is for --denoise 1")
    return notes


def input_names(config: NetworkConfig) -> list[str]:
    """Names of the model's inputs, in their order."""
    return [_IMAGE, _MASK] if config.purpose.fills_hole else [_IMAGE]


def _traced(model: PortableNetwork) -> onnx.ModelProto:
    """The model for any height and width, without metadata."""
    import onnx

    names, side = input_names(model.config), 2 * model.config.pad_multiple + 1
    inputs = tuple(torch.full((1, channels, side, side), 0.5) for channels in (3, 1)[: len(names)])
    sides = {2: "height", 3: "width"}
    scale = model.config.scale
    enlarged = {axis: name if scale == 1 else f"{scale}*{name}" for axis, name in sides.items()}
    buffer = io.BytesIO()
    # With gradients on, the network consists of torch's ordinary operations.
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The tracer warns that it is an old one, and of constants that are right.
        torch.onnx.export(
            model,
            inputs,
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[_OUTPUT],
            dynamic_axes={**dict.fromkeys(names, sides), _OUTPUT: enlarged},
        )
    return onnx.load_model_from_string(buffer.getvalue())


def _described(model: onnx.ModelProto, weights: Weights, name: str) -> bytes:
    """The bytes of the model, with its metadata."""
    import onnx

    model.producer_name, model.producer_version = "adacode", __version__
    model.doc_string = f"AdaCode, {weights.config.purpose.words(weights.config.scale)}"
    onnx.helper.set_model_props(model, _metadata(weights, name))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _metadata(weights: Weights, name: str) -> dict[str, str]:
    config, provenance = weights.config, weights.provenance
    images = "1×3×height×width float32, RGB, 0 to 1"
    facts: dict[str, Any] = {
        "name": name,
        "task": config.task,
        "scale": config.scale,
        "licence": provenance.whole_licence,
        "base_model": provenance.base_model,
        "trained_on": provenance.trained_on,
        "source": provenance.source,
        "input": images,
        "mask": "1×1×height×width float32, 1 in the hole and 0 elsewhere" if config.purpose.fills_hole else "",
        "output": f"{images}, {config.scale} times as large" if config.scale > 1 else images,
        "size_multiple": "1",
        "padded_inside_to_multiple": config.pad_multiple,
        "bases": ", ".join(config.names()),
        "adacode_version": __version__,
        "provenance": json.dumps(asdict(provenance), sort_keys=True),
        "notice": _notice(provenance.base_model),
    }
    return {key: str(value) for key, value in facts.items() if value != ""}


def _notice(base_model: str) -> str:
    """The notice of the authors of base models, "" where this installation has none."""
    name = notice_of(base_model)
    if name is None:
        return ""
    path = weights_folder() / name
    with translated(WeightsError, "cannot be read", path, hint="Reinstall adacode-cli."):
        return path.read_text(encoding="utf-8")
