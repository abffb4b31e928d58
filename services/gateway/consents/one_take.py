"""Whether a film is one take of one person: nothing jumps, and nobody takes another's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.gateway.consents.film_samples import FilmSeen, Sample

FloatArray = NDArray[np.float32]

SAME_PERSON: Final = 0.6  # dlib's threshold of its recogniser's distance
MAX_STEP_DISTANCE: Final = 0.5  # between two samples, a sixth of a second apart
MAX_DEGREES_PER_S: Final = 200.0
MAX_SHIFT_PER_S: Final = 4.0  # sizes of the face
MAX_RESIZE_PER_S: Final = 6.0  # factor
FRONT_SHARE: Final = 0.5  # of the samples, those most from the front, make the template


@dataclass(frozen=True, eq=False)
class Identity:
    """Who the film shows: the mean descriptor (128,) of the views from the front, and the largest distance to it."""

    descriptor: FloatArray
    largest_distance: float


def require_one_take(seen: FilmSeen, *, field: str) -> None:
    """Raises LikenessError PROOF_SPLICED where the picture, the pose or the place of the face jumps."""
    if seen.cuts:
        raise _spliced(f"The film is cut at {seen.cuts[0]:.1f} s", field)
    for before, after in pairwise(seen.samples):
        if (what := _jump(before, after)) is not None:
            raise _spliced(f"{what} jumps at {after.time_s:.1f} s", field)


def require_one_person(samples: Sequence[Sample], *, field: str) -> Identity:
    """Who it is. Raises LikenessError PROOF_SPLICED where it is somebody else in between."""
    middle = np.median([[sample.yaw, sample.pitch] for sample in samples], axis=0)
    off = [float(np.hypot(sample.yaw - middle[0], sample.pitch - middle[1])) for sample in samples]
    count = max(1, round(FRONT_SHARE * len(samples)))
    front = [samples[index].descriptor for index in np.argsort(off)[:count]]
    mean = np.mean(front, axis=0).astype(np.float32)
    distances = [float(np.linalg.norm(sample.descriptor - mean)) for sample in samples]
    worst = int(np.argmax(distances))
    if distances[worst] > SAME_PERSON:
        raise _spliced(f"The face at {samples[worst].time_s:.1f} s is not that of the rest", field)
    return Identity(mean, distances[worst])


def _jump(before: Sample, after: Sample) -> str | None:
    """What changes faster than a head can."""
    seconds = after.time_s - before.time_s
    if np.hypot(after.yaw - before.yaw, after.pitch - before.pitch) > MAX_DEGREES_PER_S * seconds:
        return "The head"
    size = max(before.box[3], after.box[3])
    if float(np.linalg.norm(_centre(after) - _centre(before))) > MAX_SHIFT_PER_S * seconds * size:
        return "The place of the face"
    if abs(float(np.log(after.box[3] / before.box[3]))) > np.log(MAX_RESIZE_PER_S) * seconds:
        return "The size of the face"
    if float(np.linalg.norm(after.descriptor - before.descriptor)) > MAX_STEP_DISTANCE:
        return "The identity of the face"
    return None


def _centre(sample: Sample) -> FloatArray:
    left, top, width, height = sample.box
    return np.array([left + width / 2, top + height / 2], np.float32)


def _spliced(what: str, field: str) -> LikenessError:
    return LikenessError("PROOF_SPLICED", f"{what}. Film one person in one take, without cuts.", field=field)
