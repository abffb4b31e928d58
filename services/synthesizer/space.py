"""Out of the space in which the network works (`services.common.speaker_space`), into a speaker's voice.

The network knows nobody's averages, so that few training speakers suffice, and a voice never heard in training is
put back in from the statistics of its recording: averages over all speech, and, where the profile has them, how the
speaker makes each class of sounds (`services.common.sounds`). Silence is not part of anybody's voice: frames without
energy come out as the voices learned from have them, so that a noisy recording gives no hiss between words.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.audio.mel import LOG_FLOOR, mel_edges_hz
from services.common.profile import SpeakerProfile
from services.common.sounds import sound_classes
from services.common.speaker_space import LOG_F0, MIN_LOG_F0_SPREAD, MIN_MEL_SPREAD, VOICING, warp_matrix

MAX_LOG_F0_SPREAD: Final = 0.25  # more is mostly the pitch tracker's doing
PITCH_REACH: Final = 2.5  # spreads from the median; beyond, pitch is held
MEMBERSHIP_SOFTNESS: Final = 2.0  # of generated frames; see `SoundClasses.membership`
SPREAD_RATIO: Final = (0.6, 1.5)  # how much less or more lively than the learned voice a band may become
SILENCE_LEVEL: Final = -2.3  # mean of the normalised bands: below it a frame is silence rather than speech
SILENCE_WIDTH: Final = 0.2
LOUD_SPREADS: Final = 1.3  # how far above their mean the bands of a loud frame lie
HEADROOM: Final = -0.35  # natural log of amplitude: a voice with other formants may peak higher
LEVEL_CEILING: Final = -1.85  # of a frame; the loudest frames of the learned voices, headroom taken off
LIMITER_WIDTH: Final = 0.15
MIN_LOG_F0: Final = float(np.log(60.0))
MAX_LOG_F0: Final = float(np.log(500.0))
MAX_LOG_MEL: Final = 3.0
LOG_SILENCE: Final = float(np.log(LOG_FLOOR))


@lru_cache(maxsize=1)
def _band_weights() -> NDArray[np.float64]:
    """Share of each band in the width of all, shape (80, 1): the bands' numbers are amplitudes per hertz."""
    edges = mel_edges_hz()
    widths_hz = edges[2:] - edges[:-2]
    return np.asarray(widths_hz / widths_hz.sum())[:, None]


def frame_level(mel: FloatArray) -> FloatArray:
    """Natural log of the amplitude of each frame (T, 1), of log-mel frames (T, 80)."""
    power = np.exp(2.0 * mel.astype(np.float64)) @ _band_weights()
    return (0.5 * np.log(np.maximum(power, LOG_FLOOR**2))).astype(np.float32)


def loudness(mel_mean: FloatArray, mel_spread: FloatArray) -> float:
    """Natural log of the amplitude of a speaker's loud frames, from mean and spread of the bands (80,)."""
    return float(frame_level((mel_mean + LOUD_SPREADS * mel_spread)[None])[0, 0])


def limit(mel: FloatArray) -> FloatArray:
    """Log-mel frames (T, 80) with the loudest turned down, softly, so that no frame exceeds `LEVEL_CEILING`."""
    level = frame_level(mel)
    limited = LEVEL_CEILING - LIMITER_WIDTH * np.logaddexp(0.0, (LEVEL_CEILING - level) / LIMITER_WIDTH)
    return np.asarray(mel + np.minimum(limited - level, 0.0), np.float32)


