"""The command line: exit codes, one line on what to change, JSON for other programs, files only when whole."""

from __future__ import annotations

import json
import re
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from likeness._cli import microphone
from likeness._cli.app import run
from tests.unit.likeness_scripted_gateway import Answer, ScriptedGateway, json_answer, problem, scripted_gateway
from tests.unit.test_likeness_client import CONSENT, JOB

SPEECH_HEADERS = {
    "Content-Type": "audio/wav",
    "X-Likeness-Job": "job_1",
    "X-Likeness-Figures": "complete",
    "X-Likeness-Real-Time-Factor": "0.25",
    "X-Likeness-Time-To-First-Audio-Ms": "180",
    "X-Likeness-Speaker-Similarity": "0.81",
}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        monkeypatch.setenv("LIKENESS_URL", running.url)
        yield running


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ["up", "doctor", "speak", "swap", "record", "demo", "consents", "voices", "models", "jobs", "keys"]:
        assert command in shown
        assert run([command, "--help"]) == 0
        capsys.readouterr()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert re.fullmatch(r"likeness \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["speak", "Hello", "--out", "x.wav"], "Missing option '--voice'"),
        (["speak", " ", "--voice", "v", "--out", "x.wav"], "the text is empty; give a sentence"),
        (["speak", "a" * 4097, "--voice", "v", "--out", "x.wav"], "4097 characters, 4096 are allowed; split it"),
        (["speak", "Hello", "--voice", "v", "--out", "x.doc"], "add --format, or end it with .wav"),
        (["speak", "Hello", "--voice", "v", "--out", "x.mp3", "--play"], "--play plays wav only"),
        (["speak", "Hello", "--voice", "v", "--out", "x.wav", "--speed", "9"], "less than or equal to 4"),
        (["swap", "--source", "no.png", "--target", "no.png", "--out", "x.png", "--consent", "c"], "does not exist"),
        (["voices", "enrol", "v", "no.wav", "--consent", "c"], "does not exist"),
        (["consents", "create", "--who", "A", "--evidence", "letter"], "needs --attested-by"),
        (["consents", "list", "--for", "car"], "'car' is not one of 'voice', 'face'"),
        (["record", "--out", "x.mp3"], "end the name with .wav"),
        (["sing"], "No such command 'sing'"),
    ],
)
def test_a_wrong_command_says_in_one_line_what_to_change(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert told in one_line(captured.err) and captured.err.startswith("likeness")
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_speaks_into_a_file(gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"RIFFsound", SPEECH_HEADERS)
    out = tmp_path / "new" / "hello.wav"
    assert run(["speak", "Hello", "--voice", "juniper", "--out", str(out), "--seed", "3"]) == 0
    assert out.read_bytes() == b"RIFFsound"
    shown = capsys.readouterr().out
    assert "real-time factor 0.25, first audio after 180 ms, similarity to the voice 0.81" in " ".join(shown.split())
    assert gateway.asked[0].json["response_format"] == "wav"


def test_speaks_what_stands_in_standard_input(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"OggS", SPEECH_HEADERS)
    monkeypatch.setattr("typer.get_text_stream", lambda name: SimpleNamespace(read=lambda: "From a pipe.\n"))
    out = tmp_path / "hello.ogg"
    assert run(["speak", "-", "--voice", "juniper", "--out", str(out), "--json"]) == 0
    assert gateway.asked[0].json["input"] == "From a pipe."
    assert gateway.asked[0].json["response_format"] == "opus"
    shown = json.loads(capsys.readouterr().out)
    assert shown["job"] == "job_1" and shown["speaker_similarity"] == 0.81


def test_a_refusal_is_told_and_leaves_no_file(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hello.wav"
    gateway.answers["POST /v1/audio/speech"] = problem(
        403, "The consent has expired or was revoked", "The consent 'cons_1' was revoked.", "CONSENT_NOT_LIVE"
    )
    assert run(["speak", "Hello", "--voice", "juniper", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "The consent has expired or was revoked\nThe consent 'cons_1' was revoked.\n" in error
    assert list(tmp_path.iterdir()) == []


def test_a_broken_stream_leaves_the_old_file(gateway: ScriptedGateway, tmp_path: Path) -> None:
    out = tmp_path / "hello.wav"
    out.write_bytes(b"old")
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"RI", SPEECH_HEADERS, truncated=True)
    assert run(["speak", "Hello", "--voice", "juniper", "--out", str(out)]) == 1
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["voices", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "`likeness up` starts it" in one_line(capsys.readouterr().err)


def test_consents(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["POST /v1/face_consents"] = json_answer({**CONSENT, "uses": ["swap"]}, 201)
    page = {"object": "list", "data": [CONSENT], "has_more": False, "last_id": "cons_1"}
    gateway.answers["GET /v1/audio/voice_consents?limit=100"] = json_answer(page)
    gateway.answers["POST /v1/audio/voice_consents/cons_1/revoke"] = json_answer({**CONSENT, "state": "revoked"})

    create = ["consents", "create", "--for", "face", "--who", "Ann", "--evidence", "letter", "--attested-by", "Bob"]
    assert run([*create, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "cons_1"
    assert gateway.asked[0].json == {"who": "Ann", "kind": "attested", "evidence": "letter", "attested_by": "Bob"}

    assert run(["consents", "list", "--json"]) == 0
    assert [item["who"] for item in json.loads(capsys.readouterr().out)] == ["Juniper"]
    assert run(["consents", "list"]) == 0
    assert "Juniper" in capsys.readouterr().out
    assert run(["consents", "revoke", "cons_1"]) == 0
    assert capsys.readouterr().out == "cons_1: revoked\n"


def test_enrols_and_tells_the_advice(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = {"id": "voice_1", "name": "ann", "consent": "cons_1", "created_at": 1, "similarity": 0.7}
    quality = {"speech_seconds": 4.2, "advice": ["Record in a quieter room."]}
    gateway.answers["POST /v1/audio/voices"] = json_answer({**voice, "quality": quality}, 201)
    page = {"object": "list", "data": [{**voice, "quality": quality}], "has_more": False, "last_id": "voice_1"}
    gateway.answers["GET /v1/audio/voices?limit=100"] = json_answer(page)
    sample = tmp_path / "ann.wav"
    sample.write_bytes(b"RIFF")
    assert run(["voices", "enrol", "ann", str(sample), "--consent", "cons_1"]) == 0
    captured = capsys.readouterr()
    assert captured.out + captured.err == (
        "voice_1: ann, similarity to the recording 0.70\nAdvice: Record in a quieter room.\n"
    )
    assert b'name="calibration"\r\n\r\nfull\r\n' in gateway.asked[-1].body
    assert run(["voices", "enrol", "ann", str(sample), "--consent", "cons_1", "--fast"]) == 0
    assert b'name="calibration"\r\n\r\nfast\r\n' in gateway.asked[-1].body
    capsys.readouterr()
    assert run(["voices", "list"]) == 0
    assert "4.2" in capsys.readouterr().out


def test_enrols_several_recordings_and_names_the_one_left_out(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [
        {"number": number, "seconds": 4.0, "similarity": similarity, "used": similarity > 0.6}
        for number, similarity in ((1, 0.81), (2, 0.43), (3, 0.8))
    ]
    voice = {"id": "voice_1", "name": "ann", "consent": "cons_1", "created_at": 1}
    gateway.answers["POST /v1/audio/voices"] = json_answer({**voice, "quality": {"clips": clips}}, 201)
    samples = [tmp_path / f"{name}.wav" for name in ("morning", "noon", "night")]
    for sample in samples:
        sample.write_bytes(sample.name.encode())
    assert run(["voices", "enrol", "ann", *map(str, samples), "--consent", "cons_1"]) == 0
    captured = capsys.readouterr()
    assert captured.out + captured.err == "voice_1: ann\nLeft out: noon.wav, similarity to the others 0.43\n"
    body = gateway.asked[-1].body
    assert [body.count(f'name="audio_sample"; filename="{sample.name}"'.encode()) for sample in samples] == [1, 1, 1]


def test_swaps_with_a_face_of_its_own(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = {"id": "face_1", "name": None, "consent": "cons_1", "created_at": 1}
    gateway.answers["POST /v1/faces"] = json_answer(face, 201)
    figures = {"faces": [{}], "seconds": 0.1}
    swap = {"id": "job_1", "status": "succeeded", "media": "media_1", "figures": figures}
    gateway.answers["POST /v1/swaps"] = json_answer(swap, 201)
    gateway.answers["GET /v1/media/media_1"] = Answer(200, b"jpeg", {"Content-Type": "image/jpeg"})
    gateway.answers["DELETE /v1/faces/face_1"] = json_answer({"deleted": True})
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    out = tmp_path / "out.jpg"
    arguments = ["swap", "--source", str(picture), "--target", str(picture), "--out", str(out), "--consent", "cons_1"]
    assert run(arguments) == 0
    assert out.read_bytes() == b"jpeg"
    assert "1 face swapped" in capsys.readouterr().out
    assert b'name="format"\r\n\r\njpeg' in gateway.asked[1].body
    assert gateway.asked[-1].method == "DELETE", "the face was only for this swap"


def test_shows_a_job(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"reason": "QUEUE_FULL", "detail": "Try later.", "field": None}
    gateway.answers["GET /v1/jobs/job_1"] = json_answer({**JOB, "status": "failed", "error": error})
    assert run(["jobs", "show", "job_1"]) == 0
    shown = capsys.readouterr().out
    assert "failed" in shown and "QUEUE_FULL" in shown and "Try later." in shown


def test_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"weights")
    row = {"name": "a", "file": "a.onnx", "format": "onnx", "license": "MIT", "source": "here", "data": "none"}
    row["sha256"] = "9bd8ee9f79e9bd2f7c9e1de84f6f2a3e2a9e5c5ab7a86f1f2ce9d1b2c6a4c3a1"
    (tmp_path / "manifest.json").write_text(json.dumps({"models": [row]}))
    assert run(["models", "list", "--models-dir", str(tmp_path)]) == 0
    assert "MIT" in capsys.readouterr().out
    assert run(["models", "verify", "--models-dir", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "wrong a\n" and "SHA-256" in captured.err
    import hashlib

    row["sha256"] = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps({"models": [row]}))
    assert run(["models", "verify", "--models-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "ok    a\n"


class FakeSoundDevice:
    """The little of sounddevice that is used; its microphone hears a sine."""

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
            self.rate_hz, self.taken = samplerate, 0

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def read(self, count: int) -> tuple[np.ndarray[Any, np.dtype[np.int16]], bool]:
            times_s = (self.taken + np.arange(count)) / self.rate_hz
            self.taken += count
            return (10_000 * np.sin(2 * np.pi * 440 * times_s)).astype(np.int16)[:, None], False

    @staticmethod
    def query_devices(kind: str) -> dict[str, str]:
        return {"name": "a microphone"}


def test_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(microphone, "_sounddevice", lambda: FakeSoundDevice)
    out = tmp_path / "me.wav"
    assert run(["record", "--out", str(out), "--seconds", "1.25"]) == 0
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (48_000, 1, 60_000)
        samples = np.frombuffer(file.readframes(60_000), "<i2")
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) / 1.25 == 440


@pytest.mark.parametrize(
    ("error", "told"),
    [(ImportError, "pip install 'likeness[record]'"), (OSError("PortAudio library not found"), "libportaudio2")],
)
def test_says_what_to_do_without_a_microphone(
    error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise error

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert run(["record", "--out", str(tmp_path / "me.wav")]) == 1
    assert told in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_person_is_asked_and_proves(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "id": "chal_1",
        "who": "Ann",
        "phrase": "My name is Ann.",
        "instructions": "Read it aloud.",
        "expires_at": "2030-01-01T00:10:00Z",
    }
    gateway.answers["POST /v1/audio/voice_consents/challenges"] = json_answer(asked, 201)
    gateway.answers["POST /v1/audio/voice_consents"] = json_answer({**CONSENT, "kind": "spoken"}, 201)
    assert run(["consent", "phrase", "--who", "Ann", "--language", "en", "--purpose", "an audio book"]) == 0
    told = capsys.readouterr().out
    assert "My name is Ann." in told and "--challenge chal_1" in told
    assert gateway.asked[0].json == {"who": "Ann", "languages": ["en"], "purpose": "an audio book"}
    recording = tmp_path / "phrase.wav"
    recording.write_bytes(b"RIFF")
    assert run(["consents", "prove", str(recording), "--challenge", "chal_1"]) == 0
    assert "spoken" in capsys.readouterr().out
    assert b'name="challenge"' in gateway.asked[1].body and b'name="recording"' in gateway.asked[1].body


def test_a_receipt_is_checked_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, other = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
    claims = {"sub": "Ann", "kind": "spoken", "uses": ["speech"], "jti": "cons_1", "revoke": "POST it", "until": None}
    header = {"alg": "Ed25519", "typ": "likeness-consent-receipt+jwt", "kid": key.thumbprint()}
    receipt, keys = tmp_path / "receipt.txt", tmp_path / "keys.json"
    receipt.write_text(jwt.encode(header, claims, key, algorithms=["Ed25519"]) + "\n")

    def trust(known: OKPKey) -> None:
        public = {**known.as_dict(private=False), "kid": key.thumbprint()}
        keys.write_text(json.dumps({"keys": [public]}))

    verify = ["consent", "verify-receipt", str(receipt), "--keys", str(keys)]
    trust(key)
    assert run(verify) == 0
    assert "Genuine: Ann gave a spoken consent for speech" in " ".join(capsys.readouterr().out.split())
    trust(other)
    assert run(verify) == 1
    assert "Not genuine" in capsys.readouterr().err
    trust(key)
    receipt.write_text(json.dumps({"receipt": receipt.read_text().strip()[:-4] + "AAAA"}))
    assert run(verify) == 1
    receipt.write_text(jwt.encode({**header, "typ": "JWT"}, claims, key, algorithms=["Ed25519"]))
    assert run(verify) == 1
    assert "no receipt" in capsys.readouterr().err
