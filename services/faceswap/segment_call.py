"""One SwapSegment call: its message to `swap_segment`, progress while that works, the result in the store."""

from __future__ import annotations

import contextvars
import queue
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from likeness.v1 import faceswap_pb2
from services.common.deadlines import current_deadline
from services.common.errors import LikenessError
from services.common.film import SEGMENT_CONTENT_TYPE, FilmCoding, FilmInfo, probe_film
from services.common.film.writer import Codec
from services.common.grants import granted_label
from services.common.store import ObjectStore, check_key, fetch_reference, media_reference
from services.faceswap import stage_metrics
from services.faceswap.face_engine import Look
from services.faceswap.kept import Kept
from services.faceswap.marks import Marks
from services.faceswap.requests import RequestReader, check_destination, fields_renamed, read_look
from services.faceswap.segment import SegmentResult, swap_segment
from services.faceswap.selection import Person
from services.faceswap.swapper import FaceSwapper

_POLL_S: Final = 0.1
_CODECS: Final[dict[int, Codec]] = {
    faceswap_pb2.FILM_CODEC_UNSPECIFIED: "h264",
    faceswap_pb2.FILM_CODEC_H264: "h264",
    faceswap_pb2.FILM_CODEC_VP9: "vp9",
}


class SegmentCall:
    """Works in a thread of its own, so that the one that answers can tell progress and notice a caller who leaves.

    Args:
        infos: what films are like, by SHA-256; segments of one film follow each other.
        marks: gives the call its marker.
    """

    def __init__(
        self, swapper: FaceSwapper, reader: RequestReader, store: ObjectStore, infos: Kept[FilmInfo], marks: Marks
    ) -> None:
        self._swapper = swapper
        self._reader = reader
        self._store = store
        self._infos = infos
        self._marker = marks.marker()
        self._label = granted_label()
        self._deadline = current_deadline()
        self._leaving = threading.Event()
        self._events: queue.SimpleQueue[tuple[int, int] | SegmentResult | BaseException] = queue.SimpleQueue()

    def responses(
        self, request: faceswap_pb2.SwapSegmentRequest, context: Any
    ) -> Iterator[faceswap_pb2.SwapSegmentResponse]:
        """Progress about twice a second, and the result at the end.

        Raises:
            LikenessError: INVALID_FIELD, FACE_* and MEDIA_*, naming the field of the request; NOT_FOUND and what the
                store fails with; CANCELLED; DEADLINE_EXCEEDED. Nothing is put into the store then.
        """
        coding, look = _read_coding(request.film_options), read_look(request.options)
        _check_span(request)
        check_destination(self._store, request.destination)
        with fields_renamed({"key": "destination.key"}):
            check_key(request.destination.key)
        people = self._reader.people(request.assignments, request.options)
        with ExitStack() as held:
            with fields_renamed({"key": "film.key"}):
                film = held.enter_context(fetch_reference(self._store, request.film, field="film"))
            info = self._infos.get(request.film.sha256, lambda: probe_film(film, field="film"))
            out = Path(held.enter_context(tempfile.TemporaryDirectory())) / "segment.nut"
            began_s = time.monotonic()
            work = threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._work, film, out, people, look, coding, info, request),
                name="segment",
            )
            work.start()
            try:
                result = yield from self._until_done(context)
            finally:
                self._leaving.set()
                work.join()
            stage_metrics.film_frames_per_second.observe(result.frames / max(time.monotonic() - began_s, 1e-3))
            self._check(context)
            stored = self._store.put_file(request.destination.key, out, SEGMENT_CONTENT_TYPE)
            message = _result_message(result)
            message.segment.CopyFrom(media_reference(self._store, stored))
            yield faceswap_pb2.SwapSegmentResponse(result=message)

    def _work(
        self,
        film: Path,
        out: Path,
        people: list[Person],
        look: Look,
        coding: FilmCoding,
        info: FilmInfo,
        request: faceswap_pb2.SwapSegmentRequest,
    ) -> None:
        try:
            self._events.put(
                swap_segment(
                    self._swapper,
                    film,
                    out,
                    people,
                    look,
                    start_pts=request.start_pts,
                    end_pts=request.end_pts,
                    coding=coding,
                    info=info,
                    marker=self._marker,
                    label=self._label,
                    measure=not request.options.skip_distances,
                    on_progress=lambda done, total: self._events.put((done, total)),
                    is_cancelled=self._leaving.is_set,
                )
            )
        except BaseException as error:
            self._events.put(error)

    def _until_done(self, context: Any) -> Generator[faceswap_pb2.SwapSegmentResponse, None, SegmentResult]:
        """Yields progress; returns the result, or raises what the work failed with."""
        counted = 0
        while True:
            try:
                event = self._events.get(timeout=_POLL_S)
            except queue.Empty:
                self._check(context)
                continue
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, SegmentResult):
                _count(event)
                return event
            done, total = event
            stage_metrics.film_frames_total.inc(done - counted)
            counted = done
            progress = faceswap_pb2.SegmentProgress(frames_done=done, frames_total=total)
            yield faceswap_pb2.SwapSegmentResponse(progress=progress)
            self._check(context)

    def _check(self, context: Any) -> None:
        if self._deadline is not None:
            self._deadline.check()
        if not context.is_active():
            raise LikenessError("CANCELLED", "The caller went away.")


def _read_coding(options: faceswap_pb2.FilmOptions) -> FilmCoding:
    if options.codec not in _CODECS:
        raise LikenessError("INVALID_FIELD", "Unknown codec.", field="film_options.codec")
    crf = options.crf if options.HasField("crf") else None
    return FilmCoding(_CODECS[options.codec], crf, options.height_px)


def _check_span(request: faceswap_pb2.SwapSegmentRequest) -> None:
    if (request.start_pts, request.end_pts) != (0, 0) and request.end_pts <= request.start_pts:
        detail = f"end_pts must lie after start_pts, got {request.start_pts} to {request.end_pts}."
        raise LikenessError("INVALID_FIELD", detail, field="end_pts")


def _result_message(result: SegmentResult) -> faceswap_pb2.SegmentResult:
    tracks = [
        faceswap_pb2.FaceTrack(
            id=track.id,
            first_pts=track.first_pts,
            last_pts=track.last_pts,
            frames_swapped=track.frames_swapped,
            assignment=-1 if track.person_index is None else track.person_index,
            distance_to_source=track.distance_to_source,
            distance_to_target=track.distance_to_target,
        )
        for track in result.tracks
    ]
    return faceswap_pb2.SegmentResult(
        frames=result.frames, width_px=result.width_px, height_px=result.height_px, tracks=tracks
    )


def _count(result: SegmentResult) -> None:
    stage_metrics.tracks_total.labels(kind="film").inc(len(result.tracks))
    swapped = sum(track.frames_swapped for track in result.tracks)
    stage_metrics.faces_per_frame.labels(kind="film").observe(swapped / max(result.frames, 1))
