"""Shows the local stack while it starts: one line per server, then what changes afterwards."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from likeness._cli.output import complain, errors
from likeness._stack import Stack, StackEvent, State

_STYLE: Final = {
    State.STARTING: "",
    State.READY: "green",
    State.WAITING: "yellow",
    State.FAILED: "bold red",
    State.STOPPED: "dim",
}


class _Detail(ProgressColumn):
    """What a server said last."""

    def render(self, task: Task) -> Text:
        detail = task.fields["detail"]
        return detail if isinstance(detail, Text) else Text(str(detail))


class StackView:
    """Give `on_event` to the stack; within the context the start is shown live, elsewhere each event is a line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def on_event(self, event: StackEvent) -> None:
        # While the stack starts, a failure ends it and is told with its log by whoever called; later it is told here.
        detail = event.detail.partition(". The end of")[0] if self._progress is not None else event.detail
        style = _STYLE[event.state]
        with self._lock:
            task = self._tasks.get(event.server)
            if self._progress is not None and task is not None and errors.is_terminal:
                self._progress.update(task, detail=Text(detail, style))
                if event.state in (State.READY, State.FAILED):
                    self._progress.stop_task(task)
            else:
                complain(f"{event.server:12} {detail}", style=style)

    def starting(self, stack: Stack) -> _Starting:
        return _Starting(self, stack)


class _Starting:
    """The live part of the view."""

    def __init__(self, view: StackView, stack: Stack) -> None:
        self._view = view
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:12}", markup=False),
            _Detail(),
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
