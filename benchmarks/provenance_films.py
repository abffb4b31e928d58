"""Measures the films' mark: what it survives of coding, scaling and cutting, and what unmarked films are taken for.

    python -m benchmarks.provenance_films --json [--films 12] [--unmarked 2000]

The films are flights of a camera over photographs (`provenance_material.py`), with the sensor's noise and changing
light, and talking heads (`face_film.py`). They are marked and written as the face stage writes its segments.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from benchmarks.face_film import SyntheticFilm, sample_heads
from benchmarks.machine import describe_machine
from benchmarks.provenance_material import Pixels, photographs
from services.common.film.writer import FASTER, KEYFRAME_EVERY_S
from services.common.marking.film import film_carries, find_film_mark, seen_of_film
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.search import MarkSearch
from services.common.marking.spectrum import mark_spectrum
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper

SIZE: Final = (1280, 720)
RATE: Final = 30
SECONDS: Final = 4.0
CUT_S: Final = 3.0
HEADS_EVERY: Final = 4  # of the films is one of talking heads
TEXTURES: Final = ("brick", "grass", "gravel", "ihc", "coins")  # nobody films these
_log = logging.getLogger(__name__)
Random = np.random.Generator


class Flight:
    """A camera over a photograph: BGR frames that can be asked for in order."""

    def __init__(self, pixels: Pixels, random: Random, seconds: float) -> None:
        self._picture = np.ascontiguousarray(pixels[:, :, ::-1])
        self._random, self._frames = random, round(seconds * RATE)
        height, width = pixels.shape[:2]
        share = min(width / SIZE[0], height / SIZE[1])
        self._scale = share * random.uniform(0.75, 0.9)
        self._room = np.array([width - SIZE[0] * self._scale, height - SIZE[1] * self._scale])
        self._start = self._room * random.uniform(0.2, 0.8, 2)
        # pixels of the film per frame: from a hand that holds still to a slow pan
        self._speed = self._scale * random.uniform(0.1, 2.5) * np.array([1.0, random.uniform(-0.4, 0.4)])
        self._noise, self._light = random.uniform(0.5, 3.0), random.uniform(0.0, 0.1)

    def __len__(self) -> int:
        return self._frames

    def frame(self, number: int) -> Pixels:
        place = self._start + self._speed * number + self._scale * np.array([np.sin(number / 9), np.cos(number / 7)])
        left, top = np.abs((place + self._room) % (2 * self._room + 1e-6) - self._room)  # to and fro
        scale = self._scale * (1 + 0.03 * np.sin(number / 40))
        matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
        seen = cv2.warpAffine(
            self._picture, matrix, SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
        ).astype(np.float32)
        noise = self._random.standard_normal((SIZE[1], SIZE[0], 1), np.float32) * np.float32(self._noise)
        lit = seen * np.float32(1 + self._light * np.sin(2 * np.pi * number / RATE / 3.7)) + noise
        return np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)


def write_film(path: Path, frames: Iterator[Any], size: tuple[int, int], options: dict[str, str]) -> None:
    """H.264 in MP4 out of FFmpeg's frames."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=RATE, options=options | {"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def as_the_stage(crf: int = 18) -> dict[str, str]:
    return {"preset": "veryfast", "x264-params": FASTER, "crf": str(crf), "g": str(round(RATE * KEYFRAME_EVERY_S))}


def marked_frames(film: Any, marker: FrameMarker | None, errors: list[float]) -> Iterator[Any]:
    """Frames of a film as YUV 4:2:0, marked on their luma; mean squared changes go into `errors`."""
    for number in range(len(film)):
        bgr = film.frame(number)
        frame = av.VideoFrame.from_ndarray(bgr if isinstance(bgr, np.ndarray) else bgr[0], format="bgr24")
        frame = frame.reformat(format="yuv420p")
        if marker is not None:
            plane: Any = frame.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            before = luma.astype(np.int16)
            marker.mark_luma(luma)
            errors.append(float(np.mean((luma - before) ** 2)))
        yield frame


def again(
    source: Path, path: Path, *, crf: int, height: int = SIZE[1], start_s: float = 0.0, seconds: float = 1e9
) -> Path:
    """Coded anew as people do it: x264's preset `fast`, other settings as they come."""
    size = (2 * round(SIZE[0] * height / SIZE[1] / 2), height)

    def frames() -> Iterator[Any]:
        with av.open(str(source)) as film:
            for number, frame in enumerate(film.decode(video=0)):
                if start_s * RATE <= number < (start_s + seconds) * RATE:
                    yield frame.reformat(*size, "yuv420p")

    write_film(path, frames(), size, {"preset": "fast", "crf": str(crf)})
    return path


