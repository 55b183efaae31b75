"""Run predictions with a LiteRT file that `emotion export` wrote."""

import os
import threading
from pathlib import Path

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
        signatures = list(self._interpreter.get_signature_list())
        if not signatures:
            raise UserError(f"{path} has no signature. Give a file that `emotion export` wrote.")
        self._run = self._interpreter.get_signature_runner("assess" if "assess" in signatures else signatures[0])
        (self._input,) = self._run.get_input_details()
        self._lock = threading.Lock()
        if "novelty" in self._run.get_output_details():
            self.assess = self._call

    def serve(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, 48, 48, 1) float32, 0..255, to (n, 7) float32 probabilities."""
        outputs = self._call(pixels)
        return outputs["probabilities"] if "probabilities" in outputs else next(iter(outputs.values()))

    def _call(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            outputs: dict[str, NDArray[np.float32]] = self._run(**{self._input: pixels})
            return {name: output.copy() for name, output in outputs.items()}
