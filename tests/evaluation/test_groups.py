"""Accuracy and recall of groups."""

import numpy as np
import pandas as pd
import pytest

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.data.sources.drawing import draw_face, draw_face_with_attributes
from emotion.evaluation.report.groups import ALL, COLUMNS, groups_summary, groups_table

LABELS = np.arange(70) % 7


def table(attributes: dict[str, list[str]], wrong: np.ndarray) -> pd.DataFrame:
    probabilities = np.eye(7, dtype=np.float32)[np.where(wrong, (LABELS + 1) % 7, LABELS)]
    index = pd.DataFrame(attributes, index=range(len(LABELS)))
    return groups_table(Split(np.empty((len(LABELS), 0, 0), np.uint8), LABELS, index, EMOTIONS), probabilities)


def test_a_group_has_the_accuracy_and_the_recalls_of_its_images() -> None:
    glasses = ["yes" if n < 14 else "no" for n in range(70)]
    found = table({"glasses": glasses}, (np.arange(70) < 7))
    rows = {(row["group"], row["emotion"]): row for row in found.to_dict("records")}
    of_yes = rows["yes", ALL]
    assert (of_yes["images"], of_yes["recall"]) == (14, 0.5)
    assert of_yes["low"] < 0.5 < of_yes["high"]
    assert rows["no", ALL]["recall"] == 1
    assert (rows["yes", "happy"]["images"], rows["yes", "happy"]["recall"]) == (2, 0.5)
    assert groups_summary(found)["glasses"]["yes"]["accuracy"] == 0.5


def test_unknown_values_and_attributes_with_many_values_form_no_groups() -> None:
    found = table({"light": ["", "even"] * 35, "subject": [str(n) for n in range(70)]}, np.zeros(70, bool))
    assert set(zip(found["attribute"], found["group"], strict=True)) == {("light", "even")}


def test_data_without_attributes_has_an_empty_table() -> None:
    assert list(table({}, np.zeros(70, bool)).columns) == COLUMNS
    assert groups_summary(table({}, np.zeros(70, bool))) == {}


@pytest.mark.parametrize("seed", range(3))
def test_the_attributes_of_a_drawing_do_not_change_its_pixels(seed: int) -> None:
    image, attributes = draw_face_with_attributes("happy", np.random.default_rng(seed))
    assert image.tobytes() == draw_face("happy", np.random.default_rng(seed)).tobytes()
    assert set(attributes) == {"skin", "hair", "glasses", "pose", "light"}
