"""Microphone and loudspeaker, through `sounddevice` where it is installed and the machine has a sound card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RECORD_RATE_HZ: Final = 48_000  # what every sound card offers; the encoder resamples
BLOCK_S: Final = 0.1


class SoundDeviceError(Exception):
    """There is no way to record or play here; the message says what to do."""


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise SoundDeviceError(
            "The Python package sounddevice is not installed; install it with: pip install 'likeness[record]'."
        ) from error
    except OSError as error:  # its wheel for Linux looks for the system's library
        raise SoundDeviceError(
            "The PortAudio library is missing; on Debian or Ubuntu: apt-get install libportaudio2."
        ) from error
    return sounddevice


def input_device_name() -> str:
    """The default microphone.

    Raises:
        SoundDeviceError: there is none.
    """
    sounddevice = _sounddevice()
    try:
        return str(sounddevice.query_devices(kind="input")["name"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SoundDeviceError("This machine has no microphone; plug one in, or give a recording as a file.") from error


def record(seconds: float, on_block: Callable[[float, float], None]) -> NDArray[np.int16]:
    """Records mono samples at 48 kHz.

    Args:
        on_block: told the seconds recorded so far and the level of the last block, 0 to 1.
    """
    input_device_name()
    sounddevice = _sounddevice()
    total = round(seconds * RECORD_RATE_HZ)
    block = round(BLOCK_S * RECORD_RATE_HZ)
    blocks: list[NDArray[np.int16]] = []
    taken = 0
    try:
        with sounddevice.InputStream(samplerate=RECORD_RATE_HZ, channels=1, dtype="int16") as stream:
            while taken < total:
                samples, _ = stream.read(min(block, total - taken))
                blocks.append(samples[:, 0].copy())
                taken += len(samples)
                on_block(taken / RECORD_RATE_HZ, float(np.abs(samples.astype(np.int32)).max()) / 32768.0)
    except sounddevice.PortAudioError as error:
        raise SoundDeviceError(f"The microphone cannot be used ({error}); choose another or give a file.") from error
    return np.concatenate(blocks)


def play(samples_s16: bytes, rate_hz: int) -> None:
    """Plays mono samples and waits for their end."""
    sounddevice = _sounddevice()
    try:
        sounddevice.play(np.frombuffer(samples_s16, "<i2"), rate_hz, blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SoundDeviceError("This machine has no loudspeaker that can be used.") from error
