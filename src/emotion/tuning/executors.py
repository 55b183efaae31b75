"""Executors for the trials of a search: one trial at a time on this machine, or many on a Ray cluster."""

import contextlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import signal
import socket
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

import emotion
from emotion.data.dataset import open_dataset
from emotion.params.space import Ray, Tune
from emotion.runtime.errors import UserError
from emotion.runtime.files import write_json
from emotion.tuning.protocol import Executor, TrialRequest, TrialResult
from emotion.tuning.worker import REQUEST, RESULT, NodeTracking, run_in_process, run_on_node

MAX_RETRIES = 3  # for a trial whose Ray node or process was lost


def make_executor(settings: Tune, folder: Path) -> Executor:
    """The executor that `tune.executor` names.

    Args:
        settings: the settings of the search.
        folder: the folder where the search saves its state.
    """
    return RayExecutor(settings.ray) if settings.executor == "ray" else LocalExecutor(folder)


class LocalExecutor:
    """Runs one trial at a time on this machine, each forked from a process that has loaded the libraries."""

    capacity = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = ""  # of the running trial
        self.process: ForkServerProcess | None = None
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["emotion.tuning.preload"])
        multiprocessing.forkserver.ensure_running()  # loads TensorFlow while the search prepares

    def start(self, name: str, request: TrialRequest) -> None:
        """Start a trial."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).unlink(missing_ok=True)
        write_json(folder / REQUEST, request.model_dump(mode="json"))
        process = self.context.Process(target=run_in_process, args=(folder,))
        try:
            process.start()  # waits until the fork server has loaded TensorFlow
        except BaseException:
            _stop_forkserver()  # it would start the trial later
            raise
        self.name, self.process = name, process

    def wait(self) -> tuple[str, TrialResult]:
        """Wait for the running trial; return its name and its result."""
        assert self.process is not None
        self.process.join()
        path = self.folder / self.name / RESULT
        if path.exists():
            return self.name, TrialResult.model_validate(json.loads(path.read_text()))
        reason = f"its process ended with {_describe_exit_code(self.process.exitcode or 0)}"
        return self.name, TrialResult(outcome="failed", reason=reason)

    def cleanup(self, name: str) -> None:
        """Delete what is saved to resume a trial."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def close(self) -> None:
        """Stop the running trial; its finished epochs are saved."""
        if self.process is not None:
            self.process.kill()
            self.process.join()


def _stop_forkserver() -> None:
    """Kill this process's fork server and the trials that it has started."""
    for server in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("multiprocessing.forkserver" in argument for argument in server.cmdline()):
                server.suspend()  # so that it starts no more
                for process in [*server.children(), server]:
                    process.kill()


def _describe_exit_code(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = " (probably out of memory)" if -code == signal.SIGKILL else ""
    return f"signal {signal.Signals(-code).name}{hint}"


class RayExecutor:
    """Runs trials as tasks on a Ray cluster.

    Ray's object store distributes the images, and the job's runtime environment distributes this package. Each
    trial logs directly to the MLflow server. If its node or process is lost, Ray restarts the trial from the
    beginning, in the same MLflow run.

    Raises:
        UserError: if Ray is not installed, the cluster cannot be reached, no node has enough resources for a
            trial, or several machines would share a SQLite file.
    """

    def __init__(self, settings: Ray) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("tune.executor is ray, but Ray is not installed. Run `pip install ray`.") from None
        self.ray, self.capacity = ray, settings.trials_at_once
        _check_address(os.environ.get("RAY_ADDRESS", ""))
        ray.init(logging_level="warning", runtime_env={"py_modules": [str(Path(emotion.__file__).parent)]})
        self._check_resources(settings)
        dataset = open_dataset()
        self.inputs = [NodeTracking.here(), ray.put(dataset.split("train")), ray.put(dataset.split("validation"))]
        options = {"num_cpus": settings.cpus, "num_gpus": settings.gpus, "memory": settings.memory_gib * 2**30}
        self.task = ray.remote(max_calls=1, max_retries=MAX_RETRIES, **options)(run_on_node)
        self.running: dict[Any, str] = {}

    def _check_resources(self, settings: Ray) -> None:
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        needed = {"CPU": settings.cpus, "GPU": settings.gpus, "memory": settings.memory_gib * 2**30}
        if not any(all(node["Resources"].get(key, 0) >= value for key, value in needed.items()) for node in nodes):
            raise UserError(f"no Ray node has what tune.ray asks for: {settings!r}. Lower them, or add a node.")
        machines = {node["NodeManagerHostname"] for node in nodes}
        if len(machines) > 1 and not NodeTracking.here().is_shared:
            raise UserError(
                f"the Ray cluster has {len(machines)} machines, which cannot share mlflow.db. Set MLFLOW_TRACKING_URI"
                " to a server that all of them can reach."
            )

    def start(self, name: str, request: TrialRequest) -> None:
        """Start a trial."""
        self.running[self.task.remote(request.model_dump(mode="json"), *self.inputs)] = name

    def wait(self) -> tuple[str, TrialResult]:
        """Wait for the next trial that ends; return its name and its result."""
        (done,), _ = self.ray.wait(list(self.running), num_returns=1)
        name = self.running.pop(done)
        try:
            return name, TrialResult.model_validate(self.ray.get(done))
        except self.ray.exceptions.RayError as error:
            return name, TrialResult(outcome="failed", reason=str(error).strip().splitlines()[0])

    def cleanup(self, name: str) -> None:
        """Do nothing: no trial state is saved."""

    def close(self) -> None:
        """Stop all running trials."""
        for task in self.running:
            self.ray.cancel(task, force=True)
        self.ray.shutdown()


def _check_address(address: str) -> None:
    """Raise an error if nothing listens at the address; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # none, or "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"no Ray cluster responds at {address}: {error}. Start one, or unset RAY_ADDRESS.") from None
