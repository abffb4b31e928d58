"""Who speaks: the speaker embedding and the statistics of the reference recording.

The statistics describe speech only: frames are chosen by `speech_activity`, and each mel band is clipped to its own
1st and 99th percentile first, so that a click or a short noise moves neither mean nor spread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.common.adaptation import VoiceAdaptation
from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, MEL_BINS, FloatArray
from services.common.errors import LikenessError
from services.common.sounds import SpokenSounds
from services.common.speech_activity import speech_frames

EMBEDDING_SIZE: Final = 256
MIN_VOICED_S: Final = 0.25  # less voiced speech says nothing about the pitch
CLIP_PERCENTILES: Final = (1.0, 99.0)
IQR_PER_SIGMA: Final = 1.349  # interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True, eq=False)
class SpeakerStatistics:
    """Pitch and spectrum of a speaker.

    Attributes:
        log_f0_median: natural logarithm of hertz, over voiced speech frames.
        log_f0_spread: interquartile range / 1.349 over the same frames.
        mel_mean: mean of each log-mel band over speech frames, shape (80,).
        mel_spread: standard deviation of each band over the same frames, shape (80,).
    """

    log_f0_median: float
    log_f0_spread: float
    mel_mean: FloatArray
    mel_spread: FloatArray


@dataclass(frozen=True, eq=False)
class SpeakerProfile:
    """Everything the synthesizer is told about a speaker; the fields of `SpeakerStatistics`, and:

    Attributes:
        embedding: L2-normalised GE2E speaker embedding, shape (256,).
        formant_warp: formant scale found at enrolment; 1 leaves formants as they are.
        sounds: how the speaker makes each class of sounds; None for voices enrolled before that was measured.
        adaptation: what was learned from more recordings; where there is one, speech is made with its averages.

    Raises:
        ValueError: a field has the wrong shape or is not finite.
    """

    embedding: FloatArray
    log_f0_median: float
    log_f0_spread: float
    mel_mean: FloatArray
    mel_spread: FloatArray
    formant_warp: float = 1.0
    sounds: SpokenSounds | None = None
    adaptation: VoiceAdaptation | None = None

    def __post_init__(self) -> None:
        for name, size in (("embedding", EMBEDDING_SIZE), ("mel_mean", MEL_BINS), ("mel_spread", MEL_BINS)):
            array = np.asarray(getattr(self, name), np.float32)
            if array.shape != (size,) or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected {size} finite numbers, got shape {array.shape}")
            object.__setattr__(self, name, array)
        for name in ("log_f0_median", "log_f0_spread", "formant_warp"):
            number = float(getattr(self, name))
            if not np.isfinite(number):
                raise ValueError(f"{name}: expected a finite number, got {number}")
            object.__setattr__(self, name, number)

    def sound_offsets(self) -> FloatArray | None:
        """By how much each class of sounds is moved, shape (48, 80), in units of the spread; None: not at all."""
        return None if self.sounds is None else self.sounds.offsets(self.formant_warp)

    def to_json(self) -> str:
        """One JSON object with a key for each field; `from_json` gives back the same float32 numbers."""
        return json.dumps(
            {
                "embedding": [float(v) for v in self.embedding],
                "log_f0_median": self.log_f0_median,
                "log_f0_spread": self.log_f0_spread,
                "mel_mean": [float(v) for v in self.mel_mean],
                "mel_spread": [float(v) for v in self.mel_spread],
                "formant_warp": self.formant_warp,
                "sounds": None if self.sounds is None else self.sounds.to_json(),
                "adaptation": None if self.adaptation is None else self.adaptation.to_json(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> SpeakerProfile:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: not such a JSON object.
        """
        fields = json.loads(text)
        try:
            sounds, adaptation = fields.get("sounds"), fields.get("adaptation")
            return cls(
                embedding=np.asarray(fields["embedding"], np.float32),
                log_f0_median=float(fields["log_f0_median"]),
                log_f0_spread=float(fields["log_f0_spread"]),
                mel_mean=np.asarray(fields["mel_mean"], np.float32),
                mel_spread=np.asarray(fields["mel_spread"], np.float32),
                formant_warp=float(fields.get("formant_warp", 1.0)),
                sounds=None if sounds is None else SpokenSounds.from_json(sounds),
                adaptation=None if adaptation is None else VoiceAdaptation.from_json(adaptation),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a speaker profile: {error!r}") from error


def speaker_statistics(recording: FloatArray) -> SpeakerStatistics:
    """Statistics of one speaker's recording: 16 kHz mono samples (n,), or acoustic frames (T, 82) made of them.

    Raises:
        LikenessError: SPEECH_TOO_SHORT when there is less than a quarter second of voiced speech.
        ValueError: neither of the two shapes.
    """
    from services.common.audio import acoustic_frames  # brings numba, of no use to those who only pass profiles on

    frames = acoustic_frames(recording) if recording.ndim == 1 else recording
    if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
        raise ValueError(f"expected samples (n,) or acoustic frames (T, {FRAME_CHANNELS}), got {recording.shape}")
    speech = frames[speech_frames(frames)].astype(np.float64)
    log_f0 = speech[speech[:, -1] >= 0.5, MEL_BINS]
    voiced_s = log_f0.size / FRAMES_PER_SECOND
    if voiced_s < MIN_VOICED_S:
        raise LikenessError(
            "SPEECH_TOO_SHORT",
            f"Only {voiced_s:.2f} s of voiced speech were found; at least {MIN_VOICED_S} s are needed.",
        )
    low, median, high = np.percentile(log_f0, [25.0, 50.0, 75.0])
    mel = speech[:, :MEL_BINS]
    mel = np.clip(mel, *np.percentile(mel, CLIP_PERCENTILES, axis=0))
    return SpeakerStatistics(
        log_f0_median=float(median),
        log_f0_spread=float((high - low) / IQR_PER_SIGMA),
        mel_mean=mel.mean(axis=0).astype(np.float32),
        mel_spread=mel.std(axis=0).astype(np.float32),
    )
