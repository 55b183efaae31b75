"""Checkpoints of a training run, from which an interrupted run can resume."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.runtime.files import atomic_write

MAX_TO_KEEP = 2  # the latest checkpoint, and one to fall back to

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The latest checkpoints of one training run: one .npz file per epoch, in a separate folder."""

    folder: Path

    def save(self, epoch: int, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint atomically, and delete all but the latest MAX_TO_KEEP.

        It is not forced onto the disk, which can take as long as an epoch on a GPU, so a power failure may damage the
        latest ones.
        """
        path = self.folder / f"epoch-{epoch:05d}.npz"
        with atomic_write(path) as tmp, tmp.open("wb") as file:
            content: dict[str, Any] = {"metadata": np.array(json.dumps(dict(metadata))), **arrays}
            np.savez(file, **content)
        for old in self._newest_first()[MAX_TO_KEEP:]:
            old.unlink()

    def load(self) -> tuple[Arrays, dict[str, Any]] | None:
        """Return the latest undamaged checkpoint and its metadata, or None if there is none."""
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
