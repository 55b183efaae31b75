"""Temperature, and accuracy under corruptions."""

import numpy as np
import pytest

from emotion.evaluation import robustness
from support.training import VALIDATION


@pytest.mark.parametrize("name", robustness.CORRUPTIONS)
def test_a_corruption_is_repeatable_and_grows_with_its_strength(name: str) -> None:
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


def test_the_table_of_robustness_holds_the_images_as_they_are_and_every_strength() -> None:
    def answer(images: np.ndarray) -> np.ndarray:  # right where the image is as it was
        same = (images == VALIDATION.images).all(axis=(1, 2))
        return np.eye(7, dtype=np.float32)[np.where(same, VALIDATION.labels, (VALIDATION.labels + 1) % 7)]

    rows = robustness.robustness_table(answer, VALIDATION)
    assert set(rows["corruption"]) == set(robustness.CORRUPTIONS)
    assert (rows.loc[rows["level"] == 0, "accuracy"] == 1).all()
    assert (rows.loc[rows["level"] != 0, "accuracy"] < 0.2).all()
    assert robustness.robustness_summary(rows)["none"] == 1
