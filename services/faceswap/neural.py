"""Swapping networks behind the engine interface: INSwapper and any network of its signature, of 128, 256, 512 pixels.

The network takes the target's face, aligned, and a vector that says whose face it shall become; it gives the same
crop with another face. The vector is an ArcFace embedding of the source, multiplied by a matrix that such files carry
as the last constant of their graph. The signature is that of `insightface.model_zoo.inswapper`; weights are the
operator's, see docs/face-engines.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from services.common.errors import LikenessError
from services.faceswap.chart import lay
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.neural_align import Layout, Matrix, alignment, crop, five_points, magnified
from services.faceswap.neural_boost import join_phases, split_phases
from services.faceswap.neural_embed import FaceEmbedder, normalised
from services.faceswap.neural_mask import from_crop, paste_alpha
from services.faceswap.neural_session import Compute, OnnxNet
from services.faceswap.occlusion import occluder_share
from services.faceswap.warp import region_around

MARGIN: Final = 0.02
PixelRange = Literal["0..1", "-1..1"]


@dataclass(frozen=True, eq=False)
class Latent:
    """A prepared person: what the network is told of the source (1, n)."""

    vector: FloatArray


class SwapNet:
    """The network alone: aligned crops and a latent in, aligned crops out.

    Args:
        pixel_range: how pixels are told to the network and back.

    Raises:
        LikenessError: MODEL_INVALID when the file is not of the signature.
    """

    def __init__(self, path: Path, compute: Compute, *, pixel_range: PixelRange = "0..1") -> None:
        self._net = OnnxNet(path, compute)
        self.size, width = check_swapper(self._net, path.name)
        self._emap = embedding_map(path, width)
        self._low, self._span = (0.0, 255.0) if pixel_range == "0..1" else (127.5, 127.5)
        self.providers = self._net.providers

    def latent(self, embedding: FloatArray) -> FloatArray:
        """What the network is told (1, n) of a person with the ArcFace embedding (m,).

        Raises:
            LikenessError: MODEL_INVALID when the embedder belongs to another network.
        """
        row = normalised(embedding)[np.newaxis]
        if self._emap is not None and self._emap.shape[0] == row.shape[1]:
            row = normalised(row @ self._emap)
        width = self._net.inputs[1].shape[1]
        if width is not None and row.shape[1] != width:
            detail = f"The embedder gives {row.shape[1]} numbers, the swapper takes {width}; register the right one."
            raise LikenessError("MODEL_INVALID", detail)
        return row

    def run(self, crops: Picture, latent: FloatArray) -> FloatArray:
        """BGR crops (n, size, size, 3), 0 to 255 -> the swapped ones, float32, 0 to 255."""
        tensor = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), np.float32)
        tensor = (tensor - self._low) / self._span
        if self._net.takes_batches:
            made = self._net.run(tensor, np.repeat(latent, len(tensor), axis=0))[0]
        else:
            made = np.concatenate([self._net.run(one[np.newaxis], latent)[0] for one in tensor])
        pixels = np.clip(made * self._span + self._low, 0.0, 255.0)
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[..., ::-1], np.float32)


class NeuralEngine:
    """Implements `FaceEngine` by a swapping network and an embedder.

    Of `Look`, the shape's strength has no meaning here: the network decides on the shape.

    Args:
        pixel_boost: side of the result in multiples of the network's size; the network runs its square as often.
    """

    def __init__(
        self, name: str, net: SwapNet, embedder: FaceEmbedder, *, layout: Layout = "arcface", pixel_boost: int = 1
    ) -> None:
        self.name = name
        self._net = net
        self._embedder = embedder
        self._layout = layout
        self._boost = pixel_boost

    def prepare(self, views: Sequence[View]) -> Latent:
        return Latent(self._net.latent(self._embedder.embed_all(views)))

    def paint(
        self, person: Latent, target: Picture, points: Points, look: Look, memory: Memory | None = None
    ) -> Painted:
        made, matrix = self.swap_crop(person, target, five_points(points))
        return paste(made, matrix, target, points, look, memory)

    def swap_crop(self, person: Latent, target: Picture, five: FloatArray) -> tuple[FloatArray, Matrix]:
        """The swapped crop, float32 BGR (s, s, 3), 0 to 255, s boosted, and the matrix (2, 3) that leads to it."""
        matrix = magnified(alignment(five, self._net.size, self._layout), self._boost)
        aligned = crop(target, matrix, self._boost * self._net.size)
        phases = self._net.run(split_phases(aligned, self._boost), person.vector)
        return join_phases(phases, self._boost), matrix


def paste(
    made: FloatArray,
    matrix: Matrix,
    target: Picture,
    points: Points,
    look: Look,
    memory: Memory | None = None,
    *,
    mask: FloatArray | None = None,
) -> Painted:
    """A crop (s, s, 3) put back into the target's picture, within the face's outline and the wanted parts.

    What lies before the target's face stays there, if the look says so.

    Args:
        matrix: (2, 3), from the picture to the crop.
        mask: (s, s), what else limits the crop's share, 0 to 1.
    """
    region = region_around([points], target.shape[0], target.shape[1], MARGIN)
    alpha = paste_alpha(points, region, look, matrix, made.shape[0])
    if mask is not None:
        alpha *= np.clip(from_crop(mask, matrix, region), 0.0, 1.0)
    around = target[region.rows, region.columns]
    if look.keep_occluders:
        local = (points - [region.left, region.top, 0.0]).astype(np.float32)
        alpha *= 1.0 - occluder_share(around, lay(local, region.height, region.width), memory)
    return blend(from_crop(made, matrix, region), alpha, Painted(region, around, np.zeros(alpha.shape, bool), alpha))


def blend(pixels: FloatArray, alpha: FloatArray, below: Painted) -> Painted:
    """Pixels (h, w, 3) over what is painted already, by their share `alpha` (h, w); where that is 0 nothing changes."""
    mixed = below.pixels + alpha[:, :, np.newaxis] * (pixels - below.pixels)
    rounded = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    shown = np.where(alpha[:, :, np.newaxis] > 0, rounded, below.pixels)
    return Painted(below.region, shown, below.changed | (alpha > 0), np.maximum(below.alpha, alpha))


def check_swapper(net: OnnxNet, name: str) -> tuple[int, int]:
    """Side of the crop, and width of the latent that a swapper takes.

    Raises:
        LikenessError: MODEL_INVALID when inputs or outputs are not a swapper's.
    """
    inputs, outputs = [spec.shape for spec in net.inputs], [spec.shape for spec in net.outputs]
    fits = len(inputs) == 2 and len(outputs) == 1 and len(inputs[0]) == 4 and len(inputs[1]) == 2
    if (
        not fits
        or inputs[0][1] != 3
        or inputs[0][2] is None
        or inputs[0][2] != inputs[0][3]
        or inputs[1][1] is None
        or len(outputs[0]) != 4
    ):
        detail = (
            f"{name} is no face swapper: expected inputs (1, 3, s, s) and (1, n), such as 128 x 128 and 512, and an "
            f"output (1, 3, s, s); found {inputs} -> {outputs}."
        )
        raise LikenessError("MODEL_INVALID", detail)
    return int(inputs[0][2]), int(inputs[1][1])


def embedding_map(path: Path, width: int) -> FloatArray | None:
    """The last constant of the graph where it is a matrix (m, width), by which embeddings are multiplied."""
    constants = onnx.load(str(path)).graph.initializer
    if not constants or len(constants[-1].dims) != 2 or constants[-1].dims[1] != width:
        return None
    return np.asarray(numpy_helper.to_array(constants[-1]), np.float32)
