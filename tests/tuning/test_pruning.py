"""Early stopping of trials by the median stopping rule."""

from pathlib import Path

from emotion.params.objective import Objective
from emotion.tuning.pruning import median_stopping_rule
from emotion.tuning.trial import run_trial
from support.search import Formula, params_with, search, short_request
from support.training import TRAIN, VALIDATION


def test_a_trial_is_pruned_below_the_median_of_running_averages() -> None:
    accuracy, loss = Objective.VAL_ACCURACY, Objective.VAL_LOSS
    others = ((0.2, 0.3, 0.5, 0.6), (0.1, 0.3, 0.4, 0.5), (0.3, 0.5, 0.6, 0.7))
    assert median_stopping_rule((0.1, 0.15), others, 4, accuracy)  # below 0.25
    assert not median_stopping_rule((0.1, 0.3), others, 4, accuracy)
    assert not median_stopping_rule((0.1, 0.15), others[:2], 4, accuracy)  # too few to compare with
    assert not median_stopping_rule((0.1,), others, 4, accuracy)  # too early
    assert median_stopping_rule((2.0, 1.9), ((1.5, 1.4),) * 3, 4, loss)
    assert not median_stopping_rule((2.0, 1.4), ((1.5, 1.4),) * 3, 4, loss)


def test_only_completed_trials_are_used_for_pruning(tmp_path: Path) -> None:
    executor = Formula(fails=lambda name: name == "trial-001")
    search(tmp_path, executor, pruning="median", max_trials=4)
    assert [len(request.completed_curves) for request in executor.requests] == [0, 1, 1, 2]


def test_a_poor_trial_is_pruned() -> None:
    request = short_request(params_with(), completed_curves=((0.1, 0.1, 0.1),) * 3, executions=1)
    result = run_trial(request, TRAIN, VALIDATION).result
    assert (result.outcome, len(result.curve)) == ("pruned", 1)
