"""Faces of one person for training: aligned crops with their outlines, cut from pictures and films once and kept.

The last tenth of every film, and every tenth picture, is held out: never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.decode_picture import decode_picture
from services.common.errors import LikenessError
from services.common.film import FilmInfo, probe_film, read_frames
from services.common.film.frames import FilmFrame
from services.faceswap.detector import Picture
from services.faceswap.finder import Face, FaceFinder
from services.faceswap.litert import FloatArray
from services.faceswap.neural_align import crop
from services.faceswap.person_crop import crop_outline, person_alignment
from services.faceswap.recogniser import FaceRecogniser

REACH: Final = 1.25  # kept crops show more than the network sees, for random warps
KEPT_PX: Final = 160
HELD_OUT: Final = 0.1
MIN_FACES: Final = 8
DESCRIBED: Final = 16  # faces that are looked at by the recogniser
HD_HEIGHT: Final = 720  # from here on films that do not say it mean BT.709
FILMS: Final = frozenset({".gif", ".mkv", ".mov", ".mp4", ".webm"})
PICTURES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True, eq=False)
class Faces:
    """One person's faces.

    Attributes:
        crops: (n, KEPT_PX, KEPT_PX, 3) BGR.
        outlines: (n, 36, 2), the faces' outlines in pixels of the crops.
        held_out: (n,), which are not trained on.
        descriptor: (128,), mean of the recogniser's; who this is.
    """

    crops: Picture
    outlines: FloatArray
    held_out: NDArray[np.bool_]
    descriptor: FloatArray

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".part.npz")
        np.savez_compressed(
            partial, crops=self.crops, outlines=self.outlines, held_out=self.held_out, descriptor=self.descriptor
        )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Faces:
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["crops"], stored["outlines"], stored["held_out"], stored["descriptor"])


def frames(folder: Path) -> Iterator[tuple[Picture, bool]]:
    """All pictures of a folder, those of its films among them, in order; with each, whether it is held out.

    Raises:
        LikenessError: INVALID_FIELD when there is none; MEDIA_* for a file that cannot be read.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in FILMS | PICTURES]
    if not files:
        known = ", ".join(sorted(PICTURES | FILMS))
        detail = f"There is no picture or film in {folder}; files of these kinds count: {known}."
        raise LikenessError("INVALID_FIELD", detail, field="folder")
    pictures = 0
    for path in files:
        if path.suffix.lower() in FILMS:
            info = probe_film(path, field=path.name)
            first_held = round(info.frame_count * (1 - HELD_OUT))
            for number, frame in enumerate(read_frames(path, info, field=path.name)):
                yield as_bgr(frame, info), number >= first_held
        else:
            pictures += 1
            yield np.asarray(decode_picture(path.read_bytes(), field=path.name)), pictures % round(1 / HELD_OUT) == 0


def as_bgr(frame: FilmFrame, info: FilmInfo) -> Picture:
    """A film's picture as BGR (H, W, 3)."""
    matrix = info.colour.matrix if info.colour.matrix in (1, 5, 6) else (1 if info.height_px >= HD_HEIGHT else 5)
    frame.picture.colorspace = matrix
    return np.asarray(frame.picture.to_ndarray(format="bgr24"), np.uint8)


def collect(folder: Path, finder: FaceFinder, recogniser: FaceRecogniser, *, every: int = 1) -> Faces:
    """Finds and cuts the largest face of every picture, or of every n-th one.

    Raises:
        LikenessError: FACE_NOT_FOUND when fewer than MIN_FACES are found; as `frames` does.
    """
    crops, outlines, held_out = [], [], []
    descriptors: list[FloatArray] = []
    for number, (picture, held) in enumerate(frames(folder)):
        if number % every:
            continue
        face = largest_face(finder, picture)
        if face is None:
            continue
        matrix = person_alignment(face.mesh.points, KEPT_PX, REACH)
        crops.append(crop(picture, matrix, KEPT_PX))
        outlines.append(crop_outline(face.mesh.points, matrix))
        held_out.append(held)
        if len(descriptors) < DESCRIBED and len(crops) % 7 == 1:
            descriptors.append(recogniser.descriptor(picture, face.mesh))
    if len(crops) < MIN_FACES:
        detail = f"Only {len(crops)} faces were found in {folder}; {MIN_FACES} are the least, hundreds are better."
        raise LikenessError("FACE_NOT_FOUND", detail, field="folder")
    if not any(held_out):
        held_out[-1] = True
    return Faces(
        np.stack(crops),
        np.stack(outlines),
        np.array(held_out),
        np.asarray(np.mean(descriptors, axis=0), np.float32),
    )


