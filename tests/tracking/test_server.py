"""Real MLflow servers: killed, restarted, and hanging."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import mlflow
import pytest
from mlflow.entities import Run

from support.project import Project
from support.servers import Server

PASSWORD = "verysecret"


@pytest.fixture
def online(copied_project: Project, server: Server) -> Project:
    """A project after `dvc repro` that logs to the server."""
    copied_project.environment["MLFLOW_TRACKING_URI"] = server.uri
    return copied_project


def stage(project: Project, name: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
    return project.run("python", "-m", f"emotion.{name}", check=check, **environment)


def runs(server: Server, name: str) -> list[Run]:
    client = mlflow.MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("emotion")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'"))


def test_no_logs_are_lost_if_the_server_is_killed_during_training(online: Project, server: Server) -> None:
    online.set_params(train__epochs=8)
    process = subprocess.Popen(
        [sys.executable, "-m", "emotion.train"], cwd=online.folder, env=online.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((online.folder / "models/checkpoints").rglob("epoch-00002.npz")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.kill()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert error.count("`emotion sync` delivers them later") == 1
    assert "Traceback" not in error

    stage(online, "evaluate")
    refused = stage(online, "register", check=False)
    assert refused.returncode == 1
    assert "register: registering a version needs the MLflow server, which is unavailable." in refused.stderr
    away = online.run("emotion", "sync", check=False)
    assert away.returncode == 1
    assert away.stderr.startswith(f"emotion: the MLflow tracking store at {server.uri} cannot be used")
    assert (online.folder / "reports/metrics.json").exists()

    server.start()
    assert online.run("emotion", "sync").stdout.endswith("operations delivered, 0 still queued.\n")
    assert online.run("emotion", "sync").stdout == "0 operations delivered, 0 still queued.\n"
    (run,) = runs(server, "train")
    assert run.info.status == "FINISHED"
    client = mlflow.MlflowClient(server.uri)
    for name in ("val_loss", "learning_rate"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, name)] == list(range(1, 9))
    assert run.data.params["train.epochs"] == "8"
    assert "test.accuracy" in run.data.metrics
    assert {"curves.png", "history.csv", "evaluation"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    stage(online, "register")
    assert client.get_model_version("facial-emotion", "1").run_id == run.info.run_id


KILLED_FLUSH = """
import os, signal, sys
from mlflow import MlflowClient
from emotion.tracking.delivery import flush
left = int(sys.argv[1])
def kill_after(write):
    def call(*arguments, **options):
        global left
        left -= 1
        answer = write(*arguments, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)  # applied, but not yet removed from the outbox
        return answer
    return call
for write in ("create_run", "log_batch", "log_artifact", "set_terminated"):
    setattr(MlflowClient, write, kill_after(getattr(MlflowClient, write)))
flush()
"""


def test_queued_runs_are_delivered_once_and_in_order_despite_killed_deliveries(online: Project, server: Server) -> None:
    server.kill()
    for seed in (1, 2):
        online.set_params(fetch__seed=seed, fetch__images=70)
        done = stage(online, "fetch")
        assert "Logs are queued in" in done.stderr
    server.start()
    for steps in (1, 2, 4):
        killed = online.run(sys.executable, "-c", KILLED_FLUSH, str(steps), check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    online.run("emotion", "sync")
    found = sorted(runs(server, "fetch"), key=lambda run: run.info.start_time)
    assert [run.data.params["fetch.seed"] for run in found] == ["1", "2"]
    assert {run.info.status for run in found} == {"FINISHED"}
    client = mlflow.MlflowClient(server.uri)
    for run in found:
        assert len(client.get_metric_history(run.info.run_id, "images")) == 1
        assert "source.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
        assert run.info.end_time >= run.info.start_time


def test_the_next_stage_delivers_queued_operations_and_continues_the_run(online: Project, server: Server) -> None:
    server.kill()
    online.set_params(train__epochs=1)
    stage(online, "train")
    server.start()
    stage(online, "evaluate")
    (run,) = runs(server, "train")
    assert "restored" not in run.data.tags
    assert {"val_accuracy", "test.accuracy"} <= set(run.data.metrics)
    assert online.run("emotion", "sync").stdout == "0 operations delivered, 0 still queued.\n"


def test_operations_for_a_deleted_run_are_discarded(online: Project, server: Server) -> None:
    online.set_params(train__epochs=1)
    stage(online, "train")
    server.kill()
    stage(online, "evaluate")
    server.start()
    (run,) = runs(server, "train")
    mlflow.MlflowClient(server.uri).delete_run(run.info.run_id)
    done = online.run("emotion", "sync")
    assert f"Run {run.info.run_id} was deleted in MLflow" in done.stderr
    assert done.stdout.endswith("0 still queued.\n")


def test_operations_for_a_lost_run_are_delivered_after_its_restore(online: Project, server: Server) -> None:
    online.set_params(train__epochs=1)
    stage(online, "train")
    server.kill()
    stage(online, "evaluate")
    shutil.rmtree(server.folder / "artifacts")
    (server.folder / "mlflow.db").unlink()
    server.start()
    stuck = online.run("emotion", "sync", check=False)
    assert stuck.returncode == 1
    assert "Log it again with `emotion restore`" in stuck.stderr
    online.run("emotion", "restore")
    assert online.run("emotion", "sync").stdout == "0 operations delivered, 0 still queued.\n"
    (run,) = runs(server, "train")
    assert {"val_accuracy", "test.accuracy"} <= set(run.data.metrics)


def test_operations_for_one_server_are_not_delivered_to_another_store(online: Project, server: Server) -> None:
    server.kill()
    online.set_params(fetch__images=70)
    stage(online, "fetch")
    assert online.run("emotion", "sync", MLFLOW_TRACKING_URI="").stdout == "0 operations delivered, 0 still queued.\n"
    server.start()
    online.run("emotion", "sync")
    assert len(runs(server, "fetch")) == 1


def test_a_search_finishes_without_the_server(online: Project, server: Server) -> None:
    server.kill()
    online.set_params(tune__seed=5)
    stage(online, "tune")
    server.start()
    online.run("emotion", "sync")
    (search,) = [run for run in runs(server, "tune") if run.data.params["tune.seed"] == "5"]
    client = mlflow.MlflowClient(server.uri)
    below = f"tags.`mlflow.parentRunId` = '{search.info.run_id}'"
    trials = client.search_runs([search.info.experiment_id], below)
    assert sorted(run.info.run_name for run in trials) == ["trial-000", "trial-001"]
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert search.data.tags["best_trial_run_id"] in {run.info.run_id for run in trials}
    listed = online.run("emotion", "trials", "--csv").stdout
    assert len(listed.splitlines()) == 3


@pytest.fixture
def hanging_server() -> Iterator[str]:
    """The URL of a server that accepts connections but never responds."""
    with closing(socket.create_server(("127.0.0.1", 0))) as opened:
        connections = []

        def accept() -> None:
            while True:
                try:
                    connections.append(opened.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://user:{PASSWORD}@127.0.0.1:{opened.getsockname()[1]}"
        for connection in connections:
            connection.close()


def test_a_hanging_server_does_not_block_a_stage(new_project: Callable[[], Project], hanging_server: str) -> None:
    project = new_project()
    done = stage(project, "fetch", MLFLOW_TRACKING_URI=hanging_server)
    assert "Continuing offline." in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert (project.folder / "data/raw/faces.zip").exists()
