"""Recorded speech becomes training data: aligned, cut, filtered, and never of those who are held out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.sentences import SENTENCES
from services.common.audio import FRAME_CHANNELS, SAMPLE_RATE_HZ
from services.common.corpus import Recording
from services.synthesizer.corpus_writer import Made
from services.synthesizer.forced import ForcedAligner
from services.synthesizer.prepare import main
from services.synthesizer.recorded import LOUDNESS_DB, loudness_normalised, make_recorded
from services.synthesizer.sentences import tokens_of
from services.synthesizer.text.symbols import SYMBOL_IDS

WRONG = 7  # its transcript is another sentence's


@pytest.fixture(scope="module")
def speech_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada reads five sentences, one of which was written down wrongly; Ben one; Dev is held out."""
    folder = tmp_path_factory.mktemp("speech")
    rows = ["path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext"]
    for index, speaker in ((0, "ada"), (1, "ada"), (2, "ada"), (3, "ada"), (WRONG, "ada"), (5, "ben"), (6, "dev")):
        shutil.copy(path_of(index), folder / f"{index}.opus")
        text = SENTENCES[30 if index == WRONG else index].upper()
        split = "dev" if speaker == "dev" else "train"
        rows.append(f"{index}.opus\ttoy\t{speaker}\tm\t40\t{split}\t3.0\t{text}")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def recording(index: int, text: str) -> Recording:
    return Recording(path_of(index), "toy", "ada", "train", 3.0, text)


def test_a_folder_of_recordings_becomes_a_corpus_and_can_be_added_to(speech_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = ["--out", str(out), "--hours", "0", "--recorded", "--speech-dir", str(speech_dir), "--workers", "1"]
    assert main(arguments) == 0
    lines = [json.loads(line) for line in (out / "utterances.jsonl").read_text().splitlines()]
    assert [line["speaker"] for line in lines] == ["ada"] * 4
    assert {line["voice"] for line in lines} == {"recorded"}
    card = json.loads((out / "card.json").read_text())
    left_out = card["recorded"]["left_out"]
    assert left_out.pop("little_of_speaker") == 1  # Ben's
    assert left_out in ({"score": 1}, {"unaligned": 1})  # the wrong one
    assert card["recorded"]["recordings"] == 6  # none of Dev's
    frames = np.fromfile(out / "frames.f16", np.float16).reshape(-1, FRAME_CHANNELS)
    assert len(frames) == sum(line["frame_count"] for line in lines)
    for line in lines:
        assert sum(line["durations"]) == pytest.approx(line["frame_count"], abs=0.1)
        assert all(symbol in SYMBOL_IDS for symbol in line["symbols"])
    before = frames.tobytes()
    assert main([*arguments, "--append"]) == 0
    again = [json.loads(line) for line in (out / "utterances.jsonl").read_text().splitlines()]
    assert [line["first_frame"] for line in again[4:]] == [len(frames) + line["first_frame"] for line in lines]
    assert (out / "frames.f16").read_bytes() == before * 2
    assert json.loads((out / "card.json").read_text())["hours"] == pytest.approx(2 * card["hours"], abs=0.002)


def test_a_wrong_transcript_is_left_out_and_the_right_one_kept() -> None:
    assert make_recorded(recording(3, SENTENCES[8])) in ("score", "unaligned")
    assert make_recorded(recording(3, "...")) == "no_words"
    made = make_recorded(recording(3, SENTENCES[3]))
    assert isinstance(made, Made)
    voicing = made.frames[:, -1].astype(np.float32)
    ends = np.cumsum(made.utterance.durations)
    middles = (ends - 0.5 * np.array(made.utterance.durations)).astype(int)
    stressed = [voicing[m] for m, s in zip(middles, made.utterance.symbols, strict=True) if s[-1] == "1"]
    assert np.mean(np.array(stressed) >= 0.5) > 0.8  # timings fit the sound: stressed vowels are voiced


def test_loud_and_soft_recordings_come_out_alike() -> None:
    samples = read_audio(path_of(16))
    alignment = ForcedAligner().align(samples, tokens_of(SENTENCES[16]))
    assert alignment is not None
    soft, loud = (loudness_normalised(samples * gain, alignment) for gain in (0.02, 0.9))
    np.testing.assert_allclose(soft, loud, atol=1e-4)
    words = alignment.words
    spoken = soft[round(words[0].start_s * SAMPLE_RATE_HZ) : round(words[-1].end_s * SAMPLE_RATE_HZ)]
    assert 20 * np.log10(np.sqrt(np.mean(spoken**2))) == pytest.approx(LOUDNESS_DB, abs=0.5)


def test_recordings_without_their_folder_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--recorded"])
    assert "--speech-dir" in capsys.readouterr().err
