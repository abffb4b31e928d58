"""The source-filter engine: acoustic frames -> waveform with no trained weights.

Voiced sound is a sum of harmonics of F0 whose amplitudes are solved, frame by frame, so that the mel bands come out
as asked (Richardson-Lucy steps on the bands' answer to a sinusoid); breath and unvoiced sound are white noise through
the envelope. Both carry the envelope's minimum phase. The share of noise grows with frequency and with falling
voicing. It sounds clear and a little synthetic: phase and fine structure of the recording are not in the frames.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ
from services.common.audio.mel import LOG_FLOOR
from services.vocoder.envelope import (
    ENVELOPE_BINS,
    ENVELOPE_FFT,
    ENVELOPE_STEP_HZ,
    NOISE_BIN_MAGNITUDE,
    RESPONSE_STEP_HZ,
    envelope_tables,
)
from services.vocoder.fourier import ComplexArray, fft_in_place, twiddles
from services.vocoder.noise import gaussian, hash_position

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

HALF_HOP: Final = HOP_SAMPLES // 2
MAIN_LOBE_HZ: Final = 80.0  # of the mel's Hann window, between its first zeros
F0_LOW_HZ: Final = 50.0  # frames outside are clipped to it
F0_HIGH_HZ: Final = 1000.0
HARMONIC_TOP_HZ: Final = 7600.0  # the mel knows nothing above
MAX_HARMONICS: Final = int(HARMONIC_TOP_HZ / F0_LOW_HZ) + 1
SOLVER_STEPS: Final = 4
VOICED_FROM: Final = 0.49  # voicing at which harmonics begin; the tracker's unvoiced frames stay below
VOICED_FULL: Final = 0.60
SILENCE: Final = float(np.log(LOG_FLOOR)) + 0.1  # mel bands at the floor are rendered as nothing


@dataclass(frozen=True)
class DraftTuning:
    """What listening scores decide (the ADR has the measurements). Shares and slopes are numbers without a unit."""

    noise_base: float = 0.0  # noise share of power where periodicity is 1, at 0 Hz
    noise_slope: float = 0.03  # more of it at 8 kHz
    missing_base: float = 0.1  # how strongly missing periodicity turns into noise at 0 Hz
    missing_slope: float = 1.5  # more of that at 8 kHz
    dispersion_rad: float = 8.0  # at 1 kHz, of a phase that grows with the square root of frequency
    follow_valleys: bool = True  # noise stays below what the mel shows between two harmonics, where it resolves them

    def as_array(self) -> F64:
        """All of them in order, as numba reads them."""
        return np.array(astuple(self), np.float64)


@numba.njit(cache=True)
def _harmonic_share(voicing: float) -> float:
    """0 where unvoiced to 1 where voiced, with a short slope between."""
    return float(min(max((voicing - VOICED_FROM) / (VOICED_FULL - VOICED_FROM), 0.0), 1.0))


@numba.njit(cache=True)
def _noise_share(voicing: float, frequency_hz: float, tuning: F64) -> float:
    """Share of power that is noise, in [0, 1]."""
    missing = min(max(2.0 - 2.0 * voicing, 0.0), 1.0)
    x = frequency_hz / 8000.0
    share = tuning[0] + tuning[1] * x + missing * (tuning[2] + tuning[3] * x)
    return float(1.0 - _harmonic_share(voicing) * (1.0 - min(max(share, 0.0), 1.0)))


@numba.njit(cache=True)
def _stay_below_valleys(centred: F64, f0_hz: float, harmonic: float, nearest: I64, noise_level: F64) -> None:
    """Lowers the noise to the lowest band within half of F0, where bands are narrow enough to see between harmonics.

    This is what makes voicing differ from band to band: a deep valley is a clean harmonic, a shallow one breath.
    """
    for m in range(1, MEL_BINS - 1):
        centre_hz = nearest[m] * ENVELOPE_STEP_HZ
        width_hz = 0.5 * (nearest[m + 1] - nearest[m - 1]) * ENVELOPE_STEP_HZ
        if 2.0 * width_hz + MAIN_LOBE_HZ > f0_hz:
            continue
        valley = centred[m]
        for other in range(MEL_BINS):
            if abs(nearest[other] * ENVELOPE_STEP_HZ - centre_hz) <= 0.5 * f0_hz:
                valley = min(valley, centred[other])
        noise_level[m] += harmonic * (min(noise_level[m], valley) - noise_level[m])


@numba.njit(cache=True, fastmath=True)
def _solve_harmonics(
    mel: F64, noise: F64, f0_hz: float, exact: bool, start: F64, response: F64, first: I64, last: I64, amplitude: F64
) -> int:
    """Fills `amplitude` so that harmonics and noise together give the mel bands; returns the number of harmonics."""
    count = min(int(HARMONIC_TOP_HZ / f0_hz), MAX_HARMONICS)
    # Magnitudes add up over FFT bins: those under a harmonic add noise as power, those between hold noise alone.
    under = min(1.0, MAIN_LOBE_HZ / f0_hz) if exact else 1.0
    target = np.zeros(MEL_BINS)
    for m in range(MEL_BINS):
        left_over = mel[m] - noise[m] * (1.0 - under)
        power = left_over * left_over - noise[m] * noise[m] * under * under
        target[m] = np.sqrt(max(power, 1e-4 * mel[m] * mel[m])) if left_over > 0.0 else 0.01 * mel[m]
    for k in range(count):
        frequency = (k + 1) * f0_hz
        position = frequency / ENVELOPE_STEP_HZ
        low = int(position)
        weight = position - low
        magnitude = start[low] * (1.0 - weight) + start[low + 1] * weight
        amplitude[k] = magnitude * f0_hz / SAMPLE_RATE_HZ * 2.0
    predicted = np.zeros(MEL_BINS)
    for _ in range(SOLVER_STEPS):
        predicted[:] = 0.0
        for k in range(count):
            row = int((k + 1) * f0_hz / RESPONSE_STEP_HZ + 0.5)
            for m in range(first[row], last[row]):
                predicted[m] += amplitude[k] * response[row, m]
        for k in range(count):
            row = int((k + 1) * f0_hz / RESPONSE_STEP_HZ + 0.5)
            total = 0.0
            weights = 0.0
            for m in range(first[row], last[row]):
                ratio = min(max(target[m] / max(predicted[m], 1e-12), 0.1), 10.0)
                total += response[row, m] * ratio
                weights += response[row, m]
            amplitude[k] *= total / max(weights, 1e-12)
    return count


@numba.njit(cache=True, fastmath=True, nogil=True)
def _render_frame(
    frame: F64,
    sample_start: int,
    seed: np.uint64,
    phase_nudge: float,
    first_frame: bool,
    state: F64,
    previous: F64,
    tail: F64,
    tuning: F64,
    left: I64,
    weight: F64,
    phase_matrix: F64,
    nearest: I64,
    offset: F64,
    response: F64,
    first: I64,
    last: I64,
    roots: ComplexArray,
    output: F64,
) -> None:
    """Renders the 200 samples that end at the centre of `frame`; `sample_start` is the first of them.

    state: (2,), F0 in hertz and phase in radians at the previous centre.
    previous: (2, MAX_HARMONICS), real and imaginary amplitudes there.
    tail: (ENVELOPE_FFT,), noise already filtered for samples from `sample_start` on.
    """
    centred = frame[:MEL_BINS] - offset
    f0_hz = min(max(np.exp(frame[MEL_BINS]), F0_LOW_HZ), F0_HIGH_HZ)
    voicing = frame[MEL_BINS + 1]

    noise_level = np.zeros(MEL_BINS)  # logarithm, per FFT bin as `centred`
    for m in range(MEL_BINS):
        share = _noise_share(voicing, nearest[m] * ENVELOPE_STEP_HZ, tuning)
        noise_level[m] = centred[m] + 0.5 * np.log(max(share, 1e-9))
    if tuning[5] > 0.0 and voicing > VOICED_FROM:
        _stay_below_valleys(centred, f0_hz, _harmonic_share(voicing), nearest, noise_level)

    magnitude = np.zeros(ENVELOPE_BINS)
    phase = np.zeros(ENVELOPE_BINS)
    noise_magnitude = np.zeros(ENVELOPE_BINS)
    for b in range(ENVELOPE_BINS):
        angle = 0.0
        for m in range(MEL_BINS):
            angle += phase_matrix[b, m] * centred[m]
        low = left[b]
        magnitude[b] = np.exp((1.0 - weight[b]) * centred[low] + weight[b] * centred[low + 1])
        noise_magnitude[b] = np.exp((1.0 - weight[b]) * noise_level[low] + weight[b] * noise_level[low + 1])
        phase[b] = angle

    # harmonics
    mel = np.zeros(MEL_BINS)
    noise_mel = np.zeros(MEL_BINS)
    for m in range(MEL_BINS):
        mel[m] = np.exp(frame[m]) if frame[m] > SILENCE else 0.0
        noise_mel[m] = np.exp(noise_level[m] + offset[m]) if frame[m] > SILENCE else 0.0
    current = np.zeros((2, MAX_HARMONICS))
    count = 0
    if voicing > VOICED_FROM:
        amplitude = np.zeros(MAX_HARMONICS)
        count = _solve_harmonics(
            mel, noise_mel, f0_hz, tuning[5] > 0.0, magnitude / 400.0, response, first, last, amplitude
        )
        for k in range(count):
            frequency = (k + 1) * f0_hz
            position = frequency / ENVELOPE_STEP_HZ
            low = int(position)
            beyond = position - low
            angle = phase[low] * (1.0 - beyond) + phase[low + 1] * beyond
            angle += tuning[4] * np.sqrt(frequency / 1000.0)
            current[0, k] = amplitude[k] * np.cos(angle)
            current[1, k] = amplitude[k] * np.sin(angle)
    if first_frame:
        state[0] = f0_hz
        previous[:] = current

    # harmonics from the previous centre to this one
    f0_before = state[0]
    phase_before = state[1]
    omega = 2.0 * np.pi / SAMPLE_RATE_HZ
    step_cos = np.zeros(HOP_SAMPLES)
    step_sin = np.zeros(HOP_SAMPLES)
    now_cos = np.zeros(HOP_SAMPLES)
    now_sin = np.zeros(HOP_SAMPLES)
    for n in range(HOP_SAMPLES):
        x = (n + 0.5) / HOP_SAMPLES
        turn = phase_before + HOP_SAMPLES * omega * (f0_before * x + 0.5 * (f0_hz - f0_before) * x * x)
        turn += phase_nudge * x
        step_cos[n] = np.cos(turn)
        step_sin[n] = np.sin(turn)
        now_cos[n] = step_cos[n]
        now_sin[n] = step_sin[n]
        output[n] = 0.0
    highest = 0
    for k in range(MAX_HARMONICS):
        if current[0, k] != 0.0 or current[1, k] != 0.0 or previous[0, k] != 0.0 or previous[1, k] != 0.0:
            highest = k + 1
    for k in range(highest):
        real_before, real_step = previous[0, k], (current[0, k] - previous[0, k]) / HOP_SAMPLES
        imag_before, imag_step = previous[1, k], (current[1, k] - previous[1, k]) / HOP_SAMPLES
        for n in range(HOP_SAMPLES):
            real = real_before + real_step * (n + 0.5)
            imag = imag_before + imag_step * (n + 0.5)
            c = now_cos[n]
            s = now_sin[n]
            output[n] += real * c - imag * s
            now_cos[n] = c * step_cos[n] - s * step_sin[n]
            now_sin[n] = c * step_sin[n] + s * step_cos[n]
    state[1] = (phase_before + HOP_SAMPLES * omega * 0.5 * (f0_before + f0_hz) + phase_nudge) % (2.0 * np.pi)
    state[0] = f0_hz
    previous[:] = current

    # noise: this frame's window rises over these 200 samples and falls over the next 200
    spectrum = np.zeros(ENVELOPE_FFT, np.complex128)
    for n in range(2 * HOP_SAMPLES):
        rising = not first_frame or n >= HOP_SAMPLES  # the first frame stands for what was before it, too
        window = 0.5 - 0.5 * np.cos(np.pi * (n + 0.5) / HOP_SAMPLES) if rising else 1.0
        position = np.uint64(sample_start + n + HOP_SAMPLES)
        spectrum[n] = window * gaussian(hash_position(seed, position))
    fft_in_place(spectrum, roots)
    for b in range(ENVELOPE_BINS):
        gain = noise_magnitude[b] / NOISE_BIN_MAGNITUDE
        turn_cos = gain * np.cos(phase[b])
        turn_sin = gain * np.sin(phase[b])
        value = spectrum[b] * complex(turn_cos, turn_sin)
        if b == 0 or b == ENVELOPE_BINS - 1:
            value = complex(value.real, 0.0)
        spectrum[b] = np.conj(value)  # a forward transform of the conjugate is the inverse transform
        if 0 < b < ENVELOPE_BINS - 1:
            spectrum[ENVELOPE_FFT - b] = value
    fft_in_place(spectrum, roots)
    for n in range(ENVELOPE_FFT):
        tail[n] += spectrum[n].real / ENVELOPE_FFT
    for n in range(HOP_SAMPLES):
        output[n] += tail[n]
    tail[: ENVELOPE_FFT - HOP_SAMPLES] = tail[HOP_SAMPLES:].copy()
    tail[ENVELOPE_FFT - HOP_SAMPLES :] = 0.0


class DraftStream:
    """One utterance: push frames as they come, take the samples that are certain, then `finish`."""

    def __init__(self, seed: int = 0, tuning: DraftTuning | None = None) -> None:
        self._tuning = (tuning or DraftTuning()).as_array()
        self._tables = envelope_tables()
        self._roots = twiddles(ENVELOPE_FFT)
        self._seed = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
        self._state = np.zeros(2)
        self._previous = np.zeros((2, MAX_HARMONICS))
        self._tail = np.zeros(ENVELOPE_FFT)
        self._frames = 0
        self._last_frame: F64 | None = None

    def push(self, frames: F32, phase_nudges: F32 | None = None) -> F32:
        """Renders acoustic frames, shape (n, 82); returns 200 samples per frame, 100 fewer after the first.

        phase_nudges: (n,), radians by which F0's phase is moved on the way to each frame: how training keeps the
            draft in step with a recording.
        """
        if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
            raise ValueError(f"expected frames of shape (n, {FRAME_CHANNELS}), got {frames.shape}")
        output = np.zeros((len(frames), HOP_SAMPLES))
        for index, frame in enumerate(frames.astype(np.float64)):
            self._render(frame, 0.0 if phase_nudges is None else float(phase_nudges[index]), output[index])
        samples = output.reshape(-1)
        if len(frames) and self._frames == len(frames):
            samples = samples[HALF_HOP:]
        return samples.astype(np.float32)

    def finish(self) -> F32:
        """The last 100 samples, the last frame held; nothing when no frame was pushed."""
        if self._last_frame is None:
            return np.zeros(0, np.float32)
        output = np.zeros(HOP_SAMPLES)
        self._render(self._last_frame, 0.0, output)
        self._last_frame = None
        return output[:HALF_HOP].astype(np.float32)

    def _render(self, frame: F64, nudge: float, output: F64) -> None:
        tables = self._tables
        _render_frame(
            frame,
            self._frames * HOP_SAMPLES - HALF_HOP,
            self._seed,
            nudge,
            self._frames == 0,
            self._state,
            self._previous,
            self._tail,
            self._tuning,
            tables.left,
            tables.weight,
            tables.phase,
            tables.nearest,
            tables.offset,
            tables.response,
            tables.first_band,
            tables.last_band,
            self._roots,
            output,
        )
        self._frames += 1
        self._last_frame = frame


class DraftEngine:
    """Makes streams; holds nothing but tables, so one serves all threads."""

    name: Final = "draft"

    def __init__(self, tuning: DraftTuning | None = None) -> None:
        self._tuning = tuning or DraftTuning()

    def stream(self, *, seed: int = 0) -> DraftStream:
        return DraftStream(seed, self._tuning)

    def synthesize(self, frames: F32, seed: int = 0) -> F32:
        """All samples of acoustic frames (n, 82) at once, shape (n * 200,), float32."""
        stream = self.stream(seed=seed)
        return np.concatenate([stream.push(frames), stream.finish()])
