"""MLflow runs are closed whenever a process is interrupted."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from emotion.runtime.errors import INTERRUPTED, run_main
from emotion.tracking import delivery, run, runs
from emotion.tracking.client import reset_connection
from emotion.tracking.operations import AnyOperation, LogParams
from emotion.tracking.queries import search_runs
from support.servers import Server


def test_a_run_interrupted_right_after_its_creation_is_closed(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_or_enqueue = delivery.log_or_enqueue

    def interrupted(run_id: str, operation: AnyOperation, source: Path | None = None) -> None:
        log_or_enqueue(run_id, operation, source)
        if isinstance(operation, LogParams) and operation.params == {"rate": "1"}:
            raise KeyboardInterrupt

    def main(exit_callbacks: ExitStack) -> None:
        exit_callbacks.callback(runs.fail_open_runs)
        with runs.start_run("tune", {}, {}) as search:
            runs.get_or_create_child_run("trial-000", "trial-000", {}, {"rate": 1}, search.id)

    for module in (run, runs):
        monkeypatch.setattr(module, "log_or_enqueue", interrupted)
    with pytest.raises(SystemExit, match=str(INTERRUPTED)):
        run_main("tune", main)
    assert {found.name: found.status for found in search_runs()} == {"tune": "FAILED", "trial-000": "FAILED"}


def test_a_child_run_is_closed_unless_another_process_has_ended_it(mlflow_store: Path) -> None:
    with runs.start_run("tune", {}, {}) as search:
        runs.get_or_create_child_run("trial-000", "trial-000", {}, {}, search.id)
        runs.release_run(runs.get_or_create_child_run("trial-001", "trial-001", {}, {}, search.id))
        runs.fail_open_runs()
    assert {found.name: found.status for found in search_runs()} == {
        "tune": "FINISHED", "trial-000": "FAILED", "trial-001": "RUNNING",
    }  # fmt: skip


def test_a_child_run_is_queued_if_the_server_disappears_after_its_parent_started(
    mlflow_store: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    reset_connection()
    with runs.start_run("tune", {}, {}) as search:
        server.kill()
        trial = runs.get_or_create_child_run("trial-000", "trial-000", {}, {"rate": 1}, search.id)
        runs.end_run(trial, "FINISHED")
    server.start()
    reset_connection()
    delivery.flush()
    assert {found.name: found.status for found in search_runs()} == {"tune": "FINISHED", "trial-000": "FINISHED"}
