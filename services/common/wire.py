"""Protobuf messages <-> numpy arrays. Whatever comes from outside is validated here, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from likeness.v1 import types_pb2
from services.common.adaptation import VoiceAdaptation
from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.errors import LikenessError
from services.common.profile import EMBEDDING_SIZE, SpeakerProfile
from services.common.sounds import CLASSES_NAME, SHAPE_SIZE, SOUND_COUNT, SpokenSounds

AUDIO_CHUNK_BYTES: Final = 64 * 1024
MEL_RANGE: Final = (-25.0, 15.0)  # natural logarithm of amplitude; real audio lies in -11.6 to 4
LOG_F0_RANGE: Final = (float(np.log(20.0)), float(np.log(2000.0)))
FORMANT_WARP_RANGE: Final = (0.5, 2.0)
SHAPE_RANGE: Final = (-60.0, 60.0)  # all 80 bands at the ends of the normalised space give 54
_BYTES_PER_FRAME: Final = 4 * FRAME_CHANNELS


def _invalid(field: str, detail: str) -> LikenessError:
    return LikenessError("INVALID_FIELD", f"{field}: {detail}", field=field)


def _require_range(values: FloatArray, bounds: tuple[float, float], field: str, name: str) -> None:
    if values.size and (values.min() < bounds[0] or values.max() > bounds[1]):
        found = f"{values.min():.3g} to {values.max():.3g}"
        raise _invalid(field, f"{name} must lie between {bounds[0]:.3g} and {bounds[1]:.3g}, got {found}.")


def frames_to_wire(frames: FloatArray) -> types_pb2.AcousticFrames:
    """Acoustic frames (T, 82) -> message."""
    if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
        raise ValueError(f"expected acoustic frames of shape (T, {FRAME_CHANNELS}), got {frames.shape}")
    return types_pb2.AcousticFrames(
        frame_count=frames.shape[0],
        channel_count=FRAME_CHANNELS,
        values=np.ascontiguousarray(frames, "<f4").tobytes(),
    )


def frames_from_wire(message: types_pb2.AcousticFrames, *, field: str = "frames") -> FloatArray:
    """Message -> acoustic frames (T, 82), writable.

    Raises:
        LikenessError: INVALID_FIELD, naming `field`, when shape or values are not those of acoustic frames.
    """
    if message.channel_count != FRAME_CHANNELS:
        raise _invalid(f"{field}.channel_count", f"expected {FRAME_CHANNELS}, got {message.channel_count}.")
    expected = message.frame_count * _BYTES_PER_FRAME
    if len(message.values) != expected:
        detail = f"expected {expected} bytes for {message.frame_count} frames, got {len(message.values)}."
        raise _invalid(f"{field}.values", detail)
    frames = np.frombuffer(message.values, "<f4").reshape(message.frame_count, FRAME_CHANNELS).astype(np.float32)
    if not np.isfinite(frames).all():
        raise _invalid(f"{field}.values", "the frames hold NaN or infinite numbers.")
    _require_range(frames[:, :MEL_BINS], MEL_RANGE, f"{field}.values", "log-mel values")
    _require_range(frames[:, MEL_BINS], LOG_F0_RANGE, f"{field}.values", "log-F0")
    _require_range(frames[:, MEL_BINS + 1], (0.0, 1.0), f"{field}.values", "voicing")
    return frames


def samples_to_s16(samples: FloatArray) -> bytes:
    """Float samples in [-1, 1] -> signed 16-bit little endian; what lies beyond is clipped."""
    return bytes(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())


def samples_from_s16(data: bytes, *, field: str = "samples_s16") -> FloatArray:
    """Signed 16-bit little endian -> float32 samples.

    Raises:
        LikenessError: INVALID_FIELD when there is half a sample.
    """
    if len(data) % 2:
        raise _invalid(field, f"expected whole 16-bit samples, got {len(data)} bytes.")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768.0)


def chunked(data: bytes, size: int = AUDIO_CHUNK_BYTES) -> Iterator[bytes]:
    """Consecutive pieces of at most `size` bytes; none of empty data."""
    if size < 1:
        raise ValueError(f"size must be positive, got {size}")
    for start in range(0, len(data), size):
        yield data[start : start + size]


def profile_to_wire(profile: SpeakerProfile) -> types_pb2.SpeakerProfile:
    return types_pb2.SpeakerProfile(
        embedding=profile.embedding.tolist(),
        log_f0_median=profile.log_f0_median,
        log_f0_spread=profile.log_f0_spread,
        mel_mean=profile.mel_mean.tolist(),
        mel_spread=profile.mel_spread.tolist(),
        formant_warp=profile.formant_warp,
        sounds=None if profile.sounds is None else _sounds_to_wire(profile.sounds),
        adaptation=None if profile.adaptation is None else _adaptation_to_wire(profile.adaptation),
    )


def _adaptation_to_wire(adaptation: VoiceAdaptation) -> types_pb2.VoiceAdaptation:
    return types_pb2.VoiceAdaptation(
        network=adaptation.network,
        classes=CLASSES_NAME,
        log_f0_median=adaptation.log_f0_median,
        log_f0_spread=adaptation.log_f0_spread,
        mel_mean=adaptation.mel_mean.tolist(),
        mel_spread=adaptation.mel_spread.tolist(),
        formant_warp=adaptation.formant_warp,
        offsets=adaptation.offsets.ravel().tolist(),
    )


def _sounds_to_wire(sounds: SpokenSounds) -> types_pb2.SpokenSounds:
    return types_pb2.SpokenSounds(
        classes=CLASSES_NAME,
        frames=sounds.frames.tolist(),
        shapes=sounds.shapes.ravel().tolist(),
        formant_scale=sounds.formant_scale,
        correction=[] if sounds.correction is None else sounds.correction.ravel().tolist(),
    )


def _sounds_from_wire(message: types_pb2.SpokenSounds, field: str) -> SpokenSounds:
    if message.classes != CLASSES_NAME:
        raise _invalid(f"{field}.classes", f"expected sounds of {CLASSES_NAME!r}, got {message.classes!r}.")
    frames = _vector(message.frames, SOUND_COUNT, f"{field}.frames")
    _require_range(frames, (0.0, 1e6), f"{field}.frames", "frames")
    shapes = _vector(message.shapes, SOUND_COUNT * SHAPE_SIZE, f"{field}.shapes")
    _require_range(shapes, SHAPE_RANGE, f"{field}.shapes", "shapes")
    if not FORMANT_WARP_RANGE[0] <= message.formant_scale <= FORMANT_WARP_RANGE[1]:
        bounds = f"{FORMANT_WARP_RANGE[0]:.3g} and {FORMANT_WARP_RANGE[1]:.3g}"
        raise _invalid(f"{field}.formant_scale", f"must lie between {bounds}, got {message.formant_scale:.3g}.")
    correction = None
    if message.correction:
        correction = _vector(message.correction, SOUND_COUNT * SHAPE_SIZE, f"{field}.correction")
        _require_range(correction, SHAPE_RANGE, f"{field}.correction", "corrections")
        correction = correction.reshape(SOUND_COUNT, SHAPE_SIZE)
    return SpokenSounds(frames, shapes.reshape(SOUND_COUNT, SHAPE_SIZE), message.formant_scale, correction)


def embedding_from_wire(values: Sequence[float], *, field: str) -> FloatArray:
    """Numbers of a message -> embedding (256,).

    Raises:
        LikenessError: INVALID_FIELD, naming `field`, when they are not 256 finite numbers.
    """
    return _vector(values, EMBEDDING_SIZE, field)


def gradient_to_wire(gradient: FloatArray) -> bytes:
    """By how much something grows per neper in each band of each frame, shape (T, 80), as bytes."""
    return np.ascontiguousarray(gradient, "<f4").tobytes()


def gradient_from_wire(data: bytes) -> FloatArray:
    """What `gradient_to_wire` made, shape (T, 80).

    Raises:
        ValueError: the bytes are not of whole frames.
    """
    return np.frombuffer(data, "<f4").reshape(-1, MEL_BINS).astype(np.float32)


def _vector(values: Sequence[float], size: int, field: str) -> FloatArray:
    if len(values) != size:
        raise _invalid(field, f"expected {size} numbers, got {len(values)}.")
    vector = np.asarray(values, np.float32)
    if not np.isfinite(vector).all():
        raise _invalid(field, "expected finite numbers.")
    return vector


class _Averages(NamedTuple):
    log_f0_median: float
    log_f0_spread: float
    mel_mean: FloatArray
    mel_spread: FloatArray
    formant_warp: float


def _averages_from_wire(message: types_pb2.SpeakerProfile | types_pb2.VoiceAdaptation, field: str) -> _Averages:
    mel_mean = _vector(message.mel_mean, MEL_BINS, f"{field}.mel_mean")
    _require_range(mel_mean, MEL_RANGE, f"{field}.mel_mean", "means")
    mel_spread = _vector(message.mel_spread, MEL_BINS, f"{field}.mel_spread")
    _require_range(mel_spread, (0.0, 20.0), f"{field}.mel_spread", "spreads")
    scalars = (
        ("log_f0_median", message.log_f0_median, LOG_F0_RANGE),
        ("log_f0_spread", message.log_f0_spread, (0.0, 2.0)),
        ("formant_warp", message.formant_warp or 1.0, FORMANT_WARP_RANGE),
    )
    for name, value, bounds in scalars:
        if not bounds[0] <= value <= bounds[1]:  # also refuses NaN
            detail = f"must lie between {bounds[0]:.3g} and {bounds[1]:.3g}, got {value:.3g}."
            raise _invalid(f"{field}.{name}", detail)
    return _Averages(message.log_f0_median, message.log_f0_spread, mel_mean, mel_spread, message.formant_warp or 1.0)


def adaptation_from_wire(message: types_pb2.VoiceAdaptation, *, field: str) -> VoiceAdaptation:
    """Message -> adaptation.

    Raises:
        LikenessError: ADAPTATION_REFUSED for one that was made with other classes of sounds; INVALID_FIELD, naming the
            field below `field`.
    """
    if message.classes != CLASSES_NAME:
        detail = (
            f"The adaptation was made with the classes of sounds {message.classes!r}, the synthesizer has "
            f"{CLASSES_NAME!r}. Make it again with this version, or remove it from the voice."
        )
        raise LikenessError("ADAPTATION_REFUSED", detail, field=f"{field}.classes")
    averages = _averages_from_wire(message, field)
    offsets = _vector(message.offsets, SOUND_COUNT * SHAPE_SIZE, f"{field}.offsets")
    _require_range(offsets, SHAPE_RANGE, f"{field}.offsets", "offsets")
    return VoiceAdaptation(message.network, *averages, offsets.reshape(SOUND_COUNT, SHAPE_SIZE))


def profile_from_wire(message: types_pb2.SpeakerProfile, *, field: str = "speaker") -> SpeakerProfile:
    """Message -> profile; a formant warp of 0 (not calibrated) becomes 1.

    Raises:
        LikenessError: INVALID_FIELD, naming the field below `field`; ADAPTATION_REFUSED.
    """
    embedding = _vector(message.embedding, EMBEDDING_SIZE, f"{field}.embedding")
    norm = float(np.linalg.norm(embedding))
    if abs(norm - 1.0) > 0.01:
        raise _invalid(f"{field}.embedding", f"expected a vector of length 1, got {norm:.3f}.")
    adaptation = None
    if message.HasField("adaptation"):
        adaptation = adaptation_from_wire(message.adaptation, field=f"{field}.adaptation")
    return SpeakerProfile(
        embedding,
        *_averages_from_wire(message, field),
        sounds=_sounds_from_wire(message.sounds, f"{field}.sounds") if message.HasField("sounds") else None,
        adaptation=adaptation,
    )
