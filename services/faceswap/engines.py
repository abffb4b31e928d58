"""Face engines by name: the mesh engine, and what the operator registered or trained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.engine import MeshEngine
from services.faceswap.face_engine import FaceEngine

MESH: Final = MeshEngine.name
MAX_PIXEL_BOOST: Final = 4


class Engines:
    """All engines of one registry; each network is read once and shared by all threads.

    Args:
        threads: compute threads of one run of a network.
        providers: ONNX Runtime's execution providers in order of preference; none means the best there is.
    """

    def __init__(self, registry: Registry, *, threads: int = 1, providers: Sequence[str] = ()) -> None:
        self._registry = registry
        self._threads = threads
        self._providers = tuple(providers)
        self._loaded: dict[tuple[str, int, str], FaceEngine] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """What `load` knows; `mesh` first."""
        return [MESH]

    def load(self, name: str = "", *, pixel_boost: int = 1, enhancer: str = "") -> FaceEngine:
        """The engine of a name; an empty name is the mesh engine.

        Args:
            pixel_boost: side of the result in multiples of the network's own resolution; 0 counts as 1.
            enhancer: name of a registered enhancer that goes over the result; empty means none.

        Raises:
            LikenessError: INVALID_FIELD for a name that is not known (`options.engine`, `options.enhancer`) or a
                boost out of range; MODEL_INVALID when the file is missing, changed, or its licence not accepted.
        """
        pixel_boost = pixel_boost or 1
        if not 1 <= pixel_boost <= MAX_PIXEL_BOOST:
            detail = f"pixel_boost must lie between 1 and {MAX_PIXEL_BOOST}, got {pixel_boost}."
            raise LikenessError("INVALID_FIELD", detail, field="options.pixel_boost")
        if enhancer:
            raise unknown("enhancer", enhancer, [])
        key = (name or MESH, pixel_boost, enhancer)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._make(key[0], pixel_boost)
            return self._loaded[key]

    def _make(self, name: str, pixel_boost: int) -> FaceEngine:
        makers: dict[str, Callable[[], FaceEngine]] = {MESH: MeshEngine}
        if name not in makers:
            raise unknown("engine", name, self.names())
        return makers[name]()


def unknown(what: str, name: str, known: Sequence[str]) -> LikenessError:
    """The error for a name that nothing is registered under; lists what there is."""
    there = ", ".join(known) or "none is registered"
    detail = f"There is no {what} {name!r}; known: {there}. Register one with `likeness models add`."
    return LikenessError("INVALID_FIELD", detail, field=f"options.{what}")


def load_engine(
    name: str,
    registry: Registry,
    *,
    pixel_boost: int = 1,
    enhancer: str = "",
    threads: int = 1,
    providers: Sequence[str] = (),
) -> FaceEngine:
    """One engine; who needs several keeps an `Engines`, which shares their networks. Raises as `Engines.load` does."""
    return Engines(registry, threads=threads, providers=providers).load(
        name, pixel_boost=pixel_boost, enhancer=enhancer
    )
