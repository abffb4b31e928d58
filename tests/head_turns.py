"""Films of a head that turns as it is told, rendered from a still picture with the face's own mesh.

The picture is warped as the mesh turns in three dimensions, so that the real face stage measures real turns. What it
cannot show is what the head hides. (That a film like this passes is a limit of what films prove: see
docs/architecture/08-protected.md.)
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

from benchmarks import face_film
from services.faceswap.shape import head_pose

Picture = NDArray[np.uint8]
FRAME_RATE = 15
TURN_S, STILL_S = 0.5, 0.5
ANGLES = {"left": (-33.0, 0.0), "right": (33.0, 0.0), "up": (0.0, -24.0), "down": (0.0, 24.0)}  # about y and x axes


def swing(turns: Sequence[str], *, lead_s: float = 0.7) -> Iterator[tuple[float, float]]:
    """Angles about y and x for each frame: middle, turn, hold, back, for every turn."""
    yield from [(0.0, 0.0)] * round(lead_s * FRAME_RATE)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0, 1, round(TURN_S * FRAME_RATE)))
    for turn in turns:
        yaw, pitch = ANGLES[turn]
        for share in [*ramp, *[1.0] * round(STILL_S * FRAME_RATE), *ramp[::-1]]:
            yield yaw * share, pitch * share
        yield from [(0.0, 0.0)] * round(STILL_S * FRAME_RATE)


class StillHead:
    """One face in a picture, with room around it, that can be turned.

    Args:
        picture: BGR (h, w, 3), about as large as a portrait.
        find: tells the meshes (468, 3) of the faces in a picture, largest first.
    """

    def __init__(self, picture: Picture, find: Any, side_px: int = 480) -> None:
        padded = cv2.copyMakeBorder(picture, 60, 60, 60, 60, cv2.BORDER_REFLECT_101)
        self.picture = np.asarray(cv2.resize(padded, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)
        self.points = np.asarray(find(self.picture)[0], np.float64)
        self._pose = head_pose(self.points)
        self._head = self._pose.apply(self.points)

    def turned(self, yaw: float, pitch: float) -> Picture:
        """The head turned by degrees about the template's y and x axes."""
        turn = face_film.turn_about(yaw, pitch)
        moved = self._pose.inverse().apply((self._head - face_film.NECK) @ turn.T + face_film.NECK)
        return face_film.warped(self.picture, self.points, moved)

    def aslant(self, yaw: float, pitch: float) -> Picture:
        """The picture itself held aslant before the camera, as a print is."""
        height, width = self.picture.shape[:2]
        distance = 2.0 * width
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [width / 2, height / 2, 0]
        seen = corners @ face_film.turn_about(yaw, pitch).T + [0, 0, distance]
        at = seen[:, :2] / seen[:, 2:] * distance + [width / 2, height / 2]
        flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(flat, at.astype(np.float32))
        return np.asarray(
            cv2.warpPerspective(self.picture, matrix, (width, height), borderValue=(90, 100, 110)), np.uint8
        )


def film_of(frames: Sequence[Picture], *, frame_rate: int = FRAME_RATE, crf: int = 20, noise: float = 1.0) -> bytes:
    """An MP4 of BGR pictures, with a little of a sensor's noise, the same every time."""
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    height, width = frames[0].shape[:2]
    with av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=frame_rate, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, frame_rate)
        for number, pixels in enumerate(frames):
            noisy = pixels + random.standard_normal(pixels.shape, np.float32) * noise
            picture = av.VideoFrame.from_ndarray(np.clip(noisy, 0, 255).astype(np.uint8), format="bgr24")
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return buffer.getvalue()