ATTACKS: Final[dict[str, Callable[[Path, Path, Random], Path]]] = {
    "as_made": lambda film, path, random: film,
    "h264_crf_23": lambda film, path, random: again(film, path, crf=23),
    "h264_crf_28": lambda film, path, random: again(film, path, crf=28),
    "reencode_480p": lambda film, path, random: again(film, path, crf=23, height=480),
    "cut_3s": lambda film, path, random: again(
        film, path, crf=23, start_s=random.uniform(0, SECONDS - CUT_S), seconds=CUT_S
    ),
}


def measure(films: int = 12, unmarked: int = 2000, seed: int = 5) -> dict[str, Any]:
    """All figures. `films` are marked; `unmarked` is how many film and key pairs are searched in vain."""
    random = np.random.default_rng(seed)
    missed: dict[str, list[str]] = {name: [] for name in ATTACKS}
    wrong, false_finds, searched, carried = 0, 0, 0, 0
    errors: list[float] = []
    search_s: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        made, changed = Path(folder) / "made.mp4", Path(folder) / "changed.mp4"
        for name, film in sample_films(films, random):
            key, number = secrets.token_bytes(32), secrets.randbelow(2**32 - 1) + 1
            write_film(made, marked_frames(film, FrameMarker(key, number), errors), SIZE, as_the_stage())
            carried += film_carries(made, key, number)
            for attack, change in ATTACKS.items():
                path = change(made, changed, random)
                began_s = time.thread_time()
                mark = find_film_mark(path, key)
                search_s.append(time.thread_time() - began_s)
                if mark is None:
                    missed[attack].append(name)
                elif mark.number != number:
                    wrong += 1
            for seen in seen_of_film(made):  # marked, but with none of the keys
                search = MarkSearch(seen)
                for _ in range(max(1, unmarked // films // 2)):
                    false_finds += search.find(mark_spectrum(secrets.token_bytes(32))) is not None
                    searched += 1
            _log.info("%s: missed so far %s", name, missed)
    return {
        "found_share": {name: 1.0 - len(names) / films for name, names in missed.items()},
        "missed": {name: names for name, names in missed.items() if names},
        "confirmed_share": carried / films,
        "items": films,
        "payload_errors": wrong,
        "false_positive_rate": false_finds / searched,
        "items_unmarked": searched,
        "quality_cost": {"psnr_db": float(10 * np.log10(255**2 / np.mean(errors)))},
        "search_s": float(np.median(search_s)),
        "marking_time_ms_720p": _marking_ms(),
        "machine": describe_machine(),
    }


def sample_films(count: int, random: Random) -> Iterator[tuple[str, Any]]:
    heads = sample_heads(FaceSwapper.load(Registry(CommonSettings().models_dir)))
    items = [item for item in photographs() if item.name not in TEXTURES]
    for number in range(count):
        if number % HEADS_EVERY == HEADS_EVERY - 1:
            first = int(random.integers(0, len(heads)))
            chosen = [heads[(first + more) % len(heads)] for more in range(1 + number // HEADS_EVERY % 3)]
            yield f"heads-{len(chosen)}", SyntheticFilm(chosen, *SIZE, seconds=SECONDS, seed=number)
        else:
            item = items[(number - number // HEADS_EVERY) % len(items)]
            yield item.name, Flight(item.pixels, random, SECONDS)


def _marking_ms() -> float:
    """Processor time of a 720p frame, the least of 50 runs."""
    frame = Flight(photographs()[0].pixels, np.random.default_rng(1), 1.0).frame(0)
    luma = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
    marker, least_s = FrameMarker(bytes(32), 1), float("inf")
    for _ in range(50):
        copy = luma.copy()
        began_s = time.thread_time()
        marker.mark_luma(copy)
        least_s = min(least_s, time.thread_time() - began_s)
    return 1000 * least_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="JSON on stdout, which is what is printed anyway")
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--unmarked", type=int, default=2000)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    cv2.setNumThreads(1)
    print(json.dumps(measure(given.films, given.unmarked), indent=2))


if __name__ == "__main__":
    main()
