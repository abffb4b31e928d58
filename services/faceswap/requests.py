"""Messages -> pictures, people and how they are put on. Every refusal names the field of the message at fault."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.decode_picture import PictureFormat, decode_picture
from services.common.errors import LikenessError
from services.common.grants import file_template, require_template
from services.common.store import ObjectStore, read_reference
from services.faceswap.detector import Picture
from services.faceswap.face_engine import FaceEngine, FaceRegion, Look
from services.faceswap.kept import Kept
from services.faceswap.selection import Person, Selection, Selector
from services.faceswap.swapper import MAX_SOURCES, FaceSwapper

MAX_PICTURE_BYTES: Final = 50 * 1024 * 1024
MAX_INLINE_BYTES: Final = 1024 * 1024
MAX_PEOPLE: Final = 16
_SELECTIONS: Final[dict[int, Selection]] = {
    faceswap_pb2.FACE_SELECTION_UNSPECIFIED: "largest",
    faceswap_pb2.FACE_SELECTION_LARGEST: "largest",
    faceswap_pb2.FACE_SELECTION_ALL: "all",
    faceswap_pb2.FACE_SELECTION_INDEX: "index",
    faceswap_pb2.FACE_SELECTION_REFERENCE: "reference",
}
_REGIONS: Final[dict[int, FaceRegion]] = {
    faceswap_pb2.FACE_REGION_SKIN: "skin",
    faceswap_pb2.FACE_REGION_BROWS: "brows",
    faceswap_pb2.FACE_REGION_EYES: "eyes",
    faceswap_pb2.FACE_REGION_NOSE: "nose",
    faceswap_pb2.FACE_REGION_MOUTH: "mouth",
}
_FORMATS: Final[dict[int, PictureFormat]] = {
    faceswap_pb2.PICTURE_FORMAT_UNSPECIFIED: "png",
    faceswap_pb2.PICTURE_FORMAT_PNG: "png",
    faceswap_pb2.PICTURE_FORMAT_JPEG: "jpeg",
    faceswap_pb2.PICTURE_FORMAT_WEBP: "webp",
}


def read_look(options: faceswap_pb2.SwapOptions) -> Look:
    """How faces are put on. Raises INVALID_FIELD, naming the option."""
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("shape_strength", "feather", "keep_occluders")
        if options.HasField(name)
    }
    if options.regions:
        for number, region in enumerate(options.regions):
            if region not in _REGIONS:
                raise _invalid(f"options.regions[{number}]", "Unknown region of the face.")
        given["regions"] = frozenset(_REGIONS[region] for region in options.regions)
    return Look(**given)


def read_format(options: faceswap_pb2.SwapOptions) -> PictureFormat:
    """The format of the result; PNG unless said. Raises INVALID_FIELD."""
    if options.format not in _FORMATS:
        raise _invalid("options.format", "Unknown picture format.")
    return _FORMATS[options.format]


class RequestReader:
    """Reads what messages name, with the store for media by reference and a cache of prepared people."""

    def __init__(self, swapper: FaceSwapper, store: ObjectStore, people: Kept[Person]) -> None:
        self._swapper = swapper
        self._store = store
        self._people = people

    def picture(self, message: faceswap_pb2.Picture, field: str) -> Picture:
        """Upright BGR pixels. Raises INVALID_FIELD, NOT_FOUND, MEDIA_* and what the store fails with."""
        return _decoded(read_file(self._store, message, field), field)

    def people_of_picture(self, request: faceswap_pb2.SwapPictureRequest) -> list[Person]:
        """Of the assignments, or of `source` with the options' selection."""
        if not request.assignments:
            selection = _SELECTIONS.get(request.options.selection)
            if selection not in ("largest", "all"):
                detail = "Expected the largest or all; anything else is said by assignments."
                raise _invalid("options.selection", detail)
            with fields_renamed({"sources[0]": "source"}):
                data = read_file(self._store, request.source, "source")
                require_template(file_template(data), field="source")
                return [self._person([data], Selector(selection), request.options)]
        if request.HasField("source"):
            raise _invalid("source", "Give either a source or assignments, not both.")
        return self.people(request.assignments, request.options)

    def people(
        self, assignments: Sequence[faceswap_pb2.FaceAssignment], options: faceswap_pb2.SwapOptions
    ) -> list[Person]:
        """Everybody who is put onto faces, in the order of the assignments, with their selectors."""
        if not 1 <= len(assignments) <= MAX_PEOPLE:
            raise _invalid("assignments", f"Expected 1 to {MAX_PEOPLE} assignments, got {len(assignments)}.")
        people = []
        for number, assignment in enumerate(assignments):
            field = f"assignments[{number}]"
            if not 1 <= len(assignment.sources) <= MAX_SOURCES:
                detail = f"Give 1 to {MAX_SOURCES} pictures of a person, got {len(assignment.sources)}."
                raise _invalid(f"{field}.sources", detail)
            files = [
                read_file(self._store, source, f"{field}.sources[{index}]")
                for index, source in enumerate(assignment.sources)
            ]
            for index, data in enumerate(files):
                require_template(file_template(data), field=f"{field}.sources[{index}]")
            selector = self._selector(assignment.faces, f"{field}.faces")
            with fields_below(field, ("sources",)):
                people.append(self._person(files, selector, options))
        return people

    def _selector(self, message: faceswap_pb2.FaceSelector, field: str) -> Selector:
        selection = _SELECTIONS.get(message.selection)
        if selection is None:
            raise _invalid(f"{field}.selection", "Unknown selection of faces.")
        given: dict[str, Any] = {"threshold": message.threshold} if message.HasField("threshold") else {}
        if selection == "reference":
            picture = self.picture(message.reference, f"{field}.reference")
            given["reference"] = self._swapper.describe(picture, field=f"{field}.reference")
        with fields_below(field, ("index", "threshold", "reference")):
            return Selector(selection, message.index, **given)

    def _person(self, files: Sequence[bytes], selector: Selector, options: faceswap_pb2.SwapOptions) -> Person:
        """From encoded pictures; prepared anew only when they, or the engine, are not those of somebody kept."""
        engine = self._swapper.engines.load(options.engine, pixel_boost=options.pixel_boost, enhancer=options.enhancer)
        return replace(self._prepared(files, engine), selector=selector)

    def _prepared(self, files: Sequence[bytes], engine: FaceEngine) -> Person:
        def make() -> Person:
            pictures = [_decoded(data, f"sources[{number}]") for number, data in enumerate(files)]
            return self._swapper.person(pictures, engine=engine)

        hashes = tuple(hashlib.sha256(data).digest() for data in files)
        return self._people.get((id(engine), hashes), make)  # engines live as long as the stage


