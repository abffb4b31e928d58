"""Transcribed recordings with the frames that the synthesizer predicts for them: what the vocoder meets in serving.

    python -m services.vocoder.predicted --speech-dir DIR --run RUN --profiles SPEAKERS --out data/vocoder

RUN is a folder of `services.synthesizer.train` whose network knows recorded speech; SPEAKERS the speakers.json of the
data it was trained on. Phones are timed by force, and the network is told the true frame before each step,
so that its frames keep to the recording. The 80 mels are the prediction; pitch and voicing stay the recording's, and
the draft with them in step. The split `predicted` is written beside `train`, and training draws from both.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from services.common.audio import HOP_SAMPLES, MEL_BINS
from services.common.corpus import read_manifest, training_recordings
from services.common.profile import SpeakerProfile
from services.common.speaker_space import MIN_MEL_SPREAD, normalise
from services.synthesizer.corpus_writer import Made
from services.synthesizer.model import ModelConfig, Synthesizer
from services.synthesizer.recorded import STYLE, make_recorded
from services.synthesizer.text.symbols import SYMBOL_IDS
from services.vocoder.conditioning import DRAFT_TUNING
from services.vocoder.draft import DraftEngine
from services.vocoder.prepare import SHORTEST_FRAMES, SplitWriter, draft_in_step

SPLIT: Final = "predicted"

F32 = NDArray[np.float32]


class Predictor:
    """The synthesizer, told what was said, when, by whom, and each frame before."""

    def __init__(self, run: Path, profiles: Path) -> None:
        stored = json.loads((run / "config.json").read_text(encoding="utf-8"))
        config = ModelConfig(**stored | {"styles": tuple(stored["styles"])})
        if STYLE not in config.styles:
            raise ValueError(f"{run} knows no recorded speech, only {', '.join(config.styles)}")
        self._style = torch.tensor([config.styles.index(STYLE)])
        self._model = Synthesizer(config).eval()
        self._model.load_state_dict(load_file(run / "best.safetensors"))
        speakers = json.loads(profiles.read_text(encoding="utf-8"))
        self._profiles = {name: SpeakerProfile.from_json(json.dumps(fields)) for name, fields in speakers.items()}

    def knows(self, speaker: str) -> bool:
        return speaker in self._profiles

    @torch.no_grad()
    def frames(self, made: Made) -> F32:
        """Acoustic frames (T, 82) of an aligned recording: predicted mels, the recording's pitch and voicing."""
        utterance, profile = made.utterance, self._profiles[made.utterance.speaker]
        true = made.frames.astype(np.float32)
        reduction = self._model.config.reduction
        steps = -(-len(true) // reduction)
        told = torch.from_numpy(np.pad(normalise(true, profile), ((0, steps * reduction - len(true)), (0, 0))))[None]
        inputs, _ = self._model.step_inputs(
            torch.tensor([[SYMBOL_IDS[symbol] for symbol in utterance.symbols]]),
            torch.tensor([utterance.word_edges]),
            self._style,
            torch.from_numpy(profile.embedding)[None],
            torch.tensor([utterance.durations]),
            torch.tensor([len(utterance.symbols)]),
            steps,
        )
        predicted = self._model.postnet(self._model.decoder.teach(inputs, told))[0, : len(true), :MEL_BINS].numpy()
        mel = predicted * np.maximum(profile.mel_spread, MIN_MEL_SPREAD) + profile.mel_mean
        return np.concatenate([mel, true[:, MEL_BINS:]], axis=1).astype(np.float32)


def prepare_predicted(speech_dir: Path, predictor: Predictor, out: Path) -> int:
    """Appends the transcribed training recordings that are not there yet; how many frames there are now."""
    writer = SplitWriter(out / SPLIT)
    engine = DraftEngine(DRAFT_TUNING)
    rows = [row for row in training_recordings(read_manifest(speech_dir)) if row.text and predictor.knows(row.speaker)]
    random.Random(0).shuffle(rows)  # noqa: S311
    for number, row in enumerate(rows):
        name = str(row.path.relative_to(speech_dir))
        made = None if name in writer.paths else make_recorded(row)
        if not isinstance(made, Made) or len(made.frames) < SHORTEST_FRAMES:
            continue
        frames = predictor.frames(made)
        samples = np.zeros(len(frames) * HOP_SAMPLES, np.float32)
        spoken = made.samples[: samples.size]
        samples[: spoken.size] = spoken
        writer.add(name, row, samples, draft_in_step(engine, samples, frames, number), frames)
        if number % 100 == 0:
            print(f"{SPLIT}: {number} of {len(rows)} recordings, {writer.frames / 80 / 3600:.2f} h", flush=True)
    return writer.frames


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare predicted frames for vocoder training")
    parser.add_argument("--speech-dir", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder that services.synthesizer.train wrote")
    parser.add_argument("--profiles", type=Path, required=True, help="speakers.json of the synthesizer's data")
    parser.add_argument("--out", type=Path, default=Path("data/vocoder"))
    arguments = parser.parse_args()
    predictor = Predictor(arguments.run, arguments.profiles)
    frames = prepare_predicted(arguments.speech_dir, predictor, arguments.out)
    print(f"{SPLIT}: {frames} frames, {frames / 80 / 3600:.2f} h")


if __name__ == "__main__":
    main()
