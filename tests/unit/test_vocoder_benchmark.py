"""The benchmark's measures on signals whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.vocoder import recordings
from benchmarks.vocoder_measures import analyse, griffin_lim, mel_cepstral_distortion_db, pitch_errors
from services.common.audio import HOP_SAMPLES, acoustic_frames, log_mel
from services.common.encode_audio import encode_audio
from tests.conftest import synthetic_vowels


def test_a_copy_of_itself_has_no_errors() -> None:
    one = analyse(synthetic_vowels(2.0))
    cents, differs = pitch_errors(one, one)
    assert mel_cepstral_distortion_db(one, one) == 0
    assert len(cents) > 50
    assert not cents.any()
    assert not differs.any()


def test_distortion_is_in_decibels_of_the_spectrum() -> None:
    """A cosine over the mel axis with an amplitude of d dB has a root mean square of d / sqrt(2)."""
    one = analyse(synthetic_vowels(2.0))
    tilted = one.cepstrum.copy()
    tilted[:, 3] += 2.0 * np.log(10) / 20
    tilted[:, 0] += 1.0  # loudness alone does not count
    other = type(one)(one.f0_hz, tilted, one.level_db)
    assert mel_cepstral_distortion_db(one, other) == pytest.approx(2.0 * np.sqrt(2) / 2, rel=1e-6)


def test_a_semitone_is_a_hundred_cents() -> None:
    low = analyse(synthetic_vowels(3.0, f0_hz=120))
    high = analyse(synthetic_vowels(3.0, f0_hz=120 * 2 ** (1 / 12)))
    cents, differs = pitch_errors(low, high)
    assert float(np.median(cents)) == pytest.approx(100, abs=4)
    assert differs.mean() < 0.15


def test_griffin_lim_finds_a_signal_with_the_mel() -> None:
    samples = synthetic_vowels(1.5)
    frames = acoustic_frames(samples)
    copy = griffin_lim(frames, iterations=20)
    assert copy.size == len(frames) * HOP_SAMPLES
    loud = frames[:, :80] > -4
    assert float(np.abs(log_mel(copy) - frames[:, :80])[loud].mean()) < 0.4


def test_only_held_out_recordings_are_copied_speakers_in_turn(tmp_path: Path) -> None:
    rows = ["path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext"]
    for name, speaker, split, seconds in (
        ("a1", "a", "dev", 3.0),
        ("a2", "a", "dev", 4.0),
        ("b1", "b", "dev", 3.1),
        ("b2", "b", "dev", 1.0),
        ("c1", "c", "train", 3.0),
    ):
        (tmp_path / f"{name}.wav").write_bytes(encode_audio(synthetic_vowels(seconds), "wav"))
        rows.append(f"{name}.wav\tmade\t{speaker}\tf\t30\t{split}\t{seconds}\t")
    (tmp_path / "manifest.tsv").write_text("\n".join(rows) + "\n")
    seconds_found = [samples.size / 16_000 for samples in recordings(tmp_path, 10)]
    assert seconds_found == pytest.approx([4.0, 3.1, 3.0], abs=0.0125)
    assert len(recordings(tmp_path, 2)) == 2


def test_without_a_folder_the_persona_is_copied() -> None:
    assert 1 <= len(recordings(None, 2)) <= 2
