"""Policies: what is enough, what is refused outright, documents, receipts, the operator's safety classifier."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from likeness._receipts import ReceiptError, verify_receipt
from services.gateway.app import create_app
from services.gateway.consents.policy import Policy, PolicyError, load_policy
from services.gateway.db import Consent
from services.gateway.settings import GatewaySettings
from tests.contract.consent_people import (
    FACE_CONSENTS,
    VOICE_CONSENTS,
    ask,
    ear_that_hears,
    enrol,
    recording,
    refused,
    say,
)
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages, portrait
from tests.contract.gateway_process import REPOSITORY

ATTESTED = {"who": "Ada", "kind": "attested", "attested_by": "Bob", "evidence": "form 12"}
SYNTHETIC = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("consent-policy"))
    yield fakes
    fakes.close()


@pytest.fixture
def under(stages: FakeStages) -> Iterator[Any]:
    """Clients of gateways on the same database, each under a policy of its own."""
    opened: list[Any] = []

    def client(**rules: Any) -> FlaskClient:
        policy = json.dumps(rules) if rules else ""
        settings = GatewaySettings(
            data_dir=stages.data_dir, log_level="error", consent_policy=policy, **stages.targets()
        )
        opened.append(create_app(settings))
        return opened[-1].test_client()  # type: ignore[no-any-return]

    yield client
    for app in opened:
        app.extensions["likeness"].close()


def gateway_of(client: FlaskClient) -> Any:
    return client.application.extensions["likeness"]


def made(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.get_json()
    return body


# --- what is enough ---


def test_without_a_policy_a_word_is_enough_as_before(under: Any) -> None:
    client = under()
    for path in (VOICE_CONSENTS, FACE_CONSENTS):
        for body in (ATTESTED, SYNTHETIC):
            consent = made(client.post(path, json=body))
            assert (consent["state"], consent["recorded_by"], consent["languages"]) == ("live", "local", [])


def test_a_kind_that_is_not_enough_is_refused_when_it_is_given_and_when_it_is_used(under: Any) -> None:
    given = made(under().post(VOICE_CONSENTS, json=SYNTHETIC))["id"]
    assert enrol(under(), given, recording(take=1), "from before").status_code == 201
    strict = under(enough={"speech": ["spoken"], "swap": ["filmed"]})
    told = refused(strict.post(VOICE_CONSENTS, json=SYNTHETIC), 403, "CONSENT_KIND_REFUSED", "kind")
    assert "enough are: spoken" in told
    refused(strict.post(FACE_CONSENTS, json=ATTESTED), 403, "CONSENT_KIND_REFUSED", "kind")
    refused(enrol(strict, given, recording(take=2), "more"), 403, "CONSENT_KIND_REFUSED", "consent")
    spoken = strict.post("/v1/audio/speech", json={"voice": "from before", "input": "Hello."})
    refused(spoken, 403, "CONSENT_KIND_REFUSED", "voice")


def test_a_use_that_no_kind_is_enough_for_is_refused(under: Any) -> None:
    client = under(enough={"speech": ["synthetic"]})
    assert "enough are: none" in refused(
        client.post(FACE_CONSENTS, json=SYNTHETIC), 403, "CONSENT_KIND_REFUSED", "kind"
    )


def test_old_consents_are_asked_for_again(under: Any) -> None:
    client = under(max_age_days={"attested": 365})
    old = made(client.post(VOICE_CONSENTS, json=ATTESTED))["id"]
    assert enrol(client, old, recording(take=3), "young").status_code == 201
    with gateway_of(client).database.session() as session:
        long_ago = datetime.now(UTC) - timedelta(days=366)
        session.execute(update(Consent).where(Consent.id == old).values(created_at=long_ago))
    refused(enrol(client, old, recording(take=4), "aged"), 403, "CONSENT_NOT_LIVE", "consent")
    assert enrol(under(), old, recording(take=4), "aged elsewhere").status_code == 201


@pytest.mark.parametrize("ending", ["revoked", "expired"])
def test_a_spoken_consent_that_has_ended_allows_nothing(
    under: Any, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    client = under()
    with ear_that_hears(monkeypatch):
        consent = made(say(client, ask(client)["id"], recording(take=5 if ending == "revoked" else 6)))["id"]
    if ending == "revoked":
        assert client.post(f"{VOICE_CONSENTS}/{consent}/revoke").get_json()["state"] == "revoked"
    else:
        with gateway_of(client).database.session() as session:
            past = datetime.now(UTC) - timedelta(seconds=1)
            session.execute(update(Consent).where(Consent.id == consent).values(expires_at=past))
    refused(enrol(client, consent, recording(take=7), ending), 403, "CONSENT_NOT_LIVE", "consent")


# --- what is refused whatever the consent ---


def birthday(years: int) -> str:
    today = datetime.now(UTC).date()
    return date(today.year - years, 1, 1).isoformat()


@pytest.mark.parametrize("said", [{"adult": False}, {"born_on": birthday(17)}, {"adult": True, "born_on": birthday(9)}])
def test_minors_are_refused(under: Any, said: dict[str, Any]) -> None:
    client = under()
    for path in (VOICE_CONSENTS, FACE_CONSENTS):
        assert "under 18" in refused(
            client.post(path, json={**ATTESTED, **said}),
            403,
            "LIKENESS_REFUSED",
            "born_on" if "born_on" in said else "adult",
        )
    refused(
        client.post(f"{FACE_CONSENTS}/challenges", json={"who": "x", "adult": False}), 403, "LIKENESS_REFUSED", "adult"
    )


def test_adults_are_not_and_no_birthday_is_kept(under: Any) -> None:
    client = under(adult_statement=True)
    refused(client.post(VOICE_CONSENTS, json=ATTESTED), 400, "INVALID_FIELD", "adult")
    consent = made(client.post(VOICE_CONSENTS, json={**ATTESTED, "born_on": "1985-03-04"}))
    assert consent["adult"] is True and "1985" not in json.dumps(consent)
    assert made(client.post(VOICE_CONSENTS, json={**ATTESTED, "adult": True}))["adult"] is True


def test_a_policy_cannot_make_adults_younger() -> None:
    with pytest.raises(PolicyError, match="minimum_age"):
        load_policy('{"minimum_age": 16}')
    assert load_policy('{"minimum_age": 21}').minimum_age == 21


@pytest.mark.parametrize("purpose", ["an erotic film", "PORN", "Nudes of her", "for sex-chat"])
def test_sexual_purposes_are_refused_of_consents_and_of_work(under: Any, purpose: str) -> None:
    client = under()
    refused(client.post(VOICE_CONSENTS, json={**SYNTHETIC, "purpose": purpose}), 403, "LIKENESS_REFUSED", "purpose")
    asked = client.post(f"{VOICE_CONSENTS}/challenges", json={"who": "Ada", "purpose": purpose})
    refused(asked, 403, "LIKENESS_REFUSED", "purpose")
    spoken = client.post("/v1/audio/speech", json={"voice": "x", "input": "Hello.", "purpose": purpose})
    refused(spoken, 403, "LIKENESS_REFUSED", "purpose")
    swap = {"face": "x", "target": (io.BytesIO(portrait()), "t.png"), "purpose": purpose}
    refused(client.post("/v1/swaps", data=swap), 403, "LIKENESS_REFUSED", "purpose")


def test_words_that_only_begin_alike_are_not(under: Any) -> None:
    purpose = "a talk in Essex about sextants, for the Middlesex museum"
    assert made(under().post(VOICE_CONSENTS, json={**SYNTHETIC, "purpose": purpose}))["purpose"] == purpose


def test_an_operator_names_more(under: Any) -> None:
    client = under(refused_purposes=["election"], refused_texts=["wire transfer"], purpose_required=True)
    body = {**SYNTHETIC, "purpose": "posters for the elections"}
    refused(client.post(VOICE_CONSENTS, json=body), 403, "LIKENESS_REFUSED", "purpose")
    refused(client.post(VOICE_CONSENTS, json=SYNTHETIC), 400, "INVALID_FIELD", "purpose")
    speech = {"voice": "x", "input": "Please make the wire  transfer today."}
    refused(client.post("/v1/audio/speech", json=speech), 403, "LIKENESS_REFUSED", "input")


# --- documents ---


def test_a_document_is_kept_with_the_consent(under: Any) -> None:
    client = under(attested={"document": True})
    refused(client.post(VOICE_CONSENTS, json=ATTESTED), 422, "CONSENT_DOCUMENT_REQUIRED", "document")
    form = {**ATTESTED, "languages": "en,de", "document": (io.BytesIO(PDF), "form.pdf")}
    consent = made(client.post(VOICE_CONSENTS, data=form))
    assert (consent["kind"], consent["languages"]) == ("attested", ["en", "de"])
    assert client.get(f"/v1/media/{consent['evidence_media']}").data == PDF
    again = made(client.post(VOICE_CONSENTS, json={**ATTESTED, "document": consent["evidence_media"]}))
    assert again["evidence_media"] == consent["evidence_media"]
    refused(client.post(VOICE_CONSENTS, json={**ATTESTED, "document": "media_0"}), 404, "NOT_FOUND", "document")
    for data, reason, status in ((b"", "MEDIA_EMPTY", 422), (b"GIF89a..", "MEDIA_UNSUPPORTED", 415)):
        form = {**ATTESTED, "document": (io.BytesIO(data), "form.pdf")}
        refused(client.post(VOICE_CONSENTS, data=form), status, reason, "document")


def test_only_keys_with_the_scope_may_attest_where_the_policy_says_so(stages: FakeStages, tmp_path: Path) -> None:
    policy = json.dumps({"attested": {"scope": True}})
    keyed = KeyedGateway(tmp_path, consent_policy=policy, **{**stages.targets(), "database_url": ""})
    try:
        without = keyed.client(keyed.new_key(name="without")["key"])
        key = keyed.new_key(name="notary", scopes=["voices", "attest"])
        assert refused(without.post(VOICE_CONSENTS, json=ATTESTED), 403, "INSUFFICIENT_SCOPE")
        assert made(without.post(VOICE_CONSENTS, json=SYNTHETIC))
        consent = made(keyed.client(key["key"]).post(VOICE_CONSENTS, json=ATTESTED))
        assert consent["recorded_by"] == key["id"]
    finally:
        keyed.close()


# --- receipts ---


def test_a_receipt_says_what_was_agreed_and_can_be_checked_by_anybody(
    under: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = under()
    asked = ask(client, languages=["en"], purpose="an audio book", expires_at="2100-01-01T00:00:00Z")
    with ear_that_hears(monkeypatch):
        consent = made(say(client, asked["id"], recording(take=30)))
    receipt = client.get(f"{VOICE_CONSENTS}/{consent['id']}/receipt").get_json()
    keys = json.dumps(client.get("/.well-known/jwks.json").get_json())
    assert '"d"' not in keys
    claims = verify_receipt(json.dumps(receipt), keys)
    assert claims == receipt["claims"] == verify_receipt(receipt["receipt"], keys)
    sha256 = client.get(f"/v1/media/{consent['evidence_media']}/info").get_json()["sha256"]
    assert (claims["sub"], claims["kind"], claims["uses"], claims["jti"]) == (
        "Ada",
        "spoken",
        ["speech"],
        consent["id"],
    )
    assert (claims["languages"], claims["purpose"], claims["adult"]) == (["en"], "an audio book", True)
    assert (claims["challenge"], claims["evidence_sha256"]) == (asked["id"], sha256)
    assert claims["until"].startswith("2100-01-01") and consent["id"] in claims["revoke"]
    assert "template" not in claims and "embedding" not in json.dumps(claims)
    head, body, signature = receipt["receipt"].split(".")
    for forged in (f"{head}.{body[:-4]}AAAA.{signature}", f"{head}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA"):
        with pytest.raises(ReceiptError):
            verify_receipt(forged, keys)


def test_every_kind_has_a_receipt(under: Any) -> None:
    client = under()
    for path in (VOICE_CONSENTS, FACE_CONSENTS):
        for body in (ATTESTED, SYNTHETIC):
            consent = made(client.post(path, json=body))
            claims = client.get(f"{path}/{consent['id']}/receipt").get_json()["claims"]
            assert (claims["kind"], claims["sub"]) == (body["kind"], body["who"])


# --- the policy itself ---


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("enough: {speech: [spoken]}\nattestd: {document: true}\n", "attestd"),
        ("enough: {speech: [whispered]}", "enough.speech.0"),
        ("enough: {dance: [spoken]}", "enough.dance"),
        ("max_age_days: {spoken: soon}", "max_age_days.spoken"),
        ("version: 2", "version"),
        ("safety_classifier: {model: x.onnx}", "safety_classifier.refused_classes"),
        ("a: [", "neither JSON nor YAML"),
        ("- a list", "the whole"),
        ("", "the whole"),
    ],
)
def test_a_broken_policy_is_one_line_that_says_where(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_policy(str(path))
    assert where in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("enough:\n  speech: [spoken]\nattested:\n  document: true\nmax_age_days: {spoken: 730}\n")
    inline = '{"enough": {"speech": ["spoken"]}, "attested": {"document": true}, "max_age_days": {"spoken": 730}}'
    assert load_policy(str(path)) == load_policy(inline) != Policy() == load_policy("")
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(str(tmp_path / "none.yaml"))


def test_neither_gateway_nor_worker_starts_with_a_broken_policy(tmp_path: Path) -> None:
    environment = {
        "LIKENESS_DATA_DIR": str(tmp_path),
        "LIKENESS_CONSENT_POLICY": '{"enogh": {}}',
        "PATH": "/usr/bin:/bin",
    }
    for program in ("services.gateway", "services.gateway.worker"):
        done = subprocess.run(
            [sys.executable, "-m", program],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if "policy" in line]
        assert "enogh" in line and "Traceback" not in done.stderr
