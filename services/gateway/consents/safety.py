"""The operator's safety classifier: looks at face pictures, swap targets and frames of films, where policy names one.

It is a picture classifier in ONNX, which the operator chooses and supplies; none comes with Likeness. Once a policy
names it, nothing is made without its word: a file that is missing, a model that fails or answers in another shape is a
refusal. What it finds is as good as the operator's model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.decode_picture import Pixels, decode_picture
from services.common.errors import LikenessError
from services.common.film import probe_film, read_frames
from services.gateway.consents.policy import Policy, SafetyClassifier

FULL: Final = 255.0
_lock: Final = threading.Lock()
_sessions: Final[dict[str, Any]] = {}


def require_safe_pictures(policy: Policy, pictures: Sequence[bytes], *, field: str) -> None:
    """Looks at encoded pictures.

    Raises:
        LikenessError: SAFETY_REFUSED for what the classifier refuses; SAFETY_UNAVAILABLE when it cannot look; MEDIA_*.
    """
    if policy.safety_classifier is not None:
        _require_safe(policy.safety_classifier, [decode_picture(data, field=field) for data in pictures], field)


def require_safe_film(policy: Policy, path: Path, *, field: str) -> None:
    """Looks at frames of a film, evenly over its length.

    Raises:
        LikenessError: as `require_safe_pictures`.
    """
    rules = policy.safety_classifier
    if rules is None:
        return
    info = probe_film(path, field=field)
    wanted = set(np.linspace(0, max(info.frame_count - 1, 0), min(rules.frames, info.frame_count)).round().astype(int))
    for number, frame in enumerate(read_frames(path, info, field=field)):
        if number in wanted:
            bgr = np.asarray(frame.picture.to_ndarray(format="bgr24"), np.uint8)
            _require_safe(rules, [bgr], field)


class LiveSafety:
    """Looks at the first frame of a live session, then at one every few seconds."""

    def __init__(self, policy: Policy, every_s: float) -> None:
        self._policy = policy
        self._every_s = every_s
        self._looked_at = -float("inf")

    def look(self, frame: bytes, *, field: str) -> None:
        """Raises LikenessError as `require_safe_pictures`."""
        now = time.monotonic()
        if now - self._looked_at >= self._every_s:
            self._looked_at = now
            require_safe_pictures(self._policy, [frame], field=field)


def _require_safe(rules: SafetyClassifier, pictures: Sequence[Pixels], field: str) -> None:
    for picture in pictures:
        score = _score(rules, picture)
        if not score < rules.threshold:  # also refuses NaN
            detail = (
                f"The safety classifier of this installation refuses this ({score:.2f}, from {rules.threshold:g} on)."
            )
            raise LikenessError("SAFETY_REFUSED", detail, field=field)


def _score(rules: SafetyClassifier, bgr: Pixels) -> float:
    """Sum of the scores of the refused classes."""
    try:
        session = _session(rules.model)
        answer = session.run(None, {session.get_inputs()[0].name: _input(rules, bgr)})[0]
        scores: NDArray[np.float64] = np.asarray(answer, np.float64).reshape(-1)
        if rules.softmax:
            odds = np.exp(scores - float(scores.max()))
            scores = np.asarray(odds / float(odds.sum()), np.float64)
        return float(scores[rules.refused_classes].sum())
    except Exception as error:  # whatever fails in a model that is not ours: it did not say that the picture is safe
        detail = f"The safety classifier that the policy wants cannot look at pictures: {type(error).__name__}."
        raise LikenessError("SAFETY_UNAVAILABLE", detail) from error


def _input(rules: SafetyClassifier, bgr: Pixels) -> NDArray[np.float32]:
    """RGB of the model's size and layout, with a batch of one."""
    small = cv2.resize(bgr, (rules.size_px, rules.size_px), interpolation=cv2.INTER_AREA)
    plain = np.asarray(small[:, :, ::-1], np.float32) / FULL
    rgb = np.asarray((plain - np.array(rules.mean)) / np.array(rules.deviation), np.float32)
    batch = rgb[np.newaxis] if rules.layout == "NHWC" else rgb.transpose(2, 0, 1)[np.newaxis]
    return np.ascontiguousarray(batch, np.float32)


def _session(path: str) -> Any:
    """The model, read once in each process."""
    from onnxruntime import InferenceSession, SessionOptions

    with _lock:
        if path not in _sessions:
            options = SessionOptions()
            options.intra_op_num_threads = 1
            _sessions[path] = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _sessions[path]
