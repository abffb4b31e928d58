"""Engines by name: the mesh engine is always there, everything else comes from the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.engine import MeshEngine
from services.faceswap.engines import Engines, load_engine


@pytest.mark.parametrize("name", ["", "mesh"])
def test_mesh_engine_needs_no_model(tmp_path: Path, name: str) -> None:
    assert isinstance(load_engine(name, Registry(tmp_path)), MeshEngine)


def test_one_engine_is_loaded_once(tmp_path: Path) -> None:
    engines = Engines(Registry(tmp_path))
    assert engines.load() is engines.load("mesh", pixel_boost=0) is engines.load("mesh", pixel_boost=1)


def test_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match=r"'inswapper'; known: mesh\. Register") as raised:
        load_engine("inswapper", Registry(tmp_path))
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", "options.engine")
    with pytest.raises(LikenessError, match="no enhancer 'gfpgan'") as raised:
        load_engine("", Registry(tmp_path), enhancer="gfpgan")
    assert raised.value.field == "options.enhancer"


@pytest.mark.parametrize("boost", [-1, 5])
def test_boost_out_of_range_is_refused(tmp_path: Path, boost: int) -> None:
    with pytest.raises(LikenessError, match="between 1 and 4") as raised:
        load_engine("", Registry(tmp_path), pixel_boost=boost)
    assert raised.value.field == "options.pixel_boost"
