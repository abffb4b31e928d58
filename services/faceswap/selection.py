"""Who is put onto which face: people, the selectors that name faces of the target, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from services.common.errors import LikenessError
from services.faceswap.face_engine import FaceEngine
from services.faceswap.finder import Face
from services.faceswap.litert import FloatArray
from services.faceswap.recogniser import SAME_PERSON_DISTANCE, distance

Selection = Literal["largest", "all", "index", "reference"]


@dataclass(frozen=True, eq=False)
class Selector:
    """Which faces of the target are meant.

    Attributes:
        selection: the largest, all, the one at `index`, or those that look like `reference`.
        index: from the left by the middle of the face, 0 is the first.
        reference: the recogniser's descriptor (128,) of the person to be replaced.
        threshold: largest distance to the reference at which a face counts as that person, above 0 and at most 2.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range, or no reference where one is needed.
    """

    selection: Selection = "largest"
    index: int = 0
    reference: FloatArray | None = None
    threshold: float = SAME_PERSON_DISTANCE

    def __post_init__(self) -> None:
        if self.index < 0:
            raise LikenessError("INVALID_FIELD", f"index counts from 0, got {self.index}.", field="index")
        if not 0.0 < self.threshold <= 2.0:  # also refuses NaN
            detail = f"threshold must lie above 0 and not above 2, got {self.threshold:g}."
            raise LikenessError("INVALID_FIELD", detail, field="threshold")
        if self.selection == "reference" and self.reference is None:
            detail = "Faces that look like somebody need a picture of that person."
            raise LikenessError("INVALID_FIELD", detail, field="reference")


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody who is put onto faces.

    Attributes:
        engine: that paints.
        source: what `engine.prepare` made of the pictures.
        descriptor: the mean of the pictures' descriptors (128,), scaled to their mean length; None where not taken.
        selector: the faces of the target that become this person.
    """

    engine: FaceEngine
    source: Any
    descriptor: FloatArray | None = None
    selector: Selector = field(default_factory=Selector)


def choose(
    faces: Sequence[Face], people: Sequence[Person], descriptor_of: Callable[[int], FloatArray]
) -> list[int | None]:
    """For each face the index of the person put onto it, None for a face that nobody's selector names.

    A face that several selectors name goes to the first of them. `descriptor_of` gives the recogniser's numbers (128,)
    of the face at an index of `faces`; it is called at most once for each face, and only when a reference must decide.
    """
    known: dict[int, FloatArray] = {}

    def descriptor(index: int) -> FloatArray:
        if index not in known:
            known[index] = descriptor_of(index)
        return known[index]

    chosen: list[int | None] = [None] * len(faces)
    for number, person in enumerate(people):
        free = [index for index, owner in enumerate(chosen) if owner is None]
        for index in _named(faces, person.selector, free, descriptor):
            chosen[index] = number
    return chosen


def from_the_left(faces: Sequence[Face]) -> list[int]:
    """Indices of the faces, leftmost first."""
    middles = [float(face.mesh.points[:, 0].min() + face.mesh.points[:, 0].max()) / 2 for face in faces]
    return sorted(range(len(faces)), key=lambda index: middles[index])


def mean_descriptor(descriptors: Sequence[FloatArray]) -> FloatArray:
    """The direction between descriptors (128,) of one person, at their mean length."""
    together = np.mean(descriptors, axis=0)
    length = float(np.mean([np.linalg.norm(each) for each in descriptors]))
    return np.asarray(together * (length / max(float(np.linalg.norm(together)), 1e-9)), np.float32)


def _named(
    faces: Sequence[Face], selector: Selector, free: Sequence[int], descriptor: Callable[[int], FloatArray]
) -> list[int]:
    """Indices of the free faces that the selector names. Largest and index count among all faces."""
    if selector.selection == "all":
        return list(free)
    reference = selector.reference
    if selector.selection == "reference" and reference is not None:
        return [index for index in free if distance(descriptor(index), reference) <= selector.threshold]
    if selector.selection == "index":
        named = from_the_left(faces)[selector.index : selector.index + 1]
    else:
        named = sorted(range(len(faces)), key=lambda index: -faces[index].detection.size)[:1]
    return [index for index in named if index in free]
