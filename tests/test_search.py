"""The search: what is proposed, what is kept, what a failure costs."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from test_training import TRAIN, VALIDATION

from emotion import params, tune
from emotion.evaluation import predictions
from emotion.evaluation.figures import search as trial_figures
from emotion.params import Tune
from emotion.runtime.errors import UserError
from emotion.tracking import client as store
from emotion.tracking import runs as tracking
from emotion.tracking import stage_runs as records
from emotion.training.checkpoints import Checkpoints
from emotion.tune import table
from emotion.tuning.search import Search, Trial
from emotion.tuning.trial import Request, Result, attempt, is_hopeless

ORACLES = ["random", "bayesian", "hyperband", "grid"]
SPACE = {
    "network": {"choice": ["vgg", "residual", "basic_cnn"]},
    "ensemble": {"choice": [1, 2], "when": {"network": ["vgg", "residual"]}},
    "learning_rate": {"min": 0.001, "max": 0.1, "sampling": "log"},
    "augmentation.erasing": {"min": 0.0, "max": 0.4, "step": 0.2},
}


@pytest.fixture(autouse=True)
def parent(mlflow_store: Path) -> dict[str, Any]:
    """The record of a search in an empty store."""
    with tracking.run("tune", {}, {}) as run_id:
        pass
    return {"run_id": run_id, "tags": {}, "params": {}}


class Formula:
    """Runs trials at once: their score is a formula of their values."""

    def __init__(self, capacity: int = 1, cut_at: int | None = None, fails: Callable[[str], bool] = lambda name: False):
        self.capacity, self.cut_at, self.fails = capacity, cut_at, fails
        self.running: list[tuple[str, Request]] = []
        self.requests: list[Request] = []

    def start(self, name: str, request: Request) -> None:
        self.requests.append(request)
        self.running.append((name, request))
        assert len(self.running) <= self.capacity

    def wait(self) -> tuple[str, Result]:
        if self.cut_at is not None and len(self.requests) > self.cut_at:
            raise KeyboardInterrupt
        name, request = self.running.pop(0)
        if self.fails(name):
            return name, Result(outcome="failed", reason="it was told to")
        score = 0.9 - 0.1 * abs(math.log10(request.train.learning_rate) + 2) - 0.1 * request.train.augmentation.erasing
        return name, Result(outcome="completed", metrics={"score": score}, curve=(score,))

    def forget(self, name: str) -> None:
        pass

    def close(self) -> None:
        self.running.clear()


def settings_of(**changes: Any) -> params.Params:
    content = params.load(ROOT / "params.yaml").model_dump(by_alias=True)
    content["tune"] |= {"max_trials": 8, "epochs": 9, "space": SPACE, **changes}
    return params.Params.model_validate(content)


def search(record: dict[str, Any], folder: Path, executor: Formula, **changes: Any) -> list[Trial]:
    settings = settings_of(**changes)
    return Search(settings.tune, settings.train, record, folder, executor, {}).run()


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_stays_in_the_space_and_its_conditions(
    oracle: str, parent: dict[str, Any], tmp_path: Path
) -> None:
    trials = search(parent, tmp_path, Formula(), oracle=oracle)
    assert len(trials) == 8
    scores = [trial.result.metrics["score"] for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert len({json.dumps(trial.values) for trial in trials}) == 8
    for trial in trials:
        assert 0.001 <= float(trial.values["learning_rate"]) <= 0.1
        assert float(trial.values["augmentation.erasing"]) in (0.0, 0.2, 0.4)
        assert ("ensemble" in trial.values) == (trial.values["network"] != "basic_cnn")


def test_a_grid_ends_when_all_is_tried(parent: dict[str, Any], tmp_path: Path) -> None:
    space = {name: SPACE[name] for name in ("network", "ensemble", "augmentation.erasing")}
    trials = search(parent, tmp_path, Formula(), oracle="grid", max_trials=100, space=space)
    assert len(trials) == (2 + 2 + 1) * 3


def test_the_upper_bound_of_steps_is_searched_and_values_are_fit_to_be_read(
    parent: dict[str, Any], tmp_path: Path
) -> None:
    space = {"dropout": {"min": 0.0, "max": 0.3, "step": 0.1}}
    trials = search(parent, tmp_path, Formula(), oracle="grid", max_trials=100, space=space)
    assert sorted(float(trial.values["dropout"]) for trial in trials) == [0.0, 0.1, 0.2, 0.3]


def test_hyperband_gives_the_best_more_epochs(parent: dict[str, Any], tmp_path: Path) -> None:
    trials = search(parent, tmp_path, Formula(), oracle="hyperband", max_trials=100)
    by_epochs: dict[int, list[float]] = {}
    for trial in trials:
        by_epochs.setdefault(trial.epochs, []).append(trial.result.metrics["score"])
    assert set(by_epochs) == {1, 3, 9}
    assert max(by_epochs[1]) in by_epochs[9]


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_search_that_was_cut_short_proposes_what_the_unbroken_one_would(
    oracle: str, capacity: int, parent: dict[str, Any], tmp_path: Path
) -> None:
    with tracking.run("tune", {}, {}) as other:
        pass
    changes: dict[str, Any] = {"oracle": oracle, "max_trials": 9, "space": {"learning_rate": SPACE["learning_rate"]}}
    unbroken = search({**parent, "run_id": other}, tmp_path / "unbroken", Formula(capacity), **changes)
    cuts = (3, 2, 1)
    for cut in cuts:
        with pytest.raises(KeyboardInterrupt):
            search(parent, tmp_path / "cut", Formula(capacity, cut_at=cut), **changes)
        assert "KILLED" in {run.status for run in tracking.runs(parent=parent["run_id"])}
    resumed = search(parent, tmp_path / "cut", Formula(capacity), **changes)
    assert [(t.name, t.values, t.score) for t in resumed] == [(t.name, t.values, t.score) for t in unbroken]
    runs = tracking.runs(parent=parent["run_id"])
    assert sorted(run.name for run in runs) == sorted(trial.name for trial in resumed)
    assert {run.id for run in runs} == {trial.run_id for trial in resumed}


class Killed(BaseException):
    """Stands for SIGKILL: nothing that would clean up after it has an effect."""


class Ending(Formula):
    """Ends the trials' runs, as their processes do."""

    def wait(self) -> tuple[str, Result]:
        request = self.running[0][1]
        name, result = super().wait()
        store.connect().set_terminated(request.run_id, "FINISHED" if "score" in result.metrics else "FAILED")
        return name, result


