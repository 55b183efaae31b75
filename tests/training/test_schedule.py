"""The schedule of learning rate and time budget."""

from typing import Any

import numpy as np
import pytest

from emotion.params.sections import Train
from emotion.training.schedule import Schedule


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_zero(small: Train) -> None:
    schedule = Schedule(small.override({"learning_rate": 0.5, "warmup": 0.2, "epochs": 10}), 10)
    rates = np.array([schedule.learning_rate(schedule.progress(step)) for step in range(101)])
    assert rates.argmax() == 20
    assert rates.max() == pytest.approx(0.5)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_remaining_time_is_estimated_from_the_progress_or_the_budget(small: Train) -> None:
    def left(**changes: Any) -> float:
        schedule = Schedule(small.override({"epochs": 10, **changes}), 10)
        schedule.start(60)
        return schedule.remaining(30)

    assert left() == pytest.approx(140, rel=0.01)
    assert left(budget_minutes=4) == pytest.approx(180, rel=0.01)


def test_training_ends_if_the_budget_has_no_room_for_steps_between_two_validations(small: Train) -> None:
    def ends(seconds: float) -> bool:
        schedule = Schedule(small.override({"budget_minutes": 10}), 10)
        schedule.validation_seconds, schedule.statistics_seconds = 50, 30
        schedule.start(seconds)
        return schedule.ends_after(1)

    assert not ends(600 - 30 - 2 * 50 - 20)
    assert ends(600 - 30 - 2 * 50 + 20)


def test_training_without_a_budget_ends_with_its_last_step(small: Train) -> None:
    schedule = Schedule(small.override({"epochs": 3}), 10)
    assert [schedule.ends_after(step) for step in (29, 30)] == [False, True]
