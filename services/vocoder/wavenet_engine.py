"""The WaveNet as an engine: streams of acoustic frames -> samples, on CPU cores without torch, or on other lanes.

It looks two frames (25 ms) ahead, for its conditioning; everything else is the past. Between two frame centres lie 50
band steps, an interval. Nothing in an interval depends on the chunks that the frames came in, so chunking cannot be
heard. Streams of several threads take their steps together (stepping.py).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES
from services.vocoder.conditioning import DRAFT_TUNING, between_centres, log_levels, normalise_frames
from services.vocoder.config import STEPS_PER_FRAME
from services.vocoder.draft import DraftEngine
from services.vocoder.packed import PackedWaveNet
from services.vocoder.pqmf import BANDS, HALF_TAPS, SynthesisBank, analyse_inside
from services.vocoder.stepping import CoreLanes, Lanes, Stepper, Steps

F32 = NDArray[np.float32]

HALF_STEPS: Final = STEPS_PER_FRAME // 2
DEFAULT_TEMPERATURE: Final = 1.0
TEMPERATURE_RANGE: Final = (0.1, 1.5)
DEFAULT_TOGETHER: Final = 16
INTERVALS_AT_ONCE: Final = 32  # so that memory does not grow with what is pushed at once
SEED_OFFSET: Final = 0x5851F42D4C957F2D  # so that the network's randomness is not the draft's noise


class WaveNetStream:
    """One utterance: push frames as they come, take the samples that are certain, then `finish`."""

    def __init__(
        self, packed: PackedWaveNet, stepper: Stepper, seed: int = 0, temperature: float = DEFAULT_TEMPERATURE
    ) -> None:
        config = packed.config
        self._packed = packed
        self._stepper = stepper
        self._temperature = temperature
        self._seed = np.uint64((seed ^ SEED_OFFSET) & 0xFFFFFFFFFFFFFFFF)
        self._draft = DraftEngine(DRAFT_TUNING).stream(seed=seed)
        # draft samples not needed any more are dropped; the first one kept is sample `_draft_start`
        self._draft_start = -(config.draft_before * BANDS + HALF_TAPS)
        self._draft_samples = np.zeros(-self._draft_start, np.float32)
        self._frames = np.zeros((0, FRAME_CHANNELS), np.float32)  # as they came; those not needed again are dropped
        self._frames_start = 0
        self._levels = np.zeros((0, BANDS), np.float32)
        self._condition: F32 | None = None  # gate offsets, (1, L, 2P), at the centre that the last interval led to
        self._intervals = 0  # done so far; interval t leads to the centre of frame t
        self._ended = False
        self._bank = SynthesisBank()
        self._rings = np.zeros((int(packed.steps.dilations.sum()), config.channels), np.float32)
        self._last = np.zeros(BANDS, np.float32)

    @property
    def _count(self) -> int:
        return self._frames_start + len(self._frames)

    def push(self, frames: F32) -> F32:
        """Takes acoustic frames, shape (n, 82); returns the samples that are certain by now."""
        if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
            raise ValueError(f"expected frames of shape (n, {FRAME_CHANNELS}), got {frames.shape}")
        if not len(frames):
            return np.zeros(0, np.float32)
        self._frames = np.concatenate([self._frames, frames.astype(np.float32)])
        self._levels = np.concatenate([self._levels, log_levels(frames)])
        self._draft_samples = np.concatenate([self._draft_samples, self._draft.push(frames)])
        return self._advance(self._count - self._packed.config.frame_context)

    def finish(self) -> F32:
        """The samples still owed; nothing when no frame was pushed."""
        if not self._count or self._ended:
            return np.zeros(0, np.float32)
        self._ended = True
        silence = np.zeros(self._packed.config.draft_after * BANDS + HALF_TAPS + 2 * HOP_SAMPLES, np.float32)
        self._draft_samples = np.concatenate([self._draft_samples, self._draft.finish(), silence])
        return np.concatenate([self._advance(self._count + 1), self._bank.finish()])

    def _advance(self, until: int) -> F32:
        """Runs all intervals below `until`."""
        samples = [np.zeros(0, np.float32)]
        while self._intervals < until:
            after = min(until, self._intervals + INTERVALS_AT_ONCE)
            samples.append(self._bank.push(self._run(self._intervals, after)))
            self._intervals = after
            self._forget()
        return np.concatenate(samples)

    def _row(self, frame: int) -> int:
        """Where a frame lies in the arrays; those before the first and after the last are like these."""
        return min(max(frame, 0), self._count - 1) - self._frames_start

    def _conditions(self, begin: int, end: int) -> F32:
        """Gate offsets at the centres of frames, shape (end - begin, L, 2P)."""
        context = self._packed.config.frame_context
        rows = [[self._row(frame + shift) for shift in range(-context, context + 1)] for frame in range(begin, end)]
        around = np.ascontiguousarray(normalise_frames(self._frames)[rows]).reshape(end - begin, -1)
        return self._packed.conditions(around)

    def _run(self, begin: int, end: int) -> F32:
        """Bands of the intervals from `begin` to before `end`, shape (50 each, 4): from the centre of frame begin - 1
        to that of frame end - 1. The first and the last one of all have 25 steps."""
        config = self._packed.config
        first_step = max(begin * STEPS_PER_FRAME - HALF_STEPS, 0)
        last_step = min(end * STEPS_PER_FRAME - HALF_STEPS, self._count * STEPS_PER_FRAME)
        steps, offset = last_step - first_step, 0 if begin else HALF_STEPS
        low = (first_step - config.draft_before) * BANDS - HALF_TAPS - self._draft_start
        high = (last_step + config.draft_after - 1) * BANDS + HALF_TAPS + 1 - self._draft_start
        levels = self._step_levels(begin, end)[offset : offset + steps + config.draft_width - 1]
        before = self._conditions(begin - 1, begin) if self._condition is None else self._condition
        conditions = np.concatenate([before, self._conditions(begin, end)])
        bands = np.empty((steps, BANDS), np.float32)
        self._stepper.run(
            Steps(
                rings=self._rings,
                last=self._last,
                conditions=conditions,
                voicing=self._voicing(begin - 1, end),
                prior=analyse_inside(self._draft_samples[low:high]) / levels,
                bands=bands,
                parameters=np.empty((steps, config.output_width), np.float32),
                first=first_step,
                offset=offset,
                seed=self._seed,
                temperature=self._temperature,
            )
        )
        self._condition = conditions[-1:]
        inner = slice(config.draft_before, config.draft_before + steps)
        return np.asarray(bands * levels[inner], np.float32)

    def _voicing(self, begin: int, end: int) -> F32:
        """At the centres of frames, shape (end - begin,), in [0, 1]."""
        rows = [self._row(frame) for frame in range(begin, end)]
        return np.ascontiguousarray(np.clip(self._frames[rows, -1], 0, 1))

    def _step_levels(self, begin: int, end: int) -> F32:
        """Levels of the intervals' steps, `draft_before` more in front and `draft_after` behind."""
        rows = [self._row(frame) for frame in range(begin - 2, end + 1)]
        steps = np.exp(between_centres(self._levels[rows]))
        config = self._packed.config
        stop = (end - begin + 1) * STEPS_PER_FRAME + config.draft_after
        return steps[STEPS_PER_FRAME - config.draft_before : stop]

    def _forget(self) -> None:
        """Drops what no later interval reads, so that a stream's memory does not grow with its length."""
        config = self._packed.config
        keep = min(max(self._intervals - 2 - config.frame_context, self._frames_start), self._count - 1)
        self._frames, self._levels = (
            self._frames[keep - self._frames_start :],
            self._levels[keep - self._frames_start :],
        )
        self._frames_start = keep
        next_step = self._intervals * STEPS_PER_FRAME - HALF_STEPS
        unused = (next_step - config.draft_before) * BANDS - HALF_TAPS - self._draft_start
        if unused > 0:
            self._draft_samples = self._draft_samples[unused:]
            self._draft_start += unused


class WaveNetEngine:
    """Makes streams that share the weights."""

    name: Final = "wavenet"

    def __init__(
        self,
        packed: PackedWaveNet,
        temperature: float = DEFAULT_TEMPERATURE,
        *,
        together: int = DEFAULT_TOGETHER,
        threads: int = 0,
        lanes: Lanes | None = None,
    ) -> None:
        """`together`: streams that one core takes through the network at a time. `threads`: cores; 0: all there are.
        `lanes`: other hardware that does it, for one thread (`torch_lanes.TorchLanes`)."""
        self.packed = packed
        self.temperature = temperature
        self._stepper = Stepper(lanes or CoreLanes(packed), together=together, groups=1 if lanes else threads)

    def stream(self, *, seed: int = 0, temperature: float = 0.0) -> WaveNetStream:
        """A new utterance; temperature 0 means the default."""
        return WaveNetStream(self.packed, self._stepper, seed, temperature or self.temperature)

    def synthesize(self, frames: F32, seed: int = 0, temperature: float = 0.0) -> F32:
        """All samples of acoustic frames (n, 82) at once, shape (n * 200,), float32."""
        stream = self.stream(seed=seed, temperature=temperature)
        return np.concatenate([stream.push(frames), stream.finish()])
