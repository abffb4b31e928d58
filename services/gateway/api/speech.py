"""/v1/audio/speech: OpenAI's text-to-speech request, spoken by an enrolled voice."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response, json
from pydantic import Field, StringConstraints

from services.common.encode_audio import CONTENT_TYPES, AudioFormat
from services.common.errors import LikenessError
from services.gateway.accounts import needs, starts_job
from services.gateway.accounts.audit import entry_is_written, entry_of_answer
from services.gateway.admission import takes_place
from services.gateway.api.answers import ended_in_time, preference_headers
from services.gateway.api.fields import (
    SOME_TEXT,
    Identifier,
    JsonBody,
    LanguageTag,
    Purpose,
    current_gateway,
    current_tenant,
    inline_schema,
)
from services.gateway.api.headers import PREFER, takes_headers
from services.gateway.api.job_views import JobOut, show_job
from services.gateway.api.models import DEFAULT_MODEL, MODEL_IDS
from services.gateway.api.prefer import Preference, current_preference
from services.gateway.api.queue_fields import QueueFields, queue_options
from services.gateway.api.reasons import CONSENT, STAGE, TEXT, fails_with
from services.gateway.api.scope import arrived_at, current_request_id
from services.gateway.api.word_times import TimedSpeech
from services.gateway.db import Media
from services.gateway.figures import SpeechFigures, speech_headers
from services.gateway.jobs import QueueOptions
from services.gateway.media import media_bytes
from services.gateway.problems import describe
from services.gateway.provenance import EMBEDDING
from services.gateway.provenance.release import manifest_link
from services.gateway.speech import Speech, SpeechOrder
from services.gateway.speech_jobs import queue_speech
from services.gateway.speech_start import begin_speech
from services.gateway.speech_text import MAX_QUEUED_CHARACTERS, check_text, with_notice
from services.gateway.synthesis import DEFAULT_LANGUAGE, Utterance
from services.gateway.timestamps import find_words, words_to_json

bp = APIBlueprint("speech", __name__, url_prefix="/v1/audio/speech", tag="Speech")

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_HEADERS: Final = {
    name: {"description": text, "schema": {"type": "string"}, "required": True}
    for name, text in {
        "X-Likeness-Job": "Id of the job record, which holds the final figures.",
        "X-Likeness-Real-Time-Factor": "Seconds of work per second of audio, of what exists when the headers are sent.",
        "X-Likeness-Time-To-First-Audio-Ms": "From the arrival of the request to the first samples.",
        "X-Likeness-Speaker-Similarity": "Cosine to the enrolled voice: of this output when complete, else of the "
        "calibrated voice; `unmeasured` when there is none.",
        "X-Likeness-Figures": "`complete`: of the whole output. `first-chunk`: of what existed when the body began.",
    }.items()
}
_RESPONSES: Final[Any] = {
    200: {
        "description": "The audio, in the format that was asked for; with `timestamps`, JSON that holds it",
        "content": {
            **{kind: _BINARY for kind in CONTENT_TYPES.values()},
            "text/event-stream": _BINARY,
            "application/json": {"schema": inline_schema(TimedSpeech)},
        },
        "headers": _HEADERS,
    },
    202: {
        "description": "Queued; Location names the job, whose `media` is the audio once it has succeeded",
        "content": {"application/json": {"schema": inline_schema(JobOut)}},
    },
}


class VoiceReference(JsonBody):
    """A voice by its id, as OpenAI's clients may send it."""

    id: Identifier


