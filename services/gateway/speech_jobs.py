"""A speech as a job: a text of any length in chunks of whole sentences, which are made apart and joined in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.encode_audio import CONTENT_TYPES, encode_audio
from services.common.errors import LikenessError
from services.common.wire import samples_from_s16, samples_to_s16
from services.gateway.context import Gateway
from services.gateway.db import Job, Voice, find, find_named
from services.gateway.db.models import utc_now
from services.gateway.figures import SpeechFigures, measure_similarity, model_versions
from services.gateway.jobs import QueueOptions, queue_job
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import PLAIN, without_what_is_said
from services.gateway.jobs.results import publish_result, store_result, work_prefix
from services.gateway.jobs.steps import run_parallel, run_step
from services.gateway.observations import observe_speech
from services.gateway.profiles import load_profile, speech_grant
from services.gateway.protected.refusal import require_usable
from services.gateway.provenance.gate import number_of, release, require_speech_mark
from services.gateway.speech import HTTP_NAMES, SpeechOrder, recorded
from services.gateway.speech_text import split_text
from services.gateway.stages import fields_called
from services.gateway.synthesis import SampleStream, Utterance, Word
from services.gateway.timestamps import store_words, words_from_json, words_to_json

_NO_AUDIO = "The stages returned no audio for this text."


def queue_speech(
    gateway: Gateway, order: SpeechOrder, *, tenant: str, request_id: str, options: QueueOptions = PLAIN
) -> Job:
    """Checks voice and consent, and queues the job. The text is in the record until the job has succeeded.

    Raises:
        LikenessError: QUEUE_FULL, NOT_FOUND, CONSENT_REQUIRED, CONSENT_NOT_LIVE.
    """
    queue_name = gateway.queue.admit(tenant, options)
    with gateway.database.session() as session:
        voice = find_named(session, Voice, tenant, order.voice, what="voice", field="voice")
        consent = require_usable(gateway, session, voice, language=order.utterance.language, field="voice")
        return queue_job(
            gateway.queue,
            session,
            queue_name,
            tenant=tenant,
            kind="speech",
            request_id=request_id,
            consent_id=consent.id,
            likeness_id=voice.id,
            parameters=speech_parameters(order),
            deadline_s=gateway.settings.background_speech_deadline_s,
            options=options,
        )


def speech_parameters(order: SpeechOrder) -> dict[str, Any]:
    """What the record of a queued speech keeps of the request, until it is done; then what is said leaves it."""
    utterance = order.utterance
    return recorded(order) | {"input": utterance.text, "dictionary": dict(utterance.dictionary)}


def run_speech_job(execution: Execution, job: Job) -> None:
    """The steps of a speech: chunks in parallel, then encode, then publish. Each looks at the consent first.

    Raises:
        LikenessError: what a step failed with, or the reason why the work was stopped.
    """
    execution.check = partial(live_voice, execution.gateway, job)
    execution.report({"phase": "speaking"})
    most_characters = execution.gateway.settings.speech_chunk_characters
    chunks = split_text(job.parameters["input"], most_characters, job.parameters["speed"])
    with fields_called(HTTP_NAMES):
        spoken = run_parallel(
            execution,
            "chunk",
            [partial(speak_chunk, execution, job, number, chunk) for number, chunk in enumerate(chunks)],
            window=execution.gateway.settings.speech_parallel_chunks,
        )
        execution.report({"phase": "encoding"})
        encoded = run_step(execution, "encode", partial(encode_chunks, execution, job, spoken))
        run_step(execution, "publish", partial(publish_speech, execution, job, encoded))


def live_voice(gateway: Gateway, job: Job) -> Voice:
    """The job's voice. Raises LikenessError NOT_FOUND when it was deleted, CONSENT_* when it may not be used."""
    with gateway.database.session() as session:
        voice = find(session, Voice, job.tenant, job.likeness_id, what="voice", field="voice")
        require_usable(gateway, session, voice, language=job.parameters.get("language"), field="voice")
        return voice


