"""Speech over HTTP: OpenAI's client, figures, streaming, failures in mid-stream, listeners who leave."""

from __future__ import annotations

import base64
import io
import json
import math
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from tests.contract.gateway_fakes import (
    BEST_WARP,
    BREAK_WORD,
    HOLD_WORD,
    FakeStages,
    pitch_embedding,
    sine,
    spoken_seconds,
    strongest_hz,
    wait_for,
)
from tests.contract.gateway_process import GatewayProcess
from tests.same_speech import is_same_speech

PITCH_HZ = 200.0
SHORT = "Good morning to you."
LONG = "This sentence goes on and on until it is long enough to be streamed. " * 3

ILL_FATED = {"input": f"All has been well with everybody until {BREAK_WORD}", "voice": "Ada"}


def header(response: httpx.Response, figure: str) -> float:
    return float(response.headers[f"X-Likeness-{figure}"])


@dataclass
class Stack:
    stages: FakeStages
    gateway: GatewayProcess
    voice: dict[str, Any]

    @property
    def client(self) -> httpx.Client:
        return self.gateway.client

    def speak(self, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/audio/speech", json={"input": SHORT, "voice": "Ada", **fields})

    def job(self, response: httpx.Response) -> dict[str, Any]:
        """The record of a finished job."""

        def finished() -> dict[str, Any] | None:
            record: dict[str, Any] = self.client.get(f"/v1/jobs/{response.headers['X-Likeness-Job']}").json()
            return None if record["status"] == "processing" else record

        job: dict[str, Any] = wait_for(finished)
        return job


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data_dir = tmp_path_factory.mktemp("gateway-speech")
    stages = FakeStages(data_dir)
    gateway = GatewayProcess(data_dir, **stages.targets())
    try:
        consent = gateway.client.post(
            "/v1/audio/voice_consents",
            json={"who": "Ada, a sine", "kind": "synthetic", "evidence": "made by this test"},
        ).json()
        sample = encode_audio(sine(PITCH_HZ, 3.0), "wav")
        voice = gateway.client.post(
            "/v1/audio/voices",
            data={"name": "Ada", "consent": consent["id"]},
            files={"audio_sample": ("ada.wav", sample, "audio/wav")},
        )
        assert voice.status_code == 201, voice.text
        yield Stack(stages, gateway, voice.json())
    finally:
        assert gateway.close() == 0
        stages.close()


def test_calibration_keeps_the_warp_that_sounds_most_alike(stack: Stack) -> None:
    voice = stack.voice
    by_warp = {trial["warp"]: trial["similarity"] for trial in voice["calibration"]["trials"]}
    assert sorted(by_warp) == [1.0, BEST_WARP]
    assert voice["formant_warp"] == BEST_WARP == max(by_warp, key=by_warp.__getitem__)
    assert by_warp[BEST_WARP] == pytest.approx(1.0, abs=0.01)
    # the fake encoder hears pitch alone, which the search does not touch: what it finds is of no use and not kept
    assert voice["calibration"]["correction"] == []
    assert voice["similarity"] == voice["calibration"]["similarity_before"] == pytest.approx(1.0, abs=0.01)
    detuned = PITCH_HZ * math.exp(abs(1.0 - BEST_WARP))
    expected = float(pitch_embedding(PITCH_HZ) @ pitch_embedding(detuned))
    assert by_warp[1.0] == pytest.approx(expected, abs=0.02)


def test_openai_client_speaks(stack: Stack, tmp_path: Path) -> None:
    client = openai.OpenAI(base_url=f"{stack.gateway.url}/v1", api_key="none", max_retries=0)
    answer = client.audio.speech.create(model="tts-1", voice="Ada", input=SHORT, response_format="wav")
    decoded = decode_audio(answer.content)
    assert decoded.duration_s == pytest.approx(spoken_seconds(SHORT), abs=1e-3)
    assert strongest_hz(decoded.samples) == pytest.approx(PITCH_HZ, rel=0.02)
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice={"id": stack.voice["id"]}, input=LONG, response_format="mp3"
    ) as stream:
        stream.stream_to_file(tmp_path / "speech.mp3")
    decoded = decode_audio((tmp_path / "speech.mp3").read_bytes())
    assert decoded.duration_s == pytest.approx(spoken_seconds(LONG), abs=0.2)


