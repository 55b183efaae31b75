"""The state of a training after its newest epochs, on disk, so that a killed one can continue."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.runtime.files import atomic_write

MAX_TO_KEEP = 2  # the newest, and one to fall back to

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The newest states of one training: one .npz file per epoch in a folder of its own."""

    folder: Path

    def save(self, epoch: int, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        """Write the state after an epoch atomically, and delete all but the newest MAX_TO_KEEP."""
        path = self.folder / f"epoch-{epoch:05d}.npz"
        with atomic_write(path) as tmp, tmp.open("wb") as file:
            content: dict[str, Any] = {"metadata": np.array(json.dumps(dict(metadata))), **arrays}
            np.savez(file, **content)
            file.flush()
            os.fsync(file.fileno())
        for old in self._newest_first()[MAX_TO_KEEP:]:
            old.unlink()

    def load(self) -> tuple[Arrays, dict[str, Any]] | None:
        """The newest undamaged state with its metadata; None if there is none."""
        for path in self._newest_first():
            try:
                with path.open("rb") as file, np.load(file) as archive:
                    arrays = dict(archive)
                return arrays, json.loads(str(arrays.pop("metadata")))
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
                print(f"{path} is damaged; falling back to an earlier epoch.", flush=True)
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.npz"), reverse=True)
