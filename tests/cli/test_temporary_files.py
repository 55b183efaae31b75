"""Commands leave nothing in the folder for temporary files."""

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
