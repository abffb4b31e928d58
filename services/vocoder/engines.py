"""What an engine is, and which ones this installation has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.models import Registry
from services.vocoder.draft import DraftEngine
from services.vocoder.wavenet_engine import DEFAULT_TOGETHER, WaveNetEngine

F32 = NDArray[np.float32]
EngineName = Literal["draft", "wavenet"]

WAVENET_MODEL: Final = "vocoder-wavenet"


class VocoderStream(Protocol):
    """One utterance. n frames make exactly n * 200 samples, however they are cut into pushes."""

    def push(self, frames: F32) -> F32:
        """Takes acoustic frames (n, 82); returns the samples that are certain by now."""
        ...

    def finish(self) -> F32:
        """The samples still owed."""
        ...


def load_engines(
    models_dir: Path, *, together: int = DEFAULT_TOGETHER, threads: int = 0
) -> Mapping[str, DraftEngine | WaveNetEngine]:
    """The engines by name: the draft, and the WaveNet where the manifest names its weights.

    `together` and `threads` are those of `stepping.Stepper`; 0 threads: one per core.

    Raises:
        LikenessError: MODEL_INVALID when the manifest names weights that are missing or changed.
    """
    registry = Registry(models_dir)
    engines: dict[str, DraftEngine | WaveNetEngine] = {"draft": DraftEngine()}
    if WAVENET_MODEL in registry.names():
        engines["wavenet"] = WaveNetEngine.from_file(registry.path(WAVENET_MODEL), together=together, threads=threads)
    return engines


def open_stream(engine: DraftEngine | WaveNetEngine, seed: int, temperature: float = 0.0) -> VocoderStream:
    """A new utterance; the temperature (0: the default) matters to the WaveNet alone."""
    if isinstance(engine, WaveNetEngine):
        return engine.stream(seed=seed, temperature=temperature)
    return engine.stream(seed=seed)


def choose(engines: Mapping[str, DraftEngine | WaveNetEngine], name: str) -> DraftEngine | WaveNetEngine:
    """Raises LikenessError INVALID_FIELD for a name that is not there."""
    if name not in engines:
        known = ", ".join(sorted(engines))
        detail = f"There is no engine {name!r} here; choose one of: {known}, or leave it empty."
        raise LikenessError("INVALID_FIELD", detail, field="options.engine")
    return engines[name]
