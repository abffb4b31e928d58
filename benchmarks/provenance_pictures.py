"""Measures the pictures' mark: what it survives, what unmarked pictures are taken for, what it costs.

    python -m benchmarks.provenance_pictures --json [--items 64] [--unmarked 10000]

An unmarked item is a picture and a key: the picture carries nothing, or the mark of another key.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.provenance_material import Pixels, cut_pictures, drawn_pictures, photographs
from benchmarks.timing import least_s
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import find_picture_mark, luma_of, mark_picture, picture_carries
from services.common.marking.search import MarkSearch
from services.common.marking.seen import see
from services.common.marking.spectrum import mark_spectrum

KEYS_PER_PICTURE: Final = 40
FRAME_RUNS: Final = 50
_log = logging.getLogger(__name__)
Random = np.random.Generator


def coded(pixels: Pixels, kind: str, quality: int) -> Pixels:
    """RGB through a lossy codec and back."""
    flag = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[kind]
    done, data = cv2.imencode(kind, pixels[:, :, ::-1], [flag, quality])
    if not done:
        raise RuntimeError(f"no encoder for {kind}")
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def halved(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.asarray(cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)


def cut_to(pixels: Pixels, share: float, random: Random) -> Pixels:
    """That share of both sides, from anywhere."""
    height, width = (int(side * share) for side in pixels.shape[:2])
    top = int(random.integers(0, pixels.shape[0] - height + 1))
    left = int(random.integers(0, pixels.shape[1] - width + 1))
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def as_screenshot(pixels: Pixels, random: Random) -> Pixels:
    """Shown at another size, with a few pixels of what is around it; kept as PNG or JPEG."""
    factor = random.uniform(0.6, 1.5)
    size = tuple(round(side * factor) for side in pixels.shape[1::-1])
    way = int(random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA]))
    shown = cv2.resize(pixels, size, interpolation=way)
    shade = int(random.integers(0, 256))
    top, bottom, left, right = (int(side) for side in random.integers(0, 9, 4))
    bordered = cv2.copyMakeBorder(shown, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(shade, shade, shade))
    framed = np.asarray(bordered, np.uint8)
    return framed if random.uniform() < 0.5 else coded(framed, ".jpg", 85)


def relit(pixels: Pixels, random: Random) -> Pixels:
    """Other brightness, contrast and gamma."""
    bright = 255 * (pixels / 255.0) ** random.uniform(0.75, 1.33)
    changed = (bright - 128) * random.uniform(0.8, 1.2) + 128 + random.uniform(-20, 20)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


ATTACKS: Final[dict[str, Callable[[Pixels, Random], Pixels]]] = {
    "clean": lambda pixels, random: pixels,
    "jpeg_75": lambda pixels, random: coded(pixels, ".jpg", 75),
    "jpeg_50": lambda pixels, random: coded(pixels, ".jpg", 50),
    "resize_50": lambda pixels, random: halved(pixels),
    "crop_80": lambda pixels, random: cut_to(pixels, 0.8, random),
    "screenshot": as_screenshot,
    "relit": relit,
}


def measure(items: int = 64, unmarked: int = 10_000, seed: int = 7) -> dict[str, Any]:
    """All figures. `items` pictures are marked; `unmarked` is how many picture and key pairs are searched in vain."""
    found, wrong, missed, psnr_db = found_shares(items, seed)
    false_finds, pairs, highest = count_false_finds(unmarked, seed)
    return {
        "found_share": found,
        "missed": missed,
        "items": items,
        "payload_errors": wrong,
        "false_positive_rate": false_finds / pairs,
        "items_unmarked": pairs,
        "highest_score_unmarked": highest,
        "quality_cost": {"psnr_db": float(np.mean(psnr_db)), "psnr_db_min": float(np.min(psnr_db))},
        "small": _small(seed),
        **_times(),
        "machine": describe_machine(),
    }


def found_shares(items: int, seed: int) -> tuple[dict[str, float], int, dict[str, list[str]], list[float]]:
    random = np.random.default_rng(seed)
    missed: dict[str, list[str]] = {name: [] for name in ATTACKS}
    wrong, psnr_db = 0, []
    for item in cut_pictures(items, seed):
        key, number = secrets.token_bytes(32), secrets.randbelow(2**32 - 1) + 1
        marked = mark_picture(item.pixels, key, number)
        psnr_db.append(_psnr_db(item.pixels, marked))
        for name, attack in ATTACKS.items():
            mark = find_picture_mark(attack(marked, random), key)
            if mark is None:
                missed[name].append(item.name)
            elif mark.number != number:
                wrong += 1
    _log.info("missed: %s", missed)
    shares = {name: 1.0 - len(names) / items for name, names in missed.items()}
    return shares, wrong, {name: names for name, names in missed.items() if names}, psnr_db


def count_false_finds(pairs: int, seed: int) -> tuple[int, int, float]:
    """Numbers found where there are none; pairs looked at; highest score of any place."""
    pictures = max(1, pairs // KEYS_PER_PICTURE)
    drawn = pictures // 5
    false_finds, looked_at, highest = 0, 0, 0.0
    for number, item in enumerate([*cut_pictures(pictures - drawn, seed + 1), *drawn_pictures(drawn, seed + 2)]):
        pixels = item.pixels
        if number % 4 == 3:  # marked, but with none of the keys
            pixels = mark_picture(pixels, secrets.token_bytes(32), number + 1)
        search = MarkSearch(see(luma_of(pixels)))
        for _ in range(KEYS_PER_PICTURE):
            false_finds += search.find(mark_spectrum(secrets.token_bytes(32))) is not None
            highest = max(highest, search.highest_score)
            looked_at += 1
    return false_finds, looked_at, highest


def _small(seed: int) -> dict[str, dict[str, float]]:
    """Shares of small pictures, by shorter side: found blind, clean and as JPEG 75; seen to carry their number."""
    shares = {}
    for side in (64, 96, 128, 192):
        blind = jpeg = carried = 0
        count = 32
        for item in cut_pictures(count, seed + side, (side,)):
            key, number = secrets.token_bytes(32), secrets.randbelow(2**32 - 1) + 1
            marked = mark_picture(item.pixels, key, number)
            jpeg_95, jpeg_75 = coded(marked, ".jpg", 95), coded(marked, ".jpg", 75)
            blind += find_picture_mark(marked, key) is not None
            jpeg += find_picture_mark(jpeg_75, key) is not None
            carried += picture_carries(jpeg_95, key, number)
        shares[str(side)] = {"clean": blind / count, "jpeg_75": jpeg / count, "carries_jpeg_95": carried / count}
    return shares


def _times() -> dict[str, float]:
    """Processor time, the least of several runs, of one 720p picture: a photograph with much detail."""
    item = next(item for item in photographs() if min(item.pixels.shape[:2]) >= 720 or item.name == "astronaut")
    pixels = np.asarray(cv2.resize(item.pixels, (1280, 720), interpolation=cv2.INTER_AREA), np.uint8)
    key = secrets.token_bytes(32)
    marker, luma, bgr = FrameMarker(key, 1), luma_of(pixels), pixels[:, :, ::-1].copy()
    marked = mark_picture(pixels, key, 1)
    return {
        "marking_time_ms_720p": 1000 * least_s(lambda: marker.mark_luma(luma), FRAME_RUNS),
        "marking_time_ms_720p_bgr": 1000 * least_s(lambda: marker.mark_bgr(bgr), FRAME_RUNS),
        "marking_time_ms_720p_picture": 1000 * least_s(lambda: mark_picture(pixels, key, 1), 5),
        "search_s_720p": least_s(lambda: find_picture_mark(marked, key), 5),
        "search_s_720p_unmarked": least_s(lambda: find_picture_mark(pixels, key), 5),
        "check_s_720p": least_s(lambda: picture_carries(marked, key, 1), 5),
    }


def _psnr_db(before: Pixels, after: Pixels) -> float:
    error = float(np.mean((before.astype(np.float64) - after) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="JSON on stdout, which is what is printed anyway")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--unmarked", type=int, default=10_000)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    cv2.setNumThreads(1)
    print(json.dumps(measure(given.items, given.unmarked), indent=2))


if __name__ == "__main__":
    main()
