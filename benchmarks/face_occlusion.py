"""How well what lies before a face is found: drawn occluders over real faces, still and moving.

    python -m benchmarks.face_occlusion --json

Faces are those of `benchmarks.face`. Over each, microphones, cups, cards, hands of the face's own skin colour, strands
of hair, sleeves and spectacles are drawn with shading and blur, and the mesh is located again on the result. Recall
is the share of the drawn area on the face that is kept; false share is what is kept of the rest of the face, beyond
what was kept of the same face without the object. One JSON object on stdout, a sheet in out/benchmarks/occlusion.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face import Sample, bundled_pictures, collect
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper
from services.faceswap.chart import chart, lay
from services.faceswap.face_engine import Memory
from services.faceswap.finder import Face
from services.faceswap.geometry import Points
from services.faceswap.occlusion import occluder_share
from services.faceswap.warp import region_around

Picture = NDArray[np.uint8]
Layer = NDArray[np.floating[Any]]  # blue, green, red and opacity (h, w, 4)
SHEET: Final = Path("out/benchmarks/occlusion.png")
FACE_PX: Final = 220.0  # all faces are brought to this size
FRAMES: Final = 24  # of a moving occluder
SEEDS: Final = 3


class Canvas:
    """Draws in the face's own units: origin between the eyes, x right, y down, 1 the face's height."""

    def __init__(self, picture: Picture, points: Points, seed: int) -> None:
        self.picture, self.rng = picture, np.random.default_rng(seed)
        self.height, self.width = picture.shape[:2]
        self.eye = points[[33, 263], :2].mean(axis=0)
        self.down = points[152, :2] - points[10, :2]
        self.right = np.array([self.down[1], -self.down[0]])
        self.size = float(np.linalg.norm(self.down))
        cheeks = np.round(points[[50, 280, 205, 425, 4, 151], :2]).astype(int)
        self.skin = np.median([picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(axis=0) for x, y in cheeks], 0)
        self.layer: Layer = np.zeros((self.height, self.width, 4), np.float32)

    def at(self, x: float, y: float) -> tuple[int, int]:
        place = self.eye + x * self.right + y * self.down
        return round(float(place[0])), round(float(place[1]))

    def stroke(
        self, way: list[tuple[float, float]], width: float, colour: NDArray[Any], *, round_: bool = True
    ) -> None:
        """A shaded tube along a way."""
        mask = np.zeros((self.height, self.width), np.uint8)
        line = np.array([self.at(*point) for point in way], np.int32)
        cv2.polylines(mask, [line], False, 255, max(1, round(width * self.size)), cv2.LINE_AA)
        if round_ and width * self.size > 8:
            depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5)
            half = max(float(depth.max()), 1.0)
            shade = 0.55 + 0.45 * np.sqrt(np.clip(2 * depth / half - (depth / half) ** 2, 0, 1))
        else:
            shade = np.ones(mask.shape)
        self._put(mask, shade[..., np.newaxis] * colour)

    def ball(self, x: float, y: float, radius: float, colour: NDArray[Any]) -> None:
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.circle(mask, self.at(x, y), round(radius * self.size), 255, -1, cv2.LINE_AA)
        depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5) / max(radius * self.size, 1.0)
        self._put(mask, (0.45 + 0.55 * np.sqrt(np.clip(depth, 0, 1)))[..., np.newaxis] * colour)

    def ring(self, x: float, y: float, rx: float, ry: float, width: float, colour: NDArray[Any]) -> None:
        mask = np.zeros((self.height, self.width), np.uint8)
        turn = float(np.degrees(np.arctan2(self.down[1], self.down[0]))) - 90.0
        axes = (round(rx * self.size), round(ry * self.size))
        cv2.ellipse(mask, self.at(x, y), axes, turn, 0, 360, 255, max(1, round(width * self.size)), cv2.LINE_AA)
        self._put(mask, np.broadcast_to(colour, (*mask.shape, 3)))

    def polygon(self, corners: list[tuple[float, float]], colour: NDArray[Any], texture: float = 0.0) -> None:
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.array([self.at(*corner) for corner in corners], np.int32)], 255, cv2.LINE_AA)
        x = np.linspace(0.8, 1.1, self.width)[np.newaxis, :, np.newaxis] * np.ones((self.height, 1, 1))
        noise = cv2.GaussianBlur(self.rng.normal(0, 1, (self.height, self.width)).astype(np.float32), (0, 0), 1.5) * 3
        self._put(mask, x * colour + texture * noise[..., np.newaxis])

    def _put(self, mask: Picture, colour: NDArray[Any]) -> None:
        opacity = (mask.astype(np.float32) / 255.0)[..., np.newaxis]
        self.layer[..., :3] = self.layer[..., :3] * (1 - opacity) + np.clip(colour, 0, 255) * opacity
        self.layer[..., 3:] = np.maximum(self.layer[..., 3:], opacity)

    def composed(self) -> tuple[Picture, NDArray[Any]]:
        opacity = cv2.GaussianBlur(self.layer[..., 3], (0, 0), 0.8)
        colour = self.layer[..., :3] + self.rng.normal(0, 2.0, self.picture.shape)
        filled = np.where(self.layer[..., 3:] > 0.02, colour, self.picture)
        filled = cv2.GaussianBlur(filled.astype(np.float32), (0, 0), 0.7)
        mixed = self.picture * (1 - opacity[..., np.newaxis]) + filled * opacity[..., np.newaxis]
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), opacity


def microphone(canvas: Canvas, shift: float) -> None:
    grey = np.full(3, canvas.rng.uniform(25, 90))
    x = canvas.rng.uniform(-0.12, 0.12) + shift
    canvas.stroke([(x, 0.46), (x + 0.1, 0.95)], 0.10, 0.6 * grey)
    canvas.ball(x, 0.44, 0.10, grey)


def cup(canvas: Canvas, shift: float) -> None:
    colour = np.array([(235, 235, 235), (40, 40, 200), (180, 120, 30), (60, 160, 70)])[canvas.rng.integers(4)]
    x = canvas.rng.uniform(-0.2, 0.2) + shift
    canvas.polygon([(x - 0.17, 0.30), (x + 0.17, 0.30), (x + 0.14, 0.8), (x - 0.14, 0.8)], colour)


def card(canvas: Canvas, shift: float) -> None:
    side = canvas.rng.choice([-1, 1])
    white = canvas.rng.choice([30.0, 240.0])
    corners = [(0.12, -0.1), (0.7, -0.2), (0.8, 0.35), (0.2, 0.45)]
    canvas.polygon([(side * x + shift, y) for x, y in corners], np.full(3, white), 4.0)


def hand(canvas: Canvas, shift: float) -> None:
    side = canvas.rng.choice([-1, 1])
    colour = canvas.skin * canvas.rng.uniform(0.75, 1.1)
    top = canvas.rng.uniform(0.1, 0.3)
    canvas.stroke([(side * 0.75 + shift, top + 0.25), (side * 0.4 + shift, top + 0.2)], 0.35, colour)
    for finger in range(4):
        y = top + 0.09 * finger
        canvas.stroke([(side * 0.45 + shift, y), (side * (0.1 + 0.03 * finger) + shift, y - 0.02)], 0.085, colour)


def hair(canvas: Canvas, shift: float) -> None:
    colour = np.array([(20, 25, 40), (60, 120, 170), (35, 60, 100)])[canvas.rng.integers(3)]
    side = canvas.rng.choice([-1, 1])
    for _ in range(9):
        x = side * canvas.rng.uniform(0.10, 0.22) + shift
        drift = canvas.rng.uniform(0.0, 0.15)
        way = [(x - side * 0.1, -0.5), (x, -0.25), (x + side * drift / 2, 0.0), (x + side * drift, 0.35)]
        canvas.stroke(way, canvas.rng.uniform(0.008, 0.02), colour * canvas.rng.uniform(0.8, 1.2), round_=False)


def sleeve(canvas: Canvas, shift: float) -> None:
    colour = canvas.rng.uniform(20, 160, 3)
    side = canvas.rng.choice([-1, 1])
    way = [
        (side * 0.9 + shift, 0.5),
        (side * 0.3 + shift, 0.35),
        (-side * 0.1 + shift, 0.5),
        (-side * 0.6 + shift, 0.9),
    ]
    canvas.stroke(way, 0.22, colour)


def spectacles(canvas: Canvas, shift: float) -> None:
    colour = np.full(3, canvas.rng.uniform(10, 50))
    y = 0.02 + shift
    for side in (-1, 1):
        canvas.ring(side * 0.18, y, 0.14, 0.10, 0.022, colour)
        canvas.stroke([(side * 0.32, y - 0.02), (side * 0.55, y - 0.05)], 0.02, colour, round_=False)
    canvas.stroke([(-0.04, y - 0.02), (0.04, y - 0.02)], 0.02, colour, round_=False)


OCCLUDERS: Final[dict[str, Callable[[Canvas, float], None]]] = {
    draw.__name__: draw for draw in (microphone, cup, card, hand, hair, sleeve, spectacles)
}


def enlarged(sample: Sample) -> tuple[Picture, Points]:
    """The surroundings of a face with the face at FACE_PX, and its mesh there."""
    points = sample.face.mesh.points
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    scale = FACE_PX / float((high - low).max())
    half = 0.9 * FACE_PX
    middle = (low + high) / 2
    to_square = np.array([[scale, 0, half - scale * middle[0]], [0, scale, half - scale * middle[1]]])
    side = round(2 * half)
    square = cv2.warpAffine(
        sample.picture, to_square, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    moved = points * scale
    moved[:, :2] += to_square[:, 2]
    return np.asarray(square, np.uint8), moved


VARIANTS: Final[dict[str, Callable[[Picture], Picture]]] = {
    "as it is": lambda p: p,
    "grey": lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_BGR2GRAY)[..., np.newaxis], 3, axis=2),
    "dark": lambda p: np.clip(255 * (p / 255.0) ** 1.9 * [0.75, 0.8, 0.9], 0, 255).astype(np.uint8),
    "side light": lambda p: np.clip(p * np.linspace(1.25, 0.35, p.shape[1])[:, np.newaxis], 0, 255).astype(np.uint8),
    "cool": lambda p: np.clip(p * [1.25, 1.0, 0.75], 0, 255).astype(np.uint8),
}


def share_of(picture: Picture, points: Points, memory: Memory | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """The mask and where the mesh is, over the whole picture."""
    region = region_around([points], picture.shape[0], picture.shape[1], 0.28)
    laid = lay(points - [region.left, region.top, 0.0], region.height, region.width)
    share = np.zeros(picture.shape[:2], np.float32)
    part = np.ascontiguousarray(picture[region.rows, region.columns])
    share[region.rows, region.columns] = occluder_share(part, laid, memory)
    covered = np.zeros(picture.shape[:2], np.bool_)
    core = laid.roll(np.where(chart().border > 3.0, laid.facing, 0.0).astype(np.float32))
    covered[region.rows, region.columns] = laid.enlarge(core) > 0.3
    return share, covered


def judged(share: NDArray[Any], clean: NDArray[Any], covered: NDArray[Any], opacity: NDArray[Any]) -> dict[str, float]:
    drawn = covered & (opacity > 0.9)
    free = covered & (cv2.dilate(opacity, np.ones((13, 13), np.uint8)) < 0.05)
    extra = np.clip(share - clean, 0, 1)
    return {
        "recall": float(share[drawn].mean()) if drawn.sum() > 30 else float("nan"),
        "false_share": float(extra[free].mean()) if free.any() else 0.0,
    }


def still(swapper: FaceSwapper, samples: list[Sample]) -> tuple[dict[str, Any], Picture]:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in OCCLUDERS}
    clean_shares: dict[str, list[float]] = {name: [] for name in VARIANTS}
    sheet = []
    for number, sample in enumerate(samples):
        picture, points = enlarged(sample)
        tiles = []
        for variant, change in VARIANTS.items():
            changed = np.ascontiguousarray(change(picture))
            clean, covered = share_of(changed, points)
            clean_shares[variant].append(float(clean[covered].mean()))
            tiles.append(_marked(changed, clean))
        clean, _ = share_of(picture, points)
        for name, draw in OCCLUDERS.items():
            for seed in range(SEEDS):
                canvas = Canvas(picture, points, 100 * number + seed)
                draw(canvas, 0.0)
                composed, opacity = canvas.composed()
                found = _located(swapper, composed, points)
                share, covered = share_of(composed, found)
                rows[name].append(judged(share, clean, covered, opacity))
            tiles.append(_marked(composed, share))
        sheet.append(np.vstack(tiles))
    figures: dict[str, Any] = {
        name: {key: round(float(np.nanmean([row[key] for row in found])), 4) for key in found[0]}
        for name, found in rows.items()
    }
    figures["clean_share"] = {name: round(float(np.mean(values)), 4) for name, values in clean_shares.items()}
    return figures, np.hstack(sheet)


def moving(swapper: FaceSwapper, samples: list[Sample]) -> dict[str, Any]:
    """Occluders that pass over a face which itself shifts and flickers."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in OCCLUDERS if name != "spectacles"}
    clean_shares, times = [], []
    for number, sample in enumerate(samples):
        picture, points = enlarged(sample)
        for name in rows:
            memory, rng = Memory(), np.random.default_rng(number)
            for frame in range(FRAMES):
                sway = 6.0 * np.sin(frame / 4.0)
                light = 1.0 + 0.06 * np.sin(frame / 3.0)
                shifted = cv2.warpAffine(
                    picture, np.array([[1, 0, sway], [0, 1, 0.0]]), picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT
                )
                lit = np.clip(shifted * light + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)
                mesh = points + [sway, 0.0, 0.0]
                canvas = Canvas(lit, mesh, number)
                OCCLUDERS[name](canvas, 1.4 - 2.0 * max(0, frame - 6) / (FRAMES - 6))
                composed, opacity = canvas.composed()
                found = _located(swapper, composed, mesh)
                started = time.thread_time()
                share, covered = share_of(composed, found, memory)
                times.append(time.thread_time() - started)
                if frame == 6:
                    clean = share
                elif frame < 6:
                    clean_shares.append(float(share[covered].mean()))
                elif (opacity[covered] > 0.9).sum() > 300:
                    rows[name].append(judged(share, clean, covered, opacity))
    figures: dict[str, Any] = {
        name: {key: round(float(np.nanmean([row[key] for row in found])), 4) for key in found[0]}
        for name, found in rows.items()
    }
    figures["clean_share"] = round(float(np.mean(clean_shares)), 4)
    figures["processor_ms"] = round(1000 * float(np.median(times)), 2)
    return figures


