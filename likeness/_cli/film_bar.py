"""The bar that shows how far a job is: frames of a film or whatever else is counted, speed, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from likeness._cli.output import progress_bar
from likeness._types import Progress

_PHASES: Final = {"waiting": "Waiting", "probing": "Reading", "swapping": "Swapping", "joining": "Joining"}


@contextmanager
def film_bar(what: str) -> Iterator[Callable[[Progress], None]]:
    """On a terminal a bar on stderr, elsewhere nothing; yields what is to be told of progress."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with progress_bar(*columns) as bar:
        task = bar.add_task(what, total=None, told="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                description=_PHASES.get(progress.phase, progress.phase),
                total=progress.frames_total or progress.total or None,
                completed=progress.frames_done or progress.done,
                told=describe(progress),
            )

        yield show


def describe(progress: Progress) -> str:
    """Such as `120/300 frames, 31.5 per second, 6 s left`; what is not known is left out."""
    if progress.frames_total:
        parts = [f"{progress.frames_done}/{progress.frames_total} frames"]
    elif progress.total:
        parts = [f"{progress.done}/{progress.total}"]
    else:
        return ""
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if rate := progress.frames_per_second or progress.rate:
        parts.append(f"{rate:.1f} per second")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes} min {seconds:02d} s left" if minutes else f"{seconds} s left")
    return ", ".join(parts)
