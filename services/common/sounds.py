"""Classes of sounds, and how a speaker makes each: what one average over all speech cannot tell.

The classes are groups of like frames in the space in which the synthesizer works (a speaker's own mean and spread
taken out). They come from generated speech (`services/synthesizer/make_sounds.py`) and have no names: one may be the
middle of "ee", another the noise of "s". A reference needs no transcript: its frames are shared out among the classes
after the formant scale was found that fits them best (vocal tract length normalisation, Lee and Rose 1998), and the
classes' means move to where the reference has them (maximum a posteriori adaptation, Gauvain and Lee 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.speaker_space import warp_matrix

CLASSES_FILE: Final = Path(__file__).with_name("sounds.npz")
CLASSES_NAME: Final = "nat-rms-48"  # profiles tell by which classes they were measured
SOUND_COUNT: Final = 48
SHAPE_SIZE: Final = 20  # cosines over the mel axis that describe a mean; finer than that is harmonics, not sound
_HEARD_SIZE: Final = 14  # cosines by which sounds are told apart
_LEVEL_WEIGHT: Final = 0.5  # of the first of them
_VOICING_WEIGHT: Final = 0.5
RELEVANCE_FRAMES: Final = 8.0  # so many frames of a class count as much as what is expected of any speaker
SOFTNESS: Final = 2.0  # of a reference's shares; 1 would take the classes for exact
ROUNDS: Final = 3
_SCALES: Final = np.arange(0.84, 1.281, 0.02)  # formant scales tried

F64 = NDArray[np.float64]


@lru_cache(maxsize=1)
def shape_basis() -> FloatArray:
    """Orthonormal cosines over the mel axis, shape (20, 80): mel @ basis.T are the coordinates of a frame's shape."""
    bands = (np.arange(MEL_BINS) + 0.5) * np.pi / MEL_BINS
    basis = np.sqrt(2.0 / MEL_BINS) * np.cos(np.arange(SHAPE_SIZE)[:, None] * bands)
    basis[0] /= np.sqrt(2.0)
    return np.asarray(basis, np.float32)


@dataclass(frozen=True, eq=False)
class SoundClasses:
    """The classes, of normalised frames.

    Attributes:
        mel: mean of each class, shape (48, 80).
        voicing: mean normalised voicing, from -1 to 1, shape (48,).
        share: how common each class is, shape (48,); they sum to 1.
        variance: of what is heard of a frame (see `heard`) within its class, shape (15,).
    """

    mel: FloatArray
    voicing: FloatArray
    share: FloatArray
    variance: FloatArray

    def likelihoods(self, frames: FloatArray, means: FloatArray, softness: float = 1.0) -> F64:
        """Logarithm of how well each frame (T, 82) fits each class, shape (T, 48), with the classes' means (48, 80)."""
        scale = self.variance**-0.5
        frame = heard(frames[:, :MEL_BINS], frames[:, -1]) * scale
        centre = heard(means, self.voicing) * scale
        distance = (frame**2).sum(axis=1)[:, None] + (centre**2).sum(axis=1) - 2.0 * frame @ centre.T
        return np.asarray(np.log(self.share) - 0.5 * distance / softness, np.float64)

    def membership(self, frames: FloatArray, means: FloatArray | None = None, softness: float = 1.0) -> FloatArray:
        """Share of each class in each frame (T, 82) of the normalised space, shape (T, 48); rows sum to 1."""
        scores = self.likelihoods(frames, self.mel if means is None else means, softness)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def heard(mel: FloatArray, voicing: FloatArray) -> FloatArray:
    """What sounds are told apart by, shape (n, 15), of normalised bands (n, 80) and voicing (n,)."""
    cosines = mel @ shape_basis()[:_HEARD_SIZE].T / np.float32(np.sqrt(MEL_BINS))
    cosines[:, 0] *= _LEVEL_WEIGHT
    return np.concatenate([cosines, _VOICING_WEIGHT * voicing[:, None]], axis=1).astype(np.float32)


@lru_cache(maxsize=1)
def sound_classes() -> SoundClasses:
    """The classes that belong to the published synthesizer."""
    with np.load(CLASSES_FILE) as stored:
        return SoundClasses(stored["mel"], stored["voicing"], stored["share"], stored["variance"])


