"""A picture of speech: waveform above, log-mel spectrogram with the pitch track below."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, log_mel, track_pitch
from services.common.audio.mel import mel_edges_hz

INK: Final = "#1f2430"
MUTED: Final = "#6b7280"
WAVE: Final = "#3b6ea5"
PITCH: Final = "#7df9ff"
TICKS_HZ: Final = (100, 500, 1000, 2000, 4000, 7000)
PITCH_RANGE_HZ: Final = (60.0, 420.0)
DYNAMIC_RANGE: Final = 7.0  # natural log units below the loudest cell, about 60 dB


def draw_speech(samples: NDArray[np.float32], title: str, path: Path) -> None:
    """Writes a PNG of mono samples (n,) at 16 kHz."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.edgecolor": MUTED}
    style |= {"axes.labelcolor": INK, "xtick.color": MUTED, "ytick.color": MUTED}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure, (above, below) = pyplot.subplots(
            2, 1, figsize=(10, 5), dpi=150, sharex=True, layout="constrained", height_ratios=(1, 2.6)
        )
        _draw_waveform(above, samples)
        _draw_spectrogram(below, samples)
        above.set_title(title, loc="left", fontsize=10, wrap=True)
        below.set_xlim(0.0, len(samples) / SAMPLE_RATE_HZ)
        figure.savefig(path)
        pyplot.close(figure)


def _draw_waveform(axes: Any, samples: NDArray[np.float32]) -> None:
    """The envelope of the waveform: minimum and maximum of every 5 ms, so that no peak is lost in drawing."""
    block = SAMPLE_RATE_HZ // 200
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    times_s = (np.arange(len(blocks)) + 0.5) * block / SAMPLE_RATE_HZ
    axes.fill_between(times_s, blocks.min(axis=1), blocks.max(axis=1), color=WAVE, linewidth=0)
    axes.set_ylim(-1.0, 1.0)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel("amplitude")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _draw_spectrogram(axes: Any, samples: NDArray[np.float32]) -> None:
    mel = log_mel(samples)  # (T, 80)
    top = float(mel.max())
    axes.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, len(mel) * HOP_SAMPLES / SAMPLE_RATE_HZ, 0.0, MEL_BINS),
        vmin=top - DYNAMIC_RANGE,
        vmax=top,
        interpolation="bilinear",
    )
    axes.set_yticks([_mel_bin(hz) for hz in TICKS_HZ], [f"{hz / 1000:g}" for hz in TICKS_HZ])
    axes.set_ylabel("frequency (kHz, mel scale)")
    axes.set_xlabel("time (s)")

    pitch_axes = axes.twinx()
    log_f0, voicing = track_pitch(samples)
    f0_hz = np.where(voicing >= 0.5, np.exp(log_f0), np.nan)
    times_s = (np.arange(len(f0_hz)) + 0.5) * HOP_SAMPLES / SAMPLE_RATE_HZ
    pitch_axes.plot(times_s, f0_hz, color=PITCH, linewidth=1.4, solid_capstyle="round")
    pitch_axes.set_ylim(*PITCH_RANGE_HZ)
    pitch_axes.set_ylabel("pitch (Hz)", color="#0e7490")
    pitch_axes.tick_params(axis="y", colors="#0e7490")


def _mel_bin(hz: float) -> float:
    """Where a frequency lies on the picture's vertical axis, in bins."""
    centres_hz = mel_edges_hz()[1:-1]
    return float(np.interp(hz, centres_hz, np.arange(MEL_BINS) + 0.5))
