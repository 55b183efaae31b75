"""`emotion trials` and `compare`."""

import io
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.runtime.errors import UserError
from emotion.tracking.queries import search_runs
from emotion.tracking.run import Run
from emotion.tracking.runs import end_run, get_or_create_child_run, release_run, start_run
from emotion.tracking.searches import search_progress
from support.project import ROOT, Project, imported
from support.stores import connected_to


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

    watched = finished_project.run("emotion", "trials", "--watch").stdout
    assert f"finished, best score {listed['score'].max():.4f}" in watched
    assert "2 of 2" in watched

    compared = finished_project.run("emotion", "compare", "trial-000", "trial-001").stdout
    assert "train.learning_rate" in compared
    assert "train.width" not in compared
    assert "McNemar" in compared
    missing = finished_project.run("emotion", "compare", "trial-000", "nothing", check=False)
    assert missing.stderr.startswith("emotion: there is no run nothing. Give a version,")
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", "trials").stderr
    )
    assert "mlflow" in heavy
    assert not heavy & {"tensorflow", "keras"}


def test_a_running_search_is_shown_with_the_epochs_of_its_trials(mlflow_store: Path) -> None:
    params = {"tune.max_trials": 4, "tune.epochs": 3, "tune.objective": "val_accuracy"}
    with start_run("tune", {"stage": "tune"}, params) as search:
        for name, values in (("trial-000", "dropout 0.1"), ("trial-001", "dropout 0.2")):
            get_or_create_child_run(name, f"{name} · {values}", {"stage": "trial"}, {"train.epochs": 3}, search.id)
        done, running = (run.id for run in sorted(search_runs("trial"), key=lambda run: run.name))
        Run(done).log_metrics({"score": 0.5, "trial/duration": 60.0})
        end_run(done, "FINISHED", {"outcome": "completed"})
        for epoch in (1, 2):
            Run(running).log_metrics({"train/loss": 1.0, "train/val_accuracy": 0.25}, epoch)
        progress = search_progress(search.id)
        release_run(running)
    assert [row["trial"] for row in progress.trials] == ["trial-001", "trial-000"]
    assert progress.trials[0] == {
        "trial": "trial-001", "status": "running", "epoch": "2 of 3", "score": 0.25, "values": "dropout 0.2",
    }  # fmt: skip
    assert (progress.best, progress.seconds_left) == (0.5, 180.0)


@pytest.mark.parametrize("command", [["trials"], ["compare", "a", "b"]])
def test_reading_commands_do_not_create_a_store(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with connected_to(tmp_path, monkeypatch):
        outside = CliRunner().invoke(app, command)
        assert str(outside.exception) == "params.yaml does not exist. Run from the project's root."
        shutil.copy(ROOT / "params.yaml", tmp_path)
        assert isinstance(CliRunner().invoke(app, command).exception, UserError)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("mlflow")] == []
