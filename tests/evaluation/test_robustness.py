"""Accuracy under image corruptions."""

import numpy as np
import pytest

from emotion.evaluation.report import robustness
from support.training import VALIDATION


@pytest.mark.parametrize("name", robustness.CORRUPTIONS)
def test_a_corruption_is_deterministic_and_increases_with_its_level(name: str) -> None:
    corrupt, levels, _ = robustness.CORRUPTIONS[name]
    images = VALIDATION.images
    before = images.copy()
    differences = []
    for level in sorted({abs(level) for level in levels}):
        changed = corrupt(images, level)
        assert changed.shape == images.shape
        assert changed.dtype == np.uint8
        np.testing.assert_array_equal(changed, corrupt(images, level))
        differences.append(np.abs(changed.astype(float) - images).mean())
    assert differences == sorted(differences)
    assert differences[0] > 0
    np.testing.assert_array_equal(images, before)


def test_the_robustness_table_has_clean_images_and_every_level() -> None:
    def predict(images: np.ndarray) -> np.ndarray:  # correct only for unchanged images
        same = (images == VALIDATION.images).all(axis=(1, 2))
        return np.eye(7, dtype=np.float32)[np.where(same, VALIDATION.labels, (VALIDATION.labels + 1) % 7)]

    rows = robustness.robustness_table(predict, VALIDATION)
    assert set(rows["corruption"]) == set(robustness.CORRUPTIONS)
    assert (rows.loc[rows["level"] == 0, "accuracy"] == 1).all()
    assert (rows.loc[rows["level"] != 0, "accuracy"] < 0.2).all()
    assert robustness.robustness_summary(rows)["none"] == 1
