"""`likeness protected` against a gateway, from asking the person to their removal."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

import likeness
from likeness._cli.app import run
from services.common.encode_audio import encode_audio
from tests.contract.consent_people import ear_that_hears, recording
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages, portrait, sine


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    stages = FakeStages(tmp_path)
    keyed = KeyedGateway(tmp_path, protected_refresh_s=0.0, **stages.targets())
    server = make_server("127.0.0.1", 0, keyed.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("LIKENESS_URL", url)
    monkeypatch.setenv("LIKENESS_API_KEY", keyed.bootstrap_key)
    with ear_that_hears(monkeypatch):
        yield url
    server.shutdown()
    thread.join()
    server.server_close()
    keyed.close()
    stages.close()


def test_a_person_is_protected_and_removed(served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str) -> str:
        assert run(["protected", *arguments]) == 0
        shown = capsys.readouterr()
        return shown.out + shown.err

    def take(number: int) -> str:
        file = tmp_path / f"{number}.wav"
        file.write_bytes(encode_audio(recording(200.0, take=number), "wav"))
        return str(file)

    asked = told("ask", "--who", "Ada")
    task = re.search(r"--challenge (chal_\w+)", asked)
    assert task and "My name is Ada" in asked and "--recording FILE" in asked
    made = told("add", "--challenge", task[1], "--recording", take(1))
    entry = re.search(r"prot_\w+", made)
    assert entry and "the voice of Ada is protected" in made
    assert entry[0] in told("list")
    again = re.search(r"--challenge (chal_\w+)", told("ask", "--removal-of", entry[0]))
    assert again
    told("remove", entry[0], "--challenge", again[1], "--recording", take(2))
    assert json.loads(told("list", "--json")) == []


def test_an_administrator_protects_a_face(served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "form.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "bob.png").write_bytes(portrait(120))
    files = ["--document", str(tmp_path / "form.pdf"), "--picture", str(tmp_path / "bob.png")]
    assert run(["protected", "add", "--who", "Bob", "--attested-by", "Eve", *files, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["subject"], made["kind"], made["attested_by"]) == ("face", "attested", "Eve")
    assert run(["protected", "remove", made["id"]]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["ask"], ["ask", "--who", "A", "--removal-of", "b"], ["add"], ["add", "--challenge", "c"], ["remove"]],
)
def test_a_wrong_command_line_says_what_to_change(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["protected", *arguments]) == 2
    assert capsys.readouterr().err


def test_the_client_tells_who_is_refused(served: str) -> None:
    with likeness.Client(served, None) as client:
        document = b"%PDF-1.7"
        entry = client.protected.attest(
            "Ada", attested_by="Eve", document=document, audio_samples=[encode_audio(sine(200.0, 2.0), "wav")]
        )
        assert client.protected.get(entry.id) == entry
        consent: Any = client.voice_consents.create(who="Ada", kind="synthetic", evidence="x")
        with pytest.raises(likeness.LikenessAPIError) as caught:
            client.voices.enrol("ada", encode_audio(sine(200.0, 2.0), "wav"), consent=consent.id, fast=True)
        assert caught.value.reason == "PROTECTED_PERSON"
        with pytest.raises(ValueError, match="recording or the film"):
            client.protected.prove("chal_x")
