"""Runs in MLflow. Together with `registry`, the only place that knows MLflow.

Where the runs go is environment: MLFLOW_TRACKING_URI (default: mlflow.db in the project's
root) and MLFLOW_EXPERIMENT_NAME (default: emotion).
"""

import fcntl
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow's defaults keep trying a dead server for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# It would print the server's address with the password in it.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
import pandas as pd
import requests
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param
from mlflow.exceptions import RESOURCE_DOES_NOT_EXIST, ErrorCode, MlflowException
from sqlalchemy.exc import SQLAlchemyError

from emotion.errors import UserError
from emotion.paths import project_root

MOST_METRICS = 1000  # that MLflow takes at once
MOST_RUNS = 1000  # that it gives at once
RESTORED_FROM = "restored_from"  # the tag of a run logged again from files, with the lost run's id


def store_uri() -> str:
    """Where the runs are. A relative SQLite path counts from the project's root."""
    root = project_root().resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    return f"sqlite:///{root / path}" if scheme == "sqlite" and separator else uri


@cache
def connect() -> mlflow.MlflowClient:
    """Point MLflow at the tracking store, creating it and the experiment where needed.

    Raises:
        UserError: where the store cannot be reached.
    """
    uri = store_uri()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "emotion")
    mlflow.set_tracking_uri(uri)
    with explained("cannot be used"), _one_at_a_time(uri):
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            # A server knows itself where artifacts go; a database does not.
            location = None if uri.startswith("http") else str(project_root().resolve() / "mlartifacts")
            # The tag lets the UI show what belongs to training and not to language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(name, artifact_location=location, tags=kind)
        elif experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"MLflow's experiment {name} was deleted. Bring it back with `mlflow experiments restore"
                f" -x {experiment.experiment_id}`, or choose another name in MLFLOW_EXPERIMENT_NAME."
            )
        mlflow.set_experiment(name)
    return client


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time create a SQLite store: MLflow's own migrations race."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Write-ahead logging lets the UI read while a run writes, and a run end well whose
        # last reading was interrupted.
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
        yield


def without_password(text: str) -> str:
    """A text with URIs in it, as it may be shown."""
    return re.sub(r"://[^/@\s]+@", "://", text)


