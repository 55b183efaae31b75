"""Runs that killed processes left RUNNING."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.runtime.processes import process_id
from emotion.tracking.client import connection
from emotion.tracking.runs import PROCESS_TAG
from support.project import Project


def test_only_runs_of_exited_processes_are_killed_by_the_command_or_the_next_stage(copied_project: Project) -> None:
    copied_project.run("emotion", "cleanup-runs")  # creates the store
    copied_project.set_params(fetch__images=100_000)

    def start() -> "subprocess.Popen[bytes]":
        open_before = len(open_runs())
        process = subprocess.Popen(
            [sys.executable, "-m", "emotion.fetch"], cwd=copied_project.folder, env=copied_project.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(open_runs()) == open_before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process

    def open_runs() -> list[str]:
        return [run.info.run_id for run in copied_project.runs("attributes.status = 'RUNNING'")]

    alive = start()
    try:
        before = set(open_runs())
        dead = start()
        (orphan,) = set(open_runs()) - before
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        said = copied_project.run("emotion", "cleanup-runs").stdout
        assert f"fetch {orphan}: KILLED" in said
        assert said.endswith("Runs set to KILLED: 1; left alone: 1. Models deleted: 0.\n")
        assert copied_project.client.get_run(orphan).info.status == "KILLED"
        assert set(open_runs()) == before
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait(timeout=30)
    copied_project.set_params(fetch__images=70)
    (orphan,) = open_runs()
    said = copied_project.run("python", "-m", "emotion.fetch").stdout
    assert f"The run fetch {orphan} was left RUNNING by a process that was killed: set to KILLED." in said
    assert open_runs() == []


def ended_process() -> str:
    """The id of a process that had this one's number before it."""
    machine, number, _ = process_id().split()
    return f"{machine} {number} 1.00"


def test_only_incomplete_models_of_ended_runs_are_deleted(mlflow_store: Path) -> None:
    client, experiment = connection().client, connection().experiment_id()
    killed = client.create_run(experiment, tags={PROCESS_TAG: ended_process()})
    alive = client.create_run(experiment, tags={PROCESS_TAG: process_id()})
    pending, wanted, complete = (
        mlflow.initialize_logged_model(name, source_run_id=run.info.run_id).model_id
        for name, run in (("pending", killed), ("wanted", alive), ("complete", killed))
    )
    mlflow.finalize_logged_model(complete, "READY")
    said = CliRunner().invoke(app, ["cleanup-runs"]).stdout
    assert f"Incomplete model {pending}: deleted\n" in said
    assert said.endswith("Runs set to KILLED: 1; left alone: 1. Models deleted: 1.\n")
    left = client.search_logged_models([experiment])
    assert {model.model_id for model in left} == {wanted, complete}
