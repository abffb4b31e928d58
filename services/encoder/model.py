"""The GE2E network on ONNX Runtime: mel windows -> embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.encoder.features import MEL_BANDS, WINDOW_FRAMES

MODEL_NAME: Final = "encoder-ge2e"
PROVIDERS: Final = ("CUDAExecutionProvider", "CPUExecutionProvider")


class SpeakerNetwork:
    """Loads the exported network; `embed` may be called from any thread.

    Args:
        threads: for one run; 0 means all cores.
    """

    def __init__(self, model_path: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other stages want the cores too
        available = onnxruntime.get_available_providers()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(model_path), options, providers=[name for name in PROVIDERS if name in available]
            )
        except Exception as error:  # ONNX Runtime's own exceptions have no common base
            raise LikenessError("MODEL_INVALID", f"{model_path} cannot be loaded: {error}") from error

    def embed(self, windows: FloatArray) -> FloatArray:
        """L2-normalised embeddings, shape (N, 256), of mel windows (N, 160, 40)."""
        if windows.ndim != 3 or windows.shape[1:] != (WINDOW_FRAMES, MEL_BANDS):
            raise ValueError(f"expected mel windows of shape (N, {WINDOW_FRAMES}, {MEL_BANDS}), got {windows.shape}")
        return np.asarray(self._session.run(None, {"mel": windows})[0], np.float32)


def average(embeddings: FloatArray) -> FloatArray:
    """The mean direction, shape (256,), of embeddings (N, 256)."""
    mean = embeddings.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
