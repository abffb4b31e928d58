"""People who must never be cloned: registering them, and ending it."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from likeness._consents import Challenge
from likeness._resources import Collection, FileInput, file_part
from likeness._transport import without_none
from likeness._types import _FromJson


@dataclass(frozen=True)
class ProtectedPerson(_FromJson):
    """Somebody whose voice or face nobody can clone here."""

    id: str
    subject: str  # voice | face
    who: str
    kind: str  # spoken | filmed | attested
    created_at: int  # Unix seconds
    attested_by: str | None = None


class Protected(Collection):
    """The people that this tenant has registered (`client.protected`)."""

    def ask(self, who: str, subject: str) -> Challenge:
        """Asks for a task by which a person registers themselves.

        Args:
            subject: "voice" or "face".
        """
        return self._ask({"who": who, "subject": subject})

    def ask_removal(self, protected_id: str) -> Challenge:
        """Asks for a task by which a person who is registered ends that."""
        return self._ask({"removal_of": protected_id})

    def prove(
        self, challenge: str, *, recording: FileInput | None = None, film: FileInput | None = None
    ) -> ProtectedPerson:
        """Registers who did the task; a task is for one proof, come what may."""
        return ProtectedPerson.from_json(self._send(self._path, challenge, recording, film))

    def attest(
        self,
        who: str,
        *,
        attested_by: str,
        document: FileInput,
        audio_samples: Sequence[FileInput] = (),
        pictures: Sequence[FileInput] = (),
    ) -> ProtectedPerson:
        """Registers somebody on an administrator's word, by recordings of their voice or pictures of their face.

        Args:
            attested_by: who answers for it that the person wants it.
            document: what the person signed, a PDF, PNG or JPEG.
        """
        fields = {"who": who, "attested_by": attested_by}
        with ExitStack() as opened:
            parts = [("document", file_part(document, opened, "document.pdf"))]
            parts += [("audio_sample", file_part(file, opened, "sample.wav")) for file in audio_samples]
            parts += [("picture", file_part(file, opened, "picture.png")) for file in pictures]
            return ProtectedPerson.from_json(self._transport.json("POST", self._path, data=fields, files=parts))

    def list(self) -> builtins.list[ProtectedPerson]:
        return [ProtectedPerson.from_json(item) for item in self._pages()]

    def get(self, protected_id: str) -> ProtectedPerson:
        return ProtectedPerson.from_json(self._get(protected_id))

    def remove(
        self,
        protected_id: str,
        challenge: str | None = None,
        *,
        recording: FileInput | None = None,
        film: FileInput | None = None,
    ) -> None:
        """Ends it and erases the template: on the person's proof of a task, or without one as an administrator."""
        if challenge is None:
            self._transport.request("DELETE", f"{self._path}/{protected_id}")
        else:
            self._send(f"{self._path}/{protected_id}/removal", challenge, recording, film)

    def _ask(self, body: dict[str, Any]) -> Challenge:
        return Challenge.from_json(self._transport.json("POST", f"{self._path}/challenges", json=without_none(body)))

    def _send(self, path: str, challenge: str, recording: FileInput | None, film: FileInput | None) -> dict[str, Any]:
        if (recording is None) == (film is None):
            raise ValueError("give the recording or the film of the task")
        with ExitStack() as opened:
            if film is None:
                files = {"recording": file_part(recording, opened, "recording.wav")}  # type: ignore[arg-type]
            else:
                files = {"film": file_part(film, opened, "film.mp4")}
            return self._transport.json("POST", path, data={"challenge": challenge}, files=files)
