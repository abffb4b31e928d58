"""Enrol a face, put it into a picture: over HTTP, through the whole stack."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import likeness
from likeness._demo.pictures import ASTRONAUT, GROUP, GUEST


@pytest.fixture(scope="module")
def face(client: likeness.Client, face_consent: likeness.Consent) -> likeness.Face:
    return client.faces.enrol(ASTRONAUT.path, consent=face_consent.id, name="astronaut")


def pixels(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture)


def test_the_largest_face_is_found(face: likeness.Face) -> None:
    assert face.faces_found == 1
    assert 60 < face.box["width"] < 200 and 150 < face.box["left"] < 260


def test_the_result_is_the_source(client: likeness.Client, face_consent: likeness.Consent) -> None:
    guest = client.faces.enrol(GUEST.content(), consent=face_consent.id, name="guest")
    (swapped,) = client.swap(face=guest.id, target=ASTRONAUT.path).faces
    assert swapped["distance_to_source"] < 0.6, "dlib's threshold for the same person"
    assert swapped["distance_to_target"] > 0.6


def test_the_result_lies_in_the_target(client: likeness.Client, face: likeness.Face) -> None:
    swap = client.swap(face=face.id, target=GROUP.path)
    assert swap.content_type == "image/png"
    (swapped,) = swap.faces
    assert swapped["distance_to_source"] < swapped["distance_to_target"]
    before, after = pixels(GROUP.path.read_bytes()), pixels(swap.picture)
    assert before.shape == after.shape
    box = swapped["box"]
    changed = np.abs(before.astype(int) - after).max(axis=2) > 40  # more than the mark, which is in the whole picture
    rows, columns = np.nonzero(changed)
    assert changed.any()
    margin = 0.75 * max(box["width"], box["height"])
    assert columns.min() > box["left"] - margin and columns.max() < box["left"] + box["width"] + margin
    assert rows.min() > box["top"] - margin and rows.max() < box["top"] + box["height"] + margin


def test_all_faces(client: likeness.Client, face: likeness.Face) -> None:
    swap = client.swap(face="astronaut", target=GROUP.path, selection="all", format="jpeg")
    assert swap.content_type == "image/jpeg" and len(swap.faces) >= 5
    assert pixels(swap.picture).shape == pixels(GROUP.path.read_bytes()).shape


def test_the_same_swap_gives_the_same_picture(client: likeness.Client, face: likeness.Face) -> None:
    first, second = (client.swap(face=face.id, target=GROUP.path).picture for _ in range(2))
    assert np.abs(pixels(first).astype(int) - pixels(second)).max() < 40, "the same, but for the marks"


def test_the_result_is_kept_as_media(client: likeness.Client, face: likeness.Face) -> None:
    swap = client.swap(face=face.id, target=GROUP.path)
    assert client.media.get(swap.media_id).content == swap.picture
    assert client.jobs.get(swap.job_id).media == swap.media_id


def test_no_face_in_the_picture(client: likeness.Client, face: likeness.Face) -> None:
    grey = cv2.imencode(".png", np.full((300, 300, 3), 128, np.uint8))[1].tobytes()
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.swap(face=face.id, target=grey)
    assert (refused.value.status, refused.value.reason) == (422, "FACE_NOT_FOUND")
    assert refused.value.field == "target"


def test_no_consent_no_face(client: likeness.Client, voice: likeness.Voice) -> None:
    for consent in ("cons_that_is_not", voice.consent):  # a voice's consent is none for a face
        with pytest.raises(likeness.LikenessAPIError) as refused:
            client.faces.enrol(ASTRONAUT.path, consent=consent)
        assert (refused.value.status, refused.value.reason) == (403, "CONSENT_REQUIRED")


def test_a_revoked_consent_ends_the_face(client: likeness.Client) -> None:
    consent = client.face_consents.create(who="x", kind="attested", attested_by="the tests", evidence="none")
    face = client.faces.enrol(ASTRONAUT.path, consent=consent.id)
    client.face_consents.revoke(consent.id)
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.swap(face=face.id, target=GROUP.path)
    assert (refused.value.status, refused.value.reason) == (403, "CONSENT_NOT_LIVE")
