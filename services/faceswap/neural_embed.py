"""Who a face is, in the numbers of an ArcFace network (Deng et al. 2019), as swapping networks take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from services.common.errors import LikenessError
from services.faceswap.face_engine import View
from services.faceswap.litert import FloatArray
from services.faceswap.neural_align import alignment, crop, five_points
from services.faceswap.neural_session import Compute, OnnxNet

PIXEL_MEAN: Final = 127.5
FIRST_NODES: Final = 8  # of the graph, among which a network normalises its input itself


class FaceEmbedder:
    """An ArcFace ONNX file: RGB crop (1, 3, 112, 112) -> embedding (1, n).

    Networks converted from MXNet carry their own subtraction and scaling at the start of the graph and take pixels
    from 0 to 255; all others take -1 to 1.

    Raises:
        LikenessError: MODEL_INVALID when the file is not of this signature.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        self._net = OnnxNet(path, compute)
        self.size = check_embedder(self._net, path.name)
        own = normalises_itself(onnx.load(str(path), load_external_data=False).graph)
        self._mean, self._scale = (0.0, 1.0) if own else (PIXEL_MEAN, PIXEL_MEAN)

    def embed(self, view: View) -> FloatArray:
        """The embedding (n,) of one picture, of length 1."""
        aligned = crop(view.picture, alignment(five_points(view.points), self.size), self.size)
        tensor = (aligned[:, :, ::-1].astype(np.float32) - self._mean) / self._scale
        return normalised(self._net.run(tensor.transpose(2, 0, 1)[np.newaxis])[0].ravel())

    def embed_all(self, views: Sequence[View]) -> FloatArray:
        """The mean direction (n,) of several pictures of one person, of length 1."""
        return normalised(np.mean([self.embed(view) for view in views], axis=0))


def normalised(vector: FloatArray) -> FloatArray:
    """A vector made one long."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def normalises_itself(graph: Any) -> bool:
    """Whether an ONNX graph subtracts and multiplies first, as networks converted from MXNet do."""
    names = [node.name for node in graph.node[:FIRST_NODES]]
    return all(any(name.startswith(starts) for name in names) for starts in (("Sub", "_minus"), ("Mul", "_mul")))


def check_embedder(net: OnnxNet, name: str) -> int:
    """Side of the crop that an embedder takes.

    Raises:
        LikenessError: MODEL_INVALID when inputs or outputs are not an embedder's.
    """
    inputs, outputs = [spec.shape for spec in net.inputs], [spec.shape for spec in net.outputs]
    fits = len(inputs) == 1 and len(outputs) == 1 and len(inputs[0]) == 4 and len(outputs[0]) == 2
    if not fits or inputs[0][1] != 3 or inputs[0][2] is None or inputs[0][2] != inputs[0][3]:
        detail = (
            f"{name} is no face embedder: expected one input (1, 3, s, s), such as 112 x 112, and one output (1, n); "
            f"found {inputs} -> {outputs}."
        )
        raise LikenessError("MODEL_INVALID", detail)
    return int(inputs[0][2])
