"""`likeness.Client`: the HTTP API as Python calls."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, Final, Self

import httpx

from likeness._accounts import Audit, Keys, Tenants
from likeness._consents import Consents
from likeness._grants import Grants
from likeness._jobs import Batches, Jobs
from likeness._protected import Protected
from likeness._provenance import Verification, verify
from likeness._resources import Faces, FileInput, MediaFiles, Voices
from likeness._swaps import Swaps
from likeness._transport import Transport, without_none
from likeness._types import Speech, SpeechFigures, Swap, Word
from likeness._uploads import Uploads

DEFAULT_URL: Final = "http://127.0.0.1:8000"
API_KEY_VARIABLE: Final = "LIKENESS_API_KEY"
DEFAULT_TIMEOUT_S: Final = 300.0
FIGURES_TIMEOUT_S: Final = 10.0


class Client:
    """A connection to a Likeness gateway.

        client = likeness.Client()
        consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="made with flite")
        voice = client.voices.enrol("juniper", "persona.flac", consent=consent.id)
        client.speak("Hello there.", voice=voice.id, to=open("hello.wav", "wb"))

    Args:
        base_url: of the gateway.
        api_key: sent as bearer token; by default what LIKENESS_API_KEY says, if anything.
        timeout: seconds without a sign of life from the server after which a call fails.

    Every call raises LikenessAPIError when the server refuses and LikenessConnectionError when it is not reached.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, api_key: str | None = None, timeout: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._transport = Transport(base_url, api_key or os.environ.get(API_KEY_VARIABLE), timeout)
        self.voice_consents = Consents(self._transport, "/v1/audio/voice_consents")
        self.face_consents = Consents(self._transport, "/v1/face_consents")
        self.voices = Voices(self._transport, "/v1/audio/voices")
        self.protected = Protected(self._transport, "/v1/protected")
        self.faces = Faces(self._transport, "/v1/faces")
        self.swaps = Swaps(self._transport)
        self.jobs = Jobs(self._transport, "/v1/jobs")
        self.batches = Batches(self._transport, "/v1/batches")
        self.media = MediaFiles(self._transport, "/v1/media")
        self.uploads = Uploads(self._transport, "/v1/uploads")
        self.grants = Grants(self._transport, "/v1/grants")
        self.keys = Keys(self._transport, "/v1/keys")
        self.tenants = Tenants(self._transport, "/v1/tenants")
        self.audit = Audit(self._transport, "/v1/audit")

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def readiness(self) -> dict[str, Any]:
        """What the gateway says of itself and its stages; raises when it is not ready."""
        return self._transport.json("GET", "/readyz")

    def speak(
        self,
        text: str,
        *,
        voice: str,
        format: str = "wav",
        speed: float = 1.0,
        seed: int | None = None,
        pitch_shift: float | None = None,
        temperature: float | None = None,
        dictionary: Mapping[str, str] | None = None,
        timestamps: bool = False,
        to: IO[bytes] | Callable[[bytes], object] | None = None,
    ) -> Speech:
        """Speaks a text of at most 4096 characters: plain, with `<break time="300ms"/>` in it, or SSML.

        Args:
            voice: id or name of an enrolled voice.
            format: wav, mp3, flac, opus, aac or pcm.
            speed: 0.25 to 4.
            seed: the same seed gives the same speech, but for its mark.
            pitch_shift: semitones, -12 to 12.
            temperature: 0 to 1.5; how much speech varies with the seed. 1 is usual.
            dictionary: word -> pronunciation: ARPAbet, IPA between slashes, or other words.
            timestamps: `words` of the result say when each is spoken; the audio then comes in one piece.
            to: a binary file, or a function that takes bytes; gets the audio while it arrives, and it is not kept.
        """
        body = without_none(
            {
                "input": text,
                "voice": voice,
                "response_format": format,
                "speed": speed,
                "seed": seed,
                "pitch_shift": pitch_shift,
                "temperature": temperature,
                "dictionary": dict(dictionary) if dictionary else None,
                "timestamps": timestamps or None,
            }
        )
        if timestamps:
            return self._speak_timed(body, to)
        kept: list[bytes] = []
        write = _writer(to, kept)
        size_bytes = 0
        with self._transport.stream("POST", "/v1/audio/speech", json=body) as response:
            for chunk in response.iter_bytes():
                write(chunk)
                size_bytes += len(chunk)
        job_id = response.headers.get("X-Likeness-Job", "")
        return Speech(
            audio=b"".join(kept),
            content_type=response.headers.get("Content-Type", ""),
            size_bytes=size_bytes,
            job_id=job_id,
            figures=self._speech_figures(response, job_id),
        )

    def _speak_timed(self, body: Mapping[str, Any], to: IO[bytes] | Callable[[bytes], object] | None) -> Speech:
        with self._transport.stream("POST", "/v1/audio/speech", json=body) as response:
            timed = json.loads(response.read())
        kept: list[bytes] = []
        audio = base64.b64decode(timed["audio"])
        _writer(to, kept)(audio)
        return Speech(
            audio=b"".join(kept),
            content_type=timed["content_type"],
            size_bytes=len(audio),
            job_id=timed["job"],
            figures=self._speech_figures(response, timed["job"]),
            words=tuple(Word.from_json(word) for word in timed["words"]),
        )

    def _speech_figures(self, response: httpx.Response, job_id: str) -> SpeechFigures:
        """From the headers; those of a streamed answer left too early, so that its job is asked."""
        if response.headers.get("X-Likeness-Figures") == "complete" or not job_id:
            return SpeechFigures(
                real_time_factor=_number(response, "X-Likeness-Real-Time-Factor"),
                time_to_first_audio_ms=_number(response, "X-Likeness-Time-To-First-Audio-Ms"),
                speaker_similarity=_number(response, "X-Likeness-Speaker-Similarity"),
            )
        figures = self.jobs.wait(job_id, FIGURES_TIMEOUT_S).figures
        return SpeechFigures(
            real_time_factor=figures.get("real_time_factor"),
            time_to_first_audio_ms=figures.get("ttfa_ms"),
            speaker_similarity=figures.get("speaker_similarity"),
        )

    def verify(
        self,
        file: FileInput | None = None,
        *,
        media: str | None = None,
        manifest: FileInput | None = None,
        format: str | None = None,
    ) -> Verification:
        """Whether a file was made by this server: by its manifest, its invisible mark, and its hash.

        Args:
            file: a recording, picture or film; or `media`, the id of one that the server keeps.
            manifest: the file's, where it lies beside it.
            format: "pcm" for bare samples.
        """
        return verify(self._transport, file, media=media, manifest=manifest, format=format)

    def swap(self, *, target: FileInput, face: str | None = None, **options: Any) -> Swap:
        """Puts an enrolled face onto the faces of a picture, and fetches the result.

        Args:
            face: id or name of an enrolled face.
            target: the picture.
            options: those of `swaps.create`, which also takes films.

        Raises:
            LikenessJobError: a film could not be swapped.
        """
        job = self.swaps.create(target=target, face=face, **options).wait()
        media = self.media.get(str(job.media))
        return Swap(
            picture=media.content,
            content_type=media.content_type,
            job_id=job.id,
            media_id=str(job.media),
            faces=tuple(job.figures.get("faces", ())),
            seconds=job.figures.get("seconds"),
        )


def _writer(to: IO[bytes] | Callable[[bytes], object] | None, kept: list[bytes]) -> Callable[[bytes], object]:
    if to is None:
        return kept.append
    return to if callable(to) else to.write


def _number(response: httpx.Response, header: str) -> float | None:
    try:
        return float(response.headers[header])
    except (KeyError, ValueError):
        return None
