"""SwapSegment over gRPC: progress, the result in the store, and a film that is never half done."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import grpc
import numpy as np
import pytest

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.server import StageServer
from services.common.store import ObjectStore, media_reference, open_store
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, face_stage, inline, refusal, told
from tests.waiting import eventually

FRAMES, RATE, TIME_BASE = 24, 12, Fraction(1, 12_000)
TICKS = int(1 / (RATE * TIME_BASE))


def film_of(pictures: list[np.ndarray], path: Path) -> Path:
    """An MP4 of pictures."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as film:
        stream: Any = film.add_stream("libx264", rate=RATE, options={"crf": "12", "g": "6", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", TIME_BASE
        stream.codec_context.time_base = TIME_BASE
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number * TICKS, TIME_BASE
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def pictures_of(data: bytes, path: Path) -> dict[int, np.ndarray]:
    """Decoded pictures by their time stamps in the film's time base."""
    path.write_bytes(data)
    with av.open(str(path)) as film:
        return {
            round(frame.pts * frame.time_base / TIME_BASE): frame.to_ndarray(format="bgr24")  # type: ignore[operator]
            for frame in film.decode(video=0)
        }


def moving_man() -> list[np.ndarray]:
    man = a_man()
    shifts = [np.array([[1.0, 0, 12 * np.sin(n / 4)], [0, 1, 0]]) for n in range(FRAMES)]
    return [np.asarray(cv2.warpAffine(man, shift, (260, 240)), np.uint8) for shift in shifts]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FaceSwapSettings:
    return FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def store(settings: FaceSwapSettings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(scope="module")
def stage(settings: FaceSwapSettings) -> Iterator[tuple[Any, StageServer]]:
    with face_stage(settings) as both:
        yield both


@pytest.fixture(scope="module")
def stub(stage: tuple[Any, StageServer]) -> Any:
    return stage[0]


@pytest.fixture(scope="module")
def film(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> types_pb2.MediaReference:
    path = film_of(moving_man(), tmp_path_factory.mktemp("film") / "film.mp4")
    return media_reference(store, store.put("films/man.mp4", path.read_bytes(), "video/mp4"))


def request_for(of: types_pb2.MediaReference, key: str, **fields: Any) -> faceswap_pb2.SwapSegmentRequest:
    assignments = [faceswap_pb2.FaceAssignment(sources=[inline(a_woman())])]
    return faceswap_pb2.SwapSegmentRequest(
        **{"film": of, "assignments": assignments, "destination": types_pb2.MediaReference(key=key), **fields}
    )


def test_a_segment_has_exactly_its_own_frames_swapped(
    stub: Any, store: ObjectStore, film: types_pb2.MediaReference, tmp_path: Path
) -> None:
    request = request_for(film, "out/a.nut", start_pts=8 * TICKS, end_pts=20 * TICKS)
    *progress, last = stub.SwapSegment(request, timeout=TIMEOUT_S)
    assert progress and all(message.WhichOneof("content") == "progress" for message in progress)
    done = [message.progress.frames_done for message in progress]
    assert done == sorted(done) and done[-1] == progress[-1].progress.frames_total == 12
    result = last.result
    assert (result.frames, result.width_px, result.height_px) == (12, 260, 240)
    (track,) = result.tracks
    assert (track.first_pts, track.last_pts) == (8 * TICKS, 19 * TICKS)
    assert (track.frames_swapped, track.assignment) == (12, 0)
    assert 0 < track.distance_to_source < track.distance_to_target
    stored = store.head("out/a.nut")
    assert (stored.sha256, stored.size_bytes) == (result.segment.sha256, result.segment.size_bytes)
    swapped = pictures_of(store.get("out/a.nut"), tmp_path / "a.nut")
    assert sorted(swapped) == [n * TICKS for n in range(8, 20)]
    originals = moving_man()
    for pts, picture in swapped.items():
        difference = np.abs(picture.astype(int) - originals[pts // TICKS]).mean(axis=2)
        assert difference[:15].mean() < 4 < difference[70:190, 80:180].mean()


def test_both_time_stamps_zero_mean_the_whole_film_and_its_coding_is_chosen(
    stub: Any, store: ObjectStore, film: types_pb2.MediaReference, tmp_path: Path
) -> None:
    coding = faceswap_pb2.FilmOptions(codec=faceswap_pb2.FILM_CODEC_VP9, crf=40, height_px=120)
    options = faceswap_pb2.SwapOptions(skip_distances=True)
    *_, last = stub.SwapSegment(
        request_for(film, "out/whole.nut", film_options=coding, options=options), timeout=TIMEOUT_S
    )
    assert (last.result.frames, last.result.width_px, last.result.height_px) == (FRAMES, 130, 120)
    assert last.result.tracks[0].distance_to_source == -1.0
    assert sorted(pictures_of(store.get("out/whole.nut"), tmp_path / "w.nut")) == [n * TICKS for n in range(FRAMES)]


def test_what_is_wrong_is_told_by_field_and_nothing_is_stored(
    stub: Any, store: ObjectStore, film: types_pb2.MediaReference
) -> None:
    def refused(**fields: Any) -> tuple[str, str]:
        request = request_for(film, "out/never.nut", **fields)
        return refusal(lambda: list(stub.SwapSegment(request, timeout=TIMEOUT_S)))[1:]

    def named(key: str, data: bytes) -> types_pb2.MediaReference:
        return media_reference(store, store.put(key, data, "video/mp4"))

    whole = store.get(film.key)
    blank = faceswap_pb2.FaceAssignment(sources=[inline(np.full((80, 80, 3), 50, np.uint8))])
    options: Any = faceswap_pb2.FilmOptions
    assert refused(start_pts=9, end_pts=9) == ("INVALID_FIELD", "end_pts")
    assert refused(start_pts=10**9, end_pts=2 * 10**9)[0] == "INVALID_FIELD"
    assert refused(film_options=options(codec=9)) == ("INVALID_FIELD", "film_options.codec")
    assert refused(film_options=options(crf=90)) == ("INVALID_FIELD", "film_options.crf")
    assert refused(film_options=options(height_px=121)) == ("INVALID_FIELD", "film_options.height_px")
    assert refused(destination=types_pb2.MediaReference()) == ("INVALID_FIELD", "destination.key")
    assert refused(destination=types_pb2.MediaReference(bucket="x", key="y")) == ("INVALID_FIELD", "destination.bucket")
    assert refused(assignments=[blank]) == ("FACE_NOT_FOUND", "assignments[0].sources[0]")
    assert refused(assignments=[]) == ("INVALID_FIELD", "assignments")
    assert refused(film=types_pb2.MediaReference()) == ("INVALID_FIELD", "film.sha256")
    missing = types_pb2.MediaReference(key="films/none.mp4", sha256=film.sha256, size_bytes=film.size_bytes)
    assert refused(film=missing) == ("NOT_FOUND", "film.key")
    assert refused(film=named("films/text.mp4", b"this is no film")) == ("MEDIA_UNSUPPORTED", "film")
    assert refused(film=named("films/empty.mp4", b"")) == ("MEDIA_EMPTY", "film")
    assert refused(film=named("films/cut.mp4", whole[: len(whole) // 2])) == ("MEDIA_UNREADABLE", "film")
    assert [stored.key for stored in store.list("out/never")] == []


def test_a_caller_who_leaves_stops_the_work_and_nothing_is_stored(
    stage: tuple[Any, StageServer], store: ObjectStore, tmp_path: Path
) -> None:
    stub, server = stage
    long = film_of(moving_man() * 40, tmp_path / "long.mp4")
    film = media_reference(store, store.put_file("films/long.mp4", long, "video/mp4"))
    responses = stub.SwapSegment(request_for(film, "out/left.nut"), timeout=TIMEOUT_S)
    assert next(responses).progress.frames_total == 40 * FRAMES
    responses.cancel()
    assert _settled(server)
    assert [stored.key for stored in store.list("out/left")] == []


def test_a_deadline_stops_the_work(stage: tuple[Any, StageServer], store: ObjectStore) -> None:
    stub, server = stage
    film = media_reference(store, store.head("films/long.mp4"))
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.SwapSegment(request_for(film, "out/late.nut"), timeout=2.0))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert _settled(server)
    assert [stored.key for stored in store.list("out/late")] == []


def test_a_film_that_is_damaged_in_the_middle_is_not_returned_as_whole(
    stub: Any, store: ObjectStore, film: types_pb2.MediaReference, tmp_path: Path
) -> None:
    data = bytearray(store.get(film.key))
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 6000] = bytes(6000)
    broken = media_reference(store, store.put("films/broken.mp4", bytes(data), "video/mp4"))
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.SwapSegment(request_for(broken, "out/broken.nut"), timeout=TIMEOUT_S))
    assert told(caught.value)[1:] == ("MEDIA_UNREADABLE", "film")
    assert [stored.key for stored in store.list("out/broken")] == []


def _settled(server: StageServer) -> bool:
    """Whether no call holds a place any more, soon."""
    return eventually(lambda: server._admission.running == 0)
