"""Frames that the synthesizer predicts for a recording, and training that draws from them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from benchmarks.flite_reference import path_of, read_audio  # noqa: E402
from benchmarks.sentences import SENTENCES  # noqa: E402
from services.common.audio import HOP_SAMPLES, MEL_BINS, acoustic_frames  # noqa: E402
from services.common.encode_audio import encode_audio  # noqa: E402
from services.synthesizer.model import ModelConfig, Synthesizer  # noqa: E402
from services.synthesizer.recorded import STYLE  # noqa: E402
from services.vocoder.config import WaveNetConfig  # noqa: E402
from services.vocoder.predicted import Predictor, prepare_predicted  # noqa: E402
from services.vocoder.prepare import Corpus  # noqa: E402
from services.vocoder.train import TrainingOptions, _batches, _samplers  # noqa: E402
from tests.unit.test_synthesizer_space import make_profile  # noqa: E402

SMALL = ModelConfig(
    styles=("rms", STYLE), width=16, convolutions=1, style_width=4, speaker_width=4, duration_width=8, prenet_width=8,
    decoder_width=16, postnet_width=8, postnet_convolutions=2,
)  # fmt: skip


def write_run(folder: Path, config: ModelConfig) -> Path:
    """A folder as `services.synthesizer.train` leaves it, of an untrained network."""
    folder.mkdir()
    torch.manual_seed(0)
    save_file(Synthesizer(config).state_dict(), folder / "best.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(config)))
    return folder


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two transcribed recordings, one of a speaker that the synthesizer's data lacks."""
    folder = tmp_path / "speech"
    folder.mkdir()
    rows = ["path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext"]
    for number, speaker in enumerate(("known", "unknown")):
        (folder / f"{number}.wav").write_bytes(encode_audio(read_audio(path_of(number)), "wav"))
        rows.append(f"{number}.wav\tmade\t{speaker}\tm\t40\ttrain\t3.0\t{SENTENCES[number]}")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    profiles = tmp_path / "speakers.json"
    profiles.write_text(json.dumps({"known": json.loads(make_profile(0).to_json())}))
    return Predictor(write_run(tmp_path / "run", SMALL), profiles)


def test_predicted_frames_keep_to_the_recording(speech: Path, predictor: Predictor, tmp_path: Path) -> None:
    count = prepare_predicted(speech, predictor, tmp_path / "data")
    assert prepare_predicted(speech, predictor, tmp_path / "data") == count  # everything is there
    prepared = Corpus(tmp_path / "data" / "predicted")
    assert [recording.path for recording in prepared.recordings] == ["0.wav"]
    assert prepared.samples.size == prepared.draft.size == len(prepared.frames) * HOP_SAMPLES == count * HOP_SAMPLES
    true = acoustic_frames(prepared.samples.astype(np.float32) / 32768)
    frames = prepared.frames.astype(np.float32)
    voiced = (true[:, MEL_BINS + 1] > 0.5) & (frames[:, MEL_BINS + 1] > 0.5)
    assert voiced.sum() > 40
    np.testing.assert_allclose(frames[voiced, MEL_BINS], true[voiced, MEL_BINS], atol=0.02)
    assert np.abs(frames[:, :MEL_BINS] - true[:, :MEL_BINS]).mean() > 0.1  # these are another's


def test_a_synthesizer_without_recorded_speech_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "plain", replace(SMALL, styles=("rms",)))
    (tmp_path / "speakers.json").write_text("{}")
    with pytest.raises(ValueError, match="knows no recorded speech, only rms"):
        Predictor(run, tmp_path / "speakers.json")


def test_training_draws_the_share_that_is_asked_for(speech: Path, predictor: Predictor, tmp_path: Path) -> None:
    prepare_predicted(speech, predictor, tmp_path)
    (tmp_path / "train").symlink_to(tmp_path / "predicted")
    options = TrainingOptions(
        tmp_path, tmp_path, minutes=0, steps=1, resume=False, batch_size=4, intervals=8, predicted_share=0.25
    )
    samplers = _samplers(options, WaveNetConfig())
    assert [size for _, size in samplers] == [3, 1]
    assert len(next(_batches(samplers, options, 0)).target) == 4
    assert [size for _, size in _samplers(replace(options, predicted_share=0.0), WaveNetConfig())] == [4]
