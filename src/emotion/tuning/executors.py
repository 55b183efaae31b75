"""Where the trials of a search run."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from emotion import params
from emotion.data.dataset import Split, open_faces
from emotion.runtime.errors import UserError
from emotion.runtime.paths import write_json
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking import client as store
from emotion.tuning.trial import REQUEST, RESULT, Request, Result, attempt

LOST = 3  # times that Ray runs a trial again whose node or process is gone


def make_executor(settings: params.Tune, folder: Path) -> "Executor":
    """The one that `tune.executor` names.

    Args:
        settings: of the search.
        folder: where the search keeps what it has reached.
    """
    return OnRay(settings.ray) if settings.executor == "ray" else Local(folder)


class Executor(Protocol):
    """Runs trials, each in a fresh process."""

    capacity: int  # trials at a time

    def start(self, name: str, request: Request) -> None:
        """Begin a trial."""

    def wait(self) -> tuple[str, Result]:
        """The name and the result of the next that ends."""

    def forget(self, name: str) -> None:
        """Remove what is kept to go on with a trial."""

    def close(self) -> None:
        """End what runs."""


class Local:
    """One trial at a time on this machine, each a copy of a process that has its libraries loaded."""

    capacity = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = ""  # of the trial that runs
        self._launch()

    def _launch(self) -> None:
        self.socket, other = socket.socketpair()
        # In a process group of its own: Ctrl-C reaches the search, which ends its trials.
        command = [sys.executable, "-m", "emotion.tuning.trial"]
        with other:
            self.process = subprocess.Popen(command, stdin=other.fileno(), process_group=0)

    def start(self, name: str, request: Request) -> None:
        """Begin a trial."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
        write_json(folder / REQUEST, request.model_dump())
        if self.process.poll() is not None:
            self.socket.close()
            self._launch()
        self.name = name
        with contextlib.suppress(BrokenPipeError):  # it ended just now, which `wait` tells
            self.socket.sendall(f"{folder}\n".encode())

    def wait(self) -> tuple[str, Result]:
        """The name and the result of the one that runs."""
        try:
            said = self.socket.recv(64).decode()
        except ConnectionResetError:
            said = ""
        code = int(said) if said else self.process.wait()
        path = self.folder / self.name / RESULT
        if path.exists():
            return self.name, Result.model_validate_json(path.read_text())
        return self.name, Result(outcome="failed", reason=f"its process ended with {_meaning(code)}")

    def forget(self, name: str) -> None:
        """Remove what is kept to go on with a trial."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """End what runs; its finished epochs are kept."""
        self.process.kill()
        self.process.wait()
        self.socket.close()


def _meaning(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    killed = " (the system does that where memory runs out)" if -code == signal.SIGKILL else ""
    return f"signal {signal.Signals(-code).name}{killed}"


class OnRay:
    """Trials as tasks on a Ray cluster, which schedules them.

    Faces reach the nodes through Ray's object store, the package's code as a module of the job;
    every trial logs to the MLflow server itself. Ray runs a trial again from its start where its
    node or process is lost, in the same MLflow run.

    Raises:
        UserError: where Ray is not installed, the cluster cannot be reached or never has what a
            trial takes, or several machines would share a SQLite file.
    """

    def __init__(self, settings: params.Ray) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("tune.executor is ray, which is not installed. `pip install ray` brings it.") from None
        self.ray, self.capacity = ray, settings.trials_at_once
        _check_address(os.environ.get("RAY_ADDRESS", ""))
        ray.init(logging_level="warning", runtime_env={"py_modules": [str(Path(__file__).parent)]})
        self._check(settings)
        faces = open_faces()
        self.faces = [ray.put(faces.split(name)) for name in ("train", "validation")]
        options = {"num_cpus": settings.cpus, "num_gpus": settings.gpus, "memory": settings.memory_gib * 2**30}
        self.task = ray.remote(max_calls=1, max_retries=LOST, **options)(_on_a_worker)
        self.running: dict[Any, str] = {}

    def _check(self, settings: params.Ray) -> None:
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        wanted = {"CPU": settings.cpus, "GPU": settings.gpus, "memory": settings.memory_gib * 2**30}
        if not any(all(node["Resources"].get(k, 0) >= v for k, v in wanted.items()) for node in nodes):
            raise UserError(f"no node of the Ray cluster has what tune.ray asks for a trial: {settings!r}.")
        machines = {node["NodeManagerHostname"] for node in nodes}
        if len(machines) > 1 and store.store_uri().startswith("sqlite"):
            raise UserError(
                f"the Ray cluster has {len(machines)} machines, which cannot share mlflow.db. Set MLFLOW_TRACKING_URI"
                " to a server that all of them reach."
            )

    def start(self, name: str, request: Request) -> None:
        """Begin a trial."""
        # As an argument: in Ray's runtime environment, passwords would be on its dashboard.
        environment = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
        environment["MLFLOW_TRACKING_URI"] = store.store_uri()
        self.running[self.task.remote(request.model_dump(), environment, *self.faces)] = name

    def wait(self) -> tuple[str, Result]:
        """The name and the result of the next that ends."""
        (done,), _ = self.ray.wait(list(self.running), num_returns=1)
        name = self.running.pop(done)
        try:
            return name, Result.model_validate(self.ray.get(done))
        except self.ray.exceptions.RayError as error:
            return name, Result(outcome="failed", reason=str(error).strip().splitlines()[0])

    def forget(self, name: str) -> None:
        """Remove what is kept to go on with a trial: nothing."""

    def close(self) -> None:
        """End what runs."""
        for task in self.running:
            self.ray.cancel(task, force=True)
        self.ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse one where nobody listens, for which Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # none, or "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}. Start it, or unset RAY_ADDRESS.") from None


def _on_a_worker(request: dict[str, Any], environment: dict[str, str], train: Split, validation: Split) -> Any:
    os.environ.update(environment)
    store.without_journal()  # nobody would look for it on a worker's disk
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ.get("OMP_NUM_THREADS", "")  # Ray's, by the task's CPUs
    load_tensorflow()
    import ray

    where = {"ray.node_id": ray.get_runtime_context().get_node_id()}
    return attempt(Request.model_validate(request), train, validation, where=where).model_dump()
