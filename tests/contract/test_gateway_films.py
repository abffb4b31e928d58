"""Swaps of films: accepted, worked on in segments, joined, published whole or not at all; stopped when they must be."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from flask.testing import FlaskClient

from services.common.errors import LikenessError
from services.gateway import film_jobs
from services.gateway.app import create_app
from services.gateway.db import Job
from services.gateway.jobs import end_job_in
from services.gateway.jobs.watching import LOOK_S
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fake_faces import animated_webp, film, luma_of, portrait
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_process import GatewayProcess
from tests.contract.gateway_worker import WorkerProcess, worker_inside
from tests.waiting import PROMPT_S, settled, wait_for

UNAVAILABLE = LikenessError("STAGE_UNAVAILABLE", "The replica went away.")


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path)
    yield fakes
    fakes.doings.segments_held.clear()
    fakes.close()


@pytest.fixture
def app(stages: FakeStages) -> Iterator[Any]:
    with running_app(stages) as made:
        yield made


def make_settings(stages: FakeStages, **settings: Any) -> GatewaySettings:
    values = {"segment_seconds": 0.5, "consent_interval_s": 0.1, "log_level": "error", "queue_poll_s": 0.05, **settings}
    return GatewaySettings(data_dir=stages.data_dir, **values, **stages.targets())


@contextmanager
def running_app(stages: FakeStages, **settings: Any) -> Iterator[Any]:
    """A gateway and a worker."""
    values = make_settings(stages, **settings)
    made = create_app(values)
    with worker_inside(values):
        yield made
    made.extensions["likeness"].close()


@pytest.fixture(scope="module")
def quiet_stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    """For tests that do not come as far as the stage."""
    fakes = FakeStages(tmp_path_factory.mktemp("gateway-films"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def quiet_app(quiet_stages: FakeStages) -> Iterator[Any]:
    made = create_app(make_settings(quiet_stages))
    new_face(made.test_client(), "Ada")
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


def new_face(client: FlaskClient, name: str, brightness: int = 200) -> tuple[str, str]:
    """The ids of a face and of its consent."""
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/face_consents", json=body).get_json()["id"]
    data = {"name": name, "consent": consent, "picture": (io.BytesIO(portrait(brightness)), "p.png")}
    return client.post("/v1/faces", data=data).get_json()["id"], consent


def send(client: FlaskClient, target: bytes | None = None, **fields: Any) -> Any:
    data = dict(fields)
    if target is not None:
        data["target"] = (io.BytesIO(target), "target.bin")
    return client.post("/v1/swaps", data=data)


def ended(client: FlaskClient, swap_id: str) -> dict[str, Any]:
    def look() -> Any:
        swap = client.get(f"/v1/swaps/{swap_id}").get_json()
        return swap if swap["status"] not in ("queued", "processing") else None

    return wait_for(look)  # type: ignore[no-any-return]


def store_keys(app: Any, prefix: str = "") -> list[str]:
    return [stored.key for stored in app.extensions["likeness"].store.list(prefix)]


def film_keys(app: Any) -> list[str]:
    """Of all that is kept of users' files, what is no picture."""
    keys = [*store_keys(app, "media/"), *store_keys(app, "work/")]
    return [key for key in keys if not key.endswith(".png")]


# --- what comes out ---


