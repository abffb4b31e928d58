"""Recordings -> what training reads: samples, acoustic frames, the draft in step with the recording.

    python -m services.vocoder.prepare --speech-dir DIR --out data/vocoder [--split train]

DIR holds manifest.tsv (path, corpus, speaker, split, seconds) and the audio files it names. Preparation appends, so
an interrupted run goes on where it stopped, and training can begin on what is there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, acoustic_frames
from services.common.corpus import Recording as ManifestRow
from services.common.corpus import read_manifest, training_recordings
from services.common.decode import decode_audio
from services.common.errors import LikenessError
from services.vocoder.alignment import phase_nudges
from services.vocoder.conditioning import DRAFT_TUNING
from services.vocoder.draft import DraftEngine

SHORTEST_FRAMES: Final = 60  # 0.75 s: the shortest recording that is kept

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """One line of index.jsonl: where a recording lies in the three arrays."""

    path: str
    corpus: str
    speaker: str
    first_frame: int
    frames: int


class Corpus:
    """A prepared split, memory-mapped: `samples` and `draft` int16 (frames * 200,), `frames` float16 (frames, 82)."""

    def __init__(self, folder: Path) -> None:
        lines = (folder / "index.jsonl").read_text().splitlines() if (folder / "index.jsonl").exists() else []
        self.recordings = [Recording(**json.loads(line)) for line in lines]
        if not self.recordings:
            raise FileNotFoundError(f"{folder} holds no prepared recordings: run services.vocoder.prepare first")
        self.samples: NDArray[np.int16] = np.memmap(folder / "samples.s16", np.int16, "r")
        self.draft: NDArray[np.int16] = np.memmap(folder / "draft.s16", np.int16, "r")
        flat = np.memmap(folder / "frames.f16", np.float16, "r")
        whole = flat.size // FRAME_CHANNELS
        self.frames: NDArray[np.float16] = flat[: whole * FRAME_CHANNELS].reshape(-1, FRAME_CHANNELS)


def draft_in_step(engine: DraftEngine, samples: F32, frames: F32, seed: int) -> F32:
    """The draft of a recording with its fundamental turned to the recording's phase, shape (T * 200,)."""
    free = engine.synthesize(frames, seed)
    stream = engine.stream(seed=seed)
    return np.concatenate([stream.push(frames, phase_nudges(samples, free, frames)), stream.finish()])


def to_s16(samples: F32) -> NDArray[np.int16]:
    return np.asarray(np.round(np.clip(samples, -1, 1) * 32767), np.int16)


def prepare_recording(engine: DraftEngine, path: Path, seed: int) -> tuple[F32, F32, F32]:
    """Samples, draft (T * 200,) and frames (T, 82) of one file; whole frames only."""
    samples = decode_audio(path.read_bytes()).samples
    samples = samples[: samples.size // HOP_SAMPLES * HOP_SAMPLES]
    if samples.size < SHORTEST_FRAMES * HOP_SAMPLES:
        raise LikenessError("SPEECH_TOO_SHORT", f"{path} is shorter than {SHORTEST_FRAMES} frames")
    frames = acoustic_frames(samples)
    return samples, draft_in_step(engine, samples, frames, seed), frames


def _whole_frames(folder: Path) -> int:
    """Frames that are complete in all three arrays according to the index; cuts off what a killed run left half."""
    index = folder / "index.jsonl"
    lines = index.read_text().splitlines() if index.exists() else []
    last = Recording(**json.loads(lines[-1])) if lines else None
    frames = last.first_frame + last.frames if last else 0
    for name, size in (("samples.s16", 2 * HOP_SAMPLES), ("draft.s16", 2 * HOP_SAMPLES), ("frames.f16", 164)):
        with (folder / name).open("ab") as file:
            file.truncate(frames * size)
    return frames


class SplitWriter:
    """Appends recordings to the three arrays of a split, and a line for each to its index."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.frames = _whole_frames(folder)
        index = folder / "index.jsonl"
        self.paths = {json.loads(line)["path"] for line in index.read_text().splitlines()} if index.exists() else set()

    def add(self, name: str, row: ManifestRow, samples: F32, draft: F32, frames: F32) -> None:
        """Samples and draft (T * 200,) and frames (T, 82) of a row of the manifest."""
        for file_name, array in (
            ("samples.s16", to_s16(samples)),
            ("draft.s16", to_s16(draft)),
            ("frames.f16", frames.astype(np.float16)),
        ):
            with (self._folder / file_name).open("ab") as file:
                file.write(array.tobytes())
        line = Recording(name, row.corpus, row.speaker, self.frames, len(frames))
        with (self._folder / "index.jsonl").open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")
        self.frames += len(frames)
        self.paths.add(name)


def prepare(speech_dir: Path, out: Path, split: str) -> int:
    """Appends every recording of the split that is not there yet; returns how many frames the split now holds."""
    recordings = read_manifest(speech_dir)
    if split == "train":
        rows = training_recordings(recordings)  # without the speakers that are held out for evaluation
    else:
        rows = [recording for recording in recordings if recording.split == split]
    random.Random(0).shuffle(rows)  # noqa: S311 - so that a part of the split is a fair sample of it
    writer = SplitWriter(out / split)
    engine = DraftEngine(DRAFT_TUNING)
    for number, row in enumerate(rows):
        name = str(row.path.relative_to(speech_dir))
        if name in writer.paths:
            continue
        try:
            samples, draft, frames = prepare_recording(engine, row.path, seed=number)
        except LikenessError as error:
            print(f"left out {name}: {error}", file=sys.stderr)
            continue
        writer.add(name, row, samples, draft, frames)
        if number % 100 == 0:
            print(f"{split}: {number} of {len(rows)} recordings, {writer.frames / 80 / 3600:.2f} h", flush=True)
    return writer.frames


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare recordings for vocoder training")
    parser.add_argument("--speech-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("data/vocoder"))
    parser.add_argument("--split", action="append", help="train and dev by default")
    arguments = parser.parse_args()
    for split in arguments.split or ["dev", "train"]:
        frames = prepare(arguments.speech_dir, arguments.out, split)
        print(f"{split}: {frames} frames, {frames / 80 / 3600:.2f} h")


if __name__ == "__main__":
    main()