def _located(swapper: FaceSwapper, picture: Picture, points: Points) -> Points:
    low, size = points[:, :2].min(axis=0), np.ptp(points[:, :2], axis=0)
    return _finder_mesh(swapper, picture, low, size, points)


def _finder_mesh(
    swapper: FaceSwapper, picture: Picture, low: NDArray[Any], size: NDArray[Any], points: Points
) -> Points:
    from services.faceswap.detector import Detection

    keypoints = np.array([points[k, :2] for k in (468 - 1, 0, 0, 0, 0, 0)], np.float32)
    keypoints[0], keypoints[1] = points[[33, 133], :2].mean(axis=0), points[[263, 362], :2].mean(axis=0)
    detection = Detection(float(low[0]), float(low[1]), float(size[0]), float(size[1]), 1.0, keypoints)
    face: Face = swapper.locate_again(picture, Face(detection, None))  # type: ignore[arg-type]
    return face.mesh.points


def _marked(picture: Picture, share: NDArray[Any]) -> Picture:
    marked = picture + share[..., np.newaxis] * 0.75 * (np.array([255.0, 0.0, 255.0]) - picture)
    side = picture.shape[0]
    cut = slice(side // 8, side - side // 8)
    return np.asarray(cv2.resize(marked[cut, cut].astype(np.uint8), (150, 150), interpolation=cv2.INTER_AREA), np.uint8)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the only format there is")
    parser.add_argument("--still", action="store_true", help="no moving occluders")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir), threads=1)
    samples = collect(swapper, bundled_pictures(), 16)
    stills, sheet = still(swapper, samples)
    figures: dict[str, Any] = {"still": stills}
    if not options.still:
        figures["moving"] = moving(swapper, samples)
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(SHEET), sheet)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
