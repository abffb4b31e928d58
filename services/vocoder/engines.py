"""What an engine is, and which ones this installation has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS
from services.common.errors import LikenessError
from services.common.models import Registry
from services.vocoder.correction import MelCorrection
from services.vocoder.draft import DraftEngine
from services.vocoder.packed import PackedWaveNet, load_packed
from services.vocoder.stepping import Lanes
from services.vocoder.wavenet_engine import DEFAULT_TOGETHER, WaveNetEngine

F32 = NDArray[np.float32]
EngineName = Literal["draft", "wavenet"]
# Of the WaveNet's steps. "auto" is "cuda" where torch finds a GPU, else "cpu", the cores without torch. "torch-cpu" is
# what "cuda" does, on the CPU and slowly: for comparison.
Device = Literal["cpu", "cuda", "auto", "torch-cpu"]

WAVENET_MODEL: Final = "vocoder-wavenet"
# In mel bands, of the correction. The draft sets its harmonics itself and needs no more than the envelope mended; what
# the network draws is mended in every band (figures in the model card).
DRAFT_SMOOTHING: Final = 2.0
WAVENET_SMOOTHING: Final = 0.0

_log = logging.getLogger(__name__)


class VocoderStream(Protocol):
    """One utterance. n frames make exactly n * 200 samples, however they are cut into pushes."""

    def push(self, frames: F32) -> F32:
        """Takes acoustic frames (n, 82); returns the samples that are certain by now."""
        ...

    def finish(self) -> F32:
        """The samples still owed."""
        ...


class CorrectedStream:
    """A stream whose sound is brought to the mel of its frames."""

    def __init__(self, stream: VocoderStream, smoothing: float) -> None:
        self._stream = stream
        self._correction = MelCorrection(smoothing)

    def push(self, frames: F32) -> F32:
        return self._correction.push(self._stream.push(frames), frames)

    def finish(self) -> F32:
        owed = self._correction.push(self._stream.finish(), np.zeros((0, FRAME_CHANNELS), np.float32))
        return np.concatenate([owed, self._correction.finish()])


class Engine:
    """What is served: a way to make sound from frames, and the correction behind it."""

    def __init__(self, maker: DraftEngine | WaveNetEngine) -> None:
        self._maker = maker

    @property
    def name(self) -> str:
        return self._maker.name

    @property
    def weight_bytes(self) -> int:
        """Of the weights in memory."""
        return self._maker.packed.bytes if isinstance(self._maker, WaveNetEngine) else 0

    def stream(self, *, seed: int = 0, temperature: float = 0.0) -> VocoderStream:
        """A new utterance; the temperature (0: the default) matters to the WaveNet alone."""
        if isinstance(self._maker, WaveNetEngine):
            return CorrectedStream(self._maker.stream(seed=seed, temperature=temperature), WAVENET_SMOOTHING)
        return CorrectedStream(self._maker.stream(seed=seed), DRAFT_SMOOTHING)

    def synthesize(self, frames: F32, seed: int = 0) -> F32:
        """All samples of acoustic frames (n, 82) at once, shape (n * 200,), float32."""
        stream = self.stream(seed=seed)
        return np.concatenate([stream.push(frames), stream.finish()])


def load_engines(
    models_dir: Path, *, together: int = DEFAULT_TOGETHER, threads: int = 0, device: Device = "cpu"
) -> Mapping[str, Engine]:
    """The engines by name: the draft, and the WaveNet where the manifest names its weights.

    `together` and `threads` are those of `stepping.Stepper`; 0 threads: one per core.

    Raises:
        LikenessError: MODEL_INVALID when the manifest names weights that are missing or changed, or the WaveNet cannot
            compute on the device.
    """
    registry = Registry(models_dir)
    engines = {"draft": Engine(DraftEngine())}
    if WAVENET_MODEL in registry.names():
        packed = load_packed(registry.path(WAVENET_MODEL))
        lanes = lanes_on(device, packed, together=together)
        engines["wavenet"] = Engine(WaveNetEngine(packed, together=together, threads=threads, lanes=lanes))
    return engines


def lanes_on(device: Device, packed: PackedWaveNet, *, together: int) -> Lanes | None:
    """What takes the WaveNet's steps there; None: the CPU's cores.

    Raises:
        LikenessError: MODEL_INVALID when torch or a GPU is missing; it says what to do.
    """
    if device == "cpu":
        return None
    missing = _missing_for_torch(gpu=device != "torch-cpu")
    if not missing:
        from services.vocoder.torch_lanes import TorchLanes

        return TorchLanes(packed, together=together, device="cpu" if device == "torch-cpu" else "cuda")
    if device == "auto":
        _log.info("the WaveNet computes on the CPU", extra={"detail": missing})
        return None
    detail = (
        f"The vocoder's device {device!r} cannot be used: {missing}. Install NVIDIA's driver and PyTorch (the extra "
        "`train` has it, the images do not), or set LIKENESS_VOCODER_DEVICE to cpu."
    )
    raise LikenessError("MODEL_INVALID", detail)


def _missing_for_torch(*, gpu: bool) -> str:
    """What keeps torch from computing; empty when nothing does."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: libraries that it comes with do not load
        return f"PyTorch cannot be imported ({error})"
    if gpu and not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no NVIDIA GPU"
    return ""


def choose(engines: Mapping[str, Engine], name: str) -> Engine:
    """Raises LikenessError INVALID_FIELD for a name that is not there."""
    if name not in engines:
        known = ", ".join(sorted(engines))
        detail = f"There is no engine {name!r} here; choose one of: {known}, or leave it empty."
        raise LikenessError("INVALID_FIELD", detail, field="options.engine")
    return engines[name]
