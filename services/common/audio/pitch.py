"""Waveform -> log-F0 and voicing per acoustic frame.

Normalised cross-correlation candidates and a Viterbi search over them, after RAPT (Talkin 1995, "A robust algorithm
for pitch tracking"), in numba. It shares its frame grid with `mel.py`.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np

from services.common.audio.mel import (
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    FloatArray,
    frame_count,
    log_mel,
)

F0_MIN_HZ: Final = 60.0
F0_MAX_HZ: Final = 500.0
LAG_MIN: Final = int(SAMPLE_RATE_HZ / F0_MAX_HZ)  # 32 samples
LAG_MAX: Final = int(SAMPLE_RATE_HZ / F0_MIN_HZ) + 1  # 267 samples
CORRELATION_SAMPLES: Final = 280  # 17.5 ms: a period at 60 Hz and a little
CANDIDATES: Final = 8  # voiced hypotheses per frame; one unvoiced is added
PEAK_FLOOR: Final = 0.25  # correlation peaks below are not candidates
LAG_BIAS: Final = 0.4  # prefers the shorter of two lags that fit equally: against octave errors downwards
VOICING_THRESHOLD: Final = 0.5  # peak correlation at which voiced and unvoiced cost the same
SWITCH_COST: Final = 0.4  # of changing between voiced and unvoiced
JUMP_COST: Final = 2.0  # per natural-log unit of change in F0 between neighbouring frames
QUIET_POWER: Final = 1e-7  # -70 dBFS: anything below is unvoiced


@numba.njit(cache=True, fastmath=True)
def _candidates(samples: FloatArray, frames: int) -> tuple[FloatArray, FloatArray]:
    """Lags (frames, CANDIDATES; 0 where none) and their correlation."""
    reach = (CORRELATION_SAMPLES + LAG_MAX) // 2 + 2
    padded = np.zeros(samples.size + 2 * reach + HOP_SAMPLES, np.float32)
    padded[reach : reach + samples.size] = samples
    lags = np.zeros((frames, CANDIDATES), np.float32)
    scores = np.zeros((frames, CANDIDATES), np.float32)
    correlation = np.zeros(LAG_MAX + 2, np.float32)
    floor = QUIET_POWER * CORRELATION_SAMPLES
    for t in range(frames):
        centre = reach + t * HOP_SAMPLES + HOP_SAMPLES // 2
        for lag in range(LAG_MIN - 1, LAG_MAX + 2):
            start = centre - (CORRELATION_SAMPLES + lag) // 2
            dot = np.float32(0.0)
            power_a = np.float32(0.0)
            power_b = np.float32(0.0)
            for i in range(CORRELATION_SAMPLES):
                a = padded[start + i]
                b = padded[start + lag + i]
                dot += a * b
                power_a += a * a
                power_b += b * b
            correlation[lag] = dot / np.sqrt((power_a + floor) * (power_b + floor))
        for lag in range(LAG_MIN, LAG_MAX + 1):
            here, left, right = correlation[lag], correlation[lag - 1], correlation[lag + 1]
            if here < PEAK_FLOOR or here < left or here <= right:
                continue
            curvature = left - 2.0 * here + right
            shift = 0.5 * (left - right) / curvature if curvature < -1e-9 else 0.0
            worst = 0
            for k in range(1, CANDIDATES):
                if scores[t, k] < scores[t, worst]:
                    worst = k
            if here > scores[t, worst]:
                scores[t, worst] = here
                lags[t, worst] = lag + shift
    return lags, scores


@numba.njit(cache=True)
def _viterbi(lags: FloatArray, scores: FloatArray, loudness: FloatArray) -> FloatArray:
    """Cheapest path; lag per frame, 0 where unvoiced. `loudness` in [0, 1] makes quiet frames dearer to voice."""
    frames = lags.shape[0]
    unvoiced = CANDIDATES
    cost = np.full((frames, CANDIDATES + 1), np.float32(1e9))
    back = np.zeros((frames, CANDIDATES + 1), np.int32)
    for t in range(frames):
        best_peak = np.float32(0.0)
        for k in range(CANDIDATES):
            best_peak = max(best_peak, scores[t, k])
        for k in range(CANDIDATES + 1):
            if k < unvoiced and lags[t, k] == 0:
                continue
            if k == unvoiced:
                local = best_peak
            else:
                biased = scores[t, k] * (1.0 - LAG_BIAS * lags[t, k] / LAG_MAX)
                local = 2.0 * VOICING_THRESHOLD - biased + 0.5 * (1.0 - loudness[t])
            if t == 0:
                cost[t, k] = local
                continue
            for j in range(CANDIDATES + 1):
                if cost[t - 1, j] >= 1e9:
                    continue
                step = np.float32(0.0)
                if (j == unvoiced) != (k == unvoiced):
                    step = np.float32(SWITCH_COST)
                elif k != unvoiced:
                    step = np.float32(JUMP_COST * abs(np.log(lags[t, k] / lags[t - 1, j])))
                total = cost[t - 1, j] + step + local
                if total < cost[t, k]:
                    cost[t, k] = total
                    back[t, k] = j
    path = np.zeros(frames, np.float32)
    k = int(np.argmin(cost[frames - 1]))
    for t in range(frames - 1, -1, -1):
        path[t] = lags[t, k] if k < unvoiced else 0.0
        k = back[t, k]
    return path


def track_pitch(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pitch of 16 kHz mono float32 samples, shape (n,).

    Returns:
        log_f0: natural logarithm of hertz, shape (frames,), interpolated through unvoiced frames
            (log 120 Hz throughout when nothing is voiced).
        voicing: periodicity in [0, 1], shape (frames,); at least 0.5 exactly where the frame is voiced.
    """
    frames = frame_count(samples.size)
    signal = np.ascontiguousarray(samples, np.float32)
    lags, scores = _candidates(signal, frames)
    padded = np.zeros(frames * HOP_SAMPLES, np.float32)
    padded[: signal.size] = signal
    level_db = 10 * np.log10(np.mean(padded.reshape(frames, HOP_SAMPLES) ** 2, axis=1) + 1e-10)
    floor_db, peak_db = np.percentile(level_db, 5), np.percentile(level_db, 98)
    span_db = max(float(peak_db - floor_db), 10.0)
    loudness = np.clip((level_db - peak_db + span_db) / (0.5 * span_db), 0, 1).astype(np.float32)
    path = _viterbi(lags, scores, loudness)
    voiced = path > 0
    periodicity = np.clip(scores.max(axis=1), 0, 1)
    voicing = np.where(voiced, 0.5 + 0.5 * periodicity, 0.49 * periodicity).astype(np.float32)
    if not voiced.any():
        return np.full(frames, np.log(120.0), np.float32), voicing
    known = np.flatnonzero(voiced)
    log_f0 = np.interp(np.arange(frames), known, np.log(SAMPLE_RATE_HZ / path[known]))
    return log_f0.astype(np.float32), voicing


def acoustic_frames(samples: FloatArray) -> FloatArray:
    """Log-mel, log-F0 and voicing, shape (frames, 82), of 16 kHz mono float32 samples, shape (n,)."""
    log_f0, voicing = track_pitch(samples)
    return np.concatenate([log_mel(samples), log_f0[:, None], voicing[:, None]], axis=1)
