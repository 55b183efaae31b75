"""Runs in MLflow: begun, filled, ended, read."""

import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from emotion.runtime.errors import UserError, at_the_end
from emotion.runtime import processes
from emotion.tracking import client as store
from emotion.tracking import operations as delivery
from emotion.tracking.client import AwayError, connect, explained, is_away
from emotion.tracking.operations import BEGUN_AS, LOCAL, write

import mlflow  # isort: skip
from mlflow.exceptions import MlflowException

MOST_RUNS = 1000  # that MLflow gives at once
PROCESS = "process"  # the tag that says which process is at a run
SYNC_PATIENCE = 10.0  # seconds that a stage spends on what earlier ones left in the journal

_active: list[str] = []  # the runs that are logged to in this process, the innermost last
_open: dict[str, bool] = {}  # those that this process has made RUNNING; whether they end with it


@contextmanager
def run(
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
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
    _deliver_some()
    run_id = find(unfinished) if unfinished else None
    goes_on = run_id is not None and _is_here(run_id)
    if run_id is None or not goes_on:
        run_id = _begin(name, tags, parent)
    with _entered(run_id):
        if goes_on:
            _go_on(run_id)
            write(run_id, "tags", tags=_said(tags))
        write(run_id, "params", params={key: str(value) for key, value in params.items()})
        yield run_id


def _deliver_some() -> None:
    """What an earlier stage left in the journal, as far as it goes in little time. Once in a process."""
    if store.waiting().waits_for() and not is_away():
        _deliver_once()


@cache
def _deliver_once() -> None:
    try:
        delivery.sync(SYNC_PATIENCE)
    except AwayError as error:
        store.leave(error)
    except UserError as error:
        print(f"The journal was not delivered: {error}", file=sys.stderr, flush=True)


def _is_here(run_id: str) -> bool:
    """Whether a run is in the experiment that is logged to; taken for granted where that cannot be asked."""
    if _cannot_be_asked(run_id):
        return True
    with explained():
        return bool(connect().get_run(run_id).info.experiment_id == os.environ["MLFLOW_EXPERIMENT_ID"])


def _cannot_be_asked(run_id: str) -> bool:
    """Whether the store does not know all of a run."""
    return store.waiting().waits_for(run_id) or is_away()


def _said(tags: Mapping[str, str]) -> dict[str, str]:
    """Without the empty ones, and with who is at it: what MLflow's UI shows, and what `reap` looks at."""
    who = {"mlflow.user": processes.user(), "mlflow.source.name": Path(sys.argv[0]).name, PROCESS: processes.this()}
    return {key: value for key, value in {**who, "mlflow.source.type": "LOCAL", **tags}.items() if value}


def _begin(name: str, tags: Mapping[str, str], parent: str | None, local: str | None = None) -> str:
    """A new run's id; of one that has to wait: `local`, or one that nothing else has."""
    local = local or f"{LOCAL}{uuid.uuid4().hex}"
    said = _said(tags) | {BEGUN_AS: local} | ({"mlflow.parentRunId": parent} if parent else {})
    if not _cannot_be_asked(parent or "nothing"):
        try:
            with explained(), store.uninterrupted():
                made = connect().create_run(os.environ["MLFLOW_EXPERIMENT_ID"], tags=said, run_name=name)
                run_id = str(made.info.run_id)
                _open[run_id] = True
            return run_id
        except AwayError as error:
            store.leave(error)
    _open[local] = True
    write(local, "create", name=name, tags=said)  # where the server took it and only its answer was lost, once
    return local


@contextmanager
def _entered(run_id: str, ends: bool = True) -> Iterator[None]:
    """The active run; FINISHED at the end, FAILED on any exception."""
    _active.append(run_id)
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        _active.pop()
        _end(run_id, status, ends)


def _go_on(run_id: str, ends: bool = True) -> None:
    _open[run_id] = ends
    write(run_id, "status", status="RUNNING", ends=False)


def _end(run_id: str, status: str, ends: bool = True) -> None:
    write(run_id, "status", status=status, ends=ends)
    _open.pop(run_id, None)


def _end_what_is_open() -> None:
    """An interruption may come where no `with` is entered yet, or any more."""
    for run_id, ends in list(_open.items()):
        _end(run_id, "FAILED", ends)


at_the_end.append(_end_what_is_open)


def child(name: str, tags: Mapping[str, str], params: Mapping[str, object], parent: str) -> str:
    """The id of the run of that name below another; made, and RUNNING, where there is none."""
    local = f"{LOCAL}{uuid.uuid5(uuid.NAMESPACE_OID, f'{parent} {name}').hex}"  # the same where a search goes on
    run_id = None
    if store.waiting().waits_for(local):
        run_id = local
    elif not _cannot_be_asked(parent):
        below = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.run_name = '{name}'"
        with explained():
            known = connect().search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]], below, max_results=1)
        run_id = str(known[0].info.run_id) if known else None
    run_id = run_id or _begin(name, tags, parent, local)
    write(run_id, "params", params={key: str(value) for key, value in params.items()})
    _open.pop(run_id, None)  # from here on it is the caller's: another process may end it
    return run_id


