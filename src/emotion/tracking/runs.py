"""Start, resume, write to and end MLflow runs."""

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd

from emotion.runtime.errors import UserError
from emotion.runtime.processes import login_name, process_id
from emotion.tracking import delivery
from emotion.tracking.client import ServerUnavailableError, connection
from emotion.tracking.delivery import TEMPORARY, TEMPORARY_ID_TAG, log_or_enqueue
from emotion.tracking.operations import (
    CreateRun,
    LogDataset,
    LogFiles,
    LogMetrics,
    LogParams,
    LogText,
    SetStatus,
    SetTags,
)

PROCESS_TAG = "process"  # the process that works on a run
PARENT_TAG = "mlflow.parentRunId"
STAGE_FLUSH_TIMEOUT = 10.0  # seconds that a stage spends on operations that earlier ones queued
Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Run:
    """A run to write to."""

    id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters. MLflow does not allow changing them later."""
        log_or_enqueue(self.id, LogParams(params={key: str(value) for key, value in params.items()}))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step (an epoch, from 1)."""
        values = tuple((key, float(value), step) for key, value in metrics.items())
        log_or_enqueue(self.id, LogMetrics(metrics=values))

    def log_history(self, history: pd.DataFrame) -> None:
        """Log the metrics of all epochs, from a table with a column `epoch` and one per metric."""
        values = tuple(
            (str(key), float(value), int(epoch))
            for key in history.columns.drop("epoch")
            for epoch, value in zip(history["epoch"], history[key], strict=True)
        )
        log_or_enqueue(self.id, LogMetrics(metrics=values))

    def log_files(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or all files of a folder, as artifacts."""
        log_or_enqueue(self.id, LogFiles(folder=(folder or path.name) if path.is_dir() else folder), path)

    def log_text(self, text: str, path: str) -> None:
        """Log a text as an artifact."""
        log_or_enqueue(self.id, LogText(text=text, path=path))

    def log_dataset(self, name: str, location: str, digest: str) -> None:
        """Log which data the run used, with a custom digest, because MLflow's covers only a few images."""
        log_or_enqueue(self.id, LogDataset(name=name, location=location, digest=digest[:36]))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        log_or_enqueue(self.id, SetTags(tags=dict(tags)))

    def set_description(self, text: str) -> None:
        """Set the description that the UI shows."""
        self.set_tags({"mlflow.note.content": text})

    def logged_steps(self, metric: str) -> set[int]:
        """The steps at which a metric is logged; empty if the store cannot be queried."""
        store = connection()
        if store.outbox.has_pending(self.id):
            return set()
        history = store.query(lambda: store.client.get_metric_history(self.id, metric), ())
        return {value.step for value in history}


@contextmanager
def start_run(
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    unfinished: str | None = None,
) -> Iterator[Run]:
    """Start a run or continue an unfinished one; set it to FINISHED at the end, or to FAILED on any exception.

    Args:
        name: shown in the UI.
        tags: empty values are left out.
        params: must be unchanged if the run continues.
        unfinished: the id of the run to continue, if it still exists.
    """
    _flush_some()
    run_id = resolve_run_id(unfinished) if unfinished else None
    is_resumed = run_id is not None and _is_in_experiment(run_id)
    if run_id is None or not is_resumed:
        run_id = _create_run(name, tags)
    with _active_run(run_id) as run:
        if is_resumed:
            _set_running(run_id)
            run.set_tags(_with_default_tags(tags))
        run.log_params(params)
        yield run


def _flush_some() -> None:
    """Once per process, deliver what earlier stages queued, for at most STAGE_FLUSH_TIMEOUT seconds."""
    if connection().outbox.has_pending() and not connection().is_offline:
        _flush_once()


@cache
def _flush_once() -> None:
    try:
        delivery.flush(STAGE_FLUSH_TIMEOUT)
    except ServerUnavailableError as error:
        connection().go_offline(error)
    except UserError as error:
        print(f"The queued logs were not delivered: {error}", file=sys.stderr, flush=True)


def _is_in_experiment(run_id: str) -> bool:
    """Whether a run belongs to the current experiment; assumed if the store cannot be queried."""
    store = connection()
    if store.outbox.has_pending(run_id):
        return True
    return store.query(lambda: bool(store.client.get_run(run_id).info.experiment_id == store.experiment_id), True)


def _with_default_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Drop empty values, and add the user and the process for MLflow's UI and `emotion cleanup-runs`."""
    defaults = {
        "mlflow.user": login_name(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        PROCESS_TAG: process_id(),
    }
    return {key: value for key, value in {**defaults, **tags}.items() if value}


def _create_run(name: str, tags: Mapping[str, str], parent: str | None = None, temporary_id: str | None = None) -> str:
    """Create a run and return its id; a temporary one if the server is unavailable."""
    store = connection()
    temporary_id = temporary_id or f"{TEMPORARY}{uuid.uuid4().hex}"
    tags = _with_default_tags(tags) | {TEMPORARY_ID_TAG: temporary_id} | ({PARENT_TAG: parent} if parent else {})
    if not (parent and store.outbox.has_pending(parent)) and not store.is_offline:
        try:
            with store.translate_errors(), store.defer_signals():
                created = store.client.create_run(store.experiment_id, tags=tags, run_name=name)
                run_id = str(created.info.run_id)
                store.open_runs[run_id] = True
            return run_id
        except ServerUnavailableError as error:
            store.go_offline(error)
    store.open_runs[temporary_id] = True
    log_or_enqueue(temporary_id, CreateRun(name=name, tags=tags))  # not applied twice if only the response was lost
    return temporary_id


@contextmanager
def _active_run(run_id: str, set_end_time: bool = True) -> Iterator[Run]:
    """Yield a run; set it to FINISHED at the end, or to FAILED on any exception."""
    try:
        yield Run(run_id)
    except BaseException:
        _fail_run(run_id, set_end_time)
        raise
    _end_run(run_id, "FINISHED", set_end_time)


def _set_running(run_id: str, set_end_time: bool = True) -> None:
    connection().open_runs[run_id] = set_end_time
    log_or_enqueue(run_id, SetStatus(status="RUNNING", set_end_time=False))


def _end_run(run_id: str, status: Status, set_end_time: bool = True) -> None:
    log_or_enqueue(run_id, SetStatus(status=status, set_end_time=set_end_time))
    connection().open_runs.pop(run_id, None)


def fail_open_runs() -> None:
    """Set runs that this process left open to FAILED: Ctrl-C may arrive just before or after a `with` block."""
    for run_id, set_end_time in list(connection().open_runs.items()):
        _fail_run(run_id, set_end_time)


def _fail_run(run_id: str, set_end_time: bool) -> None:
    # What made the run fail is reported, and not that the store failed as well, for example because the disk is full.
    # Then the run stays RUNNING, and the next stage closes it.
    with suppress(UserError):
        _end_run(run_id, "FAILED", set_end_time)


def get_or_create_child_run(name: str, tags: Mapping[str, str], params: Mapping[str, object], parent: str) -> str:
    """Return the id of the child run with this name; create it as RUNNING if there is none.

    The caller ends it with `end_run`, or calls `release_run` after another process has ended it.
    """
    store = connection()
    temporary_id = f"{TEMPORARY}{uuid.uuid5(uuid.NAMESPACE_OID, f'{parent} {name}').hex}"  # the same on resuming
    run_id = None
    if store.outbox.has_pending(temporary_id):
        run_id = temporary_id
    elif not store.outbox.has_pending(parent):
        filter_string = f"tags.`{PARENT_TAG}` = '{parent}' and attributes.run_name = '{name}'"
        known = store.query(lambda: list(store.client.search_runs([store.experiment_id], filter_string)), ())
        run_id = str(known[0].info.run_id) if known else None
    run_id = run_id or _create_run(name, tags, parent, temporary_id)
    Run(run_id).log_params(params)
    return run_id


@contextmanager
def resume_run(run_id: str) -> Iterator[Run]:
    """Continue an existing run; set it to FINISHED at the end, or to FAILED on any exception."""
    with _active_run(run_id) as run:
        _set_running(run_id)
        run.set_tags({PROCESS_TAG: process_id()})
        yield run


@contextmanager
def reopen_run(run_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Add to a run that has ended, without changing its end time."""
    with _active_run(run_id, set_end_time=False) as run:
        # The process first: a RUNNING run of a process that has exited is set to KILLED by any other.
        run.set_tags({key: value for key, value in tags.items() if value} | {PROCESS_TAG: process_id()})
        _set_running(run_id, set_end_time=False)
        yield run


def end_run(run_id: str, status: Status, tags: Mapping[str, str] | None = None) -> None:
    """End a run of another process, with tags that say why."""
    if tags:
        Run(run_id).set_tags(tags)
    _end_run(run_id, status)


def release_run(run_id: str) -> None:
    """Leave a run as it is when this process ends."""
    connection().open_runs.pop(run_id, None)


def resolve_run_id(run_id: str) -> str | None:
    """The id that a run has, or will have, in the store: its own, or that of its replacement.

    If the store cannot be queried, the run is assumed to exist.
    """
    _flush_some()
    store = connection()
    if run_id.startswith(TEMPORARY) and store.outbox.has_pending(run_id):
        return run_id
    return store.query(lambda: delivery.resolve_run_id(run_id), run_id)
