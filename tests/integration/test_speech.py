"""Enrol a voice, speak with it: over HTTP, through the whole stack."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from openai import OpenAI

import likeness
from services.common.decode import decode_audio
from tests.integration.conftest import PERSONA, RunningStack
from tests.same_speech import is_same_speech

SENTENCE = "The museum opens at ten and closes before dinner."


def test_a_sentence_is_spoken(client: likeness.Client, voice: likeness.Voice) -> None:
    speech = client.speak(SENTENCE, voice=voice.id, seed=1)
    assert speech.content_type == "audio/wav"
    audio = decode_audio(speech.audio)
    assert 1.5 < audio.duration_s < 6.0, "nine words take a few seconds"
    loudness = np.sqrt(np.mean(np.square(audio.samples)))
    assert 0.01 < loudness < 0.5, "neither silence nor noise at full scale"
    assert np.abs(audio.samples).max() < 1.0, "not clipped"
    figures = speech.figures
    assert figures.real_time_factor is not None and 0 < figures.real_time_factor < 20
    assert figures.time_to_first_audio_ms is not None and figures.time_to_first_audio_ms > 0
    assert figures.speaker_similarity is not None


def test_it_sounds_like_the_enrolled_voice(client: likeness.Client, voice: likeness.Voice) -> None:
    """Unrelated voices have cosines of 0.5 to 0.7 with this encoder; 0.92 was measured here."""
    figures = client.speak(SENTENCE, voice=voice.id, seed=1).figures
    assert figures.speaker_similarity is not None and figures.speaker_similarity > 0.75


def test_the_job_record_keeps_the_figures(client: likeness.Client, voice: likeness.Voice) -> None:
    speech = client.speak(SENTENCE, voice=voice.id)
    job = client.jobs.get(speech.job_id)
    assert job.status == "succeeded" and job.kind == "speech"
    assert job.figures["speaker_similarity"] == pytest.approx(speech.figures.speaker_similarity, abs=1e-3)
    assert job.figures["audio_seconds"] == pytest.approx(decode_audio(speech.audio).duration_s, abs=0.02)


def test_same_seed_same_speech(client: likeness.Client, voice: likeness.Voice) -> None:
    first, second, other = (client.speak(SENTENCE, voice=voice.id, seed=seed).audio for seed in (5, 5, 6))
    assert is_same_speech(first, second)
    assert not is_same_speech(first, other)


def test_speed_changes_the_duration(client: likeness.Client, voice: likeness.Voice) -> None:
    slow, fast = (decode_audio(client.speak(SENTENCE, voice=voice.id, speed=s).audio).duration_s for s in (0.7, 1.6))
    assert slow / fast == pytest.approx(1.6 / 0.7, rel=0.2)


@pytest.mark.parametrize("format", ["mp3", "flac", "opus", "aac"])
def test_formats_carry_the_same_speech(client: likeness.Client, voice: likeness.Voice, format: str) -> None:
    reference = decode_audio(client.speak(SENTENCE, voice=voice.id, seed=2).audio)
    other = decode_audio(client.speak(SENTENCE, voice=voice.id, seed=2, format=format).audio)
    assert other.duration_s == pytest.approx(reference.duration_s, abs=0.15)
    length = min(len(reference.samples), len(other.samples)) - 1600
    spectra = [np.abs(np.fft.rfft(x.samples[:length]))[: length // 8] for x in (reference, other)]  # below 2 kHz
    assert np.corrcoef(spectra[0], spectra[1])[0, 1] > 0.9


def test_a_long_text_is_streamed(client: likeness.Client, voice: likeness.Voice) -> None:
    """The first audio is there long before the last: a listener does not wait for the whole text."""
    started_at = time.monotonic()
    arrivals: list[float] = []
    sink = io.BytesIO()

    def receive(chunk: bytes) -> None:
        arrivals.append(time.monotonic() - started_at)
        sink.write(chunk)

    speech = client.speak(" ".join([SENTENCE] * 6), voice=voice.id, to=receive)
    assert decode_audio(sink.getvalue()).duration_s > 9
    assert arrivals[0] < 0.6 * arrivals[-1]
    assert speech.figures.speaker_similarity is not None, "the job has it, once the stream is over"


def test_requests_at_the_same_time_equal_requests_in_turn(client: likeness.Client, voice: likeness.Voice) -> None:
    texts = [SENTENCE, "Fresh bread tastes best when it is still warm.", "Two roads.", "It is half past nine."]

    def speak(text: str) -> bytes:
        return client.speak(text, voice=voice.id, seed=3).audio

    in_turn = [speak(text) for text in texts]
    with ThreadPoolExecutor(len(texts)) as pool:
        assert all(map(is_same_speech, pool.map(speak, texts), in_turn))


def test_the_openai_client_works(running: RunningStack, voice: likeness.Voice) -> None:
    openai = OpenAI(base_url=f"{running.url}/v1", api_key="none")
    answer = openai.audio.speech.create(model="tts-1", voice=voice.name, input=SENTENCE, response_format="wav")
    assert decode_audio(answer.content).duration_s > 1.5
    with openai.audio.speech.with_streaming_response.create(
        model="tts-1", voice=voice.id, input=" ".join([SENTENCE] * 3), response_format="pcm"
    ) as stream:
        samples = np.frombuffer(b"".join(stream.iter_bytes()), "<i2")
    assert len(samples) / 24_000 > 4.5


def test_numbers_and_money_are_spoken(client: likeness.Client, voice: likeness.Voice) -> None:
    digits = decode_audio(client.speak("$1,250 on May 3rd.", voice=voice.id).audio)
    assert digits.duration_s > 1.5, "one thousand two hundred fifty dollars on May third"


def test_no_consent_no_voice(client: likeness.Client) -> None:
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.voices.enrol("thief", PERSONA, consent="cons_that_is_not")
    assert (refused.value.status, refused.value.reason) == (403, "CONSENT_REQUIRED")
    assert "thief" not in [voice.name for voice in client.voices.list()]


def test_a_revoked_consent_ends_the_voice(client: likeness.Client) -> None:
    consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="examples/persona")
    voice = client.voices.enrol("revoked", PERSONA, consent=consent.id)
    client.voice_consents.revoke(consent.id)
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.speak("Hello.", voice=voice.id)
    assert (refused.value.status, refused.value.reason) == (403, "CONSENT_NOT_LIVE")
    client.voices.delete(voice.id)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": "x" * 4097, "voice": "juniper"}, "input"),
        ({"input": "", "voice": "juniper"}, "input"),
        ({"input": "Hello", "voice": "juniper", "speed": 9}, "speed"),
        ({"input": "Hello", "voice": "juniper", "response_format": "doc"}, "response_format"),
        ({"input": "Hello"}, "voice"),
        ({"input": "Hello", "voice": "nobody"}, "voice"),
    ],
)
def test_a_wrong_request_names_the_field(
    running: RunningStack, voice: likeness.Voice, body: dict[str, object], field: str
) -> None:
    answer = httpx.post(f"{running.url}/v1/audio/speech", json=body, timeout=30)
    assert 400 <= answer.status_code < 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["field"] == field


def test_a_text_without_words_is_refused(client: likeness.Client, voice: likeness.Voice) -> None:
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.speak("... !!! ---", voice=voice.id)
    assert (refused.value.status, refused.value.reason) == (422, "TEXT_UNPRONOUNCEABLE")
