"""How good a reference recording is: enough speech, little noise, no clipping, one speaker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray
from services.encoder.model import average
from services.encoder.voice_activity import SpeechActivity

FULL_SCALE: Final = 0.999
GOOD_SPEECH_S: Final = 5.0
GOOD_SNR_DB: Final = 20.0
GOOD_CLIPPED_SHARE: Final = 1e-4
# Chosen on concatenated recordings of two speakers; README.md has the rates.
ONE_SPEAKER_CONSISTENCY: Final = 0.82
MIN_PART_WINDOWS: Final = 2  # one odd window is a cough or a laugh, not a second speaker
_FLOOR_POWER: Final = 10 ** (-96.0 / 10)  # 16-bit quantisation
_MAX_SNR_DB: Final = 80.0
_MIN_PAUSE_FRAMES: Final = 16  # 0.2 s; with less, the quietest frames stand for the noise


@dataclass(frozen=True)
class ReferenceQuality:
    """What a caller needs to judge a reference.

    Attributes:
        total_s: length of the recording.
        speech_s: of it, speech.
        snr_db: level of the speech over that of the pauses.
        clipped_share: share of samples at full scale.
        speaker_consistency: cosine between the two most different parts of the recording.
        multiple_speakers: whether that is too low for one person.
        advice: what to do better, one sentence each; empty when nothing is wrong.
    """

    total_s: float
    speech_s: float
    snr_db: float
    clipped_share: float
    speaker_consistency: float
    multiple_speakers: bool
    advice: list[str] = field(default_factory=list)


def snr_db(samples: FloatArray, mask: NDArray[np.bool_]) -> float:
    """Speech level over noise floor, 0 to 80 dB, of samples (n,) with speech where `mask` (T,) says so."""
    padded = np.zeros(mask.size * HOP_SAMPLES, np.float64)
    padded[: samples.size] = samples
    power = np.mean(padded.reshape(-1, HOP_SAMPLES) ** 2, axis=1) + _FLOOR_POWER
    pauses = power[~mask]
    # The median, since a door or a breath in a pause is not the noise that lies under the speech.
    noise = np.median(pauses) if pauses.size >= _MIN_PAUSE_FRAMES else np.percentile(power, 2.0)
    speech = max(float(power[mask].mean() - noise), 1e-12) if mask.any() else 1e-12
    return float(np.clip(10 * np.log10(speech / noise), 0.0, _MAX_SNR_DB))


def speaker_consistency(embeddings: FloatArray) -> float:
    """Cosine between the two most different parts of a recording, of its window embeddings (N, 256).

    The windows are ordered along the direction in which they differ most and cut in two where the two sides separate
    best (Otsu's criterion), at least two windows each; so turns of a dialogue are found as well as one change of
    speaker. With fewer than four windows it is 1: too little to tell.
    """
    count = embeddings.shape[0]
    if count < 2 * MIN_PART_WINDOWS:
        return 1.0
    centred = embeddings - embeddings.mean(axis=0)
    position = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    order = np.argsort(position)
    cumulated, total = np.cumsum(position[order]), float(position.sum())
    cuts = np.arange(MIN_PART_WINDOWS, count - MIN_PART_WINDOWS + 1)
    left = cumulated[cuts - 1] / cuts
    right = (total - cumulated[cuts - 1]) / (count - cuts)
    cut = int(cuts[np.argmax(cuts * (count - cuts) * (left - right) ** 2)])
    return float(average(embeddings[order[:cut]]) @ average(embeddings[order[cut:]]))


def assess(samples: FloatArray, activity: SpeechActivity, embeddings: FloatArray) -> ReferenceQuality:
    """Judges a recording (n,) by its speech and the embeddings of its windows (N, 256)."""
    consistency = speaker_consistency(embeddings)
    measured = ReferenceQuality(
        total_s=samples.size / SAMPLE_RATE_HZ,
        speech_s=activity.speech_s,
        snr_db=snr_db(samples, activity.mask),
        clipped_share=float(np.mean(np.abs(samples) >= FULL_SCALE)),
        speaker_consistency=consistency,
        multiple_speakers=consistency < ONE_SPEAKER_CONSISTENCY,
    )
    measured.advice.extend(_advice(measured))
    return measured


def _advice(quality: ReferenceQuality) -> list[str]:
    advice = []
    if quality.speech_s < GOOD_SPEECH_S:
        advice.append(
            f"Record more speech: {quality.speech_s:.1f} s were found, {GOOD_SPEECH_S:.0f} s and more are better."
        )
    if quality.snr_db < GOOD_SNR_DB:
        advice.append(
            f"Record in a quieter place or closer to the microphone: speech is only {quality.snr_db:.0f} dB above "
            "the noise."
        )
    if quality.clipped_share > GOOD_CLIPPED_SHARE:
        advice.append(f"Turn the recording level down: {quality.clipped_share:.2%} of the samples are at full scale.")
    if quality.multiple_speakers:
        advice.append("Send a recording of one person: parts of this one sound like different speakers.")
    return advice
