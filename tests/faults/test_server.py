"""A tracking server that is killed during a search, and comes back."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from support.faults import Place, cases, stage
from support.project import kind_of
from support.servers import Server, mlflow_server

OUTAGES = 24
TRIALS = 4


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Iterator[Server]:
    """An empty server."""
    with mlflow_server(tmp_path_factory.mktemp("server") / "server", migrated_store) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("seed", cases("server", range(OUTAGES)))
def test_a_search_logs_every_trial_once_although_its_server_goes_away_and_comes_back(
    seed: int, place: Place, server: Server
) -> None:
    random_numbers = random.Random(seed)
    place.project.environment["MLFLOW_TRACKING_URI"] = server.uri
    place.project.set_params(tune__max_trials=TRIALS, tune__seed=seed)
    client = mlflow.MlflowClient(server.uri)
    process = place.start(*stage("tune"))
    wait_for_trial(client, random_numbers.randrange(TRIALS))
    time.sleep(random_numbers.uniform(0, 2))
    server.kill()
    time.sleep(random_numbers.uniform(0, 15))
    server.start()
    done = place.end(process)
    assert done.returncode == 0, done.stderr
    place.succeed("emotion", "sync")
    (experiment,) = client.search_experiments(filter_string="name = 'emotion'")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    names = [kind_of(run) for run in runs]
    assert sorted(names) == [*sorted(f"trial-{number:03}" for number in range(TRIALS)), "tune"]
    (search,) = [run for run in runs if kind_of(run) == "tune"]
    best = client.get_run(search.data.tags["best_trial_run_id"])
    assert best.data.tags["mlflow.parentRunId"] == search.info.run_id
    place.assert_tidy()


def wait_for_trial(client: mlflow.MlflowClient, number: int) -> None:
    """Wait until a trial has a run."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for experiment in client.search_experiments(filter_string="name = 'emotion'"):
            if client.search_runs([experiment.experiment_id], f"tags.trial = 'trial-{number:03}'"):
                return
        time.sleep(0.1)
    raise AssertionError(f"trial {number} did not start")
