"""ONNX networks that make pixels or describe faces, run by ONNX Runtime on the best hardware there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from services.common.errors import LikenessError
from services.faceswap.litert import FloatArray

# Short names of settings -> ONNX Runtime's. TensorRT builds an engine per network, for minutes, the first time: it is
# used only when it is asked for.
PROVIDERS: Final = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
BEST_FIRST: Final = ("cuda", "cpu")


@dataclass(frozen=True)
class Compute:
    """Where networks run.

    Attributes:
        threads: compute threads of one run on the CPU.
        providers: short names in order of preference; none means CUDA where there is one, else the CPU.
    """

    threads: int = 1
    providers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `shape` has None where a size is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: type[np.floating[Any]] | None  # None where it is not a float


def choose_providers(wanted: Sequence[str] = (), available: Sequence[str] | None = None) -> list[str]:
    """ONNX Runtime's names of the providers to use, best first; the CPU is always the last resort of a graph.

    Args:
        wanted: short names in order of preference; none means CUDA where there is one, else the CPU.
        available: what ONNX Runtime offers; asked for when not given.

    Raises:
        LikenessError: MODEL_INVALID when a wanted one is unknown or not in the installed ONNX Runtime.
    """
    offered = onnxruntime.get_available_providers() if available is None else available
    usable = [short for short, name in PROVIDERS.items() if name in offered]
    for short in wanted:
        if short not in usable:
            detail = (
                f"The execution provider {short!r} cannot be used here; the installed ONNX Runtime offers "
                f"{', '.join(usable)}. GPUs need `onnxruntime-gpu` in place of `onnxruntime` (extra `gpu`)."
            )
            raise LikenessError("MODEL_INVALID", detail)
    chosen = list(dict.fromkeys(wanted)) or [short for short in BEST_FIRST if short in usable]
    return [PROVIDERS[short] for short in dict.fromkeys([*chosen, "cpu"])]


class OnnxNet:
    """An ONNX file, ready to run; safe to call from several threads at once.

    Raises:
        LikenessError: MODEL_INVALID when the file is no ONNX network, or the wanted provider does not start.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(compute.threads, 1)
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        chosen = choose_providers(compute.providers)
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=[_with_options(name, path) for name in chosen]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise LikenessError("MODEL_INVALID", f"{path.name} cannot be read as an ONNX network: {error}") from error
        self.providers: list[str] = self._session.get_providers()
        if compute.providers and PROVIDERS[compute.providers[0]] not in self.providers:
            # ONNX Runtime falls back by itself; an operator who named a device wants to know.
            detail = (
                f"The provider {compute.providers[0]!r} did not start for {path.name}; its libraries may be missing."
            )
            raise LikenessError("MODEL_INVALID", detail)
        self.inputs = [_spec(value) for value in self._session.get_inputs()]
        self.outputs = [_spec(value) for value in self._session.get_outputs()]
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, *values: FloatArray) -> list[FloatArray]:
        """Outputs for inputs in the graph's order, all float32 on this side."""
        feeds = {
            spec.name: np.ascontiguousarray(value, spec.dtype) for spec, value in zip(self.inputs, values, strict=True)
        }
        return [np.asarray(value, np.float32) for value in self._session.run(None, feeds)]

    @property
    def takes_batches(self) -> bool:
        """Whether the first axis of all inputs is free."""
        return all(spec.shape and spec.shape[0] is None for spec in self.inputs)


def _with_options(provider: str, path: Path) -> Any:
    if provider == PROVIDERS["tensorrt"]:  # the engine, once built, is kept beside the weights
        return (provider, {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(path.parent / "tensorrt")})
    return provider


def _spec(value: Any) -> TensorSpec:
    dtypes: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape)
    return TensorSpec(value.name, shape, dtypes.get(value.type))
