"""Significance tests and confidence intervals."""

import numpy as np
import pytest

from emotion.evaluation.significance import bootstrap_ci, mcnemar_test, wilson_interval


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


def test_the_bootstrap_interval_has_the_theoretical_width() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(2000) < 0.70, rng.random(2000) < 0.72
    low, high = bootstrap_ci(first, second, 0.95, 10_000, seed=0)
    difference = second.mean() - first.mean()
    expected = 1.96 * np.sqrt((first != second).mean() - difference**2) / np.sqrt(2000)
    assert low < difference < high
    assert (high - low) / 2 == pytest.approx(expected, rel=0.05)
    wider = bootstrap_ci(first, second, 0.99, 10_000, seed=0)
    assert wider[0] < low < high < wider[1]


def test_the_interval_of_a_proportion_is_wilsons() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 10)[0] == pytest.approx(0)