def test_openai_client_makes_a_voice_and_speaks_with_it(stack: Stack, tmp_path: Path) -> None:
    consent = stack.client.post(
        "/v1/audio/voice_consents",
        json={"who": "Eve, a sine", "kind": "synthetic", "evidence": "made by this test"},
    ).json()["id"]
    client = openai.OpenAI(base_url=f"{stack.gateway.url}/v1", api_key="none", max_retries=0)
    sample = ("eve.wav", encode_audio(sine(250.0, 3.0), "wav"), "audio/wav")
    voice = client.audio.voices.create(name="Eve", consent=consent, audio_sample=sample, type="audio_sample")
    assert (voice.object, voice.name, voice.type) == ("audio.voice", "Eve", "audio_sample")
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice.id, input=LONG, response_format="wav"
    ) as stream:
        stream.stream_to_file(tmp_path / "eve.wav")
    spoken = decode_audio((tmp_path / "eve.wav").read_bytes())
    assert strongest_hz(spoken.samples) == pytest.approx(250.0, rel=0.02)
    assert client.audio.voices.delete(voice.id).deleted is True
    with pytest.raises(openai.BadRequestError) as refused:  # voices come from samples here, never from a description
        client.audio.voices.create(name="Prompted", prompt="a deep voice", type="prompt")
    assert refused.value.param is not None


