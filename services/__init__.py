"""The stages and the gateway: each a server of its own. See docs/architecture/00-overview.md.

Importing this package tells numba where to keep what it compiles: in a folder of this very source. numba notices a
changed function, but not a changed function of another module that was compiled into it, so that after an upgrade a
mixture of old and new code would run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

COMPILED_PACKAGES = ("common", "faceswap", "vocoder")


def _compiled_dir() -> Path:
    """Where compiled code of this version lies: in the cache folder of the user, or else a temporary one."""
    here = Path(__file__).parent
    sources = hashlib.sha256()
    for path in sorted(path for package in COMPILED_PACKAGES for path in (here / package).rglob("*.py")):
        sources.update(str(path.relative_to(here)).encode() + path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "likeness"
    try:
        root.mkdir(parents=True, exist_ok=True)
        usable = os.access(root, os.W_OK)
    except OSError:
        usable = False
    if not usable:  # a read-only file system, as in a container
        root = Path(tempfile.gettempdir()) / "likeness"
    return root / f"compiled-{sources.hexdigest()[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_compiled_dir()))
