"""What a training has reached, on disk, so that a killed one can go on."""

import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.runtime.errors import UserError
from emotion.runtime.paths import CHECKPOINTS, FACES, project_root, whole, write_json

KEPT = 2  # the newest, and one to fall back to
# The code that decides a training's result.
SOURCES = ("networks/*.py", "training/*.py", "faces.py", "labels.py", "runtime.py")
SEARCH_SOURCES = ("params.py", "search.py", "trial.py")  # and, besides, that of a search
RUN = "run.json"  # the MLflow run, known from the start
FINISHED = "finished"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoints:
    """The newest states of one training: a .npz file per epoch in a folder of its own."""

    folder: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process train the same; the system lets go when this one ends, however it ends.

        Raises:
            UserError: where another does.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    "this very training is already running in another process. Wait for it, or end it: its"
                    " finished epochs are kept."
                ) from None
            yield

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
        """The newest state that is whole, with its facts; None where there is none."""
        for path in self._newest_first():
            try:
                with path.open("rb") as file, np.load(file) as archive:
                    arrays = dict(archive)
                return arrays, json.loads(str(arrays.pop("facts")))
            except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
                print(f"{path} is damaged; the one before it is taken, if there is one.", flush=True)
        return None

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the attempts so far."""
        path = self.folder / RUN
        return json.loads(path.read_text())["run_id"] if path.exists() else None

    def begin(self, run_id: str, about: Mapping[str, Any] | None = None) -> None:
        """Remember the run before the first epoch is done, and what else tells it from others."""
        write_json(self.folder / RUN, {"run_id": run_id, "about": dict(about or {})})

    @property
    def about(self) -> dict[str, Any]:
        """What `begin` was told."""
        path = self.folder / RUN
        return dict(json.loads(path.read_text())["about"]) if path.exists() else {}

    @property
    def is_held(self) -> bool:
        """Whether a process is at it."""
        try:
            with self.held():
                return False
        except UserError:
            return True

    def others(self) -> list["Checkpoints"]:
        """The unfinished ones beside this one of which `begin` was told something."""
        beside = [Checkpoints(path.parent) for path in sorted(self.folder.parent.glob(f"*/{RUN}"))]
        return [it for it in beside if it.about and it != self and not (it.folder / FINISHED).exists()]

    def discard(self) -> None:
        """Never go on with this one."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self) -> None:
        """The training's outputs are written. The states stay until DVC has them too."""
        (self.folder / FINISHED).touch()

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.npz"), reverse=True)


def of_training(parameters: Mapping[str, Any]) -> Checkpoints:
    """Those of the one training that has these parameters, this data, code and libraries.

    They lie in the project's root, where also an experiment in a copy of it finds them.
    """
    return _of(parameters, SOURCES, ("tensorflow", "keras", "numpy"))


def of_search(parameters: Mapping[str, Any]) -> Checkpoints:
    """The same of a search."""
    return _of(parameters, SOURCES + SEARCH_SOURCES, ("tensorflow", "keras", "numpy", "keras-tuner"))


def _of(parameters: Mapping[str, Any], sources: tuple[str, ...], packages: tuple[str, ...]) -> Checkpoints:
    package = Path(__file__).parents[1]
    files = [FACES / "images.npy", FACES / "index.csv"]
    files += [path for pattern in sources for path in sorted(package.glob(pattern))]
    files += [path for path in [Path(parameters["train.transfer.weights"])] if path.is_file()]
    libraries = {name: version(name) for name in packages}
    total = hashlib.sha256(json.dumps({**parameters, **libraries}, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return Checkpoints(project_root() / CHECKPOINTS / total.hexdigest()[:16])


def clear_finished() -> None:
    """Remove the states of trainings whose outputs are written.

    For the stage after `train`: until DVC starts it, a kill may still lose those outputs.
    """
    for marker in (project_root() / CHECKPOINTS).glob(f"*/{FINISHED}"):
        shutil.rmtree(marker.parent)
        marker.parent.with_suffix(".lock").unlink(missing_ok=True)
