"""Manifests of every format that the API offers, as the library's own reader sees them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from services.common.c2pa_certificate import DEVELOPMENT, make_development_certificate
from services.common.decode_audio import decode_audio
from services.common.decode_picture import decode_picture, encode_picture
from services.common.encode_audio import CONTENT_TYPES, encode_audio
from services.common.errors import LikenessError
from services.common.keys import KeysError
from services.gateway.db import Media
from services.gateway.media import publish
from services.gateway.provenance import (
    EMBEDDING,
    Ingredient,
    ManifestSigner,
    OutputClaim,
    SignedOutput,
    load_signing_key,
)
from services.gateway.provenance.claims import PROVENANCE_LABEL, SPEECH_SOURCE, SWAP_SOURCE, manifest_definition
from services.gateway.provenance.manifests import OFFLINE, WHOLE_FILE
from services.gateway.provenance.reading import TrustedCertificates, load_trusted_certificates, read_manifest
from services.gateway.provenance.release import sign_output, store_sidecar
from services.gateway.provenance.signing_key import load_function
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import portrait, sine

FORMATS = [*CONTENT_TYPES.values(), "image/png", "image/jpeg", "image/webp", "video/mp4", "video/webm"]
SIDECARS = {"audio/ogg", "audio/aac", "audio/pcm", "video/webm"}


def film(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        noise = np.random.default_rng(5)
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (64, 96, 3), np.uint8))
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def plain(content_type: str) -> bytes:
    """A file without a manifest."""
    if content_type.startswith("audio/"):
        (format,) = [name for name, kind in CONTENT_TYPES.items() if kind == content_type]
        return encode_audio(sine(200.0, 0.5), format)
    if content_type.startswith("image/"):
        return encode_picture(decode_picture(portrait(80)), content_type.removeprefix("image/"))  # type: ignore[arg-type]
    return film("mp4", "libx264") if content_type == "video/mp4" else film("webm", "libvpx")


def claim(content_type: str, target: bytes | None = None) -> OutputClaim:
    kind: Any = {"audio": "speech", "image": "picture", "video": "film"}[content_type.partition("/")[0]]
    parents = () if target is None else (Ingredient(hashlib.sha256(target).hexdigest(), content_type),)
    return OutputClaim(kind, "job_1", "consent_1", 0xDEADBEEF, {"vocoder": "v1"}, parents)


@dataclass(frozen=True)
class Signed:
    content: bytes
    sidecar: bytes | None
    plain: bytes


@pytest.fixture(scope="module")
def signer() -> ManifestSigner:
    return ManifestSigner(load_signing_key(make_development_certificate()))


@pytest.fixture(scope="module")
def trusted(signer: ManifestSigner) -> TrustedCertificates:
    return load_trusted_certificates(signer.key.certificates[0], Path("/nowhere"))


@pytest.fixture(scope="module", params=FORMATS)
def signed(request: pytest.FixtureRequest, signer: ManifestSigner) -> tuple[str, Signed]:
    content_type = request.param
    before = plain(content_type)
    made = signer.sign(before, content_type, claim(content_type, None if "audio" in content_type else before))
    assert isinstance(made.content, bytes)
    return content_type, Signed(made.content, made.sidecar, before)


def store_of(content_type: str, content: bytes, sidecar: bytes | None) -> dict[str, Any] | None:
    """What the library's reader says, with nothing of this project in between; None where it finds nothing."""
    context = c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False}})
    kind = content_type if sidecar is None else WHOLE_FILE
    try:
        reader = c2pa.Reader.try_create(kind, io.BytesIO(content), sidecar, context)
    except c2pa.C2paError:
        return None
    if reader is None:
        return None
    with reader:
        store: dict[str, Any] = json.loads(reader.json())
        return store


def test_every_format_has_a_manifest_that_the_librarys_reader_finds_valid(signed: tuple[str, Signed]) -> None:
    content_type, made = signed
    store = store_of(content_type, made.content, made.sidecar)
    assert store is not None and store["validation_state"] == "Valid"
    (active,) = store["manifests"].values()
    assertions = {item["label"]: item["data"] for item in active["assertions"]}
    is_speech = content_type.startswith("audio/")
    made_by = assertions["c2pa.actions.v2"]["actions"][-1]
    assert made_by["digitalSourceType"] == (SPEECH_SOURCE if is_speech else SWAP_SOURCE)
    assert made_by["action"] == ("c2pa.created" if is_speech else "c2pa.edited")
    told = assertions[PROVENANCE_LABEL]
    assert (told["job"], told["consent"], told["mark"]) == ("job_1", "consent_1", 0xDEADBEEF)
    assert assertions["c2pa.soft-binding"]["blocks"][0]["value"] == "deadbeef"
    if not is_speech:
        (parent,) = active["ingredients"]
        assert parent["relationship"] == "parentOf"
        assert parent["instance_id"] == f"urn:sha256:{hashlib.sha256(made.plain).hexdigest()}"