@dataclass(frozen=True, eq=False)
class SpokenSounds:
    """How one speaker makes each class of sounds.

    Attributes:
        frames: frames of the class in the recording, shape (48,); they need not be whole numbers.
        shapes: their mean in the normalised space, in coordinates of `shape_basis`, shape (48, 20).
        formant_scale: the scale at which the classes fit the recording best.
        correction: added to what each class is moved by, as found by listening at the enrolment (ADR 17), shape
            (48, 20), in coordinates of `shape_basis`; None where nothing was searched.
    """

    frames: FloatArray
    shapes: FloatArray
    formant_scale: float
    correction: FloatArray | None = None

    def __post_init__(self) -> None:
        shapes = (SOUND_COUNT, SHAPE_SIZE)
        for name, shape in (("frames", (SOUND_COUNT,)), ("shapes", shapes), ("correction", shapes)):
            if getattr(self, name) is None and name == "correction":
                continue
            array = np.asarray(getattr(self, name), np.float32)
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"sounds.{name}: expected finite numbers of shape {shape}, got shape {array.shape}")
            object.__setattr__(self, name, array)
        if (self.frames < 0).any():
            raise ValueError("sounds.frames: a class cannot have fewer than no frames")
        object.__setattr__(self, "formant_scale", float(self.formant_scale))

    def to_json(self) -> dict[str, Any]:
        """The fields of the message SpokenSounds; shapes with three decimals: no recording tells more."""
        return {
            "classes": CLASSES_NAME,
            "frames": [round(float(count), 2) for count in self.frames],
            "shapes": [round(float(value), 3) for value in self.shapes.ravel()],
            "formant_scale": self.formant_scale,
            "correction": [] if self.correction is None else [round(float(v), 3) for v in self.correction.ravel()],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SpokenSounds | None:
        """Reads what `to_json` wrote; None when it was measured with classes of another synthesizer.

        Raises:
            ValueError, KeyError: not such an object.
        """
        if fields["classes"] != CLASSES_NAME:
            return None
        shapes = np.asarray(fields["shapes"], np.float32).reshape(SOUND_COUNT, SHAPE_SIZE)
        correction = np.asarray(fields.get("correction", []), np.float32)
        return cls(
            np.asarray(fields["frames"], np.float32),
            shapes,
            fields["formant_scale"],
            correction.reshape(SOUND_COUNT, SHAPE_SIZE) if correction.size else None,
        )

    def offsets(self, formant_scale: float) -> FloatArray:
        """By how much each class differs from what the speaker's averages make of it, shape (48, 80), normalised.

        The fewer frames of a class were heard, the smaller its offset.

        Args:
            formant_scale: of the voice that is to be corrected.
        """
        expected = sound_classes().mel @ warp_matrix(formant_scale) @ shape_basis().T
        trust = self.frames / (self.frames + RELEVANCE_FRAMES)
        moved = trust[:, None] * (self.shapes - expected)
        if self.correction is not None:
            moved = moved + self.correction
        return np.asarray(moved @ shape_basis(), np.float32)


def spoken_sounds(normalised: FloatArray) -> SpokenSounds:
    """How the speaker of normalised speech frames (T, 82) makes each class of sounds; pauses must be left out.

    Raises:
        ValueError: no frames, or not of 82 channels.
    """
    if normalised.ndim != 2 or normalised.shape[1] != FRAME_CHANNELS or not len(normalised):
        raise ValueError(f"expected normalised frames (T, {FRAME_CHANNELS}), got {normalised.shape}")
    classes = sound_classes()
    scale = formant_scale(normalised)
    expected = classes.mel @ warp_matrix(scale)
    means = expected
    for _ in range(ROUNDS):
        shares = classes.membership(normalised, means, SOFTNESS)
        frames = shares.sum(axis=0)
        mel = shares.T @ normalised[:, :MEL_BINS] / np.maximum(frames, 1e-6)[:, None]
        means = expected + (frames / (frames + RELEVANCE_FRAMES))[:, None] * (mel - expected)
    return SpokenSounds(frames, np.asarray(mel @ shape_basis().T, np.float32), scale)


def formant_scale(normalised: FloatArray) -> float:
    """The formant scale at which the classes are most likely to have given the frames (T, 82)."""
    classes = sound_classes()

    def fit(scale: float) -> float:
        scores = classes.likelihoods(normalised, classes.mel @ warp_matrix(scale), SOFTNESS)
        return float(np.logaddexp.reduce(scores, axis=1).mean())

    return float(max(_SCALES, key=fit))
