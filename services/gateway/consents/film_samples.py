"""What a short film shows of a person: sampled pictures with poses and descriptors, and where the film was cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from likeness.v1 import faceswap_pb2
from services.common.decode_picture import encode_picture
from services.common.errors import LikenessError
from services.common.film import FilmInfo, probe_film, read_frames
from services.gateway.consents.head_turns import Pose
from services.gateway.stages import Call, Stages, fields_called

FloatArray = NDArray[np.float32]

MIN_FILM_S: Final = 3.0
MAX_FILM_S: Final = 20.0
MIN_FRAME_RATE: Final = 10.0
MAX_GAP_S: Final = 0.35  # between two frames
SAMPLES_PER_S: Final = 6.0
SAMPLE_PX: Final = 640  # longer side of what the stage looks at
JPEG_QUALITY: Final = 92
AT_ONCE: Final = 2  # samples that the stage looks at
MIN_FACE_PX: Final = 64.0  # of the sampled picture
BYSTANDER_SHARE: Final = 0.3  # of the face's height: a smaller face in the background, such as a poster's, is let pass
MAX_MISSED_SHARE: Final = 0.1  # of the samples, never two in a row
THUMBNAIL_PX: Final = (32, 18)
CUT_FACTOR: Final = 4.0  # by which a change stands out from the largest of those around it; a lost frame doubles it
CUT_FLOOR: Final = 0.008  # of the range of brightness: smaller changes are no cut
CUT_AROUND: Final = 3  # changes before and after; motion lasts longer than one frame, a cut does not

MESH_POINTS: Final = 468
DESCRIPTOR_SIZE: Final = 128


@dataclass(frozen=True, eq=False)
class Sample(Pose):
    """One sampled picture: besides the pose, the face's box (left, top, width, height) in pixels and its descriptor
    (128,)."""

    box: tuple[float, float, float, float]
    descriptor: FloatArray


@dataclass(frozen=True, eq=False)
class FilmSeen:
    """A film as it was looked at: length in seconds, samples in order, times in seconds at which it was cut."""

    duration_s: float
    samples: list[Sample]
    cuts: list[float]


def look_at_film(stages: Stages, path: Path, call: Call, *, field: str) -> FilmSeen:
    """Samples a film and has the face stage look at each picture.

    Raises:
        LikenessError: MEDIA_*; PROOF_UNUSABLE when the film is too long, too short or too coarse in time, or does not
            show exactly one face throughout; and what the stage failed with.
    """
    info = probe_film(path, field=field)
    _require_suitable(info, field)
    size = _sample_size(info)
    times: list[float] = []
    thumbnails: list[FloatArray] = []
    pictures: list[tuple[float, bytes]] = []
    due_s = 0.0
    for frame in read_frames(path, info, size=size, field=field):
        time_s = info.time_s(frame.pts)
        times.append(time_s)
        thumbnails.append(_thumbnail(frame.luma))
        if time_s + 1e-6 >= due_s:
            bgr = np.asarray(frame.picture.to_ndarray(format="bgr24"), np.uint8)
            pictures.append((time_s, encode_picture(bgr, "jpeg", quality=JPEG_QUALITY)))
            due_s = max(due_s + 1.0 / SAMPLES_PER_S, time_s + 0.5 / SAMPLES_PER_S)
    samples = _samples(stages, pictures, call, field)
    return FilmSeen(info.duration_s, samples, find_cuts(np.array(times), np.stack(thumbnails)))


def find_cuts(times_s: NDArray[np.float64], thumbnails: FloatArray) -> list[float]:
    """Times (s) at which a picture differs from the one before by much more than its neighbours do from theirs.

    A fade, and a cut between two pictures that are nearly the same, are not seen.

    Args:
        times_s: (n,), of every frame.
        thumbnails: (n, h, w), brightness from 0 to 1.
    """
    changes = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2))
    cuts = []
    for index, change in enumerate(changes):
        around = np.r_[changes[max(0, index - CUT_AROUND) : index], changes[index + 1 : index + 1 + CUT_AROUND]]
        if change > max(CUT_FACTOR * float(around.max(initial=0.0)), CUT_FLOOR):
            cuts.append(float(times_s[index + 1]))
    return cuts


def _require_suitable(info: FilmInfo, field: str) -> None:
    if info.animation:
        raise LikenessError("MEDIA_UNSUPPORTED", "An animation is no film; send an MP4, MOV or WebM.", field=field)
    if not MIN_FILM_S <= info.duration_s <= MAX_FILM_S:
        detail = (
            f"The film lasts {info.duration_s:.1f} s; {MIN_FILM_S:.0f} to {MAX_FILM_S:.0f} s are taken. Film only the "
            "turns, in one go."
        )
        raise LikenessError("PROOF_UNUSABLE", detail, field=field)
    gap_s = float(np.diff(info.frame_pts).max() * info.time_base) if info.frame_count > 1 else info.duration_s
    if info.frame_rate < MIN_FRAME_RATE or gap_s > MAX_GAP_S:
        detail = (
            f"The film has {float(info.frame_rate):.1f} pictures a second and a gap of {gap_s:.2f} s; at least "
            f"{MIN_FRAME_RATE:.0f} a second without gaps beyond {MAX_GAP_S} s are needed."
        )
        raise LikenessError("PROOF_UNUSABLE", detail, field=field)


def _sample_size(info: FilmInfo) -> tuple[int, int]:
    """Width and height of what the stage looks at: even, with square pixels left as they are."""
    width, height = info.output_size()
    shrink = min(1.0, SAMPLE_PX / max(width, height))
    return max(2, 2 * round(width * shrink / 2)), max(2, 2 * round(height * shrink / 2))


def _thumbnail(luma: Any) -> FloatArray:
    small = cv2.resize(np.ascontiguousarray(luma), THUMBNAIL_PX, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255.0


def _samples(stages: Stages, pictures: Sequence[tuple[float, bytes]], call: Call, field: str) -> list[Sample]:
    """What the stage sees in each; a face may be missed now and then, as in the blur of a quick turn."""

    def look(picture: bytes) -> list[faceswap_pb2.Face]:
        request = faceswap_pb2.DetectFacesRequest(
            picture=faceswap_pb2.Picture(encoded=picture), with_descriptors=True, with_pose=True
        )
        with fields_called({"": field, "picture": field}):
            return list(stages.detect_faces(request, call).faces)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        found = list(pool.map(look, (picture for _, picture in pictures)))
    finally:
        pool.shutdown(cancel_futures=True)
    samples, missed = [], 0
    for index, ((time_s, _), faces) in enumerate(zip(pictures, found, strict=True)):
        if not faces:
            missed += 1
            if missed > MAX_MISSED_SHARE * len(pictures) or index == 0 or not found[index - 1]:
                detail = f"No face is seen at {time_s:.1f} s. The face must be in the picture all the time."
                raise LikenessError("PROOF_UNUSABLE", detail, field=field)
            continue
        samples.append(_sample(faces, time_s, field))
    return samples


def _sample(faces: Sequence[faceswap_pb2.Face], time_s: float, field: str) -> Sample:
    face = max(faces, key=lambda item: item.box.height)
    if sum(other.box.height >= BYSTANDER_SHARE * face.box.height for other in faces) > 1:
        detail = f"{len(faces)} faces are seen at {time_s:.1f} s. Only the person who consents may be in the picture."
        raise LikenessError("PROOF_UNUSABLE", detail, field=field)
    if face.box.height < MIN_FACE_PX:
        detail = f"The face is {face.box.height:.0f} pixels high at {time_s:.1f} s; at least {MIN_FACE_PX:.0f} of "
        detail += f"{SAMPLE_PX} are needed. Go nearer to the camera."
        raise LikenessError("FACE_TOO_SMALL", detail, field=field)
    mesh = np.array(face.mesh, np.float32)
    descriptor = np.array(face.descriptor, np.float32)
    if not face.HasField("pose") or mesh.size != 3 * MESH_POINTS or descriptor.size != DESCRIPTOR_SIZE:
        detail = "The face stage tells no poses or descriptors; it is of another version than the gateway."
        raise LikenessError("MODEL_INVALID", detail)
    box = (face.box.left, face.box.top, face.box.width, face.box.height)
    return Sample(time_s, face.pose.yaw_degrees, face.pose.pitch_degrees, mesh.reshape(MESH_POINTS, 3), box, descriptor)


def pose_track(samples: Sequence[Sample]) -> Iterator[tuple[float, float]]:
    """Yaw and pitch of each sample, rounded to tenths of a degree."""
    for sample in samples:
        yield round(float(sample.yaw), 1), round(float(sample.pitch), 1)
