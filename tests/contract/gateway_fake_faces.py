"""The fake face stage: a face is a bright middle of a picture; swapping paints the source's mean colour there.

In films it works on real segments, so that what the gateway makes of them can be judged; in live streams on frames.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc
from services.common.decode import decode_picture, encode_picture
from services.common.errors import LikenessError
from services.common.film import SEGMENT_CONTENT_TYPE, FilmCoding, SegmentWriter, probe_film, read_frames
from services.common.grants import granted_mark
from services.common.keys import MARK, load_secret
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import mark_picture
from services.common.settings import StageSettings
from services.common.store import fetch_reference, media_reference, open_store, read_reference
from tests.contract.turning_faces import tell_pose

PICTURE_BYTES = 50 * 1024 * 1024
DESCRIPTOR_SIZE = 128


@dataclass
class FaceDoings:
    """What the face stage saw, and the levers by which tests disturb it."""

    swaps: list[faceswap_pb2.SwapPictureRequest] = field(default_factory=list)
    segments: list[faceswap_pb2.SwapSegmentRequest] = field(default_factory=list)
    live: list[faceswap_pb2.LiveSetup] = field(default_factory=list)
    live_ended: threading.Event = field(default_factory=threading.Event)
    detections: int = 0
    people: int = 1  # that a detector sees in each picture
    flat: bool = False  # set: heads turn like pictures that are held aslant
    segment_faults: list[LikenessError] = field(default_factory=list)  # raised one after the other, in mid-segment
    segments_held: threading.Event = field(
        default_factory=threading.Event
    )  # set: segments wait after their first frame
    unmarked: bool = False  # set: what is made carries no mark
    segments_cancelled: list[faceswap_pb2.SwapSegmentRequest] = field(default_factory=list)


class FakeFaceSwap(faceswap_pb2_grpc.FaceSwapServiceServicer):
    def __init__(self, doings: FaceDoings, settings: StageSettings) -> None:
        self._doings = doings
        self._store = open_store(settings)
        self._key = load_secret(settings.resolved_keys_dir / MARK)

    def _marked(self, picture: Any) -> Any:
        """A picture (BGR) with the mark of the call's grant."""
        if self._doings.unmarked:
            return picture
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        return np.ascontiguousarray(mark_picture(rgb, self._key, granted_mark())[:, :, ::-1])

    def load(self) -> None:
        return None

    def _read(self, picture: Any, name: str) -> Any:
        if picture.WhichOneof("content") == "media":
            return decode_picture(read_reference(self._store, picture.media, PICTURE_BYTES), field=name)
        return decode_picture(picture.encoded, field=name)

    def _face(self, pixels: Any, name: str) -> faceswap_pb2.Face:
        height, width = pixels.shape[:2]
        middle = pixels[height // 4 : 3 * height // 4 + 1, width // 4 : 3 * width // 4 + 1]
        if middle.mean() < 40:
            raise LikenessError("FACE_NOT_FOUND", f"There is no face in the {name}.", field=name)
        box = faceswap_pb2.Box(left=width / 4, top=height / 4, width=width / 2, height=height / 2)
        return faceswap_pb2.Face(box=box, score=0.9)

    def DetectFaces(self, request: Any, context: Any) -> faceswap_pb2.DetectFacesResponse:
        """Whose face it is, its brightness tells: a step of 100 is a distance of 1."""
        self._doings.detections += 1
        pixels = self._read(request.picture, "picture")
        face = self._face(pixels, "picture")
        if request.with_descriptors:
            face.descriptor.extend([pixels.mean() / 100 / np.sqrt(DESCRIPTOR_SIZE)] * DESCRIPTOR_SIZE)
        if request.with_pose:
            tell_pose(face, pixels, flat=self._doings.flat)
        faces = [face] * self._doings.people
        return faceswap_pb2.DetectFacesResponse(width_px=pixels.shape[1], height_px=pixels.shape[0], faces=faces)

    def SwapPicture(self, request: Any, context: Any) -> faceswap_pb2.SwapPictureResponse:
        self._doings.swaps.append(request)
        target = self._read(request.target, "target").copy()
        swapped = []
        for number, assignment in enumerate(request.assignments):
            face = self._face(target, "target")
            box = face.box
            top, left = int(box.top), int(box.left)
            target[top : top + int(box.height), left : left + int(box.width)] = self._colour(assignment, number)
            swapped.append(
                faceswap_pb2.SwappedFace(
                    target=face, distance_to_source=0.4, distance_to_target=-1.0, assignment=number
                )
            )
        formats = {0: "png", 1: "png", 2: "jpeg", 3: "webp"}
        data = encode_picture(self._marked(target), formats[request.options.format])  # type: ignore[arg-type]
        picture = faceswap_pb2.Picture(encoded=data)
        if request.destination.key:
            picture = faceswap_pb2.Picture(
                media=media_reference(self._store, self._store.put(request.destination.key, data))
            )
        return faceswap_pb2.SwapPictureResponse(
            result=picture, faces=swapped, width_px=target.shape[1], height_px=target.shape[0]
        )

    def SwapSegment(self, request: Any, context: Any) -> Iterator[faceswap_pb2.SwapSegmentResponse]:
        ended = threading.Event()

        def gone() -> None:  # a callback: the generator itself is not run on once its caller has left
            if not ended.is_set():
                self._doings.segments_cancelled.append(request)

        if not context.add_callback(gone):
            gone()
        self._doings.segments.append(request)
        value = self._colour(request.assignments[0], 0).mean()
        with (
            fetch_reference(self._store, request.film) as path,
            tempfile.NamedTemporaryFile(suffix=".nut") as out,
        ):
            info = probe_film(path)
            options = request.film_options
            codec = "vp9" if options.codec == faceswap_pb2.FILM_CODEC_VP9 else "h264"
            coding = FilmCoding(codec, options.crf if options.HasField("crf") else None, options.height_px)
            frames = read_frames(
                path, info, request.start_pts, request.end_pts, size=info.output_size(options.height_px)
            )
            swapped, pts = 0, 0
            marker = FrameMarker(self._key, granted_mark())
            with SegmentWriter(Path(out.name), info, coding) as writer:
                for frame in frames:
                    pts = frame.pts
                    height, width = frame.luma.shape
                    middle = frame.luma[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
                    if middle.mean() > 60:
                        middle[:] = value
                        swapped += 1
                    if not self._doings.unmarked:
                        marker.mark_luma(frame.luma)
                    writer.write(frame)
                    progress = faceswap_pb2.SegmentProgress(frames_done=writer.frames, frames_total=100)
                    yield faceswap_pb2.SwapSegmentResponse(progress=progress)
                    if self._doings.segment_faults:
                        ended.set()
                        raise self._doings.segment_faults.pop()
                    self._hold(context)
            stored = self._store.put_file(request.destination.key, Path(out.name), SEGMENT_CONTENT_TYPE)
        track = faceswap_pb2.FaceTrack(
            id=1,
            first_pts=request.start_pts,
            last_pts=pts,
            frames_swapped=swapped,
            distance_to_source=0.3,
            distance_to_target=-1.0,
        )
        width, height = info.output_size(options.height_px)
        result = faceswap_pb2.SegmentResult(
            segment=media_reference(self._store, stored),
            frames=writer.frames,
            width_px=width,
            height_px=height,
            tracks=[track] if swapped else [],
        )
        ended.set()
        yield faceswap_pb2.SwapSegmentResponse(result=result)

    def _hold(self, context: Any) -> None:
        while self._doings.segments_held.is_set():
            if not context.is_active():
                raise LikenessError("CANCELLED", "The caller went away.")
            time.sleep(0.01)

    def SwapLive(self, request_iterator: Iterator[Any], context: Any) -> Iterator[faceswap_pb2.SwapLiveResponse]:
        setup = next(request_iterator).setup
        self._doings.live.append(setup)
        colour = self._colour(setup.assignments[0], 0)
        try:
            for request in request_iterator:
                frame = request.frame
                pixels = decode_picture(frame.encoded).copy()
                height, width = pixels.shape[:2]
                middle = pixels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
                if middle.mean() < 40:
                    yield faceswap_pb2.SwapLiveResponse(id=frame.id, outcome=faceswap_pb2.LIVE_OUTCOME_UNCHANGED)
                    continue
                middle[:] = colour
                yield faceswap_pb2.SwapLiveResponse(
                    id=frame.id,
                    outcome=faceswap_pb2.LIVE_OUTCOME_SWAPPED,
                    encoded=encode_picture(pixels, "jpeg"),
                    faces=1,
                    latency_ms=1.5,
                )
        finally:
            self._doings.live_ended.set()

    def _colour(self, assignment: Any, number: int) -> Any:
        """The mean of all pictures of a person."""
        pictures = [
            self._read(source, f"assignments[{number}].sources[{index}]")
            for index, source in enumerate(assignment.sources)
        ]
        return np.mean([picture.mean(axis=(0, 1)) for picture in pictures], axis=0).astype(np.uint8)


def portrait(brightness: int = 180, side_px: int = 96) -> bytes:
    """A PNG that the fake detector takes for a face when it is bright enough."""
    pixels = np.full((side_px, side_px, 3), brightness, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def film(
    seconds: float = 1.0,
    *,
    format: str = "mp4",
    brightness: int = 120,
    frame_rate: int = 20,
    size: tuple[int, int] = (128, 96),
    sound: bool = True,
) -> bytes:
    """A grey film (width, height) whose corner pixel counts its pictures, with a tone; or a GIF."""
    width, height = size
    buffer = io.BytesIO()
    codec = {"mp4": "libx264", "mov": "libx264", "matroska": "libx264", "webm": "libvpx-vp9", "gif": "gif"}[format]
    with av.open(buffer, "w", format=format) as output:
        video: Any = output.add_stream(codec, rate=frame_rate)
        video.width, video.height = width, height
        video.pix_fmt = "rgb8" if format == "gif" else "yuv420p"
        audio: Any = None
        if sound and format != "gif":
            audio = output.add_stream("libopus" if format == "webm" else "aac", rate=48000, layout="mono")
        for number in range(round(seconds * frame_rate)):
            pixels = np.full((height, width, 3), brightness, np.uint8)
            pixels[:8, :8] = 20 + 5 * (number % 40)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=video.pix_fmt)
            picture.pts = number
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        if audio is not None:
            t = np.arange(round(seconds * 48000)) / 48000
            tone = (0.2 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None]
            output.mux(audio.encode(_audio_frame(tone)))
            output.mux(audio.encode(None))
    return buffer.getvalue()


def _audio_frame(samples: Any) -> Any:
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 48000, 0
    return frame


def animated_webp(pictures: int = 5, brightness: int = 120) -> bytes:
    from PIL import Image

    texture = np.random.default_rng(0).normal(brightness, 12, (192, 256, 1)).clip(0, 240)
    pixels = [np.broadcast_to(texture + number, (192, 256, 3)).astype("u1") for number in range(pictures)]
    made = [Image.fromarray(picture) for picture in pixels]
    buffer = io.BytesIO()
    made[0].save(buffer, "WEBP", save_all=True, append_images=made[1:], duration=100, lossless=True)
    return buffer.getvalue()


def luma_of(data: bytes) -> Any:
    """The luma planes of a film's pictures: (n, H, W)."""
    with av.open(io.BytesIO(data)) as source:
        return np.stack([frame.to_ndarray(format="gray") for frame in source.decode(video=0)])
