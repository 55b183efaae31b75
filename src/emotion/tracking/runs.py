"""Start, resume, write to and end MLflow runs."""

import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from emotion.runtime.errors import UserError
from emotion.runtime.processes import login_name, process_id
from emotion.tracking import delivery
from emotion.tracking.client import ServerUnavailableError, connection
from emotion.tracking.delivery import TEMPORARY, TEMPORARY_ID_TAG, log_or_enqueue
from emotion.tracking.experiments import Purpose
from emotion.tracking.operations import (
    CreateRun,
    SetStatus,
    current_milliseconds,
)
from emotion.tracking.run import Run

PROCESS_TAG = "process"  # the process that works on a run
PARENT_TAG = "mlflow.parentRunId"
KEY_TAG = "trial"  # the name of a trial, which is unique in its search
STAGE_FLUSH_TIMEOUT = 10.0  # seconds that a stage spends on operations that earlier ones queued
Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Period:
    """When a run started and ended, in milliseconds since 1970; None for the time of logging."""

    start: int | None = None
    end: int | None = None


NOW = Period()


@contextmanager
def start_run(
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    unfinished: str | None = None,
    purpose: Purpose = "training",
    period: Period = NOW,
) -> Iterator[Run]:
    """Start a run or continue an unfinished one; set it to FINISHED at the end, or to FAILED on any exception.

    Args:
        name: shown in the UI.
        tags: empty values are left out.
        params: must be unchanged if the run continues.
        unfinished: the id of the run to continue, if it still exists.
        purpose: of the experiment that the run belongs to.
        period: when the run started and ended, if it is logged afterwards.
    """
    _flush_some()
    run_id = resolve_run_id(unfinished) if unfinished else None
    is_resumed = run_id is not None and _is_in_project(run_id)
    if run_id is None or not is_resumed:
        run_id = _create_run(name, tags, purpose=purpose, start=period.start)
    with _active_run(run_id, end=period.end) as run:
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


def _is_in_project(run_id: str) -> bool:
    """Whether a run belongs to an experiment of the project; assumed if the store cannot be queried."""
    store = connection()
    if store.outbox.has_pending(run_id):
        return True
    return store.query(lambda: bool(store.client.get_run(run_id).info.experiment_id in store.experiment_ids), True)


def _with_default_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Drop empty values, and add the user and the process for MLflow's UI and `emotion cleanup-runs`."""
    defaults = {
        "mlflow.user": login_name(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        PROCESS_TAG: process_id(),
    }
    return {key: value for key, value in {**defaults, **tags}.items() if value}


def _create_run(
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
    temporary_id: str | None = None,
    purpose: Purpose = "training",
    start: int | None = None,
) -> str:
    """Create a run and return its id; a temporary one if the server is unavailable."""
    store = connection()
    temporary_id = temporary_id or f"{TEMPORARY}{uuid.uuid4().hex}"
    tags = _with_default_tags(tags) | {TEMPORARY_ID_TAG: temporary_id} | ({PARENT_TAG: parent} if parent else {})
    if not (parent and store.outbox.has_pending(parent)) and not store.is_offline:
        try:
            with store.translate_errors(), store.defer_signals():
                created = store.client.create_run(store.experiment_id(purpose), start, tags, name)
                run_id = str(created.info.run_id)
                store.open_runs[run_id] = True
            return run_id
        except ServerUnavailableError as error:
            store.go_offline(error)
    store.open_runs[temporary_id] = True
    log_or_enqueue(
        temporary_id, CreateRun(name=name, tags=tags, purpose=purpose, at=start or current_milliseconds())
    )  # not applied twice if only the response was lost
    return temporary_id


@contextmanager
def _active_run(run_id: str, set_end_time: bool = True, end: int | None = None) -> Iterator[Run]:
    """Yield a run; set it to FINISHED at the end, or to FAILED on any exception.

    Args:
        run_id: its id.
        set_end_time: whether to set its end time when it ends.
        end: its end time, in milliseconds since 1970; None for now.
    """
    try:
        yield Run(run_id)
    except BaseException:
        _fail_run(run_id, set_end_time)
        raise
    _end_run(run_id, "FINISHED", set_end_time, end)


def _set_running(run_id: str, set_end_time: bool = True) -> None:
    connection().open_runs[run_id] = set_end_time
    log_or_enqueue(run_id, SetStatus(status="RUNNING", set_end_time=False))


def _end_run(run_id: str, status: Status, set_end_time: bool = True, end: int | None = None) -> None:
    log_or_enqueue(run_id, SetStatus(status=status, set_end_time=set_end_time, at=end or current_milliseconds()))
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


def get_or_create_child_run(
    key: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    parent: str,
    start: int | None = None,
) -> str:
    """Return the id of the child run with this key; create it as RUNNING if there is none.

    The caller ends it with `end_run`, or calls `release_run` after another process has ended it.

    Args:
        key: identifies the run among the child runs of its parent; kept as the tag KEY_TAG.
        name: shown in the UI.
        tags: additional tags.
        params: must be unchanged if the run exists.
        parent: the id of the parent run.
        start: when it started, if it is logged afterwards, in milliseconds since 1970.
    """
    store = connection()
    temporary_id = f"{TEMPORARY}{uuid.uuid5(uuid.NAMESPACE_OID, f'{parent} {key}').hex}"  # the same on resuming
    run_id = None
    if store.outbox.has_pending(temporary_id):
        run_id = temporary_id
    elif not store.outbox.has_pending(parent):
        filter_string = f"tags.`{PARENT_TAG}` = '{parent}' and tags.{KEY_TAG} = '{key}'"
        known = store.query(lambda: list(store.client.search_runs([store.experiment_id()], filter_string)), ())
        run_id = str(known[0].info.run_id) if known else None
    run_id = run_id or _create_run(name, {**tags, KEY_TAG: key}, parent, temporary_id, start=start)
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


def end_run(run_id: str, status: Status, tags: Mapping[str, str] | None = None, end: int | None = None) -> None:
    """End a run of another process, with tags that say why; see `_active_run` for its end time."""
    if tags:
        Run(run_id).set_tags(tags)
    _end_run(run_id, status, end=end)


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
