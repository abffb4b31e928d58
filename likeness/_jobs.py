"""Jobs and batches: work that the server goes on with by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from likeness._errors import LikenessAPIError, LikenessConnectionError, LikenessJobError
from likeness._resources import Collection, FileInput, MediaFiles, file_part
from likeness._transport import without_none
from likeness._types import ENDED, Batch, Job, JobEvent, Progress, Word

FIRST_POLL_S: Final = 0.1
MAX_POLL_S: Final = 1.0
POLL_GROWTH: Final = 1.3
RECONNECT_S: Final = 1.0
MAX_RECONNECTS: Final = 10  # in a row, without an event in between
_TAKEN: Final = 429
_DRAINING: Final = 503
_NO_MORE: Final = 204

JSON_LINES: Final = "application/jsonl"


class Jobs(Collection):
    """What was done and what is under way: one record per speech, swap, live session or batch."""

    def get(self, job_id: str) -> Job:
        return Job.from_json(self._get(job_id))

    def words(self, job_id: str) -> tuple[Word, ...]:
        """When the words of a speech are spoken that was ordered with timestamps and is kept."""
        found = self._transport.json("GET", f"{self._path}/{job_id}/timestamps")
        return tuple(Word.from_json(word) for word in found["words"])

    def list(
        self, *, status: str | None = None, kind: str | None = None, batch: str | None = None, limit: int | None = None
    ) -> list[Job]:
        """Newest first.

        Args:
            status: queued, processing, succeeded, failed or canceled.
            kind: speech, swap, live or batch.
            batch: the items of this batch, which are not listed otherwise.
            limit: at most so many; None is all.
        """
        wanted = {"status": status, "kind": kind, "batch": batch}
        return [Job.from_json(item) for item in self._pages(limit, **wanted)]

    def wait(
        self, job_id: str, timeout_s: float | None = None, *, on_progress: Callable[[Job], object] | None = None
    ) -> Job:
        """The job once it has ended, or as it is after that time.

        Args:
            on_progress: told of the job each time it is asked for.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        while True:
            job = self.get(job_id)
            if on_progress is not None:
                on_progress(job)
            if job.status in ENDED or (give_up_at is not None and time.monotonic() > give_up_at):
                return job
            time.sleep(pause_s)
            pause_s = min(MAX_POLL_S, pause_s * POLL_GROWTH)

    def watch(self, job_id: str, *, after: int | None = None) -> Iterator[JobEvent]:
        """What happens to the job, as it happens, until its end; all from its beginning, or what came after an event.

        Goes on by itself when the connection breaks. Where too many watch already, the job is asked for now and then,
        and the events made of the answers have no ids.
        """
        failures = 0
        while True:
            last: JobEvent | None = None
            try:
                for last in self._stream(job_id, after):
                    failures, after = 0, after if last.id is None else last.id
                    yield last
            except LikenessAPIError as error:
                if error.status == _TAKEN:
                    yield from self._poll(job_id)
                    return
                if error.status != _DRAINING or failures >= MAX_RECONNECTS:
                    raise
            except LikenessConnectionError:
                if failures >= MAX_RECONNECTS:
                    raise
            if last is not None and last.kind == "state" and last.data.get("status") in ENDED:
                return
            failures += 1
            time.sleep(RECONNECT_S)

    def _stream(self, job_id: str, after: int | None) -> Iterator[JobEvent]:
        headers = {"Accept": "text/event-stream", **({} if after is None else {"Last-Event-ID": str(after)})}
        with self._transport.stream("GET", f"{self._path}/{job_id}/events", headers=headers) as response:
            if response.status_code == _NO_MORE:
                yield JobEvent("state", {"status": self.get(job_id).status})
                return
            yield from read_events(response.iter_lines())

    def _poll(self, job_id: str) -> Iterator[JobEvent]:
        seen: Job | None = None
        while True:
            job = self.get(job_id)
            if seen is None or job.progress != seen.progress:
                yield JobEvent("progress", job.progress or {})
            if seen is None or job.status != seen.status:
                yield JobEvent("state", {"status": job.status, "error": job.error})
            if job.status in ENDED:
                return
            seen = job
            time.sleep(MAX_POLL_S)

    def cancel(self, job_id: str) -> Job:
        """Stops work in the background; what has ended stays as it is."""
        return Job.from_json(self._transport.json("POST", f"{self._path}/{job_id}/cancel"))

    def retry(self, job_id: str) -> Job:
        """Queues a job that failed or was canceled once more; what it had finished is used again."""
        return Job.from_json(self._transport.json("POST", f"{self._path}/{job_id}/retry"))

    def delete(self, job_id: str) -> None:
        """Deletes the record of a job that has ended, and its result."""
        self._transport.request("DELETE", f"{self._path}/{job_id}")


