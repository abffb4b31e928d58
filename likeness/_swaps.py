"""Swaps: of pictures, which are answered when they are done, and of films, which go on in the background."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from likeness._errors import LikenessJobError
from likeness._resources import FileInput, MediaFiles, file_part
from likeness._transport import Transport, without_none
from likeness._types import ENDED, Progress

FIRST_POLL_S: Final = 0.1
MAX_POLL_S: Final = 1.0
POLL_GROWTH: Final = 1.3


class SwapJob:
    """A swap as it stood when it was last asked for: `client.swaps` makes them, `refresh`, `wait` and `cancel` ask.

    Attributes:
        id: also that of its record in `client.jobs`.
        status: queued, processing, succeeded, failed or canceled.
        progress: of a film; None for a picture.
        media: id of the result.
        figures: what was measured.
        error: why it failed or was cancelled: "reason", "detail", "field".
    """

    def __init__(self, transport: Transport, record: Mapping[str, Any]) -> None:
        self._transport = transport
        self._read(record)

    def _read(self, record: Mapping[str, Any]) -> None:
        self.id: str = record["id"]
        self.status: str = record["status"]
        progress = record.get("progress")
        self.progress: Progress | None = None if progress is None else Progress.from_json(progress)
        self.media: str | None = record.get("media")
        self.figures: Mapping[str, Any] = record.get("figures") or {}
        self.error: Mapping[str, Any] | None = record.get("error")

    @property
    def is_done(self) -> bool:
        return self.status in ENDED

    def refresh(self) -> SwapJob:
        self._read(self._transport.json("GET", f"/v1/swaps/{self.id}"))
        return self

    def cancel(self) -> SwapJob:
        """Stops the work; one that has ended stays as it is."""
        self._read(self._transport.json("POST", f"/v1/swaps/{self.id}/cancel"))
        return self

    def wait(
        self, timeout_s: float | None = None, *, on_progress: Callable[[Progress], object] | None = None
    ) -> SwapJob:
        """Waits for the end.

        Args:
            timeout_s: None waits for as long as it takes.
            on_progress: told how far it is, again and again.

        Raises:
            LikenessJobError: it failed or was cancelled.
            TimeoutError: it still runs after that time.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        while not self.is_done:
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TimeoutError(f"{self.id} is not done after {timeout_s} s.")
            if on_progress is not None and self.progress is not None:
                on_progress(self.progress)
            time.sleep(pause_s)
            pause_s = min(MAX_POLL_S, pause_s * POLL_GROWTH)
            self.refresh()
        if on_progress is not None and self.progress is not None:
            on_progress(self.progress)
        if self.status != "succeeded":
            raise LikenessJobError(self.id, self.status, self.error or {})
        return self

    def save(self, to: str | Path | IO[bytes]) -> int:
        """Writes the result into a file; how many bytes it has. A film is not held in memory."""
        if self.media is None:
            raise ValueError(f"{self.id} has no result: it is {self.status}.")
        return MediaFiles(self._transport, "/v1/media").save(self.media, to)


class Swaps:
    """`client.swaps`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        target: FileInput | None = None,
        target_media: str | None = None,
        face: str | None = None,
        assignments: Sequence[Mapping[str, Any]] | None = None,
        selection: str | None = None,
        index: int | None = None,
        reference: FileInput | None = None,
        reference_face: str | None = None,
        threshold: float | None = None,
        engine: str | None = None,
        regions: Sequence[str] | None = None,
        keep_occluders: bool | None = None,
        shape_strength: float | None = None,
        feather: float | None = None,
        pixel_boost: int | None = None,
        enhancer: str | None = None,
        format: str | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        crf: int | None = None,
        height_px: int | None = None,
        in_background: bool = False,
    ) -> SwapJob:
        """Puts enrolled faces onto the faces of a picture or a film. A film's job is returned while it is worked on.

        Args:
            target: the picture (PNG, JPEG, WebP, BMP) or film (MP4, MOV, WebM, MKV, GIF, animated WebP).
            target_media: instead of it, the id of media that the server has.
            face: id or name of an enrolled face.
            assignments: instead of it, several people at once: mappings with "face" and, each as below, "selection",
                "index", "reference", "reference_face", "threshold".
            selection: which faces of the target: "largest" (the default), "all", "index" or "reference".
            index: from the left, 0 is the first.
            reference: a picture of the person to be replaced; `reference_face`: the same as an enrolled face.
            threshold: largest distance to the reference, 0.6 when not given.
            engine: name of a registered engine, and `enhancer` of an enhancer; `pixel_boost` 1 to 4 for neural ones.
            regions: parts of the face to replace, of skin, brows, eyes, nose, mouth.
            keep_occluders: whether what lies before the face stays before it; yes by default.
            shape_strength: share of the face's shape carried over, 0 to 1.
            feather: width of the blend's border as a share of the face's width, 0.01 to 0.5.
            format: png, jpeg, webp of a picture; mp4, webm, gif, webp of a film.
            start_s, end_s: which part of a film.
            crf: constant rate factor of a film; lower is better and larger.
            height_px: of a film's result, even.
            in_background: do not wait for a picture either.
        """
        with ExitStack() as opened:
            files: list[tuple[str, Any]] = []
            if target is not None:
                files.append(("target", file_part(target, opened, "target")))
            references = [] if reference is None else [reference]
            people = None
            if assignments is not None:
                people = [_assignment(item, references) for item in assignments]
            files += [("reference", file_part(item, opened, "reference.png")) for item in references]
            fields: dict[str, Any] = {
                "target_media": target_media,
                "face": face,
                "assignments": None if people is None else json.dumps(people),
                "selection": selection,
                "index": index,
                "reference_face": reference_face,
                "threshold": threshold,
                "engine": engine,
                "regions": ",".join(regions) if regions else None,
                "keep_occluders": None if keep_occluders is None else str(keep_occluders).lower(),
                "shape_strength": shape_strength,
                "feather": feather,
                "pixel_boost": pixel_boost,
                "enhancer": enhancer,
                "format": format,
                "start_s": start_s,
                "end_s": end_s,
                "crf": crf,
                "height_px": height_px,
            }
            # Each field as a part without a file name, so that the body is multipart also where no file goes with it.
            parts = [(name, (None, str(value))) for name, value in without_none(fields).items()]
            headers = {"Prefer": "respond-async"} if in_background else {}
            answer = self._transport.json("POST", "/v1/swaps", files=[*parts, *files], headers=headers)
        return SwapJob(self._transport, answer)

    def get(self, swap_id: str) -> SwapJob:
        return SwapJob(self._transport, self._transport.json("GET", f"/v1/swaps/{swap_id}"))

    def cancel(self, swap_id: str) -> SwapJob:
        return SwapJob(self._transport, self._transport.json("POST", f"/v1/swaps/{swap_id}/cancel"))


def _assignment(given: Mapping[str, Any], references: list[FileInput]) -> dict[str, Any]:
    """An assignment as it is sent; its reference picture goes into `references`, and is named by its number there."""
    sent = without_none(given)
    if "reference" in sent:
        references.append(sent["reference"])
        sent["reference"] = len(references) - 1
    return sent
