"""A single trial: its trainings, its score and its MLflow run."""

from pathlib import Path

import numpy as np
import pytest

from emotion.evaluation import predictions
from emotion.params.space import Penalties
from emotion.tracking.client import connection
from emotion.tracking.queries import read_artifact, search_runs
from emotion.tracking.runs import get_or_create_child_run, start_run
from emotion.tracking.stage_runs import VALIDATION_FOLDER, DatasetInfo
from emotion.tuning.trial import run_trial
from emotion.tuning.worker import run_trial_safely
from support.search import params_with, short_request
from support.training import TRAIN, VALIDATION

DATASET = DatasetInfo(origin="drawn", location="/nowhere", digest="0", sha256="0", caption="drawn faces")


@pytest.fixture
def trial_run(mlflow_store: Path) -> str:
    """The run ID of a trial."""
    with start_run("tune", {}, {}) as search:
        pass
    return get_or_create_child_run("trial-000", "trial-000", {}, {}, search.id)


def test_a_trials_score_is_the_mean_of_its_executions(trial_run: str, tmp_path: Path) -> None:
    request = short_request(params_with(), run_id=trial_run)
    result = run_trial_safely(request, TRAIN, VALIDATION, DATASET, tmp_path / "trial")
    assert result.outcome == "completed", result.reason
    (run,) = [run for run in search_runs() if run.id == trial_run]
    assert run.status == "FINISHED"
    history = connection().client.get_metric_history
    both = [[metric.value for metric in history(trial_run, name)] for name in ("train/val_loss", "train/val_loss_2")]
    assert [len(losses) for losses in both] == [3, 3]
    assert result.metrics["score"] == pytest.approx(np.mean([min(losses) for losses in both]))
    assert result.metrics["score_spread"] > 0
    assert result.metrics["epochs"] == 6
    logged = read_artifact(trial_run, f"{VALIDATION_FOLDER}/{predictions.FILE_NAME}")
    assert logged
    (tmp_path / "predictions.csv").write_bytes(logged)
    right = [row[row["actual"]] for _, row in predictions.read(tmp_path / "predictions.csv", "").iterrows()]
    assert -np.log(right).mean() == pytest.approx(min(both[0]), rel=1e-3)


def test_a_timed_out_trial_ends_after_the_current_epoch() -> None:
    result = run_trial(short_request(params_with(), deadline=1.0), TRAIN, VALIDATION).result
    assert (result.outcome, result.metrics["epochs"], len(result.curve)) == ("timed_out", 1, 1)


def test_a_diverged_trial_is_a_failed_result_with_its_reason(trial_run: str) -> None:
    wild = {"optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.99, "warmup": 0.0, "network": "basic_cnn"}
    params = params_with()
    params = params.model_copy(update={"train": params.train.override(wild)})
    request = short_request(params, run_id=trial_run)
    request = request.model_copy(update={"train": request.train.override({"epochs": 40, "weight_decay": 1.0})})
    result = run_trial_safely(request, TRAIN, VALIDATION, DATASET)
    assert result.outcome == "failed"
    assert "training diverged. Lower train.learning_rate" in result.reason
    (run,) = [run for run in search_runs() if run.id == trial_run]
    assert run.status == "FAILED"


def test_a_trial_that_cannot_write_is_a_failed_result_without_a_traceback(
    trial_run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trial").write_text("where the folder of the checkpoints should be")
    result = run_trial_safely(
        short_request(params_with(), run_id=trial_run), TRAIN, VALIDATION, DATASET, tmp_path / "trial"
    )
    assert result.outcome == "failed"
    assert str(tmp_path / "trial") in result.reason
    assert "Traceback" not in capfd.readouterr().err


def test_penalties_lower_the_score_and_measure_the_latency() -> None:
    one = {"executions": 1}
    plain = run_trial(short_request(params_with(), **one), TRAIN, VALIDATION).result.metrics
    penalties = Penalties(parameters=0.5, latency=0.1)
    weighed = run_trial(short_request(params_with(), penalties=penalties, **one), TRAIN, VALIDATION).result.metrics
    assert "latency_ms" not in plain
    lost = penalties.of(weighed["parameters"], weighed["latency_ms"])
    assert weighed["score"] == pytest.approx(plain["score"] + lost), "the objective is a loss"
