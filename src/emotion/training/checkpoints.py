"""What a training has reached, on disk, so that a killed one can go on."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.paths import CHECKPOINTS, FACES, project_root, whole

KEPT = 2  # the newest, and one to fall back to
SOURCES = ("networks", "training")  # the code that decides a training's result

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The newest states of one training: a .npz file per epoch in a folder of its own."""

    folder: Path

    def save(self, epoch: int, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Keep the state after an epoch; older ones than the one before go."""
        path = self.folder / f"epoch-{epoch:05d}.npz"
        with whole(path) as part, part.open("wb") as file:
            everything: dict[str, Any] = {"facts": np.array(json.dumps(dict(facts))), **arrays}
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        for old in self._newest_first()[KEPT:]:
            old.unlink()

    def load(self) -> tuple[Arrays, dict[str, Any]] | None:
        """The newest state that can be read whole, with its facts; None where there is none."""
        for path in self._newest_first():
            try:
                with path.open("rb") as file, np.load(file) as archive:
                    arrays = dict(archive)
                return arrays, json.loads(str(arrays.pop("facts")))
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError):
                print(f"{path} is damaged; the one before it is taken, if there is one.", flush=True)
                path.unlink()
        return None

    def fact(self, name: str) -> Any:
        """One fact of the newest state; None where there is no state."""
        kept = self.load()
        return kept[1].get(name) if kept else None

    def clear(self) -> None:
        """The training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.npz"), reverse=True)


def of_training(parameters: Mapping[str, Any]) -> Checkpoints:
    """Those of the one training that has these parameters, this data, code and libraries.

    They lie in the project's root, where also an experiment in a copy of it finds them.
    """
    package = Path(__file__).parents[1]
    files = [FACES / "images.npy", FACES / "index.csv"]
    files += [path for folder in SOURCES for path in sorted((package / folder).glob("*.py"))]
    libraries = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    total = hashlib.sha256(json.dumps({**parameters, **libraries}, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return Checkpoints(project_root() / CHECKPOINTS / total.hexdigest()[:16])