class SpeechIn(QueueFields, JsonBody):
    """What to say, in whose voice. The fields of OpenAI's API, and below them those that only Likeness has."""

    input: Annotated[str, StringConstraints(max_length=MAX_QUEUED_CHARACTERS, pattern=SOME_TEXT)] = Field(
        description='The text, at most 4096 characters; where it is queued, at most 200 000. `<break time="300ms"/>` '
        "in it is a rest. A text that begins with `<speak` is SSML: speak, p, s, break, prosody (rate, pitch), phoneme "
        "(ipa, x-arpabet), sub, say-as; markup is not counted."
    )
    voice: Identifier | VoiceReference = Field(description="Id or name of an enrolled voice.")
    model: Identifier = Field(DEFAULT_MODEL, description="One of /v1/models.")
    response_format: AudioFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] | None = Field(None, description="sse sends events with base64 audio.")

    stream: bool | None = Field(
        None,
        description="true: send while it is made. false: send when complete, with exact figures in the headers. By "
        "default short inputs are completed first and long ones are streamed.",
    )
    seed: int = Field(0, ge=0, le=2**64 - 1, description="Same seed, input and models: same speech, but for its mark.")
    temperature: float = Field(
        1.0, ge=0.0, le=1.5, description="How much speech varies with the seed: 0 not at all, but for breath and noise."
    )
    pitch_shift: float = Field(0.0, ge=-12, le=12, description="Semitones.")
    dictionary: dict[str, str] = Field(
        default_factory=dict,
        description="Word -> pronunciation, at most 200: ARPAbet with stress (`HH AH0 L OW1`), IPA (`/həˈloʊ/`), or "
        "words to be read instead (`sequel`). Capitals make no difference to which words are meant.",
        examples=[{"GIF": "JH IH1 F", "SQL": "sequel", "Siobhan": "/ʃəˈvɔn/"}],
    )
    timestamps: bool = Field(
        False,
        description="When each word is spoken. The answer is JSON with the audio in base64 and `words`; with "
        "stream_format=sse, events `speech.audio.words`; of a job, `timestamps_url` in its record.",
    )
    vocoder: Literal["draft", "wavenet"] | None = Field(None, description="The engine; by default the better one.")
    language: LanguageTag = Field(DEFAULT_LANGUAGE, description="BCP 47 tag.")
    purpose: Purpose | None = None
    keep: bool = Field(False, description="Keep the output as media, named in the job record.")


class SpeechBody:
    """The body of a streamed response. Closing it settles the job: the server does so when it is done or broken."""

    def __init__(self, speech: Speech, pieces: Iterator[bytes]) -> None:
        self._speech = speech
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._speech.end()


@bp.post("")
@bp.input(SpeechIn, arg_name="body")
@bp.doc(
    summary="Speak a text",
    description="Compatible with OpenAI's API. A failure in mid-stream, and a voice that is deleted or whose consent "
    "is revoked meanwhile, breaks the connection without a proper end. "
    "With `Prefer`, the speech is queued, survives restarts, and is kept as media.",
    operation_id="create_speech",
    responses=_RESPONSES,
)
@fails_with("NOT_FOUND", *TEXT, *CONSENT, *STAGE)
@needs("speech")
@starts_job
@takes_headers(PREFER)
@takes_place
def create_speech(body: SpeechIn) -> Response:
    gateway = current_gateway()
    if body.model not in MODEL_IDS:
        detail = f"There is no model {body.model!r}; there are {', '.join(MODEL_IDS)}."
        raise LikenessError("NOT_FOUND", detail, field="model")
    _require_a_form(body)
    if body.stream is False and body.stream_format == "sse":
        detail = "Events are a stream: leave out stream=false, or ask for stream_format=audio."
        raise LikenessError("INVALID_FIELD", detail, field="stream")
    preference, options = current_preference(), queue_options(body)
    if preference.may_queue:
        return _queued(body, preference, options)
    speech = begin_speech(
        gateway,
        speech_order(body),
        tenant=current_tenant(),
        request_id=current_request_id(),
        started_at=arrived_at(),
        options=options,
    )
    if _wants_stream(body, gateway.settings.complete_below_characters):
        return _streamed(speech, body)
    data = speech.complete(entry=lambda: entry_of_answer(speech.job_id))
    if speech.is_recorded:
        entry_is_written()
    similarity, content_type = speech.figures.speaker_similarity, CONTENT_TYPES[body.response_format]
    if body.timestamps:
        words = words_to_json(speech.words)
        data = _timed(speech.job_id, data, content_type, speech.figures.audio_seconds, words)
        response = _respond(data, speech, "application/json", similarity=similarity, complete=True)
        if content_type in EMBEDDING:
            del response.headers["Link"]
        return response
    return _respond(data, speech, content_type, similarity=similarity, complete=True)


def _require_a_form(body: SpeechIn) -> None:
    """Raises LikenessError INVALID_FIELD for a form of answer that cannot be."""
    if body.timestamps and body.stream_format != "sse" and (body.stream or body.stream_format is not None):
        detail = "A stream of audio has no place for timestamps: ask for stream_format=sse, or leave out the stream."
        raise LikenessError("INVALID_FIELD", detail, field="timestamps")


def _timed(job_id: str, data: bytes, content_type: str, seconds: float, words: list[dict[str, Any]]) -> bytes:
    """The JSON of `TimedSpeech`."""
    timed = {
        "object": "audio.speech",
        "job": job_id,
        "audio": base64.b64encode(data).decode("ascii"),
        "content_type": content_type,
        "duration": round(seconds, 4),
        "words": words,
    }
    return json.dumps(timed).encode()


