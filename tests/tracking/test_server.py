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
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from support.project import Project, kind_of
from support.servers import Server, mlflow_server

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
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.stage = '{name}'"))


@dataclass
class Outage:
    """A project and its server after an outage, and what was printed meanwhile."""

    project: Project
    server: Server
    errors: str  # of `train`, during which the server was killed
    refused: "subprocess.CompletedProcess[str]"  # `register`
    elsewhere: str  # `emotion sync` to the project's own store
    away: "subprocess.CompletedProcess[str]"  # `emotion sync` without the server
    delivered: str  # `emotion sync` with the server
    again: str  # the same once more


@pytest.fixture(scope="module")
def outage(repro_project: Project, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    """The server is killed during `train` and started after `tune`."""
    folder = tmp_path_factory.mktemp("outage")
    project = repro_project.copy_to(folder / "project", with_store=False)
    shutil.copy(migrated_store, project.folder / "mlflow.db")
    with mlflow_server(folder / "server", migrated_store) as server:
        project.environment["MLFLOW_TRACKING_URI"] = server.uri
        project.set_params(train__epochs=8)
        process = subprocess.Popen(
            [sys.executable, "-m", "emotion.train"], cwd=project.folder, env=project.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not list((project.folder / "models/checkpoints").rglob("epoch-00002.npz")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.kill()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        stage(project, "evaluate")
        refused = stage(project, "register", check=False)
        project.set_params(tune__seed=5)
        stage(project, "tune")
        elsewhere = project.run("emotion", "sync", MLFLOW_TRACKING_URI="").stdout
        away = project.run("emotion", "sync", check=False)
        server.start()
        delivered, again = (project.run("emotion", "sync").stdout for _ in range(2))
        yield Outage(project, server, errors, refused, elsewhere, away, delivered, again)


def test_no_logs_are_lost_if_the_server_is_killed_during_training(outage: Outage) -> None:
    assert outage.errors.count("`emotion sync` delivers them later") == 1
    assert "Traceback" not in outage.errors
    assert outage.refused.returncode == 1
    assert "register: registering a version needs the MLflow server, which is unavailable." in outage.refused.stderr
    assert outage.away.returncode == 1
    assert outage.away.stderr.startswith(f"emotion: the MLflow tracking store at {outage.server.uri} cannot be used")
    assert outage.delivered.endswith("operations delivered, 0 still queued.\n")
    assert outage.again == "0 operations delivered, 0 still queued.\n"
    (run,) = runs(outage.server, "train")
    assert run.info.status == "FINISHED"
    client = mlflow.MlflowClient(outage.server.uri)
    for name in ("train/val_loss", "train/learning_rate"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, name)] == list(range(1, 9))
    assert run.data.params["train.epochs"] == "8"
    assert "test/accuracy" in run.data.metrics
    assert {"curves.png", "history.csv", "evaluation"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    stage(outage.project, "register")
    assert client.get_model_version("facial-emotion", "1").run_id == run.info.run_id


def test_operations_for_one_server_are_not_delivered_to_another_store(outage: Outage) -> None:
    assert outage.elsewhere == "0 operations delivered, 0 still queued.\n"
    assert not outage.project.runs()
    assert not outage.delivered.startswith("0 ")


def test_a_search_finishes_without_the_server(outage: Outage) -> None:
    (search,) = [run for run in runs(outage.server, "tune") if run.data.params["tune.seed"] == "5"]
    client = mlflow.MlflowClient(outage.server.uri)
    below = f"tags.`mlflow.parentRunId` = '{search.info.run_id}'"
    trials = client.search_runs([search.info.experiment_id], below)
    assert sorted(kind_of(run) for run in trials) == ["trial-000", "trial-001"]
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert search.data.tags["best_trial_run_id"] in {run.info.run_id for run in trials}
    listed = outage.project.run("emotion", "trials", "--csv").stdout
    assert len(listed.splitlines()) == 3


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
    assert {"train/val_accuracy", "test/accuracy"} <= set(run.data.metrics)
    assert online.run("emotion", "sync").stdout == "0 operations delivered, 0 still queued.\n"


@pytest.fixture(scope="module")
def evaluated_offline(
    repro_project: Project, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Server]:
    """A project whose run of `train` is on a stopped server, and whose metrics of `evaluate` are queued."""
    folder = tmp_path_factory.mktemp("evaluated")
    project = repro_project.copy_to(folder / "project", with_store=False)
    with mlflow_server(folder / "server", migrated_store) as server:
        project.environment["MLFLOW_TRACKING_URI"] = server.uri
        project.set_params(train__epochs=1)
        stage(project, "train")
    stage(project, "evaluate")
    return project, server


@pytest.fixture
def queued(evaluated_offline: tuple[Project, Server], tmp_path: Path) -> Iterator[tuple[Project, Server]]:
    """A copy of that project, and its server with a copy of the store."""
    original, server = evaluated_offline
    project = original.copy_to(tmp_path / "project", with_store=False)
    project.environment["MLFLOW_TRACKING_URI"] = server.uri
    shutil.copytree(server.folder, tmp_path / "store")
    yield project, server
    server.kill()
    shutil.rmtree(server.folder)
    shutil.copytree(tmp_path / "store", server.folder)


def test_operations_for_a_deleted_run_are_discarded(queued: tuple[Project, Server]) -> None:
    project, server = queued
    server.start()
    (run,) = runs(server, "train")
    mlflow.MlflowClient(server.uri).delete_run(run.info.run_id)
    done = project.run("emotion", "sync")
    assert f"Run {run.info.run_id} was deleted in MLflow" in done.stderr
    assert done.stdout.endswith("0 still queued.\n")


def test_operations_for_a_lost_run_are_delivered_after_its_restore(queued: tuple[Project, Server]) -> None:
    project, server = queued
    shutil.rmtree(server.folder / "artifacts")
    (server.folder / "mlflow.db").unlink()
    server.start()
    stuck = project.run("emotion", "sync", check=False)
    assert stuck.returncode == 1
    assert "Log it again with `emotion restore`" in stuck.stderr
    project.run("emotion", "restore")
    assert project.run("emotion", "sync").stdout == "0 operations delivered, 0 still queued.\n"
    (run,) = runs(server, "train")
    assert {"train/val_accuracy", "test/accuracy"} <= set(run.data.metrics)


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
    done = stage(project, "fetch", MLFLOW_TRACKING_URI=hanging_server, MLFLOW_HTTP_REQUEST_TIMEOUT="2")
    assert "Continuing offline." in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert (project.folder / "data/raw/faces.zip").exists()
