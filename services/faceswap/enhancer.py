"""A restoration network over the result of any engine: GFPGAN, CodeFormer and other networks of that signature.

Such a network takes a face aligned as in FFHQ, RGB from -1 to 1, and gives it back sharper. What it made is shown only
where the engine painted, and as much of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.common.errors import LikenessError
from services.faceswap.detector import Picture
from services.faceswap.face_engine import FaceEngine, Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.neural import blend
from services.faceswap.neural_align import Layout, alignment, crop, five_points
from services.faceswap.neural_mask import crop_mask, from_crop
from services.faceswap.neural_session import Compute, OnnxNet

DEFAULT_STRENGTH: Final = 0.8  # restored skin alone looks made of wax


class Enhancer:
    """The network alone: one input (1, 3, s, s), first output of the same shape.

    A second input, where there is one, is a single number: CodeFormer's fidelity, 0 to 1.

    Args:
        strength: share of the restored face in what is shown, 0 to 1.

    Raises:
        LikenessError: MODEL_INVALID when the file is not of the signature.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        compute: Compute,
        *,
        layout: Layout = "ffhq",
        strength: float = DEFAULT_STRENGTH,
        fidelity: float = 0.5,
    ) -> None:
        self.name = name
        self.strength = strength
        self._net = OnnxNet(path, compute)
        self._size = check_enhancer(self._net, path.name)
        self._layout: Layout = layout
        self._fidelity = fidelity

    def enhance(self, picture: Picture, points: Points, painted: Painted) -> Painted:
        """What an engine painted into `picture` (H, W, 3), a face with mesh `points` (468, 3), restored."""
        shown = picture.copy()
        shown[painted.region.rows, painted.region.columns] = painted.pixels
        matrix = alignment(five_points(points), self._size, self._layout)
        made = self._run(crop(shown, matrix, self._size))
        alpha = self.strength * painted.alpha * from_crop(crop_mask(self._size), matrix, painted.region)
        return replace(blend(from_crop(made, matrix, painted.region), alpha, painted), alpha=painted.alpha)

    def _run(self, aligned: Picture) -> FloatArray:
        tensor = (aligned[:, :, ::-1].astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1)[np.newaxis]
        more = [np.full([1] * len(spec.shape), self._fidelity) for spec in self._net.inputs[1:]]
        made = np.clip((self._net.run(tensor, *more)[0][0] + 1.0) * 127.5, 0.0, 255.0)
        return np.ascontiguousarray(made.transpose(1, 2, 0)[:, :, ::-1], np.float32)


class EnhancedEngine:
    """Implements `FaceEngine`: another engine, and the enhancer over it."""

    def __init__(self, engine: FaceEngine, enhancer: Enhancer) -> None:
        self.name = f"{engine.name}+{enhancer.name}"
        self._engine = engine
        self._enhancer = enhancer

    def prepare(self, views: Sequence[View]) -> Any:
        return self._engine.prepare(views)

    def paint(self, person: Any, target: Picture, points: Points, look: Look, memory: Memory | None = None) -> Painted:
        painted = self._engine.paint(person, target, points, look, memory)
        return self._enhancer.enhance(target, points, painted)


def check_enhancer(net: OnnxNet, name: str) -> int:
    """Side of the crop that an enhancer takes.

    Raises:
        LikenessError: MODEL_INVALID when inputs or outputs are not an enhancer's.
    """
    inputs, outputs = [spec.shape for spec in net.inputs], [spec.shape for spec in net.outputs]
    scalars = all(all(size == 1 for size in shape) for shape in inputs[1:]) and len(inputs) <= 2
    if not inputs or not outputs or not scalars or len(inputs[0]) != 4 or len(outputs[0]) != 4:
        fits = False
    else:
        fits = inputs[0][1] == 3 and inputs[0][2] is not None and inputs[0][2] == inputs[0][3]
        fits = fits and all(a in (b, None) for a, b in zip(outputs[0][1:], inputs[0][1:], strict=True))
    if not fits:
        detail = (
            f"{name} is no face enhancer: expected an input (1, 3, s, s), such as 512 x 512, and an output of the same "
            f"shape; found {inputs} -> {outputs}."
        )
        raise LikenessError("MODEL_INVALID", detail)
    return int(inputs[0][2] or 0)
