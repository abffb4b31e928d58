"""FaceSwapService: messages to the swapper and back, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final

import cv2

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc, types_pb2
from services.common.decode_picture import encode_picture
from services.common.errors import LikenessError
from services.common.film import FilmInfo
from services.common.models import Registry
from services.common.store import media_reference, open_store
from services.faceswap import stage_metrics
from services.faceswap.finder import Face
from services.faceswap.kept import Kept, array_bytes
from services.faceswap.live_call import LiveCall, LiveLimits
from services.faceswap.marks import Marks
from services.faceswap.planes import warm_planes
from services.faceswap.pose import head_angles
from services.faceswap.requests import MAX_INLINE_BYTES, RequestReader, check_destination, read_format, read_look
from services.faceswap.segment_call import SegmentCall
from services.faceswap.selection import Person
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper, SwappedFace

_MIB: Final = 1024 * 1024
FILM_INFOS_KEPT: Final = 8


class FaceSwapServicer(faceswap_pb2_grpc.FaceSwapServiceServicer):
    """Implements `likeness.v1.FaceSwapService`."""

    def __init__(self, settings: FaceSwapSettings) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._swapper: FaceSwapper | None = None
        self._marks = Marks(None)
        self._people: Kept[Person] = Kept(settings.people_cache_mb * _MIB, array_bytes)
        self._film_infos: Kept[FilmInfo] = Kept(FILM_INFOS_KEPT)
        self._live_places = threading.BoundedSemaphore(settings.max_live_streams)
        self._draining = threading.Event()

    def load(self) -> None:
        """Reads the models and looks at an empty picture with them.

        Raises:
            LikenessError: MODEL_INVALID; MARK_FAILED when the key of marks is missing.
        """
        self._marks = Marks.load(self._settings)
        cv2.setNumThreads(max(1, self._settings.threads))
        swapper = FaceSwapper.load(
            Registry(self._settings.models_dir), threads=self._settings.threads, providers=self._settings.providers
        )
        swapper.warm_up()
        warm_planes()
        self._swapper = swapper

    def drain(self) -> None:
        """Ends live streams, which otherwise go on for as long as somebody watches."""
        self._draining.set()

    def _loaded(self) -> tuple[FaceSwapper, RequestReader]:
        if self._swapper is None:
            raise LikenessError("MODEL_LOADING", "The face models are still loading.", retry_after_s=1.0)
        return self._swapper, RequestReader(self._swapper, self._store, self._people)

    def DetectFaces(self, request: faceswap_pb2.DetectFacesRequest, context: Any) -> faceswap_pb2.DetectFacesResponse:
        swapper, reader = self._loaded()
        picture = reader.picture(request.picture, "picture")
        faces = swapper.find(picture)
        height, width = picture.shape[:2]
        response = faceswap_pb2.DetectFacesResponse(width_px=width, height_px=height)
        for face in faces:
            message = _face_message(face)
            if request.with_descriptors:
                message.descriptor.extend(swapper.descriptor(picture, face).tolist())
            if request.with_pose:
                angles = head_angles(face.mesh.points)
                message.pose.yaw_degrees = angles.yaw
                message.pose.pitch_degrees = angles.pitch
                message.pose.roll_degrees = angles.roll
                message.mesh.extend(face.mesh.points.ravel().tolist())
            response.faces.append(message)
        return response

    def SwapPicture(self, request: faceswap_pb2.SwapPictureRequest, context: Any) -> faceswap_pb2.SwapPictureResponse:
        swapper, reader = self._loaded()
        look, picture_format = read_look(request.options), read_format(request.options)
        check_destination(self._store, request.destination)
        people = reader.people_of_picture(request)
        target = reader.picture(request.target, "target")
        swap = swapper.swap_people(target, people, look, measure=not request.options.skip_distances)
        stage_metrics.faces_per_frame.labels(kind="picture").observe(len(swap.faces))
        encoded = encode_picture(self._marks.mark(swap.picture), picture_format)
        height, width = swap.picture.shape[:2]
        return faceswap_pb2.SwapPictureResponse(
            result=self._deliver(encoded, f"image/{picture_format}", request.destination),
            faces=[_swapped_message(face) for face in swap.faces],
            width_px=width,
            height_px=height,
        )

    def SwapSegment(
        self, request: faceswap_pb2.SwapSegmentRequest, context: Any
    ) -> Iterator[faceswap_pb2.SwapSegmentResponse]:
        swapper, reader = self._loaded()
        return SegmentCall(swapper, reader, self._store, self._film_infos, self._marks).responses(request, context)

    def SwapLive(
        self, request_iterator: Iterator[faceswap_pb2.SwapLiveRequest], context: Any
    ) -> Iterator[faceswap_pb2.SwapLiveResponse]:
        swapper, reader = self._loaded()
        if not self._live_places.acquire(blocking=False):
            detail = f"{self._settings.max_live_streams} live streams are open; this server takes no more."
            raise LikenessError("QUEUE_FULL", detail, retry_after_s=5.0)
        try:
            limits = LiveLimits(self._settings.live_idle_s, self._settings.live_max_s)
            call = LiveCall(swapper, reader, limits, self._draining.is_set, self._marks)
            yield from call.responses(request_iterator, context)
        finally:
            self._live_places.release()

    def _deliver(
        self, encoded: bytes, content_type: str, destination: types_pb2.MediaReference
    ) -> faceswap_pb2.Picture:
        """Into the store where a key was given, else inline."""
        if destination.key:
            stored = self._store.put(destination.key, encoded, content_type)
            return faceswap_pb2.Picture(media=media_reference(self._store, stored))
        if len(encoded) > MAX_INLINE_BYTES:
            detail = f"The result has {len(encoded)} bytes, too many to return inline; give a destination."
            raise LikenessError("INVALID_FIELD", detail, field="destination")
        return faceswap_pb2.Picture(encoded=encoded)


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
        assignment=swapped.person,
    )
