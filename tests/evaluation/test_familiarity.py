"""The evaluation of familiarity."""

import numpy as np
import pytest

from emotion.data.dataset import Images
from emotion.evaluation.report.familiarity import TEST_FACES, familiarity_summary, familiarity_table, other_inputs

TEST = np.random.default_rng(0).integers(0, 256, (300, 48, 48), dtype=np.uint8)


def test_other_inputs_are_valid_images_and_always_the_same() -> None:
    for is_drawn in (False, True):
        first, second = other_inputs(TEST, is_drawn), other_inputs(TEST, is_drawn)
        for kind, images in first.items():
            assert images.dtype == np.uint8, kind
            assert images.shape[1:] == (48, 48), kind
            np.testing.assert_array_equal(images, second[kind])


def test_a_model_of_drawings_is_not_shown_other_drawings() -> None:
    kinds: list[dict[str, Images]] = [other_inputs(TEST, True), other_inputs(TEST, False)]
    assert ["drawn faces" in it for it in kinds] == [False, True]
    assert all("photographs of faces" in it for it in kinds)


def test_the_table_has_the_share_of_unfamiliar_inputs_and_the_auroc() -> None:
    novelty = {TEST_FACES: np.array([0.1, 0.2, 0.3, 1.5]), "a-cat x": np.array([0.5, 2.0, 3.0, 4.0])}
    table = familiarity_table({kind: values.astype(np.float32) for kind, values in novelty.items()}, limit=1.0)
    assert table["unfamiliar"].tolist() == [0.25, 0.75]
    assert table["images"].tolist() == [4, 4]
    assert familiarity_summary(table) == {
        "test_faces": {"unfamiliar": 0.25},
        "a_cat_x": {"unfamiliar": 0.75, "auroc": pytest.approx(15 / 16)},
    }
