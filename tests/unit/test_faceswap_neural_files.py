"""Files of networks: what each is told apart by, and where networks run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.common.errors import LikenessError
from services.faceswap.enhancer import Enhancer
from services.faceswap.neural import SwapNet
from services.faceswap.neural_embed import FaceEmbedder
from services.faceswap.neural_session import Compute, OnnxNet, choose_providers
from tests.unit import faceswap_networks as networks

CPU = Compute()


def test_other_signatures_are_told_apart(tmp_path: Path) -> None:
    for make in (SwapNet, FaceEmbedder):
        with pytest.raises(LikenessError, match="no face (swapper|embedder): expected") as raised:
            make(networks.enhancer(tmp_path / "enhancer.onnx", 64, fidelity=True), CPU)
        assert raised.value.reason == "MODEL_INVALID"
    with pytest.raises(LikenessError, match="no face enhancer: expected"):
        Enhancer("x", networks.swapper(tmp_path / "swapper.onnx"), CPU)
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(LikenessError, match=r"broken\.onnx cannot be read"):
        OnnxNet(tmp_path / "broken.onnx", CPU)


def test_embedder_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="gives 300 numbers, the swapper takes 512"):
        SwapNet(networks.swapper(tmp_path / "swapper.onnx"), CPU).latent(np.ones(300, np.float32))


def test_providers() -> None:
    every = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers((), every) == every[1:]
    assert choose_providers((), every[2:]) == every[2:]
    assert choose_providers(("tensorrt", "cuda"), every) == every
    assert choose_providers(("cpu",), every) == every[2:]
    with pytest.raises(LikenessError, match="offers cpu"):
        choose_providers(("cuda",), every[2:])