def test_openai_client_shows_the_message_of_a_problem(stack: Stack) -> None:
    client = openai.OpenAI(base_url=f"{stack.gateway.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(model="tts-1", voice="Nobody", input=SHORT)
    assert "'Nobody'" in caught.value.message
    assert caught.value.code == "not_found"
    assert caught.value.param == "voice"


def test_openai_client_reads_events(stack: Stack) -> None:
    response = stack.speak(input=LONG, stream_format="sse", response_format="pcm")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    done = events[-1]
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["input_tokens"] == len(LONG)
    assert done["likeness"]["figures"]["speaker_similarity"] == pytest.approx(1.0, abs=0.02)
    assert stack.job(response)["figures"] == done["likeness"]["figures"]


def test_short_input_is_completed_with_exact_figures(stack: Stack) -> None:
    response = stack.speak(response_format="wav", seed=3)
    job = stack.job(response)
    with wave.open(io.BytesIO(response.content)) as file:
        seconds = file.getnframes() / file.getframerate()
    assert response.headers["X-Likeness-Figures"] == "complete"
    assert int(response.headers["content-length"]) == len(response.content)
    assert seconds == pytest.approx(spoken_seconds(SHORT))
    figures = job["figures"]
    assert figures["audio_seconds"] == pytest.approx(seconds)
    assert float(response.headers["X-Likeness-Real-Time-Factor"]) == pytest.approx(
        figures["real_time_factor"], abs=1e-4
    )
    assert float(response.headers["X-Likeness-Time-To-First-Audio-Ms"]) == pytest.approx(figures["ttfa_ms"], abs=0.1)
    similarity = header(response, "Speaker-Similarity")
    assert similarity == pytest.approx(figures["speaker_similarity"], abs=1e-4) == pytest.approx(1.0, abs=0.02)
    assert 0 < figures["ttfa_ms"] / 1000 <= figures["real_time_factor"] * seconds + 1e-4
    assert job["status"] == "succeeded"
    assert job["request_id"] == response.headers["X-Request-Id"]
    assert job["parameters"] | {"seed": 3, "input_characters": len(SHORT)} == job["parameters"]
    assert SHORT not in json.dumps(job)


def test_similarity_is_that_of_this_output(stack: Stack) -> None:
    shifted = stack.speak(pitch_shift=6.0)
    expected = float(pitch_embedding(PITCH_HZ) @ pitch_embedding(PITCH_HZ * 2**0.5))
    assert header(shifted, "Speaker-Similarity") == pytest.approx(expected, abs=0.02)
    assert expected < 0.9


def test_long_input_is_streamed_before_it_is_complete(stack: Stack) -> None:
    stack.stages.doings.go_on.clear()
    text = f"Enough can be heard before the pause. {HOLD_WORD} {LONG}"
    with stack.client.stream("POST", "/v1/audio/speech", json={"input": text, "voice": "Ada"}) as response:
        assert response.status_code == 200
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["X-Likeness-Figures"] == "first-chunk"
        assert header(response, "Speaker-Similarity") == pytest.approx(stack.voice["similarity"], abs=1e-3)
        pieces = response.iter_raw()
        received = next(pieces)
        assert received, "audio arrives while the synthesizer still waits in the middle of the text"
        assert stack.client.get(f"/v1/jobs/{response.headers['X-Likeness-Job']}").json()["status"] == "processing"
        stack.stages.doings.go_on.set()
        received += b"".join(pieces)
    job = stack.job(response)
    assert decode_audio(received).duration_s == pytest.approx(spoken_seconds(text), abs=0.2)
    assert job["status"] == "succeeded"
    assert float(response.headers["X-Likeness-Time-To-First-Audio-Ms"]) == pytest.approx(
        job["figures"]["ttfa_ms"], abs=0.1
    )
    assert job["figures"]["audio_seconds"] == pytest.approx(spoken_seconds(text))


@pytest.mark.parametrize(
    ("fields", "figures"),
    [
        ({"input": LONG, "stream": False}, "complete"),
        ({"input": SHORT, "stream": True}, "first-chunk"),
        ({"input": SHORT, "stream_format": "audio"}, "first-chunk"),
        ({"input": LONG}, "first-chunk"),
    ],
)
def test_stream_decides_when_it_is_sent(stack: Stack, fields: dict[str, Any], figures: str) -> None:
    assert stack.speak(**fields).headers["X-Likeness-Figures"] == figures


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("container", ["wav", "mp3", "flac", "opus", "aac", "pcm"])
def test_every_format_both_ways(stack: Stack, container: str, stream: bool) -> None:
    response = stack.speak(response_format=container, stream=stream)
    types = {"mp3": "audio/mpeg", "opus": "audio/ogg"}
    assert response.headers["content-type"] == types.get(container, f"audio/{container}")
    data = response.content
    seconds = len(data) / 2 / 24_000 if container == "pcm" else decode_audio(data).duration_s
    assert seconds == pytest.approx(spoken_seconds(SHORT), abs=0.12)


def test_same_seed_gives_the_same_speech(stack: Stack) -> None:
    first, second = stack.speak(seed=5, response_format="wav"), stack.speak(seed=5, response_format="wav")
    assert is_same_speech(first.content, second.content)


def test_speed_and_engine_reach_the_stages(stack: Stack) -> None:
    response = stack.speak(speed=2.0, vocoder="wavenet", response_format="wav")
    figures = stack.job(response)["figures"]
    assert figures["audio_seconds"] == pytest.approx(spoken_seconds(SHORT, speed=2.0))
    assert figures["vocoder"] == "wavenet"


def test_timestamps_come_with_the_audio_as_json(stack: Stack) -> None:
    response = stack.speak(timestamps=True, response_format="wav", input=LONG, keep=True)
    timed = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["X-Likeness-Figures"] == "complete"
    audio = decode_audio(base64.b64decode(timed["audio"]))
    assert timed["content_type"] == "audio/wav"
    assert timed["duration"] == pytest.approx(audio.duration_s, abs=1e-3)
    assert [word["punctuated_word"] for word in timed["words"]] == LONG.split()
    assert timed["words"][0] | {"start": 0.0} == timed["words"][0]
    assert timed["words"][-1]["end"] == pytest.approx(timed["duration"], abs=1e-3)
    job = stack.job(response)
    assert stack.client.get(job["timestamps_url"]).json()["words"] == timed["words"]
    without = stack.job(stack.speak(keep=True, stream=False))
    assert without["timestamps_url"] is None
    assert stack.client.get(f"/v1/jobs/{without['id']}/timestamps").status_code == 404
    assert stack.client.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert stack.client.get(job["timestamps_url"]).status_code == 404


def test_timestamps_of_a_stream_are_events_before_their_audio(stack: Stack) -> None:
    response = stack.speak(input=LONG, stream_format="sse", timestamps=True, response_format="pcm")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line]
    words = [word for event in events if event["type"] == "speech.audio.words" for word in event["words"]]
    assert [word["punctuated_word"] for word in words] == LONG.split()
    assert events[0]["type"] == "speech.audio.words"
    assert words[-1]["end"] == pytest.approx(events[-1]["likeness"]["figures"]["audio_seconds"], abs=1e-3)


