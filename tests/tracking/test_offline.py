"""An unreachable tracking server."""

from collections.abc import Callable

import emotion.networks.layers  # noqa: F401  registers what saved networks hold
from support.project import Project


def test_an_unreachable_tracking_server_gives_one_line(new_project: Callable[[], Project]) -> None:
    project = new_project()
    done = project.run(
        "python", "-m", "emotion.fetch", check=False, MLFLOW_TRACKING_URI="http://user:pa%2F55w0rd@127.0.0.1:9"
    )
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "MLflow" in line]
    assert line.startswith("The MLflow tracking store at http://127.0.0.1:9 cannot be used")
    assert "`emotion sync` delivers them later" in line
    assert "55w0rd" not in done.stdout + done.stderr
    for path in project.folder.rglob("*"):
        assert "55w0rd" not in path.name
        assert path.is_dir() or b"55w0rd" not in path.read_bytes()
    assert (project.folder / "reports/runs/fetch.json").exists()
