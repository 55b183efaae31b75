"""The operations on a run, each of which can be applied at once or queued as JSON."""

import time
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter, ValidationError

from emotion.tracking.client import Connection, retry_conflicts
from emotion.tracking.experiments import Purpose
from emotion.tracking.outbox import DamagedOperationError

MAX_METRICS, MAX_PARAMS = 1000, 100  # the most that MLflow accepts per request
MAX_DIGEST = 36  # characters of a dataset's digest


def current_milliseconds() -> int:
    """The time, in milliseconds since 1970."""
    return int(time.time() * 1000)


class Operation(BaseModel):
    """One change to a run."""

    model_config = ConfigDict(frozen=True)

    at: int = Field(default_factory=current_milliseconds)  # milliseconds since 1970

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Change the run.

        Args:
            connection: the connection to the store.
            run_id: the id of the run in the store.
            source: the file or folder that the operation needs.
        """
        raise NotImplementedError


class CreateRun(Operation):
    """Create a run. The store gives it an id of its own; the temporary id is in a tag."""

    kind: Literal["create"] = "create"
    name: str
    tags: dict[str, str]
    purpose: Purpose = "training"

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Create the run, with the time of this operation as its start time."""
        experiment = connection.experiment_id(self.purpose)
        connection.client.create_run(experiment, start_time=self.at, tags=self.tags, run_name=self.name)


class LogParams(Operation):
    """Log parameters."""

    kind: Literal["params"] = "params"
    params: dict[str, str]

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Log them in batches."""
        params = [Param(key, value) for key, value in self.params.items()]
        for start in range(0, len(params), MAX_PARAMS):
            connection.client.log_batch(run_id, params=params[start : start + MAX_PARAMS])


class LogMetrics(Operation):
    """Log metrics."""

    kind: Literal["metrics"] = "metrics"
    metrics: tuple[tuple[str, float, int], ...]  # name, value, step

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Log them in batches."""
        metrics = [Metric(key, value, self.at, step) for key, value, step in self.metrics]
        for start in range(0, len(metrics), MAX_METRICS):
            connection.client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])


class SetTags(Operation):
    """Set tags."""

    kind: Literal["tags"] = "tags"
    tags: dict[str, str]

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Set them."""
        connection.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in self.tags.items()])


class LogFiles(Operation):
    """Log a file or a folder as artifacts."""

    kind: Literal["files"] = "files"
    folder: str | None  # among the run's artifacts

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Upload it."""
        assert source is not None
        log = connection.client.log_artifacts if source.is_dir() else connection.client.log_artifact
        try:
            log(run_id, str(source), self.folder)
        except Exception as error:
            if isinstance(error, MlflowException) or not connection.is_remote:
                raise
            # Clients of object stores raise exceptions of their own.
            raise MlflowException(f"{type(error).__name__}: {error}") from error


class LogText(Operation):
    """Log a text as an artifact."""

    kind: Literal["text"] = "text"
    text: str
    path: str  # among the run's artifacts

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Upload it."""
        connection.client.log_text(run_id, self.text, self.path)


class LogDataset(Operation):
    """Log which data the run used."""

    kind: Literal["dataset"] = "dataset"
    name: str
    location: str
    digest: str

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Log it as an input of the run."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow has two kinds of sources for a local path
            place = resolve_dataset_source(self.location)
        dataset = MetaDataset(place, name=self.name, digest=self.digest)
        inputs = [DatasetInput(dataset._to_mlflow_entity())]
        retry_conflicts(lambda: connection.client.log_inputs(run_id, inputs))


class SetStatus(Operation):
    """Set the status of the run."""

    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
    set_end_time: bool

    def apply(self, connection: Connection, run_id: str, source: Path | None) -> None:
        """Set the status and, if requested, the time of this operation as the end time."""
        if self.set_end_time:
            connection.client.set_terminated(run_id, self.status, self.at)
        else:
            connection.client.update_run(run_id, self.status)


AnyOperation = CreateRun | LogParams | LogMetrics | SetTags | LogFiles | LogText | LogDataset | SetStatus
_adapter: TypeAdapter[AnyOperation] = TypeAdapter(Annotated[AnyOperation, Discriminator("kind")])


def parse_operation(content: dict[str, Any]) -> AnyOperation:
    """An operation from the outbox.

    Raises:
        DamagedOperationError: if it is none of the known operations.
    """
    try:
        if not isinstance(content.get("run_id"), str):
            raise TypeError
        return _adapter.validate_python(content)
    except (TypeError, ValidationError):
        raise DamagedOperationError(f"a queued operation on run {content.get('run_id')} is damaged.") from None
