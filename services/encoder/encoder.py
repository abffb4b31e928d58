"""A recording of one person -> speaker profile and quality of the reference. What the stage does, without gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, MEL_BINS, SAMPLE_RATE_HZ, FloatArray, acoustic_frames, log_mel
from services.common.errors import LikenessError
from services.common.profile import SpeakerStatistics, speaker_statistics
from services.common.sounds import SpokenSounds, spoken_sounds
from services.common.speaker_space import VOICING, normalise
from services.common.speech_activity import speech_frames
from services.encoder.features import mel_windows
from services.encoder.model import average
from services.encoder.quality import ReferenceQuality, assess
from services.encoder.voice_activity import SpeechActivity, find_speech

MIN_SPEECH_S: Final = 1.0
MAX_RECORDING_S: Final = 600.0

EmbedWindows = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class EncodedSpeech:
    """Who speaks, and how well they were heard.

    Attributes:
        embedding: L2-normalised, shape (256,).
        statistics, sounds, quality: None when only the embedding was asked for.
        work_s: time it took.
    """

    embedding: FloatArray
    statistics: SpeakerStatistics | None
    sounds: SpokenSounds | None
    quality: ReferenceQuality | None
    work_s: float


def encode_speech(
    samples: FloatArray,
    embed_windows: EmbedWindows,
    *,
    embedding_only: bool = False,
    surely_speech: bool = False,
    label: str = "",
) -> EncodedSpeech:
    """Encodes 16 kHz mono samples (n,).

    Args:
        embed_windows: mel windows (N, 160, 40) -> embeddings (N, 256): the network, or a batcher in front of it.
        embedding_only: leaves out statistics and quality.
        surely_speech: every sound is speech, as in what was synthesized: pauses are found by level alone, without
            tracking the pitch, which takes half of the time. Only together with `embedding_only`.
        label: name of the recording for error messages.

    Raises:
        LikenessError: SPEECH_TOO_SHORT with less than a second of speech; MEDIA_TOO_LARGE; INVALID_FIELD for samples
            that are not finite.
    """
    started_s = time.perf_counter()
    name = f"The recording {label!r}" if label else "The recording"
    total_s = samples.size / SAMPLE_RATE_HZ
    if samples.size == 0:
        raise LikenessError("SPEECH_TOO_SHORT", f"{name} is empty; at least {MIN_SPEECH_S:.0f} s of speech is needed.")
    if total_s > MAX_RECORDING_S:
        raise LikenessError("MEDIA_TOO_LARGE", f"{name} has {total_s:.0f} s; at most {MAX_RECORDING_S:.0f} s.")
    if not np.isfinite(samples).all():
        raise LikenessError("INVALID_FIELD", f"{name} holds samples that are not finite.", field="samples")
    if surely_speech and not embedding_only:
        detail = "surely_speech tracks no pitch, so that there are no statistics; ask for the embedding only."
        raise LikenessError("INVALID_FIELD", detail, field="surely_speech")
    frames = _voiced_frames(samples) if surely_speech else acoustic_frames(samples)
    activity = find_speech(samples, frames)
    _require_speech(activity, total_s, name)
    embeddings = embed_windows(mel_windows(activity.trimmed))
    embedding = average(embeddings)
    if embedding_only:
        return EncodedSpeech(embedding, None, None, None, time.perf_counter() - started_s)
    statistics = speaker_statistics(frames)
    sounds = spoken_sounds(normalise(frames[speech_frames(frames)], statistics))
    quality = assess(samples, activity, embeddings)
    return EncodedSpeech(embedding, statistics, sounds, quality, time.perf_counter() - started_s)


def speech_of_synthesized(samples: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Synthesized samples (n,) as the network hears them, pauses cut out, shape (m,), and which acoustic frames they
    are, shape (m / 200, rounded up).

    Raises:
        LikenessError: SPEECH_TOO_SHORT with less than a second of speech.
    """
    activity = find_speech(samples, _voiced_frames(samples))
    _require_speech(activity, samples.size / SAMPLE_RATE_HZ, "The synthesized speech")
    return activity.trimmed, np.flatnonzero(activity.kept)


def _require_speech(activity: SpeechActivity, total_s: float, name: str) -> None:
    if activity.speech_s < MIN_SPEECH_S:
        detail = (
            f"{name} has {activity.speech_s:.1f} s of speech in {total_s:.1f} s; "
            f"at least {MIN_SPEECH_S:.0f} s is needed, 5 s and more are better."
        )
        raise LikenessError("SPEECH_TOO_SHORT", detail)


def _voiced_frames(samples: FloatArray) -> FloatArray:
    """Acoustic frames (T, 82) that are taken for voiced throughout, without a pitch."""
    mel = log_mel(samples)
    frames = np.zeros((len(mel), FRAME_CHANNELS), np.float32)
    frames[:, :MEL_BINS] = mel
    frames[:, VOICING] = 1.0
    return frames
