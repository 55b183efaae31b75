"""Operations on runs, applied to a mock client."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from mlflow.exceptions import MlflowException

from emotion.tracking.client import retry_conflicts
from emotion.tracking.operations import (
    MAX_METRICS,
    MAX_PARAMS,
    AnyOperation,
    CreateRun,
    LogDataset,
    LogFiles,
    LogMetrics,
    LogParams,
    LogText,
    SetStatus,
    SetTags,
    parse_operation,
)
from emotion.tracking.outbox import DamagedOperationError

ALL: list[AnyOperation] = [
    CreateRun(name="train", tags={"stage": "train"}),
    LogParams(params={"train.seed": "0"}),
    LogMetrics(metrics=(("loss", 0.5, 1),)),
    SetTags(tags={"precision": "float32"}),
    LogFiles(folder="data"),
    LogText(text="a patch", path="source/train.patch"),
    LogDataset(name="drawn", location="/data", digest="0"),
    SetStatus(status="FINISHED", set_end_time=True),
]


@pytest.fixture
def store() -> Any:
    """A connection with a mock client."""
    return MagicMock(experiment_id=lambda purpose: "1", is_remote=True)


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.kind)
def test_every_operation_survives_serialization(operation: AnyOperation) -> None:
    assert (
        parse_operation(json.loads(json.dumps({**operation.model_dump(), "run_id": "a", "source": None}))) == operation
    )


@pytest.mark.parametrize(
    "content", [{"kind": "unknown"}, {}, {"kind": "params", "params": 7}, {"kind": "params", "params": {}, "run_id": 7}]
)
def test_a_damaged_operation_gives_one_message(content: dict[str, Any]) -> None:
    with pytest.raises(DamagedOperationError, match="a queued operation on run 7 is damaged"):
        parse_operation({"run_id": "7", **content})


def test_metrics_and_parameters_are_logged_within_mlflows_batch_limits(store: Any) -> None:
    LogMetrics(metrics=tuple(("loss", 0.5, step) for step in range(MAX_METRICS + 1))).apply(store, "run", None)
    assert [len(call.kwargs["metrics"]) for call in store.client.log_batch.call_args_list] == [MAX_METRICS, 1]
    store.client.log_batch.reset_mock()
    LogParams(params={str(number): "" for number in range(MAX_PARAMS + 1)}).apply(store, "run", None)
    assert [len(call.kwargs["params"]) for call in store.client.log_batch.call_args_list] == [MAX_PARAMS, 1]


def test_run_start_and_end_times_are_those_of_the_operations(store: Any) -> None:
    CreateRun(name="train", tags={"stage": "train"}, at=7).apply(store, "local-1", None)
    store.client.create_run.assert_called_once_with("1", start_time=7, tags={"stage": "train"}, run_name="train")
    SetStatus(status="KILLED", set_end_time=True, at=8).apply(store, "run", None)
    store.client.set_terminated.assert_called_once_with("run", "KILLED", 8)
    SetStatus(status="RUNNING", set_end_time=False).apply(store, "run", None)
    store.client.update_run.assert_called_once_with("run", "RUNNING")


def test_files_and_folders_are_uploaded_to_their_artifact_paths(store: Any, tmp_path: Path) -> None:
    (tmp_path / "curves.png").touch()
    LogFiles(folder=None).apply(store, "run", tmp_path / "curves.png")
    store.client.log_artifact.assert_called_once_with("run", str(tmp_path / "curves.png"), None)
    LogFiles(folder="data").apply(store, "run", tmp_path)
    store.client.log_artifacts.assert_called_once_with("run", str(tmp_path), "data")


def test_object_store_errors_are_raised_as_mlflow_errors(store: Any, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    store.client.log_artifacts.side_effect = ConnectionError("no bucket")
    with pytest.raises(MlflowException, match="ConnectionError: no bucket"):
        LogFiles(folder="data").apply(store, "run", tmp_path)


def test_a_write_is_repeated_if_another_process_inserted_the_same_row() -> None:
    write = MagicMock(side_effect=[MlflowException("UNIQUE constraint failed: datasets.name"), "written"])
    assert retry_conflicts(write) == "written"
    with pytest.raises(MlflowException, match="another reason"):
        retry_conflicts(MagicMock(side_effect=MlflowException("another reason")))
