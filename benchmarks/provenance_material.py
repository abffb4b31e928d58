"""Pictures to be marked, out of installed packages: photographs, textures, and some that are drawn here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_FILES: Final = {
    "skimage": tuple(
        f"data/{name}"
        for name in (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "moon.png",
            "motorcycle_left.png",
            "retina.jpg",
            "rocket.jpg",
        )
    ),
    "insightface": ("data/images/t1.jpg",),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}
SHORTER_PX: Final = (256, 360, 512, 720, 1080)
ASPECTS: Final = (1.0, 4 / 3, 3 / 4, 16 / 9)
LARGEST_GROWTH: Final = 1.5


@dataclass(frozen=True, eq=False)
class Item:
    """RGB (H, W, 3) and where it is from."""

    name: str
    pixels: Pixels


def photographs() -> list[Item]:
    """Those that are installed, whole."""
    items = []
    for package, files in _FILES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        for file in files:
            path = Path(spec.submodule_search_locations[0]) / file
            bgr = cv2.imread(str(path)) if path.exists() else None
            if bgr is not None:
                items.append(Item(path.stem, np.ascontiguousarray(bgr[:, :, ::-1])))
    if not items:
        raise SystemExit("No package with pictures is installed; run `make setup-test`.")
    return items


def cut_pictures(count: int, seed: int, shorter_px: tuple[int, ...] = SHORTER_PX) -> Iterator[Item]:
    """Parts of the photographs in turn, in sizes and shapes that people send; never grown by more than a half."""
    random = np.random.default_rng(seed)
    originals = photographs()
    for number in range(count):
        original = originals[number % len(originals)]
        height, width = original.pixels.shape[:2]
        aspect = float(random.choice(ASPECTS))
        largest = min(height, width / aspect) if aspect >= 1 else min(height * aspect, width)
        fitting = [side for side in shorter_px if side <= LARGEST_GROWTH * largest]
        shorter = int(random.choice(fitting or [int(largest)]))
        size = (round(shorter * max(aspect, 1.0)), round(shorter / min(aspect, 1.0)))
        share = random.uniform(max(shorter / LARGEST_GROWTH / largest, 0.5), 1.0)
        cut = (int(largest * share * size[0] / shorter), int(largest * share * size[1] / shorter))
        left, top = int(random.integers(0, width - cut[0] + 1)), int(random.integers(0, height - cut[1] + 1))
        part = original.pixels[top : top + cut[1], left : left + cut[0]]
        way = cv2.INTER_AREA if size[0] < cut[0] else cv2.INTER_CUBIC
        yield Item(f"{original.name}-{size[0]}x{size[1]}", np.asarray(cv2.resize(part, size, interpolation=way)))


def drawn_pictures(count: int, seed: int) -> Iterator[Item]:
    """Noise of several colours, gradients, stripes and chequers: what a search could take for a mark that repeats."""
    random = np.random.default_rng(seed)
    for number in range(count):
        height, width = (int(random.integers(160, 720)) for _ in range(2))
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        kind = ("noise", "slope", "stripes", "chequers", "cloth")[number % 5]
        plane: NDArray[Any]
        if kind == "noise":
            base = random.normal(128, 40, (height, width)).astype(np.float32)
            plane = np.asarray(cv2.GaussianBlur(base, (0, 0), float(random.uniform(0.4, 6))))
            plane = 128 + (plane - 128) * 40 / max(float(plane.std()), 1.0)
        elif kind == "slope":
            plane = 255 * (x * random.uniform() + y * random.uniform()) / (width + height)
        else:
            period, angle = random.uniform(4, 60), random.uniform(0, np.pi)
            along = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period
            across = 2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period
            planes = {
                "stripes": 128 + 90 * np.sin(along),
                "chequers": 128 + 90 * np.sign(np.sin(along) * np.sin(across)),
                "cloth": 128 + 60 * np.sin(along) + 50 * np.sin(across) + random.normal(0, 8, along.shape),
            }
            plane = planes[kind]
        yield Item(kind, np.repeat(np.clip(plane, 0, 255).astype(np.uint8)[:, :, np.newaxis], 3, axis=2))
