"""How much memory the stack's processes hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of one server and its own child processes.

    `measure` is "pss" where the system tells proportional set size (Linux: shared pages are counted once over all
    processes), else "rss", which counts shared pages once per process and so overstates the sum.
    """

    name: str
    processes: int
    size_bytes: int
    measure: str


def _one(process: psutil.Process) -> tuple[int, str]:
    import psutil

    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss), "rss"
    pss = getattr(full, "pss", None)
    return (int(pss), "pss") if pss is not None else (int(full.rss), "rss")


def stack_memory(pids: Mapping[str, int]) -> list[ProcessMemory]:
    """Memory per server; `pids` names the root process of each. Servers that have ended are left out."""
    import psutil  # the image of the gateway, in which the command line makes backups, has none

    found = []
    for name, pid in pids.items():
        try:
            root = psutil.Process(pid)
            sizes = [_one(process) for process in (root, *root.children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
        measure = "pss" if all(kind == "pss" for _, kind in sizes) else "rss"
        found.append(ProcessMemory(name, len(sizes), sum(size for size, _ in sizes), measure))
    return found