def killed_at(step: int, patch: pytest.MonkeyPatch, executor: Ending) -> None:
    """Raise Killed before or after one of the steps that outlive the process, the first being 1."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Killed

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if steps >= step:
                return None
            count()
            result = function(*arguments)
            count()
            return result

        return call

    for owner, name in ((Search, "_save"), (records, "begin_trial"), (tracking, "end")):
        patch.setattr(owner, name, counted(getattr(owner, name)))
    for name in ("start", "wait", "forget"):
        setattr(executor, name, counted(getattr(executor, name)))


def test_a_search_killed_between_any_two_steps_ends_like_an_unbroken_one(
    parent: dict[str, Any], tmp_path: Path
) -> None:
    fails: Callable[[str], bool] = lambda name: name == "trial-001"  # noqa: E731
    changes = {"max_trials": 3, "retries": 1}

    def outcome(folder: Path, run_id: str, step: int | None = None) -> list[Any] | None:
        executor = Ending(fails=fails)
        with pytest.MonkeyPatch.context() as patch:
            if step:
                killed_at(step, patch, executor)
            try:
                trials = search({**parent, "run_id": run_id}, folder, executor, **changes)
            except Killed:
                return None
        return [(trial.name, trial.values, trial.score) for trial in trials]

    unbroken = outcome(tmp_path / "unbroken", parent["run_id"])
    assert unbroken is not None
    assert [name for name, _, _ in unbroken][-1] == "trial-001"
    for step in range(1, 1000):
        with tracking.run("tune", {}, {}) as run_id:
            pass
        folder = tmp_path / str(step)
        if outcome(folder, run_id, step) is not None:
            break
        assert outcome(folder, run_id) == unbroken
        runs = {run.name: run.status for run in tracking.runs(parent=run_id)}
        assert len(runs) == len(tracking.runs(parent=run_id))
        failed = runs.pop("trial-001")
        assert (failed, set(runs.values())) == ("FAILED", {"FINISHED"}), step
        assert set(runs) == {"trial-000", "trial-001-retry-1", "trial-002"}
    assert 30 < step < 1000


def test_a_failure_costs_one_trial_and_says_why(parent: dict[str, Any], tmp_path: Path) -> None:
    trials = search(parent, tmp_path, Formula(fails=lambda name: name == "trial-002"), max_trials=4)
    assert [trial.name for trial in trials if trial.score is None] == ["trial-002"]
    (run,) = [run for run in tracking.runs(parent=parent["run_id"]) if run.name == "trial-002"]
    assert run.status == "FAILED"
    assert run.tags["reason"] == "it was told to"
    assert table(trials, SPACE)["reason"].tolist()[-1] == "it was told to"


def test_a_failed_trial_is_tried_again_as_often_as_configured(parent: dict[str, Any], tmp_path: Path) -> None:
    fails_twice = Formula(fails=lambda name: name in ("trial-001", "trial-001-retry-1"))
    trials = search(parent, tmp_path, fails_twice, max_trials=3, retries=2)
    assert sorted(trial.name for trial in trials if trial.score is not None) == [
        "trial-000", "trial-001-retry-2", "trial-002",
    ]  # fmt: skip
    assert len(trials) == 5
    always = Formula(fails=lambda name: name.startswith("trial-001"))
    with tracking.run("tune", {}, {}) as other:
        pass
    trials = search({**parent, "run_id": other}, tmp_path / "other", always, max_trials=3, retries=1, seed=5)
    assert sorted(trial.name for trial in trials if trial.score is not None) == ["trial-000", "trial-002"]


def test_a_search_of_failures_is_an_error_that_tells_the_last_ones_reason(
    parent: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no trial of the search ended well: it was told to"):
        search(parent, tmp_path, Formula(fails=lambda name: True), max_trials=3)


def test_a_search_that_loses_its_server_keeps_what_it_has_reached(
    parent: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlucky(Formula):
        def wait(self) -> tuple[str, Result]:
            if len(self.requests) == 3:
                raise UserError("the tracking server is gone")
            return super().wait()

    monkeypatch.setattr("emotion.tracking.stage_runs.dataset_facts", dict)
    settings, checkpoints = settings_of(max_trials=4), Checkpoints(tmp_path / "search")
    with pytest.raises(UserError, match="is gone"):
        tune.search(settings, parent, checkpoints, Unlucky())
    assert len(tune.search(settings, parent, checkpoints, Formula())) == 4
    assert len(tracking.runs(parent=parent["run_id"])) == 4
    with pytest.raises(UserError, match="no trial of the search ended well"):
        tune.search(settings, parent, Checkpoints(tmp_path / "failing"), Formula(fails=lambda name: True))
    assert not (tmp_path / "failing").exists()


def test_a_budget_that_is_spent_starts_no_further_trial(parent: dict[str, Any], tmp_path: Path) -> None:
    executor = Formula()
    assert len(search(parent, tmp_path, executor, budget_minutes=1e-6)) == 1
    assert executor.requests[0].deadline is not None


def test_a_trial_is_hopeless_below_the_median_of_what_others_had_on_average() -> None:
    others = ((0.2, 0.3, 0.5, 0.6), (0.1, 0.3, 0.4, 0.5), (0.3, 0.5, 0.6, 0.7))
    assert is_hopeless((0.1, 0.15), others, epochs=4, objective="val_accuracy")  # below 0.25
    assert not is_hopeless((0.1, 0.3), others, epochs=4, objective="val_accuracy")
    assert not is_hopeless((0.1, 0.15), others[:2], epochs=4, objective="val_accuracy")  # too few to say
    assert not is_hopeless((0.1,), others, epochs=4, objective="val_accuracy")  # too early
    assert is_hopeless((2.0, 1.9), ((1.5, 1.4),) * 3, epochs=4, objective="val_loss")
    assert not is_hopeless((2.0, 1.4), ((1.5, 1.4),) * 3, epochs=4, objective="val_loss")


def test_only_completed_trials_are_what_others_are_pruned_by(parent: dict[str, Any], tmp_path: Path) -> None:
    executor = Formula(fails=lambda name: name == "trial-001")
    search(parent, tmp_path, executor, pruning="median", max_trials=4)
    assert [len(request.earlier) for request in executor.requests] == [0, 1, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_search_is_drawn_however_many_trials_it_has(count: int, parent: dict[str, Any], tmp_path: Path) -> None:
    executor = Formula(fails=lambda name: name == "trial-003")
    trials = search(parent, tmp_path, executor, max_trials=count) if count else []
    unused = {"width": {"min": 8, "max": 32, "when": {"network": ["basic_cnn"]}}}
    settings: Tune = settings_of(max_trials=count, space=SPACE | unused).tune
    trial_figures.draw(table(trials, settings.space), settings, "nothing", tmp_path / "tuning")
    files = {file.name for file in (tmp_path / "tuning").iterdir()}
    assert files == {*trial_figures.PICTURES, *(["parallel_coordinates.html"] if trials else [])}
    if trials:
        page = (tmp_path / "tuning/parallel_coordinates.html").read_text()
        assert "augmentation.erasing" in page
        without_ensemble = [trial for trial in trials if trial.values["network"] == "basic_cnn"]
        assert ("(not searched)" in page) == bool(without_ensemble) == (count == 12)
        assert 'src="http' not in page  # it opens without a network


def request_of(settings: params.Params, run_id: str, **changes: Any) -> Request:
    short = {"width": 4, "epochs": 3, "batch_size": 16, "precision": "float32", "select": "val_loss"}
    content = {
        "run_id": run_id, "train": settings.train.override(short), "fraction": 1.0, "subset_seed": 0,
        "executions": 2, "objective": "val_loss", "dataset": {},
    }  # fmt: skip
    return Request.model_validate(content | changes)


def test_an_interruption_waits_until_something_is_written(mlflow_store: Path) -> None:
    steps: list[str] = []

    def written() -> None:
        with store.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            steps.append("written")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            written()
        assert steps == ["written"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion.tracking.stage_runs.log_dataset", lambda facts: None)


@pytest.mark.usefixtures("no_dataset")
def test_a_trial_of_two_executions_scores_their_mean(parent: dict[str, Any], tmp_path: Path) -> None:
    run_id = tracking.child("trial-000", {}, {}, parent["run_id"])
    request = request_of(settings_of(), run_id)
    result = attempt(request, TRAIN, VALIDATION, tmp_path)
    assert result.outcome == "completed"
    (run,) = tracking.runs(parent=parent["run_id"])
    assert run.status == "FINISHED"
    history = store.connect().get_metric_history
    both = [[metric.value for metric in history(run_id, name)] for name in ("val_loss", "val_loss_2")]
    assert [len(losses) for losses in both] == [3, 3]
    assert result.metrics["score"] == pytest.approx(np.mean([min(losses) for losses in both]))
    assert result.metrics["score_spread"] > 0
    assert result.metrics["epochs"] == 6
    answers = predictions.of_run(run_id)
    assert answers is not None
    right = [row[row["actual"]] for _, row in answers.iterrows()]
    assert -np.log(right).mean() == pytest.approx(min(both[0]), rel=1e-3)


@pytest.mark.usefixtures("no_dataset")
def test_a_trial_that_is_out_of_time_ends_after_its_epoch_and_begins_no_other_execution(
    parent: dict[str, Any], tmp_path: Path
) -> None:
    run_id = tracking.child("trial-000", {}, {}, parent["run_id"])
    result = attempt(request_of(settings_of(), run_id, deadline=1.0), TRAIN, VALIDATION, tmp_path)
    assert (result.outcome, result.metrics["epochs"], len(result.curve)) == ("out of time", 1, 1)


@pytest.mark.usefixtures("no_dataset")
def test_a_hopeless_trial_is_pruned(parent: dict[str, Any], tmp_path: Path) -> None:
    run_id = tracking.child("trial-000", {}, {}, parent["run_id"])
    better = ((0.1, 0.1, 0.1),) * 3
    result = attempt(request_of(settings_of(), run_id, earlier=better, executions=1), TRAIN, VALIDATION, tmp_path)
    assert (result.outcome, len(result.curve)) == ("pruned", 1)
    (run,) = tracking.runs(parent=parent["run_id"])
    assert (run.status, run.tags["outcome"]) == ("FINISHED", "pruned")
    growing = settings_of().model_copy(update={"train": settings_of().train.override({"smallest_size": 32})})
    result = attempt(request_of(growing, run_id, earlier=better, executions=1), TRAIN, VALIDATION, tmp_path / "growing")
    assert (result.outcome, len(result.curve)) == ("pruned", 2)  # not before its images were full-size
