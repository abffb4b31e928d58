"""Streams that take their steps together: whoever waits for a stream works for all of them.

A stream hands in some steps and waits. As many of the waiting threads as there are cores lead: each takes a group of
streams through the network at once, since the weights that are read then serve all of them (generate.py). Groups are
looked over after every slice of steps, so that who comes in joins soon, and a thread whose own steps are done goes,
leaving its group to another. No thread is kept for it, and one stream alone waits for nobody.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.metrics import batch_size
from services.vocoder.generate import LANE, SAMPLING, run_steps
from services.vocoder.packed import PackedWaveNet
from services.vocoder.pqmf import BANDS

F32 = NDArray[np.float32]

SLICE_STEPS: Final = 100
BYTES: Final = 4

_streams_together = batch_size.labels(stage="vocoder")


@dataclass(eq=False)
class Steps:
    """Some steps of one stream, and its state, which they change. See `generate.LANE`."""

    rings: F32
    last: F32
    conditions: F32
    voicing: F32
    prior: F32
    bands: F32
    parameters: F32
    first: int
    offset: int
    seed: np.uint64
    temperature: float
    forced: bool = False
    done: int = 0
    error: BaseException | None = None
    leads: bool = False  # from now on it is this one's thread that takes `group` on
    group: list[Steps] = field(default_factory=list)
    wake: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        named = (self.rings, self.last, self.conditions, self.voicing, self.prior, self.bands, self.parameters)
        if any(array.dtype != np.float32 or not array.flags.c_contiguous for array in named):
            raise ValueError("steps are read from contiguous float32 arrays")
        self._addresses = [array.ctypes.data for array in named]

    @property
    def left(self) -> int:
        return len(self.bands) - self.done

    def lane(self) -> tuple[object, ...]:
        """The fields of `generate.LANE`, from the first step on that is not done."""
        rings, last, conditions, voicing, prior, bands, parameters = self._addresses
        return (
            rings,
            last,
            conditions,
            voicing,
            prior + self.done * BANDS * BYTES,
            bands + self.done * BANDS * BYTES,
            parameters + self.done * self.parameters.shape[1] * BYTES,
            self.first + self.done,
            self.offset + self.done,
            self.seed,
            self.temperature,
            self.forced,
        )


class Lanes(Protocol):
    """What takes a group of streams through the network, for as many threads as there are groups."""

    def advance(self, group: list[Steps], count: int) -> None:
        """Takes each stream's next `count` steps, from `done` on: fills `bands` and `parameters`, changes `last`, and
        `rings` at the latest with the stream's last steps."""
        ...


class CoreLanes:
    """On the core of the thread that calls."""

    def __init__(self, packed: PackedWaveNet) -> None:
        self._packed = packed

    def advance(self, group: list[Steps], count: int) -> None:
        config = self._packed.config
        lanes = np.array([member.lane() for member in group], LANE)
        run_steps(self._packed.steps, SAMPLING, lanes, count, config.mixtures, config.log_scale_floor)


class Stepper:
    """Takes the steps of all streams of an engine. Any thread may call it."""

    def __init__(self, lanes: Lanes, *, together: int, groups: int = 0) -> None:
        """`together`: streams in one group at most. `groups`: how many at a time; 0: one per usable core."""
        self._lanes = lanes
        self._together = together
        self._groups = groups or len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._waiting: deque[Steps] = deque()
        self._leaders = 0
        self._grouped = 0  # streams in any group

    def run(self, steps: Steps) -> None:
        """Returns when they are done: `bands`, `parameters`, `rings` and `last` are changed."""
        with self._lock:
            if self._leaders < self._groups:
                self._leaders += 1
                self._join([], steps)
                steps.leads = True
            else:
                self._waiting.append(steps)
        while steps.left and steps.error is None:
            if not steps.leads:
                steps.wake.wait()
                steps.wake.clear()
            else:
                self._lead(steps)
        if steps.error is not None:
            raise RuntimeError("the network's step failed") from steps.error

    def _lead(self, own: Steps) -> None:
        """Takes a group on until the own steps are done, then hands it over."""
        group = own.group
        try:
            while own.left:
                self._fill(group)
                self._advance(group)
                for member in [member for member in group if not member.left]:
                    self._leave(group, member)
        except BaseException as error:
            for member in list(group):
                member.error = error
                self._leave(group, member)
            raise
        finally:
            own.leads = False
            self._hand_over(group)

    def _fill(self, group: list[Steps]) -> None:
        """Takes in who waits, so that all groups have about as many."""
        with self._lock:
            fair = -(-(len(self._waiting) + self._grouped) // self._groups)
            while self._waiting and len(group) < min(fair, self._together):
                self._join(group, self._waiting.popleft())

    def _join(self, group: list[Steps], member: Steps) -> None:
        group.append(member)
        member.group = group
        self._grouped += 1

    def _advance(self, group: list[Steps]) -> None:
        count = min(SLICE_STEPS, *(member.left for member in group))
        _streams_together.observe(len(group))
        self._lanes.advance(group, count)
        for member in group:
            member.done += count

    def _leave(self, group: list[Steps], member: Steps) -> None:
        group.remove(member)
        with self._lock:
            self._grouped -= 1
        member.wake.set()

    def _hand_over(self, group: list[Steps]) -> None:
        """To one of the group, or to who waits; where there is nobody, there is a leader less."""
        with self._lock:
            if not group and self._waiting:
                self._join(group, self._waiting.popleft())
            if not group:
                self._leaders -= 1
                return
        group[0].leads = True
        group[0].wake.set()
