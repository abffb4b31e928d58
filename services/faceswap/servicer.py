"""FaceSwapService: messages to the swapper and back, nothing else."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc, types_pb2
from services.common.decode_picture import decode_picture, encode_picture
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.store import media_reference, open_store, read_reference
from services.faceswap.detector import Picture
from services.faceswap.finder import Face
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper, SwapOptions, SwappedFace

MAX_PICTURE_BYTES: Final = 50 * 1024 * 1024
MAX_INLINE_BYTES: Final = 1024 * 1024
_SELECTIONS: Final = {
    faceswap_pb2.FACE_SELECTION_UNSPECIFIED: "largest",
    faceswap_pb2.FACE_SELECTION_LARGEST: "largest",
    faceswap_pb2.FACE_SELECTION_ALL: "all",
}
_FORMATS: Final = {
    faceswap_pb2.PICTURE_FORMAT_UNSPECIFIED: "png",
    faceswap_pb2.PICTURE_FORMAT_PNG: "png",
    faceswap_pb2.PICTURE_FORMAT_JPEG: "jpeg",
    faceswap_pb2.PICTURE_FORMAT_WEBP: "webp",
}


class FaceSwapServicer(faceswap_pb2_grpc.FaceSwapServiceServicer):
    """Implements `likeness.v1.FaceSwapService`."""

    def __init__(self, settings: FaceSwapSettings) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._swapper: FaceSwapper | None = None

    def load(self) -> None:
        """Reads the models and looks at an empty picture with them.

        Raises:
            LikenessError: MODEL_INVALID.
        """
        cv2.setNumThreads(max(1, self._settings.threads))
        swapper = FaceSwapper.load(Registry(self._settings.models_dir), threads=self._settings.threads)
        swapper.warm_up()
        self._swapper = swapper

    @property
    def _loaded(self) -> FaceSwapper:
        if self._swapper is None:
            raise LikenessError("MODEL_LOADING", "The face models are still loading.", retry_after_s=1.0)
        return self._swapper

    def DetectFaces(self, request: faceswap_pb2.DetectFacesRequest, context: Any) -> faceswap_pb2.DetectFacesResponse:
        swapper = self._loaded
        picture = self._read(request.picture, "picture")
        faces = swapper.find(picture)
        height, width = picture.shape[:2]
        response = faceswap_pb2.DetectFacesResponse(width_px=width, height_px=height)
        for face in faces:
            message = _face_message(face)
            if request.with_descriptors:
                message.descriptor.extend(swapper.descriptor(picture, face).tolist())
            response.faces.append(message)
        return response

    def SwapPicture(self, request: faceswap_pb2.SwapPictureRequest, context: Any) -> faceswap_pb2.SwapPictureResponse:
        swapper = self._loaded
        options = _options(request.options)
        if request.options.format not in _FORMATS:
            raise LikenessError("INVALID_FIELD", "Unknown picture format.", field="options.format")
        source = self._read(request.source, "source")
        target = self._read(request.target, "target")
        swap = swapper.swap(source, target, options)
        picture_format = _FORMATS[request.options.format]
        encoded = encode_picture(swap.picture, picture_format)  # type: ignore[arg-type]
        height, width = swap.picture.shape[:2]
        return faceswap_pb2.SwapPictureResponse(
            result=self._deliver(encoded, f"image/{picture_format}", request.destination),
            faces=[_swapped_message(face) for face in swap.faces],
            width_px=width,
            height_px=height,
        )

    def _read(self, picture: faceswap_pb2.Picture, field: str) -> Picture:
        content = picture.WhichOneof("content")
        if content is None:
            raise LikenessError("INVALID_FIELD", f"{field} is missing: send it inline or name a file.", field=field)
        if content == "media":
            data = read_reference(self._store, picture.media, MAX_PICTURE_BYTES, field=f"{field}.media")
        else:
            data = picture.encoded
            if len(data) > MAX_INLINE_BYTES:
                detail = f"{field} has {len(data)} bytes; send at most {MAX_INLINE_BYTES}, or name a stored file."
                raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
        return np.asarray(decode_picture(data, field=field))

    def _deliver(
        self, encoded: bytes, content_type: str, destination: types_pb2.MediaReference
    ) -> faceswap_pb2.Picture:
        """Into the store where a key was given, else inline."""
        if destination.key:
            if destination.bucket not in ("", self._store.bucket):
                detail = f"The bucket must be {self._store.bucket!r}, got {destination.bucket!r}."
                raise LikenessError("INVALID_FIELD", detail, field="destination.bucket")
            stored = self._store.put(destination.key, encoded, content_type)
            return faceswap_pb2.Picture(media=media_reference(self._store, stored))
        if len(encoded) > MAX_INLINE_BYTES:
            detail = f"The result has {len(encoded)} bytes, too many to return inline; give a destination."
            raise LikenessError("INVALID_FIELD", detail, field="destination")
        return faceswap_pb2.Picture(encoded=encoded)


def _options(message: faceswap_pb2.SwapOptions) -> SwapOptions:
    if message.selection not in _SELECTIONS:
        raise LikenessError("INVALID_FIELD", "Unknown selection of faces.", field="options.selection")
    given = {name: getattr(message, name) for name in ("shape_strength", "feather") if message.HasField(name)}
    return SwapOptions(selection=_SELECTIONS[message.selection], **given)  # type: ignore[arg-type]


def _face_message(face: Face) -> faceswap_pb2.Face:
    seen = face.detection
    return faceswap_pb2.Face(
        box=faceswap_pb2.Box(left=seen.left, top=seen.top, width=seen.width, height=seen.height),
        score=seen.score,
        keypoints=[faceswap_pb2.Point(x=x, y=y) for x, y in seen.keypoints.tolist()],
    )


def _swapped_message(swapped: SwappedFace) -> faceswap_pb2.SwappedFace:
    return faceswap_pb2.SwappedFace(
        target=_face_message(swapped.face),
        distance_to_source=swapped.distance_to_source,
        distance_to_target=swapped.distance_to_target,
    )
