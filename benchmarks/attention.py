"""Attention instead of durations in the synthesizer: which words are lost?

    python -m benchmarks.attention --data DIR --minutes 30 [--texts 100] [--sentences 50] [--start WEIGHTS]

The network that serves lays symbols out by durations. A copy of it is given dynamic convolution attention instead
(Battenberg et al. 2020, arXiv:1910.10288), and trained on: on a folder that `services.synthesizer.prepare` wrote, and
guided by the true timings. Both then say texts of one word to four hundred, and the sentences of the evaluation. One
JSON object on stdout; progress on stderr. It needs torch and the `test` extra. ADR 16 has the outcome.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.sentences import SENTENCES
from benchmarks.slips import SlipFinder, bad_share
from benchmarks.texts import some_texts
from services.common.audio import FRAME_CHANNELS, FloatArray
from services.common.models import Registry
from services.common.recognition import recognise, word_errors, words
from services.common.settings import CommonSettings
from services.synthesizer.dataset import Batch, Corpus
from services.synthesizer.engine import STYLE
from services.synthesizer.engine import Synthesizer as Serving
from services.synthesizer.model import TIMING_FEATURES, ModelConfig, Synthesizer
from services.synthesizer.network import Network
from services.synthesizer.text import analyse
from services.synthesizer.text.symbols import SYMBOL_IDS
from services.synthesizer.train import frame_loss, losses
from services.vocoder.draft import DraftEngine
from services.vocoder.engines import Engine

FILTERS: Final = 8  # static and dynamic, each
TAPS: Final = 21
ATTENTION_WIDTH: Final = 128
PRIOR: Final = (0.1, 0.9, 10)  # beta-binomial: the next step is one symbol further on average
GUIDE_WEIGHT: Final = 0.2
LEARNING_RATE: Final = 1e-3
FRAMES_PER_BATCH: Final = 6000
MAX_STEPS_PER_SYMBOL: Final = 12  # of 37.5 ms: who needs more has lost its way
END_STEPS: Final = 2  # on the last symbol, and the phrase is over
VALIDATION_UTTERANCES: Final = 32
PAUSE_FRAMES: Final = 16

Losses = Callable[[Any, Batch], dict[str, Tensor]]
Say = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # symbols, edges, style, embedding -> frames (1, T, 82)


def beta_binomial(alpha: float, beta: float, n: int) -> FloatArray:
    """Chances of 0 to n successes (n + 1,)."""
    from scipy.stats import betabinom

    return np.asarray(betabinom.pmf(np.arange(n + 1), n, alpha, beta), np.float32)


class DynamicConvolutionAttention(nn.Module):
    """Where the last step looked, and the decoder's state -> where this one looks."""

    prior: Tensor

    def __init__(self, state_width: int) -> None:
        super().__init__()
        self.static = nn.Conv1d(1, FILTERS, TAPS, padding=TAPS // 2, bias=False)
        self.dynamic = nn.Sequential(
            nn.Linear(state_width, ATTENTION_WIDTH), nn.Tanh(), nn.Linear(ATTENTION_WIDTH, FILTERS * TAPS, bias=False)
        )
        self.from_static = nn.Linear(FILTERS, ATTENTION_WIDTH, bias=False)
        self.from_dynamic = nn.Linear(FILTERS, ATTENTION_WIDTH)
        self.score = nn.Linear(ATTENTION_WIDTH, 1, bias=False)
        self.register_buffer("prior", torch.from_numpy(beta_binomial(*PRIOR)[::-1].copy())[None, None])

    def forward(self, before: Tensor, state: Tensor, mask: Tensor) -> Tensor:
        """Weights (B, L) of the step before, state (B, width), mask (B, L) -> weights (B, L)."""
        size, length = before.shape
        static = self.from_static(self.static(before[:, None]).transpose(1, 2))
        filters = self.dynamic(state).reshape(size * FILTERS, 1, TAPS)
        dynamic = functional.conv1d(
            before[None].repeat_interleave(FILTERS, 1), filters, padding=TAPS // 2, groups=size * FILTERS
        )
        dynamic = self.from_dynamic(dynamic.reshape(size, FILTERS, length).transpose(1, 2))
        likely = functional.conv1d(functional.pad(before[:, None], (self.prior.shape[-1] - 1, 0)), self.prior)[:, 0]
        scores = self.score(torch.tanh(static + dynamic))[..., 0] + torch.log(likely.clamp_min(1e-6))
        return torch.softmax(scores.masked_fill(mask == 0, -1e9), dim=-1)


class AttentiveSynthesizer(Synthesizer):
    """The served network with attention in the place of durations; the first recurrent layer's state asks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attention = DynamicConvolutionAttention(config.decoder_width)

    def encode(self, symbols: Tensor, edges: Tensor, style: Tensor, speaker: Tensor, lengths: Tensor | None) -> Tensor:
        encoded: Tensor = self.encoder(symbols, edges, self.conditions(style, speaker), lengths)[0]
        return encoded

    def look(self, encoded: Tensor, weights: Tensor, state: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Input of the next step (B, width + 2), without timing features, and where it looked (B, L)."""
        weights = self.attention(weights, state, mask)
        context = torch.einsum("bl,blw->bw", weights, encoded)
        return functional.pad(context, (0, TIMING_FEATURES)), weights

    def first_layer(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.gru_cell(x, state, *self.decoder.recurrent_1.all_weights[0])

    def beginning(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """All weight on the first symbol, and an empty state."""
        weights = encoded.new_zeros(encoded.shape[:2])
        weights[:, 0] = 1.0
        return weights, encoded.new_zeros(len(encoded), self.config.decoder_width)

    def teach(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Coarse frames (B, T, 82), each step told the true frame before, and where steps looked (B, J, L)."""
        encoded = self.encode(batch.symbols, batch.edges, batch.style, batch.speaker, batch.lengths)
        mask = (batch.symbols > 0).float()
        reduction = self.config.reduction
        before = functional.pad(batch.frames[:, reduction - 1 :: reduction][:, :-1], (0, 0, 1, 0))
        if self.training:
            before = before + 0.1 * torch.randn_like(before)
        prenet = self.decoder.prenet(before)
        weights, state = self.beginning(encoded)
        inputs, states, looked = [], [], []
        for step in range(prenet.shape[1]):
            seen, weights = self.look(encoded, weights, state, mask)
            state = self.first_layer(torch.cat([prenet[:, step], seen], dim=-1), state)
            inputs.append(seen)
            states.append(state)
            looked.append(weights)
        x = torch.stack(states, dim=1)
        y, _ = self.decoder.recurrent_2(x)
        frames = self.decoder.output(torch.cat([x + y, torch.stack(inputs, dim=1)], dim=-1))
        return frames.reshape(len(frames), -1, FRAME_CHANNELS), torch.stack(looked, dim=1)

    @torch.no_grad()
    def say(self, symbols: Tensor, edges: Tensor, style: Tensor, speaker: Tensor) -> Tensor:
        """Refined frames (1, T, 82) of a phrase (1, L); it ends when the last symbol has been looked at for a while."""
        encoded = self.encode(symbols, edges, style, speaker, None)
        mask = torch.ones_like(symbols, dtype=torch.float32)
        weights, state = self.beginning(encoded)
        second: Tensor | None = None
        before = encoded.new_zeros(1, FRAME_CHANNELS)
        made, at_end = [], 0
        for _ in range(MAX_STEPS_PER_SYMBOL * symbols.shape[1]):
            seen, weights = self.look(encoded, weights, state, mask)
            state = self.first_layer(torch.cat([self.decoder.prenet(before), seen], dim=-1), state)
            y, second = self.decoder.recurrent_2(state[:, None], second)
            frames = self.decoder.output(torch.cat([state + y[:, 0], seen], dim=-1)).reshape(1, -1, FRAME_CHANNELS)
            before = frames[:, -1]
            made.append(frames)
            at_end += int(weights.argmax()) == symbols.shape[1] - 1
            if at_end >= END_STEPS:
                break
        refined: Tensor = self.postnet(torch.cat(made, dim=1))
        return refined


@torch.no_grad()
def say_by_durations(model: Synthesizer, symbols: Tensor, edges: Tensor, style: Tensor, speaker: Tensor) -> Tensor:
    """Refined frames (1, T, 82) of a phrase (1, L), at the durations that the network predicts."""
    predicted = model.encoder(symbols, edges, model.conditions(style, speaker))[1]
    durations = torch.expm1(predicted).clamp_min(1.0)
    lengths = torch.tensor([symbols.shape[1]])
    steps = max(round(float(durations.sum()) / model.config.reduction), 1)
    inputs, _ = model.step_inputs(symbols, edges, style, speaker, durations, lengths, steps)
    refined: Tensor = model.postnet(model.decoder.generate(inputs))
    return refined


def true_symbols(batch: Batch, reduction: int) -> Tensor:
    """Which symbol is spoken in the middle of each decoder step (B, J)."""
    ends = torch.cumsum(batch.durations, dim=1)
    middles = (torch.arange(batch.frames.shape[1] // reduction) + 0.5) * reduction
    found = torch.searchsorted(ends, middles.expand(len(ends), -1).contiguous())
    return torch.minimum(found, batch.lengths[:, None] - 1)


def attentive_losses(model: AttentiveSynthesizer, batch: Batch) -> dict[str, Tensor]:
    """As `services.synthesizer.train.losses`, with a guide of the attention instead of durations."""
    coarse, looked = model.teach(batch)
    fine = model.postnet(coarse * batch.frame_mask)
    reduction = model.config.reduction
    right = looked.gather(2, true_symbols(batch, reduction)[..., None])[..., 0]
    mask = batch.frame_mask[:, ::reduction, 0]
    guide = -(torch.log(right.clamp_min(1e-6)) * mask).sum() / mask.sum()
    coarse_loss, fine_loss = frame_loss(coarse, batch), frame_loss(fine, batch)
    total = coarse_loss + fine_loss + GUIDE_WEIGHT * guide
    return {"total": total, "coarse": coarse_loss, "fine": fine_loss, "guide": guide}


def train(model: AttentiveSynthesizer, batches: Iterator[Batch], minutes: float) -> int:
    """Trains for so long, with a learning rate that falls to nothing; the number of steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    started, step, share = time.monotonic(), 0, 0.0
    while share < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 100) * 0.5 * (1.0 + np.cos(np.pi * share))
        optimizer.zero_grad(set_to_none=True)
        values = attentive_losses(model, next(batches))
        values["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        share = (time.monotonic() - started) / 60 / minutes
        if step % 50 == 0:
            print(step, {k: round(float(v.detach()), 3) for k, v in values.items()}, file=sys.stderr, flush=True)
    return step


@torch.no_grad()
def validate(model: Synthesizer, of: Losses, corpus: Corpus) -> dict[str, float]:
    chosen = sorted(corpus.validation, key=lambda u: u.text)[:VALIDATION_UTTERANCES]
    values = of(model, corpus.collate(chosen))
    return {name: round(float(value), 4) for name, value in values.items() if name != "total"}


class Speaker:
    """Says texts with a network in training, in the voice that the style was learned from."""

    def __init__(self, say: Say, styles: tuple[str, ...]) -> None:
        self._say = say
        self._style = torch.tensor([styles.index(STYLE)])
        network = Network(Registry(CommonSettings().models_dir))
        self._space = Serving(network).voice_space(network.styles[STYLE])
        self._vocoder = Engine(DraftEngine())
        self.frame_count = 0
        self.took_s = 0.0

    def samples_of(self, text: str) -> FloatArray:
        """16 kHz mono samples (n,)."""
        parts = []
        for phrase in analyse(text, "en"):
            symbols = torch.tensor([[SYMBOL_IDS[symbol] for symbol in phrase.sequence.symbols]])
            edges = torch.tensor([phrase.sequence.word_edges])
            started = time.perf_counter()
            frames = self._say(symbols, edges, self._style, torch.zeros(1, 256))[0].numpy()
            self.took_s += time.perf_counter() - started
            self.frame_count += len(frames)
            parts += [self._space(frames), self._space.silence(PAUSE_FRAMES)]
        return np.asarray(self._vocoder.synthesize(np.concatenate(parts)), np.float32)


def judge(speaker: Speaker, texts: list[str], sentences: tuple[str, ...]) -> dict[str, Any]:
    """Slips in texts; words that are recognised otherwise and DNSMOS of sentences."""
    finder = SlipFinder()
    torch.manual_seed(0)
    judged = []
    for text in texts:
        found = finder.slips(speaker.samples_of(text), text)
        judged.append(found)
        if found:
            print(found, text[:60], file=sys.stderr, flush=True)
    clips = [speaker.samples_of(sentence) for sentence in sentences]
    wrong = sum(word_errors(words(s), recognise(clip)) for s, clip in zip(sentences, clips, strict=True))
    return {
        **bad_share(judged),
        "wer": round(wrong / sum(len(words(s)) for s in sentences), 4),
        "dnsmos": round(float(np.mean([overall_mos(clip) for clip in clips])), 3),
        "ms_per_step": round(1000 * speaker.took_s / max(speaker.frame_count / 3, 1), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Durations against attention")
    parser.add_argument("--data", type=Path, required=True, help="folder that services.synthesizer.prepare wrote")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training the attention")
    parser.add_argument("--start", type=Path, default=CommonSettings().models_dir / "synthesizer/training.safetensors")
    parser.add_argument("--texts", type=int, default=100, choices=range(1, 201), metavar="1-200")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), choices=range(1, len(SENTENCES) + 1))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    published = load_file(options.start)
    config = ModelConfig()
    corpus = Corpus(options.data, config.styles, config.reduction)
    report: dict[str, Any] = {"minutes": options.minutes, "machine": describe_machine()}
    durations, attention = Synthesizer(config), AttentiveSynthesizer(config)
    durations.load_state_dict(published)
    attention.load_state_dict(published, strict=False)
    torch.manual_seed(0)
    report["steps"] = train(attention, corpus.batches(FRAMES_PER_BATCH, 0), options.minutes)
    texts, sentences = some_texts(options.texts), SENTENCES[: options.sentences]
    networks: tuple[tuple[str, Synthesizer, Losses, Say], ...] = (
        ("attention", attention, attentive_losses, attention.say),
        ("durations", durations, losses, partial(say_by_durations, durations)),
    )
    for name, model, of, say in networks:
        validation = validate(model.eval(), of, corpus)
        report[name] = {"validation": validation, **judge(Speaker(say, config.styles), texts, sentences)}
        print(json.dumps({name: report[name]}), file=sys.stderr, flush=True)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