def largest_face(finder: FaceFinder, picture: Picture) -> Face | None:
    """The largest face of a picture, if there is any."""
    found = finder.find(picture, only_largest=True)
    return found[0] if found else None


# --- samples of the training ---

TURN_DEG: Final = 6.0
ZOOM: Final = 0.04
SHIFT: Final = 0.03  # of the side that the network sees
WARP: Final = 0.03  # standard deviation, of the same
WARP_KNOTS: Final = 5
LIGHT: Final = 0.12


@dataclass(frozen=True, eq=False)
class Samples:
    """A batch: what the network sees, what it is to answer (n, size, size, 3), and the faces' masks (n, size, size)."""

    inputs: FloatArray
    answers: FloatArray
    masks: FloatArray


class Sampler:
    """Draws random samples of one person's faces, or gives the held-out ones as they are."""

    def __init__(self, faces: Faces, size: int, *, held_out: bool) -> None:
        chosen = faces.held_out if held_out else ~faces.held_out
        self._crops, self._outlines = faces.crops[chosen], faces.outlines[chosen]
        self._size = size
        self._per_px = KEPT_PX / (REACH * size)  # kept pixels in one of the network's

    def __len__(self) -> int:
        return len(self._crops)

    def draw(self, count: int, rng: np.random.Generator) -> Samples:
        """Random faces: turned, moved, in other light, and the input warped besides."""
        return self._batch([self._drawn(int(index), rng) for index in rng.integers(0, len(self), count)])

    def plain(self, count: int) -> Samples:
        """Up to `count` faces, spread over all, input and answer the same."""
        indices = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        matrix = self._matrix(0.0, 1.0, (0.0, 0.0))
        parts = []
        for index in indices:
            answer = self._cut(index, *_grid(matrix, self._size))
            parts.append((answer, answer, self._mask(index, matrix)))
        return self._batch(parts)

    def _drawn(self, index: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        shift = rng.uniform(-SHIFT, SHIFT, 2) * self._size * self._per_px
        matrix = self._matrix(rng.uniform(-TURN_DEG, TURN_DEG), 1.0 + rng.uniform(-ZOOM, ZOOM), (shift[0], shift[1]))
        x, y = _grid(matrix, self._size)
        answer = self._cut(index, x, y)
        knots = rng.normal(0.0, WARP * self._size * self._per_px, (WARP_KNOTS, WARP_KNOTS, 2)).astype(np.float32)
        bend = cv2.resize(knots, (self._size, self._size), interpolation=cv2.INTER_CUBIC)
        seen = self._cut(index, x + bend[:, :, 0], y + bend[:, :, 1])
        light = np.float32(1.0 + rng.uniform(-LIGHT, LIGHT)) * (1.0 + rng.uniform(-LIGHT, LIGHT, 3) / 3)
        light = light.astype(np.float32)
        return np.clip(seen * light, 0, 1), np.clip(answer * light, 0, 1), self._mask(index, matrix)

    def _matrix(self, turn_deg: float, zoom: float, shift: tuple[float, float]) -> FloatArray:
        """(2, 3), from pixels of the network's crop to pixels of the kept one."""
        turn, scale = np.radians(turn_deg), zoom * self._per_px
        linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        middle = (KEPT_PX - 1) / 2 + np.asarray(shift) - linear @ np.full(2, (self._size - 1) / 2)
        return np.asarray(np.column_stack([linear, middle]), np.float32)

    def _cut(self, index: int, x: FloatArray, y: FloatArray) -> FloatArray:
        cut = cv2.remap(self._crops[index], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(cut, np.float32) / 255.0

    def _mask(self, index: int, matrix: FloatArray) -> FloatArray:
        back = cv2.invertAffineTransform(matrix)
        outline = self._outlines[index] @ back[:, :2].T + back[:, 2]
        mask = np.zeros((self._size, self._size), np.uint8)
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
        return np.asarray(mask, np.float32) / 255.0

    def _batch(self, parts: list[tuple[FloatArray, FloatArray, FloatArray]]) -> Samples:
        inputs, answers, masks = (np.stack(column) for column in zip(*parts, strict=True))
        return Samples(inputs.astype(np.float32), answers.astype(np.float32), masks.astype(np.float32))


def _grid(matrix: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2],
    )
