"""Networks that an operator brings along: checked, their licence accepted, copied below the models folder, recorded.

Nothing is downloaded. What was accepted, when, and the file's SHA-256 stand in `manifest.local.json`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import onnx

from services.common.errors import LikenessError
from services.common.models import ModelEntry, Registry, describe_file, file_sha256, register_model
from services.faceswap.engine import MeshEngine
from services.faceswap.neural_kinds import check_kind

FOLDER: Final = "local"  # below the models folder; ignored by git
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Licences that everybody can look up and that allow every use; of all others the text must be shown.
WELL_KNOWN: Final = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "MIT"})


@dataclass(frozen=True)
class Offer:
    """A network as the operator describes it.

    Attributes:
        file: the ONNX file, anywhere on this machine.
        kind: one of `neural_kinds.KINDS`.
        license: SPDX identifier, or any other name of the licence.
        license_text: file with the licence's text; needed unless the licence is a well-known free one.
        source: where the file comes from.
        data: what it was trained on, as far as the operator knows.
        parameters: how its input is made, see `neural_kinds.KINDS`.
    """

    name: str
    file: Path
    kind: str
    license: str
    source: str
    data: str = "not known"
    license_text: Path | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


def terms(offer: Offer) -> str:
    """What the operator has to agree to: the statement about the file, and the licence's text where there is one.

    Raises:
        LikenessError: INVALID_FIELD when a text is needed and missing.
    """
    statement = f"{offer.file.name} ({offer.kind}), from {offer.source}, under the licence {offer.license}."
    if offer.license_text is None:
        if offer.license not in WELL_KNOWN:
            detail = (
                f"{offer.license!r} is not one of {', '.join(sorted(WELL_KNOWN))}; give its text with --license-text."
            )
            raise LikenessError("INVALID_FIELD", detail, field="license_text")
        return statement
    try:
        return f"{statement}\n\n{offer.license_text.read_text('utf-8').strip()}"
    except (OSError, UnicodeDecodeError) as error:
        detail = f"The licence text {offer.license_text} cannot be read: {error}"
        raise LikenessError("INVALID_FIELD", detail, field="license_text") from error


def accepted_before(models_dir: Path, offer: Offer) -> bool:
    """Whether this very file was registered under the same licence, with the same text, and accepted."""
    registry = Registry(models_dir)
    if offer.name not in registry.names():
        return False
    entry = registry.entry(offer.name)
    same_text = _stored_text(models_dir, entry) == (offer.license_text.read_text("utf-8") if offer.license_text else "")
    same = entry.license == offer.license and same_text and offer.file.is_file()
    return bool(entry.license_accepted) and same and entry.sha256 == file_sha256(offer.file)


def register(models_dir: Path, offer: Offer, *, accepted: bool) -> ModelEntry:
    """Copies the file (and its licence) into the models folder and records both; replaces a former one of the name.

    Raises:
        LikenessError: INVALID_FIELD for a bad name, kind, parameter, or a licence that was not accepted;
            MODEL_INVALID when the file is not a network of the kind.
    """
    parsed = check(models_dir, offer)
    text = terms(offer)
    if not accepted and not accepted_before(models_dir, offer):
        detail = f"The licence {offer.license!r} was not accepted, so {offer.name!r} was not registered."
        raise LikenessError("INVALID_FIELD", detail, field="accept_license")
    folder = models_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stored = _placed(offer.file, folder / f"{offer.name}.onnx")
    license_file = None
    if offer.license_text is not None:
        license_file = f"{FOLDER}/{offer.name}.license.txt"
        _placed(offer.license_text, models_dir / license_file)
    entry = describe_file(
        stored,
        name=offer.name,
        models_dir=models_dir,
        license=offer.license,
        source=offer.source,
        data=offer.data,
        kind=offer.kind,
        license_file=license_file,
        license_accepted=datetime.now(UTC).isoformat(timespec="seconds") if text else None,
        parameters=parsed,
    )
    register_model(models_dir, entry, local=True)
    return entry


def check(models_dir: Path, offer: Offer) -> dict[str, Any]:
    """Everything about an offer but its licence; gives the parameters, parsed. Raises as `register` does."""
    check_name(Registry(models_dir), offer.name)
    if offer.file.suffix != ".onnx" or not offer.file.is_file():
        detail = f"{offer.file} is not an .onnx file; PyTorch checkpoints must be exported to ONNX first."
        raise LikenessError("MODEL_INVALID", detail)
    _check_whole(offer.file)
    return check_kind(offer.file, offer.kind, offer.parameters)


def _check_whole(file: Path) -> None:
    """Refuses a network that names other files: they would not be hashed, and could be any on this machine."""
    try:
        graph = onnx.load(str(file), load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError, of which it has several
        raise LikenessError("MODEL_INVALID", f"{file.name} cannot be read as an ONNX network: {error}") from error
    constants = [attribute.t for node in graph.node for attribute in node.attribute]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in [*graph.initializer, *constants]):
        detail = f"{file.name} keeps weights in other files; save it as one file (onnx.save_model does so)."
        raise LikenessError("MODEL_INVALID", detail)


def check_name(registry: Registry, name: str) -> None:
    """Raises LikenessError INVALID_FIELD or ALREADY_EXISTS when a model of one's own cannot be called so."""
    if not NAME.fullmatch(name) or name == MeshEngine.name:
        detail = f"{name!r} cannot be a model's name; use small letters, digits, dots and dashes."
        raise LikenessError("INVALID_FIELD", detail, field="name")
    if name in registry.names() and registry.entry(name).kind is None:
        detail = f"{name!r} is a model that the platform itself uses; take another name."
        raise LikenessError("ALREADY_EXISTS", detail, field="name")


def _stored_text(models_dir: Path, entry: ModelEntry) -> str:
    path = models_dir / entry.license_file if entry.license_file else None
    return path.read_text("utf-8") if path and path.is_file() else ""


def _placed(file: Path, place: Path) -> Path:
    """A copy of a file at its place, never half of it; the file itself where it lies there already."""
    if file.resolve() != place.resolve():
        partial = place.with_name(f".{place.name}.part")
        shutil.copyfile(file, partial)
        partial.replace(place)
    return place
