"""Shared fixtures: a small project after `dvc repro`, an empty MLflow store, a portrait."""

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from emotion.data.preparation.images import RGBImage
from emotion.params.load import load_params
from emotion.params.sections import Params
from support.build_once import build_once
from support.project import ONE_THREAD, ROOT, Project, make_project
from support.servers import Server, mlflow_server
from support.stores import connected_to
from support.warm_python import PROGRAMS, warm_python

os.environ.update(ONE_THREAD)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DVC_NO_ANALYTICS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # copies of the project are imported many times
os.environ.pop("COLUMNS", None)  # the width of the terminal in which the tests run
# Commands started by tests use the tools of this environment.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker build the finished project while another runs tests that do not need it.

    With N workers, pytest-xdist gives each an Nth of the list to begin with. Folders with long tests come first, so
    that all end at the same time.
    """
    items.sort(key=lambda item: not {"pipeline", "tracking", "tuning", "registry"} & set(item.path.parts))
    files = {item.path for item in items if "repro_project" in getattr(item, "fixturenames", ())}
    needing = [item for item in items if item.path in files]
    others = [item for item in items if item.path not in files]
    middle = len(items) // 2
    items[:] = [*needing[:middle], *others, *needing[middle:]]


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Seed the random number generators before every test."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  for libraries that still draw from it


@pytest.fixture(scope="session")
def params() -> Params:
    """The default parameters."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder for artifacts that are built once for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def migrated_store(shared_folder: Path) -> Path:
    """An MLflow database without runs: migrating one takes seconds."""

    def build(path: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{path}").search_experiments()

    return build_once(shared_folder / "migrated.db", build)


@pytest.fixture
def mlflow_store(tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty MLflow store for this process in a separate folder."""
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    with connected_to(tmp_path, monkeypatch):
        yield tmp_path


@pytest.fixture(scope="session")
def warm_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let `Project.run` start commands that have loaded their libraries."""
    with warm_python(tmp_path_factory.mktemp("warm") / "bin") as folder:
        os.environ[PROGRAMS] = str(folder)
        yield
        del os.environ[PROGRAMS]


@pytest.fixture(scope="session")
def new_project(
    tmp_path_factory: pytest.TempPathFactory, migrated_store: Path, warm_programs: None
) -> Callable[[], Project]:
    """A factory of projects that have not been run."""

    def make() -> Project:
        project = make_project(tmp_path_factory.mktemp("new") / "project")
        shutil.copy(migrated_store, project.folder / "mlflow.db")
        return project

    return make


@pytest.fixture(scope="session")
def repro_project(shared_folder: Path, migrated_store: Path, warm_programs: None) -> Project:
    """A project after `dvc repro`: copy it, do not use it directly."""

    def build(folder: Path) -> None:
        project = make_project(folder)
        shutil.copy(migrated_store, folder / "mlflow.db")
        project.run("dvc", "repro")

    return Project(build_once(shared_folder / "repro", build))


@pytest.fixture(scope="session")
def finished_project(repro_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after `dvc repro`. Tests must leave it as they found it, or take a copy."""
    return repro_project.copy_to(tmp_path_factory.mktemp("finished") / "project", with_store=True)


@pytest.fixture
def copied_project(repro_project: Project, migrated_store: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project, with a separate, empty MLflow store."""
    project = repro_project.copy_to(tmp_path / "copy", with_store=False)
    shutil.copy(migrated_store, project.folder / "mlflow.db")
    yield project
    shutil.rmtree(project.folder)


@pytest.fixture
def logged_project(repro_project: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project, with its runs and its version."""
    project = repro_project.copy_to(tmp_path / "copy", with_store=True)
    yield project
    shutil.rmtree(project.folder)


@pytest.fixture(scope="session")
def promoted_project(repro_project: Project, shared_folder: Path) -> Project:
    """A finished project whose version 1 is the champion, promoted with lenient gate thresholds: copy it, as above."""

    def build(folder: Path) -> None:
        project = repro_project.copy_to(folder, with_store=True)
        for key, threshold in {"min_accuracy": 0.0, "max_calibration_error": 1.0}.items():
            project.set_params(**{f"register__gate__{key}": threshold})
        project.run("emotion", "promote", "1")

    return Project(build_once(shared_folder / "champion", build))


@pytest.fixture(scope="session")
def champion_project(promoted_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a champion. Tests must leave it as they found it, but for deleted versions."""
    return promoted_project.copy_to(tmp_path_factory.mktemp("champion") / "project", with_store=True)


@pytest.fixture
def in_champion_project(champion_project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Run the test in the champion's project."""
    monkeypatch.chdir(champion_project.folder)
    with connected_to(champion_project.folder, monkeypatch):
        yield champion_project


@pytest.fixture
def server(tmp_path: Path, migrated_store: Path, warm_programs: None) -> Iterator[Server]:
    """An MLflow server on an empty store."""
    with mlflow_server(tmp_path / "server", migrated_store) as started:
        yield started


@pytest.fixture(scope="session")
def astronaut() -> RGBImage:
    """A portrait in the public domain, (512, 512, 3), with one face."""
    pixels: RGBImage = skimage.data.astronaut()
    return pixels


@pytest.fixture(scope="session")
def two_astronauts(astronaut: RGBImage) -> RGBImage:
    """The portrait beside its mirror image, (512, 1024, 3), with two faces."""
    return np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)


@pytest.fixture
def album(tmp_path: Path, astronaut: RGBImage, two_astronauts: RGBImage) -> Path:
    """A folder with four files: a face, two faces in a subfolder, no face, and a text file."""
    (tmp_path / "more").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "astronaut.jpg")
    Image.fromarray(two_astronauts).save(tmp_path / "more/two.png")
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.webp")
    (tmp_path / "text.jpg").write_text("not an image")
    return tmp_path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium on this machine; .ci/run installs it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()
