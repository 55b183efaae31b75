"""`emotion space`: a standalone folder that serves the champion."""

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from gradio_client import Client, handle_file
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.runtime.errors import UserError
from emotion.serving.demo.app import CROPPED
from emotion.serving.demo.space import pin_requirements
from emotion.serving.model_source import open_model
from support.project import Project
from support.servers import free_port, serving


@pytest.fixture
def space(in_champion_project: Project, tmp_path: Path) -> Path:
    folder = tmp_path / "space"
    done = CliRunner().invoke(app, ["space", str(folder)])
    assert done.exit_code == 0
    assert f"`hf upload --repo-type space USER/NAME {folder} .`" in done.stdout
    return folder


def install_pinned(requirements: Path, site_packages: Path) -> None:
    """Install exactly the pinned packages, as hard links to the files of the current environment."""
    for line in requirements.read_text().splitlines():
        name, _, version = line.partition("==")
        package = distribution(name)
        assert package.version == version
        for file in package.files or ():
            if ".." not in file.parts:
                target = site_packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(str(package.locate_file(file))), target)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)


def test_a_space_runs_in_its_own_environment(space: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    install_pinned(space / "requirements.txt", next((environment / "lib").glob("python*/site-packages")))
    project = Project(space)
    del project.environment["PYTHONPATH"]
    port = free_port()
    project.environment |= {"GRADIO_SERVER_PORT": str(port)}
    with serving([str(environment / "bin/python"), "app.py"], project, port) as said:
        client = Client(said.split()[1], verbose=False)
        face = handle_file(str(space / "samples/happy.png"))
        answer = client.predict(face, CROPPED, "champion", api_name="/predict")[1]
    assert answer["model"] == "facial-emotion version 1"
    assert sum(answer["faces"][0]["scores"].values()) == pytest.approx(1, abs=0.01)


def test_a_space_has_metadata_and_the_champions_files(space: Path, in_champion_project: Project) -> None:
    _, front, card = (space / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front)
    assert (about["sdk"], about["app_file"], about["short_description"]) == (
        "gradio", "app.py", "facial-emotion version 1",
    )  # fmt: skip
    assert about["sdk_version"] in (space / "requirements.txt").read_text()
    assert "# facial-emotion version 1" in card
    assert "parameters" not in (space / "model/bundle.json").read_text(), "they have paths of this machine"
    for path in (in_champion_project.folder / "models/saved_model").rglob("*"):
        if path.is_file():
            copy = space / "model/saved_model" / path.relative_to(in_champion_project.folder / "models/saved_model")
            assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_a_changed_model_is_not_served(space: Path) -> None:
    with (space / "model/saved_model/saved_model.pb").open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=r"saved_model\.pb has changed since facial-emotion version 1 was written"):
        open_model(str(space / "model")).__enter__()


def test_an_existing_folder_is_not_overwritten(space: Path) -> None:
    before = (space / "README.md").read_bytes()
    done = CliRunner().invoke(app, ["space", str(space)])
    assert isinstance(done.exception, UserError)
    assert (space / "README.md").read_bytes() == before


def test_pinned_requirements_exclude_the_pipelines_packages() -> None:
    pinned = {pin.partition("==")[0] for pin in pin_requirements(("gradio", "tensorflow"))}
    assert {"gradio", "gradio-client", "tensorflow", "numpy", "keras"} <= pinned
    assert not {"mlflow", "dvc", "kaggle", "nvidia-cudnn-cu12"} & pinned


def test_a_space_is_written_into_an_empty_folder_but_not_over_files(
    in_champion_project: Project, tmp_path: Path
) -> None:
    (tmp_path / "space").mkdir()
    arguments = ["space", str(tmp_path / "space"), "--model", "reference"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "space/app.py").exists()
    assert not (tmp_path / "space/emotion/serving/reference_model").exists(), "the model is there once"
    refused = CliRunner().invoke(app, arguments).exception
    assert str(refused).endswith("is not an empty folder. Remove it, or choose another folder.")
