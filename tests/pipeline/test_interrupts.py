"""Ctrl-C ends a stage with one line at any time."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.project import Project

STAGES = ["fetch", "preprocess", "tune", "train", "evaluate", "register"]


def reset_sigint() -> None:
    """Restore the default SIGINT handler, which background processes ignore and children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_during_imports_gives_one_line(copied_project: Project) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "emotion.train"],
        cwd=copied_project.folder, env=copied_project.environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=reset_sigint,
    )  # fmt: skip
    assert process.stderr
    assert any("mlflow." in line for line in process.stderr)  # waits for the first
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert error.splitlines()[-1].startswith("train: interrupted")
    assert "Traceback" not in error
    assert process.returncode == 130


def models_of(project: Project) -> dict[Path, bytes]:
    """Every file in models/ except checkpoints."""
    files = [path for path in (project.folder / "models").rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "checkpoints" not in path.parts}


@pytest.fixture(scope="module")
def slow_project(repro_project: Project, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with slow stages, shared by all tests because interrupts leave it unchanged."""
    project = repro_project.copy_to(tmp_path_factory.mktemp("slow") / "project", with_store=False)
    shutil.copy(migrated_store, project.folder / "mlflow.db")
    location = str(project.folder / "mlartifacts")
    project.client.create_experiment("emotion", artifact_location=location)
    project.set_params(fetch__images=20_000, tune__epochs=500, train__epochs=500)
    return project


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_ends_a_stage_in_one_line_without_partial_files(slow_project: Project, stage: str) -> None:
    """The stage is interrupted as soon as its run is open."""
    project = slow_project
    before = models_of(project)
    process = subprocess.Popen(
        [sys.executable, "-m", f"emotion.{stage}"],
        cwd=project.folder, env=project.environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=reset_sigint,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if any(run.info.status == "RUNNING" for run in project.runs()):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert f"{stage}: interrupted" in error
    assert {run.info.status for run in project.runs()} <= {"FAILED", "FINISHED", "KILLED"}
    assert not [path for path in project.folder.rglob("tmp-*") if "mlartifacts" not in path.parts]
    assert models_of(project) == before
