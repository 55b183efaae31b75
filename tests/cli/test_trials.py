"""`emotion trials` and `compare`."""

import io
import sys
import time

import numpy as np
import pandas as pd

from support.project import Project, imported


def test_trials_are_listed_and_compared_quickly(finished_project: Project) -> None:
    table = pd.read_csv(finished_project.folder / "reports/trials.csv")
    started = time.monotonic()
    listed = pd.read_json(io.StringIO(finished_project.run("emotion", "trials", "--json").stdout))
    print(f"emotion trials took {time.monotonic() - started:.2f} s")
    assert listed["run_id"].tolist() == table["run_id"].tolist()
    np.testing.assert_allclose(listed["learning_rate"], table["train.learning_rate"], rtol=1e-6)
    worst = pd.read_csv(io.StringIO(finished_project.run("emotion", "trials", "--csv", "--sort=val_loss").stdout))
    assert worst["val_loss"].is_monotonic_increasing
    assert len(finished_project.run("emotion", "trials", "--top=1", "--csv").stdout.splitlines()) == 2
    unknown = finished_project.run("emotion", "trials", "--sort=speed", check=False)
    assert unknown.stderr.startswith("emotion: the trials have no column speed. Choose one of trial, status, score")

    compared = finished_project.run("emotion", "compare", "trial-000", "trial-001").stdout
    assert "train.learning_rate" in compared
    assert "train.width" not in compared
    assert "McNemar" in compared
    missing = finished_project.run("emotion", "compare", "trial-000", "nothing", check=False)
    assert missing.stderr.startswith("emotion: no run has an id that starts with nothing.")
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", "trials").stderr
    )
    assert "mlflow" in heavy
    assert not heavy & {"tensorflow", "keras"}