def test_it_is_inside_where_the_container_has_a_place_and_else_beside(signed: tuple[str, Signed]) -> None:
    content_type, made = signed
    assert (content_type in EMBEDDING) == (content_type not in SIDECARS)
    if content_type in SIDECARS:
        assert made.sidecar is not None and made.content == made.plain
    else:
        assert made.sidecar is None and made.content != made.plain


def test_what_is_heard_and_seen_stays_the_same(signed: tuple[str, Signed]) -> None:
    content_type, made = signed
    if content_type == "audio/pcm":
        assert made.content == made.plain
    elif content_type.startswith("audio/"):
        before, after = decode_audio(made.plain), decode_audio(made.content)
        assert np.array_equal(before.samples, after.samples)
    elif content_type.startswith("image/"):
        assert np.array_equal(decode_picture(made.plain), decode_picture(made.content))
    else:
        frames = [
            [frame.to_ndarray() for frame in av.open(io.BytesIO(content), "r").decode(video=0)]
            for content in (made.plain, made.content)
        ]
        assert len(frames[0]) == 10 and np.array_equal(frames[0], frames[1])


def test_changed_bytes_are_reported(signed: tuple[str, Signed], trusted: TrustedCertificates, tmp_path: Path) -> None:
    """Every change of the sound or picture; of the manifest itself all but padding, which the hash of the file has."""
    content_type, made = signed
    chance = random.Random(7)
    path = tmp_path / "file"
    start = made.content.find(b"jumb") - 4 if made.sidecar is None else len(made.content)
    outside = [*range(64, start), *range(start + 6_000, len(made.content))]
    if made.sidecar is None and start < 5_000:  # the manifest comes first
        outside = list(range(len(made.content) - len(made.plain) + 200, len(made.content)))
    for place in chance.sample(outside, min(30, len(outside))):
        changed = bytearray(made.content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        report = read_manifest(path, content_type, trusted, made.sidecar)
        assert report.state == "broken" or (report.state == "absent" and place < 200), (place, report)
        assert report.provenance == {}, "nothing is believed that does not fit"


def test_a_changed_claim_is_reported(signed: tuple[str, Signed], trusted: TrustedCertificates, tmp_path: Path) -> None:
    content_type, made = signed
    path = tmp_path / "file"
    for word in (b"consent_1", b"trainedAlgorithmicMedia" if "audio" in content_type else b"compositeWith", b"vocoder"):
        holder = made.content if made.sidecar is None else made.sidecar
        assert holder.count(word) >= 1, word
        forged = holder.replace(word, bytes([word[0] ^ 1]) + word[1:])
        path.write_bytes(forged if made.sidecar is None else made.content)
        report = read_manifest(path, content_type, trusted, None if made.sidecar is None else forged)
        assert report.state == "broken" and report.problems, word


def test_manifests_of_others_are_told_from_our_own(
    signer: ManifestSigner, trusted: TrustedCertificates, tmp_path: Path
) -> None:
    other = ManifestSigner(load_signing_key(make_development_certificate()))
    path = tmp_path / "file.wav"
    for by, who in ((signer, "own"), (other, "unknown")):
        made = by.sign(plain("audio/wav"), "audio/wav", claim("audio/wav"))
        assert isinstance(made.content, bytes)
        path.write_bytes(made.content)
        report = read_manifest(path, "audio/wav", trusted)
        assert (report.state, report.signer, report.development) == ("valid", who, True)
        assert bool(report.provenance) == (who == "own")
    authority = other.key.certificates[1].public_bytes(serialization.Encoding.PEM)
    (tmp_path / "trust").mkdir()
    (tmp_path / "trust" / "their-authority.pem").write_bytes(authority)
    with_theirs = load_trusted_certificates(signer.key.certificates[0], tmp_path / "trust")
    assert read_manifest(path, "audio/wav", with_theirs).signer == "trusted"
    (tmp_path / "trust" / "our-old-one.pem").write_bytes(
        other.key.certificates[0].public_bytes(serialization.Encoding.PEM)
    )
    rotated = load_trusted_certificates(signer.key.certificates[0], tmp_path / "trust")
    assert read_manifest(path, "audio/wav", rotated).signer == "own"


def test_a_manifest_elsewhere_is_not_fetched(
    signer: ManifestSigner, trusted: TrustedCertificates, tmp_path: Path
) -> None:
    """A file may name an address: whoever reads it must not be made to ask there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        definition = manifest_definition(claim("audio/wav"), "image/png")
        builder = c2pa.Builder(definition, context=c2pa.Context.from_dict({"verify": OFFLINE}))
        builder.set_no_embed()
        builder.set_remote_url(address)
        target = io.BytesIO()
        with signer.key.make_signer() as own:
            builder.sign(own, "image/png", io.BytesIO(plain("image/png")), target)
        assert address.encode() in target.getvalue()
        (tmp_path / "file.png").write_bytes(target.getvalue())
        report = read_manifest(tmp_path / "file.png", "image/png", trusted)
        made = signer.sign(plain("image/jpeg"), "image/jpeg", claim_with_parent(target.getvalue()))
        assert isinstance(made.content, bytes)
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.accept()
    assert report.state == "absent"


def claim_with_parent(content: bytes) -> OutputClaim:
    parent = Ingredient(hashlib.sha256(content).hexdigest(), "image/png", content=content)
    return OutputClaim("picture", "job_2", "consent_2", 2, {}, (parent,))


def test_a_target_hands_its_own_manifest_on(signer: ManifestSigner) -> None:
    first = signer.sign(plain("image/png"), "image/png", claim("image/png")).content
    assert isinstance(first, bytes)
    second = signer.sign(plain("image/jpeg"), "image/jpeg", claim_with_parent(first)).content
    assert isinstance(second, bytes)
    store = store_of("image/jpeg", second, None)
    assert store is not None and store["validation_state"] == "Valid" and len(store["manifests"]) == 2


@pytest.mark.parametrize("damage", ["no store", "cut off", "another kind", "nothing"])
def test_of_a_target_with_a_damaged_manifest_the_hash_goes_on(signer: ManifestSigner, damage: str) -> None:
    first = signer.sign(plain("image/png"), "image/png", claim("image/png")).content
    assert isinstance(first, bytes)
    damaged = {
        "no store": first.replace(b"jumdc2as", b"jumdxxxx"),
        "cut off": first[: len(first) // 2],
        "another kind": plain("image/jpeg"),
        "nothing": b"",
    }[damage]
    made = signer.sign(plain("image/jpeg"), "image/jpeg", claim_with_parent(damaged)).content
    assert isinstance(made, bytes)
    store = store_of("image/jpeg", made, None)
    assert store is not None and store["validation_state"] == "Valid"
    (parent,) = store["manifests"][store["active_manifest"]]["ingredients"]
    assert parent["instance_id"] == f"urn:sha256:{hashlib.sha256(damaged).hexdigest()}"


def test_large_films_are_signed_as_files(signer: ManifestSigner, trusted: TrustedCertificates, tmp_path: Path) -> None:
    for content_type, name in (("video/mp4", "film.mp4"), ("video/webm", "film.webm")):
        path = tmp_path / name
        content = plain(content_type)
        path.write_bytes(content)
        made = signer.sign(path, content_type, claim(content_type))
        assert isinstance(made.content, Path)
        assert path.read_bytes() == content, "the unsigned file is left alone"
        assert (made.content == path) == (made.sidecar is not None)
        assert read_manifest(made.content, content_type, trusted, made.sidecar).signer == "own"


def test_what_was_sent_already_gets_its_manifest_beside_it(
    signer: ManifestSigner, trusted: TrustedCertificates, tmp_path: Path
) -> None:
    content = plain("audio/mpeg")
    made = signer.sign(content, "audio/mpeg", claim("audio/mpeg"), detached=True)
    assert made.content == content and made.sidecar is not None
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_manifest(path, "audio/mpeg", trusted, made.sidecar).signer == "own"
    path.write_bytes(content[:-1])
    assert read_manifest(path, "audio/mpeg", trusted, made.sidecar).state == "broken"


def test_what_cannot_be_signed_is_not_released(signer: ManifestSigner, tmp_path: Path) -> None:
    with pytest.raises(LikenessError) as caught:
        signer.sign(b"this is no film", "video/mp4", claim("video/mp4"))
    assert caught.value.reason == "MANIFEST_FAILED"
    with pytest.raises(LikenessError) as caught:
        signer.sign(tmp_path / "not-there.mp4", "video/mp4", claim("video/mp4"))
    assert caught.value.reason == "MANIFEST_FAILED"


def test_the_development_certificate_says_so_and_its_authority_cannot_sign_again() -> None:
    pem = make_development_certificate()
    key = load_signing_key(pem)
    assert key.is_development
    signer, authority = key.certificates
    for certificate in (signer, authority):
        (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert str(name.value).startswith(DEVELOPMENT)
    signer.verify_directly_issued_by(authority)
    assert pem.count(b"PRIVATE KEY-----") == 2, "the beginning and end of one key: the signer's"
    assert load_signing_key(make_development_certificate()).certificates[1] != authority


def signer_elsewhere(data: bytes) -> bytes:
    """Stands for a key in hardware."""
    signature = ELSEWHERE.sign(data, ec.ECDSA(hashes.SHA256()))
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))


MADE_FOR_ELSEWHERE = make_development_certificate()
ELSEWHERE: Any = serialization.load_pem_private_key(MADE_FOR_ELSEWHERE, None)


def test_a_function_may_sign_with_a_key_that_is_elsewhere(tmp_path: Path) -> None:
    certificates = MADE_FOR_ELSEWHERE[MADE_FOR_ELSEWHERE.index(b"-----BEGIN CERTIFICATE") :]
    key = load_signing_key(certificates, load_function(f"{__name__}:signer_elsewhere"))
    assert key.private_pem is None
    made = ManifestSigner(key).sign(plain("audio/wav"), "audio/wav", claim("audio/wav"))
    assert isinstance(made.content, bytes)
    (tmp_path / "file").write_bytes(made.content)
    trusted = load_trusted_certificates(key.certificates[0], Path("/nowhere"))
    assert read_manifest(tmp_path / "file", "audio/wav", trusted).signer == "own"


def test_unfit_keys_are_refused_at_the_start() -> None:
    good = make_development_certificate()
    key, chain = good[: good.index(b"-----BEGIN CERT")], good[good.index(b"-----BEGIN CERT") :]
    other = make_development_certificate()
    foreign = other[: other.index(b"-----BEGIN CERT")]
    unlike = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for pem in (b"", key, chain, foreign + chain, unlike + chain, b"nonsense"):
        with pytest.raises(KeysError):
            load_signing_key(pem)
    with pytest.raises(KeysError):
        load_function("services.gateway.no_such_module:sign")


@pytest.fixture(scope="module")
def keyed() -> Iterator[KeyedGateway]:
    with tempfile.TemporaryDirectory() as folder:
        made = KeyedGateway(Path(folder))
        yield made
        made.close()


def released(keyed: KeyedGateway, tenant: str, job_id: str) -> tuple[SignedOutput, Media]:
    content = plain("audio/ogg")
    made = sign_output(keyed.gateway, content, "audio/ogg", claim=claim("audio/ogg"))
    media = publish(keyed.gateway, content, tenant=tenant, content_type="audio/ogg", purpose="speech", job_id=job_id)
    assert made.sidecar is not None
    store_sidecar(keyed.gateway, tenant, job_id, made.sidecar, "audio/ogg")
    return made, media


def test_a_manifest_beside_a_file_is_found_by_it_and_goes_with_it(keyed: KeyedGateway) -> None:
    tenant, other = keyed.tenant("sidecars"), keyed.tenant("strangers")
    made, media = released(keyed, "sidecars", "job_sidecar")
    path = f"/v1/media/{media.id}/manifest"
    answer = tenant.get(path)
    assert (answer.status_code, answer.content_type, answer.data) == (200, "application/c2pa", made.sidecar)
    assert tenant.get(f"/v1/media/{media.id}").headers["Link"].startswith("</v1/jobs/job_sidecar/manifest>; ")
    assert ".ogg.c2pa" in answer.headers["Content-Disposition"]
    assert other.get(path).status_code == 404
    assert tenant.delete(f"/v1/media/{media.id}").status_code == 200
    assert tenant.get("/v1/media?purpose=manifest").get_json()["data"] == []
    assert not [item.key for item in keyed.gateway.store.keys("media/sidecars/")]


def test_a_manifest_that_is_made_again_replaces_the_first(keyed: KeyedGateway) -> None:
    tenant = keyed.tenant("again")
    released(keyed, "again", "job_again")
    made, media = released(keyed, "again", "job_again")
    assert tenant.get(f"/v1/media/{media.id}/manifest").data == made.sidecar
    beside = [item.key for item in keyed.gateway.store.keys("media/again/") if item.key.endswith(".c2pa")]
    assert len(beside) == 1


def test_a_file_that_carries_its_manifest_has_none_beside_it(keyed: KeyedGateway) -> None:
    tenant = keyed.tenant("inside")
    media = publish(
        keyed.gateway, plain("audio/wav"), tenant="inside", content_type="audio/wav", purpose="speech", job_id="job_x"
    )
    refused = tenant.get(f"/v1/media/{media.id}/manifest").get_json()
    assert refused["reason"] == "NOT_FOUND" and "inside" in refused["detail"]
