"""A spoken consent: a recording of the phrase that was just drawn, by one person, in one go, never heard before.

What is caught: other words, so any recording from before the phrase was drawn; a recording, or part of one, that was
here; speech that was made by this installation, by its mark; several speakers.

What is not: speech that other software made in the person's voice; the words of the phrase cut from recordings of one
person and put together. Where that matters, a policy asks for an attested consent with a document.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from likeness.v1 import encoder_pb2
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.decode_audio import decode_audio
from services.common.errors import LikenessError
from services.common.marking.audio import find_audio_mark
from services.gateway.consents.fingerprint import Fingerprint, fingerprint
from services.gateway.consents.listening import Heard, listen
from services.gateway.consents.phrase import Phrase
from services.gateway.consents.proof import Proof
from services.gateway.consents.replays import require_new_recording
from services.gateway.consents.templates import context_of, unseal
from services.gateway.context import Gateway
from services.gateway.db import Consent
from services.gateway.stages import Call, fields_called

FIELD: Final = "recording"
MAX_SECONDS: Final = 60.0
# Measured by `python -m benchmarks.provenance_phrases`; docs/architecture/06-consent.md has the rates.
MIN_RIGHT: Final = 5  # of the six drawn words
SAME_SPEAKER: Final = 0.8  # cosine of the consent's and a voice sample's embeddings


@dataclass(frozen=True, eq=False)
class SpokenProof(Proof):
    """A phrase that was spoken; `fingerprint` is to be remembered with what the proof becomes (`replays.remember`)."""

    fingerprint: Fingerprint


def verify_spoken(gateway: Gateway, recording: bytes, phrase: Phrase, call: Call, *, field: str = FIELD) -> SpokenProof:
    """Checks a recording against the phrase; the proof's template is the speaker's embedding (256,).

    That the phrase is this person's, fresh and unused is its challenge's business.

    Args:
        recording: any audio file that can be decoded.
        call: with a grant to enrol.

    Raises:
        LikenessError: MEDIA_*; SPEECH_TOO_SHORT; PROOF_REPLAYED, PROOF_SYNTHETIC, PROOF_TASK_FAILED, PROOF_SPLICED; and
            what the encoder failed with. All name `field`.
    """
    samples = decode_audio(recording, field=field).samples
    if samples.size > MAX_SECONDS * SAMPLE_RATE_HZ:
        seconds = samples.size / SAMPLE_RATE_HZ
        detail = (
            f"The recording lasts {seconds:.0f} s; the phrase takes a quarter of a minute, {MAX_SECONDS:.0f} s at most."
        )
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    prints = fingerprint(samples)
    with gateway.database.session() as session:
        require_new_recording(session, prints, field=field)
    _require_unmarked(gateway, samples, field)
    with fields_called({"": field, "samples_s16": field}):
        embedded = gateway.stages.embed(samples, call, label=phrase.who)
    heard = listen(samples, phrase)
    _require_phrase(heard, phrase, field)
    if embedded.quality.multiple_speakers:
        detail = "Parts of the recording sound like different people. One person reads the whole phrase, alone."
        raise LikenessError("PROOF_SPLICED", detail, field=field)
    measured = {
        "recording_sha256": hashlib.sha256(recording).hexdigest(),
        "seconds": round(samples.size / SAMPLE_RATE_HZ, 2),
        "words_right": heard.right(phrase),
        "words_drawn": len(phrase.words),
        "speaker_consistency": round(embedded.quality.speaker_consistency, 3),
        "snr_db": round(embedded.quality.snr_db, 1),
    }
    return SpokenProof(np.asarray(embedded.profile.embedding, np.float32), measured, prints)


def require_consenting_speaker(
    gateway: Gateway, consent: Consent, sample: encoder_pb2.EmbedSpeechResponse, *, field: str
) -> None:
    """A voice's sample must be of who spoke the consent, and of nobody else beside.

    Args:
        sample: what the encoder says of it.

    Raises:
        LikenessError: CONSENT_SPEAKER_MISMATCH; TEMPLATE_UNREADABLE.
    """
    template = unseal(gateway.keys.templates, consent.template or b"", context_of(consent.id, consent.subject))
    if sample.quality.multiple_speakers:
        detail = "Parts of the recording sound like different people. Send a recording of who consented, alone."
        raise LikenessError("CONSENT_SPEAKER_MISMATCH", detail, field=field)
    cosine = similarity(template, np.asarray(sample.profile.embedding, np.float32))
    if not cosine >= SAME_SPEAKER:
        detail = (
            f"The recording does not sound like the person who spoke the consent (similarity {cosine:.2f}, at least "
            f"{SAME_SPEAKER:.2f} is needed). Send a recording of that person, made in a quiet place."
        )
        raise LikenessError("CONSENT_SPEAKER_MISMATCH", detail, field=field)


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Cosine of two embeddings (256,)."""
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)


def _require_unmarked(gateway: Gateway, samples: FloatArray, field: str) -> None:
    if find_audio_mark(samples, SAMPLE_RATE_HZ, gateway.keys.mark) is not None:
        detail = "The recording carries the mark of speech that is made here. Only a living voice can consent."
        raise LikenessError("PROOF_SYNTHETIC", detail, field=field)


def _require_phrase(heard: Heard, phrase: Phrase, field: str) -> None:
    hint = f"Ask for a new phrase and read it clearly, word by word: {phrase.text!r} was this one."
    if heard.negated:
        raise LikenessError("PROOF_TASK_FAILED", "The person says that they do not allow it.", field=field)
    if not heard.complete:
        raise LikenessError("PROOF_TASK_FAILED", f"The recording is not the phrase. {hint}", field=field)
    right = heard.right(phrase)
    if right < MIN_RIGHT:
        detail = f"Of the {len(phrase.words)} words at the end {right} were understood, {MIN_RIGHT} are needed. {hint}"
        raise LikenessError("PROOF_TASK_FAILED", detail, field=field)
