"""Face swaps over all ordered pairs of faces: whose face is it, what of the target is kept, how long does it take.

    python -m benchmarks.face --json [--faces-dir DIR] [--max-faces N] [--video FILE | --pictures-only]

Without DIR the faces are those of two pictures inside installed packages: `t1` of insightface (six faces) and
`astronaut` of scikit-image. One JSON object on stdout; a contact sheet in out/benchmarks/face.png, progress on
stderr. Rows of the sheet are sources, columns targets. What the keys mean stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face_measures import (
    Picture,
    background_psnr_db,
    colour_difference,
    expression_error,
    pose_error_deg,
    seam_ratio,
)
from benchmarks.machine import describe_machine
from services.common.decode import decode_picture
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import Face, FaceSwapper, SwapOptions

BUNDLED: Final = (("insightface", "data/images/t1.jpg"), ("skimage", "data/astronaut.png"))
SHEET: Final = Path("out/benchmarks/face.png")
TILE_PX: Final = 160
TIMED_PX: Final = 512  # side of the pictures on which time is measured
TIMED_PAIRS: Final = 12
FRAMING: Final = 3.0  # side of such a picture, in sides of the face
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sample:
    """One face of one picture."""

    picture: Picture
    face: Face
    descriptor: NDArray[np.floating[Any]]


def bundled_pictures() -> list[Path]:
    paths = []
    for package, file in BUNDLED:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"The package {package} is not installed; run `make setup`, or give --faces-dir.")
        paths.append(Path(spec.submodule_search_locations[0]) / file)
    return paths


def collect(swapper: FaceSwapper, paths: list[Path], max_faces: int) -> list[Sample]:
    """Faces of the pictures, from left to right in each."""
    samples: list[Sample] = []
    for path in paths:
        try:
            picture = np.asarray(decode_picture(path.read_bytes()))
        except LikenessError as error:
            _log.warning("%s is left out: %s", path.name, error.detail)
            continue
        faces = sorted(swapper.find(picture), key=lambda face: face.mesh.box[0])
        samples += [Sample(picture, face, swapper.descriptor(picture, face)) for face in faces]
    return samples[:max_faces]


def framed(sample: Sample, picture: Picture, framing: float, side_px: int) -> Picture:
    """The surroundings of a face, as a square of `side_px`."""
    left, top, width, height = sample.face.mesh.box
    half = max(width, height) * framing / 2
    x, y = left + width / 2, top + height / 2
    to_square = np.array([[1.0, 0.0, half - x], [0.0, 1.0, half - y]]) * side_px / (2 * half)
    square = cv2.warpAffine(
        picture, to_square, (side_px, side_px), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(square, np.uint8)


def swap_all_pairs(swapper: FaceSwapper, samples: list[Sample]) -> tuple[dict[str, float], Picture]:
    """Means over all ordered pairs, and the contact sheet."""
    rows: list[dict[str, float]] = []
    sheet = [np.hstack([np.zeros((TILE_PX, TILE_PX, 3), np.uint8)] + [_tile(s, s.picture) for s in samples])]
    for number, source in enumerate(samples, 1):
        tiles = [_tile(source, source.picture)]
        for target in samples:
            swap = swapper.replace(source.picture, source.face, target.picture, [target.face], SwapOptions())
            tiles.append(_tile(target, swap.picture))
            if source is target:
                continue
            (swapped,) = swap.faces
            points, result = target.face.mesh.points, swapper.locate_again(swap.picture, target.face).mesh.points
            rows.append(
                {
                    "nearer_to_source_share": float(swapped.distance_to_source < swapped.distance_to_target),
                    "same_person_share": float(swapped.distance_to_source < 0.6),
                    "id_distance_source_mean": swapped.distance_to_source,
                    "id_distance_target_mean": swapped.distance_to_target,
                    "pose_error_deg": pose_error_deg(result, points),
                    "expression_error": expression_error(result, points),
                    "background_psnr_db": background_psnr_db(swap.picture, target.picture, swapped.painted),
                    "seam_ratio": seam_ratio(swap.picture, target.picture, swapped.painted),
                    "colour_difference": colour_difference(swap.picture, target.picture, swapped.painted),
                }
            )
        sheet.append(np.hstack(tiles))
        _log.info("source %d of %d", number, len(samples))
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}, np.vstack(sheet)


def _tile(sample: Sample, picture: Picture) -> Picture:
    return framed(sample, picture, 1.9, TILE_PX)


def time_swaps(swapper: FaceSwapper, samples: list[Sample]) -> dict[str, float]:
    """Medians on pictures of 512 pixels: finding both faces and swapping, and the same with the recogniser."""
    pictures = [framed(sample, sample.picture, FRAMING, TIMED_PX) for sample in samples]
    pairs = [(source, target) for source in pictures for target in pictures if source is not target]
    pairs = pairs[:: max(1, len(pairs) // TIMED_PAIRS)]
    figures: dict[str, float] = {}
    for name, options in (
        ("seconds_per_swap", SwapOptions(measure=False)),
        ("seconds_per_measured_swap", SwapOptions(measure=True)),
    ):
        wall, processor = [], []
        for source, target in pairs:
            started_wall, started_processor = time.perf_counter(), time.process_time()
            try:
                swapper.swap(source, target, options)
            except LikenessError as error:
                _log.warning("not timed: %s", error.detail)
                continue
            wall.append(time.perf_counter() - started_wall)
            processor.append(time.process_time() - started_processor)
        if wall:
            figures[name] = float(np.median(wall))
            figures[f"processor_{name}"] = float(np.median(processor))
    return figures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; the only format there is")
    parser.add_argument("--faces-dir", type=Path, help="folder of pictures with faces")
    parser.add_argument("--max-faces", type=int, default=16, help="no more than so many; pairs grow with the square")
    parser.add_argument("--video", type=Path, help="a film with faces, measured besides the synthetic ones")
    parser.add_argument("--pictures-only", action="store_true", help="leave out films, which take some minutes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    cv2.setNumThreads(1)
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir), threads=1)
    swapper.warm_up()
    folder = options.faces_dir
    paths = bundled_pictures() if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())
    samples = collect(swapper, paths, options.max_faces)
    if len(samples) < 2:
        raise SystemExit(f"At least two faces are needed; {len(samples)} found in {len(paths)} files.")
    means, sheet = swap_all_pairs(swapper, samples)
    figures: dict[str, Any] = {key: round(value, 4) for key, value in means.items()}
    figures |= {key: round(value, 4) for key, value in time_swaps(swapper, samples).items()}
    figures["pairs"] = len(samples) * (len(samples) - 1)
    figures["faces_found"] = len(samples)
    figures["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    if not options.pictures_only:
        from benchmarks.face_video import measure  # imports this module

        figures |= {key: round(value, 4) for key, value in measure(swapper, options.video).items()}
    figures["machine"] = describe_machine()
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(SHEET), sheet)
    _log.info("contact sheet: %s", SHEET)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
