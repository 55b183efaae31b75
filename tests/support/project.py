"""Copies of the pipeline in separate folders, with git, DVC and an MLflow store."""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import Run

from emotion.registry.signature import input_example
from support.warm_python import PROGRAMS

ROOT = Path(__file__).parents[2]
MODEL = "facial-emotion"
# Two workers share the cores, so more threads would only compete.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
STORED_PATHS = (  # columns of MLflow's database that hold absolute paths
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"), ("inputs", "source_id"),
)  # fmt: skip


def kind_of(run: Run) -> str:
    """The stage of a run, or the name of a trial."""
    return str(run.data.tags.get("trial") or run.data.tags.get("stage") or run.info.run_name)


class Project:
    """A copy of the pipeline in a separate folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_", "KAGGLE_"))}
        self.environment = kept | ONE_THREAD | {
            "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(folder / "src"),
        }  # fmt: skip

    @property
    def warm_environment(self) -> dict[str, str]:
        """The environment of commands that start warm (`support.warm_python`)."""
        return self.environment | {"PATH": f"{os.environ[PROGRAMS]}{os.pathsep}{self.environment['PATH']}"}

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; `python`, `emotion` and `dvc` start warm."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.warm_environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done

    def set_params(self, **changes: Any) -> None:
        """Change params.yaml; `train__epochs=2` sets train.epochs."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *parents, last = key.split("__")
            section = content
            for parent in parents:
                section = section[parent]
            section[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    @property
    def store(self) -> str:
        """The project's MLflow store."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> mlflow.MlflowClient:
        """A client for that store."""
        return mlflow.MlflowClient(self.store)

    def commit(self) -> None:
        """Commit everything."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "test")

    def copy_to(self, folder: Path, with_store: bool) -> "Project":
        """A copy in another folder, with its MLflow store or without one."""
        ignored = shutil.ignore_patterns(*(() if with_store else ("mlflow.db*", "mlartifacts")))
        shutil.copytree(self.folder, folder, symlinks=True, ignore=ignored)
        if with_store:
            with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
                for table, column in STORED_PATHS:
                    database.execute(
                        f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(self.folder), str(folder))
                    )
        return Project(folder)

    def runs(self, filter_string: str = "") -> list[Run]:
        """All runs, the oldest first."""
        experiments = [it.experiment_id for it in self.client.search_experiments() if it.name.startswith("emotion")]
        order = ["attributes.start_time"]
        return list(self.client.search_runs(experiments, filter_string, order_by=order)) if experiments else []

    def run_of(self, stage: str) -> Run:
        """The newest run of a stage."""
        return self.runs(f"tags.stage = '{stage}'")[-1]

    def artifacts(self, run: Run, folder: str | None = None) -> set[str]:
        """The paths of a run's artifacts."""
        found: set[str] = set()
        for entry in self.client.list_artifacts(run.info.run_id, folder):
            found |= self.artifacts(run, entry.path) if entry.is_dir else {entry.path}
        return found

    def read_json(self, path: str) -> dict[str, Any]:
        """The content of a JSON file."""
        content: dict[str, Any] = json.loads((self.folder / path).read_text())
        return content

    def mlflow_predict(self, folder: Path) -> list[float]:
        """The output of `mlflow models predict` for a synthetic face."""
        request = folder / "request.json"
        request.write_text(json.dumps({"inputs": input_example((48, 48, 1)).tolist()}))
        done = self.run(
            "mlflow", "models", "predict", "-m", f"models:/{MODEL}/1", "--env-manager", "local",
            "-i", str(request), "-t", "json", MLFLOW_TRACKING_URI=self.store,
        )  # fmt: skip
        (answer,) = json.loads(done.stdout[done.stdout.index("{") :])["predictions"]
        return list(answer)


def make_project(folder: Path) -> Project:
    """A project with tiny parameters, committed, not yet run."""
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data/corrections.csv", folder / "data")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyi"))
    project = Project(folder)
    project.set_params(
        fetch__images=350, tune__max_trials=2, tune__epochs=2, tune__fraction=0.5,
        train__epochs=3, train__width=4, train__batch_size=32,
    )  # fmt: skip
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.commit()
    return project


def imported(report: str) -> set[str]:
    """The modules that `python -X importtime` reported."""
    return {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}
