"""The demonstration's own parts: its persona, its pictures, its chart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from likeness._demo.chart import draw_speech
from likeness._demo.pictures import ASTRONAUT, GROUP, GUEST, DemoPicture, side_by_side
from likeness._demo.walk import PERSONA, SENTENCE, timed
from services.common.audio import SAMPLE_RATE_HZ, track_pitch
from services.common.decode import decode_audio, decode_picture
from services.common.errors import LikenessError


def test_the_persona_is_a_usable_reference() -> None:
    data = PERSONA.read_bytes()
    audio = decode_audio(data)
    assert len(data) < 300_000
    assert audio.sample_rate_hz == SAMPLE_RATE_HZ and 8 < audio.duration_s < 12
    assert 0.3 < np.abs(audio.samples).max() < 0.99
    log_f0, voicing = track_pitch(audio.samples)
    f0_hz = np.exp(np.median(log_f0[voicing >= 0.5]))
    assert 150 < f0_hz < 200, "ten semitones above rms, which speaks at 100 Hz"


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_persona_can_be_made_again(tmp_path: Path) -> None:
    out = tmp_path / "persona.flac"
    subprocess.run(
        [sys.executable, str(PERSONA.with_name("make.py")), "--out", str(out)], check=True, capture_output=True
    )
    again, committed = decode_audio(out.read_bytes()).samples, decode_audio(PERSONA.read_bytes()).samples
    assert again.shape == committed.shape
    assert np.corrcoef(again, committed)[0, 1] > 0.999


@pytest.mark.parametrize(("picture", "shape"), [(ASTRONAUT, (512, 512, 3)), (GROUP, (886, 1280, 3))])
def test_the_pictures_are_in_installed_packages(picture: DemoPicture, shape: tuple[int, ...]) -> None:
    assert decode_picture(picture.path.read_bytes()).shape == shape


def test_a_part_of_a_picture() -> None:
    part = decode_picture(GUEST.content())
    left, top, width, height = GUEST.part or (0, 0, 0, 0)
    assert part.shape == (height, width, 3)
    assert np.array_equal(part, GROUP.pixels()[top : top + height, left : left + width])
    assert ASTRONAUT.content() == ASTRONAUT.path.read_bytes()


def test_side_by_side() -> None:
    compared = decode_picture(side_by_side([GUEST.pixels(), ASTRONAUT.pixels()], height_px=100, gap_px=10))
    assert compared.shape == (100, 100 + 10 + 100, 3)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(LikenessError, match="no_such_package"):
        _ = DemoPicture("x", "no_such_package", "x.png", "nowhere").path


def test_the_chart_shows_what_is_heard(tmp_path: Path) -> None:
    """A tone of 1 kHz that stops half way: the bright band lies at the tick of 1 kHz, in the left half only."""
    times_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    samples = (0.5 * np.sin(2 * np.pi * 1000 * times_s) * (times_s < 1)).astype(np.float32)
    draw_speech(samples, SENTENCE, tmp_path / "chart.png")
    picture = cv2.imread(str(tmp_path / "chart.png"))
    assert picture is not None and picture.shape == (750, 1500, 3)
    spectrogram = picture[260:660, 100:1380].astype(int).sum(axis=2)
    left, right = spectrogram[:, :500], spectrogram[:, 780:]
    assert left.max() > 500 > 3 * right.min() and right.mean() < 30
    brightest_row = 260 + int(left.mean(axis=1).argmax())
    assert 500 < brightest_row < 560, "the tick of 1 kHz"


def test_timed_keeps_the_time_of_a_failure_too() -> None:
    timings_s: dict[str, float] = {}
    with pytest.raises(RuntimeError), timed(timings_s, "step"):
        raise RuntimeError
    assert 0 <= timings_s["step"] < 1
