"""FaceSwapService over gRPC: pictures inline and by reference, what comes back, and the errors it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.decode_picture import decode_picture, encode_picture
from services.common.store import ObjectStore, media_reference, open_store
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, another_woman, face_stage, inline, refusal


@pytest.fixture(scope="module")
def woman() -> np.ndarray:
    return a_woman()


@pytest.fixture(scope="module")
def man() -> np.ndarray:
    return a_man()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FaceSwapSettings:
    return FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def store(settings: FaceSwapSettings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(scope="module")
def stub(settings: FaceSwapSettings) -> Iterator[Any]:
    with face_stage(settings) as (stub, _):
        yield stub


def test_faces_are_described(stub: Any, woman: np.ndarray) -> None:
    request = faceswap_pb2.DetectFacesRequest(picture=inline(woman), with_descriptors=True)
    response = stub.DetectFaces(request, timeout=TIMEOUT_S)
    assert (response.width_px, response.height_px) == (260, 260)
    (face,) = response.faces
    assert 0.5 <= face.score <= 1.0 and len(face.keypoints) == 6 and len(face.descriptor) == 128
    right_eye, left_eye, nose = face.keypoints[:3]
    assert right_eye.x < nose.x < left_eye.x and nose.y > right_eye.y
    assert face.box.left < right_eye.x < face.box.left + face.box.width
    plain = stub.DetectFaces(faceswap_pb2.DetectFacesRequest(picture=inline(woman)), timeout=TIMEOUT_S)
    assert len(plain.faces[0].descriptor) == 0


def test_a_picture_without_a_face_has_no_faces(stub: Any) -> None:
    request = faceswap_pb2.DetectFacesRequest(picture=inline(np.full((50, 60, 3), 120, np.uint8)))
    response = stub.DetectFaces(request, timeout=TIMEOUT_S)
    assert (response.width_px, response.height_px, len(response.faces)) == (60, 50, 0)


def test_a_swap_inline_returns_a_png_and_the_distances(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    request = faceswap_pb2.SwapPictureRequest(source=inline(woman), target=inline(man))
    response = stub.SwapPicture(request, timeout=TIMEOUT_S)
    assert response.result.encoded.startswith(b"\x89PNG")
    result = decode_picture(response.result.encoded)
    assert result.shape == man.shape == (response.height_px, response.width_px, 3)
    (face,) = response.faces
    assert 0.0 < face.distance_to_source < face.distance_to_target < 1.5
    assert (result[0] == man[0]).all() and (result != man).any()


def test_a_swap_by_reference_is_put_where_it_was_asked_for(
    stub: Any, store: ObjectStore, woman: np.ndarray, man: np.ndarray
) -> None:
    references = [
        media_reference(store, store.put(f"in/{name}.png", encode_picture(picture, "png"), "image/png"))
        for name, picture in (("woman", woman), ("man", man))
    ]
    source, target = (faceswap_pb2.Picture(media=reference) for reference in references)
    response = stub.SwapPicture(
        faceswap_pb2.SwapPictureRequest(
            source=source,
            target=target,
            options=faceswap_pb2.SwapOptions(format=faceswap_pb2.PICTURE_FORMAT_JPEG, shape_strength=0.5),
            destination=types_pb2.MediaReference(key="out/swap.jpg"),
        ),
        timeout=TIMEOUT_S,
    )
    media = response.result.media
    assert (media.key, media.content_type, media.bucket) == ("out/swap.jpg", "image/jpeg", store.bucket)
    stored = store.get("out/swap.jpg")
    assert len(stored) == media.size_bytes and decode_picture(stored).shape == man.shape


def test_a_reference_to_changed_content_is_refused(stub: Any, store: ObjectStore, woman: np.ndarray) -> None:
    reference = media_reference(store, store.put("in/changing.png", encode_picture(woman, "png"), "image/png"))
    store.put("in/changing.png", encode_picture(255 - woman, "png"), "image/png")
    request = faceswap_pb2.DetectFacesRequest(picture=faceswap_pb2.Picture(media=reference))
    code, reason, field = refusal(lambda: stub.DetectFaces(request, timeout=TIMEOUT_S))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEDIA_CHECKSUM_MISMATCH")
    assert field == "picture.media"


@pytest.mark.parametrize("field", ["source", "target"])
def test_the_picture_at_fault_is_named(stub: Any, woman: np.ndarray, field: str) -> None:
    def fails(bad: faceswap_pb2.Picture) -> tuple[grpc.StatusCode, str, str]:
        pictures = {"source": inline(woman), "target": inline(woman), field: bad}
        request = faceswap_pb2.SwapPictureRequest(**pictures)
        return refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert fails(inline(np.full((80, 80, 3), 99, np.uint8))) == (invalid, "FACE_NOT_FOUND", field)
    assert fails(faceswap_pb2.Picture()) == (invalid, "INVALID_FIELD", field)
    assert fails(faceswap_pb2.Picture(encoded=b"")) == (invalid, "MEDIA_EMPTY", field)
    assert fails(faceswap_pb2.Picture(encoded=b"GIF89a" + bytes(50))) == (invalid, "MEDIA_UNSUPPORTED", field)
    assert fails(faceswap_pb2.Picture(encoded=bytes(1024 * 1024 + 1))) == (invalid, "MEDIA_TOO_LARGE", field)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"shape_strength": 1.01}, "options.shape_strength"),
        ({"feather": 0.001}, "options.feather"),
        ({"selection": 77}, "options.selection"),
        ({"format": 99}, "options.format"),
    ],
)
def test_options_out_of_range_are_named(stub: Any, woman: np.ndarray, options: dict[str, Any], field: str) -> None:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(woman), target=inline(woman), options=faceswap_pb2.SwapOptions(**options)
    )
    code, reason, named = refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))
    assert (code, reason, named) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


def test_a_foreign_bucket_is_refused(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(woman),
        target=inline(man),
        destination=types_pb2.MediaReference(bucket="elsewhere", key="out/x.png"),
    )
    assert refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))[1:] == ("INVALID_FIELD", "destination.bucket")


def test_the_largest_face_by_default_and_all_when_asked(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    two = np.full((260, 520, 3), 128, np.uint8)
    two[:240, :260], two[:, 260:] = man, woman
    counts = {}
    for selection in (faceswap_pb2.FACE_SELECTION_UNSPECIFIED, faceswap_pb2.FACE_SELECTION_ALL):
        request = faceswap_pb2.SwapPictureRequest(
            source=inline(woman), target=inline(two), options=faceswap_pb2.SwapOptions(selection=selection)
        )
        counts[selection] = len(stub.SwapPicture(request, timeout=TIMEOUT_S).faces)
    assert counts == {faceswap_pb2.FACE_SELECTION_UNSPECIFIED: 1, faceswap_pb2.FACE_SELECTION_ALL: 2}


def side_by_side(*pictures: np.ndarray) -> np.ndarray:
    """Pictures in a row, on grey."""
    row = np.full((max(p.shape[0] for p in pictures), sum(p.shape[1] for p in pictures), 3), 128, np.uint8)
    left = 0
    for picture in pictures:
        row[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1]
    return row


def assignment(*sources: np.ndarray, **selector: Any) -> faceswap_pb2.FaceAssignment:
    return faceswap_pb2.FaceAssignment(
        sources=[inline(source) for source in sources], faces=faceswap_pb2.FaceSelector(**selector)
    )


def test_two_people_are_put_onto_two_faces_in_one_pass(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    target = side_by_side(man, woman)
    request = faceswap_pb2.SwapPictureRequest(
        target=inline(target),
        assignments=[
            assignment(woman, selection=faceswap_pb2.FACE_SELECTION_INDEX, index=0),
            assignment(
                another_woman(), selection=faceswap_pb2.FACE_SELECTION_REFERENCE, reference=inline(woman), threshold=0.5
            ),
        ],
    )
    response = stub.SwapPicture(request, timeout=TIMEOUT_S)
    faces = sorted(response.faces, key=lambda face: face.target.box.left)
    assert [face.assignment for face in faces] == [0, 1]
    for face in faces:
        assert face.distance_to_source < face.distance_to_target
    result = decode_picture(response.result.encoded)
    for columns in (slice(0, 260), slice(260, 520)):
        assert (result[:, columns] != target[:, columns]).any()


def test_several_pictures_of_a_person_and_parts_of_the_face(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    def swap(**options: Any) -> tuple[np.ndarray, Any]:
        request = faceswap_pb2.SwapPictureRequest(
            target=inline(man),
            assignments=[assignment(woman, np.ascontiguousarray(woman[:, ::-1]))],
            options=faceswap_pb2.SwapOptions(**options),
        )
        response = stub.SwapPicture(request, timeout=TIMEOUT_S)
        return decode_picture(response.result.encoded), response.faces[0]

    whole, face = swap()
    assert 0 < face.distance_to_source < face.distance_to_target
    quick, face = swap(skip_distances=True)
    assert (quick == whole).all() and (face.distance_to_source, face.distance_to_target) == (-1.0, -1.0)
    mouth, _ = swap(regions=[faceswap_pb2.FACE_REGION_MOUTH], skip_distances=True)
    assert 0 < (mouth != man).any(axis=2).sum() < (whole != man).any(axis=2).sum()


def test_a_selection_that_names_no_face_is_told(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    def refused(**selector: Any) -> tuple[grpc.StatusCode, str, str]:
        request = faceswap_pb2.SwapPictureRequest(target=inline(man), assignments=[assignment(woman, **selector)])
        return refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    nobody = (invalid, "FACE_NOT_FOUND", "target")
    assert refused(selection=faceswap_pb2.FACE_SELECTION_INDEX, index=1) == nobody
    stranger = {"selection": faceswap_pb2.FACE_SELECTION_REFERENCE, "reference": inline(woman)}
    assert refused(**stranger, threshold=0.3) == nobody
    at = "assignments[0].faces."
    assert refused(**stranger, threshold=-1.0) == (invalid, "INVALID_FIELD", at + "threshold")
    assert refused(selection=99) == (invalid, "INVALID_FIELD", at + "selection")
    assert refused(selection=faceswap_pb2.FACE_SELECTION_REFERENCE) == (invalid, "INVALID_FIELD", at + "reference")
    empty = inline(np.full((90, 90, 3), 40, np.uint8))
    blank = {"selection": faceswap_pb2.FACE_SELECTION_REFERENCE, "reference": empty}
    assert refused(**blank) == (invalid, "FACE_NOT_FOUND", at + "reference")


def test_the_source_at_fault_among_many_is_named(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    def refused(*assignments: Any, **fields: Any) -> tuple[str, str]:
        request = faceswap_pb2.SwapPictureRequest(target=inline(man), assignments=assignments, **fields)
        return refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))[1:]

    blank = np.full((90, 90, 3), 40, np.uint8)
    good = assignment(woman)
    assert refused(good, assignment(woman, blank)) == ("FACE_NOT_FOUND", "assignments[1].sources[1]")
    broken = faceswap_pb2.FaceAssignment(sources=[inline(woman), faceswap_pb2.Picture(encoded=b"no picture")])
    assert refused(broken) == ("MEDIA_UNSUPPORTED", "assignments[0].sources[1]")
    assert refused(good, faceswap_pb2.FaceAssignment()) == ("INVALID_FIELD", "assignments[1].sources")
    assert refused(assignment(*[woman] * 17)) == ("INVALID_FIELD", "assignments[0].sources")
    assert refused(*[good] * 17) == ("INVALID_FIELD", "assignments")
    assert refused(good, source=inline(woman)) == ("INVALID_FIELD", "source")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"engine": "no-such-engine"}, "options.engine"),
        ({"enhancer": "no-such-enhancer"}, "options.enhancer"),
        ({"pixel_boost": 9}, "options.pixel_boost"),
        ({"regions": [faceswap_pb2.FACE_REGION_SKIN, 42]}, "options.regions[1]"),
        ({"selection": faceswap_pb2.FACE_SELECTION_INDEX}, "options.selection"),
    ],
)
def test_an_option_that_is_not_known_is_named(stub: Any, woman: np.ndarray, options: Any, field: str) -> None:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(woman), target=inline(woman), options=faceswap_pb2.SwapOptions(**options)
    )
    assert refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))[1:] == ("INVALID_FIELD", field)


def test_of_a_source_with_several_faces_the_largest_counts(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    source = side_by_side(man[::2, ::2], woman)
    request = faceswap_pb2.SwapPictureRequest(source=inline(source), target=inline(woman))
    (face,) = stub.SwapPicture(request, timeout=TIMEOUT_S).faces
    assert face.distance_to_source < 0.3  # her own face onto herself
