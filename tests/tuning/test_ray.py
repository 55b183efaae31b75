"""Trials on a real two-node Ray cluster that log to a real MLflow server."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run

from emotion.params.load import load_params
from emotion.tuning.search import Search
from support.project import Project, kind_of
from support.search import Formula, Runs
from support.servers import Server

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is an optional package")


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes with one CPU each."""
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=1)
    started.wait_for_nodes()
    yield started
    started.shutdown()


def trials_of(server: str) -> list[Run]:
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("emotion")
    return list(client.search_runs([experiment.experiment_id], "tags.stage = 'trial'")) if experiment else []


def test_a_search_uses_all_nodes_and_survives_a_killed_node_and_driver(
    copied_project: Project, server: Server, cluster: Any, tmp_path: Path
) -> None:
    copied_project.set_params(
        tune__max_trials=3, tune__epochs=40, train__precision="float32",
        tune__executor="ray", tune__ray={"trials_at_once": 2, "cpus": 1, "gpus": 0, "memory_gib": 0.5},
    )  # fmt: skip
    params = load_params(copied_project.folder / "params.yaml")
    trials = Search(params.tune, params.train, tmp_path / "alone", Formula(), Runs()).run()
    alone = {trial.name: trial.values for trial in trials}

    environment = {"MLFLOW_TRACKING_URI": server.uri, "RAY_ADDRESS": cluster.address}
    search = subprocess.Popen(
        [sys.executable, "-m", "emotion.tune"], cwd=copied_project.folder, env=copied_project.environment | environment
    )
    wait_until(lambda: len([run for run in trials_of(server.uri) if "train/loss" in run.data.metrics]) == 2)
    assert len({run.data.tags["ray.node_id"] for run in trials_of(server.uri)}) == 2
    second = next(node for node in cluster.list_all_nodes() if not node.head)
    cluster.remove_node(second, allow_graceful=False)
    wait_until(lambda: len(trials_of(server.uri)) == 3)
    search.kill()
    search.wait()

    cluster.add_node(num_cpus=1)
    done = copied_project.run("python", "-m", "emotion.tune", **environment)
    assert "Resuming a search" in done.stdout
    runs = trials_of(server.uri)
    assert sorted(map(kind_of, runs)) == sorted(alone)
    assert {run.info.status for run in runs} == {"FINISHED"}
    table = pd.read_csv(copied_project.folder / "reports/trials.csv").set_index("trial")
    assert set(table["outcome"]) == {"completed"}
    for name, values in alone.items():
        for key, value in values.items():
            assert table.loc[name, f"train.{key}"] == pytest.approx(value)


def test_a_missing_cluster_gives_one_line(copied_project: Project) -> None:
    copied_project.set_params(tune__executor="ray")
    done = copied_project.run("python", "-m", "emotion.tune", check=False, RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 1
    assert "no Ray cluster responds at 127.0.0.1:9" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