def _queued(body: SpeechIn, preference: Preference, options: QueueOptions) -> Response:
    if body.stream or body.stream_format == "sse":
        detail = "A speech that is queued is not streamed: leave out Prefer, or this."
        raise LikenessError("INVALID_FIELD", detail, field="stream" if body.stream else "stream_format")
    gateway, order = current_gateway(), speech_order(body, queued=True)
    job = queue_speech(gateway, order, tenant=current_tenant(), request_id=current_request_id(), options=options)
    ended = ended_in_time(job, preference)
    if ended is None:
        response = Response(show_job(job).model_dump_json(), 202, content_type="application/json")
        response.headers.update(preference_headers(preference, f"/v1/jobs/{job.id}"))
        return response
    with gateway.database.session() as session:
        media = session.get_one(Media, ended.media_id)
        beside = find_words(session, job.tenant, job.id)
    figures, data, content_type = SpeechFigures(**ended.figures), media_bytes(gateway, media), media.content_type
    if beside is not None:
        words = json.loads(media_bytes(gateway, beside))["words"]
        data, content_type = _timed(job.id, data, content_type, figures.audio_seconds, words), "application/json"
    response = Response(data, content_type=content_type)
    similarity = figures.speaker_similarity
    response.headers.update(speech_headers(job.id, figures, similarity=similarity, complete=True))
    if media.content_type not in EMBEDDING:
        response.headers["Link"] = manifest_link(job.id)
    response.headers.update(preference_headers(preference))
    return response


def speech_order(body: SpeechIn, *, queued: bool = False) -> SpeechOrder:
    """What is to be spoken.

    Args:
        queued: nobody waits for it, so that it may be longer.

    Raises:
        LikenessError: LIKENESS_REFUSED for purposes and texts that the policy refuses; see `check_text`.
    """
    policy = current_gateway().policy
    policy.require_purpose(body.purpose)
    check_text(body.input, body.dictionary, policy, queued=queued)
    utterance = Utterance(
        text=with_notice(body.input, policy.spoken_notice),
        speed=body.speed,
        pitch_shift_semitones=body.pitch_shift,
        seed=body.seed,
        engine=body.vocoder or "",
        language=body.language,
        temperature=body.temperature,
        dictionary=body.dictionary,
    )
    voice = body.voice if isinstance(body.voice, str) else body.voice.id
    return SpeechOrder(
        voice=voice, utterance=utterance, format=body.response_format, keep=body.keep, timestamps=body.timestamps
    )


def _wants_stream(body: SpeechIn, complete_below_characters: int) -> bool:
    if body.timestamps:
        return body.stream_format == "sse"
    if body.stream is not None:
        return body.stream
    return body.stream_format is not None or len(body.input) >= complete_below_characters


def _streamed(speech: Speech, body: SpeechIn) -> Response:
    """Waits for the first audio, since only then it is known that there will be some, and how soon."""
    pieces = speech.pieces()
    first = next(pieces, b"")
    content_type = CONTENT_TYPES[body.response_format]
    if body.stream_format == "sse":
        pieces, content_type = _events(speech, first, pieces), "text/event-stream"
    else:
        pieces = _joined(first, pieces)
    stream = SpeechBody(speech, pieces)
    return _respond(stream, speech, content_type, similarity=speech.voice_similarity, complete=False)


def _respond(data: Any, speech: Speech, content_type: str, *, similarity: float | None, complete: bool) -> Response:
    response = Response(data, content_type=content_type)
    response.headers.update(speech_headers(speech.job_id, speech.figures, similarity=similarity, complete=complete))
    if not complete or content_type not in EMBEDDING:
        response.headers["Link"] = manifest_link(speech.job_id)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _events(speech: Speech, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Server-sent events as OpenAI's: speech.audio.delta, then speech.audio.done with the final figures; before the
    audio of a sentence speech.audio.words with its words, where those are wanted."""
    told = 0
    try:
        for piece in _joined(first, rest):
            words = speech.words[told:] if speech.order.timestamps else []
            if words:
                told += len(words)
                yield _event({"type": "speech.audio.words", "words": words_to_json(words)})
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode("ascii")})
    except LikenessError as error:
        yield _event({"type": "error", "error": describe(error)["error"]})
        raise
    characters, frames = len(speech.order.utterance.text), speech.frame_count
    # There are no tokens here: characters go in, acoustic frames come out.
    usage = {"input_tokens": characters, "output_tokens": frames, "total_tokens": characters + frames}
    likeness = {"job": speech.job_id, "figures": speech.figures.to_json()}
    yield _event({"type": "speech.audio.done", "usage": usage, "likeness": likeness})


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()
