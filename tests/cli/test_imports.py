"""Read-only commands do not import TensorFlow."""

import sys

import pytest

from support.project import Project, imported


@pytest.mark.parametrize("command", [["history"], ["trace", "1"], ["doctor"], ["cleanup-runs"]])
def test_read_only_commands_do_not_import_tensorflow(finished_project: Project, command: list[str]) -> None:
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", *command).stderr
    )
    assert "emotion.cli.tables" in heavy or command == ["cleanup-runs"]
    assert not heavy & {"tensorflow", "keras", "sklearn"}
