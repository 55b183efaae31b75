"""An unreachable tracking server."""

from collections.abc import Callable

import emotion.networks.layers  # noqa: F401  registers what saved networks hold
from support.project import Project


def test_an_unreachable_tracking_server_gives_one_line(new_project: Callable[[], Project]) -> None:
    project = new_project()
    done = project.run(
        "python", "-m", "emotion.fetch", check=False, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9"
    )
    assert done.returncode == 0
    assert not [path for path in project.folder.rglob("*") if "secret" in path.name]
    (line,) = [line for line in done.stderr.splitlines() if "MLflow" in line]
    assert line.startswith("The MLflow tracking store at http://127.0.0.1:9 cannot be used")
    assert "`emotion sync` delivers them later" in line
    assert "secret" not in done.stdout + done.stderr
    assert (project.folder / "reports/runs/fetch.json").exists()
