"""Writes the gRPC stubs of proto/ into likeness/v1; with --check, only says whether they are up to date."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]


def generate(into: Path) -> list[Path]:
    """Runs protoc over every file of proto/ and returns the generated files, relative to `into`."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        f"--grpc_python_out={into}",
        *map(str, protos),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its message is above")
    # A file without a service makes an empty *_pb2_grpc.py: leave it out.
    for proto in protos:
        if "\nservice " not in proto.read_text():
            (into / proto.relative_to(ROOT / "proto").parent / f"{proto.stem}_pb2_grpc.py").unlink()
    return sorted(path.relative_to(into) for path in into.rglob("*_pb2*"))


def stale_stubs() -> list[str]:
    """Names of stubs in likeness/v1 that differ from what proto/ gives now, are missing, or have no proto."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        committed = {path.relative_to(ROOT) for path in (ROOT / "likeness" / "v1").glob("*_pb2*")}
        different = {
            path
            for path in made
            if not (ROOT / path).exists() or not filecmp.cmp(ROOT / path, Path(folder) / path, shallow=False)
        }
        return sorted(str(path) for path in different | (committed - set(made)))


def main() -> int:
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
        return 0
    stale = stale_stubs()
    if stale:
        print(f"stale stubs: {', '.join(stale)}; run `make gen`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
