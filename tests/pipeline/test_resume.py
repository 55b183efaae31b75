"""Killed trainings and searches resume with the same results."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import psutil

import emotion.networks.layers  # noqa: F401  registers what saved networks hold
from support.project import Project, kind_of


def kill_after_epoch(project: Project, epoch: int) -> str:
    """Start `train`, send SIGKILL once an epoch is saved, and return its run ID."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emotion.train"], cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((project.folder / "models/checkpoints").rglob(f"epoch-{epoch:05d}.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    run = project.run_of("train")
    assert run.info.status == "RUNNING"
    return str(run.info.run_id)


def test_a_killed_training_resumes_in_the_same_run_with_the_same_result(copied_project: Project) -> None:
    unbroken = pd.read_csv(copied_project.folder / "reports/history.csv")
    classifier = copied_project.folder / "models/classifier.keras"
    expected = keras.saving.load_model(classifier).get_weights()
    assert not list((copied_project.folder / "models/checkpoints").iterdir())  # removed by `evaluate`

    first = kill_after_epoch(copied_project, 1)
    assert kill_after_epoch(copied_project, 2) == first
    done = copied_project.run("dvc", "repro", "--force", "--single-item", "train")
    assert "Resuming after epoch 2" in done.stdout
    train = copied_project.run_of("train")
    assert train.info.run_id == first
    assert train.info.status == "FINISHED"
    logged = copied_project.client.get_metric_history(first, "train/val_loss")
    assert [metric.step for metric in logged] == [1, 2, 3]
    resumed = pd.read_csv(copied_project.folder / "reports/history.csv")
    for key in set(unbroken) - {"seconds"}:
        np.testing.assert_allclose(resumed[key], unbroken[key], rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(keras.saving.load_model(classifier).get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def test_a_killed_training_restarts_if_a_parameter_changed(copied_project: Project) -> None:
    first = kill_after_epoch(copied_project, 1)
    copied_project.set_params(train__epochs=2)
    done = copied_project.run("dvc", "repro", "train")
    assert "Resuming" not in done.stdout
    assert copied_project.run_of("train").info.run_id != first
    assert len(pd.read_csv(copied_project.folder / "reports/history.csv")) == 2


def test_a_search_fails_without_hyperparameters_if_all_trials_fail(copied_project: Project) -> None:
    copied_project.set_params(
        tune__space={"learning_rate": {"choice": [10.0]}}, tune__epochs=30, tune__fraction=1.0,
        train__network="basic_cnn", train__optimizer="sgd", train__momentum=0.99,
        train__warmup=0.0,
    )  # fmt: skip
    done = copied_project.run("dvc", "repro", "tune", check=False)
    assert done.returncode != 0
    assert "tune: all trials failed. Last error: " in done.stderr
    assert "Lower train.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (copied_project.folder / "models/hyperparameters.json").exists()
    assert {run.info.status for run in copied_project.runs("tags.stage = 'trial'")} == {"FAILED"}
    assert copied_project.run_of("tune").info.status == "FAILED"


def start_search(project: Project) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "emotion.tune"]
    return subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, text=True)


def wait_for(project: Project, pattern: str, process: "subprocess.Popen[str]") -> Path:
    """Wait for and return the first file in models/checkpoints that matches the pattern."""
    deadline = time.monotonic() + 120
    while not (found := list((project.folder / "models/checkpoints").glob(pattern))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def trial_processes(search: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The trial processes of a search: children of its fork server."""
    with contextlib.suppress(psutil.NoSuchProcess):
        servers = [
            child for child in psutil.Process(search.pid).children() if "forkserver" in " ".join(child.cmdline())
        ]
        return [trial for server in servers for trial in server.children()]
    return []


def kill_search(project: Project, pattern: str) -> None:
    """Start `tune`, and send SIGKILL once a checkpoint matches the pattern. Its trials end too."""
    process = start_search(project)
    wait_for(project, pattern, process)
    trials = trial_processes(process)
    assert len(trials) == 1
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(trials, timeout=60)
    assert not alive, "a trial outlives its search"


def test_a_killed_search_resumes_with_the_same_result(copied_project: Project) -> None:
    columns = ["trial", "outcome", "score", "train.learning_rate", "train.dropout", "val_loss", "epochs"]
    unbroken = pd.read_csv(copied_project.folder / "reports/trials.csv")[columns]
    kill_search(copied_project, "*/trial-001/execution-1/epoch-00001.npz")
    done = copied_project.run("dvc", "repro", "--force", "--single-item", "tune")
    assert "Resuming a search. Trials finished so far: 1." in done.stdout
    assert "Resuming after epoch" in done.stdout
    pd.testing.assert_frame_equal(pd.read_csv(copied_project.folder / "reports/trials.csv")[columns], unbroken)
    (search,) = copied_project.runs("tags.stage = 'tune'")
    assert search.info.status == "FINISHED"
    trials = copied_project.runs(f"tags.`mlflow.parentRunId` = '{search.info.run_id}'")
    assert sorted(map(kind_of, trials)) == ["trial-000", "trial-001"]
    assert {run.info.status for run in trials} == {"FINISHED"}
    for run in trials:
        losses = copied_project.client.get_metric_history(run.info.run_id, "train/val_loss")
        assert [metric.step for metric in losses] == [1, 2]


def test_a_killed_search_is_closed_if_its_parameters_changed(copied_project: Project) -> None:
    copied_project.set_params(tune__seed=7)
    kill_search(copied_project, "*/trial-000/execution-1/epoch-00001.npz")
    copied_project.set_params(tune__seed=8, tune__epochs=1, tune__max_trials=1)
    said = copied_project.run("dvc", "repro", "tune").stdout
    assert "Starting a new search; the unfinished one in" in said
    assert "tune.epochs was 2, tune.max_trials was 2, tune.seed was 7.\n" in said
    assert "RUNNING" not in {run.info.status for run in copied_project.runs()}


def test_a_killed_trial_process_fails_only_its_trial(copied_project: Project) -> None:
    copied_project.set_params(tune__max_trials=3, tune__seed=9)  # another seed, so that nothing is continued
    process = start_search(copied_project)
    wait_for(copied_project, "*/trial-001/execution-1/epoch-00001.npz", process)
    for trial in trial_processes(process):
        trial.kill()
    process.communicate(timeout=120)
    assert process.returncode == 0
    statuses = {kind_of(run): run.info.status for run in copied_project.runs("tags.stage = 'trial'")}
    assert statuses == {"trial-000": "FINISHED", "trial-001": "FAILED", "trial-002": "FINISHED"}
    table = pd.read_csv(copied_project.folder / "reports/trials.csv")
    assert table["trial"].tolist()[2] == "trial-001"
    assert table["reason"].tolist()[2].startswith("its process ended with signal SIGKILL")
    search = copied_project.read_json("reports/runs/tune.json")["search"]
    assert search["best"]["trial"] == table["trial"][0]
    assert [other["trial"] for other in search["runners_up"]] == [table["trial"][1]]
