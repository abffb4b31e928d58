"""Consents: asking somebody, sending the proof, keeping the receipt."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from likeness._resources import Collection, FileInput, file_part
from likeness._transport import without_none
from likeness._types import Consent, _FromJson


@dataclass(frozen=True)
class Challenge(_FromJson):
    """What a person is asked to do before they consent: a phrase to say, or turns of the head to make."""

    id: str
    who: str
    instructions: str
    expires_at: str
    phrase: str | None = None
    turns: list[str] | None = None
    uses: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Receipt(_FromJson):
    """What the person gets to keep: `receipt` is signed, `claims` is what it says."""

    consent: str
    receipt: str
    claims: Mapping[str, Any] = field(default_factory=dict)


class Consents(Collection):
    """Consents of voices (`client.voice_consents`) or of faces (`client.face_consents`)."""

    def create(
        self,
        *,
        who: str,
        kind: str,
        evidence: str,
        attested_by: str | None = None,
        uses: builtins.list[str] | None = None,
        expires_at: str | None = None,
        languages: builtins.list[str] | None = None,
        purpose: str | None = None,
        adult: bool | None = None,
        document: FileInput | None = None,
    ) -> Consent:
        """Records that somebody agreed, or that there is nobody to ask. For proofs of the person's own see `ask`.

        Args:
            who: the person, or the persona.
            kind: "attested" (you vouch for a real person's agreement) or "synthetic" (no real person).
            evidence: where the agreement can be found, or how the persona was made.
            attested_by: who vouches; needed when attested.
            uses: what it allows; by default the use of this kind of likeness.
            expires_at: RFC 3339 time; without it the consent lasts until revoked.
            languages: BCP 47 tags of what may be spoken; without it any.
            purpose: what it is for.
            adult: that the person is one.
            document: the signed form, a PDF, PNG or JPEG.
        """
        fields = without_none(
            {
                "who": who,
                "kind": kind,
                "evidence": evidence,
                "attested_by": attested_by,
                "uses": uses,
                "expires_at": expires_at,
                "languages": languages,
                "purpose": purpose,
                "adult": adult,
            }
        )
        if document is None:
            return Consent.from_json(self._transport.json("POST", self._path, json=fields))
        form = {name: ",".join(value) if isinstance(value, list) else value for name, value in fields.items()}
        return self._send(form, "document", document, "document.pdf")

    def ask(
        self,
        who: str,
        *,
        uses: builtins.list[str] | None = None,
        languages: builtins.list[str] | None = None,
        purpose: str | None = None,
        expires_at: str | None = None,
    ) -> Challenge:
        """Asks for a task: a phrase that the person says, or turns of the head that they make, within minutes.

        Args:
            who: the person's name.
            uses, languages, purpose: what the consent will be for, and for nothing else.
            expires_at: until when it will hold.
        """
        body = {"who": who, "uses": uses, "languages": languages, "purpose": purpose, "expires_at": expires_at}
        return Challenge.from_json(self._transport.json("POST", f"{self._path}/challenges", json=without_none(body)))

    def prove(self, challenge: str, proof: FileInput) -> Consent:
        """Sends the recording or film of a task, and makes the consent. A task is for one proof, come what may.

        The film of a face is as it comes from a camera, not mirrored.
        """
        field_name = "recording" if "voice" in self._path else "film"
        return self._send({"challenge": challenge}, field_name, proof, "proof.wav")

    def list(self) -> builtins.list[Consent]:
        return [Consent.from_json(item) for item in self._pages()]

    def get(self, consent_id: str) -> Consent:
        return Consent.from_json(self._get(consent_id))

    def receipt(self, consent_id: str) -> Receipt:
        """For the person whose likeness it is."""
        return Receipt.from_json(self._transport.json("GET", f"{self._path}/{consent_id}/receipt"))

    def revoke(self, consent_id: str) -> Consent:
        """Ends the consent: what was enrolled with it can no longer be used. Cannot be undone."""
        return Consent.from_json(self._transport.json("POST", f"{self._path}/{consent_id}/revoke"))

    def _send(self, form: dict[str, Any], name: str, file: FileInput, fallback_name: str) -> Consent:
        with ExitStack() as opened:
            files = {name: file_part(file, opened, fallback_name)}
            return Consent.from_json(self._transport.json("POST", self._path, data=form, files=files))
