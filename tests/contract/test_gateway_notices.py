"""What a policy wants seen and heard: a label in every picture, a sentence before every speech."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.grants import GrantVerifier
from services.common.marking.picture import mark_picture, picture_carries
from services.faceswap.label import draw_label
from services.gateway.app import create_app
from services.gateway.consents.policy import PolicyError, load_policy
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, portrait, spoken_seconds
from tests.contract.gateway_people import enrol_ada, enrol_bob

POLICY = {"visible_label": "AI generated", "spoken_notice": "This voice is synthetic."}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("notices"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def client(stages: FakeStages) -> Any:
    settings = GatewaySettings(
        data_dir=stages.data_dir, consent_policy=json.dumps(POLICY), log_level="error", **stages.targets()
    )
    made = create_app(settings).test_client()
    enrol_ada(made)
    enrol_bob(made)
    return made


def test_every_speech_begins_with_the_notice(client: Any) -> None:
    body = {"voice": "Ada", "input": "Good morning to you.", "response_format": "wav", "stream": False}
    job = client.get(f"/v1/jobs/{client.post('/v1/audio/speech', json=body).headers['X-Likeness-Job']}").get_json()
    both = spoken_seconds(f"{POLICY['spoken_notice']} {body['input']}")
    assert job["figures"]["audio_seconds"] == pytest.approx(both)


def test_the_notice_is_spoken_before_markup_and_timed(client: Any) -> None:
    marked = '<speak>Good <break time="1s"/><prosody rate="slow">morning</prosody> &amp; more.</speak>'
    body = {"voice": "Ada", "input": marked, "response_format": "wav", "timestamps": True}
    words = client.post("/v1/audio/speech", json=body).get_json()["words"]
    spoken = [word["punctuated_word"] for word in words]
    assert spoken == [*POLICY["spoken_notice"].split(), "Good", "morning", "&", "more."]
    notice_s = spoken_seconds(POLICY["spoken_notice"])
    assert words[4]["start"] == pytest.approx(notice_s)
    assert words[5]["start"] - words[4]["end"] == pytest.approx(1.0, abs=0.02)


def test_a_stage_that_cannot_add_the_notice_is_not_granted(client: Any) -> None:
    told = client.post("/v1/grants", json={"voice": "Ada"})
    assert (told.status_code, told.get_json()["reason"]) == (403, "LIKENESS_REFUSED")


def test_grants_of_faces_name_the_label(client: Any, stages: FakeStages) -> None:
    granted = client.post("/v1/grants", json={"face": "Bob"}).get_json()
    grant = GrantVerifier(stages.data_dir / "keys" / "grants").verify(granted["grant"], "SwapPicture")
    assert grant.label == POLICY["visible_label"]
    target = (io.BytesIO(portrait(80)), "t.png")
    assert client.post("/v1/swaps", data={"face": "Bob", "target": target}).status_code == 201


@pytest.mark.parametrize("label", ["", "ä", "x" * 81, "line\nline"])
def test_labels_are_what_a_stage_can_write(label: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="visible_label"):
        load_policy(json.dumps({"visible_label": label}))


@pytest.mark.parametrize("side", [96, 300, 1080])
@pytest.mark.parametrize("channels", [0, 3])
def test_the_label_is_seen_in_its_corner_and_leaves_the_rest(side: int, channels: int) -> None:
    shape = (side, 2 * side, 3) if channels else (side, 2 * side)
    before = np.full(shape, 120, np.uint8)
    after = before.copy()
    draw_label(after, POLICY["visible_label"])
    changed = np.argwhere((after != before).reshape(side, 2 * side, -1).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert top > side / 2 and bottom < side - 1 and left > 0 and right < 2 * side - 1
    assert bottom - top >= 6 and after.max() >= 180 and after.min() <= 60, "letters with an edge"


def test_the_mark_is_found_beneath_a_label() -> None:
    picture = np.random.default_rng(0).integers(60, 180, (360, 640, 3), np.uint8)
    draw_label(picture, POLICY["visible_label"])
    key = bytes(range(32))
    assert picture_carries(mark_picture(picture, key, 99), key, 99)
