"""Commands leave nothing in the folder for temporary files."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import Project


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "astronaut.jpg"),
        ("compare", "trial-000", "trial-001"),
        ("trace", "1"),
        ("space", "space"),
        ("export", "model.tflite", "--format", "litert"),
        ("promote", "1", "--dry-run"),
    ],
)
def test_a_command_leaves_no_temporary_files(
    champion_project: Project, album: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    paths = {"astronaut.jpg": album, "space": tmp_path, "model.tflite": tmp_path}
    name, *arguments = command
    arguments = [str(paths[it] / it) if it in paths else it for it in arguments]
    champion_project.run("emotion", name, *arguments, TMPDIR=str(scratch))
    assert list(scratch.iterdir()) == []


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of multiprocessing's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_temporary_files_of_a_killed_command_are_removed_by_the_next_one(
    champion_project: Project, short_folder: Path, tmp_path: Path
) -> None:
    command = ["-m", "emotion.cli.main", "export", str(tmp_path / "model.tflite"), "--format", "litert"]
    killed = subprocess.Popen(
        [sys.executable, *command], cwd=champion_project.folder,
        env=champion_project.environment | {"TMPDIR": str(short_folder)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list(short_folder.rglob("saved_model.pb")):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (short_folder / "emotion-of-another").mkdir()
    champion_project.run("emotion", "history", TMPDIR=str(short_folder))
    assert [path.name for path in short_folder.iterdir()] == ["emotion-of-another"]


def test_a_command_works_without_a_folder_for_temporary_files(champion_project: Project, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert "promote" in champion_project.run("emotion", "history", TMPDIR=str(blocked)).stdout