@pytest.mark.parametrize("format", ["mp4", "mov", "matroska", "webm"])
def test_a_film_is_swapped_whole(client: FlaskClient, app: Any, stages: FakeStages, format: str) -> None:
    new_face(client, "Ada", 200)
    original = film(2.0, format=format, brightness=120)
    accepted = send(client, original, face="Ada")
    assert accepted.status_code == 202, accepted.text
    swap = accepted.get_json()
    assert accepted.headers["Location"] == f"/v1/swaps/{swap['id']}"
    assert swap["status"] == "queued" and swap["progress"]["phase"] == "waiting" and swap["media"] is None
    done = ended(client, swap["id"])
    assert done["status"] == "succeeded", done["error"]
    assert len(stages.doings.segments) == 4 == done["figures"]["segments"]
    assert done["figures"]["frames"] == 40
    assert done["progress"]["frames_done"] == done["progress"]["frames_total"] == 40
    (person,) = done["figures"]["people"]
    assert person["frames_swapped"] == 40 and person["distance_to_source"] == pytest.approx(0.3)
    answer = client.get(done["media_url"])
    assert answer.content_type == "video/mp4" and ".mp4" in answer.headers["Content-Disposition"]
    before, after = luma_of(original), luma_of(answer.data)
    assert after.shape == before.shape
    assert np.abs(after[:, 40:56, 48:80].astype(int) - 200).max() < 25, "the middle is the source"
    corners = [pictures[:, 0:6, 0:6].mean(axis=(1, 2)) for pictures in (before, after)]  # steps of 5, and the mark
    assert np.abs(corners[0] - corners[1]).max() < 8 and np.corrcoef(corners)[0, 1] > 0.99, "each picture in its place"
    with av.open(io.BytesIO(answer.data)) as opened:
        assert [stream.type for stream in opened.streams] == ["video", "audio"]
    wait_for(lambda: store_keys(app, "work/") == [])
    wait_for(lambda: 'likeness_films_total{state="succeeded"}' in client.get("/metrics").text)


def test_options_reach_stage_and_result(client: FlaskClient, stages: FakeStages) -> None:
    new_face(client, "Ada")
    fields = {"start_s": "0.5", "end_s": "1.5", "height_px": "120", "crf": "30", "format": "webm", "engine": "mesh"}
    look = {"regions": "skin, eyes", "keep_occluders": "false", "shape_strength": "0.5", "pixel_boost": "2"}
    done = ended(client, send(client, film(2.0, size=(320, 240)), face="Ada", **fields, **look).get_json()["id"])
    assert done["status"] == "succeeded", done["error"]
    request = stages.doings.segments[0]
    assert request.film_options.crf == 30 and request.film_options.height_px == 120
    assert request.options.engine == "mesh" and list(request.options.regions) == [1, 3]
    assert request.options.HasField("keep_occluders") and not request.options.keep_occluders
    assert request.options.pixel_boost == 2
    answer = client.get(done["media_url"])
    assert answer.content_type == "video/webm"
    assert luma_of(answer.data).shape == (20, 120, 160)


@pytest.mark.parametrize(("original", "kind"), [(film(1.0, format="gif"), "gif"), (animated_webp(), "webp")])
def test_an_animation_stays_one(client: FlaskClient, original: bytes, kind: str) -> None:
    new_face(client, "Ada")
    done = ended(client, send(client, original, face="Ada").get_json()["id"])
    assert done["status"] == "succeeded", done["error"]
    answer = client.get(done["media_url"])
    assert answer.content_type == f"image/{kind}"
    as_film = ended(client, send(client, original, face="Ada", format="mp4").get_json()["id"])
    assert client.get(as_film["media_url"]).content_type == "video/mp4"


