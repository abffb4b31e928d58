"""Shows the local stack while it starts: one line per server, then what changes afterwards."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from likeness._cli.output import errors
from likeness._stack import Stack, StackEvent, State

_STYLE: Final = {
    State.STARTING: "",
    State.READY: "green",
    State.WAITING: "yellow",
    State.FAILED: "bold red",
    State.STOPPED: "dim",
}


class StackView:
    """Give `on_event` to the stack; within the context the start is shown live, elsewhere each event is a line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self.quiet = False

    def on_event(self, event: StackEvent) -> None:
        with self._lock:
            task = self._tasks.get(event.server)
            if self._progress is not None and task is not None and errors.is_terminal:
                style = _STYLE[event.state]
                self._progress.update(task, detail=f"[{style}]{event.detail}[/]" if style else event.detail)
                if event.state in (State.READY, State.FAILED):
                    self._progress.stop_task(task)
            elif not self.quiet or event.state in (State.WAITING, State.FAILED):
                errors.print(
                    f"{event.server:12} {event.detail}", style=_STYLE[event.state], markup=False, highlight=False
                )

    def starting(self, stack: Stack) -> _Starting:
        return _Starting(self, stack)


class _Starting:
    """The live part of the view."""

    def __init__(self, view: StackView, stack: Stack) -> None:
        self._view = view
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:12}", markup=False),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=errors,
        )
        view._tasks = {name: self._progress.add_task(name, total=None, detail="waiting") for name in stack.specs}

    def __enter__(self) -> Self:
        self._view._progress = self._progress
        if errors.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._view._lock:
            self._view._progress = None
        if errors.is_terminal:
            self._progress.stop()
