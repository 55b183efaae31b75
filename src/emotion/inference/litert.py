"""Run predictions with a LiteRT file that `emotion export` wrote."""

import io
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS, LABELS, parse_labels
from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import silent_stderr


def with_labels(content: bytes, emotions: Sequence[str]) -> bytes:
    """A LiteRT file's content with the names of the emotions, see `LiteRT`."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS.name), "\n".join(emotions))
    return buffer.getvalue()


def _read_labels(path: Path) -> tuple[str, ...]:
    """The emotions of a file; those of FER-2013 if it was written without names."""
    try:
        with zipfile.ZipFile(path) as archive:
            return parse_labels(archive.read(LABELS.name), f"{LABELS.name} in {path}")
    except (zipfile.BadZipFile, KeyError):
        return EMOTIONS


class LiteRT:
    """A LiteRT file with the `serve` endpoint of a SavedModel. Threads may share it.

    The names of the emotions are a file in a ZIP archive at its end, as in LiteRT's metadata format.
    """

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
        ((self._input, details),) = self._run.get_input_details().items()
        _, height, width, channels = (int(length) for length in details["shape"])
        self.input_shape = height, width, channels
        self.emotions = _read_labels(path)
        self._lock = threading.Lock()
        if "novelty" in self._run.get_output_details():
            self.assess = self._call

    def serve(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (n, *input_shape) float32, 0..255, to (n, classes) float32 probabilities."""
        outputs = self._call(pixels)
        return outputs["probabilities"] if "probabilities" in outputs else next(iter(outputs.values()))

    def _call(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            outputs: dict[str, NDArray[np.float32]] = self._run(**{self._input: pixels})
            return {name: output.copy() for name, output in outputs.items()}
