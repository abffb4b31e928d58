"""What `likeness speak` can ask for beyond a text and a voice, and words written as subtitles."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import likeness
from likeness import Word
from likeness._cli.app import run
from tests.unit.likeness_scripted_gateway import Answer, ScriptedGateway, scripted_gateway

WORDS = [
    Word("Wait", 0.1, 0.4, '"Wait,"'),
    Word("she", 0.5, 0.7, "she"),
    Word("said", 0.7, 1.0, "said."),
    Word("A", 1.2, 1.3, "A"),
    Word("well", 1.3, 1.5, "well-"),
    Word("known", 1.5, 1.8, "known"),
    Word("voice", 3.2, 3.6, "voice."),
]
FIGURES = {
    "X-Likeness-Job": "job_1",
    "X-Likeness-Real-Time-Factor": "0.2500",
    "X-Likeness-Time-To-First-Audio-Ms": "180.0",
    "X-Likeness-Speaker-Similarity": "0.8100",
    "X-Likeness-Figures": "complete",
}


def timed_answer() -> Answer:
    body = {
        "object": "audio.speech",
        "job": "job_1",
        "audio": base64.b64encode(b"RIFFsound").decode(),
        "content_type": "audio/wav",
        "duration": 3.6,
        "words": [vars(word) for word in WORDS],
    }
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json", **FIGURES})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    with scripted_gateway() as server:
        monkeypatch.setenv("LIKENESS_URL", server.url)
        server.answers["POST /v1/audio/speech"] = timed_answer()
        yield server


def test_a_cue_is_a_sentence_or_as_much_as_is_said_without_a_pause() -> None:
    assert likeness.to_srt(WORDS) == (
        '1\n00:00:00,100 --> 00:00:01,200\n"Wait," she said.\n\n'
        "2\n00:00:01,200 --> 00:00:02,300\nA well-known\n\n"
        "3\n00:00:03,200 --> 00:00:04,100\nvoice.\n"
    )


def test_cues_have_two_lines_that_can_be_read_and_never_overlap() -> None:
    words = [Word("wordily", i * 0.4, i * 0.4 + 0.38, "wordily") for i in range(200)]
    cues = re.findall(r"(\S+) --> (\S+)\n((?:.+\n)+)", likeness.to_srt(words))
    lines = [text.strip().split("\n") for _, _, text in cues]
    assert all(len(cue) <= 2 and max(map(len, cue)) <= 42 for cue in lines)
    assert sum(text.count("wordily") for _, _, text in cues) == 200
    assert all(end <= start for (_, end, _), (start, _, _) in zip(cues, cues[1:], strict=False))


def test_webvtt_escapes_what_is_markup_there() -> None:
    text = likeness.to_vtt([Word("&", 3661.5, 3662.0, "<&>")])
    assert text == "WEBVTT\n\n01:01:01.500 --> 01:01:02.500\n&lt;&amp;&gt;\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("words.srt", likeness.to_srt(WORDS)), ("words.VTT", likeness.to_vtt(WORDS)), ("words.json", None)],
)
def test_timestamps_are_written_beside_the_audio(
    gateway: ScriptedGateway, tmp_path: Path, name: str, content: str | None
) -> None:
    out, words = tmp_path / "a.wav", tmp_path / name
    assert run(["speak", "Hello", "--voice", "v", "--out", str(out), "--timestamps", str(words)]) == 0
    assert out.read_bytes() == b"RIFFsound"
    assert gateway.asked[0].json["timestamps"] is True
    written = words.read_text()
    if content is None:
        assert [Word.from_json(word) for word in json.loads(written)["words"]] == WORDS
    else:
        assert written == content


def test_pitch_temperature_and_pronunciations_are_sent(gateway: ScriptedGateway, tmp_path: Path) -> None:
    entries = tmp_path / "words.json"
    entries.write_text('{"GIF": "JH IH1 F", "Ada": "AE1 D AH0"}')
    arguments = ["--pitch", "-2", "--temperature", "0", "--dictionary", str(entries), "--pronounce", "Ada=/ˈɑdə/"]
    assert run(["speak", "Hi", "--voice", "v", "--out", str(tmp_path / "a.wav"), *arguments]) == 0
    sent: dict[str, Any] = gateway.asked[0].json
    assert (sent["pitch_shift"], sent["temperature"]) == (-2.0, 0.0)
    assert sent["dictionary"] == {"GIF": "JH IH1 F", "Ada": "/ˈɑdə/"}
    assert "timestamps" not in sent


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--timestamps", "x.txt"], ".json, .srt, .vtt"),
        (["--pronounce", "Ada"], "write it like GIF='JH IH1 F'"),
        (["--dictionary", "missing.json"], "missing.json"),
        (["--temperature", "2"], "1.5"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(["speak", "Hi", "--voice", "v", "--out", str(tmp_path / "a.wav"), *arguments]) == 2
    assert told in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert gateway.asked == []


def test_long_markup_is_left_to_the_server(gateway: ScriptedGateway, tmp_path: Path) -> None:
    text = "<speak>" + '<sub alias="b">a</sub>' * 300 + "</speak>"
    assert (
        run(["speak", text, "--voice", "v", "--out", str(tmp_path / "a.wav"), "--timestamps", str(tmp_path / "w.srt")])
        == 0
    )
    assert gateway.asked[0].json["input"] == text


def test_timestamps_of_a_job_are_written(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.answers["GET /v1/jobs/job_1/timestamps"] = Answer(
        200, json.dumps({"words": [vars(word) for word in WORDS]}).encode()
    )
    out = tmp_path / "words.srt"
    assert run(["jobs", "timestamps", "job_1", str(out)]) == 0
    assert out.read_text() == likeness.to_srt(WORDS)
