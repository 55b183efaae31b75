"""Accuracy and recall of the groups that the attributes of the data form, such as people with and without glasses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.evaluation.metrics import Probabilities
from emotion.evaluation.significance import wilson_interval

MAX_GROUPS = 20  # of an attribute; one with more values, such as names, forms no groups
ALL = "all"  # as an emotion: images of any emotion
COLUMNS = ["attribute", "group", "emotion", "images", "recall", "low", "high"]


def group_masks(attributes: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Every attribute, group, and which images belong to it, (n,); images without a value belong to none.

    Args:
        attributes: (n, number of attributes) texts, see `emotion.data.dataset.Split`.
    """
    for attribute in attributes:
        values = attributes[attribute]
        groups = sorted(set(values) - {""})
        for group in groups if len(groups) <= MAX_GROUPS else ():
            yield str(attribute), group, (values == group).to_numpy(bool)


def groups_table(split: Split, probabilities: Probabilities) -> pd.DataFrame:
    """A row per group and emotion with COLUMNS; recall has a Wilson interval (low, high).

    The recall of the images of all emotions, in the rows where `emotion` is ALL, is the accuracy.

    Args:
        split: n images with their labels and attributes.
        probabilities: (n, classes).
    """
    labels = split.labels
    is_correct = probabilities.argmax(axis=1) == labels
    rows = []
    for attribute, group, is_member in group_masks(split.attributes):
        subsets = {ALL: is_member, **{name: is_member & (labels == label) for label, name in enumerate(split.emotions)}}
        for emotion, mask in subsets.items():
            if count := int(mask.sum()):
                low, high = wilson_interval(int(is_correct[mask].sum()), count)
                rows.append((attribute, group, emotion, count, float(is_correct[mask].mean()), low, high))
    return pd.DataFrame(rows, columns=COLUMNS)


def groups_summary(table: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """By attribute and group: images, accuracy, low and high."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for row in table[table["emotion"] == ALL].to_dict("records"):
        scores = {"images": row["images"], "accuracy": row["recall"], "low": row["low"], "high": row["high"]}
        summary.setdefault(row["attribute"], {})[row["group"]] = scores
    return summary