def test_a_picture_in_the_background(client: FlaskClient) -> None:
    new_face(client, "Ada", 200)
    data = {"face": "Ada", "target": (io.BytesIO(portrait(80)), "t.png")}
    accepted = client.post("/v1/swaps", data=data, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    done = ended(client, accepted.get_json()["id"])
    assert done["status"] == "succeeded" and len(done["figures"]["faces"]) == 1
    assert client.get(done["media_url"]).content_type == "image/png"


def test_a_film_that_is_here_already(client: FlaskClient, app: Any) -> None:
    new_face(client, "Ada")
    first = ended(client, send(client, film(0.5), face="Ada").get_json()["id"])
    again = ended(client, send(client, face="Ada", target_media=first["target_media"]).get_json()["id"])
    assert again["status"] == "succeeded" and again["target_media"] == first["target_media"]
    wait_for(lambda: store_keys(app, "work/") == [])
    assert len(film_keys(app)) == 3, "the film once, and two results"


def test_parts_of_a_film_can_be_fetched(client: FlaskClient) -> None:
    """What a browser's player asks for when somebody seeks."""
    new_face(client, "Ada")
    url = ended(client, send(client, film(1.0), face="Ada").get_json()["id"])["media_url"]
    whole = client.get(url).data
    part = client.get(url, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.data) == (206, whole[100:300])
    assert client.get(url, headers={"Range": "bytes=100-"}).data == whole[100:]
    assert client.head(url).content_length == len(whole)
    assert client.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


# --- several people ---


def test_several_people_at_once(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    ada, _ = new_face(client, "Ada")
    bob, _ = new_face(client, "Bob")
    people = [
        {"face": "Ada", "selection": "index", "index": 2},
        {"face": "Bob", "selection": "reference", "reference": 0, "threshold": 0.5},
        {"face": ada, "selection": "reference", "reference_face": "Bob"},
    ]
    reference = (io.BytesIO(portrait(99)), "who.png")
    swap = send(client, film(0.5), assignments=json.dumps(people), reference=reference).get_json()
    done = ended(client, swap["id"])
    assert done["status"] == "succeeded", done["error"]
    first, second, third = stages.doings.segments[0].assignments
    assert (first.faces.selection, first.faces.index) == (3, 2)
    assert second.faces.selection == 4 and second.faces.threshold == pytest.approx(0.5)
    assert third.faces.reference.media.key == second.sources[0].media.key
    job = client.get(f"/v1/jobs/{swap['id']}").get_json()
    assert [item["face"] for item in job["parameters"]["assignments"]] == [ada, bob, ada]
    assert len(job["parameters"]["assignments"][2]["consents"]) == 2
    reference_media = job["parameters"]["assignments"][1]["reference_media"]
    wait_for(lambda: client.get(f"/v1/media/{reference_media}/info").status_code == 404)  # references are forgotten


def with_reference(client: FlaskClient) -> tuple[str, str]:
    """A queued film with a reference picture: the job, and that picture's media."""
    new_face(client, "Ada")
    reference = (io.BytesIO(portrait(99)), "who.png")
    swap = send(client, film(0.5), face="Ada", selection="reference", reference=reference).get_json()
    job = client.get(f"/v1/jobs/{swap['id']}").get_json()
    return job["id"], job["parameters"]["assignments"][0]["reference_media"]


def test_references_are_forgotten_though_the_watch_has_seen_the_end_of_the_job(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches a job stops its work once it has ended; that it is published does not end its clearing up."""
    publish = film_jobs.publish_result

    def publish_and_be_slow(*arguments: Any, **options: Any) -> bool:
        published = publish(*arguments, **options)
        time.sleep(3 * LOOK_S)
        return published

    monkeypatch.setattr(film_jobs, "publish_result", publish_and_be_slow)
    job_id, reference = with_reference(client)
    assert ended(client, job_id)["status"] == "succeeded"
    wait_for(lambda: client.get(f"/v1/media/{reference}/info").status_code == 404)


def test_references_of_a_job_whose_worker_was_killed_after_its_end_are_forgotten(stages: FakeStages) -> None:
    values = make_settings(stages)
    app = create_app(values)
    client = app.test_client()
    job_id, reference = with_reference(client)
    with app.extensions["likeness"].database.session() as session:
        workflow_id = session.get_one(Job, job_id).workflow_id
        assert end_job_in(session, job_id, "succeeded", figures={}, workflow_id=workflow_id)
    assert client.get(f"/v1/media/{reference}/info").status_code == 200
    with worker_inside(values):
        wait_for(lambda: client.get(f"/v1/media/{reference}/info").status_code == 404)
    app.extensions["likeness"].close()


def test_all_pictures_of_a_face_are_sources(client: FlaskClient, stages: FakeStages) -> None:
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/face_consents", json=body).get_json()["id"]
    pictures = [(io.BytesIO(portrait(value)), f"{value}.png") for value in (180, 190, 200)]
    face = client.post("/v1/faces", data={"consent": consent, "picture": pictures}).get_json()
    assert len(face["pictures"]) == 3 and face["picture_media"] == face["pictures"][0]["media"]
    assert face["pictures"][1]["distance"] == pytest.approx(0.0, abs=1e-3)
    assert face["pictures"][0]["distance"] == pytest.approx(0.1, abs=1e-3)
    send(client, portrait(80), face=face["id"])
    assert len(stages.doings.swaps[-1].assignments[0].sources) == 3
    assert client.delete(f"/v1/faces/{face['id']}").status_code == 200
    assert all(client.get(f"/v1/media/{item['media']}").status_code == 404 for item in face["pictures"])


@pytest.mark.parametrize(
    ("values", "told"), [((100, 105, 240), "Picture 3"), ((100, 240), "Picture 2"), ((60, 150, 240), "Pictures 1, 3")]
)
def test_pictures_of_different_people_are_no_face(quiet_app: Any, values: tuple[int, ...], told: str) -> None:
    client = quiet_app.test_client()
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/face_consents", json=body).get_json()["id"]
    pictures = [(io.BytesIO(portrait(value)), f"{value}.png") for value in values]
    refused = client.post("/v1/faces", data={"consent": consent, "picture": pictures})
    problem = refused.get_json()
    assert (refused.status_code, problem["reason"], problem["field"]) == (422, "FACE_MISMATCH", "picture")
    assert problem["detail"].startswith(told)


# --- what is refused ---


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("target", "fields", "status", "reason", "field"),
    [
        (cut_off(film(1.0)), {}, 422, "MEDIA_UNREADABLE", "target"),
        (film(0.5)[:40], {}, 422, "MEDIA_UNREADABLE", "target"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), {}, 422, "MEDIA_UNREADABLE", "target"),
        (film(0.5), {"start_s": "9"}, 400, "INVALID_FIELD", "start_s"),
        (film(0.5), {"start_s": "0.4", "end_s": "0.2"}, 400, "INVALID_FIELD", "end_s"),
        (film(0.5), {"height_px": "33"}, 400, "INVALID_FIELD", "height_px"),
        (film(0.5), {"crf": "60"}, 400, "INVALID_FIELD", "crf"),
        (film(0.5), {"format": "png"}, 400, "INVALID_FIELD", "format"),
        (portrait(), {"format": "mp4"}, 400, "INVALID_FIELD", "format"),
        (portrait(), {"end_s": "3"}, 400, "INVALID_FIELD", "end_s"),
        (film(0.5), {"selection": "index"}, 400, "INVALID_FIELD", "index"),
        (film(0.5), {"index": "1"}, 400, "INVALID_FIELD", "index"),
        (film(0.5), {"selection": "reference"}, 400, "INVALID_FIELD", "reference"),
        (film(0.5), {"selection": "reference", "reference_face": "Zoe"}, 404, "NOT_FOUND", "reference_face"),
        (film(0.5), {"regions": "skin,hat"}, 400, "INVALID_FIELD", "regions.1"),
        (film(0.5), {"face": "Zoe"}, 404, "NOT_FOUND", "face"),
        (film(0.5), {"face": None}, 400, "INVALID_FIELD", "form_and_files"),
        (film(0.5), {"face": None, "assignments": "{"}, 400, "INVALID_FIELD", "assignments"),
        (film(0.5), {"face": None, "assignments": "[]"}, 400, "INVALID_FIELD", "assignments"),
        (film(0.5), {"face": None, "assignments": '[{"face": "Zoe"}]'}, 404, "NOT_FOUND", "assignments.0.face"),
        (
            film(0.5),
            {"face": None, "assignments": '[{"face": "Ada", "selection": "reference", "reference": 1}]'},
            400,
            "INVALID_FIELD",
            "assignments.0.reference",
        ),
    ],
)
def test_a_refusal_names_the_field_and_keeps_nothing(
    quiet_app: Any,
    quiet_stages: FakeStages,
    target: bytes,
    fields: dict[str, str | None],
    status: int,
    reason: str,
    field: str,
) -> None:
    sent = {name: value for name, value in {"face": "Ada", **fields}.items() if value is not None}
    refused = send(quiet_app.test_client(), target, **sent)
    problem = refused.get_json()
    assert (refused.status_code, problem["reason"], problem["field"]) == (status, reason, field), problem
    assert film_keys(quiet_app) == [] and quiet_stages.doings.segments == []
    assert list((quiet_stages.data_dir / "spool").glob("*")) == []


def test_a_film_without_the_chosen_face_fails(client: FlaskClient, app: Any) -> None:
    new_face(client, "Ada")
    done = ended(client, send(client, film(0.5, brightness=20), face="Ada").get_json()["id"])
    assert (done["status"], done["error"]["reason"], done["media"]) == ("failed", "FACE_NOT_FOUND", None)
    assert not [key for key in film_keys(app) if key.startswith(f"media/local/{done['id'].replace('job', 'media')}")]


def test_only_the_queue_s_length_is_accepted(stages: FakeStages) -> None:
    values = make_settings(stages, job_queue_size=2)
    app = create_app(values)
    client = app.test_client()
    new_face(client, "Ada")
    swaps = [send(client, film(0.5), face="Ada").get_json()["id"] for _ in range(2)]
    kept = store_keys(app)
    refused = send(client, film(0.5), face="Ada")
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
    assert refused.get_json()["reason"] == "QUEUE_FULL"
    assert store_keys(app) == kept, "refused before anything was stored"
    with worker_inside(values):
        assert [ended(client, swap)["status"] for swap in swaps] == ["succeeded", "succeeded"]
    assert send(client, film(0.5), face="Ada").status_code == 202
    app.extensions["likeness"].close()


def test_films_have_a_limit_of_their_own(stages: FakeStages) -> None:
    original = film(1.0, size=(256, 192))
    assert len(original) < 60_000
    with running_app(stages, max_upload_bytes=6_000, max_film_bytes=60_000) as app:
        client = app.test_client()
        new_face(client, "Ada")
        assert ended(client, send(client, original, face="Ada").get_json()["id"])["status"] == "succeeded"
        rng = np.random.default_rng(1)
        import cv2

        noisy = cv2.imencode(".png", rng.integers(0, 255, (80, 80, 3), dtype=np.uint8))[1].tobytes()
        assert 6_000 < len(noisy) < 60_000
        too_large = send(client, noisy, face="Ada")
        assert (too_large.status_code, too_large.get_json()["reason"]) == (413, "MEDIA_TOO_LARGE")
        assert send(client, bytes(70_000), face="Ada").status_code == 413


def test_a_large_upload_is_not_held_in_memory(client: FlaskClient, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    new_face(client, "Ada")
    spool = app.extensions["likeness"].settings.spool_dir
    seen: list[list[str]] = []
    from services.gateway.api import swaps

    real = swaps.queue_film_swap

    def look(*arguments: Any, **options: Any) -> Any:
        seen.append([path.name for path in spool.glob("upload-*")])
        return real(*arguments, **options)

    monkeypatch.setattr(swaps, "queue_film_swap", look)
    original = film(0.5) + (2_000_000).to_bytes(4, "big") + b"free" + bytes(1_999_992)  # an MP4 box that nobody reads
    swap = send(client, original, face="Ada").get_json()
    assert len(seen[0]) == 1
    assert ended(client, swap["id"])["status"] == "succeeded"
    assert list(spool.glob("*.*")) == [] == list(spool.glob("upload-*"))


# --- what goes wrong on the way ---


def test_a_failed_segment_is_retried_alone(client: FlaskClient, stages: FakeStages) -> None:
    new_face(client, "Ada")
    stages.doings.segment_faults = [UNAVAILABLE, UNAVAILABLE]
    done = ended(client, send(client, film(2.0), face="Ada").get_json()["id"])
    assert done["status"] == "succeeded" and done["figures"]["retries"] == 2
    starts = [request.start_pts for request in stages.doings.segments]
    assert len(starts) == 6 and len(set(starts)) == 4
    assert len({request.destination.key for request in stages.doings.segments}) == 6, "no attempt writes over another"


def test_a_segment_that_never_succeeds_fails_the_film(stages: FakeStages) -> None:
    with running_app(stages, segment_attempts=2) as app:
        client = app.test_client()
        new_face(client, "Ada")
        stages.doings.segment_faults = [UNAVAILABLE] * 100
        done = ended(client, send(client, film(2.0), face="Ada").get_json()["id"])
        assert (done["status"], done["media"]) == ("failed", None)
        assert done["error"]["reason"] == "STAGE_UNAVAILABLE"
        assert done["target_media"], "the upload is kept for a retry"


def test_bad_input_is_not_tried_again(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    new_face(client, "Ada")
    detail = "The film is damaged at 0.3 s."
    stages.doings.segment_faults = [LikenessError("MEDIA_UNREADABLE", detail, field="film")]
    done = ended(client, send(client, film(0.5), face="Ada").get_json()["id"])
    assert done["status"] == "failed" and len(stages.doings.segments) == 1
    assert done["error"] == {"reason": "MEDIA_UNREADABLE", "detail": detail, "field": "target"}


def test_a_dead_stage_is_waited_for_until_the_deadline(stages: FakeStages) -> None:
    with running_app(stages, film_deadline_s=3.0) as app:
        client = app.test_client()
        new_face(client, "Ada")
        stages.stop("faceswap")
        began_at = time.monotonic()
        done = ended(client, send(client, film(0.5), face="Ada").get_json()["id"])
        assert done["status"] == "failed"
        assert done["error"]["reason"] in ("STAGE_UNAVAILABLE", "DEADLINE_EXCEEDED")
        assert 2.0 < time.monotonic() - began_at < 3.0 + PROMPT_S


def test_cancelling_stops_the_stage(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    new_face(client, "Ada")
    stages.doings.segments_held.set()
    swap = send(client, film(2.0), face="Ada").get_json()
    wait_for(lambda: len(stages.doings.segments) == 2)
    began_at = time.monotonic()
    cancelled = client.post(f"/v1/swaps/{swap['id']}/cancel")
    assert (cancelled.status_code, cancelled.get_json()["status"]) == (200, "canceled")
    wait_for(lambda: len(stages.doings.segments_cancelled) == 2)
    assert time.monotonic() - began_at < PROMPT_S
    stages.doings.segments_held.clear()
    time.sleep(0.3)
    assert len(stages.doings.segments) == 2, "no further segment begins"
    job = client.get(f"/v1/jobs/{swap['id']}").get_json()
    assert (job["status"], job["error"]["reason"], job["media"]) == ("canceled", "CANCELLED", None)
    again = client.post(f"/v1/jobs/{swap['id']}/cancel")
    assert (again.status_code, again.get_json()) == (200, job)


def test_cancelling_what_waits_in_the_queue(stages: FakeStages) -> None:
    with running_app(stages, worker_jobs=1) as app:
        client = app.test_client()
        new_face(client, "Ada")
        stages.doings.segments_held.set()
        first, second = (send(client, film(0.5), face="Ada").get_json()["id"] for _ in range(2))
        assert client.post(f"/v1/jobs/{second}/cancel").get_json()["status"] == "canceled"
        stages.doings.segments_held.clear()
        assert ended(client, first)["status"] == "succeeded"
        time.sleep(0.3)
        assert len(stages.doings.segments) == 1


def test_a_canceled_film_is_retried_from_where_it_was(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    new_face(client, "Ada")
    swap = send(client, film(2.0), face="Ada").get_json()
    stages.doings.segments_held.clear()
    wait_for(lambda: len(stages.doings.segments) >= 3)
    stages.doings.segments_held.set()
    client.post(f"/v1/swaps/{swap['id']}/cancel")
    wait_for(lambda: client.get(f"/v1/jobs/{swap['id']}").get_json()["status"] == "canceled")

    def finished_segments() -> int:
        return len([key for key in store_keys(app, "work/") if key.endswith(".json")])

    doings = stages.doings
    finished = settled(lambda: (len(doings.segments), len(doings.segments_cancelled), finished_segments()))[-1]
    doings.segments_held.clear()
    begun = len(doings.segments)
    assert finished >= 1
    retried = client.post(f"/v1/jobs/{swap['id']}/retry")
    assert (retried.status_code, retried.get_json()["attempt"]) == (200, 2), retried.text
    done = ended(client, swap["id"])
    assert done["status"] == "succeeded", done["error"]
    assert len(stages.doings.segments) - begun == 4 - finished, "what was finished is not done again"
    wait_for(lambda: store_keys(app, "work/") == [])


def test_what_is_not_in_the_background_cannot_be_cancelled(client: FlaskClient, app: Any) -> None:
    new_face(client, "Ada")
    swap = send(client, portrait(80), face="Ada").get_json()
    assert swap["progress"] is None
    assert client.post(f"/v1/swaps/{swap['id']}/cancel").get_json()["status"] == "succeeded"
    from sqlalchemy import update

    with app.extensions["likeness"].database.session() as session:
        session.execute(update(Job).values(state="processing"))
    refused = client.post(f"/v1/jobs/{swap['id']}/cancel")
    assert (refused.status_code, refused.get_json()["reason"]) == (409, "NOT_CANCELABLE")
    assert client.post("/v1/swaps/job_unknown/cancel").status_code == 404


def test_revoking_the_consent_cancels_the_film(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    _, consent = new_face(client, "Ada")
    stages.doings.segments_held.set()
    swap = send(client, film(2.0), face="Ada").get_json()
    wait_for(lambda: len(stages.doings.segments) == 2)
    client.post(f"/v1/face_consents/{consent}/revoke")
    done = ended(client, swap["id"])
    assert (done["status"], done["error"]["reason"]) == ("canceled", "CONSENT_NOT_LIVE")
    wait_for(lambda: len(stages.doings.segments_cancelled) == 2)
    wait_for(lambda: store_keys(app, "work/") == [])
    assert len(film_keys(app)) == 1, "of the likeness nothing is kept, of the upload all"


def test_every_named_face_needs_its_consent(client: FlaskClient, stages: FakeStages) -> None:
    new_face(client, "Ada")
    _, consent = new_face(client, "Bob")
    client.post(f"/v1/face_consents/{consent}/revoke")
    people = [{"face": "Ada"}, {"face": "Bob", "selection": "all"}]
    refused = send(client, film(0.5), assignments=json.dumps(people))
    problem = refused.get_json()
    assert (refused.status_code, problem["reason"], problem["field"]) == (
        403,
        "CONSENT_NOT_LIVE",
        "assignments.1.face",
    )
    reference = send(client, film(0.5), face="Ada", selection="reference", reference_face="Bob")
    assert reference.status_code == 403 and stages.doings.segments == []


def test_a_worker_that_stops_hands_its_films_over(stages: FakeStages) -> None:
    values = make_settings(stages)
    app = create_app(values)
    client = app.test_client()
    new_face(client, "Ada")
    stages.doings.segments_held.set()
    with worker_inside(values):
        swap = send(client, film(1.0), face="Ada").get_json()
        wait_for(lambda: len(stages.doings.segments) == 2)
    wait_for(lambda: len(stages.doings.segments_cancelled) == 2)
    assert client.get(f"/v1/swaps/{swap['id']}").get_json()["status"] == "processing"
    stages.doings.segments_held.clear()
    with worker_inside(make_settings(stages, worker_id="another")):
        assert ended(client, swap["id"])["status"] == "succeeded"
    app.extensions["likeness"].close()


def test_a_killed_gateway_and_worker_lose_nothing(stages: FakeStages) -> None:
    """kill -9 of both in mid-film: once they are there again, the film is finished from where it was."""
    settings = {"segment_seconds": 0.5, "queue_poll_s": 0.1, **stages.targets()}
    gateway = GatewayProcess(stages.data_dir, **settings)
    worker = WorkerProcess(stages.data_dir, **settings)
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = gateway.client.post("/v1/face_consents", json=body).json()["id"]
    files = {"picture": ("p.png", portrait(200))}
    face = gateway.client.post("/v1/faces", data={"consent": consent}, files=files).json()["id"]
    stages.doings.segments_held.set()
    sent = {"target": ("t.mp4", film(2.0)), "reference": ("r.png", portrait(99))}
    swap = gateway.client.post("/v1/swaps", data={"face": face, "selection": "reference"}, files=sent).json()
    wait_for(lambda: len(stages.doings.segments) == 2)
    for process in [*psutil.Process(gateway.process.pid).children(), psutil.Process(gateway.process.pid)]:
        process.kill()
    gateway.process.wait()
    worker.kill()
    wait_for(lambda: len(stages.doings.segments_cancelled) == 2)
    stages.doings.segments_held.clear()
    again, worker = GatewayProcess(stages.data_dir, **settings), WorkerProcess(stages.data_dir, **settings)
    try:
        done = wait_for(lambda: _ended_over_http(again, swap["id"]))
        assert done["status"] == "succeeded", done["error"]
        objects = stages.data_dir / "objects"
        wait_for(lambda: not [path for path in objects.glob("work/local/*/*") if path.is_file()])
        # Target, result, the face; the reference goes a moment after the job has ended.
        kinds = ["mp4", "mp4", "png"]
        wait_for(lambda: sorted(p.suffix[1:] for p in objects.glob("media/**/*") if p.is_file()) == kinds)
    finally:
        worker.close()
        again.close()


def _ended_over_http(gateway: GatewayProcess, swap_id: str) -> Any:
    swap = gateway.client.get(f"/v1/swaps/{swap_id}").json()
    return swap if swap["status"] not in ("queued", "processing") else None
