"""A voice's adaptation: checked, installed, removed.

What is learned outside is believed only as far as it can be heard. Whoever may enrol voices could send the averages of
somebody else under the embedding of this voice: so the adapted voice speaks, and is refused unless it sounds at least
as much like the enrolled person as before, and like nobody who is protected, and unless a recogniser understands it
about as well. The embedding stays that of the enrolment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from services.common.adaptation_file import AdaptationFile, read_adaptation
from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.grants import Grant, voice_template
from services.common.profile import SpeakerProfile
from services.common.recognition import recognise, word_errors, words
from services.common.wire import profile_from_wire, profile_to_wire
from services.gateway.calibration import ENGINE, PROOF, SEED
from services.gateway.consents.spoken import SAME_SPEAKER, similarity
from services.gateway.context import Gateway
from services.gateway.db import Voice, find, find_named
from services.gateway.db.models import utc_now
from services.gateway.profiles import load_profile, profile_record
from services.gateway.protected.refusal import require_unprotected_voice, require_usable
from services.gateway.stages import Call, fields_called
from services.gateway.synthesis import SampleStream, Utterance

WORDS_TO_LOSE: Final = 0.2  # of the proof's words, more than before


@dataclass(frozen=True, eq=False)
class _Heard:
    """Proof sentences in a voice.

    Attributes:
        embedding: their mean, shape (256,).
        similarity: mean cosine to the enrolled one.
        word_error_rate: of a recogniser.
    """

    embedding: FloatArray
    similarity: float
    word_error_rate: float


def install_adaptation(
    gateway: Gateway, tenant: str, reference: str, data: bytes, *, field: str, request_id: str
) -> Voice:
    """The voice, which from now on is spoken with the adaptation; one that it had before is replaced.

    Args:
        reference: id or name.
        data: a file of `services.synthesizer.adapt`.

    Raises:
        LikenessError: NOT_FOUND; CONSENT_*; PROTECTED_PERSON; INVALID_FIELD and MEDIA_TOO_LARGE for what is no such
            file; ADAPTATION_REFUSED for one of another person, another network, or without a gain; what a stage failed
            with.
    """
    expires_at = time.monotonic() + gateway.settings.enrolment_deadline_s
    with gateway.database.session() as session:
        voice = find_named(session, Voice, tenant, reference, what="voice")
        consent = require_usable(gateway, session, voice, field="voice")
        plain = replace(load_profile(voice), adaptation=None)
    content = read_adaptation(data, field=field)
    _require_same_person(content, plain, field)
    grant = Grant("calibrate", tenant, (consent.id,), frozenset({voice_template(plain.embedding)}))
    call = Call(request_id, expires_at, grant=grant)
    adapted = replace(plain, adaptation=content.adaptation)
    with fields_called({"": field}):
        profile_from_wire(profile_to_wire(adapted), field=field)  # the ranges that stages ask for
        before, after = _heard(gateway, plain, call), _heard(gateway, adapted, call)
    if after.similarity < before.similarity:
        detail = (
            f"With the adaptation the voice is less like the enrolled one (cosine {after.similarity:.3f}) than without "
            f"({before.similarity:.3f}). Learn it from clean recordings of the same person."
        )
        raise LikenessError("ADAPTATION_REFUSED", detail, field=field)
    if after.word_error_rate > before.word_error_rate + WORDS_TO_LOSE:
        detail = (
            f"With the adaptation words are hard to understand: {after.word_error_rate:.0%} of them were recognised "
            f"wrongly, {before.word_error_rate:.0%} without. Learn it from more, or cleaner, recordings."
        )
        raise LikenessError("ADAPTATION_REFUSED", detail, field=field)
    require_unprotected_voice(gateway, after.embedding, consent=consent, field=field)
    with gateway.database.session() as session:
        kept = find(session, Voice, tenant, voice.id, what="voice")  # may have been deleted meanwhile
        require_usable(gateway, session, kept, field="voice")
        kept.profile = profile_record(adapted)
        kept.adapted_at = utc_now()
        kept.adaptation = {
            "network": content.adaptation.network,
            "clips": content.clips,
            "similarity": round(after.similarity, 5),
            "similarity_before": round(before.similarity, 5),
        }
    return kept


def remove_adaptation(gateway: Gateway, tenant: str, reference: str) -> str:
    """Id of the voice, which is spoken as it was enrolled again.

    Raises:
        LikenessError: NOT_FOUND, also when it has no adaptation.
    """
    with gateway.database.session() as session:
        voice = find_named(session, Voice, tenant, reference, what="voice")
        if voice.adapted_at is None:
            raise LikenessError("NOT_FOUND", f"The voice {voice.name!r} has no adaptation.")
        voice.profile = profile_record(replace(load_profile(voice), adaptation=None))
        voice.adapted_at = voice.adaptation = None
        return voice.id


def _require_same_person(content: AdaptationFile, profile: SpeakerProfile, field: str) -> None:
    cosine = similarity(content.embedding, profile.embedding)
    if not cosine >= SAME_SPEAKER:
        detail = (
            f"The adaptation was learned from recordings that do not sound like this voice (similarity {cosine:.2f}, "
            f"at least {SAME_SPEAKER:.2f} is needed)."
        )
        raise LikenessError("ADAPTATION_REFUSED", detail, field=field)


def _heard(gateway: Gateway, profile: SpeakerProfile, call: Call) -> _Heard:
    embeddings, errors = [], 0
    for sentence in PROOF:
        stream = SampleStream(gateway.stages, profile, Utterance(sentence, seed=SEED, engine=ENGINE), call)
        samples = np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in stream)])
        waiting = gateway.stages.begin_to_embed(
            samples, call, label="a trial of the adaptation", embedding_only=True, surely_speech=True
        )
        errors += word_errors(words(sentence), recognise(samples))  # while the encoder looks at it
        embeddings.append(np.asarray(waiting().profile.embedding, np.float32))
    mean = np.mean(embeddings, axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-9)
    alike = float(np.mean([similarity(item, profile.embedding) for item in embeddings]))
    return _Heard(mean, alike, errors / sum(len(words(sentence)) for sentence in PROOF))
