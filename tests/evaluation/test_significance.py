"""Significance tests and confidence intervals."""

import numpy as np
import pytest

from emotion.evaluation.significance import (
    expected_maximum,
    holm,
    images_needed,
    loss_p_value,
    mcnemar_test,
    paired_interval,
    smallest_difference,
    wilson_interval,
)


def test_mcnemars_test_counts_discordant_pairs() -> None:
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert mcnemar_test(first, second) == {
        "images": 5, "difference": -0.2, "only_first": 2, "only_second": 1, "p_value": 1.0,
    }  # fmt: skip
    none, all_five = np.zeros(5, bool), np.ones(5, bool)
    assert mcnemar_test(none, all_five)["p_value"] == pytest.approx(2 / 32)
    assert mcnemar_test(none, none)["p_value"] == 1
    half = np.arange(6) < 3
    assert mcnemar_test(half, ~half)["p_value"] == 1


def test_the_interval_of_a_difference_has_the_theoretical_width() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(2000) < 0.70, rng.random(2000) < 0.72
    low, high = paired_interval(first, second, 0.95)
    difference = second.mean() - first.mean()
    expected = 1.96 * np.sqrt((first != second).mean() - difference**2) / np.sqrt(2000)
    assert low < difference < high
    assert (high - low) / 2 == pytest.approx(expected, rel=0.01)
    wider = paired_interval(first, second, 0.99)
    assert wider[0] < low < high < wider[1]


def test_the_interval_of_a_difference_covers_the_true_one_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.choice(3, (2000, 400), p=[0.9, 0.04, 0.06])  # alike, only the first, only the second: +2 points
    intervals = [paired_interval(row == 1, row == 2, 0.8) for row in draws]
    assert np.mean([low <= 0.02 <= high for low, high in intervals]) == pytest.approx(0.8, abs=0.03)


def test_equal_models_have_an_interval_that_is_not_empty() -> None:
    low, high = paired_interval(np.ones(400, bool), np.ones(400, bool), 0.8)
    assert low < 0 < high


def test_the_smallest_difference_that_can_be_told_shrinks_with_the_square_root_of_the_images() -> None:
    assert smallest_difference(0.17, 400, 0.05) == pytest.approx(0.0339, abs=1e-4)
    assert smallest_difference(0.17, 1600, 0.05) == pytest.approx(0.0339 / 2, abs=1e-4)
    needed = images_needed(0.17, 0.01, 0.05)
    assert smallest_difference(0.17, needed, 0.05) == pytest.approx(0.01, rel=1e-3)
    assert images_needed(0.17, 0.01, 0.05, power=0.9) > 3 * needed


def test_holms_correction_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_expected_maximum_of_normal_values_is_the_simulated_one() -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 10)).max(axis=1)
    assert expected_maximum(10) == pytest.approx(values.mean(), abs=0.02)
    assert expected_maximum(1) == 0


def test_only_a_loss_has_a_small_one_sided_p_value() -> None:
    first, second = np.arange(100) < 90, np.arange(100) < 70
    assert loss_p_value(first, second) == pytest.approx(2.0**-20)
    assert loss_p_value(second, first) == 1
    assert loss_p_value(first, first) == 1


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == pytest.approx(0)