def read_file(store: ObjectStore, message: faceswap_pb2.Picture, field: str) -> bytes:
    """The encoded picture, inline or by reference."""
    content = message.WhichOneof("content")
    if content is None:
        raise _invalid(field, f"{field} is missing: send it inline or name a file.")
    if content == "media":
        return read_reference(store, message.media, MAX_PICTURE_BYTES, field=f"{field}.media")
    if len(message.encoded) > MAX_INLINE_BYTES:
        detail = f"{field} has {len(message.encoded)} bytes; send at most {MAX_INLINE_BYTES}, or name a stored file."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    return message.encoded


def check_destination(store: ObjectStore, destination: types_pb2.MediaReference) -> None:
    """Raises INVALID_FIELD unless the bucket is this store's, or left open."""
    if destination.bucket not in ("", store.bucket):
        detail = f"The bucket must be {store.bucket!r}, got {destination.bucket!r}."
        raise LikenessError("INVALID_FIELD", detail, field="destination.bucket")


@contextmanager
def fields_renamed(names: dict[str, str]) -> Iterator[None]:
    """Errors raised within tell the field that the caller knows instead of the one in `names`."""
    try:
        yield
    except LikenessError as error:
        if error.field not in names:
            raise
        raise LikenessError(
            error.reason, error.detail, field=names[error.field], retry_after_s=error.retry_after_s
        ) from error


@contextmanager
def fields_below(field: str, names: Sequence[str]) -> Iterator[None]:
    """Errors raised within about one of the fields `names`, or a part of it, name it below `field`."""
    try:
        yield
    except LikenessError as error:
        if error.field is None or re.split(r"[.\[]", error.field)[0] not in names:
            raise
        named = f"{field}.{error.field}"
        raise LikenessError(error.reason, error.detail, field=named, retry_after_s=error.retry_after_s) from error


def _decoded(data: bytes, field: str) -> Picture:
    return np.asarray(decode_picture(data, field=field))


def _invalid(field: str, detail: str) -> LikenessError:
    return LikenessError("INVALID_FIELD", detail, field=field)