class VoiceSpace:
    """Normalised frames -> acoustic frames of one speaker. Frame by frame, so that a stream equals the whole.

    Args:
        speaker: whose voice the frames get; as adapted, if it was.
        learned: the voice that the network imitates; gives level, and what silence is.
        liveliness: factor for each channel (82,) that makes generated speech as lively as real speech; pitch is left
            as generated.
        pitch_offset: what the network takes for the median of normalised log-F0; should be 0 and is not quite.
        pitch_shift_semitones: added to the pitch.

    Attributes:
        unit: spread of each band, shape (80,), in nepers, that the offsets of classes of sounds are multiples of.
    """

    def __init__(
        self,
        speaker: SpeakerProfile,
        learned: SpeakerProfile,
        liveliness: FloatArray,
        pitch_offset: float = 0.0,
        pitch_shift_semitones: float = 0.0,
    ) -> None:
        learned_spread = np.maximum(learned.mel_spread, MIN_MEL_SPREAD)
        low, high = SPREAD_RATIO
        voice = speaker.adaptation or speaker
        self.unit = spread = np.clip(voice.mel_spread, low * learned_spread, high * learned_spread)
        gain = loudness(learned.mel_mean, learned_spread) - loudness(voice.mel_mean, spread)
        self._mean = voice.mel_mean + (gain + HEADROOM)
        self._spread = spread * liveliness[:MEL_BINS]
        self._liveliness = liveliness[:MEL_BINS]
        offsets = voice.sound_offsets()
        self._sounds = None if offsets is None else spread * offsets
        self._learned_mean, self._learned_spread = learned.mel_mean + HEADROOM, learned_spread
        self._warp = None if abs(voice.formant_warp - 1.0) < 1e-3 else warp_matrix(voice.formant_warp)
        f0_spread = float(np.clip(voice.log_f0_spread, MIN_LOG_F0_SPREAD, MAX_LOG_F0_SPREAD))
        self._log_f0_spread = f0_spread  # as generated: livelier pitch was recognised less often
        self._pitch_offset = pitch_offset
        self._log_f0 = voice.log_f0_median + pitch_shift_semitones / 12.0 * float(np.log(2.0))

    def __call__(self, normalised: FloatArray) -> FloatArray:
        """Acoustic frames (T, 82) of normalised frames (T, 82)."""
        silence = self._learned_mean + self._learned_spread * normalised[:, :MEL_BINS]
        speech = self._mean + self.deviation(normalised)
        speech_share = self.speech_share(normalised)
        out = np.empty_like(normalised, dtype=np.float32)
        mel = limit(np.asarray(speech_share * speech + (1.0 - speech_share) * silence, np.float32))
        out[:, :MEL_BINS] = np.clip(mel, LOG_SILENCE, MAX_LOG_MEL)
        deviation = np.clip(normalised[:, LOG_F0] - self._pitch_offset, -PITCH_REACH, PITCH_REACH)
        log_f0 = self._log_f0 + self._log_f0_spread * deviation
        out[:, LOG_F0] = np.clip(log_f0, MIN_LOG_F0, MAX_LOG_F0)
        out[:, VOICING] = np.clip(0.5 * (normalised[:, VOICING] + 1.0), 0.0, 1.0)
        return out

    def deviation(self, normalised: FloatArray) -> FloatArray:
        """By how much the bands of speech differ from the speaker's mean, shape (T, 80), in nepers."""
        mel = normalised[:, :MEL_BINS]
        bands = self._spread * (mel if self._warp is None else mel @ self._warp)
        deviation = bands if self._sounds is None else bands + self.memberships(normalised) @ self._sounds
        return np.asarray(deviation, np.float32)

    @staticmethod
    def speech_share(normalised: FloatArray) -> FloatArray:
        """How much of each frame is speech rather than silence, from 0 to 1, shape (T, 1)."""
        level = normalised[:, :MEL_BINS].mean(axis=1, keepdims=True)
        return np.asarray(1.0 / (1.0 + np.exp(-(level - SILENCE_LEVEL) / SILENCE_WIDTH)), np.float32)

    def memberships(self, normalised: FloatArray) -> FloatArray:
        """Share of each class of sounds in each frame, shape (T, classes)."""
        lively = normalised.copy()
        lively[:, :MEL_BINS] *= self._liveliness
        return sound_classes().membership(lively, softness=MEMBERSHIP_SOFTNESS)

    def silence(self, frame_count: int) -> FloatArray:
        """Frames of nothing (frame_count, 82), unvoiced."""
        out = np.full((frame_count, FRAME_CHANNELS), LOG_SILENCE, np.float32)
        out[:, LOG_F0] = np.clip(self._log_f0, MIN_LOG_F0, MAX_LOG_F0)
        out[:, VOICING] = 0.0
        return out
