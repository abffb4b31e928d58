"""Every example runs as its first lines say, against the real stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import likeness
from likeness._demo.film import make_film, some_frames
from likeness._demo.pictures import ASTRONAUT, GROUP, GUEST
from services.common.decode import decode_audio, decode_picture
from services.common.settings import REPOSITORY_ROOT
from tests.integration.conftest import PERSONA, RunningStack

EXAMPLES = REPOSITORY_ROOT / "examples"


def run_example(running: RunningStack, *arguments: str | Path) -> str:
    name = str(arguments[0])
    interpreter = ["sh"] if name.endswith(".sh") else [sys.executable]
    done = subprocess.run(
        [*interpreter, str(EXAMPLES / name), *map(str, arguments[1:])],
        env={**os.environ, "LIKENESS_URL": running.url},
        capture_output=True,
        text=True,
        cwd=REPOSITORY_ROOT,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def targets(running: RunningStack, *stages: str) -> list[str]:
    return [part for stage in stages for part in (f"--{stage}", running.spec(stage).address)]


def test_client_speech(running: RunningStack, tmp_path: Path) -> None:
    shown = run_example(running, "client_speech.py", "--out", tmp_path / "a.wav")
    assert decode_audio((tmp_path / "a.wav").read_bytes()).duration_s > 1
    assert "403 CONSENT_NOT_LIVE" in shown


def test_client_swap(running: RunningStack, tmp_path: Path) -> None:
    pictures: list[str | Path] = ["--source", ASTRONAUT.path, "--target", GROUP.path]
    shown = run_example(running, "client_swap.py", *pictures, "--out", tmp_path / "a.png", "--who", "x")
    assert decode_picture((tmp_path / "a.png").read_bytes()).shape == (886, 1280, 3)
    assert "face 5: distance to source" in shown


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_film(ASTRONAUT, path, seconds=0.5, side_px=256)
    return path


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guest") / "guest.png"
    path.write_bytes(GUEST.content())
    return path


def test_client_film(running: RunningStack, film: Path, guest: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    shown = run_example(running, "client_film.py", "--source", guest, "--target", film, "--out", out, "--who", "x")
    assert "swapped in 12 of 12 frames" in shown
    assert len(some_frames(out, 12)) == 12


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_film(running: RunningStack, film: Path, guest: Path, tmp_path: Path) -> None:
    shown = run_example(running, "curl_film.sh", guest, film, "x", tmp_path / "a.mp4")
    assert "12 of 12 frames" in shown
    assert len(some_frames(tmp_path / "a.mp4", 12)) == 12


def test_openai_speech(running: RunningStack, voice: likeness.Voice, tmp_path: Path) -> None:
    shown = run_example(running, "openai_speech.py", "--voice", voice.name, "--out", tmp_path / "a.mp3")
    assert decode_audio((tmp_path / "a.mp3").read_bytes()).duration_s > 1
    assert "first audio after" in shown


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(running: RunningStack, tmp_path: Path) -> None:
    shown = run_example(running, "curl.sh", tmp_path / "a.mp3")
    assert decode_audio((tmp_path / "a.mp3").read_bytes()).duration_s > 1
    assert "x-likeness-speaker-similarity" in shown.lower()


def test_grpc_encoder(running: RunningStack) -> None:
    shown = run_example(running, "grpc_encoder.py", PERSONA, PERSONA, "--who", "Juniper", *targets(running, "encoder"))
    assert "cosine 1.000" in shown


def test_grpc_speech(running: RunningStack, tmp_path: Path) -> None:
    stages = targets(running, "synthesizer", "vocoder")
    shown = run_example(running, "grpc_speech.py", "--out", tmp_path / "a.wav", *stages)
    assert decode_audio((tmp_path / "a.wav").read_bytes()).duration_s > 1
    assert "morning" in shown.lower()


def test_grpc_faces(running: RunningStack) -> None:
    shown = run_example(running, "grpc_faces.py", GROUP.path, "--who", "x", *targets(running, "faceswap"))
    assert "1280 x 886 pixels" in shown


def test_the_readme_lists_every_example() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]:
        assert f"({path.name})" in listed
