"""Fixtures of the web demo."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import Project
from support.servers import free_port, serving


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo's temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def demo(champion_project: Project, scratch: Path) -> Iterator[str]:
    """The URL of a demo of the champion."""
    port = free_port()
    project = Project(champion_project.folder)
    project.environment |= {"TMPDIR": str(scratch)}
    with serving(["emotion", "demo", "--port", str(port)], project, port) as said:
        yield said.split()[1].rstrip("./")


@pytest.fixture(scope="module")
def fixed_demo(champion_project: Project) -> Iterator[str]:
    """The URL of a demo of one fixed model, as in a Space."""
    port = free_port()
    command = ["emotion", "demo", "--model", "models/saved_model", "--port", str(port), "--min-confidence", "1"]
    with serving(command, champion_project, port) as said:
        yield said.split()[1].rstrip("./")
