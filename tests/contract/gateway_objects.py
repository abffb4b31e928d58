"""One of everything that a tenant may have, and how requests name it: in paths and in bodies."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient

from services.common.encode_audio import encode_audio
from tests.contract.consent_people import FACE_CONSENTS, ask
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import portrait, sine
from tests.contract.gateway_people import enrol_ada, enrol_bob, new_consent

Ids = dict[str, str]
PROTECTION = {"subject": "voice", "who": "Carla"}
SPEECH = {"input": "Hello.", "response_format": "wav"}


@dataclass(frozen=True)
class World:
    keyed: KeyedGateway
    a: FlaskClient
    b: FlaskClient
    ids: Ids  # of A's objects, by what they are

    @property
    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Method, path and definition by operation id."""
        spec = self.keyed.anonymous.get("/openapi.json").get_json()
        return {
            definition["operationId"]: (method.upper(), path, definition)
            for path, item in spec["paths"].items()
            for method, definition in item.items()
        }


def _made(answer: Any) -> dict[str, Any]:
    assert answer.status_code in (200, 201, 202), answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


def make_everything(client: FlaskClient) -> Ids:
    voice, face = enrol_ada(client), enrol_bob(client)
    swap = _made(client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(portrait(80)), "t.png")}))
    spoken = client.post("/v1/audio/speech", json={**SPEECH, "voice": "Ada", "keep": True, "timestamps": True})
    upload = _made(
        client.post("/v1/uploads", json={"file_name": "film.mp4", "size_bytes": 100, "purpose": "swap_target"})
    )
    line = {"custom_id": "1", "method": "POST", "url": "/v1/audio/speech", "body": {"voice": "Ada", "input": "Hi."}}
    file = _made(
        client.post("/v1/files", data={"purpose": "batch", "file": (io.BytesIO(json.dumps(line).encode()), "b.jsonl")})
    )
    batch = _made(client.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": "/v1/audio/speech"}))
    key = _made(client.post("/v1/keys", json={"name": "another"}))
    protected = _made(
        client.post(
            "/v1/protected",
            data={
                "who": "Carla",
                "attested_by": "Dora",
                "document": (io.BytesIO(b"%PDF"), "d.pdf"),
                "audio_sample": (io.BytesIO(encode_audio(sine(600.0, 2.0), "wav")), "c.wav"),
            },
        )
    )
    return {
        "voice": voice["id"],
        "voice consent": voice["consent"],
        "face": face["id"],
        "face consent": face["consent"],
        "swap": swap["id"],
        "job": spoken.headers["X-Likeness-Job"],
        "media": swap["media"],
        "upload": upload["id"],
        "file": file["id"],
        "batch": batch["id"],
        "key": key["id"],
        "voice challenge": ask(client)["id"],
        "face challenge": ask(client, FACE_CONSENTS)["id"],
        "protected": protected["id"],
        "protection challenge": _made(client.post("/v1/protected/challenges", json=PROTECTION))["id"],
        "tenant": "tenant-a",
        "name of a voice": "Ada",
        "name of a face": "Bob",
    }


# What a path parameter names. Of consents the path says which kind.
PARAMETERS = {
    "voice": "voice",
    "face": "face",
    "swap_id": "swap",
    "job_id": "job",
    "media_id": "media",
    "upload_id": "upload",
    "file_id": "file",
    "batch_id": "batch",
    "key_id": "key",
    "protected_id": "protected",
    "tenant_id": "tenant",
}
# Bodies that operations with a path parameter need to get as far as their object.
BODIES: dict[str, dict[str, Any]] = {
    "adapt_voice": {"data": {"adaptation": (__file__, "a.safetensors")}},
    "remove_protected": {"data": {"challenge": "chal_x"}},
    "rotate_key": {"json": {}},
    "update_tenant": {"json": {"disabled": True}},
}
SAME_FOR_ALL = {
    "get_receipt_keys",
    "get_model",
    "list_models",
    "list_audio_models",
    "get_health",
    "get_readiness",
    "get_metrics",
}
# Whoever has such an address was given it; without the right signature it opens nothing, whether the object is or not.
SIGNED = {"get_media_content", "put_upload_part"}
# Each tenant has some of its own from the beginning.
NEVER_EMPTY = {"list_keys", "list_tenants", "list_audit"}
OWN = {"get_webhook_secret", "rotate_webhook_secret"}

# Requests that name objects in their bodies: the answer must be that for objects which do not exist.
Naming = Callable[[FlaskClient, Ids], Any]


def _voice(client: FlaskClient, ids: Ids) -> Any:
    recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "x.wav")
    return client.post(
        "/v1/audio/voices", data={"name": "x", "consent": ids["voice consent"], "audio_sample": recording}
    )


