"""The schedule of learning rate, image size and time budget."""

from typing import Any

import numpy as np
import pytest

from emotion.params.sections import Train
from emotion.training.schedule import Schedule


def test_the_learning_rate_warms_up_to_its_peak_and_decays_to_zero(small: Train) -> None:
    schedule = Schedule(small.override({"learning_rate": 0.5, "warmup": 0.2, "epochs": 10}), 10, 48)
    rates = np.array([schedule.learning_rate(schedule.progress(step)) for step in range(101)])
    assert rates.argmax() == 20
    assert rates.max() == pytest.approx(0.5)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_remaining_time_accounts_for_image_size(small: Train) -> None:
    def left(**changes: Any) -> float:
        schedule = Schedule(small.override({"epochs": 10, **changes}), 10, 48)
        schedule.start(60)
        return schedule.remaining(30)

    assert left() == pytest.approx(140, rel=0.01)
    assert 1.1 * 140 < left(initial_image_size=32) < 1.8 * 140
    assert left(budget_minutes=4) == pytest.approx(180, rel=0.01)


@pytest.mark.parametrize(("smallest", "all_sizes"), [(32, [32, 40, 48]), (44, [44, 48]), (30, [30, 32, 40, 48])])
def test_images_grow_to_their_full_size(small: Train, smallest: int, all_sizes: list[int]) -> None:
    schedule = Schedule(small.override({"initial_image_size": smallest}), 10, 48)
    sizes = [schedule.image_size(progress / 100) for progress in range(101)]
    assert sizes == sorted(sizes)
    assert sorted(set(sizes)) == all_sizes
    assert sizes[60] == 48
