"""Apply operations on runs immediately if the server is available, and queue them otherwise."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from emotion.runtime.errors import UserError
from emotion.tracking.client import Connection, ServerUnavailableError, connection
from emotion.tracking.operations import AnyOperation, CreateRun, LogFiles, LogMetrics, SetTags, parse_operation
from emotion.tracking.outbox import DamagedOperationError

TEMPORARY = "local-"  # prefix of the run ids that are created while the server is unavailable
TEMPORARY_ID_TAG = "temporary_id"  # the tag with the id that a run had before the server knew it
RESTORED_FROM_TAG = "restored_from"  # the tag of a run logged again from its files, with the lost run's id


def log_or_enqueue(run_id: str, operation: AnyOperation, source: Path | None = None) -> None:
    """Apply an operation to a run, after all queued operations on that run.

    Args:
        run_id: the id of the run in the store or in the outbox.
        operation: what to do.
        source: the file or folder that the operation needs.
    """
    store = connection()
    if not store.outbox.has_pending(run_id) and not store.is_offline:
        try:
            with store.translate_errors(count_time=not isinstance(operation, LogFiles)), store.defer_signals():
                known = resolve_run_id(run_id) if run_id.startswith(TEMPORARY) else run_id
                _apply(store, run_id, known, operation, source)
            return
        except ServerUnavailableError as error:
            store.go_offline(error)
    store.outbox.append(run_id, operation.model_dump(), source)


def flush(timeout: float | None = None) -> int:
    """Deliver the queued operations, in order.

    Args:
        timeout: seconds after which the rest is left for later; None for no limit.

    Returns:
        How many operations were delivered.

    Raises:
        ServerUnavailableError: if the server does not respond.
        UserError: if the server rejects an operation, or a run was neither found nor restored.
    """
    store = connection()
    if not store.outbox.has_pending():
        return 0
    _ = store.client
    start = time.monotonic()

    def deliver(content: dict[str, Any], source: Path | None) -> None:
        _deliver(store, content, source)

    with store.translate_errors(count_time=False):
        return store.outbox.flush(deliver, lambda: timeout is None or time.monotonic() - start < timeout)


def _deliver(store: Connection, content: dict[str, Any], source: Path | None) -> None:
    """Apply a queued operation, which may already have been applied if it was not removed afterwards."""
    operation, run_id = parse_operation(content), content["run_id"]
    if isinstance(operation, LogFiles) and source is None:
        raise DamagedOperationError(f"a queued operation on run {run_id} is damaged: it names no file.")
    known = resolve_run_id(run_id)
    if known is None and _is_deleted(store.client, run_id):
        print(f"Run {run_id} was deleted in MLflow. Discarded: {operation.kind}.", file=sys.stderr)
        return
    if known is None and not isinstance(operation, CreateRun):
        raise UserError(
            f"run {run_id} is not in MLflow. Log it again with `emotion restore`, then repeat `emotion sync`;"
            " or discard its queued operations one by one with `emotion sync --drop-first`."
        )
    if isinstance(operation, CreateRun | SetTags):
        operation = operation.model_copy(update={"tags": _resolve_run_id_tags(operation.tags)})
    if isinstance(operation, LogMetrics) and known:
        operation = operation.model_copy(update={"metrics": _drop_duplicates(store.client, known, operation)})
    _apply(store, run_id, known, operation, source)


def _apply(store: Connection, run_id: str, known: str | None, operation: AnyOperation, source: Path | None) -> None:
    if not (known and isinstance(operation, CreateRun)):  # else only the response to an earlier request was lost
        operation.apply(store, known or run_id, source)


def _drop_duplicates(client: MlflowClient, run_id: str, operation: LogMetrics) -> tuple[tuple[str, float, int], ...]:
    """The metrics without those that an earlier attempt already logged."""
    histories = {key: client.get_metric_history(run_id, key) for key in {key for key, _, _ in operation.metrics}}
    known = {(key, metric.value, metric.step) for key, history in histories.items() for metric in history}
    return tuple(metric for metric in operation.metrics if metric not in known)


def resolve_run_id(run_id: str) -> str | None:
    """The id under which the store has a run: its own, or that of its replacement; None if it has neither."""
    client = connection().client
    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    replacements = _replacement_runs(client, run_id, ViewType.ACTIVE_ONLY)
    return replacements[0] if replacements else None


def _replacement_runs(client: MlflowClient, run_id: str, view: int) -> list[str]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    tags = (TEMPORARY_ID_TAG, RESTORED_FROM_TAG) if run_id.startswith(TEMPORARY) else (RESTORED_FROM_TAG,)
    return [
        str(run.info.run_id)
        for tag in tags
        for run in client.search_runs(experiments, f"tags.{tag} = '{run_id}'", view, max_results=1)
    ]


def _is_deleted(client: MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException:
        return bool(_replacement_runs(client, run_id, ViewType.DELETED_ONLY))


def _resolve_run_id_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with the ids of other runs as the store knows them."""
    runs = {key: resolve_run_id(value) for key, value in tags.items() if key.lower().endswith(("run_id", "runid"))}
    return {key: runs.get(key) or value for key, value in tags.items()}
