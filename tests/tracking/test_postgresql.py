"""An MLflow server on PostgreSQL that requires a password."""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import Project
from support.promotions import Changer
from support.servers import Server, free_port

PASSWORD = "very secret password"
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)


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
    refused = project.run(
        "python", "-m", "emotion.train", check=False,
        MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD="wrong",
    )  # fmt: skip
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
    project.set_params(train__epochs=1)
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
    assert "responds" in run("emotion", "doctor")
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
