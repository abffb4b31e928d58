"""A POST that is sent again with its Idempotency-Key does nothing again."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from services.gateway.db import IdempotencyRecord, Process
from services.gateway.db.models import utc_now
from services.gateway.idempotency_records import sweep_idempotency
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import HOLD_WORD, FakeStages, portrait
from tests.contract.gateway_people import CONSENT, enrol_ada, enrol_bob
from tests.same_speech import is_same_speech
from tests.waiting import wait_for

CONSENTS = "/v1/audio/voice_consents"
SPEECH = "/v1/audio/speech"


@pytest.fixture(scope="module")
def stages() -> Iterator[FakeStages]:
    with tempfile.TemporaryDirectory() as folder:
        made = FakeStages(Path(folder))
        yield made
        made.close()


@pytest.fixture(scope="module")
def keyed(stages: FakeStages) -> Iterator[KeyedGateway]:
    made = KeyedGateway(stages.data_dir, **stages.targets())
    enrol_ada(made.operator)
    enrol_bob(made.operator)
    yield made
    made.close()


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


def _count(keyed: KeyedGateway, path: str) -> int:
    return len(keyed.operator.get(f"{path}?limit=100").get_json()["data"])


def test_a_repeated_request_gets_the_answer_of_the_first(keyed: KeyedGateway) -> None:
    before = _count(keyed, CONSENTS)
    first = keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("a"))
    again = keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("a"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.get_data() == first.get_data()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.content_type == first.content_type
    assert _count(keyed, CONSENTS) == before + 1
    done = [entry["action"] for entry in keyed.operator.get("/v1/audit?limit=2").get_json()["data"]]
    assert done != ["create_voice_consent"] * 2, "nothing was done twice, so that nothing is told twice"


def test_the_same_key_with_another_request_is_422(keyed: KeyedGateway) -> None:
    keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("b"))
    for path, body in ((CONSENTS, CONSENT | {"who": "somebody else"}), ("/v1/face_consents", CONSENT)):
        refused = keyed.operator.post(path, json=body, headers=_key("b"))
        assert (refused.status_code, refused.get_json()["reason"]) == (422, "IDEMPOTENCY_MISMATCH")


def test_a_form_is_compared_by_its_fields_and_files(keyed: KeyedGateway) -> None:
    """Its boundary is another one each time."""

    def swap(target: bytes) -> Any:
        form = {"face": "Bob", "target": (io.BytesIO(target), "t.png")}
        return keyed.operator.post("/v1/swaps", data=form, headers=_key("c"))

    first, again, other = swap(portrait(80)), swap(portrait(80)), swap(portrait(81))
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.get_json()["id"] == first.get_json()["id"]


def test_a_form_without_names_is_a_bad_request_and_no_failure(keyed: KeyedGateway) -> None:
    parts = ("Content-Disposition: form-data", "Content-Disposition: form-data; name*=utf-8''%ED%A0%80")
    body = "".join(f"--x\r\n{part}\r\n\r\nvalue\r\n" for part in (*parts, *parts)) + "--x--\r\n"
    headers = _key("form") | {"Content-Type": "multipart/form-data; boundary=x"}
    assert keyed.operator.post("/v1/faces", data=body, headers=headers).status_code == 400


def test_keys_of_two_tenants_have_nothing_to_do_with_each_other(keyed: KeyedGateway) -> None:
    other = keyed.tenant("other")
    first = keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("d")).get_json()
    theirs = other.post(CONSENTS, json=CONSENT | {"who": "x"}, headers=_key("d"))
    assert theirs.status_code == 201
    assert theirs.get_json()["id"] != first["id"]


def test_a_refused_request_leaves_its_key_free(keyed: KeyedGateway) -> None:
    assert keyed.operator.post(CONSENTS, json={"who": "x"}, headers=_key("e")).status_code == 400
    assert keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("e")).status_code == 201


def test_while_the_first_is_being_worked_on_a_second_is_409(stages: FakeStages, keyed: KeyedGateway) -> None:
    stages.doings.go_on.clear()
    body = {"voice": "Ada", "input": f"First words. {HOLD_WORD} and the rest.", "stream": False}
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: keyed.client(keyed.bootstrap_key).post(SPEECH, json=body, headers=_key("f")))
        wait_for(lambda: _record(keyed, "f"))
        busy = keyed.operator.post(SPEECH, json=body, headers=_key("f"))
        stages.doings.go_on.set()
        first = held.result()
    assert (busy.status_code, busy.get_json()["reason"]) == (409, "IDEMPOTENCY_IN_FLIGHT")
    again = keyed.operator.post(SPEECH, json=body, headers=_key("f"))
    assert (again.status_code, again.get_data() == first.get_data()) == (200, True)
    assert again.headers["X-Likeness-Job"] == first.headers["X-Likeness-Job"], "a short speech is kept"


def test_a_streamed_speech_is_in_flight_to_its_last_byte_and_then_spoken_again(keyed: KeyedGateway) -> None:
    body = {"voice": "Ada", "input": "Hello there, this is Ada.", "stream": True, "response_format": "wav"}
    first = keyed.operator.post(SPEECH, json=body, headers=_key("g"), buffered=False)
    assert keyed.operator.post(SPEECH, json=body, headers=_key("g")).status_code == 409
    sound = first.get_data()
    first.close()
    again = keyed.operator.post(SPEECH, json=body, headers=_key("g"))
    assert again.status_code == 200 and is_same_speech(again.get_data(), sound)


def test_a_secret_is_not_kept_for_a_repetition(keyed: KeyedGateway) -> None:
    made = keyed.operator.post("/v1/keys", json={"name": "k"}, headers=_key("h"))
    again = keyed.operator.post("/v1/keys", json={"name": "k"}, headers=_key("h"))
    assert (made.status_code, again.status_code, again.get_json()["reason"]) == (201, 409, "IDEMPOTENCY_SPENT")
    record = _record(keyed, "h")
    assert record is not None
    assert record.body is None


def test_records_of_a_dead_process_and_of_yesterday_are_free_again(keyed: KeyedGateway) -> None:
    first = keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("i")).get_json()
    _change(keyed, "i", created_at=utc_now() - timedelta(hours=25))
    assert keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("i")).get_json()["id"] != first["id"]

    with keyed.gateway.database.session() as session:
        session.add(Process(id="gateway_alive", kind="gateway", token="t", beat_at=utc_now()))  # noqa: S106
    _change(keyed, "i", status=None, body=None, owner="gateway_alive")
    assert keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("i")).status_code == 409
    _change(keyed, "i", owner="gateway_dead")
    assert keyed.operator.post(CONSENTS, json=CONSENT, headers=_key("i")).status_code == 201


def test_the_sweeper_removes_what_is_old_or_abandoned(keyed: KeyedGateway) -> None:
    for name in ("old", "dead", "fresh"):
        keyed.operator.post(CONSENTS, json=CONSENT, headers=_key(name))
    _change(keyed, "old", created_at=utc_now() - timedelta(hours=25))
    _change(keyed, "dead", status=None, owner="gateway_dead", created_at=utc_now() - timedelta(minutes=5))
    assert sweep_idempotency(keyed.gateway) == 2
    assert [_record(keyed, name) is None for name in ("old", "dead", "fresh")] == [True, True, False]


@pytest.mark.parametrize("key", ["", "with space", "ü", "x" * 256])
def test_a_key_is_visible_ascii(keyed: KeyedGateway, key: str) -> None:
    refused = keyed.operator.post(CONSENTS, json=CONSENT, headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert (refused.status_code, refused.get_json()["field"]) == (400, "Idempotency-Key")


def test_many_at_the_same_moment_do_it_once(keyed: KeyedGateway) -> None:
    before = _count(keyed, "/v1/face_consents")

    def send(_: int) -> int:
        client = keyed.client(keyed.bootstrap_key)
        return client.post("/v1/face_consents", json=CONSENT, headers=_key("j")).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(send, range(16)))
    assert statuses <= {201, 409}
    assert _count(keyed, "/v1/face_consents") == before + 1


def _record(keyed: KeyedGateway, key: str) -> IdempotencyRecord | None:
    with keyed.gateway.database.session() as session:
        found: IdempotencyRecord | None = session.get(IdempotencyRecord, ("local", key))
        return found


def _change(keyed: KeyedGateway, key: str, **values: Any) -> None:
    with keyed.gateway.database.session() as session:
        session.execute(update(IdempotencyRecord).where(IdempotencyRecord.key == key).values(**values))
