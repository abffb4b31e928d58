"""A film of talking heads of which every landmark is known, made from two pictures, the same every time.

    python -m benchmarks.face_film film.mp4 [--height 720] [--faces 1] [--seconds 10] [--silent]

No film of people is in any package, so still faces are made to move: heads turn by up to 12 degrees about two axes,
mouths open, eyes blink (the picture is warped with the face's mesh), the camera pans, zooms and rolls, the light
changes, and the sensor adds noise. What it cannot show: what a head hides, hair that moves, motion blur.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face import bundled_pictures
from services.common.decode import decode_picture
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper
from services.faceswap.shape import head_pose
from services.faceswap.template import LEFT_EYE, LOWER_LIP_INNER, MOUTH_LEFT, RIGHT_EYE, UPPER_LIP_INNER, template

Picture = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

TURN_DEG: Final = 12.0
NECK: Final = (0.0, 0.35, 0.9)  # what the head turns about, in the template's frame
GRID: Final = 44  # cells across a face's surroundings on which the warp is computed
REACH: Final = 0.55  # of a face's size around it: there the warp ends
FACE_SHARE: Final = 0.42  # of the frame's (or panel's) shorter side that a face takes
PAN, ZOOM, ROLL_DEG = 0.06, 0.08, 4.0  # of the camera: in frame sides, share, degrees
LIGHT: Final = 0.12  # share by which brightness goes up and down
NOISE: Final = 2.0  # standard deviation of the sensor's noise
SAMPLE_RATE_HZ: Final = 48_000
TONE_HZ: Final = 220.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Head:
    """A face in its picture: BGR (H, W, 3) and the mesh (468, 3) in its pixels."""

    picture: Picture
    points: FloatArray


def sample_heads(swapper: FaceSwapper) -> list[Head]:
    """The astronaut first, then the six faces of the group, from the left."""
    heads = []
    for path in reversed(bundled_pictures()):
        picture = np.asarray(decode_picture(path.read_bytes()))
        faces = sorted(swapper.find(picture), key=lambda face: face.mesh.box[0])
        heads += [Head(picture, face.mesh.points) for face in faces]
    return heads


class SyntheticFilm:
    """Frames that can be asked for in any order.

    Args:
        heads: who is in it, one beside the other, each in a panel of its own.
        noise: standard deviation of the sensor's noise.
        light: share by which brightness goes up and down.
        seed: other numbers give other movements.
    """

    def __init__(
        self,
        heads: list[Head],
        width_px: int,
        height_px: int,
        *,
        seconds: float = 10.0,
        frame_rate: Fraction = Fraction(30),
        noise: float = NOISE,
        light: float = LIGHT,
        seed: int = 0,
    ) -> None:
        self.width_px, self.height_px, self.frame_rate = width_px, height_px, frame_rate
        self._frames = max(1, round(seconds * frame_rate))
        self._noise, self._light, self._seed = noise, light, seed
        edges = np.linspace(0, width_px, len(heads) + 1).round().astype(int)
        self._panels = [
            _Panel(head, int(right - left), height_px, np.random.default_rng([seed, number]))
            for number, (head, left, right) in enumerate(zip(heads, edges, edges[1:], strict=False))
        ]
        self._lefts = edges[:-1]

    def __len__(self) -> int:
        return self._frames

    def frame(self, number: int) -> tuple[Picture, FloatArray]:
        """A frame, BGR (H, W, 3), and the true meshes (faces, 468, 3) in it."""
        time_s = float(number / self.frame_rate)
        panels, points = zip(*(panel.frame(time_s) for panel in self._panels), strict=True)
        picture = np.hstack(panels).astype(np.float32)
        picture *= 1.0 + self._light * np.sin(2 * np.pi * time_s / 3.7)
        if self._noise:
            random = np.random.default_rng([self._seed, 77, number])
            picture += random.standard_normal(picture.shape, np.float32) * self._noise
        moved = [mesh + np.array([left, 0, 0], np.float32) for mesh, left in zip(points, self._lefts, strict=True)]
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8), np.stack(moved).astype(np.float32)

    def truth(self, number: int) -> FloatArray:
        """Only the meshes of a frame."""
        time_s = float(number / self.frame_rate)
        moved = [
            panel.points(time_s) + np.array([left, 0, 0]) for panel, left in zip(self._panels, self._lefts, strict=True)
        ]
        return np.stack(moved).astype(np.float32)


class _Panel:
    """One head and the camera on it."""

    def __init__(self, head: Head, width_px: int, height_px: int, random: np.random.Generator) -> None:
        self._width_px, self._height_px = width_px, height_px
        self._phases = random.uniform(0, 2 * np.pi, 8)
        low, high = head.points[:, :2].min(axis=0), head.points[:, :2].max(axis=0)
        size, centre = float((high - low).max()), (low + high) / 2
        scale = FACE_SHARE * min(width_px * 1.2, height_px) / size
        to_room = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
        side = np.array([width_px, height_px]) * (1 + 2 * PAN + ZOOM + 0.1)
        to_room[:, 2] = side / 2 - scale * centre
        self._room = cv2.warpAffine(
            head.picture,
            to_room,
            (int(side[0]), int(side[1])),
            flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        self._still = head.points.astype(np.float64) * scale
        self._still[:, :2] += to_room[:, 2]
        self._pose = head_pose(self._still)
        self._head = self._pose.apply(self._still)

    def points(self, time_s: float) -> FloatArray:
        """The true mesh at a time."""
        camera = self._camera(time_s)
        room = self._moved(time_s)
        scale = float(np.sqrt(abs(np.linalg.det(camera[:, :2]))))
        seen = np.column_stack([room[:, :2] @ camera[:, :2].T + camera[:, 2], room[:, 2] * scale])
        return seen.astype(np.float32)

    def frame(self, time_s: float) -> tuple[Picture, FloatArray]:
        room = warped(np.asarray(self._room, np.uint8), self._still, self._moved(time_s))
        picture = cv2.warpAffine(
            room,
            self._camera(time_s),
            (self._width_px, self._height_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(picture, np.uint8), self.points(time_s)

    def _wave(self, number: int, period_s: float, time_s: float) -> float:
        return float(np.sin(2 * np.pi * time_s / period_s + self._phases[number]))

    def _camera(self, time_s: float) -> NDArray[np.floating]:
        """From the room to the frame, (2, 3)."""
        height, width = self._room.shape[:2]
        zoom = 1.0 + ZOOM * self._wave(0, 6.1, time_s)
        angle_deg = ROLL_DEG * self._wave(1, 5.3, time_s)
        camera = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, zoom), np.float64)
        pan = PAN * np.array([self._wave(2, 4.7, time_s), self._wave(3, 7.9, time_s)])
        camera[:, 2] += (1 + pan) * [self._width_px / 2, self._height_px / 2] - np.array([width, height]) / 2
        return camera

    def _moved(self, time_s: float) -> NDArray[np.floating]:
        """The mesh in the room: turned, and with its expression."""
        head = self._head + _expression(
            self._head,
            opening=0.10 * max(0.0, self._wave(4, 0.9, time_s)) * max(0.0, self._wave(5, 4.3, time_s)),
            closing=_blink(time_s, float(self._phases[6])),
        )
        yaw, pitch = TURN_DEG * self._wave(6, 3.1, time_s), 0.7 * TURN_DEG * self._wave(7, 4.1, time_s)
        turn = turn_about(yaw, pitch)
        return self._pose.inverse().apply((head - NECK) @ turn.T + NECK)


def _blink(time_s: float, phase: float) -> float:
    """How far the lids are closed: a fifth of a second every three seconds."""
    since_s = (time_s + phase) % 3.0
    return float(np.sin(np.pi * since_s / 0.2)) if since_s < 0.2 else 0.0


def turn_about(yaw_deg: float, pitch_deg: float) -> NDArray[np.floating]:
    """The rotation (3, 3) by degrees about the y axis, and before that about the x axis, of the template's frame."""
    yaw, _ = cv2.Rodrigues(np.array([0.0, np.radians(yaw_deg), 0.0]))
    pitch, _ = cv2.Rodrigues(np.array([np.radians(pitch_deg), 0.0, 0.0]))
    return np.asarray(yaw @ pitch, np.float64)


