"""Films of heads that turn, for the fake face stage: a grey picture whose brightness is the person, with a dark dot
that tells where the head looks. The fake stage turns a mesh as the dot says, or leaves it as flat as a picture.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from likeness.v1 import faceswap_pb2
from services.faceswap.template import template

SIDE_PX = 160
DOT_PX = 12
DEGREES = 100.0  # from the middle of the picture to a whole side
FRAME_RATE = 15
LOOKS = {"left": (24.0, 0.0), "right": (-24.0, 0.0), "up": (0.0, 18.0), "down": (0.0, -18.0)}  # yaw, pitch
Turns = Sequence[str]


def tell_pose(face: faceswap_pb2.Face, pixels: Any, *, flat: bool) -> None:
    """Fills in the pose that the dot of a picture tells, and a mesh that fits it."""
    grey = pixels.mean(axis=2)
    height, width = grey.shape
    rows, columns = np.nonzero(grey < 0.5 * np.median(grey))
    yaw = pitch = 0.0
    if len(rows):
        yaw = (columns.mean() + 0.5) / width * DEGREES - DEGREES / 2
        pitch = DEGREES / 2 - (rows.mean() + 0.5) / height * DEGREES
    face.pose.yaw_degrees, face.pose.pitch_degrees = yaw, pitch
    turn = np.eye(3) if flat else cv2.Rodrigues(np.radians([[-pitch], [-yaw], [0.0]]))[0]
    mesh = template().points @ turn.T * width / 4 + [width / 2, height / 2, 0]
    face.mesh.extend(mesh.astype(np.float32).ravel().tolist())


def look_path(turns: Turns, *, slowness: float = 1.0) -> Iterator[tuple[float, float]]:
    """Yaw and pitch of each frame: the middle, and each turn with its way there and back."""
    still, ramp = round(0.6 * slowness * FRAME_RATE), round(0.4 * slowness * FRAME_RATE)
    yield from [(0.0, 0.0)] * (still + 3)
    for turn in turns:
        yaw, pitch = LOOKS[turn]
        way = [step / ramp for step in range(1, ramp)]
        for share in [*way, *[1.0] * still, *way[::-1]]:
            yield yaw * share, pitch * share
        yield from [(0.0, 0.0)] * still


def frame_of(brightness: int, look: tuple[float, float], *, seed: int = 0) -> NDArray[np.uint8]:
    """A picture (h, w, 3); the seed is for a background that differs a little."""
    pixels = np.full((SIDE_PX, SIDE_PX, 3), brightness, np.uint8)
    pixels[:6, :6] = seed % 50
    x = round((look[0] / DEGREES + 0.5) * SIDE_PX - DOT_PX / 2)
    y = round((0.5 - look[1] / DEGREES) * SIDE_PX - DOT_PX / 2)
    pixels[y : y + DOT_PX, x : x + DOT_PX] = 5
    return pixels


def turning_film(turns: Turns, *, brightness: int = 120, slowness: float = 1.0, crf: int = 18) -> bytes:
    """An MP4 of somebody who makes these turns."""
    return film_of_frames([frame_of(brightness, look) for look in look_path(turns, slowness=slowness)], crf=crf)


def film_of_frames(frames: Sequence[NDArray[np.uint8]], *, crf: int = 18) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = SIDE_PX, SIDE_PX, "yuv420p"
        stream.time_base = Fraction(1, FRAME_RATE)
        for number, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return buffer.getvalue()
