"""Real MLflow servers: killed, restarted, hanging, and one with PostgreSQL and passwords."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from support.project import Project
from support.promotions import Changer
from support.servers import Server, free_port

PASSWORD = "very secret password"


POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)


@pytest.fixture
def online(copied_project: Project, server: Server) -> Project:
    """A project after `dvc repro` that logs to the server."""
    copied_project.environment["MLFLOW_TRACKING_URI"] = server.uri
    return copied_project


def stage(project: Project, name: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
    return project.run(sys.executable, "-m", f"emotion.{name}", check=check, **environment)


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
from emotion.tracking import operations as delivery
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
delivery.flush()
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
        yield f"http://user:{PASSWORD.replace(' ', '')}@127.0.0.1:{opened.getsockname()[1]}"
        for connection in connections:
            connection.close()


def test_a_hanging_server_does_not_block_a_stage(new_project: Callable[[], Project], hanging_server: str) -> None:
    project = new_project()
    done = stage(project, "fetch", MLFLOW_TRACKING_URI=hanging_server)
    assert "Continuing offline." in done.stderr
    assert PASSWORD.replace(" ", "") not in done.stdout + done.stderr
    assert (project.folder / "data/raw/faces.zip").exists()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty PostgreSQL database on a temporary server."""
    if POSTGRES is None:
        pytest.skip("no PostgreSQL on this machine; .ci/run installs it")
    port, as_user = free_port(), list[str]()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the postgres user has no access to pytest's folders
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        secret, data = Path(folder) / "secret", f"{folder}/data"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        made = ["-D", data, "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={secret}"]
        subprocess.run([*as_user, str(POSTGRES / "initdb"), *made], check=True, capture_output=True, cwd="/tmp")
        control = [*as_user, str(POSTGRES / "pg_ctl"), "-D", data, "-w"]
        where = f"-p {port} -h 127.0.0.1 -k {folder}"
        subprocess.run([*control, "-l", f"{folder}/log", "-o", where, "start"], check=True, cwd="/tmp")
        create = [str(POSTGRES / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow"]
        subprocess.run(create, check=True, env={**os.environ, "PGPASSWORD": PASSWORD}, cwd="/tmp")
        yield f"postgresql+psycopg://mlflow:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/mlflow"
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd="/tmp")


@pytest.fixture
def secured_server(postgres: str, tmp_path: Path) -> Iterator[Server]:
    """A server with PostgreSQL that requires a password."""
    settings = tmp_path / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\nadmin_username = admin\nadmin_password = {PASSWORD}\n"
        "auth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    made = Server(
        tmp_path / "server", postgres, "--app-name", "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(settings), MLFLOW_FLASK_SERVER_SECRET_KEY="for this test",
    )  # fmt: skip
    made.start()
    yield made
    made.kill()


def test_all_commands_work_with_postgresql_and_authentication(copied_project: Project, secured_server: Server) -> None:
    project = copied_project
    project.environment["MLFLOW_TRACKING_URI"] = secured_server.uri
    refused = stage(project, "train", check=False, MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD="wrong")
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("train: ")]
    assert "401" in line
    assert not (project.folder / "models/outbox").exists()

    project.environment |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    said = []

    def run(*command: str, code: int = 0) -> str:
        done = project.run(*command, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        said.append(done.stdout + done.stderr)
        return done.stdout

    run("emotion", "restore")
    project.set_params(train__seed=1, train__epochs=1)
    run("dvc", "repro")
    project.set_params(register__gate={**gate_of(project), "min_accuracy": 0.0, "max_calibration_error": 1.0})
    assert "It is now the champion" in run("emotion", "promote", "1", "--reason", "the first")
    run("emotion", "promote", "2", "--force", "--reason", "to see", code=0)
    assert "version 1 is the champion again; it replaces version 2" in run("emotion", "rollback")
    history = run("emotion", "history")
    assert [word for word in ("promote", "rollback", "the first", "to see") if word not in history] == []
    assert "champion: version 1" in history
    start = project.folder / "start"
    racing = [Changer(**project.environment) for _ in range(2)]
    for changer in racing:
        changer.begin("2", start)
    while len(list(project.folder.glob("start-*"))) < 2:
        assert all(changer.process.poll() is None for changer in racing)
        time.sleep(0.01)
    start.touch()
    assert sorted(changer.result()[0] for changer in racing) == [0, 5]
    said += [changer.close() for changer in racing]
    assert "champion: version 2" in run("emotion", "history")
    assert "postgres" not in run("emotion", "trace", "2")
    assert "Runs set to KILLED: 0" in run("emotion", "cleanup-runs")
    assert "answers" in run("emotion", "doctor")
    forms = (PASSWORD, PASSWORD.replace(" ", "%20"), base64.b64encode(f"admin:{PASSWORD}".encode()).decode())
    for text in said:
        assert not [form for form in forms if form in text]
    client_runs = project.run(
        sys.executable, "-c",
        "from emotion.tracking.queries import search_runs; print([(r.params, r.tags) for r in search_runs()])",
    ).stdout  # fmt: skip
    assert "train.epochs" in client_runs
    assert not [form for form in forms if form in client_runs]
    for path in project.folder.rglob("*"):
        if path.is_file() and ".dvc/cache" not in str(path):
            assert not [form for form in forms if form.encode() in path.read_bytes()], path


def gate_of(project: Project) -> dict[str, float]:
    import yaml

    content = yaml.safe_load((project.folder / "params.yaml").read_text())
    return dict(content["register"]["gate"])
