"""The kinds of networks an operator can register for faces: what each must look like, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from services.common.errors import LikenessError
from services.common.models import ModelEntry, Registry
from services.faceswap.enhancer import DEFAULT_STRENGTH, Enhancer, check_enhancer
from services.faceswap.neural import PixelRange, SwapNet, check_swapper
from services.faceswap.neural_align import Layout
from services.faceswap.neural_embed import FaceEmbedder, check_embedder
from services.faceswap.neural_session import Compute, OnnxNet
from services.faceswap.person_engine import PERSON, check_person

SWAPPER, EMBEDDER, ENHANCER = "face-swapper", "face-embedder", "face-enhancer"


@dataclass(frozen=True)
class Kind:
    """What a kind of network is: its check, and the parameters it may be given, with the values allowed."""

    what: str
    check: Callable[[OnnxNet, str], Any]
    parameters: Mapping[str, Sequence[str] | type]


KINDS: Final[Mapping[str, Kind]] = {
    SWAPPER: Kind(
        "puts a face onto an aligned crop (INSwapper's signature)",
        check_swapper,
        {"embedder": str, "layout": get_args(Layout), "pixel_range": get_args(PixelRange)},
    ),
    EMBEDDER: Kind("tells a swapper who the source is (ArcFace)", check_embedder, {}),
    ENHANCER: Kind(
        "restores a face (GFPGAN's signature)",
        check_enhancer,
        {"layout": get_args(Layout), "strength": float, "fidelity": float},
    ),
    PERSON: Kind("gives one person's face (`services.faceswap.export`)", check_person, {}),
}


def check_kind(path: Path, kind: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Reads a network and compares it with what its kind must be; gives the parameters, parsed.

    Raises:
        LikenessError: INVALID_FIELD for an unknown kind or parameter, MODEL_INVALID when the file is something else.
    """
    if kind not in KINDS:
        known = "; ".join(f"{name}: {row.what}" for name, row in KINDS.items())
        raise LikenessError("INVALID_FIELD", f"There is no kind {kind!r}. Known: {known}.", field="kind")
    parsed = {name: _parsed(kind, name, value) for name, value in parameters.items()}
    KINDS[kind].check(OnnxNet(path, Compute(providers=("cpu",))), path.name)
    return parsed


def _parsed(kind: str, name: str, value: str) -> str | float:
    allowed = KINDS[kind].parameters.get(name)
    if allowed is None:
        known = ", ".join(KINDS[kind].parameters) or "none"
        raise LikenessError("INVALID_FIELD", f"A {kind} has no parameter {name!r}; known: {known}.", field="parameter")
    if allowed is float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0.0 <= number <= 1.0:
            raise LikenessError("INVALID_FIELD", f"{name} must lie between 0 and 1, got {value!r}.", field="parameter")
        return number
    if not isinstance(allowed, type) and value not in allowed:
        detail = f"{name} must be one of {', '.join(allowed)}, got {value!r}."
        raise LikenessError("INVALID_FIELD", detail, field="parameter")
    return value


def licensed_entry(registry: Registry, name: str) -> ModelEntry:
    """The row of a model that an operator brought along.

    Raises:
        LikenessError: MODEL_INVALID when the licence was never accepted on this machine.
    """
    entry = registry.entry(name)
    if entry.license_accepted is None:
        detail = f"The licence of {name!r} ({entry.license}) was not accepted; register it with `likeness models add`."
        raise LikenessError("MODEL_INVALID", detail)
    return entry


def load_swapper(registry: Registry, name: str, compute: Compute) -> tuple[SwapNet, Layout]:
    """A registered swapper, and how its crops are aligned."""
    values = licensed_entry(registry, name).parameters or {}
    net = SwapNet(registry.path(name), compute, pixel_range=values.get("pixel_range", "0..1"))
    return net, values.get("layout", "arcface")


def embedder_of(registry: Registry, swapper: str) -> str:
    """Name of the embedder that a swapper was registered with, or of the only one registered.

    Raises:
        LikenessError: MODEL_INVALID when there is none, or several and the swapper names none.
    """
    there = registry.of_kind(EMBEDDER)
    named = (registry.entry(swapper).parameters or {}).get("embedder")
    if named is None and len(there) != 1:
        detail = f"The swapper {swapper!r} needs a face embedder (an ArcFace ONNX file), and " + (
            f"there are several: {', '.join(there)}. Register the swapper again with `--parameter embedder=NAME`."
            if there
            else "none is registered. Add one with `likeness models add NAME FILE --kind face-embedder`."
        )
        raise LikenessError("MODEL_INVALID", detail)
    return str(named or there[0])


def load_embedder(registry: Registry, name: str, compute: Compute) -> FaceEmbedder:
    """A registered embedder."""
    licensed_entry(registry, name)
    return FaceEmbedder(registry.path(name), compute)


def load_enhancer(registry: Registry, name: str, compute: Compute) -> Enhancer:
    """A registered enhancer."""
    values = licensed_entry(registry, name).parameters or {}
    return Enhancer(
        name,
        registry.path(name),
        compute,
        layout=values.get("layout", "ffhq"),
        strength=values.get("strength", DEFAULT_STRENGTH),
        fidelity=values.get("fidelity", 0.5),
    )