@pytest.mark.parametrize("fields", [{"stream": True}, {"stream_format": "audio"}])
def test_a_stream_of_audio_has_no_place_for_timestamps(stack: Stack, fields: dict[str, Any]) -> None:
    response = stack.speak(timestamps=True, **fields)
    assert (response.status_code, response.json()["field"]) == (400, "timestamps")


def test_temperature_dictionary_and_pitch_reach_the_synthesizer_and_no_record(stack: Stack) -> None:
    stack.speak()
    assert stack.stages.doings.speeches[-1].temperature == 1.0
    response = stack.speak(temperature=0.0, dictionary={"Morning": "M AO1 N"}, pitch_shift=-2.5)
    request = stack.stages.doings.speeches[-1]
    assert request.HasField("temperature") and request.temperature == 0.0
    assert dict(request.dictionary) == {"Morning": "M AO1 N"}
    assert request.pitch_shift_semitones == -2.5
    job = stack.job(response)
    assert job["parameters"] | {"temperature": 0.0, "dictionary_entries": 1} == job["parameters"]
    assert "M AO1 N" not in json.dumps(job) and "Morning" not in json.dumps(job)


@pytest.mark.parametrize(
    ("fields", "status", "reason", "field", "told"),
    [
        ({"input": "<speak>\n<p>a</speak>"}, 422, "MARKUP_INVALID", "input", "line 2, column"),
        ({"input": "<speak><voice>a</voice></speak>"}, 422, "MARKUP_INVALID", "input", "<voice>: this element"),
        ({"input": 'Wait <break time="soon"/> now'}, 422, "MARKUP_INVALID", "input", "character 6"),
        ({"input": "a" + '<break time="10s"/>' * 31}, 422, "MARKUP_INVALID", "input", "310 s"),
        ({"input": '<speak xml:lang="fr">Oui</speak>'}, 422, "LANGUAGE_UNSUPPORTED", "input", "'fr'"),
        ({"dictionary": {"Ada": "AY9"}}, 422, "PRONUNCIATION_INVALID", "dictionary.Ada", "'AY9'"),
        ({"dictionary": {"Ada": 3}}, 400, "INVALID_FIELD", "dictionary.Ada", "string"),
        ({"temperature": 1.6}, 400, "INVALID_FIELD", "temperature", "1.5"),
        ({"pitch_shift": 13}, 400, "INVALID_FIELD", "pitch_shift", "12"),
        ({"input": "a" * 4097}, 400, "INVALID_FIELD", "input", "respond-async"),
        ({"input": f"<speak>{'a' * 4097}</speak>"}, 400, "INVALID_FIELD", "input", "without markup"),
    ],
)
def test_what_cannot_be_spoken_is_refused_with_its_place(
    stack: Stack, fields: dict[str, Any], status: int, reason: str, field: str, told: str
) -> None:
    response = stack.speak(**fields)
    problem = response.json()
    assert (response.status_code, problem["reason"], problem["field"]) == (status, reason, field)
    assert told in problem["detail"]


