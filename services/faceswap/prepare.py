"""A folder of pictures and films -> one person's faces, cut out once.

    python -m services.faceswap.prepare DIR FILE.npz

Training does this by itself; done before, it can run on another machine than the training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap.person_data import Faces, collect
from services.faceswap.weights import load_finder, load_recogniser


def prepare(folder: Path, file: Path, *, every: int = 1) -> Faces:
    """The faces of a folder; kept in the `.npz` file, which is read where it is there already.

    Raises:
        LikenessError: as `person_data.collect` does.
    """
    if file.is_file():
        return Faces.load(file)
    registry = Registry(CommonSettings().models_dir)
    faces = collect(folder, load_finder(registry, average_mirrored=False), load_recogniser(registry), every=every)
    file.parent.mkdir(parents=True, exist_ok=True)
    faces.save(file)
    return faces


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.faceswap.prepare", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path, help="the .npz file to write")
    parser.add_argument("--every", type=int, default=1, help="use every n-th picture")
    options = parser.parse_args(arguments)
    try:
        faces = prepare(options.folder, options.file, every=options.every)
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(f"{len(faces.crops)} faces, {int(faces.held_out.sum())} of them held out")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
