"""Real servers: MLflow and commands that listen on a port."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.project import Project
from support.warm_python import PROGRAMS

MLFLOW_PROCESS = Path(__file__).with_name("mlflow_process.py")


def free_port() -> int:
    """An unused port."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


class Server:
    """An `mlflow server` that can be killed and restarted. It starts warm (`support.warm_python`)."""

    def __init__(self, folder: Path, store: str, *arguments: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.arguments = [
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--artifacts-destination", str(folder / "artifacts"), *arguments,
        ]  # fmt: skip
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self.environment = inherited | {
            "MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true", **environment,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid_file(self) -> Path:
        """The file with the id of the running server's process."""
        return self.folder / "server.pid"

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it responds."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [f"{os.environ[PROGRAMS]}/python", MLFLOW_PROCESS, self.pid_file, *self.arguments],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        if self.process and self.process.poll() is None:
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)
            self.process.wait()


@contextmanager
def mlflow_server(folder: Path, database: Path) -> Iterator[Server]:
    """A started server with a copy of an MLflow database."""
    folder.mkdir(parents=True)
    shutil.copy(database, folder / "mlflow.db")
    made = Server(folder, f"sqlite:///{folder}/mlflow.db")
    made.start()
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def serving(
    command: list[str], project: Project, port: int, prints_address: bool = True, is_warm: bool = True
) -> Iterator[str]:
    """Yield the line with the address that the command prints, once it listens on the port.

    At the end it receives SIGTERM if it is cold, and SIGKILL if it is warm.
    """
    environment = project.warm_environment if is_warm else project.environment
    process = subprocess.Popen(
        command, cwd=project.folder, env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert process.stdout
        first = process.stdout.readline() if prints_address else ""
        for _ in range(1500):
            time.sleep(0.2)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=1)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert process.poll() is None, f"{command} exited with code {process.returncode}"
        else:
            raise AssertionError(f"{command} does not listen on port {port}")
        yield first
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
