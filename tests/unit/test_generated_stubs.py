"""The committed stubs are what proto/ gives."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_are_up_to_date() -> None:
    gen = runpy.run_path(str(ROOT / "scripts" / "gen.py"))
    assert gen["stale_stubs"]() == []


def test_a_changed_proto_is_noticed(tmp_path: Path) -> None:
    """The check compares bytes: a stub with one more line is named."""
    gen = runpy.run_path(str(ROOT / "scripts" / "gen.py"))
    copy = tmp_path / "likeness" / "v1"
    copy.mkdir(parents=True)
    for stub in (ROOT / "likeness" / "v1").glob("*_pb2*"):
        (copy / stub.name).write_bytes(stub.read_bytes())
    (copy / "types_pb2.py").write_bytes((copy / "types_pb2.py").read_bytes() + b"\n# edited by hand\n")
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    gen["stale_stubs"].__globals__["ROOT"] = tmp_path
    assert gen["stale_stubs"]() == ["likeness/v1/types_pb2.py"]