@contextmanager
def within(run_id: str) -> Iterator[None]:
    """Log to a run that exists; FINISHED at the end, FAILED on any exception."""
    with _entered(run_id):
        _go_on(run_id)
        write(run_id, "tags", tags={PROCESS: processes.this()})
        yield


@contextmanager
def resumed(run_id: str, tags: Mapping[str, str]) -> Iterator[None]:
    """Go on with a run that has ended: it lasts as long as its own stage, not until this one ends."""
    with _entered(run_id, ends=False):
        _go_on(run_id, ends=False)
        write(run_id, "tags", tags={key: value for key, value in tags.items() if value} | {PROCESS: processes.this()})
        yield


def end(run_id: str, status: str, tags: Mapping[str, str] | None = None) -> None:
    """Say how a run of another process ended: FINISHED, FAILED or KILLED, and why."""
    if tags:
        write(run_id, "tags", tags=dict(tags))
    _end(run_id, status)


def abandon(run_id: str) -> None:
    """End a run that nothing is at any more, and those below it, as KILLED; where they are open and still there."""
    if is_away():
        return  # `emotion reap` finds them later
    for run in [run for run in runs() if run_id in (run.id, run.tags.get("mlflow.parentRunId"))]:
        if run.status == "RUNNING":
            end(run.id, "KILLED")


def reap() -> tuple[list["Run"], list["Run"]]:
    """End as KILLED what is RUNNING and whose process is gone.

    Returns:
        Those, and the RUNNING ones that were left: they are alive, or another machine's.
    """
    still_open = [run for run in runs() if run.status == "RUNNING"]
    gone = [run for run in still_open if processes.is_gone(run.tags.get(PROCESS, ""))]
    for run in gone:
        end(run.id, "KILLED")
    return gone, [run for run in still_open if run not in gone]


def find(run_id: str) -> str | None:
    """The id under which a run is in the store, or will be: its own, or that of the one that stands for it.

    Where the store cannot be asked, the run is taken to be there.
    """
    _deliver_some()
    if is_away() or (run_id.startswith(LOCAL) and store.waiting().waits_for(run_id)):
        return run_id
    with explained():
        return delivery.find(run_id)


def logged_steps(key: str) -> set[int]:
    """The steps at which the active run has a metric; none where that cannot be asked."""
    if _cannot_be_asked(_active[-1]):
        return set()
    with explained():
        return {metric.step for metric in connect().get_metric_history(_active[-1], key)}


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
            found += map(_run_of, page)
            token = page.token
            if not token:
                return found


def get(run_id: str) -> Run | None:
    """One run, whatever its experiment; None where it is neither there nor stood for."""
    with explained():
        found = delivery.find(run_id)
        return _run_of(connect().get_run(found)) if found else None


def _run_of(run: mlflow.entities.Run) -> Run:
    return Run(run.info.run_id, run.info.run_name, run.info.status, run.data.params, run.data.metrics, run.data.tags)


def artifact(run_id: str, path: str) -> Path | None:
    """A run's artifact as a local file; None where it has none."""
    connect()
    try:
        return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))
    except (MlflowException, OSError):
        return None


def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Metrics of the active run at a step (an epoch, from 1)."""
    write(_active[-1], "metrics", metrics=[(key, float(value), step) for key, value in metrics.items()])


def log_history(history: pd.DataFrame) -> None:
    """Metrics of all epochs at once, from a table with a column `epoch` and one per metric."""
    metrics = [
        (str(key), float(value), int(epoch))
        for key in history.columns.drop("epoch")
        for epoch, value in zip(history["epoch"], history[key], strict=True)
    ]
    write(_active[-1], "metrics", metrics=metrics)


def log_files(path: Path, folder: str | None = None) -> None:
    """A file, or all files of a folder, as artifacts of the active run."""
    write(_active[-1], "files", path, folder=(folder or path.name) if path.is_dir() else folder)


def log_text(text: str, artifact: str) -> None:
    """A text as an artifact of the active run."""
    write(_active[-1], "text", text=text, path=artifact)


def set_tag(key: str, value: str) -> None:
    """A tag of the active run."""
    write(_active[-1], "tags", tags={key: value})


def describe(text: str) -> None:
    """The active run's description in the UI."""
    set_tag("mlflow.note.content", text)


def log_dataset(name: str, location: str, digest: str) -> None:
    """Name the data that the active run used; MLflow's own digest sees only a few faces."""
    write(_active[-1], "dataset", name=name, location=location, digest=digest[:36])
