"""Whatever the face stage makes carries the number that the call's grant names, and without a key it makes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.decode_picture import decode_picture, encode_picture
from services.common.errors import LikenessError
from services.common.film import CONTENT_TYPES, join_film, plan_segments, probe_film
from services.common.grants import METADATA_KEY, Grant, GrantSigner, file_template
from services.common.keys import MARK, load_keys, make_keys
from services.common.marking.film import film_carries
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import find_picture_mark, picture_carries
from services.common.store import media_reference, open_store
from services.faceswap.marks import LiveMarks
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, face_stage, inline
from tests.contract.test_faceswap_live_rpc import Stream, setup_of
from tests.contract.test_faceswap_segment_rpc import film_of, moving_man

NUMBER = 0xFEEDBEE5


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FaceSwapSettings:
    folder = tmp_path_factory.mktemp("data")
    make_keys(folder / "keys")
    return FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=folder)


@pytest.fixture(scope="module")
def stub(settings: FaceSwapSettings) -> Iterator[Any]:
    with face_stage(settings, grants="required") as (stub, _):
        yield stub


@pytest.fixture(scope="module")
def key(settings: FaceSwapSettings) -> bytes:
    return load_keys(settings.resolved_keys_dir).mark


@pytest.fixture(scope="module")
def granted(settings: FaceSwapSettings) -> dict[str, Any]:
    """What a call needs to put the woman's face onto somebody."""
    template = file_template(inline(a_woman()).encoded)
    grant = Grant("swap", "local", ("face_a",), frozenset({template}), mark=NUMBER)
    token = GrantSigner(load_keys(settings.resolved_keys_dir).grant).sign(grant, valid_s=3600)
    return {"metadata": ((METADATA_KEY, token),), "timeout": TIMEOUT_S}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_marked_in_every_format(stub: Any, key: bytes, granted: dict[str, Any], kind: str) -> None:
    options = faceswap_pb2.SwapOptions(format=f"PICTURE_FORMAT_{kind}", skip_distances=True)
    request = faceswap_pb2.SwapPictureRequest(source=inline(a_woman()), target=inline(a_man()), options=options)
    rgb = np.ascontiguousarray(decode_picture(stub.SwapPicture(request, **granted).result.encoded)[:, :, ::-1])
    found = find_picture_mark(rgb, key)
    assert found is not None and found.number == NUMBER
    assert picture_carries(rgb, key, NUMBER) and not picture_carries(rgb, key, NUMBER + 1)


def test_a_film_of_segments_is_marked_throughout(
    stub: Any, settings: FaceSwapSettings, key: bytes, granted: dict[str, Any], tmp_path: Path
) -> None:
    store = open_store(settings)
    film = film_of(moving_man(), tmp_path / "man.mp4")
    stored = media_reference(store, store.put("films/man.mp4", film.read_bytes(), CONTENT_TYPES["mp4"]))
    info = probe_film(film)
    spans = plan_segments(info, 1.0)
    parts = []
    for number, span in enumerate(spans):
        request = faceswap_pb2.SwapSegmentRequest(
            film=stored,
            start_pts=span.start_pts,
            end_pts=span.end_pts,
            assignments=[faceswap_pb2.FaceAssignment(sources=[inline(a_woman())])],
            options=faceswap_pb2.SwapOptions(skip_distances=True),
            destination=types_pb2.MediaReference(key=f"out/{number}.nut"),
        )
        *_, last = stub.SwapSegment(request, **granted)
        parts.append(tmp_path / f"{number}.nut")
        parts[-1].write_bytes(store.get(last.result.segment.key))
    joined = tmp_path / "joined.mp4"
    join_film(parts, spans, film, info, joined, format="mp4")
    assert len(spans) > 1 and film_carries(joined, key, NUMBER)
    assert not film_carries(film, key, NUMBER) and not film_carries(joined, key, NUMBER - 1)


def test_frames_of_a_live_stream_are_marked(stub: Any, key: bytes, granted: dict[str, Any]) -> None:
    stream = Stream(stub, setup_of(a_woman()), metadata=granted["metadata"])
    for number in range(3):
        stream.send(number, encode_picture(a_man(), "jpeg"))
        rgb = np.ascontiguousarray(decode_picture(stream.answer().encoded)[:, :, ::-1])
        assert picture_carries(rgb, key, NUMBER)
    assert stream.end() == []


def test_a_stage_without_the_key_does_not_begin(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    (tmp_path / "keys" / MARK).unlink()
    settings = FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=tmp_path)
    with pytest.raises(LikenessError) as caught, face_stage(settings, grants="required"):
        pass
    assert caught.value.reason == "MARK_FAILED" and MARK in caught.value.detail


def test_a_live_stream_ends_when_its_mark_is_not_to_be_found(key: bytes) -> None:
    class Forgetful(FrameMarker):
        def mark_bgr(self, picture: Any) -> None:
            """Leaves it as it is."""

    LiveMarks(FrameMarker(key, NUMBER), "").mark(a_man())
    with pytest.raises(LikenessError) as caught:
        LiveMarks(Forgetful(key, NUMBER), "").mark(a_man())
    assert caught.value.reason == "MARK_FAILED"
