"""The trained network on ONNX Runtime: encoded phrases, decoder steps, refined frames. No torch.

It holds no state between phrases; one instance serves any number of threads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import onnxruntime

from services.common.audio import FRAME_CHANNELS, FloatArray
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.profile import EMBEDDING_SIZE, SpeakerProfile
from services.synthesizer.text import SymbolSequence
from services.synthesizer.text.symbols import MARKS, SYMBOL_IDS

MODEL_NAME: Final = "synthesizer-nat"
MIN_PHONE_FRAMES: Final = 1.0


@dataclass(frozen=True, eq=False)
class EncodedPhrase:
    """A phrase of L symbols as the decoder needs it."""

    encoded: FloatArray  # (L, width)
    durations: FloatArray  # (L,) in frames, at speed 1
    ranges: FloatArray  # (L,)

    def faster(self, speed: float | FloatArray) -> EncodedPhrase:
        """The same phrase with its durations divided by `speed`, one for all symbols or one for each (L,)."""
        return EncodedPhrase(self.encoded, (self.durations / np.float32(speed)).astype(np.float32), self.ranges)

    @cached_property
    def frame_count(self) -> int:
        return max(round(float(self.durations.sum())), 1)


def upsample(phrase: EncodedPhrase, steps: FloatArray, reduction: int) -> FloatArray:
    """Gaussian upsampling, as `model.upsample` does it in training: step inputs (J, width + 2) of the steps (J,)."""
    durations = np.maximum(phrase.durations, 1e-4)
    offsets = (steps[:, None] + 0.5) * reduction - (np.cumsum(durations) - 0.5 * durations)[None, :]
    sigma = phrase.ranges * (0.25 * durations + 0.6)
    scores = -0.5 * (offsets / sigma) ** 2 - np.log(sigma)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    inside = np.clip((weights * offsets / (durations + 1.0)).sum(axis=1, keepdims=True), -2.0, 2.0)
    length = (weights @ np.log1p(durations))[:, None]
    return np.concatenate([weights @ phrase.encoded, inside, length], axis=1).astype(np.float32)


class Network:
    """The three graphs of `synthesizer-nat`.

    Attributes:
        styles: speaking style -> profile of the voice that it was learned from.
        pitch_offsets: speaking style -> median of the normalised log-F0 that it generates.
        liveliness: spread of real over generated speech per channel, shape (82,).
        reduction: frames per decoder step.
        reach_frames: context to either side that a refined frame depends on.
        version: short name of the weights; what was learned for other weights does not fit.

    Raises:
        LikenessError: MODEL_INVALID when a graph is missing, changed or not one of `services.synthesizer.export`.
    """

    def __init__(self, registry: Registry, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(threads, 1)
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(name: str) -> Any:
            path = registry.path(f"{MODEL_NAME}-{name}")
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        self._encoder, self._decoder, self._postnet = session("encoder"), session("decoder"), session("postnet")
        sums = "".join(registry.entry(f"{MODEL_NAME}-{part}").sha256 for part in ("encoder", "decoder", "postnet"))
        self.version = hashlib.sha256(sums.encode()).hexdigest()[:12]
        metadata = self._encoder.get_modelmeta().custom_metadata_map
        try:
            config = json.loads(metadata["config"])
            profiles = json.loads(metadata["styles"])
            self.liveliness: FloatArray = np.asarray(json.loads(metadata["liveliness"]), np.float32)
            self.styles = {name: SpeakerProfile.from_json(json.dumps(profiles[name])) for name in config["styles"]}
            self.pitch_offsets = {name: float(value) for name, value in json.loads(metadata["pitch_offsets"]).items()}
            self.reduction = int(config["reduction"])
            self.reach_frames = int(config["postnet_reach_frames"])
            self._prenet_width = int(config["prenet_width"])
            self._prenet_dropout = float(config["prenet_dropout"])
            self._decoder_width = int(config["decoder_width"])
        except (KeyError, ValueError) as error:
            raise LikenessError(
                "MODEL_INVALID", f"The metadata of {MODEL_NAME}-encoder is incomplete ({error!r}); export it again."
            ) from error

    def encode(self, sequence: SymbolSequence, style: str, embedding: FloatArray | None = None) -> EncodedPhrase:
        """A phrase spoken in a style, by the speaker of an embedding (256,) if one is given."""
        speaker = np.zeros((1, EMBEDDING_SIZE), np.float32) if embedding is None else embedding[None].astype(np.float32)
        symbols = np.array([[SYMBOL_IDS[symbol] for symbol in sequence.symbols]], np.int64)
        encoded, durations, ranges = self._encoder.run(
            ["encoded", "durations", "ranges"],
            {
                "symbols": symbols,
                "edges": np.array([sequence.word_edges], np.int64),
                "style": np.array([list(self.styles).index(style)], np.int64),
                "speaker": speaker,
            },
        )
        sounds = np.array([symbol not in MARKS for symbol in sequence.symbols])
        durations = np.where(sounds, np.maximum(durations[0], MIN_PHONE_FRAMES), durations[0])
        return EncodedPhrase(encoded[0], durations.astype(np.float32), ranges[0])

    def decode(self, phrase: EncodedPhrase, seed: int | tuple[int, ...], temperature: float = 1.0) -> DecoderStream:
        """A decoder at the start of a phrase; `seed` draws the dropout of its prenet, see `dropout_masks`."""
        return DecoderStream(self, phrase, np.random.default_rng(seed), temperature)

    def refine(self, frames: FloatArray) -> FloatArray:
        """Post-net on normalised frames (T, 82); exact `reach_frames` away from ends that are not the phrase's own."""
        (refined,) = self._postnet.run(["refined"], {"frames": frames[None]})
        return np.asarray(refined[0], np.float32)

    def initial_states(self) -> tuple[FloatArray, FloatArray]:
        shape = (1, 1, self._decoder_width)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def dropout_masks(self, generator: np.random.Generator, steps: int, temperature: float = 1.0) -> FloatArray:
        """Masks (steps, 2, prenet width), scaled as dropout scales: their mean is 1, whatever the temperature.

        A mask's spread is `temperature` times that of training. At 1 units drop out as they did there; at 0 none does,
        and what the decoder makes no longer depends on the generator.
        """
        keep = 1.0 - self._prenet_dropout
        if temperature != 1.0:
            keep = 1.0 / (1.0 + temperature**2 * (1.0 - keep) / keep)
        return (generator.random((steps, 2, self._prenet_width)) < keep).astype(np.float32) / np.float32(keep)

    def step(
        self, inputs: FloatArray, before: FloatArray, masks: FloatArray, states: tuple[FloatArray, FloatArray]
    ) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
        """`reduction` coarse frames, and the states after them."""
        frames, first, second = self._decoder.run(
            ["frames", "next_state_1", "next_state_2"],
            {
                "inputs": inputs[None, None],
                "before": before[None, None],
                "mask_1": masks[0][None, None],
                "mask_2": masks[1][None, None],
                "state_1": states[0],
                "state_2": states[1],
            },
        )
        return frames[0], (first, second)


