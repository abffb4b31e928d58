"""How commands talk: results on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def say(text: str) -> None:
    """One line of result, never broken nor coloured: other programs may read it."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def complain(text: str, *, style: str = "red") -> None:
    """One line about what went wrong or deserves attention."""
    errors.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """A record, or a list of them, as indented JSON without colours, for other programs."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Rows under their columns, or the sentence `empty`."""
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A display on stderr that vanishes at the end, and is not there at all where stderr is no terminal."""
    return Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner with the time passed, on a terminal; nothing elsewhere."""
    with progress_bar(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        progress.add_task(what, total=None)
        yield
