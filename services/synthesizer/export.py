"""Trained weights -> ONNX: `python -m services.synthesizer.export --run data/... [--models-dir models]`.

Three graphs, so that frames can stream: `encoder` (a phrase's symbols -> encoded symbols, durations, ranges), `decoder`
(one step: three frames, with its states going in and coming out) and `postnet` (a stretch of frames with the context
that it needs). What else serving must know is written into the encoder's metadata: sizes, styles, the profiles of the
voices that were learned from, and by how much generated speech is less lively than real speech, band by band.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import onnx
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from services.common.audio import FRAME_CHANNELS
from services.common.models import Registry, describe_file, register_model
from services.common.profile import EMBEDDING_SIZE
from services.common.settings import CommonSettings
from services.common.speaker_space import LOG_F0, VOICING
from services.synthesizer.dataset import Batch, Corpus
from services.synthesizer.model import TIMING_FEATURES, ModelConfig, Synthesizer
from services.synthesizer.network import MODEL_NAME, Network
from services.synthesizer.sentences import SLOTS, grammar_sentences, tokens_of
from services.synthesizer.text import to_symbols
from services.synthesizer.text.symbols import MARKS

OPSET: Final = 17
GRAPHS: Final = ("encoder", "decoder", "postnet")
LIVELINESS_UTTERANCES: Final = 48
PITCH_SENTENCES: Final = 30
PITCH_SEED: Final = 0
COMMON_WORDS: Final = {token for texts in SLOTS.values() for text in texts for token in tokens_of(text)} | MARKS
LIVELINESS_RANGE: Final = (1.0, 1.25)  # more would blow up errors too
SPEECH_LEVEL: Final = -1.0  # mean of the normalised bands above which a frame counts as speech


class EncoderGraph(nn.Module):
    """Symbols (1, L), edges (1, L), style (1,), speaker (1, 256) -> encoded (1, L, W), durations (1, L), ranges."""

    def __init__(self, model: Synthesizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, symbols: Tensor, edges: Tensor, style: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded, log_durations, ranges = self.model.encoder(symbols, edges, self.model.conditions(style, speaker))
        return encoded, torch.clamp(torch.exp(log_durations) - 1.0, min=0.0), ranges


class DecoderGraph(nn.Module):
    """One step of the decoder, with the dropout masks of its prenet given."""

    def __init__(self, model: Synthesizer) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(
        self, inputs: Tensor, before: Tensor, mask_1: Tensor, mask_2: Tensor, state_1: Tensor, state_2: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        prenet = self.decoder.prenet(before, (mask_1, mask_2))
        frames, (first, second) = self.decoder.steps(inputs, prenet, (state_1, state_2))
        return frames, first, second


def _export(graph: nn.Module, arguments: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str]) -> None:
    dynamic = {name: {1: "length"} for name in (*inputs, *outputs) if name not in ("style", "speaker")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations and notes on batch size
        torch.onnx.export(
            graph.eval(),
            arguments,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=dynamic if path.stem != "decoder" else None,
            opset_version=OPSET,
            dynamo=False,
        )


def export_graphs(model: Synthesizer, folder: Path) -> dict[str, Path]:
    """Writes the three graphs and returns their paths."""
    config = model.config
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.onnx" for name in GRAPHS}
    symbols = torch.ones(1, 9, dtype=torch.long)
    _export(
        EncoderGraph(model),
        (symbols, symbols, torch.zeros(1, dtype=torch.long), torch.zeros(1, EMBEDDING_SIZE)),
        paths["encoder"],
        ["symbols", "edges", "style", "speaker"],
        ["encoded", "durations", "ranges"],
    )
    mask = torch.ones(1, 1, config.prenet_width)
    state = torch.zeros(1, 1, config.decoder_width)
    _export(
        DecoderGraph(model),
        (
            torch.zeros(1, 1, config.width + TIMING_FEATURES),
            torch.zeros(1, 1, FRAME_CHANNELS),
            mask,
            mask,
            state,
            state,
        ),
        paths["decoder"],
        ["inputs", "before", "mask_1", "mask_2", "state_1", "state_2"],
        ["frames", "next_state_1", "next_state_2"],
    )
    _export(model.postnet, (torch.zeros(1, 30, FRAME_CHANNELS),), paths["postnet"], ["frames"], ["refined"])
    return paths


def _speech(frames: Tensor, batch: Batch) -> Tensor:
    """Frames (N, 82) of a batch that hold speech, by the level of the true ones."""
    loud = (batch.frames[..., :LOG_F0].mean(dim=-1) > SPEECH_LEVEL) & (batch.frame_mask[..., 0] > 0)
    return frames[loud]


@torch.no_grad()
def liveliness(model: Synthesizer, corpus: Corpus) -> list[float]:
    """Spread of real speech over that of generated speech, per channel (82), on held-out sentences."""
    torch.manual_seed(0)
    model.eval()
    true, made = [], []
    chosen = sorted(corpus.validation, key=lambda u: u.frame_count)[-LIVELINESS_UTTERANCES:]
    for start in range(0, len(chosen), 12):
        batch = corpus.collate(chosen[start : start + 12])
        steps = batch.frames.shape[1] // model.config.reduction
        inputs, _ = model.step_inputs(
            batch.symbols, batch.edges, batch.style, batch.speaker, batch.durations, batch.lengths, steps
        )
        made.append(_speech(model.postnet(model.decoder.generate(inputs)), batch))
        true.append(_speech(batch.frames, batch))
    ratio = torch.cat(true).std(dim=0) / torch.cat(made).std(dim=0)
    return [round(float(np.clip(value, *LIVELINESS_RANGE)), 4) for value in ratio.numpy()]


def pitch_offsets(network: Network) -> dict[str, float]:
    """Median of normalised log-F0 over what each style makes of ordinary sentences; 0 would be the speaker's own."""
    grammar = grammar_sentences(Random(PITCH_SEED))  # noqa: S311
    sentences = [s for s in islice(grammar, 400) if 6 <= len(s.split()) <= 16 and set(tokens_of(s)) <= COMMON_WORDS]
    offsets = {}
    for style in network.styles:
        pitch = []
        for sentence in sentences[:PITCH_SENTENCES]:
            phrase = network.encode(to_symbols(tokens_of(sentence)), style)
            frames = network.refine(network.decode(phrase, PITCH_SEED).read(phrase.frame_count))
            pitch.append(frames[frames[:, VOICING] > 0, LOG_F0])
        offsets[style] = round(float(np.median(np.concatenate(pitch))), 4)
    return offsets