@contextmanager
def explained(what: str = "failed") -> Iterator[None]:
    """Turn a store that fails into one message."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, requests.RequestException) as error:
        reason = without_password(str(error).strip().splitlines()[0])[:300]
        raise UserError(
            f"the MLflow tracking store at {without_password(store_uri())} {what}: {reason}. Start the server,"
            " mend MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the project; then run again."
        ) from error


@contextmanager
def run(
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    parent: str | None = None,
    unfinished: str | None = None,
) -> Iterator[str]:
    """A new run, or one that was cut short; FINISHED at the end, FAILED on any exception.

    Args:
        name: shown in the UI.
        tags: without the empty ones.
        params: the same as before, where a run goes on.
        parent: the id of the run that it belongs below.
        unfinished: the id of the run to go on with, if it is still there.

    Yields:
        Its id.
    """
    client = connect()
    said = {key: value for key, value in tags.items() if value}
    with explained():
        known = find(unfinished) if unfinished else None
        if known and client.get_run(known).info.experiment_id != os.environ["MLFLOW_EXPERIMENT_ID"]:
            known = None  # the experiment was changed in between
        started = mlflow.start_run(known, run_name=name, tags=said, parent_run_id=parent, nested=parent is not None)
        with started as active:
            mlflow.log_params(dict(params))
            yield active.info.run_id


def child(name: str, tags: Mapping[str, str], params: Mapping[str, Any], parent: str) -> str:
    """The id of the run of that name below another; made, and RUNNING, where there is none."""
    client = connect()
    experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
    with explained():
        below = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"
        known = client.search_runs([experiment], below, max_results=1)
        said = {key: value for key, value in tags.items() if value} | {"mlflow.parentRunId": parent}
        run = known[0] if known else client.create_run(experiment, tags=said, run_name=name)
        run_id = str(run.info.run_id)
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
    return run_id


@contextmanager
def within(run_id: str) -> Iterator[None]:
    """Log to a run that exists; FINISHED at the end, FAILED on any exception."""
    connect()
    with explained(), mlflow.start_run(run_id, nested=mlflow.active_run() is not None):
        yield


def end(run_id: str, status: str, tags: Mapping[str, str] | None = None) -> None:
    """Say how a run of another process ended: FINISHED, FAILED or KILLED, and why."""
    client = connect()
    with explained():
        for key, value in (tags or {}).items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, status)


def abandon(run_id: str) -> None:
    """End a run that nothing is at any more, and those below it, as KILLED; where they are open and still there."""
    with explained():
        for run in [run for run in runs() if run_id in (run.id, run.tags.get("mlflow.parentRunId"))]:
            if run.status == "RUNNING":
                end(run.id, "KILLED")


def logged_steps(key: str) -> set[int]:
    """The steps at which the active run has a metric."""
    active = mlflow.active_run()
    assert active is not None
    return {metric.step for metric in connect().get_metric_history(active.info.run_id, key)}


@contextmanager
def resumed(run_id: str, tags: Mapping[str, str]) -> Iterator[None]:
    """Go on with a run that has ended."""
    client = connect()
    with explained():
        ended = client.get_run(run_id).info.end_time
        with mlflow.start_run(run_id=run_id):
            mlflow.set_tags({k: v for k, v in tags.items() if v})
            yield
        # A run lasts as long as its own stage, not until the last that went on with it.
        client.set_terminated(run_id, "FINISHED", ended)


def find(run_id: str) -> str | None:
    """The id under which a run is in the store: its own, or that of its restored twin."""
    client = connect()
    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    twins = client.search_runs(experiments, f"tags.{RESTORED_FROM} = '{run_id}'", max_results=1)
    return twins[0].info.run_id if twins else None


@dataclass(frozen=True)
class Run:
    """What the store knows of a run."""

    id: str
    name: str
    status: str  # RUNNING, FINISHED, FAILED, KILLED
    params: dict[str, str]
    metrics: dict[str, float]  # the last of each
    tags: dict[str, str]


def runs(name: str | None = None, parent: str | None = None) -> list[Run]:
    """The experiment's runs, the newest first.

    Args:
        name: only those of this name.
        parent: only those below the run of this id.
    """
    client = connect()
    conditions = [f"attributes.run_name = '{name}'"] if name else []
    conditions += [f"tags.`mlflow.parentRunId` = '{parent}'"] if parent else []
    found: list[Run] = []
    token = None
    with explained():
        while True:
            page = client.search_runs(
                [os.environ["MLFLOW_EXPERIMENT_ID"]], " and ".join(conditions), max_results=MOST_RUNS, page_token=token
            )
            found += [
                Run(r.info.run_id, r.info.run_name, r.info.status, r.data.params, r.data.metrics, r.data.tags)
                for r in page
            ]
            token = page.token
            if not token:
                return found


def artifact(run_id: str, path: str) -> Path | None:
    """A run's artifact as a local file; None where it has none."""
    connect()
    try:
        return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))
    except (MlflowException, OSError):
        return None


def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Metrics of the active run at a step (an epoch, from 1)."""
    mlflow.log_metrics(dict(metrics), step=step)


def log_history(history: pd.DataFrame) -> None:
    """Metrics of all epochs at once, from a table with a column `epoch` and one per metric."""
    active = mlflow.active_run()
    assert active is not None
    metrics = [
        Metric(str(key), value, active.info.start_time, int(epoch))
        for key in history.columns.drop("epoch")
        for epoch, value in zip(history["epoch"], history[key], strict=True)
    ]
    for start in range(0, len(metrics), MOST_METRICS):
        connect().log_batch(active.info.run_id, metrics=metrics[start : start + MOST_METRICS])


def log_files(path: Path, folder: str | None = None) -> None:
    """A file, or all files of a folder, as artifacts of the active run."""
    if path.is_dir():
        mlflow.log_artifacts(str(path), folder or path.name)
    else:
        mlflow.log_artifact(str(path), folder)


def log_text(text: str, artifact: str) -> None:
    """A text as an artifact of the active run."""
    mlflow.log_text(text, artifact)


def set_tag(key: str, value: str) -> None:
    """A tag of the active run."""
    mlflow.set_tag(key, value)


def describe(text: str) -> None:
    """The active run's description in the UI."""
    set_tag("mlflow.note.content", text)


def log_dataset(name: str, location: str, digest: str) -> None:
    """Name the data that the active run used; MLflow's own digest sees only a few faces."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow knows two sources of the same name
        source = resolve_dataset_source(location)
    mlflow.log_input(MetaDataset(source, name=name, digest=digest[:36]))
