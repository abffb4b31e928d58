"""Small ONNX files with the signatures of the networks that operators bring along, of seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH = 512  # of an embedding


def save(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants: dict[str, NDArray[Any]],
) -> Path:
    def infos(shapes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    tensors = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", infos(inputs), infos(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def swapper(path: Path, size: int = 128, batch: int | str = 1, seed: int = 3) -> Path:
    """`target` (1, 3, size, size) blurred and shifted in colour by what `source` (1, 512) says; emap stands last."""
    rng = np.random.default_rng(seed)
    kernel = rng.random((3, 3, 3, 3)).astype(np.float32) + 4 * np.eye(3, dtype=np.float32)[:, :, None, None]
    nodes = [
        helper.make_node("Conv", ["target", "kernel"], ["blurred"], pads=[1, 1, 1, 1]),
        helper.make_node("MatMul", ["source", "to_colour"], ["colour"]),
        helper.make_node("Reshape", ["colour", "as_map"], ["colour_map"]),
        helper.make_node("Add", ["blurred", "colour_map"], ["output"]),
    ]
    constants = {
        "kernel": kernel / kernel.sum(axis=(1, 2, 3), keepdims=True),
        "to_colour": rng.normal(0, 0.15, (WIDTH, 3)).astype(np.float32),
        "as_map": np.array([-1, 3, 1, 1], np.int64),
        "emap": rng.normal(0, 1, (WIDTH, WIDTH)).astype(np.float32),
    }
    shape = [batch, 3, size, size]
    return save(path, nodes, {"target": shape, "source": [batch, WIDTH]}, {"output": shape}, constants)


def embedder(path: Path, *, own_normalisation: bool = False, seed: int = 5) -> Path:
    """`data` (1, 3, 112, 112) -> (1, 512): means over squares of 16 pixels, projected."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("AveragePool", ["scaled"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["embedding"]),
    ]
    constants = {"projection": rng.normal(0, 1, (3 * 7 * 7, WIDTH)).astype(np.float32)}
    if own_normalisation:
        constants |= {"mean": np.float32([[[[127.5]]]]), "scale": np.float32([[[[1 / 128]]]])}
        nodes.insert(0, helper.make_node("Sub", ["data", "mean"], ["centred"], name="Sub_0"))
        nodes.insert(1, helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="Mul_1"))
    else:
        nodes.insert(0, helper.make_node("Identity", ["data"], ["scaled"], name="Identity_0"))
    return save(path, nodes, {"data": [1, 3, 112, 112]}, {"embedding": [1, WIDTH]}, constants)


def enhancer(path: Path, size: int = 64, *, fidelity: bool = False) -> Path:
    """`input` (1, 3, size, size), -1 to 1 -> its negative."""
    inputs = {"input": [1, 3, size, size]}
    nodes = [helper.make_node("Neg", ["input"], ["output"])]
    if fidelity:
        inputs["weight"] = [1]
        nodes = [
            helper.make_node("Neg", ["input"], ["turned"]),
            helper.make_node("Mul", ["turned", "weight"], ["output"]),
        ]
    return save(path, nodes, inputs, {"output": [1, 3, size, size]}, {})


def identity_swapper(path: Path, size: int = 128) -> Path:
    """Gives `target` back as it is, whoever the source."""
    nodes = [
        helper.make_node("ReduceSum", ["source", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["target", "zero"], ["output"]),
    ]
    constants = {"axes": np.array([0, 1], np.int64), "nothing": np.zeros((), np.float32)}
    shape = [1, 3, size, size]
    return save(path, nodes, {"target": shape, "source": [1, WIDTH]}, {"output": shape}, constants)
