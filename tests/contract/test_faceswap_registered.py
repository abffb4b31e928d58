"""Engines that the operator registered, asked for over gRPC by their names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from likeness.v1 import faceswap_pb2
from services.common.decode_picture import decode_picture
from services.common.settings import REPOSITORY_ROOT
from services.faceswap.register import Offer, register
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, face_stage, inline, refusal
from tests.unit import faceswap_networks as networks


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A stage whose models folder also has a swapper, an embedder and an enhancer that makes negatives."""
    folder: Path = tmp_path_factory.mktemp("models")
    shutil.copy(REPOSITORY_ROOT / "models" / "manifest.json", folder)
    made = folder / "made"
    for name, kind, file in (
        ("tiny", "face-swapper", networks.swapper(made / "swapper.onnx")),
        ("arcface", "face-embedder", networks.embedder(made / "embedder.onnx")),
        ("negative", "face-enhancer", networks.enhancer(made / "enhancer.onnx", 256)),
    ):
        register(folder, Offer(name, file, kind, "MIT", "a test", parameters={}), accepted=True)
    data = tmp_path_factory.mktemp("data")
    with face_stage(FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=data, models_dir=folder)) as (
        stub,
        _,
    ):
        yield stub


def swapped(stub: Any, **options: Any) -> np.ndarray:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(a_woman()),
        target=inline(a_man()),
        options=faceswap_pb2.SwapOptions(skip_distances=True, **options),
    )
    response = stub.SwapPicture(request, timeout=TIMEOUT_S)
    assert len(response.faces) == 1
    return np.asarray(decode_picture(response.result.encoded))


def test_neural_engine_by_name(stub: Any) -> None:
    before = a_man().astype(int)
    results = {
        "mesh": swapped(stub),
        "tiny": swapped(stub, engine="tiny"),
        "boosted": swapped(stub, engine="tiny", pixel_boost=2),
        "eyes": swapped(stub, engine="tiny", regions=[faceswap_pb2.FACE_REGION_EYES]),
        "enhanced": swapped(stub, engine="tiny", enhancer="negative"),
        "mesh, enhanced": swapped(stub, enhancer="negative"),
    }
    changed = {name: (np.abs(result.astype(int) - before).max(axis=2) > 3) for name, result in results.items()}
    for name, where in changed.items():
        assert 0 < where.mean() < 0.5, name
        assert not where[:8].any() and not where[:, :8].any(), name  # the picture's edge is far from the face
    assert changed["eyes"].sum() < 0.3 * changed["tiny"].sum()
    assert not (changed["eyes"] & ~changed["tiny"]).any()
    assert len({result.tobytes() for result in results.values()}) == len(results)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"engine": "inswapper"}, "options.engine"),
        ({"engine": "negative"}, "options.engine"),
        ({"enhancer": "tiny"}, "options.enhancer"),
        ({"engine": "tiny", "pixel_boost": 5}, "options.pixel_boost"),
    ],
)
def test_names_and_numbers_that_are_not_known(stub: Any, options: dict[str, Any], field: str) -> None:
    assert refusal(lambda: swapped(stub, **options)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