def test_kept_output_is_the_media_of_the_job(stack: Stack) -> None:
    response = stack.speak(keep=True, response_format="flac", stream=False)
    job = stack.job(response)
    media = stack.client.get(f"/v1/media/{job['media']}")
    assert media.headers["content-type"] == "audio/flac"
    assert media.content == response.content
    assert stack.job(stack.speak())["media"] is None


def test_failure_in_mid_stream_breaks_the_body(stack: Stack) -> None:
    with (
        pytest.raises(httpx.RemoteProtocolError),
        stack.client.stream(
            "POST",
            "/v1/audio/speech",
            json={"input": f"All has been well with everybody until {BREAK_WORD}", "voice": "Ada", "stream": True},
        ) as response,
    ):
        assert response.status_code == 200
        for _ in response.iter_raw():
            pass
    job = stack.job(response)
    assert job["status"] == "failed"
    assert job["error"]["reason"] == "INTERNAL"
    assert "calamity" in job["error"]["detail"]


def test_failure_in_events_is_an_event_and_breaks_the_body(stack: Stack) -> None:
    received = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        stack.client.stream("POST", "/v1/audio/speech", json={**ILL_FATED, "stream_format": "sse"}) as response,
    ):
        for piece in response.iter_raw():
            received += piece
    last = json.loads(received.decode().strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["type"] == "error"
    assert "calamity" in last["error"]["message"]


def test_failure_before_the_first_audio_is_a_problem(stack: Stack) -> None:
    for stream in (True, False):
        response = stack.speak(input="?!", stream=stream)
        assert response.status_code == 422
        assert response.json()["reason"] == "TEXT_UNPRONOUNCEABLE"
        assert response.json()["field"] == "input"


def test_listener_who_leaves_cancels_the_stages(stack: Stack) -> None:
    stack.stages.doings.go_on.clear()
    stack.stages.doings.cancelled.clear()
    body = {"input": f"{LONG} {HOLD_WORD} {LONG}", "voice": "Ada", "response_format": "wav"}
    with (
        httpx.Client(base_url=stack.gateway.url, timeout=120) as leaving,
        leaving.stream("POST", "/v1/audio/speech", json=body) as response,
    ):
        next(response.iter_raw())
    stack.stages.doings.go_on.set()
    job = stack.job(response)
    assert job["status"] in ("canceled", "succeeded")
    # The pieces that were sent before the pause fit into the socket's buffer; the next write finds nobody.
    assert job["status"] == "canceled"
    assert job["error"]["reason"] == "CANCELLED"


def test_models_are_listed_for_clients(stack: Stack) -> None:
    client = openai.OpenAI(base_url=f"{stack.gateway.url}/v1", api_key="none", max_retries=0)
    names = {model.id for model in client.models.list()}
    assert {"likeness-1", "tts-1"} <= names
    unknown = stack.speak(model="no-such-model")
    assert unknown.status_code == 404
    assert unknown.json()["field"] == "model"
    assert stack.client.get("/v1/audio/models").json() == stack.client.get("/v1/models").json()


def test_metrics_count_speeches(stack: Stack) -> None:
    before = _metric(stack, 'likeness_speeches_total{state="succeeded"}')
    stack.job(stack.speak())
    after = _metric(stack, 'likeness_speeches_total{state="succeeded"}')
    assert after == before + 1


def _metric(stack: Stack, name: str) -> float:
    for line in stack.client.get("/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def test_tiled_short_output_is_measured(stack: Stack) -> None:
    response = stack.speak(input="Go!", response_format="wav")
    assert np.isclose(header(response, "Speaker-Similarity"), 1.0, atol=0.05)
