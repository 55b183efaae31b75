"""Commands that only look do not load TensorFlow."""

import sys

import pytest

from support.project import Project, imported


@pytest.mark.parametrize("command", [["history"], ["trace", "1"], ["doctor"], ["cleanup-runs"]])
def test_looking_does_without_tensorflow(finished_project: Project, command: list[str]) -> None:
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", *command).stderr
    )
    assert "emotion.cli.tables" in heavy or command == ["cleanup-runs"]
    assert not heavy & {"tensorflow", "keras", "sklearn"}