def _expression(head: NDArray[np.floating], opening: float, closing: float) -> NDArray[np.floating]:
    """What the points (468, 3) of a head move by when the mouth opens (in eye distances) and the lids close (share)."""
    still = template().points
    move = np.zeros_like(head)
    middle = (still[UPPER_LIP_INNER] + still[LOWER_LIP_INNER]) / 2
    across = np.exp(-((still[:, 0] / (1.3 * still[MOUTH_LEFT, 0])) ** 2))
    below = still[:, 1] - middle[1]
    move[:, 1] += opening * across * np.where(below > 0, np.exp(-below / 0.9), 0.0)
    for ring in (RIGHT_EYE, LEFT_EYE):
        lower, upper = list(ring[1:8]), list(ring[:8:-1])
        for above, under in zip(upper, lower, strict=True):
            move[above] += 0.85 * closing * (head[under] - head[above])
    return move


def warped(picture: Picture, still: NDArray[np.floating], moved: NDArray[np.floating]) -> Picture:
    """The picture with the points `still` brought to `moved`; far from the face nothing moves."""
    low, high = moved[:, :2].min(axis=0), moved[:, :2].max(axis=0)
    size = float((high - low).max())
    height, width = picture.shape[:2]
    first = np.clip(np.floor(low - REACH * size).astype(int), 0, [width - 1, height - 1])
    last = np.clip(np.ceil(high + REACH * size).astype(int), first + 1, [width, height])
    x, y = np.meshgrid(np.linspace(first[0], last[0] - 1, GRID), np.linspace(first[1], last[1] - 1, GRID))
    at = np.stack([x.ravel(), y.ravel()], axis=1)
    points = moved[:, :2]
    distances = (at**2).sum(axis=1)[:, np.newaxis] + (points**2).sum(axis=1) - 2 * at @ points.T
    distances = np.maximum(distances, 0.0).astype(np.float32)
    sigma = 0.03 * size
    weights = np.exp(-distances / (2 * sigma**2)) + 1e-4 / (1 + distances / sigma**2) ** 2
    back = weights @ (still - moved)[:, :2] / weights.sum(axis=1, keepdims=True)
    nearest = np.sqrt(distances.min(axis=1)) / (REACH * size)
    border = np.stack([at[:, 0] - first[0], last[0] - 1 - at[:, 0], at[:, 1] - first[1], last[1] - 1 - at[:, 1]])
    fading = np.clip(1.0 - nearest, 0, 1) * np.clip(border.min(axis=0) / (0.2 * size), 0, 1)
    fading = fading**2 * (3 - 2 * fading)
    # Inside the face the fading must not count.
    fading = np.where(nearest < 0.06, 1.0, fading)
    displaced = (back * fading[:, np.newaxis]).reshape(GRID, GRID, 2).astype(np.float32)
    wide = (int(last[0] - first[0]), int(last[1] - first[1]))
    # Grid points lie on the first and the last pixel, so sampling between them is linear in the index.
    columns, rows = (np.linspace(0, GRID - 1, n, dtype=np.float32) for n in wide)
    at_columns, at_rows = np.meshgrid(columns, rows)
    fine = cv2.remap(displaced, at_columns, at_rows, cv2.INTER_LINEAR)
    columns, rows = np.arange(wide[0], dtype=np.float32), np.arange(wide[1], dtype=np.float32)
    map_x = columns[np.newaxis] + np.float32(first[0]) + fine[:, :, 0]
    map_y = rows[:, np.newaxis] + np.float32(first[1]) + fine[:, :, 1]
    result = picture.copy()
    result[first[1] : last[1], first[0] : last[0]] = cv2.remap(
        picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return result


def make_film(swapper: FaceSwapper, height_px: int, *, faces: int = 1, seconds: float = 10.0, **settings: Any) -> Any:
    """A `SyntheticFilm` of 16:9 with the first `faces` of the sample heads."""
    width_px = round(height_px * 16 / 9 / 2) * 2
    chosen = sample_heads(swapper)
    # Of the group those that are seen best.
    order = [0, 3, 6, 4, 1, 2, 5]
    return SyntheticFilm([chosen[n] for n in order[:faces]], width_px, height_px, seconds=seconds, **settings)


def write_film(film: SyntheticFilm, path: Path, *, audio: bool = True, crf: int = 14) -> None:
    """Writes it as H.264, in the container that the path's ending names, with a tone of 220 Hz."""
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream("libx264", rate=film.frame_rate, options={"preset": "veryfast", "crf": str(crf)})
        video.width, video.height, video.pix_fmt = film.width_px, film.height_px, "yuv420p"
        video.codec_context.colorspace = video.codec_context.color_primaries = video.codec_context.color_trc = 1
        video.codec_context.color_range = 1
        sound: Any = output.add_stream("aac", rate=SAMPLE_RATE_HZ) if audio else None
        for number in range(len(film)):
            picture, _ = film.frame(number)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = number, 1 / film.frame_rate
            output.mux(video.encode(frame))
            if sound is not None:
                _write_tone(output, sound, film, number)
        output.mux(video.encode(None))
        if sound is not None:
            output.mux(sound.encode(None))


def _write_tone(output: Any, sound: Any, film: SyntheticFilm, number: int) -> None:
    first, last = (round(n * SAMPLE_RATE_HZ / film.frame_rate) for n in (number, number + 1))
    samples = 0.2 * np.sin(2 * np.pi * TONE_HZ * np.arange(first, last) / SAMPLE_RATE_HZ)
    frame = av.AudioFrame.from_ndarray(np.tile(samples.astype(np.float32), (2, 1)), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, first, Fraction(1, SAMPLE_RATE_HZ)
    output.mux(sound.encode(frame))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file to write: .mp4, .mov, .mkv")
    parser.add_argument("--height", type=int, default=720, help="in pixels, even")
    parser.add_argument("--faces", type=int, default=1, choices=range(1, 8))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--silent", action="store_true", help="no sound")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    cv2.setNumThreads(1)
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir), threads=1)
    film = make_film(swapper, options.height, faces=options.faces, seconds=options.seconds)
    write_film(film, options.out, audio=not options.silent)
    _log.info("%s: %d frames of %d x %d", options.out, len(film), film.width_px, film.height_px)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
