"""The steps of a workflow: each is done once and its result kept by the queue, so that whoever goes on with the
workflow gets the result instead of doing the work again. Results are small JSON; what is large is in the object store.

An item of a batch is one step as a whole; the steps within it are plain calls, which find what they have made before.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

from dbos import DBOS, StepReservation
from dbos import error as queue_error

from services.common.errors import LikenessError
from services.gateway.halting import HandedOver
from services.gateway.jobs.execution import DATABASE_AWAY, Execution

TICK_S: Final = 0.25
Step = Callable[[], Any]


def run_step(execution: Execution, name: str, work: Step) -> Any:
    """The step's result: kept from before, or made now, as long as it takes while parts of the system are away."""
    if execution.workflow_id is None:
        return execution.insist(work, what=name)
    return DBOS.run_step({"name": name}, lambda: execution.insist(work, what=name))


def run_parallel(
    execution: Execution,
    name: str,
    works: Sequence[Step],
    *,
    window: int,
    on_tick: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Results in the order of the steps, of which at most `window` are worked on at the same time.

    The first failure stops the others and is raised. The numbers by which the queue knows the steps are drawn in order
    before any begins, so that they are the same whoever runs them.
    """
    insisting = [_insisting(execution, name, work) for work in works]
    if execution.workflow_id is None:
        calls = insisting
    else:
        reserved = [DBOS.reserve_step() for _ in works]
        calls = [_at(place, name, work) for place, work in zip(reserved, insisting, strict=True)]
    results: dict[int, Any] = {}
    with ThreadPoolExecutor(window, thread_name_prefix=name) as pool:
        pending: dict[Future[Any], int] = {}
        try:
            for number, call in enumerate(calls):
                pending[pool.submit(call)] = number
            while pending:
                done, _ = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    results[pending.pop(future)] = future.result()
                on_tick()
        except BaseException as error:
            execution.halt.stop(_reason(error))
            for future in pending:
                future.cancel()
            raise
    return [results[number] for number in range(len(works))]


def _reason(error: BaseException) -> LikenessError | HandedOver:
    """Why the other steps are stopped."""
    if isinstance(error, LikenessError | HandedOver):
        return error
    if isinstance(
        error, (queue_error.DBOSException, *DATABASE_AWAY)
    ):  # another's, or to be given back: nobody's failure
        return HandedOver(str(error))
    return LikenessError("INTERNAL", repr(error))


def _at(place: StepReservation, name: str, work: Step) -> Step:
    context = contextvars.copy_context()

    def run() -> Any:
        return place.run({"name": name}, work)

    return lambda: context.run(run)


def _insisting(execution: Execution, name: str, work: Step) -> Step:
    return lambda: execution.insist(work, what=name)
