"""Requirements of one image: `python pick.py EXTRA NAME...` prints them as pip reads them.

Versions are those of pyproject.toml: its dependencies and its extra `tracing`, which all images have, and of EXTRA
(`cpu` or `gpu`) the packages that are named. With `gpu`, ONNX Runtime is the build for CUDA, with CUDA's libraries.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ON_GPU: Final = {"onnxruntime": "onnxruntime-gpu"}
WITH_LIBRARIES: Final = {"onnxruntime-gpu": "onnxruntime-gpu[cuda,cudnn]"}


def pick(pyproject: Path, extra: str, names: Sequence[str]) -> list[str]:
    """One requirement each. Raises KeyError for an extra or a package that pyproject.toml does not have."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = {_name(line): line for line in extras[extra]}
    wanted = [ON_GPU.get(name, name) if extra == "gpu" else name for name in names]
    chosen = [lines[name].replace(name, WITH_LIBRARIES.get(name, name), 1) for name in wanted]
    return [*project["dependencies"], *extras["tracing"], *chosen]


def _name(line: str) -> str:
    found = re.match(r"[\w-]+", line)
    return found[0] if found else line


if __name__ == "__main__":
    print("\n".join(pick(Path("pyproject.toml"), sys.argv[1], sys.argv[2:])))
