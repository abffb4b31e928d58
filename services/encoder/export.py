"""The GE2E weights of the `resemblyzer` wheel -> models/encoder/ge2e.onnx.

    python -m services.encoder.export

Runs once, at setup; does nothing when the exported file is there and valid. Needs no PyTorch.
The network (Wan et al. 2018, "Generalized end-to-end loss for speaker verification"): three LSTM layers of 256, the
last hidden state through a linear layer and ReLU, L2-normalised.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.models import Registry, describe_file, file_sha256, package_file, register_model
from services.encoder.checkpoint import read_tensors
from services.encoder.features import MEL_BANDS
from services.encoder.model import MODEL_NAME
from services.encoder.settings import EncoderSettings

MODEL_FILE: Final = "encoder/ge2e.onnx"
PRETRAINED_SHA256: Final = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
LAYERS: Final = 3
HIDDEN: Final = 256
_OPSET: Final = 17
_IR_VERSION: Final = 8  # read by every ONNX Runtime since 1.10


def _gates_as_onnx(rows: FloatArray) -> FloatArray:
    """Rows of the four gates from PyTorch's order (input, forget, cell, output) to ONNX's (i, o, f, c)."""
    gate_i, gate_f, gate_c, gate_o = np.split(rows, 4)
    return np.concatenate([gate_i, gate_o, gate_f, gate_c])


def build_graph(tensors: Mapping[str, FloatArray]) -> Any:
    """ONNX model: `mel` (batch, frames, 40) -> `embedding` (batch, 256), of the tensors of a PyTorch state dict."""
    constants: dict[str, Any] = {"axis_directions": np.array([1], np.int64), "axis_first": np.array([0], np.int64)}
    nodes = [helper.make_node("Transpose", ["mel"], ["layer_0"], perm=[1, 0, 2])]
    for layer in range(LAYERS):
        weights, state = f"layer_{layer}", f"layer_{layer + 1}"
        constants[f"{weights}_w"] = _gates_as_onnx(tensors[f"lstm.weight_ih_l{layer}"])[None]
        constants[f"{weights}_r"] = _gates_as_onnx(tensors[f"lstm.weight_hh_l{layer}"])[None]
        biases = [_gates_as_onnx(tensors[f"lstm.bias_{part}_l{layer}"]) for part in ("ih", "hh")]
        constants[f"{weights}_b"] = np.concatenate(biases)[None]
        inputs = [weights, f"{weights}_w", f"{weights}_r", f"{weights}_b"]
        nodes.append(helper.make_node("LSTM", inputs, [f"{state}_all", f"{state}_last"], hidden_size=HIDDEN))
        nodes.append(helper.make_node("Squeeze", [f"{state}_all", "axis_directions"], [state]))
    constants["linear_w"], constants["linear_b"] = tensors["linear.weight"], tensors["linear.bias"]
    nodes += [
        helper.make_node("Squeeze", [f"layer_{LAYERS}_last", "axis_first"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "linear_w", "linear_b"], ["raw"], transB=1),
        helper.make_node("Relu", ["raw"], ["positive"]),
        helper.make_node("LpNormalization", ["positive"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", "frames", MEL_BANDS])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", HIDDEN])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


def read_pretrained() -> dict[str, FloatArray]:
    """The tensors in the installed wheel.

    Raises:
        LikenessError: MODEL_INVALID when the wheel is missing or carries another file.
    """
    path = package_file("resemblyzer", "pretrained.pt")
    found = file_sha256(path)
    if found != PRETRAINED_SHA256:
        detail = f"{path} is not the file we know: its SHA-256 is {found}, expected {PRETRAINED_SHA256}."
        raise LikenessError("MODEL_INVALID", detail)
    return read_tensors(path, "model_state")


def export(models_dir: Path) -> Path:
    """Writes the ONNX file and its row in manifest.local.json, unless both are there and valid; returns the path.

    Raises:
        LikenessError: MODEL_INVALID when the weights are not to be had.
    """
    try:
        return Registry(models_dir).path(MODEL_NAME)
    except LikenessError:
        pass  # not exported yet, or no longer what was exported: made anew
    path = models_dir / MODEL_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    onnx.save(build_graph(read_pretrained()), temporary, format="protobuf")
    temporary.replace(path)
    entry = describe_file(
        path,
        name=MODEL_NAME,
        models_dir=models_dir,
        license="Apache-2.0",
        source="https://github.com/resemble-ai/Resemblyzer (pretrained.pt), by python -m services.encoder.export",
        data="LibriSpeech train-other, VoxCeleb1 and VoxCeleb2, as told by its authors",
    )
    register_model(models_dir, entry, local=True)
    return path


if __name__ == "__main__":
    try:
        print(export(EncoderSettings().models_dir))
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        sys.exit(1)
