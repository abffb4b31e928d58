"""LiteRT models behind one call that any number of threads may make at once.

A LiteRT interpreter keeps its tensors inside and is not thread-safe, so a model holds a pool of interpreters: a call
borrows one, and a further one is made only when all are in use. There are never more than calls at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class LiteRtModel:
    """A `.tflite` file with one float input.

    Args:
        path: the model file.
        threads: compute threads of one run.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._path = path
        self._threads = threads
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        interpreter = self._make()
        details = interpreter.get_input_details()[0]
        _, self.input_height, self.input_width, _ = (int(n) for n in details["shape"])
        self._input_index = int(details["index"])
        self._output_indices = [int(output["index"]) for output in interpreter.get_output_details()]
        self._idle.append(interpreter)

    def _make(self) -> Any:
        interpreter = Interpreter(model_path=str(self._path), num_threads=self._threads)
        interpreter.allocate_tensors()
        return interpreter

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        with self._lock:
            interpreter = self._idle.pop() if self._idle else None
        if interpreter is None:
            interpreter = self._make()
        try:
            yield interpreter
        finally:
            with self._lock:
                self._idle.append(interpreter)

    def run(self, tensor: FloatArray) -> list[FloatArray]:
        """Runs the model on one input (height, width, channels); gives its outputs without the batch axis."""
        with self._borrowed() as interpreter:
            interpreter.set_tensor(self._input_index, tensor[np.newaxis])
            interpreter.invoke()
            return [np.array(interpreter.get_tensor(index)[0]) for index in self._output_indices]