def read_events(lines: Iterable[str]) -> Iterator[JobEvent]:
    """Server-sent events, as https://html.spec.whatwg.org/#event-stream-interpretation reads them."""
    event_id: int | None = None
    kind = ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield JobEvent(kind or "message", json.loads("\n".join(data)), event_id)
            event_id, kind, data = None, "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isdigit():
            event_id = int(value)
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


class Batches(Collection):
    """Thousands of requests in one file."""

    def create(
        self,
        file: FileInput | None = None,
        *,
        input_media: str | None = None,
        endpoint: str | None = None,
        metadata: Mapping[str, str] | None = None,
        webhook_url: str | None = None,
        priority: int | None = None,
        deadline_seconds: float | None = None,
    ) -> Batch:
        """Checks the requests, queues them, and returns at once.

        Args:
            file: JSON lines, each {"custom_id": ..., "method": "POST", "url": "/v1/audio/speech" or "/v1/swaps",
                "body": {...}}.
            input_media: instead of it, the id of such a file that the server has.
            endpoint: what the lines' url must be, when all are alike.
            webhook_url: told when the batch ends.
            priority: lower is earlier among your jobs.
            deadline_seconds: what has not been done then is canceled.
        """
        wanted = {
            "input_file_id": input_media,
            "endpoint": endpoint,
            "metadata": None if metadata is None else dict(metadata),
            "webhook_url": webhook_url,
            "priority": priority,
            "deadline_seconds": deadline_seconds,
        }
        with ExitStack() as opened:
            if file is not None:
                name, content, _ = file_part(file, opened, "batch.jsonl")
                fields = {key: _form_value(value) for key, value in without_none(wanted).items()}
                part = (name, content, JSON_LINES)
                answer = self._transport.json("POST", self._path, data=fields, files={"file": part})
            else:
                answer = self._transport.json("POST", self._path, json=without_none(wanted))
        return Batch.from_json(answer)

    def get(self, batch_id: str) -> Batch:
        return Batch.from_json(self._get(batch_id))

    def list(self, *, limit: int | None = None) -> list[Batch]:
        return [Batch.from_json(item) for item in self._pages(limit)]

    def cancel(self, batch_id: str) -> Batch:
        """Cancels what has not been done; the results of what has are kept."""
        return Batch.from_json(self._transport.json("POST", f"{self._path}/{batch_id}/cancel"))

    def wait(
        self, batch_id: str, timeout_s: float | None = None, *, on_progress: Callable[[Batch], object] | None = None
    ) -> Batch:
        """The batch once it has ended; requests of it may have failed nevertheless.

        Raises:
            LikenessJobError: the batch as such failed or was canceled.
            TimeoutError: it still runs after that time.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        while True:
            batch = self.get(batch_id)
            if on_progress is not None:
                on_progress(batch)
            if batch.is_done:
                break
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TimeoutError(f"{batch_id} is not done after {timeout_s} s.")
            time.sleep(pause_s)
            pause_s = min(MAX_POLL_S, pause_s * POLL_GROWTH)
        if batch.status != "completed":
            raise LikenessJobError(batch.id, "canceled" if batch.status == "cancelled" else "failed", batch.error or {})
        return batch

    def save_results(self, batch: Batch, to: str | Path | IO[bytes]) -> int:
        """Writes the file of results, a line per request in the order of the input; how many bytes it has."""
        if batch.output_file_id is None:
            raise ValueError(f"{batch.id} has no results: it is {batch.status}.")
        return MediaFiles(self._transport, "/v1/media").save(batch.output_file_id, to)


def _form_value(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def progress_of(job: Job) -> Progress | None:
    return None if job.progress is None else Progress.from_json(job.progress)
