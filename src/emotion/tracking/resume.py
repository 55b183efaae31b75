"""Unfinished training runs and searches, which a restarted stage continues in the same MLflow run.

Each has a folder in models/checkpoints, named by a hash of everything that determines its result:
the parameters, the data, the library versions, and the code that dvc.yaml lists as the stage's dependencies.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digest, write_json
from emotion.runtime.paths import CHECKPOINTS, DATASET, FINISHED_SEARCHES, project_root
from emotion.tracking.dvc_files import read_pipeline
from emotion.tracking.queries import kill_runs
from emotion.training.checkpoints import Checkpoints

RUN = "run.json"
FINISHED = "finished"
CONTINUABLE = tuple(  # parameters that may change if a search is to continue with the trials of an earlier one
    f"tune.{name}."
    for name in (
        "oracle", "max_trials", "start_from_train", "budget_minutes", "pruning", "retries", "executor", "ray"
    )
)  # fmt: skip
LIBRARIES = ("tensorflow", "keras", "keras-tuner", "numpy")


@dataclass(frozen=True)
class ResumableWork:
    """A training run or search, possibly started by an earlier process."""

    folder: Path

    @property
    def checkpoints(self) -> Checkpoints:
        """The saved states of a training run."""
        return Checkpoints(self.folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Prevent other processes from doing the same work; the lock is released when this process ends.

        Raises:
            UserError: if another process holds the lock.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                "this training or search is already running in another process. Wait for it or stop it; finished"
                " epochs are saved."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def is_locked(self) -> bool:
        """Whether a process is working on it."""
        try:
            with self.lock():
                return False
        except UserError:
            return True

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the attempts so far."""
        return self._read().get("run_id")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that were passed to `begin`."""
        return dict(self._read().get("params", {}))

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / RUN).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def begin(self, run_id: str, params: Mapping[str, Any] | None = None) -> None:
        """Record the MLflow run, so that a later attempt continues it."""
        write_json(self.folder / RUN, {"run_id": run_id, "params": dict(params or {})})

    def unfinished_siblings(self) -> list["ResumableWork"]:
        """Other unfinished work that was begun with parameters."""
        siblings = [ResumableWork(path.parent) for path in sorted(self.folder.parent.glob(f"*/{RUN}"))]
        return [it for it in siblings if it.params and it != self and not (it.folder / FINISHED).exists()]

    def discard(self) -> None:
        """Delete the saved state, so that the next attempt starts from the beginning."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self) -> None:
        """Mark the work as finished. Its files are kept until DVC has cached the stage's outputs."""
        (self.folder / FINISHED).touch()


def resumable_work(stage: str, params: Mapping[str, Any]) -> ResumableWork:
    """The work of a stage with these parameters and the current data, code and libraries.

    Its folder is below the project's root, so DVC experiments in temporary copies find it as well.

    Args:
        stage: `tune` or `train`.
        params: every parameter that determines the result.
    """
    return ResumableWork(project_root() / CHECKPOINTS / _digest(stage, params))


def finished_trials_path(params: Mapping[str, Any]) -> Path:
    """The file with the finished trials of the newest search over the same space and data, with the same code.

    Args:
        params: every parameter that determines the result of the search.
    """
    compared = {key: value for key, value in params.items() if not f"{key}.".startswith(CONTINUABLE)}
    return project_root() / FINISHED_SEARCHES / f"{_digest('tune', compared)}.json"


def _digest(stage: str, params: Mapping[str, Any]) -> str:
    """A hash of what determines the result of a stage."""
    libraries = {name: version(name) for name in LIBRARIES}
    digest = hashlib.sha256(json.dumps({"stage": stage, **params, **libraries}, sort_keys=True).encode())
    weights = Path(str(params["train.transfer.weights"]))
    files = [DATASET / "images.npy", DATASET / "index.csv", *stage_code(stage)]
    for path in (*files, *([weights] if weights.is_file() else [])):
        digest.update(file_digest(path).encode())
    return digest.hexdigest()[:16]


def stage_code(stage: str) -> list[Path]:
    """The Python files that dvc.yaml lists as dependencies of a stage, including those in listed folders."""
    dependencies = read_pipeline(Path()).stages[stage].deps
    code = [Path(path) for path in dependencies if path.startswith("src/")]
    return [file for path in code for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def close_stale_searches(current: ResumableWork, params: Mapping[str, Any]) -> None:
    """If a search is new, print how it differs from unfinished ones, and end their abandoned runs.

    Args:
        current: the search that is about to begin or continue.
        params: its parameters.
    """
    if current.run_id:
        return
    for other in current.unfinished_siblings():
        names = sorted({*params, *other.params})
        changes = [
            f"{name} was {other.params.get(name)}" for name in names if params.get(name) != other.params.get(name)
        ]
        difference = ", ".join(changes) or "different data or code"
        print(f"Starting a new search; the unfinished one in {other.folder} differs: {difference}.")
        if other.run_id and not other.is_locked:
            kill_runs(other.run_id)


def delete_finished() -> None:
    """Delete the files of finished work.

    Called by the stage after `train`: until DVC starts that stage, killing it can still lose the outputs of `train`.
    """
    for marker in (project_root() / CHECKPOINTS).glob(f"*/{FINISHED}"):
        shutil.rmtree(marker.parent)
        marker.parent.with_suffix(".lock").unlink(missing_ok=True)