class DecoderStream:
    """The coarse frames of one phrase, as many at a time as are asked for."""

    def __init__(
        self, network: Network, phrase: EncodedPhrase, generator: np.random.Generator, temperature: float = 1.0
    ) -> None:
        self._network = network
        self._phrase = phrase
        self._step_count = -(-phrase.frame_count // network.reduction)
        self._masks = network.dropout_masks(generator, self._step_count, temperature)
        self._states = network.initial_states()
        self._before = np.zeros(FRAME_CHANNELS, np.float32)
        self._next_step = 0

    def read(self, at_least: int) -> FloatArray:
        """The next frames (n, 82): the fewest whole steps that hold `at_least` frames, fewer at the end."""
        network, start = self._network, self._next_step
        stop = min(start - (-at_least // network.reduction), self._step_count)
        inputs = upsample(self._phrase, np.arange(start, stop, dtype=np.float32), network.reduction)
        frames = [np.zeros((0, FRAME_CHANNELS), np.float32)]
        for step in range(start, stop):
            made, self._states = network.step(inputs[step - start], self._before, self._masks[step], self._states)
            self._before = made[-1]
            frames.append(made)
        self._next_step = stop
        first = start * network.reduction
        return np.concatenate(frames)[: max(self._phrase.frame_count - first, 0)]
