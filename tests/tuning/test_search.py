"""The hyperparameter search: proposals, resuming, failures and budgets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emotion.params.objective import Objective
from emotion.params.space import Penalties
from emotion.runtime.errors import UserError
from emotion.tuning.finished import read_finished, write_finished
from emotion.tuning.protocol import TrialResult
from emotion.tuning.results import trials_table
from emotion.tuning.search import AllTrialsFailedError, Search
from emotion.tuning.search_log import LOG
from support.search import SPACE, Formula, Runs, params_with, search

ORACLES = ["random", "bayesian", "hyperband", "grid"]


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_respects_the_space_and_its_conditions(oracle: str, tmp_path: Path) -> None:
    trials = search(tmp_path, Formula(), oracle=oracle)
    assert len(trials) == 8
    scores = [trial.result.metrics["score"] for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert len({json.dumps(trial.values) for trial in trials}) == 8
    for trial in trials:
        assert 0.001 <= float(trial.values["learning_rate"]) <= 0.1
        assert float(trial.values["augmentation.erasing"]) in (0.0, 0.2, 0.4)
        assert ("ensemble" in trial.values) == (trial.values["network"] != "basic_cnn")


def test_a_grid_search_ends_after_all_combinations(tmp_path: Path) -> None:
    space = {name: SPACE[name] for name in ("network", "ensemble", "augmentation.erasing")}
    trials = search(tmp_path, Formula(), oracle="grid", max_trials=100, space=space)
    assert len(trials) == (2 + 2 + 1) * 3


def test_stepped_values_are_rounded_and_include_the_upper_bound(tmp_path: Path) -> None:
    space = {"dropout": {"min": 0.0, "max": 0.3, "step": 0.1}}
    trials = search(tmp_path, Formula(), oracle="grid", max_trials=100, space=space)
    assert sorted(float(trial.values["dropout"]) for trial in trials) == [0.0, 0.1, 0.2, 0.3]


def test_hyperband_trains_the_best_trials_longer(tmp_path: Path) -> None:
    trials = search(tmp_path, Formula(), oracle="hyperband", max_trials=100)
    by_epochs: dict[int, list[float]] = {}
    for trial in trials:
        by_epochs.setdefault(trial.epochs, []).append(trial.result.metrics["score"])
    assert set(by_epochs) == {1, 3, 9}
    assert max(by_epochs[1]) in by_epochs[9]


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("capacity", [1, 3])
def test_a_resumed_search_matches_an_uninterrupted_one(oracle: str, capacity: int, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"oracle": oracle, "max_trials": 9, "space": {"learning_rate": SPACE["learning_rate"]}}
    unbroken = search(tmp_path / "unbroken", Formula(capacity), **changes)
    runs = Runs()
    for cut in (3, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "cut", Formula(capacity, cut_at=cut), runs, **changes)
        assert "KILLED" in runs.status.values()
    resumed = search(tmp_path / "cut", Formula(capacity), runs, **changes)
    assert [(t.name, t.values, t.score) for t in resumed] == [(t.name, t.values, t.score) for t in unbroken]
    assert runs.status == {trial.run_id: "FINISHED" for trial in resumed}


DAMAGED_LOGS = {
    "cut": '{"events": [{"val',
    "a list": "[]",
    "of another version": '{"trials": []}',
    "NaN": '{"events": [], "seconds": NaN}',
    "in the wrong order": json.dumps({
        "events": [{
            "name": "trial-000", "run_id": "", "values": {}, "epochs": 1, "ended_after": 1.0,
            "result": {"outcome": "completed"},
        }],
        "seconds": 1.0,
    }),
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED_LOGS.values(), ids=DAMAGED_LOGS)
def test_a_damaged_log_of_a_search_is_an_error_that_says_what_to_do(content: str, tmp_path: Path) -> None:
    (tmp_path / LOG).write_text(content)
    with pytest.raises(UserError, match=rf"search\.json is damaged: .+\. Delete {tmp_path} to search from the begi"):
        search(tmp_path, Formula())


def test_a_search_saves_nothing_that_can_run_code(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, Formula(cut_at=2))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [LOG]
    assert len(json.loads((tmp_path / LOG).read_text())["events"]) == 5


class Killed(BaseException):
    """Simulates SIGKILL: later cleanup has no effect."""


def kill_at(step: int, patch: pytest.MonkeyPatch, executor: Formula, runs: Runs) -> None:
    """Raise Killed before or after one of the persistent steps, counted from 1."""
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

    patch.setattr(Search, "_save", counted(Search._save))
    for owner, names in ((executor, ("start", "wait", "cleanup")), (runs, ("trial_started", "trial_ended"))):
        for name in names:
            patch.setattr(owner, name, counted(getattr(owner, name)))
    patch.setattr(runs, "trial_killed", lambda run_id: None)


def test_a_search_killed_between_any_two_steps_resumes_with_the_same_result(tmp_path: Path) -> None:
    def outcome(folder: Path, runs: Runs, step: int | None = None) -> list[Any] | None:
        executor = Formula(fails=lambda name: name == "trial-001")
        with pytest.MonkeyPatch.context() as patch:
            if step:
                kill_at(step, patch, executor, runs)
            try:
                trials = search(folder, executor, runs, max_trials=3, retries=1)
            except Killed:
                return None
        return [(trial.name, trial.values, trial.score) for trial in trials]

    unbroken = outcome(tmp_path / "unbroken", Runs())
    assert unbroken is not None
    assert [name for name, _, _ in unbroken][-1] == "trial-001"
    last = 0
    for step in range(1, 1000):
        folder, runs = tmp_path / str(step), Runs()
        if outcome(folder, runs, step) is not None:
            last = step
            break
        assert outcome(folder, runs) == unbroken
        assert runs.status.pop("trial-001") == "FAILED"
        assert runs.status == dict.fromkeys(("trial-000", "trial-001-retry-1", "trial-002"), "FINISHED"), step
    assert last > 30


def test_a_failed_trial_is_recorded_with_its_reason(tmp_path: Path) -> None:
    runs = Runs()
    trials = search(tmp_path, Formula(fails=lambda name: name == "trial-002"), runs, max_trials=4)
    assert [trial.name for trial in trials if trial.score is None] == ["trial-002"]
    assert (runs.status["trial-002"], runs.reasons["trial-002"]) == ("FAILED", "it was told to")
    assert trials_table(trials, SPACE, Objective.VAL_ACCURACY)["reason"].tolist()[-1] == "it was told to"


def test_a_failed_trial_is_retried_up_to_the_limit(tmp_path: Path) -> None:
    fails_twice = Formula(fails=lambda name: name in ("trial-001", "trial-001-retry-1"))
    trials = search(tmp_path, fails_twice, max_trials=3, retries=2)
    assert sorted(trial.name for trial in trials if trial.score is not None) == [
        "trial-000", "trial-001-retry-2", "trial-002",
    ]  # fmt: skip
    assert len(trials) == 5
    always = Formula(fails=lambda name: name.startswith("trial-001"))
    trials = search(tmp_path / "other", always, max_trials=3, retries=1, seed=5)
    assert sorted(trial.name for trial in trials if trial.score is not None) == ["trial-000", "trial-002"]


def test_the_error_for_a_failed_search_gives_the_last_reason(tmp_path: Path) -> None:
    with pytest.raises(AllTrialsFailedError, match=r"all trials failed\. Last error: it was told to"):
        search(tmp_path, Formula(fails=lambda name: True), max_trials=3)


def test_a_search_that_loses_its_server_keeps_finished_trials(tmp_path: Path) -> None:
    class FailingExecutor(Formula):
        def wait(self) -> tuple[str, TrialResult]:
            if len(self.requests) == 3:
                raise UserError("the tracking server is gone")
            return super().wait()

    runs = Runs()
    with pytest.raises(UserError, match="is gone"):
        search(tmp_path, FailingExecutor(), runs, max_trials=4)
    assert len(search(tmp_path, Formula(), runs, max_trials=4)) == 4
    assert list(runs.status.values()) == ["FINISHED"] * 4


def test_no_trial_starts_after_the_time_budget(tmp_path: Path) -> None:
    executor = Formula()
    assert len(search(tmp_path, executor, budget_minutes=1e-6)) == 1
    assert executor.requests[0].deadline is not None


@pytest.mark.parametrize("oracle", ["random", "bayesian"])
def test_the_values_under_train_are_the_first_trial_unless_told_otherwise(oracle: str, tmp_path: Path) -> None:
    first = {trial.name: trial for trial in search(tmp_path / "on", Formula(), oracle=oracle)}["trial-000"]
    train = params_with().train
    assert first.values == {
        "network": train.network, "ensemble": train.ensemble, "learning_rate": train.learning_rate,
        "augmentation.erasing": train.augmentation.erasing,
    }  # fmt: skip
    other = {trial.name: trial for trial in search(tmp_path / "off", Formula(), oracle=oracle, start_from_train=False)}[
        "trial-000"
    ]
    assert other.values != first.values


@pytest.mark.parametrize(("before", "after"), [("random", "random"), ("random", "bayesian"), ("bayesian", "random")])
def test_a_larger_search_or_another_oracle_continues_with_the_finished_trials(
    before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = search(tmp_path / "before", Formula(), oracle=before, max_trials=4)
    settings = params_with(oracle=before, max_trials=4).tune
    write_finished(tmp_path / "finished.json", settings, earlier)
    larger = params_with(oracle=after, max_trials=9).tune
    finished = read_finished(tmp_path / "finished.json", larger)
    assert [trial.name for trial in finished] == [f"trial-00{number}" for number in range(4)]

    executor, runs = Formula(), Runs()
    continued = search(tmp_path / "after", executor, runs, oracle=after, max_trials=9, finished=finished)
    assert len(executor.requests) == 5, "only new trials are trained"
    assert len(continued) == 9
    assert len({json.dumps(trial.values) for trial in continued}) == 9
    assert list(runs.status.values())[:4] == [f"continued from trial-00{number}" for number in range(4)]
    assert "Continuing with 4 finished trials of an earlier search" in capsys.readouterr().out
    cut = Formula(cut_at=2)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut", cut, oracle=after, max_trials=9, finished=finished)
    resumed = search(tmp_path / "cut", Formula(), oracle=after, max_trials=9, finished=finished)
    assert [(trial.name, trial.values) for trial in resumed] == [(trial.name, trial.values) for trial in continued]


def test_the_same_search_is_repeated_and_a_damaged_file_is_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, settings = tmp_path / "finished.json", params_with(max_trials=4).tune
    assert read_finished(path, settings) == ()
    write_finished(path, settings, search(tmp_path / "before", Formula(), max_trials=4))
    assert read_finished(path, settings) == ()
    path.write_text("{")
    assert read_finished(path, params_with(max_trials=9).tune) == ()
    assert "Earlier trials are not continued" in capsys.readouterr().out


def test_trials_that_no_other_surpasses_in_accuracy_and_size_are_the_pareto_set(tmp_path: Path) -> None:
    trials = search(tmp_path, Formula(), max_trials=4)
    figures = [(0.9, 2000.0), (0.8, 1000.0), (0.8, 1500.0), (0.95, 9000.0)]
    sized = [
        trial.model_copy(
            update={"result": trial.result.model_copy(update={"metrics": {"val_accuracy": value, "parameters": size}})}
        )
        for trial, (value, size) in zip(trials, figures, strict=True)
    ]
    assert trials_table(sized, SPACE, Objective.VAL_ACCURACY)["pareto"].tolist() == [True, True, False, True]


def test_a_penalty_makes_ten_times_as_many_parameters_cost_its_value() -> None:
    penalties = Penalties(parameters=0.01, latency=0.05)
    assert penalties.of(1e7, 1.0) - penalties.of(1e6, 1.0) == pytest.approx(0.01)
    assert penalties.of(1e6, 20.0) - penalties.of(1e6, 2.0) == pytest.approx(0.05)
    assert Penalties(parameters=0, latency=0).of(1e9, 1e3) == 0
