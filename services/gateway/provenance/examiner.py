"""Files of strangers are looked at in a process of its own: what crashes or hangs it does neither to the gateway.

The process is started when it is needed, takes one file after the other as lines of JSON, and ends when nobody has
asked for some time, or when the gateway has ended.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from services.common.errors import LikenessError
from services.gateway.provenance.examination import Examination, SeenMark, examine
from services.gateway.provenance.reading import ManifestReport, TrustedCertificates

TIMEOUT_S: Final = 120.0
WAIT_S: Final = 30.0  # for those before
IDLE_S: Final = 300.0
NICENESS: Final = 5  # speech and films go first
_MAX_LINE: Final = 16 * 1024 * 1024


class Examiner:
    """Looks at one file at a time. Safe to be called from several threads."""

    def __init__(self, timeout_s: float = TIMEOUT_S, command: tuple[str, ...] = ()) -> None:
        self._timeout_s = timeout_s
        self._command = command or (sys.executable, "-m", "services.gateway.provenance.examiner")
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def examine(
        self,
        path: Path,
        content_type: str,
        trusted: TrustedCertificates,
        mark_key: bytes,
        sidecar: bytes | None = None,
        *,
        searches: bool = True,
    ) -> Examination:
        """As `examination.examine`.

        Raises:
            LikenessError: QUEUE_FULL while others are looked at; MEDIA_UNREADABLE for a file at which the process
                crashes, or takes too long.
        """
        task = {
            "path": str(path.resolve()),
            "content_type": content_type,
            "own": trusted.own,
            "anchors": trusted.anchors,
            "mark_key": mark_key.hex(),
            "sidecar": None if sidecar is None else base64.b64encode(sidecar).decode(),
            "searches": searches,
        }
        if not self._turn.acquire(timeout=WAIT_S):
            raise LikenessError("QUEUE_FULL", "Other files are being verified. Try again in a moment.")
        try:
            answer = self._ask(json.dumps(task).encode() + b"\n")
        finally:
            self._turn.release()
        return _examination(answer)

    def close(self) -> None:
        """Ends the process; the next call starts another one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, line: bytes) -> dict[str, Any]:
        process = self._running()
        try:
            _stdin(process).write(line)
            _stdin(process).flush()
        except OSError:  # it has just ended for want of work
            self.close()
            process = self._running()
            _stdin(process).write(line)
            _stdin(process).flush()
        answer = _read_line(process, self._timeout_s)
        if answer is None:
            self.close()
            detail = (
                "The file cannot be examined: what reads it crashed, or took too long. It may be damaged on purpose."
            )
            raise LikenessError("MEDIA_UNREADABLE", detail, field="file")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        return self._process


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise RuntimeError("the examiner has no input")
    return process.stdin


def _read_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes | None:
    """One line of the answer; None when there is none in time."""
    if process.stdout is None:
        raise RuntimeError("the examiner has no output")
    pieces: list[bytes] = []
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while ready.select(timeout_s):
            piece = os.read(process.stdout.fileno(), _MAX_LINE)
            pieces.append(piece)
            if piece.endswith(b"\n"):
                return b"".join(pieces)
            if not piece:
                return None
    return None


def _examination(answer: dict[str, Any]) -> Examination:
    manifest = answer["manifest"]
    return Examination(
        **{
            **answer,
            "manifest": ManifestReport(**{**manifest, "problems": tuple(manifest["problems"])}),
            "marks": tuple(SeenMark(**mark) for mark in answer["marks"]),
        }
    )


def main() -> None:
    """Answers each line of the standard input with one of the standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library may print belongs to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    with selectors.DefaultSelector() as ready:
        ready.register(0, selectors.EVENT_READ)
        while ready.select(IDLE_S):
            line = sys.stdin.buffer.readline()
            if not line:
                return
            task = json.loads(line)
            found = examine(
                Path(task["path"]),
                task["content_type"],
                TrustedCertificates(task["own"], task["anchors"]),
                bytes.fromhex(task["mark_key"]),
                None if task["sidecar"] is None else base64.b64decode(task["sidecar"]),
                searches=task["searches"],
            )
            answers.write(json.dumps(asdict(found)).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
