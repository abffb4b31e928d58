"""Films and live frames through the whole stack: swapped, cancelled, and finished although a replica dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import simple_websocket

import likeness
from likeness._cli.app import run
from likeness._demo.film import make_film, some_frames
from likeness._demo.pictures import ASTRONAUT, GROUP, GUEST
from likeness._stack import GATEWAY, GRPC_SERVICES
from services.gateway.live_wire import FrameHeader, pack_frame, unpack_frame
from tests.contract.gateway_worker import WorkerProcess
from tests.integration.conftest import OwnServer, RunningStack
from tests.waiting import eventually


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "astronaut.mp4"
    assert make_film(ASTRONAUT, path, seconds=1.0, side_px=256) == 24
    return path


@pytest.fixture(scope="module")
def guest(client: likeness.Client, face_consent: likeness.Consent) -> likeness.Face:
    """From two pictures of the same person: one is the other, mirrored."""
    mirrored = cv2.imencode(".png", np.ascontiguousarray(GUEST.pixels()[:, ::-1]))[1].tobytes()
    return client.faces.enrol([GUEST.content(), mirrored], consent=face_consent.id, name="the guest")


def test_a_film_from_the_command_line(
    running: RunningStack,
    film: Path,
    face_consent: likeness.Consent,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LIKENESS_URL", running.url)
    source, out = tmp_path / "guest.png", tmp_path / "swapped.mp4"
    source.write_bytes(GUEST.content())
    arguments = ["swap", "--source", str(source), "--consent", face_consent.id, "--target", str(film)]
    assert run([*arguments, "--out", str(out), "--json"]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 24 and told["people"][0]["frames_swapped"] == 24
    with av.open(str(out)) as made, av.open(str(film)) as given:
        assert [stream.type for stream in made.streams] == ["video", "audio"]
        assert bytes(b"".join(map(bytes, made.demux(audio=0)))) == bytes(b"".join(map(bytes, given.demux(audio=0))))
    for before, after in zip(some_frames(film, 3), some_frames(out, 3), strict=True):
        difference = np.abs(before.astype(int) - after)
        assert np.percentile(difference, 99.5) > 25, "the face has changed"
        assert difference[-60:, :60].mean() < 5, "and the corner has not"


def test_part_of_a_film_smaller_as_webm(
    client: likeness.Client, guest: likeness.Face, film: Path, tmp_path: Path
) -> None:
    told: list[likeness.Progress] = []
    options: dict[str, Any] = {"start_s": 0.25, "end_s": 0.75, "height_px": 128, "format": "webm"}
    job = client.swaps.create(face=guest.id, target=film, **options)
    job.wait(120, on_progress=told.append)
    assert told[-1].frames_done == told[-1].frames_total == 12
    out = tmp_path / "part.webm"
    assert job.save(out) == out.stat().st_size
    with av.open(str(out)) as made:
        assert made.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")
        frames = list(made.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (12, 128, 128)


def test_two_people_in_a_film_of_six(
    client: likeness.Client, guest: likeness.Face, face_consent: likeness.Consent, tmp_path: Path
) -> None:
    target = tmp_path / "group.mp4"
    make_film(GROUP, target, seconds=0.25, side_px=640)
    astronaut = client.faces.enrol(ASTRONAUT.path, consent=face_consent.id, name="another astronaut")
    people = [
        {"face": astronaut.id, "selection": "index", "index": 1},
        {"face": guest.id, "selection": "reference", "reference": ASTRONAUT.path, "threshold": 0.3},
        {"face": guest.id, "selection": "index", "index": 2},
    ]
    job = client.swaps.create(target=target, assignments=people).wait(120)
    first, nobody, third = job.figures["people"]
    assert (first["face"], third["face"]) == (astronaut.id, guest.id)
    assert first["frames_swapped"] > 0 and third["frames_swapped"] > 0
    assert nobody["frames_swapped"] == 0, "the astronaut is not in this film"


def test_pictures_of_two_people_are_no_face(client: likeness.Client, face_consent: likeness.Consent) -> None:
    with pytest.raises(likeness.LikenessAPIError) as refused:
        client.faces.enrol([GUEST.content(), ASTRONAUT.path], consent=face_consent.id)
    assert (refused.value.status, refused.value.reason) == (422, "FACE_MISMATCH")


def test_cancelling(client: likeness.Client, guest: likeness.Face, running: RunningStack, tmp_path: Path) -> None:
    target = tmp_path / "long.mp4"
    make_film(ASTRONAUT, target, seconds=20.0, side_px=256)
    job = client.swaps.create(face=guest.id, target=target)
    assert eventually(lambda: (job.refresh().progress or likeness.Progress("")).frames_done > 0)
    assert job.cancel().status == "canceled"
    with pytest.raises(likeness.LikenessJobError) as told:
        job.wait(120)
    assert told.value.reason == "CANCELLED" and job.media is None
    assert eventually(lambda: not list((running.data_dir / "objects" / "work").glob("job_*/*")))


def test_revoking_the_consent_stops_a_film(client: likeness.Client, tmp_path: Path) -> None:
    target = tmp_path / "long.mp4"
    make_film(ASTRONAUT, target, seconds=20.0, side_px=256)
    consent = client.face_consents.create(who="x", kind="attested", attested_by="the tests", evidence="none")
    face = client.faces.enrol(GUEST.content(), consent=consent.id)
    job = client.swaps.create(face=face.id, target=target)
    assert eventually(lambda: (job.refresh().progress or likeness.Progress("")).frames_done > 0)
    client.face_consents.revoke(consent.id)
    with pytest.raises(likeness.LikenessJobError) as told:
        job.wait(120)
    assert (told.value.status, told.value.reason) == ("canceled", "CONSENT_NOT_LIVE")


@pytest.mark.slow
def test_a_film_survives_the_death_of_a_replica(
    running: RunningStack, own_server: OwnServer, film: Path, tmp_path: Path
) -> None:
    shared = {"store_url": str(running.data_dir / "objects")}
    doomed = own_server("faceswap", **shared)
    both = f"ipv4:{running.spec('faceswap').address},{doomed.spec.address}"
    targets = {f"{name}_target": running.spec(name).address for name in GRPC_SERVICES} | {"faceswap_target": both}
    gateway = own_server(GATEWAY, **shared, **targets)
    keys = {"keys_dir": str(running.data_dir / "keys")}
    worker = WorkerProcess(tmp_path, segment_seconds=0.25, film_parallel_segments=2, **shared, **keys, **targets)
    with closing(worker), likeness.Client(f"http://{gateway.spec.address}", timeout=120) as client:
        consent = client.face_consents.create(who="x", kind="attested", attested_by="the tests", evidence="none")
        face = client.faces.enrol(GUEST.content(), consent=consent.id)
        job = client.swaps.create(face=face.id, target=film)
        assert eventually(lambda: (job.refresh().progress or likeness.Progress("")).frames_done > 0)
        doomed.kill()
        job.wait(120)
        assert job.figures["frames"] == 24 and job.figures["segments"] == 4
        out = tmp_path / "survived.mp4"
        job.save(out)
    assert len(some_frames(out, 24)) == 24


@contextmanager
def live(running: RunningStack, setup: dict[str, Any]) -> Iterator[Any]:
    ws: Any = simple_websocket.Client(running.url.replace("http", "ws") + "/v1/swaps/live")
    ws.send(json.dumps({"type": "setup", **setup}))
    yield ws
    ws.close()


def test_live_frames(running: RunningStack, guest: likeness.Face) -> None:
    frame = cv2.imencode(".jpg", ASTRONAUT.pixels())[1].tobytes()
    with live(running, {"face": guest.id}) as ws:
        assert json.loads(ws.receive(timeout=120))["type"] == "ready"
        for number in range(5):
            ws.send(pack_frame(FrameHeader(id=number), frame))
            message = ws.receive(timeout=120)
            assert isinstance(message, bytes), message
            answer = unpack_frame(message)
            assert (answer.header.id, answer.header.outcome, answer.header.faces) == (number, "swapped", 1)
        pixels = cv2.imdecode(np.frombuffer(answer.encoded, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (512, 512, 3)
    assert np.abs(pixels.astype(int) - ASTRONAUT.pixels())[80:200, 180:270].mean() > 5