def _add_metadata(path: Path, metadata: dict[str, str]) -> None:
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, str(path))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.export", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder that train wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    parser.add_argument("--models-dir", type=Path, default=CommonSettings().models_dir)
    parser.add_argument("--weights", default="best.safetensors")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME=VALUE", help="figures for the manifest")
    options = parser.parse_args(arguments)
    stored = json.loads((options.run / "config.json").read_text(encoding="utf-8"))
    config = ModelConfig(**stored | {"styles": tuple(stored["styles"])})
    model = Synthesizer(config)
    model.load_state_dict(load_file(options.run / options.weights))
    corpus = Corpus(options.data, config.styles, config.reduction)
    lines = (options.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    validations = [line for line in map(json.loads, lines) if "validation" in line]
    best = min(validations, key=lambda line: float(line["validation"]["fine"]))
    metrics: dict[str, Any] = {
        "parameters": model.parameter_count(),
        "steps": best["step"],
        "training_minutes": best["minutes"],
        "validation": best["validation"],
    }
    metrics |= {name: float(value) for name, _, value in (pair.partition("=") for pair in options.metric)}
    folder = options.models_dir / "synthesizer"
    paths = export_graphs(model, folder)
    profiles = {style: json.loads(corpus.style_profile(style).to_json()) for style in config.styles}
    metadata = {
        "config": json.dumps(asdict(config) | {"postnet_reach_frames": config.postnet_reach_frames}),
        "styles": json.dumps(profiles),
        "liveliness": json.dumps(liveliness(model, corpus)),
        "pitch_offsets": json.dumps(dict.fromkeys(config.styles, 0.0)),
    }
    data = json.loads((options.data / "card.json").read_text(encoding="utf-8"))

    def register() -> None:
        _add_metadata(paths["encoder"], metadata)
        for name, path in paths.items():
            entry = describe_file(
                path,
                name=f"{MODEL_NAME}-{name}",
                models_dir=options.models_dir,
                license="Apache-2.0",
                source="python -m services.synthesizer.prepare, .train, .export",
                data=f"{data['hours']:.1f} h of speech generated with flite (voices {', '.join(config.styles)})",
                metrics=metrics if name == "encoder" else {},
            )
            register_model(options.models_dir, entry)

    register()
    # Measured on the network as it is served, and then written into it.
    metadata["pitch_offsets"] = json.dumps(pitch_offsets(Network(Registry(options.models_dir))))
    register()
    print(f"{folder}: {', '.join(f'{path.name} {path.stat().st_size / 1e6:.1f} MB' for path in paths.values())}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
