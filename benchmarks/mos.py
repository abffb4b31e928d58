"""DNSMOS P.835 (Reddy et al. 2022, arXiv:2110.01763): a network's guess of how listeners would rate speech, 1 to 5.

The network is the file inside the speechmos package; the package itself is not imported, because it asks for libraries
that it does not declare and lets ONNX Runtime take every core.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from services.common.audio import SAMPLE_RATE_HZ, FloatArray

WINDOW_SAMPLES: Final = int(9.01 * SAMPLE_RATE_HZ)
PEAK: Final = 0.9  # every clip is rated at the same peak level, within the network's [-1, 1]
OVERALL_POLYNOMIAL: Final = (-0.06766283, 1.11546468, 0.04602535)  # network's output -> rating, from the paper's code


@lru_cache(maxsize=1)
def _session() -> Any:
    spec = find_spec("speechmos")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("speechmos is not installed: pip install -e '.[test]'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = Path(spec.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def overall_mos(samples: FloatArray) -> float:
    """Overall quality of 16 kHz mono float32 samples, shape (n,): mean over windows of 9 s, a second apart.

    A shorter clip is repeated until it fills a window.
    """
    if samples.size == 0:
        raise ValueError("an empty clip cannot be rated")
    clip = samples / (float(np.abs(samples).max()) or 1.0) * PEAK
    while clip.size < WINDOW_SAMPLES:
        clip = np.concatenate([clip, clip])
    starts = range(0, clip.size - WINDOW_SAMPLES + 1, SAMPLE_RATE_HZ)
    ratings = [
        _session().run(None, {"input_1": clip[None, start : start + WINDOW_SAMPLES].astype(np.float32)})[0][0][2]
        for start in starts
    ]
    return float(np.mean(np.polyval(OVERALL_POLYNOMIAL, ratings)))
