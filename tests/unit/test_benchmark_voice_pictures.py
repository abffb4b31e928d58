"""The sheet of pictures: who is on it, and that it is small."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.voice_pictures import PAIRS, Pair, choose, draw, spectrogram_db, trimmed
from services.common.audio import SAMPLE_RATE_HZ

pytest.importorskip("matplotlib")


def test_five_held_out_speakers_whose_shown_recording_is_not_in_their_reference(tmp_path: Path) -> None:
    rows = ["path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext"]
    for speaker in range(8):
        split = "dev" if speaker < 6 else "train"
        rows += [f"s{speaker}/{n}.opus\ttoy\ts{speaker}\tf\t30\t{split}\t3.5\tHELLO {n}" for n in range(6)]
    (tmp_path / "manifest.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    chosen = choose(tmp_path)
    assert len({shown.speaker for shown, _ in chosen}) == PAIRS
    for shown, reference in chosen:
        assert shown.split == "dev"
        assert shown not in reference and {r.speaker for r in reference} == {shown.speaker}
        assert sum(r.seconds for r in reference) >= 9.0


def test_too_few_speakers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.tsv").write_text("path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext\n")
    with pytest.raises(ValueError, match="held-out speakers"):
        choose(tmp_path)


def test_a_tone_is_where_its_frequency_is() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    spectrum = spectrogram_db(tone)
    assert np.argmax(spectrum.mean(axis=1)) == 1000 * 512 // SAMPLE_RATE_HZ
    silent = np.zeros(SAMPLE_RATE_HZ, np.float32)
    assert trimmed(np.concatenate([silent, tone, silent])).size == pytest.approx(1.2 * SAMPLE_RATE_HZ, rel=0.01)


def test_the_sheet_is_small() -> None:
    samples = read_audio(path_of(0))
    sheet = draw([Pair("somebody", "The old lighthouse keeper.", samples, samples)] * PAIRS)
    buffer = io.BytesIO()
    sheet.save(buffer, format="png", optimize=True)
    assert sheet.width > 900
    assert 20_000 < buffer.tell() < 500_000
