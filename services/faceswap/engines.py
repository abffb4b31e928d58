"""Face engines by name: the mesh engine, and what the operator registered or trained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.detector import Picture
from services.faceswap.engine import MeshEngine
from services.faceswap.enhancer import EnhancedEngine
from services.faceswap.face_engine import FaceEngine, View
from services.faceswap.finder import FaceFinder
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh
from services.faceswap.neural import NeuralEngine
from services.faceswap.neural_kinds import ENHANCER, SWAPPER, embedder_of, load_embedder, load_enhancer, load_swapper
from services.faceswap.neural_session import Compute
from services.faceswap.person_engine import PERSON, PersonEngine
from services.faceswap.recogniser import FaceRecogniser
from services.faceswap.weights import load_finder, load_recogniser

T = TypeVar("T")
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
        self._compute = Compute(threads, tuple(providers))
        self._engines: dict[tuple[str, int, str], FaceEngine] = {}
        self._parts: dict[object, object] = {}  # what several engines share
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """The engines that `load` knows; `mesh` first."""
        return [MESH, *self._registry.of_kind(SWAPPER), *self._registry.of_kind(PERSON)]

    def enhancers(self) -> list[str]:
        """The enhancers that `load` knows."""
        return self._registry.of_kind(ENHANCER)

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
        if name and name not in self.names():
            raise unknown("engine", name, self.names())
        if enhancer and enhancer not in self.enhancers():
            raise unknown("enhancer", enhancer, self.enhancers())
        name = name or MESH
        key = (name, pixel_boost if name in self._registry.of_kind(SWAPPER) else 1, enhancer)
        engine = self._engines.get(key)
        if engine is None:  # who asks for one that is there does not wait while another is read
            with self._lock:
                engine = self._engines[key] = self._engines.get(key) or self._make(*key)
        return engine

    def _make(self, name: str, pixel_boost: int, enhancer: str) -> FaceEngine:
        if enhancer:
            over = self._once(enhancer, lambda: load_enhancer(self._registry, enhancer, self._compute))
            return EnhancedEngine(self.load(name, pixel_boost=pixel_boost), over)
        if name == MESH:
            return MeshEngine(self._measure)
        if self._registry.entry(name).kind == PERSON:
            return PersonEngine(name, self._registry.path(name), self._compute, self._describe)
        net, layout = self._once(name, lambda: load_swapper(self._registry, name, self._compute))
        who = embedder_of(self._registry, name)
        embedder = self._once(who, lambda: load_embedder(self._registry, who, self._compute))
        return NeuralEngine(name, net, embedder, layout=layout, pixel_boost=pixel_boost)

    def _measure(self, picture: Picture, points: Points) -> Points:
        """The mesh of a face near `points`; the network is read when the mesh engine first asks for it."""
        with self._lock:
            finder = self._once(FaceFinder, lambda: load_finder(self._registry, threads=self._compute.threads))
        return finder.mesh.follow(picture, np.asarray(points, np.float32), mirrored=True).points

    def _describe(self, view: View) -> FloatArray:
        """The recogniser's numbers of a view; read when a person model first asks for them."""
        with self._lock:
            recogniser = self._once(FaceRecogniser, lambda: load_recogniser(self._registry))
        return recogniser.descriptor(view.picture, Mesh(view.points, 1.0))

    def _once(self, key: object, make: Callable[[], T]) -> T:
        """What was made under a key, or is made now."""
        if key not in self._parts:
            self._parts[key] = make()
        return self._parts[key]  # type: ignore[return-value]


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
