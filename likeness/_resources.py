"""The collections of the API, each reachable as an attribute of the client."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, cast

from likeness._transport import Transport, without_none
from likeness._types import Face, Media, MediaFile, Voice

# A file: its path, its content, or an open binary file.
FileInput = str | Path | bytes | IO[bytes]
PAGE_SIZE: Final = 100
_SUFFIXES: Final = {
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/aac": ".aac",
    "audio/pcm": ".pcm",
}


class Collection:
    """What the API has under one path."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path

    def _get(self, record_id: str) -> dict[str, Any]:
        return self._transport.json("GET", f"{self._path}/{record_id}")

    def _pages(self, limit: int | None = None, **filters: str | None) -> Iterator[dict[str, Any]]:
        """The records of the collection, newest first; all, or so many."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
            params = without_none({"limit": size, "after": after, **filters})
            page = self._transport.json("GET", self._path, params=params)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = page["last_id"]
            left = None if left is None else left - len(page["data"])


class Voices(Collection):
    """Enrolled voices."""

    def enrol(
        self,
        name: str,
        audio_sample: FileInput | Sequence[FileInput] | None = None,
        *,
        consent: str,
        fast: bool = False,
        sample_media: str | None = None,
    ) -> Voice:
        """Makes a voice from one or several recordings (at most 20) of one person, ten seconds or so together, in any
        common audio format. Those that sound like somebody else than most are left out; `quality["clips"]` says which.

        `fast` takes seconds instead of half a minute, for a voice that is less alike. Instead of the recording,
        `sample_media` names one that was uploaded.
        """
        fields = {
            "name": name,
            "consent": consent,
            "calibration": "fast" if fast else "full",
            "sample_media": sample_media,
        }
        samples = _several(audio_sample)
        with ExitStack() as opened:
            files = [("audio_sample", file_part(item, opened, "sample.wav")) for item in samples]
            answer = self._transport.json("POST", self._path, data=without_none(fields), files=files)
        return Voice.from_json(answer)

    def list(self) -> list[Voice]:
        return [Voice.from_json(item) for item in self._pages()]

    def get(self, voice: str) -> Voice:
        return Voice.from_json(self._get(voice))

    def delete(self, voice: str) -> None:
        self._transport.request("DELETE", f"{self._path}/{voice}")

    def adapt(self, voice: str, adaptation: FileInput) -> Voice:
        """Installs what `python -m services.synthesizer.adapt` learned from more recordings of the person."""
        with ExitStack() as opened:
            files = [("adaptation", file_part(adaptation, opened, "voice.safetensors"))]
            return Voice.from_json(self._transport.json("PUT", f"{self._path}/{voice}/adaptation", files=files))

    def remove_adaptation(self, voice: str) -> None:
        self._transport.request("DELETE", f"{self._path}/{voice}/adaptation")


class Faces(Collection):
    """Enrolled faces."""

    def enrol(
        self,
        picture: FileInput | Sequence[FileInput] = (),
        *,
        consent: str,
        name: str | None = None,
        picture_media: Sequence[str] = (),
    ) -> Face:
        """Makes a face from one or several pictures (at most 16) of a person; of each the largest face is taken.

        `picture_media` names pictures that were uploaded.
        """
        pictures = _several(picture)
        fields = {"name": name, "consent": consent, "picture_media": ",".join(picture_media) or None}
        with ExitStack() as opened:
            parts = [("picture", file_part(item, opened, "picture.png")) for item in pictures]
            answer = self._transport.json("POST", self._path, data=without_none(fields), files=parts)
        return Face.from_json(answer)

    def list(self) -> list[Face]:
        return [Face.from_json(item) for item in self._pages()]

    def get(self, face: str) -> Face:
        return Face.from_json(self._get(face))

    def delete(self, face: str) -> None:
        self._transport.request("DELETE", f"{self._path}/{face}")


class MediaFiles(Collection):
    """Files that the server keeps."""

    def get(self, media_id: str) -> MediaFile:
        response = self._transport.request("GET", f"{self._path}/{media_id}")
        return MediaFile(response.content, response.headers.get("Content-Type", ""))

    def list(self, *, purpose: str | None = None, job: str | None = None) -> list[Media]:
        """Newest first; all, those of a purpose, or those that a job made."""
        return [Media.from_json(item) for item in self._pages(purpose=purpose, job=job)]

    def info(self, media_id: str) -> Media:
        return Media.from_json(self._get(f"{media_id}/info"))

    def url(self, media_id: str) -> str:
        """A URL of the file that works for a short time without an API key."""
        return str(self._transport.json("POST", f"{self._path}/{media_id}/url")["url"])

    def delete(self, media_id: str) -> None:
        """With all that was made of it."""
        self._transport.request("DELETE", f"{self._path}/{media_id}")

    def save(
        self, media_id: str, to: str | Path | IO[bytes], *, on_progress: Callable[[int], object] = lambda _: None
    ) -> int:
        """Writes a file of any size to a path, or into an open binary file; how many bytes it has.

        A file of that path is replaced once the new one is whole. `on_progress` is told how many bytes have arrived
        since it was told last.
        """
        if not isinstance(to, (str, Path)):
            return self._copy(media_id, to, on_progress)
        path = Path(to)
        partial = path.with_name(f".{path.name}.part")
        try:
            with partial.open("wb") as file:
                size_bytes = self._copy(media_id, file, on_progress)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return size_bytes

    def save_in(self, media_id: str, folder: Path, stem: str) -> Path:
        """The same into a folder, under that name and the suffix of its kind; the path."""
        with self._transport.stream("GET", f"{self._path}/{media_id}") as response:
            kind = response.headers.get("Content-Type", "").partition(";")[0]
            path = folder / f"{stem}{_SUFFIXES.get(kind) or mimetypes.guess_extension(kind) or ''}"
            with path.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        return path

    def _copy(self, media_id: str, file: IO[bytes], on_progress: Callable[[int], object]) -> int:
        size_bytes = 0
        with self._transport.stream("GET", f"{self._path}/{media_id}") as response:
            for chunk in response.iter_bytes():
                file.write(chunk)
                size_bytes += len(chunk)
                on_progress(len(chunk))
        return size_bytes


def _several(given: FileInput | Sequence[FileInput] | None) -> Sequence[FileInput]:
    """One file or several, as several."""
    if given is None:
        return ()
    return given if isinstance(given, (list, tuple)) else [cast(FileInput, given)]


def file_part(source: FileInput, opened: ExitStack, fallback_name: str) -> tuple[str, Any, str]:
    """(name, content, content type) as httpx wants it; a path's file stays open until `opened` ends."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        name, content = path.name, opened.enter_context(path.open("rb"))
    else:
        given = getattr(source, "name", None)
        name, content = (Path(given).name if isinstance(given, str) else fallback_name), source  # type: ignore[assignment]
    return name, content, mimetypes.guess_type(name)[0] or "application/octet-stream"
