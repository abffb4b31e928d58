"""The README's commands, one after the other, against the real stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likeness._cli.app import run
from likeness._demo.pictures import ASTRONAUT, GUEST
from services.common.decode import decode_audio, decode_picture
from tests.integration.conftest import PERSONA, RunningStack


def test_from_consent_to_speech_and_swap(
    running: RunningStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("LIKENESS_URL", running.url)

    def likeness(*arguments: str) -> Any:
        assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    why = ["--evidence", "examples/persona/README.md"]
    consent = likeness("consents", "create", "--who", "Juniper", "--kind", "synthetic", *why)["id"]
    voice = likeness("voices", "enrol", "cli", str(PERSONA), "--consent", consent)["id"]
    assert voice in [item["id"] for item in likeness("voices", "list")]

    hello = tmp_path / "hello.flac"
    spoken = likeness("speak", "Hello, this is my voice.", "--voice", "cli", "--out", str(hello))
    assert decode_audio(hello.read_bytes()).container == "flac"
    assert likeness("jobs", "show", spoken["job"])["status"] == "succeeded"

    attested = ["--for", "face", "--who", "a test picture", "--attested-by", "the tests", "--evidence", "none"]
    face_consent = likeness("consents", "create", *attested)["id"]
    swapped = tmp_path / "swapped.png"
    guest = tmp_path / "guest.png"
    guest.write_bytes(GUEST.content())
    pictures = ["--source", str(guest), "--target", str(ASTRONAUT.path)]
    swap = likeness("swap", *pictures, "--consent", face_consent, "--out", str(swapped))
    assert decode_picture(swapped.read_bytes()).shape == (512, 512, 3)
    assert swap["faces"][0]["distance_to_source"] < 0.6

    assert run(["consents", "revoke", consent]) == 0
    assert run(["speak", "Not any more.", "--voice", "cli", "--out", str(tmp_path / "no.wav")]) == 1
    assert "revoked" in capsys.readouterr().err
    assert not (tmp_path / "no.wav").exists()
