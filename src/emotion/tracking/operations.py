"""What is done to runs: at once where MLflow can be asked, otherwise later, from the journal."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from emotion.runtime.errors import UserError
from emotion.tracking import client as store

from mlflow import MlflowClient  # isort: skip
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, Metric, Param, RunTag, ViewType
from mlflow.exceptions import RESOURCE_DOES_NOT_EXIST, ErrorCode, MlflowException

MOST_METRICS = 1000  # that MLflow takes at once
MOST_PARAMS = 100
RESTORED_FROM = "restored_from"  # the tag of a run logged again from its files, with the lost run's id
BEGUN_AS = "begun_as"  # the tag with the id that a run has as long as the server knows nothing of it
LOCAL = "local-"  # begins such an id

Operation = Mapping[str, Any]
Values = Iterable[tuple[str, float, int]]  # metrics: name, value, step


def write(run_id: str, kind: str, source: Path | None = None, **what: Any) -> None:
    """Do something to a run, after all that waits to be done to it.

    Args:
        run_id: as the store or the journal knows it.
        kind: a key of KINDS, which say what else they need.
        source: the file or folder that it is about.
        what: the rest.
    """
    operation = {"kind": kind, "at": int(time.time() * 1000), **what}
    waiting = store.waiting()
    if not waiting.waits_for(run_id) and not store.is_away():
        try:
            with store.explained(patient=kind == "files"), store.uninterrupted():
                known = find(run_id) if run_id.startswith(LOCAL) else run_id
                KINDS[kind](store.connect(), known or run_id, operation, source)
            return
        except store.AwayError as error:
            store.leave(error)
    waiting.append(run_id, operation, source)


def sync(patience: float | None = None) -> int:
    """Deliver what waits in the journal, in its order.

    Args:
        patience: seconds, after which the rest is left for later; None for all.

    Returns:
        How many operations were delivered.

    Raises:
        AwayError: where the server does not answer.
        UserError: where it refuses, or a run is neither there nor restored.
    """
    waiting = store.waiting()
    if not waiting.waits_for():
        return 0
    client, start = store.connect(), time.monotonic()
    with store.explained(patient=True):
        return waiting.deliver(
            lambda operation, source: _deliver(client, operation, source),
            lambda: patience is None or time.monotonic() - start < patience,
        )


def _deliver(client: MlflowClient, operation: Operation, source: Path | None) -> None:
    """What was delivered before, and only not yet removed from the journal, changes nothing."""
    run_id = operation["run_id"]
    found = run_id if operation["kind"] == "create" else find(run_id)
    if found is None and _is_deleted(client, run_id):
        print(
            f"Run {run_id} was deleted in MLflow: a {operation['kind']} that waited for it is dropped.", file=sys.stderr
        )
    elif found is None:
        raise UserError(
            f"run {run_id} is not in MLflow. `emotion restore` logs it again from its files; then `emotion sync`"
            " goes on. `emotion sync --drop-first` gives up what waits for it, one operation at a time."
        )
    else:
        if "tags" in operation:
            operation = {**operation, "tags": _known_as(operation["tags"])}
        if operation["kind"] == "metrics":
            operation = {**operation, "metrics": _not_logged(client, found, operation["metrics"])}
        KINDS[operation["kind"]](client, found, operation, source)


def _not_logged(client: MlflowClient, run_id: str, metrics: Values) -> list[tuple[str, float, int]]:
    """Without the values that the run has: an attempt before the server went away may have logged them."""
    histories = {key: client.get_metric_history(run_id, key) for key in {key for key, _, _ in metrics}}
    known = {(key, metric.value, metric.step) for key, history in histories.items() for metric in history}
    return [(key, value, step) for key, value, step in metrics if (key, value, step) not in known]


def find(run_id: str) -> str | None:
    """The id under which a run is in the store: its own, or that of the one that stands for it."""
    client = store.connect()
    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
    twins = _standing_for(client, run_id, ViewType.ACTIVE_ONLY)
    return twins[0] if twins else None


def _standing_for(client: MlflowClient, run_id: str, view: int) -> list[str]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [
        run.info.run_id
        for tag in ((BEGUN_AS, RESTORED_FROM) if run_id.startswith(LOCAL) else (RESTORED_FROM,))
        for run in client.search_runs(experiments, f"tags.{tag} = '{run_id}'", view, max_results=1)
    ]


def _is_deleted(client: MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException:
        return bool(_standing_for(client, run_id, ViewType.DELETED_ONLY))


def _known_as(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that name other runs, by the ids that the store knows these by."""
    runs = {key: find(value) for key, value in tags.items() if key.lower().endswith(("run_id", "runid"))}
    return {key: runs.get(key) or value for key, value in tags.items()}


def _create(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """name, tags. The store gives the run another id, and this one stands in a tag."""
    if find(run_id) is None and not _is_deleted(client, run_id):
        experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
        client.create_run(experiment, start_time=operation["at"], tags=operation["tags"], run_name=operation["name"])


def _params(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """params: texts by name."""
    params = [Param(key, value) for key, value in operation["params"].items()]
    for start in range(0, len(params), MOST_PARAMS):
        client.log_batch(run_id, params=params[start : start + MOST_PARAMS])


def _metrics(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """metrics: Values."""
    metrics = [Metric(key, value, operation["at"], step) for key, value, step in operation["metrics"]]
    for start in range(0, len(metrics), MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])


def _tags(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """tags: texts by name."""
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in operation["tags"].items()])


def _files(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """folder: of the run's artifacts, or None."""
    assert source is not None
    log = client.log_artifacts if source.is_dir() else client.log_artifact
    try:
        log(run_id, str(source), operation["folder"])
    except Exception as error:
        if isinstance(error, MlflowException) or not store.store_uri().startswith("http"):
            raise
        # Clients of object stores have exceptions of their own.
        raise MlflowException(f"{type(error).__name__}: {error}") from error


def _text(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """text, path: of an artifact."""
    client.log_text(run_id, operation["text"], operation["path"])


def _dataset(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """name, location, digest: of the data that the run used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow knows two sources of the same name
        place = resolve_dataset_source(operation["location"])
    data = MetaDataset(place, name=operation["name"], digest=operation["digest"])
    client.log_inputs(run_id, [DatasetInput(data._to_mlflow_entity())])


def _status(client: MlflowClient, run_id: str, operation: Operation, source: Path | None) -> None:
    """status; ends: whether the run's time of ending is now."""
    if operation["ends"]:
        client.set_terminated(run_id, operation["status"], operation["at"])
    else:
        client.update_run(run_id, operation["status"])


KINDS: dict[str, Callable[[MlflowClient, str, Operation, Path | None], None]] = {
    "create": _create,
    "params": _params,
    "metrics": _metrics,
    "tags": _tags,
    "files": _files,
    "text": _text,
    "dataset": _dataset,
    "status": _status,
}
