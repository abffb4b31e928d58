"""The file of an adaptation: safetensors, 4.2 kB, for one voice and one network.

Tensors in float16 or, for the averages, float32; the rest is metadata. It names nobody: the embedding says whose it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from services.common.adaptation import VoiceAdaptation
from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.profile import EMBEDDING_SIZE
from services.common.sounds import CLASSES_NAME

KIND: Final = "likeness-voice-adaptation-1"
MAX_BYTES: Final = 64 * 1024
_HEADER_BYTES: Final = 8


@dataclass(frozen=True, eq=False)
class AdaptationFile:
    """What the file says.

    Attributes:
        embedding: of the recordings learned from, shape (256,), of length 1.
        clips: how many they were.
        similarity_before, similarity: what whoever learned it measured.
    """

    embedding: FloatArray
    adaptation: VoiceAdaptation
    clips: int
    similarity_before: float
    similarity: float


def write_adaptation(path: Path, content: AdaptationFile) -> None:
    path.write_bytes(adaptation_bytes(content))


def adaptation_bytes(content: AdaptationFile) -> bytes:
    """The whole file."""
    adaptation = content.adaptation
    tensors: dict[str, NDArray[Any]] = {
        "embedding": content.embedding.astype(np.float32),
        "mel_mean": adaptation.mel_mean,
        "mel_spread": adaptation.mel_spread,
        "offsets": adaptation.offsets.astype(np.float16),
    }
    numbers = {
        "log_f0_median": adaptation.log_f0_median,
        "log_f0_spread": adaptation.log_f0_spread,
        "formant_warp": adaptation.formant_warp,
        "clips": content.clips,
        "similarity_before": content.similarity_before,
        "similarity": content.similarity,
    }
    metadata = {"kind": KIND, "network": adaptation.network, "classes": CLASSES_NAME, "numbers": json.dumps(numbers)}
    return save(tensors, metadata)


def read_adaptation(data: bytes, *, field: str) -> AdaptationFile:
    """Reads what `adaptation_bytes` wrote.

    Raises:
        LikenessError: INVALID_FIELD for what is no such file; ADAPTATION_REFUSED for one of other classes of sounds.
    """
    if len(data) > MAX_BYTES:
        raise LikenessError("MEDIA_TOO_LARGE", f"An adaptation has at most {MAX_BYTES} bytes.", field=field)
    try:
        metadata = _metadata(data)
        if metadata["kind"] != KIND:
            raise ValueError(f"its kind is {metadata['kind']!r}, not {KIND!r}")
        if metadata["classes"] != CLASSES_NAME:
            detail = (
                f"The adaptation was made with the classes of sounds {metadata['classes']!r}, this version has "
                f"{CLASSES_NAME!r}. Make it again with this version."
            )
            raise LikenessError("ADAPTATION_REFUSED", detail, field=field)
        tensors = {name: array.astype(np.float32) for name, array in load(data).items()}
        numbers = {name: float(value) for name, value in json.loads(metadata["numbers"]).items()}
        embedding = tensors["embedding"]
        if embedding.shape != (EMBEDDING_SIZE,) or not abs(float(np.linalg.norm(embedding)) - 1.0) < 0.01:
            raise ValueError(f"its embedding is no vector of {EMBEDDING_SIZE} numbers and length 1")
        adaptation = VoiceAdaptation(
            network=metadata["network"],
            log_f0_median=numbers["log_f0_median"],
            log_f0_spread=numbers["log_f0_spread"],
            mel_mean=tensors["mel_mean"],
            mel_spread=tensors["mel_spread"],
            formant_warp=numbers["formant_warp"],
            offsets=tensors["offsets"],
        )
        return AdaptationFile(
            embedding, adaptation, int(numbers["clips"]), numbers["similarity_before"], numbers["similarity"]
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        detail = f"This is no file of `services.synthesizer.adapt`: {error}."
        raise LikenessError("INVALID_FIELD", detail, field=field) from error


def _metadata(data: bytes) -> dict[str, Any]:
    """The safetensors header's own words; its length stands before it."""
    length = int.from_bytes(data[:_HEADER_BYTES], "little")
    header = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + length])
    found: dict[str, Any] = header["__metadata__"]
    return found
