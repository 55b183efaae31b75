"""Real but tiny things to test on: archives of drawn faces and a project that DVC has run."""

import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import yaml
from PIL import Image

from emotion import params
from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import Picture

ROOT = Path(__file__).parents[1]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DVC_NO_ANALYTICS"] = "1"
# The tools of this environment, for the commands that tests start.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same random numbers in every run of a test."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  for libraries that still draw from it


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty MLflow store for this process, in a folder of its own."""
    from emotion.tracking import client as store

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # MLflow sets it; undone with the others
    store.forget()
    yield tmp_path
    store.forget()


@pytest.fixture(scope="session")
def settings() -> params.Params:
    """The parameters as they are shipped."""
    return params.load(ROOT / "params.yaml")


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    """A whole image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def noise(seed: int) -> bytes:
    """A distinct 48x48 image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)
    return image_bytes(Image.fromarray(pixels))


def layout(private: bool = True, each: int = 6) -> dict[str, bytes]:
    """Names and contents of a small archive that is accepted."""
    files: dict[str, bytes] = {}
    usages = {"Training": "train", "PublicTest": "test", **({"PrivateTest": "test"} if private else {})}
    for usage, folder in usages.items():
        for emotion in EMOTIONS:
            for number in range(each):
                name = f"{folder}/{folder}/{emotion}/{usage}_{number}.png"
                files[name] = noise(len(files))
    return files


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip of the given names and contents."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def imported(report: str) -> set[str]:
    """The modules that `python -X importtime` reported."""
    return {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}


class Project:
    """A copy of the pipeline in a folder of its own, with git, DVC and an MLflow store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "KAGGLE_"))
        } | {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(folder / "src")}

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done

    def set(self, **changes: Any) -> None:
        """Change params.yaml; `train__epochs=2` sets train.epochs."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *parents, last = key.split("__")
            section = content
            for parent in parents:
                section = section[parent]
            section[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    @property
    def store(self) -> str:
        """The project's MLflow store."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def commit(self) -> None:
        """Commit everything."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "test")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


class Server:
    """An `mlflow server` that can be killed and started again."""

    def __init__(self, folder: Path, store: str, *arguments: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.arguments = [
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--artifacts-destination", str(folder / "artifacts"), *arguments,
        ]  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        self.environment = kept | {
            "MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true", **environment,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["mlflow", "server", *self.arguments], cwd=self.folder, env=self.environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def make_project(folder: Path) -> Project:
    """A project with tiny parameters, committed, not yet run."""
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    project = Project(folder)
    project.set(
        fetch__images=350, tune__max_trials=2, tune__epochs=1, tune__fraction=0.5,
        train__epochs=2, train__width=4, train__batch_size=32,
    )  # fmt: skip
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.commit()
    return project


@contextmanager
def serving(command: list[str], project: Project, port: int, says_something: bool = True) -> Iterator[str]:
    """Yields what the command prints first, once it listens on the port."""
    process = subprocess.Popen(
        command, cwd=project.folder, env=project.environment, start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        first = process.stdout.readline() if says_something else ""
        for _ in range(300):
            time.sleep(0.2)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=1)
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert process.poll() is None
        else:
            raise AssertionError(f"{command} does not listen on port {port}")
        yield first
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Makes projects that have not been run."""
    return lambda: make_project(tmp_path_factory.mktemp("new") / "project")


@pytest.fixture(scope="session")
def finished_project(new_project: Callable[[], Project]) -> Project:
    """A project after `dvc repro`. Tests must leave it as they found it, or take a copy."""
    project = new_project()
    project.run("dvc", "repro")
    return project


@pytest.fixture
def copied_project(finished_project: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project, with an MLflow store of its own that is still empty."""
    folder = tmp_path / "copy"
    shutil.copytree(
        finished_project.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts")
    )
    yield Project(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def champion_project(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished project whose version 1 is the champion, by a gate that lets all in."""
    folder = tmp_path_factory.mktemp("champion") / "project"
    ignored = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "cache")
    shutil.copytree(finished_project.folder, folder, symlinks=True, ignore=ignored)
    project = Project(folder)
    project.run("emotion", "restore")
    for key, bound in {"min_accuracy": 0.0, "max_calibration_error": 1.0}.items():
        project.set(**{f"register__gate__{key}": bound})
    project.run("emotion", "promote", "1")
    return project


@pytest.fixture
def in_champion_project(champion_project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """This process works in the champion's project."""
    from emotion.tracking import client as store

    monkeypatch.chdir(champion_project.folder)
    monkeypatch.setenv("DVC_ROOT", str(champion_project.folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", champion_project.store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # MLflow sets it; undone with the others
    store.forget()
    yield champion_project
    store.forget()


@pytest.fixture(scope="session")
def astronaut() -> Picture:
    """A portrait in the public domain, (512, 512, 3), with one face."""
    pixels: Picture = skimage.data.astronaut()
    return pixels


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server", f"sqlite:///{tmp_path}/server/mlflow.db")
    made.start()
    yield made
    made.kill()
