"""Does a person model, trained for a few minutes, give its own person's face back better than the mesh engine?

    python -m benchmarks.face_person --json [--minutes 15] [--run DIR]

Two films of moving heads are made (`face_film`), one of each person; a model is trained on them; the last tenth of both
films is held out. Reconstruction: held-out frames of the source are swapped onto themselves, by the model and by the
mesh engine with pictures from the frames that were trained on; the error is the mean absolute difference of pixels
within the face's outline, in levels of 255. Swap: held-out frames of the target with the source's face, judged by the
recogniser. Needs torch. One JSON object on stdout, a contact sheet beside the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.face_film import SyntheticFilm, sample_heads, write_film
from benchmarks.machine import describe_machine
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap import FaceSwapper, train
from services.faceswap.engine import MeshEngine
from services.faceswap.export import export_run
from services.faceswap.face_engine import FaceEngine, Look, Painted, View
from services.faceswap.mesh import Mesh
from services.faceswap.neural_mask import outline_mask
from services.faceswap.neural_session import Compute
from services.faceswap.person_data import frames
from services.faceswap.person_engine import PersonEngine
from services.faceswap.recogniser import distance

Picture = NDArray[np.uint8]
SOURCE_HEAD, TARGET_HEAD = 0, 3  # of `sample_heads`
SIDE_PX: Final = 480
SECONDS: Final = 10.0
FRAME_RATE: Final = Fraction(25)
SOURCE_VIEWS: Final = 4  # given to the mesh engine
JUDGED: Final = 12  # held-out frames
SHOWN: Final = 5


@dataclass(frozen=True, eq=False)
class Held:
    """Held-out views of one person, and views to prepare an engine from."""

    held_out: list[View]
    known: list[View]


def make_films(swapper: FaceSwapper, run: Path) -> None:
    """Films of the two people, unless they are there."""
    heads = sample_heads(swapper)
    for name, number, seed in (("source", SOURCE_HEAD, 1), ("target", TARGET_HEAD, 2)):
        path = run / "films" / name / "film.mp4"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            film = SyntheticFilm([heads[number]], SIDE_PX, SIDE_PX, seconds=SECONDS, frame_rate=FRAME_RATE, seed=seed)
            partial = path.with_name("partial.mp4")
            write_film(film, partial, audio=False)
            partial.replace(path)


def views(swapper: FaceSwapper, folder: Path) -> Held:
    """Faces of the film, found again as the stage would."""
    held_out: list[Picture] = []
    known: list[Picture] = []
    for picture, held in frames(folder):
        (held_out if held else known).append(picture)

    def found(pictures: list[Picture], count: int) -> list[View]:
        chosen = np.linspace(0, len(pictures) - 1, count).round().astype(int)
        located = [(pictures[n], swapper.find(pictures[n])) for n in chosen]
        return [View(picture, faces[0].mesh.points) for picture, faces in located if faces]

    return Held(found(held_out, JUDGED), found(known, SOURCE_VIEWS))


def shown(picture: Picture, painted: Painted) -> Picture:
    result = picture.copy()
    part = result[painted.region.rows, painted.region.columns]
    part[painted.changed] = painted.pixels[painted.changed]
    return result


def reconstruction_error(engine: FaceEngine, person: Any, held: Sequence[View]) -> float:
    """Mean absolute difference within the outline, in levels of 255."""
    errors = []
    for view in held:
        painted = engine.paint(person, view.picture, view.points, Look())
        inside = outline_mask(view.points, painted.region, 1.0) > 0.5
        before = view.picture[painted.region.rows, painted.region.columns]
        errors.append(np.abs(painted.pixels.astype(float) - before)[inside].mean())
    return float(np.mean(errors))


def identity(swapper: FaceSwapper, engine: FaceEngine, person: Any, target: Held, wanted: Any) -> tuple[float, float]:
    """Mean recogniser distances of the results to the source and to the target."""
    found = []
    for view in target.held_out:
        mesh = Mesh(view.points, 1.0)
        result = shown(view.picture, engine.paint(person, view.picture, view.points, Look()))
        descriptor = swapper.recogniser.descriptor(result, mesh)
        found.append(
            (distance(descriptor, wanted), distance(descriptor, swapper.recogniser.descriptor(view.picture, mesh)))
        )
    mean = np.mean(found, axis=0)
    return float(mean[0]), float(mean[1])


def sheet(engines: Sequence[tuple[FaceEngine, Any]], source: Held, target: Held, path: Path) -> None:
    """Held-out frames: source, itself by each engine; target, with the source's face by each engine."""
    rows = []
    for held in (source.held_out, target.held_out):
        chosen = held[:: max(len(held) // SHOWN, 1)][:SHOWN]
        rows.append(np.hstack([view.picture for view in chosen]))
        for engine, person in engines:
            made = [shown(v.picture, engine.paint(person, v.picture, v.points, Look())) for v in chosen]
            rows.append(np.hstack(made))
    cv2.imwrite(str(path), cv2.resize(np.vstack(rows), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def measure(run: Path) -> dict[str, Any]:
    """What a finished run is worth."""
    swapper = FaceSwapper.load(Registry(CommonSettings().models_dir))
    source, target = (views(swapper, run / "films" / name) for name in ("source", "target"))

    def describe(view: View) -> Any:
        return swapper.recogniser.descriptor(view.picture, Mesh(view.points, 1.0))

    path = run / "person.onnx"
    export_run(run, path)
    model = PersonEngine("person", path, Compute(), describe)
    engines: list[tuple[FaceEngine, Any]] = [(MeshEngine(), MeshEngine().prepare(source.known))]
    engines.append((model, model.prepare(source.known)))
    wanted = np.mean([describe(view) for view in source.known], axis=0)
    result: dict[str, Any] = {}
    for engine, person in engines:
        result[f"{engine.name}_reconstruction_error"] = round(reconstruction_error(engine, person, source.held_out), 2)
        to_source, to_target = identity(swapper, engine, person, target, wanted)
        result[f"{engine.name}_id_distance_source"] = round(to_source, 3)
        result[f"{engine.name}_id_distance_target"] = round(to_target, 3)
    times = []
    for view in source.held_out:
        start = time.thread_time()
        model.paint(engines[1][1], view.picture, view.points, Look())
        times.append(time.thread_time() - start)
    result["person_ms_per_face"] = round(1000 * min(times), 1)
    result["person_beats_mesh"] = result["person_reconstruction_error"] < result["mesh_reconstruction_error"]
    sheet(engines, source, target, run / "sheet.png")
    card: dict[str, Any] = json.loads((run / "card.json").read_text())
    return result | {"held_out_frames": len(source.held_out)} | card


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON; there is no other form")
    parser.add_argument("--run", type=Path, default=Path("out/benchmarks/face_person"))
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=32, help="of the network; the trainer's own is 64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(options.threads)
    make_films(FaceSwapper.load(Registry(CommonSettings().models_dir)), options.run)
    folders = [f"--{name}={options.run / 'films' / name}" for name in ("source", "target")]
    more = [f"--{name}={getattr(options, name)}" for name in ("minutes", "batch", "width", "device", "threads")]
    resumed = ["--resume"] if (options.run / "trainer.pt").is_file() else []
    with contextlib.redirect_stdout(sys.stderr):
        if train.main([*folders, f"--out={options.run}", *more, *resumed]):
            return 1
    print(json.dumps(measure(options.run) | {"machine": describe_machine()}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
