"""A world of coloured discs: what finds discs in pixels stands in for what finds faces, fast and exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from services.faceswap.detector import Detection, Picture
from services.faceswap.face_engine import Look, Memory, Painted
from services.faceswap.finder import Face
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh
from services.faceswap.pieces import detection_of
from services.faceswap.template import template
from services.faceswap.warp import Region

WIDTH, HEIGHT, RADIUS = 640, 360, 40
RED, GREEN, BLUE = (40, 40, 230), (40, 220, 40), (230, 60, 60)


def disc_points(x: float, y: float, radius: float) -> FloatArray:
    still = template().points
    centred = still - (still.max(axis=0) + still.min(axis=0)) / 2
    points = centred * (2 * radius / np.ptp(still[:, 1]))
    middle = points[:, :2].mean(axis=0)
    points[:, :2] += np.array([x, y]) - middle
    return points.astype(np.float32)


def discs(picture: Picture) -> list[tuple[float, float, float]]:
    """Centre and radius of every coloured blob."""
    coloured = (np.ptp(picture.astype(int), axis=2) > 60).astype(np.uint8)
    count, _, stats, centres = cv2.connectedComponentsWithStats(coloured)
    return [
        (float(centres[n][0]), float(centres[n][1]), float(np.sqrt(stats[n][4] / np.pi)))
        for n in range(1, count)
        if stats[n][4] > 200
    ]


class DiscMesh:
    """Follows the nearest disc."""

    def follow(self, picture: Picture, points: FloatArray, *, mirrored: bool = False) -> Mesh:
        expected = points[:, :2].mean(axis=0)
        found = sorted(discs(picture), key=lambda disc: np.hypot(disc[0] - expected[0], disc[1] - expected[1]))
        if not found or np.hypot(found[0][0] - expected[0], found[0][1] - expected[1]) > 2 * RADIUS:
            return Mesh(points, 0.0)
        return Mesh(disc_points(*found[0]), 0.99)


class DiscFinder:
    def __init__(self) -> None:
        self.mesh = DiscMesh()
        self.looks = 0

    def find_fast(self, picture: Picture, known: Sequence[Mesh] = (), *, part: int | None = None) -> list[Face]:
        self.looks += 1
        faces = []
        for x, y, radius in discs(picture):
            if all(np.hypot(*(mesh.points[:, :2].mean(axis=0) - [x, y])) > RADIUS for mesh in known):
                mesh = Mesh(disc_points(x, y, radius), 0.99)
                faces.append(Face(detection_of(mesh), mesh))
        return faces

    def glance(self, picture: Picture, part: int | None = None) -> Callable[[], list[Detection]]:
        faces = self.find_fast(picture)
        return lambda: [face.detection for face in faces]

    def verified(self, picture: Picture, proposals: Sequence[Detection], known: Sequence[Mesh] = ()) -> list[Face]:
        found = self.find_fast(picture, known)
        self.looks -= 1
        return found

    def find(self, picture: Picture) -> list[Face]:
        return []


class ColourRecogniser:
    def __init__(self) -> None:
        self.asked = 0

    def descriptor(self, picture: Picture, mesh: Mesh) -> FloatArray:
        self.asked += 1
        x, y = mesh.points[:, :2].mean(axis=0).astype(int)
        return np.asarray(picture[y, x] / 200.0, np.float32)


Disc = tuple[float, float, tuple[int, int, int]]


def scene(seen: Sequence[Disc], background: int = 0, radii: Sequence[int] = ()) -> Picture:
    noise = np.random.default_rng(background).integers(60, 200, (9, 16), dtype=np.uint8)
    grey = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    for (x, y, colour), radius in zip(seen, radii or [RADIUS] * len(seen), strict=True):
        cv2.circle(picture, (round(x), round(y)), radius, colour, -1)
    return picture


class ColourEngine:
    """Paints the inner half of a disc in one colour."""

    name = "colour"

    def __init__(self) -> None:
        self.memories: list[Memory | None] = []

    def prepare(self, views: Sequence[Any]) -> tuple[int, int, int]:
        return (250, 250, 250)

    def paint(
        self, person: Any, target: Picture, points: FloatArray, look: Look, memory: Memory | None = None
    ) -> Painted:
        self.memories.append(memory)
        x, y = points[:, :2].mean(axis=0)
        half = round(float(np.ptp(points[:, 1])) / 4)
        left, top = round(float(x)) - half, round(float(y)) - half
        region = Region(left, top, 2 * half, 2 * half, (float(x), float(y)), (float(half), float(half)))
        pixels = np.empty((2 * half, 2 * half, 3), np.uint8)
        pixels[:] = person
        rows, columns = np.mgrid[-half:half, -half:half]
        changed = rows**2 + columns**2 < half**2
        return Painted(region, pixels, changed, changed.astype(np.float32))


def disc_swapper() -> Any:
    """What `SequenceSwapper` needs of a `FaceSwapper`."""
    return SimpleNamespace(finder=DiscFinder(), recogniser=ColourRecogniser())
