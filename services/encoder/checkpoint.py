"""Tensors out of a PyTorch checkpoint, without PyTorch and without running anything the file asks for.

It reads the format that `torch.save` wrote before version 1.6: five pickles (magic number, protocol, machine, object,
storage keys), then the storages one after the other. Only float32 tensors and plain containers are rebuilt; any
other name in the pickle is refused.
"""

from __future__ import annotations

import pickle  # noqa: S403  restricted below
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from services.common.audio import FloatArray
from services.common.errors import LikenessError

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001


@dataclass(frozen=True)
class _Tensor:
    """A view into a storage, as the pickle describes it; offset, shape and stride count elements."""

    storage_key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _FloatStorage:
    """Stands for torch.FloatStorage: the only element type that is read."""


def _rebuild_tensor(storage_key: str, offset: int, shape: Any, stride: Any, *_: object) -> _Tensor:
    return _Tensor(storage_key, int(offset), tuple(shape), tuple(stride))


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows three names; a pickle that asks for any other is not a plain checkpoint."""

    _ALLOWED: Final = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch", "FloatStorage"): _FloatStorage,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"the checkpoint asks for {module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> str:
        kind, storage_type, key = pid[0], pid[1], pid[2]
        if kind != "storage" or storage_type is not _FloatStorage:
            raise pickle.UnpicklingError("the checkpoint holds something else than float32 storages")
        return str(key)


def _read_storages(file: IO[bytes], keys: list[str]) -> dict[str, FloatArray]:
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(4 * count)
        if count < 0 or len(data) != 4 * count:
            raise EOFError("the checkpoint ends early")
        storages[key] = np.frombuffer(data, "<f4")
    return storages


def _view(tensor: _Tensor, storages: dict[str, FloatArray]) -> FloatArray:
    storage = storages[tensor.storage_key]
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if min((tensor.offset, *tensor.stride, *tensor.shape), default=0) < 0 or last >= storage.size:
        raise ValueError("a tensor lies outside of its storage")
    strides = [4 * step for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides)
    return np.array(view, np.float32)


def read_tensors(path: Path, section: str) -> dict[str, FloatArray]:
    """The named float32 tensors of one section of a checkpoint, such as "model_state".

    Raises:
        LikenessError: MODEL_INVALID when the file is no such checkpoint.
    """
    try:
        with path.open("rb") as file:
            magic, protocol, machine, checkpoint, keys = (_RestrictedUnpickler(file).load() for _ in range(5))
            if magic != _MAGIC or protocol != _PROTOCOL or not machine["little_endian"]:
                raise ValueError("not a checkpoint of the old format")
            storages = _read_storages(file, keys)
        tensors = checkpoint[section].items()
        return {name: _view(tensor, storages) for name, tensor in tensors if isinstance(tensor, _Tensor)}
    except (pickle.UnpicklingError, struct.error, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LikenessError("MODEL_INVALID", f"{path} cannot be read as a checkpoint: {error}.") from error
