"""Run predictions with a LiteRT file that `emotion export` wrote."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import silent_stderr


class LiteRT:
    """A LiteRT file with the `serve` endpoint of a SavedModel. Threads may share it."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with silent_stderr():
                self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=os.cpu_count())
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = f"{path} is not a LiteRT file: {error}".splitlines()[0].rstrip(".")
            raise UserError(f"{reason}. Give a file that `emotion export` wrote, or a SavedModel folder.") from error
        self._input, self._output = (
            details[0]["index"]
            for details in (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        )
        self._lock = threading.Lock()
        self._shape: tuple[int, ...] = ()

    def serve(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, 48, 48, 1) float32, 0..255, to (n, 7) float32 probabilities."""
        with self._lock:
            interpreter: Any = self._interpreter
            if pixels.shape != self._shape:
                interpreter.resize_tensor_input(self._input, pixels.shape)
                interpreter.allocate_tensors()
                self._shape = pixels.shape
            interpreter.set_tensor(self._input, pixels)
            interpreter.invoke()
            answers: NDArray[np.float32] = interpreter.get_tensor(self._output)
            return answers