def _voice_of_file(client: FlaskClient, ids: Ids) -> Any:
    data = {"name": "x", "consent": new_consent(client), "sample_media": ids["media"]}
    return client.post("/v1/audio/voices", data=data)


def _face(client: FlaskClient, ids: Ids) -> Any:
    return client.post("/v1/faces", data={"consent": ids["face consent"], "picture": (io.BytesIO(portrait()), "x.png")})


def _face_of_file(client: FlaskClient, ids: Ids) -> Any:
    return client.post("/v1/faces", data={"consent": new_consent(client, "face"), "picture_media": ids["media"]})


def _swap(**names: str) -> Naming:
    def send(client: FlaskClient, ids: Ids) -> Any:
        fields: dict[str, Any] = {field: ids.get(name, name) for field, name in names.items()}
        if "target_media" not in fields:
            fields["target"] = (io.BytesIO(portrait(80)), "t.png")
        return client.post("/v1/swaps", data=fields)

    return send


def _json(path: str, **body: Any) -> Naming:
    return lambda client, ids: client.post(
        path, json={field: ids.get(value, value) if isinstance(value, str) else value for field, value in body.items()}
    )


def _challenged(path: str, proof: str, challenge: str) -> Naming:
    def send(client: FlaskClient, ids: Ids) -> Any:
        file = (io.BytesIO(b"\0\0\0\x18ftypmp42" + bytes(64)), "proof")
        return client.post(path, data={"challenge": ids[challenge], proof: file})

    return send


NAMING: dict[str, list[Naming]] = {
    "create_voice": [_voice, _voice_of_file],
    "create_face": [_face, _face_of_file],
    "create_speech": [_json("/v1/audio/speech", voice=name, input="Hello.") for name in ("voice", "name of a voice")],
    "create_swap": [
        _swap(face="face"),
        _swap(face="name of a face"),
        _swap(face="Carla", target_media="media"),
        _swap(face="Carla", selection="reference", reference_face="face"),
    ],
    "create_protected": [_challenged("/v1/protected", "recording", "protection challenge")],
    "create_protection_challenge": [_json("/v1/protected/challenges", removal_of="protected")],
    "create_voice_consent": [
        _json("/v1/audio/voice_consents", who="x", kind="synthetic", evidence="x", document="media"),
        _challenged("/v1/audio/voice_consents", "recording", "voice challenge"),
    ],
    "create_face_consent": [
        _json("/v1/face_consents", who="x", kind="synthetic", evidence="x", document="media"),
        _challenged("/v1/face_consents", "film", "face challenge"),
    ],
    "create_batch": [_json("/v1/batches", input_file_id="file", endpoint="/v1/audio/speech")],
    "create_grant": [
        _json("/v1/grants", **{field: name})
        for field, name in [
            ("voice", "voice"),
            ("voice", "name of a voice"),
            ("face", "face"),
            ("voice_consent", "voice consent"),
            ("face_consent", "face consent"),
        ]
    ],
    "create_key": [_json("/v1/keys", name="x", tenant="tenant")],
    "verify_file": [lambda client, ids: client.post("/v1/verify", data={"media": ids["media"]})],
}
NAMES_NOTHING = {"create_voice_consent_challenge", "create_face_consent_challenge", "create_upload", "create_file"}
# Only the operator's administrators make tenants, and look at the chain of all tenants' entries.
REFUSED = {"create_tenant", "get_audit_anchor", "verify_audit"}


def filled(world: World, operation: str, ids: Ids) -> str:
    method, path, _ = world.operations[operation]

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        if name == "number":
            return "1"
        if name == "consent_id":
            return ids["face consent" if "face" in path else "voice consent"]
        assert name in PARAMETERS, f"{method} {path}: say in PARAMETERS what {name!r} is the id of"
        return ids[PARAMETERS[name]]

    return re.sub(r"\{([^{}]+)\}", fill, path)


def other(ids: Ids) -> Ids:
    """Ids like these, of nothing."""
    return {
        what: re.sub(r"[0-9a-f]{8}$", "0badcafe", value) + ("" if "_" in value else "-0") for what, value in ids.items()
    }


def told(answer: Any, ids: Ids) -> tuple[int, str, str]:
    """Status, reason and detail, without the ids that the request named."""
    body = answer.get_json()
    detail = str(body.get("detail"))
    for what, value in ids.items():
        detail = detail.replace(value, f"<{what}>")
    return answer.status_code, body.get("reason"), detail
