"""A trained person model -> an engine of the registry: `python -m services.faceswap.export --run RUN --name NAME`.

The ONNX file holds the shared encoder and the source's decoder: `face` (n, 3, s, s), BGR from 0 to 1 -> `colours`
(n, 3, s, s) and `mask` (n, 1, s, s). Its metadata say who it is, in the recogniser's numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from services.common.errors import LikenessError
from services.common.models import ModelEntry, Registry, describe_file, register_model
from services.common.settings import CommonSettings
from services.faceswap.person_data import Faces
from services.faceswap.person_engine import METADATA, PERSON
from services.faceswap.person_model import PersonConfig, PersonModel
from services.faceswap.register import FOLDER, check_name

OPSET: Final = 17
IR_VERSION: Final = 8  # read by every ONNX Runtime since 1.10


class _Swap(nn.Module):
    """What is served: anybody's face becomes the source's."""

    def __init__(self, model: PersonModel) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.source

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = self.decoder(self.encoder(face))
        return answer


def export_graph(model: PersonModel, descriptor: list[float], path: Path) -> None:
    """Writes the ONNX file."""
    size = model.config.size
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            _Swap(model).eval(),
            (torch.zeros(1, 3, size, size),),
            str(partial),
            input_names=["face"],
            output_names=["colours", "mask"],
            dynamic_axes={name: {0: "n"} for name in ("face", "colours", "mask")},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(str(partial))
    graph.ir_version = IR_VERSION
    onnx.helper.set_model_props(graph, {METADATA: json.dumps({"descriptor": descriptor})})
    onnx.save(graph, str(partial))
    partial.replace(path)


def export(run: Path, name: str, models_dir: Path, *, license_: str) -> ModelEntry:
    """Exports the best weights of a run and registers them as an engine.

    Raises:
        LikenessError: INVALID_FIELD for a bad name, MODEL_INVALID when the run is not complete.
    """
    check_name(Registry(models_dir), name)
    path = models_dir / FOLDER / f"{name}.onnx"
    card = export_run(run, path)
    entry = describe_file(
        path,
        name=name,
        models_dir=models_dir,
        license=license_,
        source="python -m services.faceswap.train",
        data=f"{card['faces']['source']} faces of the source, {card['faces']['target']} of the target",
        metrics={key: card[key] for key in ("held_out_error", "steps", "training_minutes")},
        kind=PERSON,
    )
    register_model(models_dir, entry, local=True)
    return entry


def export_run(run: Path, path: Path) -> dict[str, Any]:
    """Writes the best weights of a run as an ONNX file; gives the run's card.

    Raises:
        LikenessError: MODEL_INVALID when the run is not complete.
    """
    try:
        config = PersonConfig(**json.loads((run / "config.json").read_text("utf-8")))
        model = PersonModel(config)
        model.load_state_dict(load_file(run / "best.safetensors"))
        source = Faces.load(run / "source.npz")
        card: dict[str, Any] = json.loads((run / "card.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        detail = f"{run} is not the folder of a finished training: {error}"
        raise LikenessError("MODEL_INVALID", detail) from error
    export_graph(model, [round(float(value), 5) for value in source.descriptor], path)
    return card


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.faceswap.export", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder that train wrote")
    parser.add_argument("--name", required=True, help="name of the engine")
    parser.add_argument("--license", default="LicenseRef-consented-person", help="what was agreed with the person")
    options = parser.parse_args(arguments)
    try:
        entry = export(options.run, options.name, CommonSettings().models_dir, license_=options.license)
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    print(f"{entry.name}: {entry.sha256} ({entry.size_bytes} bytes)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
