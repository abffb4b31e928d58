"""Finds and reads audio marks: at any offset, at speeds from 0.94 to 1.06, with or without a change of pitch."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import hadamard

from services.common.marking.audio_layout import (
    BANDS,
    CHIP_SAMPLES,
    CHIPS,
    FRAMES,
    MASKS,
    WINDOW_SAMPLES,
    WORD_CHIPS,
    pattern_of,
)
from services.common.marking.audio_levels import BEFORE, LIMIT_DB, against_bands_beside, levels_of

PHASES = 4
HOP = CHIP_SAMPLES // PHASES
SPEEDS = np.round(1 + np.arange(-15, 16) * 0.004, 4)
RANGE_DB = 35.0


def power_of(samples):
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)
    x = np.concatenate([np.zeros(CHIP_SAMPLES, np.float32), samples, np.zeros(CHIP_SAMPLES, np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW_SAMPLES)[::HOP]
    return (np.abs(np.fft.rfft(frames * hann)) ** 2).astype(np.float32)


def folded(levels, speed):
    """(n, BANDS) at HOP -> (PHASES, FRAMES, BANDS) sums of limited tile values."""
    top = np.percentile(levels.max(1), 90)
    y_all = against_bands_beside(levels)
    weight = np.clip((levels - (top - RANGE_DB)) / 10.0, 0, 1)
    n = len(levels)
    step = PHASES / speed
    out = np.zeros((PHASES, FRAMES, BANDS), np.float32)
    for p in range(PHASES):
        at = p / speed + step * np.arange(int((n - 1 - p / speed) / step) + 1)
        lo = np.minimum(at.astype(int), n - 2)
        fr = (at - lo)[:, None].astype(np.float32)
        y = y_all[lo] * (1 - fr) + y_all[lo + 1] * fr
        w = weight[np.minimum(np.rint(at).astype(int), n - 1)]
        v = np.zeros_like(y)
        v[1:] = np.clip(y[1:] - BEFORE * y[:-1], -LIMIT_DB, LIMIT_DB) * w[1:]
        pad = (-len(v)) % FRAMES
        out[p] = np.concatenate([v, np.zeros((pad, BANDS), np.float32)]).reshape(-1, FRAMES, BANDS).sum(0)
    return out


def correlate(v, pattern):
    """(..., FRAMES, BANDS) x pattern -> (..., FRAMES): the sum over all chips at each shift."""
    a = np.fft.rfft(v, axis=-2)
    b = np.fft.rfft(pattern, axis=-2)
    return np.fft.irfft((a * b.conj()).sum(-1), FRAMES, axis=-1)


def hypotheses(samples, speeds=SPEEDS, modes=(0, 1)):
    P = power_of(samples)
    base = levels_of(P)
    vs, tags = [], []
    for mode in modes:
        for s in speeds:
            if mode and s == 1:
                continue
            lev = base if mode or s == 1 else levels_of(P, float(s))
            vs.append(folded(lev, s))
            tags.append((mode, float(s)))
    return np.stack(vs), tags  # (S, PHASES, FRAMES, BANDS)


def known_z(v, key, number):
    pat = pattern_of(key, number)
    z = correlate(v, pat) / np.sqrt((v**2).sum((-1, -2)) + 1e-9)[..., None]
    return z


def sync_z(v, layout):
    s = np.zeros(CHIPS, np.float32)
    s[layout.sync] = layout.sync_signs
    s = s.reshape(FRAMES, BANDS)
    return correlate(v, s) / np.sqrt(
        np.maximum(correlate(v**2, np.abs(s)), 1e-3 * (v**2).sum((-1, -2))[..., None] + 1e-9)
    )


H16 = hadamard(16).astype(np.float32)
H32 = hadamard(32).astype(np.float32)


def decode(v, layout, keep=16):
    """v (FRAMES, BANDS) aligned -> number, statistic."""
    flat = v.reshape(-1)
    norm = np.sqrt((flat**2).sum()) + 1e-9
    sync = (flat[layout.sync] * layout.sync_signs).sum()
    sc = []
    for places, masks in zip(layout.words, layout.masks, strict=True):
        x = (flat[places] * masks).reshape(-1, 16, 32)
        x = (H16 @ (x @ H32)).reshape(MASKS * WORD_CHIPS)
        sc.append(np.concatenate([x, -x]))
    best = [np.argpartition(-s, keep)[:keep] for s in sc]
    r = None
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        a, b = best[i][:, None], best[j][None]
        t = sc[i][a] + sc[j][b] + sc[k][a ^ b]
        q = np.unravel_index(t.argmax(), t.shape)
        if r is None or t[q] > r[0]:
            sy = [0] * 3
            sy[i] = int(best[i][q[0]])
            sy[j] = int(best[j][q[1]])
            sy[k] = sy[i] ^ sy[j]
            r = (t[q], sy[0] << 16 | sy[1])
    return r[1], (r[0] + sync) / norm


def chance_of(statistic: float, trials: float) -> float:
    """Bound on the probability that the largest of `trials` statistics of random signs reaches `statistic`.

    Bentkus and Dzindzalieta (2015): a normalised sum of independent signs exceeds t with probability at most
    3.18 times a normal variable's.
    """
    return min(1.0, trials * 3.18 * 0.5 * math.erfc(statistic / math.sqrt(2.0)))