def speak_chunk(execution: Execution, job: Job, number: int, text: str) -> dict[str, Any]:
    """Says one chunk and keeps its samples, 16-bit at 16 kHz, under the hash of what they are made of."""
    gateway = execution.gateway
    voice = live_voice(gateway, job)
    profile = load_profile(voice)
    utterance = replace(utterance_of(job), text=text)
    made_of = json.dumps([asdict(utterance), profile.to_json()], sort_keys=True)
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    key = f"{work_prefix(job.tenant, job.id)}{number:05d}-{digest}"
    kept = _kept_chunk(gateway, key)
    if kept is not None:
        return kept
    grant = speech_grant(voice, profile, job.mark, utterance.language)
    call = execution.call(gateway.settings.speech_deadline_s, grant=grant)
    stream = SampleStream(gateway.stages, profile, utterance, call)
    try:
        with execution.halt.cancelling(stream):
            heard = [chunk.samples for chunk in stream]
    except LikenessError:
        execution.halt.check()
        raise
    if not heard:
        raise LikenessError("INTERNAL", _NO_AUDIO)
    stored = gateway.store.put(f"{key}.pcm", samples_to_s16(np.concatenate(heard)))
    described: dict[str, Any] = {"key": stored.key, "sha256": stored.sha256, "engine": stream.engine}
    if job.parameters.get("timestamps"):
        described["words"] = words_to_json(stream.words)
    gateway.store.put(f"{key}.json", json.dumps(described).encode(), "application/json")
    return described


def encode_chunks(execution: Execution, job: Job, spoken: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Joins the chunks in order, stores the file, and measures it."""
    gateway = execution.gateway
    execution.check()
    heard = [samples_from_s16(gateway.store.get(chunk["key"])) for chunk in spoken]
    for chunk in heard:  # each was marked from its beginning
        require_speech_mark(chunk, gateway.keys.mark, number_of(job))
    samples = np.concatenate(heard)
    container, engine = job.parameters["response_format"], str(spoken[0]["engine"])
    content_type, models = CONTENT_TYPES[container], model_versions(gateway.settings.models_dir, engine)
    released = release(gateway, job, encode_audio(samples, container), content_type, "speech", models=models)
    stored = store_result(gateway, job.tenant, job.id, released, content_type)
    if job.parameters.get("timestamps"):
        seconds = [chunk.size / SAMPLE_RATE_HZ for chunk in heard]
        words = _joined_words([chunk["words"] for chunk in spoken], seconds)
        store_words(gateway, job.tenant, job.id, words, sum(seconds))
    figures = _figures(execution, job, samples, engine, models)
    return {"stored": stored, "figures": figures.to_json()}


def publish_speech(execution: Execution, job: Job, encoded: dict[str, Any]) -> bool:
    """Makes the file the job's result; the text leaves the record."""
    parameters = without_what_is_said(job.parameters)
    figures = encoded["figures"]
    published = publish_result(execution, encoded["stored"], purpose="speech", figures=figures, parameters=parameters)
    if published:
        observe_speech("succeeded", SpeechFigures(**figures))
    return published


def utterance_of(job: Job) -> Utterance:
    """How the job's text is to be spoken; the whole text while the record has it."""
    known = ("speed", "pitch_shift_semitones", "seed", "engine", "language", "temperature", "dictionary")
    given = {name: job.parameters[name] for name in known if name in job.parameters}
    return Utterance(text=job.parameters.get("input", ""), **given)


def _joined_words(chunks: Sequence[Sequence[dict[str, Any]]], seconds: Sequence[float]) -> list[Word]:
    """The words of chunks that last so long, one after the other."""
    begins_s = accumulate(seconds, initial=0.0)
    return [
        word
        for words, later_s in zip(chunks, begins_s, strict=False)
        for word in words_from_json(words, later_s=later_s)
    ]


def _figures(execution: Execution, job: Job, samples: FloatArray, engine: str, models: dict[str, str]) -> SpeechFigures:
    gateway = execution.gateway
    seconds = (utc_now() - (job.started_at or job.created_at)).total_seconds()
    audio_seconds = samples.size / SAMPLE_RATE_HZ
    figures = SpeechFigures(
        real_time_factor=round(max(0.0, seconds) / audio_seconds, 5),
        audio_seconds=round(audio_seconds, 5),
        vocoder=engine,
        models=models,
    )
    voice = live_voice(gateway, job)
    profile = load_profile(voice)
    try:
        grant = speech_grant(voice, profile, job.mark, job.parameters["language"])
        call = execution.call(gateway.settings.speech_deadline_s, grant=grant)
        similarity = measure_similarity(gateway.stages, samples, profile.embedding, call, label="the speech")
        figures.speaker_similarity = round(similarity, 5)
    except LikenessError as error:
        execution.halt.check()
        figures.similarity_error = f"{error.reason}: {error.detail}"
    return figures


def _kept_chunk(gateway: Gateway, key: str) -> dict[str, Any] | None:
    """What a chunk became, when that is still there."""
    try:
        kept: dict[str, Any] = json.loads(gateway.store.get(f"{key}.json"))
        stored = gateway.store.head(kept["key"])
    except LikenessError as error:
        if error.reason != "NOT_FOUND":
            raise
        return None
    return kept if stored.sha256 == kept["sha256"] else None
