"""Hostile, broken and mislabelled files over HTTP: a problem that names the fault, and the stack goes on."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import pytest

import likeness
from likeness._demo.pictures import ASTRONAUT
from services.common.encode_audio import encode_audio
from tests.integration.conftest import PERSONA, RunningStack

NOISE = np.random.default_rng(0).bytes(20_000)


def _svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def _playlist() -> bytes:
    return b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"


def _large_picture() -> bytes:
    """A few kilobytes that would take gigabytes once decoded."""
    header = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    return bytes(header)


AUDIO = {
    "empty": b"",
    "noise": NOISE,
    "truncated": PERSONA.read_bytes()[:300],
    "a picture": b"\x89PNG\r\n\x1a\n" + NOISE,
    "a playlist": _playlist(),
    "silence": encode_audio(np.zeros(48_000, np.float32), "wav"),
    "too short": encode_audio(np.sin(np.arange(4800, dtype=np.float32) / 9) * np.float32(0.3), "wav"),
}
PICTURES = {
    "empty": b"",
    "noise": NOISE,
    "truncated": ASTRONAUT.path.read_bytes()[:5000],
    "a recording": PERSONA.read_bytes(),
    "a drawing with references": _svg(),
    "a bomb": _large_picture(),
}


def check_problem(answer: httpx.Response, field: str) -> None:
    assert answer.status_code in (413, 415, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["reason"].startswith(("MEDIA_", "SPEECH_TOO_SHORT", "FACE_"))
    assert problem["field"] == field
    assert len(problem["detail"]) > 15
    assert "root:" not in answer.text, "no file of this machine was read"


@pytest.mark.parametrize("kind", AUDIO)
def test_bad_recordings(running: RunningStack, client: likeness.Client, kind: str) -> None:
    consent = client.voice_consents.create(who="x", kind="synthetic", evidence="a test")
    answer = httpx.post(
        f"{running.url}/v1/audio/voices",
        data={"name": f"bad {kind}", "consent": consent.id},
        files={"audio_sample": ("sample.wav", AUDIO[kind], "audio/wav")},
        timeout=60,
    )
    check_problem(answer, "audio_sample")


@pytest.mark.parametrize("kind", PICTURES)
def test_bad_pictures(running: RunningStack, face_consent: likeness.Consent, kind: str) -> None:
    answer = httpx.post(
        f"{running.url}/v1/faces",
        data={"consent": face_consent.id},
        files={"picture": ("picture.png", PICTURES[kind], "image/png")},
        timeout=60,
    )
    check_problem(answer, "picture")


def test_the_stack_is_whole_afterwards(running: RunningStack) -> None:
    """Runs after those above: no server died of what it was fed."""
    answer = httpx.get(f"{running.url}/readyz", timeout=10)
    assert answer.status_code == 200, answer.text
