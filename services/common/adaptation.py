"""What a voice has learned from several recordings of its person: an offset for each class of sounds.

`services.synthesizer.adapt` makes it; it travels within the speaker's profile, so that every replica speaks with it and
it goes when the voice goes (docs/adr/0015-adaptation.md). It brings the averages along that it was learned with, and
takes the place of those of the profile, but for the embedding: whose voice it is stays the profile's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from services.common.audio import MEL_BINS, FloatArray
from services.common.sounds import CLASSES_NAME, SHAPE_SIZE, SOUND_COUNT, shape_basis

_VECTORS: Final = (("mel_mean", (MEL_BINS,)), ("mel_spread", (MEL_BINS,)), ("offsets", (SOUND_COUNT, SHAPE_SIZE)))
_SCALARS: Final = ("log_f0_median", "log_f0_spread", "formant_warp")
_DECIMALS: Final = 4  # finer is nothing that ten recordings tell


@dataclass(frozen=True, eq=False)
class VoiceAdaptation:
    """Weights that belong to one voice and one network.

    Attributes:
        network: version of the network whose speech it corrects (`services.synthesizer.network.Network.version`).
        log_f0_median, log_f0_spread, mel_mean, mel_spread, formant_warp: as in a profile.
        offsets: added to each class of sounds in the normalised space, in coordinates of `shape_basis`, shape (48, 20).

    Raises:
        ValueError: a field has the wrong shape or is not finite.
    """

    network: str
    log_f0_median: float
    log_f0_spread: float
    mel_mean: FloatArray
    mel_spread: FloatArray
    formant_warp: float
    offsets: FloatArray

    def __post_init__(self) -> None:
        for name, shape in _VECTORS:
            array = np.asarray(getattr(self, name), np.float32)
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers of shape {shape}, got shape {array.shape}")
            object.__setattr__(self, name, array)
        for name in _SCALARS:
            number = float(getattr(self, name))
            if not np.isfinite(number):
                raise ValueError(f"{name}: expected a finite number, got {number}")
            object.__setattr__(self, name, number)

    def sound_offsets(self) -> FloatArray:
        """By how much each class of sounds is moved, shape (48, 80), in units of the speaker's spread."""
        return self.offsets @ shape_basis()

    def to_json(self) -> dict[str, Any]:
        """The fields of the message VoiceAdaptation; offsets with four decimals."""
        return {
            "network": self.network,
            "classes": CLASSES_NAME,
            **{name: getattr(self, name) for name in _SCALARS},
            "mel_mean": [float(value) for value in self.mel_mean],
            "mel_spread": [float(value) for value in self.mel_spread],
            "offsets": [round(float(value), _DECIMALS) for value in self.offsets.ravel()],
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> VoiceAdaptation:
        """Reads what `to_json` wrote.

        Raises:
            ValueError, KeyError: not such an object, or made with other classes of sounds.
        """
        if fields["classes"] != CLASSES_NAME:
            raise ValueError(f"adaptation.classes: expected {CLASSES_NAME!r}, got {fields['classes']!r}")
        return cls(
            network=str(fields["network"]),
            offsets=np.asarray(fields["offsets"], np.float32).reshape(SOUND_COUNT, SHAPE_SIZE),
            mel_mean=np.asarray(fields["mel_mean"], np.float32),
            mel_spread=np.asarray(fields["mel_spread"], np.float32),
            **{name: float(fields[name]) for name in _SCALARS},
        )
