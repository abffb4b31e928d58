"""A voice learns from ten or more recordings: `python -m services.synthesizer.adapt --voice DIR --out FILE`.

DIR holds recordings of one consenting person and what is said in them (`adapt_clips`). Every fifth is kept back, and
decides how long is learned. FILE, 4.2 kB, is installed by `likeness voices adapt VOICE FILE`; without a gain
there is none. It takes a few minutes of one core and needs the `train` extra. The person's voice must be enrolled to be
spoken with: a file alone speaks nothing.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import torch

from services.common.adaptation import VoiceAdaptation
from services.common.adaptation_file import AdaptationFile, write_adaptation
from services.common.audio import SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.recognition import recognise, word_errors, words
from services.common.settings import CommonSettings
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, shape_basis
from services.common.speaker_space import FORMANT_WARPS
from services.encoder.encoder import encode_speech
from services.encoder.model import MODEL_NAME as ENCODER
from services.encoder.model import SpeakerNetwork
from services.synthesizer.adapt_clips import Clip, read_clips
from services.synthesizer.adapt_hear import Heard, hear, read_network
from services.synthesizer.adapt_learn import ParallelLoss, Progress, learn
from services.synthesizer.adapt_pairs import pair
from services.synthesizer.engine import Synthesizer
from services.synthesizer.network import Network
from services.synthesizer.sentences import grammar_sentences
from services.vocoder.draft import DraftEngine
from services.vocoder.engines import Engine

KEPT_BACK: Final = 5  # every so many-th recording is not learned from
SENTENCE_COUNT: Final = 24  # spoken to learn from, and
PROOF_COUNT: Final = 6  # to prove it with
SENTENCE_WORDS: Final = (6, 14)
SEED: Final = 5
PAUSE_SAMPLES: Final = SAMPLE_RATE_HZ // 5
WORDS_TO_LOSE: Final = 0.05  # more of the proof's words than before the recogniser may not lose
REFUSED: Final = -1.0  # less than any cosine
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Adapted:
    """The outcome.

    Attributes:
        profile: of the recordings learned from, with its adaptation.
        similarity_before, similarity: cosine to the recordings kept back, of sentences that were not learned from.
    """

    profile: SpeakerProfile
    similarity_before: float
    similarity: float
    progress: tuple[Progress, ...]
    clips: int
    seconds: float

    def file(self) -> AdaptationFile:
        """What is written: see `services.common.adaptation_file`.

        Raises:
            LikenessError: ADAPTATION_REFUSED when nothing was gained.
        """
        if self.profile.adaptation is None or self.similarity <= self.similarity_before:
            detail = f"Nothing learned made the voice more alike (cosine {self.similarity_before:.3f} before)."
            raise LikenessError("ADAPTATION_REFUSED", detail)
        return AdaptationFile(
            self.profile.embedding, self.profile.adaptation, self.clips, self.similarity_before, self.similarity
        )


class Adapter:
    """The models that an adaptation takes."""

    def __init__(self, models_dir: Path) -> None:
        registry = Registry(models_dir)
        self.network = Network(registry)
        self.synthesizer = Synthesizer(self.network)
        self.engine = Engine(DraftEngine())
        self._encoder = SpeakerNetwork(registry.path(ENCODER), threads=1)
        self.differentiable = read_network(registry.path(ENCODER))

    def adapt(self, clips: Sequence[Clip]) -> Adapted:
        """Learns from the clips of one person.

        Raises:
            LikenessError: SPEECH_TOO_SHORT when there is too little speech in the clips, or in those kept back.
        """
        learned_from = [clip for number, clip in enumerate(clips) if number % KEPT_BACK]
        kept_back = self.embed(joined([clip.samples for clip in clips[::KEPT_BACK]]))
        sentences = [s for s in grammar_sentences_of(SENTENCE_COUNT + PROOF_COUNT)]
        proof, spoken = sentences[:PROOF_COUNT], sentences[PROOF_COUNT:] + [clip.text for clip in learned_from]
        unadapted = self._with_warp(self.profile_of(learned_from), proof)
        space = self.synthesizer.voice_space(unadapted)
        pairs = [
            pair(self.synthesizer.plain_frames(clip.text, SEED), acoustic_frames(clip.samples), unadapted, space)
            for clip in learned_from
        ]
        _log.info("%d clips aligned, %d frames", len(pairs), sum(len(item.shares) for item in pairs))
        base = starting_point(unadapted, self.network.version)

        most_errors = self._word_error_rate(unadapted, proof) + WORDS_TO_LOSE

        def voice(offsets: FloatArray) -> SpeakerProfile:
            return replace(unadapted, adaptation=replace(base, offsets=base.offsets + offsets))

        def judge(offsets: FloatArray) -> float:
            if self._word_error_rate(voice(offsets), proof) > most_errors:
                return REFUSED
            return self.similarity(voice(offsets), proof, kept_back)

        best, progress = learn(
            ParallelLoss(pairs),
            unadapted.embedding,
            space.unit,
            self.differentiable,
            lambda offsets: [self._hear(text, voice(offsets)) for text in spoken],
            judge,
            report=_report,
        )
        similarities = [item.similarity for item in progress]
        seconds = sum(clip.samples.size for clip in learned_from) / SAMPLE_RATE_HZ
        return Adapted(voice(best), similarities[0], max(similarities), progress, len(learned_from), seconds)

    def profile_of(self, clips: Sequence[Clip]) -> SpeakerProfile:
        """As at an enrolment, before any calibration."""
        encoded = encode_speech(joined([clip.samples for clip in clips]), self._encoder.embed)
        if encoded.statistics is None:
            raise AssertionError("the encoder was asked for statistics")
        return SpeakerProfile(encoded.embedding, **vars(encoded.statistics), sounds=encoded.sounds)

    def embed(self, samples: FloatArray, *, synthesized: bool = False) -> FloatArray:
        """Embedding (256,) of 16 kHz samples (n,)."""
        return encode_speech(samples, self._encoder.embed, embedding_only=True, surely_speech=synthesized).embedding

    def similarity(self, speaker: SpeakerProfile, texts: Sequence[str], target: FloatArray) -> float:
        """Mean cosine of sentences, as they would be served, to an embedding."""
        cosines = [self.embed(self.speak(text, speaker), synthesized=True) @ target for text in texts]
        return float(np.mean(cosines))

    def _word_error_rate(self, speaker: SpeakerProfile, texts: Sequence[str]) -> float:
        errors = sum(word_errors(words(text), recognise(self.speak(text, speaker))) for text in texts)
        return errors / sum(len(words(text)) for text in texts)

    def speak(self, text: str, speaker: SpeakerProfile) -> FloatArray:
        """Samples (n,) of the source-filter engine."""
        frames = np.concatenate([chunk.frames for chunk in self.synthesizer.synthesize(text, speaker)])
        return self.engine.synthesize(frames)

    def _with_warp(self, profile: SpeakerProfile, texts: Sequence[str]) -> SpeakerProfile:
        warped = [replace(profile, formant_warp=warp) for warp in FORMANT_WARPS]
        return max(warped, key=lambda tried: self.similarity(tried, texts[:2], profile.embedding))

    def _hear(self, text: str, speaker: SpeakerProfile) -> Heard:
        plain = self.synthesizer.plain_frames(text, SEED)
        space = self.synthesizer.voice_space(speaker)
        samples = self.engine.synthesize(space(plain))
        return hear(samples, space.memberships(plain) * space.speech_share(plain))


def _report(done: Progress) -> None:
    if done.similarity == REFUSED:
        _log.info("after %d steps: words are lost", done.steps)
    else:
        _log.info("after %d steps: cosine %.4f", done.steps, done.similarity)


def starting_point(profile: SpeakerProfile, network: str) -> VoiceAdaptation:
    """The adaptation that speaks as the profile does."""
    offsets = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    moved = profile.sound_offsets()
    return VoiceAdaptation(
        network=network,
        log_f0_median=profile.log_f0_median,
        log_f0_spread=profile.log_f0_spread,
        mel_mean=profile.mel_mean,
        mel_spread=profile.mel_spread,
        formant_warp=profile.formant_warp,
        offsets=offsets if moved is None else moved @ shape_basis().T,
    )


def grammar_sentences_of(count: int) -> list[str]:
    """So many sentences of the training grammar, the same every time, each of one phrase or so."""
    low, high = SENTENCE_WORDS
    fitting = (text for text in grammar_sentences(Random(SEED)) if low <= len(text.split()) <= high)  # noqa: S311
    return list(islice(fitting, count))


def joined(clips: Sequence[FloatArray]) -> FloatArray:
    """Recordings (n,) end to end, with a short pause after each."""
    pause = np.zeros(PAUSE_SAMPLES, np.float32)
    return np.concatenate([piece for clip in clips for piece in (clip, pause)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.adapt", description=__doc__)
    parser.add_argument("--voice", type=Path, required=True, metavar="DIR", help="recordings and transcripts")
    parser.add_argument("--out", type=Path, default=Path("voice.safetensors"), metavar="FILE")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    torch.set_num_threads(options.threads)
    started_s = time.perf_counter()
    try:
        adapted = Adapter(CommonSettings().models_dir).adapt(read_clips(options.voice))
        write_adaptation(options.out, adapted.file())
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(
        f"{options.out}: {adapted.clips} clips, {adapted.seconds:.0f} s; cosine to the others "
        f"{adapted.similarity_before:.3f} -> {adapted.similarity:.3f} in {time.perf_counter() - started_s:.0f} s"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
