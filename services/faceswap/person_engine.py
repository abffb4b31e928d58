"""A trained person model as an engine: it puts on one person's face, and only that one's.

The pictures of a source decide nothing here but whether they show the person that the model was trained for: a model
must not lend its face to the consent of somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from services.common.errors import LikenessError
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.neural import paste
from services.faceswap.neural_align import crop
from services.faceswap.neural_session import Compute, OnnxNet
from services.faceswap.person_crop import person_alignment
from services.faceswap.recogniser import SAME_PERSON_DISTANCE, distance

PERSON: Final = "face-person"  # kind of the registry's entry
METADATA: Final = "person"
MAX_CONTRAST: Final = 1.25  # by which the target's light may widen or narrow the model's


@dataclass(frozen=True)
class Trained:
    """A prepared person: there is nothing to remember, the network is the person."""


class PersonEngine:
    """Implements `FaceEngine` by an exported person model.

    Args:
        describe: the recogniser's numbers (128,) of a view.

    Raises:
        LikenessError: MODEL_INVALID when the file is not one of `services.faceswap.export`.
    """

    def __init__(self, name: str, path: Path, compute: Compute, describe: Callable[[View], FloatArray]) -> None:
        self.name = name
        self._net = OnnxNet(path, compute)
        self._describe = describe
        self.size, self.descriptor = check_person(self._net, path.name)

    def prepare(self, views: Sequence[View]) -> Trained:
        """Compares the pictures with the person the model knows.

        Raises:
            LikenessError: INVALID_FIELD when they show somebody else.
        """
        seen = np.mean([self._describe(view) for view in views], axis=0)
        away = distance(np.asarray(seen, np.float32), self.descriptor)
        if away > SAME_PERSON_DISTANCE:
            detail = (
                f"The engine {self.name!r} gives one person's face only, and the source shows somebody else (distance "
                f"{away:.2f}, at most {SAME_PERSON_DISTANCE:g}). Send that person's picture, or use another engine."
            )
            raise LikenessError("INVALID_FIELD", detail, field="options.engine")
        return Trained()

    def paint(
        self, person: Trained, target: Picture, points: Points, look: Look, memory: Memory | None = None
    ) -> Painted:
        matrix = person_alignment(points, self.size)
        aligned = crop(target, matrix, self.size)
        tensor = (aligned.astype(np.float32) / 255.0).transpose(2, 0, 1)[np.newaxis]
        colours, masks = self._net.run(tensor)
        made, mask = np.ascontiguousarray(colours[0].transpose(1, 2, 0)), masks[0, 0]
        made = in_light_of(made, aligned.astype(np.float32) / 255.0, mask) * 255.0
        return paste(made, matrix, target, points, look, memory, mask=mask)


def check_person(net: OnnxNet, name: str) -> tuple[int, FloatArray]:
    """Side of the crop that a person model takes, and whose face it gives, in the recogniser's numbers (128,).

    Raises:
        LikenessError: MODEL_INVALID when the file is not one of `services.faceswap.export`.
    """
    try:
        descriptor = np.asarray(json.loads(net.metadata[METADATA])["descriptor"], np.float32)
        _, channels, height, width = net.inputs[0].shape
        fits = descriptor.shape == (128,) and channels == 3 and height == width and len(net.outputs) == 2
    except (KeyError, ValueError, TypeError):
        fits = False
    if not fits or not height:
        detail = f"{name} is no person model; make one with `python -m services.faceswap.export`."
        raise LikenessError("MODEL_INVALID", detail)
    return height, descriptor


def in_light_of(made: FloatArray, seen: FloatArray, mask: FloatArray) -> FloatArray:
    """Moves mean colour and contrast within the mask to those of the crop that the network saw; BGR, 0 to 1.

    In CIE Lab, as Reinhard et al. 2001 do; the contrast of lightness only, and within bounds.
    """
    weight = mask * (mask > 0.5)
    total = float(weight.sum())
    if total < 1.0:
        return made
    share = (weight / total)[:, :, np.newaxis]
    of_made, of_seen = (np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2LAB), np.float32) for part in (made, seen))
    means = [(share * lab).sum(axis=(0, 1)) for lab in (of_made, of_seen)]
    spreads = [
        np.sqrt((share * (lab - mean) ** 2).sum(axis=(0, 1)))[0]
        for lab, mean in zip((of_made, of_seen), means, strict=True)
    ]
    contrast = np.ones(3, np.float32)
    contrast[0] = np.clip(spreads[1] / max(float(spreads[0]), 1e-3), 1.0 / MAX_CONTRAST, MAX_CONTRAST)
    lit = (of_made - means[0]) * contrast + means[1]
    return np.clip(np.asarray(cv2.cvtColor(lit.astype(np.float32), cv2.COLOR_LAB2BGR), np.float32), 0.0, 1.0)
