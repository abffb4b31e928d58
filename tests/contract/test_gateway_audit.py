"""The audit as a chain: whatever is changed in it afterwards is found, and anchors find what the chain cannot."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, insert, select, update

from services.gateway.auditing import chain_unchained, record_event
from services.gateway.auditing.anchors import AnchorError, read_anchor, take_anchor
from services.gateway.auditing.chain import FIRST_PREVIOUS, chained, entry_sha256
from services.gateway.auditing.check import check_audit
from services.gateway.auditing.kept_anchors import PREFIX, keep_anchor
from services.gateway.db import AuditEntry, Database
from services.gateway.ids import new_id
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_people import CONSENT, enrol_ada
from tests.contract.gateway_process import REPOSITORY
from tests.databases import database_url

WHAT: dict[str, Any] = {"tenant": "local", "actor": "key_1", "request_id": "r"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(database_url(tmp_path) or f"sqlite:///{tmp_path / 'audit.db'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture(scope="module")
def keyed() -> Iterator[KeyedGateway]:
    with tempfile.TemporaryDirectory() as folder:
        made = KeyedGateway(Path(folder))
        yield made
        made.close()


def fill(database: Database, count: int = 12) -> None:
    for number in range(count):
        record_event(database, "do_something", object_id=f"thing_{number}", about={"number": number, "at": 0.1}, **WHAT)


def rows(database: Database) -> list[dict[str, Any]]:
    with database.engine.connect() as connection:
        found = connection.execute(select(AuditEntry).order_by(AuditEntry.seq)).mappings()
        return [dict(row) for row in found]


def set_row(database: Database, place: int, **values: Any) -> None:
    with database.engine.begin() as connection:
        connection.execute(update(AuditEntry).where(AuditEntry.seq == place).values(**values))


def findings(database: Database, *anchors: Any) -> list[tuple[int, str]]:
    return [(found.seq, found.what) for found in check_audit(database, anchors).findings]


def test_an_untouched_chain_is_intact_and_linked(database: Database) -> None:
    assert check_audit(database).is_intact
    fill(database)
    report = check_audit(database)
    found = rows(database)
    assert (report.is_intact, report.entries, report.head_seq, report.unchained) == (True, 12, 12, 0)
    assert [row["seq"] for row in found] == list(range(1, 13))
    assert [row["previous"] for row in found] == [FIRST_PREVIOUS, *(row["sha256"] for row in found[:-1])]
    assert report.head_sha256 == found[-1]["sha256"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "key_2"),
        ("action", "do_nothing"),
        ("object_id", None),
        ("request_id", "x"),
        ("status", 403),
        ("tenant", "other"),
        ("details", {"about": {"number": 99, "at": 0.1}}),
        ("created_at", datetime(2020, 1, 1, tzinfo=UTC)),
        ("id", "audit_0"),
    ],
)
def test_each_changed_field_is_found(database: Database, column: str, value: Any) -> None:
    fill(database)
    set_row(database, 5, **{column: value})
    assert findings(database) == [(5, "changed")]


def test_a_change_with_a_fitting_hash_breaks_the_next_link(database: Database) -> None:
    fill(database)
    entry = rows(database)[4] | {"actor": "key_2"}
    set_row(database, 5, actor="key_2", sha256=entry_sha256(entry))
    assert findings(database) == [(6, "moved")]


def test_a_deleted_entry_is_missing_and_one_put_in_its_place_does_not_fit(database: Database) -> None:
    fill(database)
    with database.engine.begin() as connection:
        connection.execute(delete(AuditEntry).where(AuditEntry.seq.in_((7, 8))))
    assert findings(database) == [(9, "missing")]
    forged = rows(database)[0] | {"id": "audit_x"}
    with database.engine.begin() as connection:
        connection.execute(insert(AuditEntry), chained(forged, 7, rows(database)[5]["sha256"]))
    assert findings(database) == [(9, "missing")]


def test_swapped_entries_are_found(database: Database) -> None:
    fill(database)
    set_row(database, 3, seq=100)
    set_row(database, 4, seq=3)
    set_row(database, 100, seq=4)
    assert {seq for seq, _ in findings(database)} == {3, 4, 5}


def test_what_was_cut_off_or_written_anew_an_anchor_shows(database: Database) -> None:
    fill(database)
    key = Ed25519PrivateKey.generate()
    anchor = read_anchor(take_anchor(database, key), [key.public_key()])
    fill(database, 3)
    assert findings(database, anchor) == []
    with database.engine.begin() as connection:
        connection.execute(delete(AuditEntry).where(AuditEntry.seq > 10))
    assert findings(database) == [], "the chain alone cannot know how long it was"
    assert findings(database, anchor) == [(12, "cut")]
    fill(database, 6)
    assert findings(database) == []
    assert findings(database, anchor) == [(12, "rewritten")]


def test_an_anchor_is_only_what_the_key_has_signed(database: Database) -> None:
    fill(database, 2)
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    text = take_anchor(database, key)
    assert read_anchor(text + "\n", [other.public_key(), key.public_key()]).seq == 2
    head, payload, signature = text.split(".")
    for wrong, keys in [
        (text, [other.public_key()]),
        (f"{head}.{payload[:-4]}AAAA.{signature}", [key.public_key()]),
        ("nonsense", [key.public_key()]),
        ("x" * 5000, [key.public_key()]),
    ]:
        with pytest.raises(AnchorError):
            read_anchor(wrong, keys)


def test_writers_at_the_same_time_make_one_chain(database: Database) -> None:
    writers = [threading.Thread(target=fill, args=(database, 10)) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    report = check_audit(database)
    assert (report.is_intact, report.entries) == (True, 60)


def test_entries_from_before_the_chain_get_their_place_as_they_are(database: Database) -> None:
    old = {"status": 200, "action": "create_voice", "object_id": None, "details": None, **WHAT}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with database.engine.begin() as connection:
        for number in range(3):
            entry = {**old, "id": new_id("audit"), "created_at": start + timedelta(seconds=number)}
            connection.execute(insert(AuditEntry), entry)
    assert check_audit(database).unchained == 3
    assert chain_unchained(database) == 3 and chain_unchained(database) == 0
    fill(database, 2)
    assert [row["action"] for row in rows(database)] == ["create_voice"] * 3 + ["do_something"] * 2
    report = check_audit(database)
    assert (report.is_intact, report.unchained, report.entries) == (True, 0, 5)


def test_requests_are_entered_with_the_reason_of_a_refusal(keyed: KeyedGateway) -> None:
    made = keyed.operator.post("/v1/audio/voice_consents", json=CONSENT).get_json()
    weak = keyed.client(keyed.new_key(scopes=["read"])["key"])
    assert weak.post("/v1/audio/voice_consents", json=CONSENT).status_code == 403
    keyed.operator.get("/v1/jobs")
    newest = keyed.operator.get("/v1/audit?limit=3").get_json()["data"]
    assert [(item["action"], item["status"]) for item in newest] == [
        ("create_voice_consent", 403),
        ("create_key", 201),
        ("create_voice_consent", 201),
    ]
    assert newest[0]["details"] == {"reason": "INSUFFICIENT_SCOPE"}
    assert newest[2]["object_id"] == made["id"]
    assert [item["seq"] - newest[2]["seq"] for item in newest] == [2, 1, 0]


def test_outputs_and_refusals_are_entered(tmp_path: Path) -> None:
    stages = FakeStages(tmp_path)
    keyed = KeyedGateway(tmp_path, **stages.targets())
    try:
        voice = enrol_ada(keyed.operator)
        body = {"voice": "Ada", "input": "Good morning to you, all of you.", "response_format": "mp3"}
        spoken = keyed.operator.post("/v1/audio/speech", json={**body, "stream": False})
        assert spoken.status_code == 200, spoken.get_json()
        job = spoken.headers["X-Likeness-Job"]
        (released,) = [
            item
            for item in keyed.operator.get(f"/v1/audit?object_id={job}").get_json()["data"]
            if item["action"] == "release_output"
        ]
        output = released["details"]["output"]
        asked = keyed.operator.get(f"/v1/audit?object_id={job}").get_json()["data"]
        (request,) = [item for item in asked if item["action"] == "create_speech"]
        granted = {grant["purpose"]: grant for grant in request["details"]["grants"]}
        assert granted["speech"]["likenesses"] == [voice["id"]] and granted["speech"]["mark"] == output["mark"]
        assert (output["job"], output["consent"]) == (job, voice["consent"]) and output["mark"] > 0
        assert output["sha256"] == hashlib.sha256(spoken.data).hexdigest()
        keyed.operator.post(f"/v1/audio/voice_consents/{voice['consent']}/revoke")
        assert keyed.operator.post("/v1/audio/speech", json=body).status_code == 403
        newest = keyed.operator.get("/v1/audit?limit=1").get_json()["data"][0]
        assert (newest["action"], newest["details"]) == ("create_speech", {"reason": "CONSENT_NOT_LIVE"})
        assert check_audit(keyed.gateway.database).is_intact
    finally:
        keyed.close()
        stages.close()


def test_the_chain_is_verified_over_http_by_operators_alone(keyed: KeyedGateway) -> None:
    keyed.operator.post("/v1/audio/voice_consents", json=CONSENT)
    anchor = keyed.operator.get("/v1/audit/anchor").get_json()
    told = keyed.operator.post("/v1/audit/verify", json={"anchors": [anchor["anchor"]]}).get_json()
    assert (told["intact"], told["anchors"], told["findings"]) == (True, 1, [])
    assert told["head_seq"] >= anchor["seq"] > 0
    foreign = take_anchor(keyed.gateway.database, Ed25519PrivateKey.generate())
    refused = keyed.operator.post("/v1/audit/verify", json={"anchors": [foreign]}).get_json()
    assert (refused["reason"], refused["field"]) == ("INVALID_FIELD", "anchors")
    tenant = keyed.tenant("audit-reader")
    for answer in (tenant.get("/v1/audit/anchor"), tenant.post("/v1/audit/verify", json={})):
        assert (answer.status_code, answer.get_json()["reason"]) == (403, "INSUFFICIENT_SCOPE")
    assert tenant.get("/v1/audit").get_json()["data"][0]["seq"] is None, "it would tell how much others do"


def test_anchors_are_kept_in_the_object_store_and_compared(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path)
    try:
        keyed.operator.post("/v1/audio/voice_consents", json=CONSENT)
        assert keep_anchor(keyed.gateway) and not keep_anchor(keyed.gateway)
        assert len(list(keyed.gateway.store.keys(PREFIX))) == 1
        assert keyed.operator.post("/v1/audit/verify", json={}).get_json()["anchors"] == 1
        with keyed.gateway.database.engine.begin() as connection:
            connection.execute(delete(AuditEntry))
        told = keyed.operator.post("/v1/audit/verify", json={}).get_json()
        assert (told["intact"], [found["what"] for found in told["findings"]]) == (False, ["cut"])
    finally:
        keyed.close()


def test_the_command_reads_a_database_by_itself(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path)
    try:
        keyed.operator.post("/v1/audio/voice_consents", json=CONSENT)
        anchor = keyed.operator.get("/v1/audit/anchor").get_json()
        (tmp_path / "anchor.jws").write_text(anchor["anchor"])
        (tmp_path / "key.pem").write_text(anchor["public_key"])
        url = keyed.gateway.database.url.render_as_string(hide_password=False)

        def verify() -> tuple[int, dict[str, Any]]:
            arguments = ["--database", url, "--anchor", "anchor.jws", "--public-key", "key.pem", "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "likeness", "audit", "verify", *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                capture_output=True,
                text=True,
                timeout=300,
            )
            return done.returncode, json.loads(done.stdout)

        code, told = verify()
        assert (code, told["intact"], told["anchors"]) == (0, True, 1)
        set_row(keyed.gateway.database, 1, actor="nobody")
        code, told = verify()
        assert (code, [found["what"] for found in told["findings"]]) == (1, ["changed"])
    finally:
        keyed.close()
