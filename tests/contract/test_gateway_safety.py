"""The operator's safety classifier: what it refuses is not made, and without it nothing is."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper

from services.common.decode_picture import encode_picture
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.consent_people import refused
from tests.contract.gateway_fake_faces import film, portrait
from tests.contract.gateway_fakes import FakeStages, ended_job
from tests.contract.gateway_live import Caller, jpeg
from tests.contract.gateway_people import CONSENT
from tests.contract.gateway_process import GatewayProcess
from tests.contract.gateway_worker import worker_inside
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("safety"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ONNX model with two classes: how dark and how red a picture of 8 x 8 pixels is."""
    path = tmp_path_factory.mktemp("classifier") / "red.onnx"
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Slice", ["means", "from", "to", "axis"], ["red"]),
        helper.make_node("Sub", ["one", "red"], ["other"]),
        helper.make_node("Concat", ["other", "red"], ["scores"], axis=1),
    ]
    constants = [
        *(
            helper.make_tensor(name, TensorProto.INT64, [1], [value])
            for name, value in (("from", 0), ("to", 1), ("axis", 1))
        ),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return str(path)


def rules(model: str, **more: Any) -> dict[str, Any]:
    return {"safety_classifier": {"model": model, "size_px": 8, "refused_classes": [1], "threshold": 0.8, **more}}


def red() -> bytes:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :, 2] = 255
    return encode_picture(pixels, "png")


def settings_of(stages: FakeStages, policy: dict[str, Any]) -> dict[str, Any]:
    values = {
        "consent_policy": json.dumps(policy),
        "log_level": "error",
        "consent_interval_s": 0.1,
        "queue_poll_s": 0.05,
    }
    return {**values, **stages.targets()}


@pytest.fixture
def under(stages: FakeStages) -> Iterator[Any]:
    """Clients of gateways on the same database, each under a policy of its own, with a worker."""
    with ExitStack() as opened:

        def client(policy: dict[str, Any]) -> FlaskClient:
            settings = GatewaySettings(data_dir=stages.data_dir, **settings_of(stages, policy))
            app = create_app(settings)
            opened.callback(app.extensions["likeness"].close)
            opened.enter_context(worker_inside(settings))
            return app.test_client()

        yield client


def enrol_face(client: Any, picture: bytes) -> Any:
    consent = client.post("/v1/face_consents", json=CONSENT).get_json()["id"]
    return client.post("/v1/faces", data={"consent": consent, "picture": (io.BytesIO(picture), "face.png")})


def ask_swap(client: FlaskClient, face: str, target: bytes, name: str) -> Any:
    return client.post("/v1/swaps", data={"face": face, "target": (io.BytesIO(target), name)})


def test_what_the_classifier_refuses_is_neither_a_face_nor_a_target(under: Any, classifier: str) -> None:
    client = under(rules(classifier))
    assert "refuses this (1.00" in refused(enrol_face(client, red()), 403, "SAFETY_REFUSED", "picture")
    face = enrol_face(client, portrait()).get_json()["id"]
    refused(ask_swap(client, face, red(), "target.png"), 403, "SAFETY_REFUSED", "target")


@pytest.mark.parametrize(("brightness", "status"), [(250, "failed"), (100, "succeeded")])
def test_films_are_looked_at_before_they_are_swapped(
    under: Any, classifier: str, stages: FakeStages, brightness: int, status: str
) -> None:
    client = under(rules(classifier))
    face = enrol_face(client, portrait()).get_json()["id"]
    before = len(stages.doings.segments)
    answer = ask_swap(client, face, film(1.0, brightness=brightness), "target.mp4")
    assert answer.status_code == 202, answer.text
    job = ended_job(client, answer.get_json()["id"])
    assert job["status"] == status, job
    if status == "failed":
        assert job["error"]["reason"] == "SAFETY_REFUSED"
        assert len(stages.doings.segments) == before


def test_a_live_stream_ends_at_a_frame_that_is_refused(stages: FakeStages, classifier: str) -> None:
    gateway = GatewayProcess(stages.data_dir, **settings_of(stages, rules(classifier)))
    try:
        consent = gateway.client.post("/v1/face_consents", json=CONSENT).json()["id"]
        form = {"data": {"consent": consent}, "files": {"picture": ("p.png", portrait())}}
        face = gateway.client.post("/v1/faces", **form).json()["id"]
        caller = Caller(gateway, {"face": face})
        job = caller.text()["job"]
        caller.send(0, jpeg(100))
        assert caller.frame().header.outcome == "swapped"
        time.sleep(0.2)  # longer than between two looks
        caller.send(1, jpeg(255))
        told = caller.text()
        assert (told["type"], told["problem"]["reason"]) == ("error", "SAFETY_REFUSED")
        ended = wait_for(lambda: now if (now := job_of(gateway, job))["status"] != "processing" else None)
        assert ended["error"]["reason"] == "SAFETY_REFUSED" and ended["figures"]["frames_received"] == 1
    finally:
        gateway.close()


def job_of(gateway: GatewayProcess, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = gateway.client.get(f"/v1/jobs/{job_id}").json()
    return job


@pytest.mark.parametrize("fault", ["missing", "no model", "another shape"])
def test_without_its_classifier_nothing_is_made(under: Any, classifier: str, tmp_path: Path, fault: str) -> None:
    broken = tmp_path / "model.onnx"
    if fault == "no model":
        broken.write_bytes(b"not a model")
    wanted = rules(classifier, refused_classes=[7]) if fault == "another shape" else rules(str(broken))
    refused(enrol_face(under(wanted), portrait()), 503, "SAFETY_UNAVAILABLE")
