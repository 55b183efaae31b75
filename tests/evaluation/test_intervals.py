"""Bootstrap intervals of scores."""

import numpy as np

from emotion.evaluation.intervals import score_intervals
from emotion.evaluation.metrics import score


def test_the_interval_of_every_score_contains_it_and_narrows_with_more_images() -> None:
    generator = np.random.default_rng(3)
    widths = []
    for count in (200, 3200):
        labels = generator.integers(0, 7, count)
        logits = generator.normal(size=(count, 7)) + 2 * np.eye(7)[labels]
        probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
        scores, intervals = score(labels, probabilities, 15), score_intervals(labels, probabilities, 15)
        assert set(intervals) == {"macro_f1", "loss", "expected_calibration_error", "coverage_at_90"}
        for name in ("macro_f1", "loss", "coverage_at_90"):
            low, high = intervals[name]
            assert low <= scores[name] <= high, name
        low, high = intervals["expected_calibration_error"]
        assert scores["expected_calibration_error"] < high  # resampling adds noise to each bin
        widths.append(intervals["macro_f1"][1] - intervals["macro_f1"][0])
    assert widths[1] < widths[0] / 2
