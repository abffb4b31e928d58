"""Measures manifests: whether the library's own reader finds them valid, whether changed bytes are reported, the cost.

    python -m benchmarks.provenance_manifests --json [--files 8] [--changes 60]

Every format that the API offers, files of several lengths and sizes. A change is one bit of the file, anywhere, also in
the manifest in it. `reported_by_reader` is what any reader of C2PA can know; `reported` is what verification answers,
which compares the whole file with the hash that was recorded when it was released.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from benchmarks.machine import describe_machine
from services.common.c2pa_certificate import make_development_certificate
from services.common.encode_audio import CONTENT_TYPES, encode_audio
from services.gateway.provenance import Ingredient, ManifestSigner, OutputClaim, SignedOutput, load_signing_key
from services.gateway.provenance.reading import TrustedCertificates, load_trusted_certificates, read_manifest

RATE_HZ: Final = 16_000
PICTURES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
FILMS: Final = {"video/mp4": ("mp4", "libx264"), "video/webm": ("webm", "libvpx")}
FORMATS: Final = (*CONTENT_TYPES.values(), *PICTURES, *FILMS)
Random = np.random.Generator


def made(content_type: str, random: Random) -> bytes:
    """A file of noise, of random length or size."""
    if content_type in PICTURES:
        height, width = random.integers(48, 400, 2)
        done, data = cv2.imencode(PICTURES[content_type], random.integers(0, 255, (height, width, 3), np.uint8))
        if not done:
            raise RuntimeError(f"no encoder for {content_type}")
        return bytes(data)
    if content_type in FILMS:
        return _film(*FILMS[content_type], random)
    (format,) = [name for name, kind in CONTENT_TYPES.items() if kind == content_type]
    samples = 0.1 * random.standard_normal(int(RATE_HZ * random.uniform(0.5, 5.0)))
    return encode_audio(samples.astype(np.float32), format)


def _film(container: str, codec: str, random: Random) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(int(random.integers(5, 25))):
            picture = random.integers(0, 255, (96, 160, 3), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        output.mux(stream.encode())
    return file.getvalue()


def measure(files: int = 8, changes: int = 60, seed: int = 7) -> dict[str, Any]:
    """Shares over `files` of each format, and `changes` bits of each.

    Returns:
        "c2pa_valid_share", "changed_bytes_reported_share", "changed_bytes_reported_by_reader_share", "files",
        "changes", and of each format "signing_ms" (the least, processor time) and "place".
    """
    random = np.random.default_rng(seed)
    signer = ManifestSigner(load_signing_key(make_development_certificate()))
    trusted = load_trusted_certificates(signer.key.certificates[0], Path())
    valid, told, told_by_reader, tried = 0, 0, 0, 0
    formats: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for content_type in FORMATS:
            least_s = float("inf")
            for number in range(files):
                plain = made(content_type, random)
                claim = _claim(content_type, plain, number)
                begun = time.process_time()
                signed = signer.sign(plain, content_type, claim)
                least_s = min(least_s, time.process_time() - begun)
                content = signed.content
                if not isinstance(content, bytes):
                    raise TypeError("bytes were signed, and a path came back")
                path.write_bytes(content)
                valid += read_manifest(path, content_type, trusted, signed.sidecar).signer == "own"
                for _ in range(changes):
                    by_reader, by_hash = _is_reported(path, content_type, trusted, content, signed, random)
                    told_by_reader += by_reader
                    told += by_reader or by_hash
                    tried += 1
            place = "beside" if signed.sidecar else "inside"
            formats[content_type] = {"signing_ms": round(1000 * least_s, 2), "place": place}
    return {
        "c2pa_valid_share": valid / (files * len(FORMATS)),
        "changed_bytes_reported_share": told / tried,
        "changed_bytes_reported_by_reader_share": round(told_by_reader / tried, 4),
        "files": files * len(FORMATS),
        "changes": tried,
        "formats": formats,
    }


def _claim(content_type: str, plain: bytes, number: int) -> OutputClaim:
    if content_type.startswith("audio/"):
        return OutputClaim("speech", f"job_{number}", "consent_1", number + 1)
    parent = Ingredient(hashlib.sha256(plain).hexdigest(), content_type)
    kind: Any = "film" if content_type in FILMS else "picture"
    return OutputClaim(kind, f"job_{number}", "consent_1", number + 1, ingredients=(parent,))


def _is_reported(
    path: Path,
    content_type: str,
    trusted: TrustedCertificates,
    content: bytes,
    signed: SignedOutput,
    random: Random,
) -> tuple[bool, bool]:
    """Whether the reader, and whether the hash of the file tells of one changed bit of the file."""
    place = int(random.integers(len(content)))
    changed = bytearray(content)
    changed[place] ^= 1 << int(random.integers(8))
    path.write_bytes(changed)
    by_reader = read_manifest(path, content_type, trusted, signed.sidecar).signer != "own"
    return by_reader, hashlib.sha256(changed).digest() != hashlib.sha256(content).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--files", type=int, default=8, help="of each format")
    parser.add_argument("--changes", type=int, default=60, help="of each file")
    options = parser.parse_args()
    report = {"machine": describe_machine(), **measure(options.files, options.changes)}
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
        return
    print(f"valid: {report['c2pa_valid_share']:.1%} of {report['files']} files")
    print(
        f"changed bits reported: {report['changed_bytes_reported_share']:.2%} of {report['changes']}, by the reader "
        f"alone {report['changed_bytes_reported_by_reader_share']:.2%}"
    )
    for name, told in report["formats"].items():
        print(f"{name}: {told['place']}, {told['signing_ms']} ms")


if __name__ == "__main__":
    main()
