"""The exported network is the network: PyTorch's own LSTM on the same weights is the oracle."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from services.common.errors import LikenessError
from services.common.models import Registry, package_file
from services.encoder import export as export_module
from services.encoder.checkpoint import read_tensors
from services.encoder.export import build_graph, export, read_pretrained
from services.encoder.features import MEL_BANDS
from services.encoder.model import MODEL_NAME

torch.set_num_threads(1)  # two would wait for each other on a busy machine
PRETRAINED = package_file("resemblyzer", "pretrained.pt")


def torch_network(tensors: dict[str, Any], mel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Wan et al. 2018, section 2, in PyTorch."""
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    lstm, linear = torch.nn.LSTM(MEL_BANDS, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in state.items() if "lstm." in name})
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in state.items() if "linear." in name})
    with torch.no_grad():
        _, (hidden, _) = lstm(torch.from_numpy(mel))
        raw = torch.relu(linear(hidden[-1]))
    return np.asarray(raw / raw.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("frames", [40, 160])
def test_graph_equals_pytorch(batch: int, frames: int) -> None:
    tensors = read_pretrained()
    mel = np.random.default_rng(0).random((batch, frames, MEL_BANDS)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        build_graph(tensors).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"mel": mel})[0]
    assert found.shape == (batch, 256)
    assert np.abs(found - torch_network(tensors, mel)).max() < 2e-6


def test_checkpoint_reader_equals_torch_load() -> None:
    expected = torch.load(PRETRAINED, map_location="cpu", weights_only=True)["model_state"]
    found = read_tensors(PRETRAINED, "model_state")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name].numpy()) for name in expected)


def test_checkpoint_reader_reads_what_torch_saves(tmp_path: Path) -> None:
    """Views, strides and offsets as well."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    saved = {"a": base, "turned": base.T, "part": base[1:3, 2:5], "number": torch.tensor(3.5)}
    torch.save({"x": saved}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    found = read_tensors(tmp_path / "old.pt", "x")
    assert all(np.array_equal(found[name], saved[name].numpy()) for name in saved)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code from a checkpoint ran",)


def test_checkpoint_that_asks_for_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    parts: list[object] = [0x1950A86A20F9469CFC6C, 1001, {}, _Evil(), []]
    path.write_bytes(b"".join(map(pickle.dumps, parts)))
    with pytest.raises(LikenessError, match=r"builtins\.print") as raised:
        read_tensors(path, "x")
    assert raised.value.reason == "MODEL_INVALID"
    assert capsys.readouterr().out == ""


def test_tensor_outside_of_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"x": {"a": torch.zeros(4)}}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pt").read_bytes()
    claims_four, claims_more = b"K\x04\x85q", b"K\x7f\x85q"  # the shape (4,) in the pickle
    assert claims_four in data
    (tmp_path / "b.pt").write_bytes(data.replace(claims_four, claims_more))
    with pytest.raises(LikenessError, match="outside"):
        read_tensors(tmp_path / "b.pt", "x")


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps(1), pickle.dumps(collections.OrderedDict())])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(LikenessError):
        read_tensors(tmp_path / "x.pt", "model_state")


def test_export_writes_once_and_repairs(tmp_path: Path) -> None:
    path = export(tmp_path)
    assert Registry(tmp_path).path(MODEL_NAME) == path
    written = path.stat().st_mtime_ns
    export(tmp_path)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"damaged")
    export(tmp_path)
    assert Registry(tmp_path).path(MODEL_NAME).stat().st_size > 5_000_000


def test_other_weights_in_the_wheel_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "PRETRAINED_SHA256", "0" * 64)
    with pytest.raises(LikenessError, match="SHA-256"):
        export(tmp_path)
    assert not (tmp_path / "manifest.local.json").exists()
