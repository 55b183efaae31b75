"""Doubtful labels: by confident learning (Northcutt et al., 2021), and of identical images with different labels."""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues

from emotion.data.dataset import Split
from emotion.data.preparation.corrections import Action
from emotion.evaluation.metrics import Probabilities

COLUMNS = ("name", "split", "emotion", "stated", "suggested", "confidence", "own", "identical", "rank")


def doubted_labels(split: Split, probabilities: Probabilities, stated: pd.Series | None = None) -> pd.DataFrame:
    """A row per image whose label is doubted, the most doubtful first, with COLUMNS.

    A label is doubted if the model is confident of another emotion, compared with how confident it is of the images
    that have this label. `confidence` is the probability of the suggested emotion, `own` that of the label;
    `identical` tells the labels of pixel-identical images, if these are different.

    Args:
        split: n images.
        probabilities: (n, classes), by a model that did not learn from the image.
        stated: what the data says, by the name of the image, where labels were corrected; None if it is the label.
    """
    ranked = find_label_issues(
        split.labels, probabilities.astype(float), return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    rows = np.asarray(ranked, int)
    suggested = probabilities[rows].argmax(axis=1)
    index = split.index.iloc[rows].reset_index(drop=True)
    table = index[["name", "split", "emotion"]].assign(
        stated=index["emotion"] if stated is None else stated[index["name"]].to_numpy(),
        suggested=[split.emotions[label] for label in suggested],
        confidence=probabilities[rows, suggested],
        own=probabilities[rows, split.labels[rows]],
        identical=_labels_of_identical(split.index).reindex(index["duplicate_group"]).fillna("").to_numpy(),
        rank=np.arange(1, len(rows) + 1),
    )
    return table[list(COLUMNS)]


def _labels_of_identical(index: pd.DataFrame) -> pd.Series:
    """The labels of each group of identical images that do not all have the same."""
    groups = index[index["duplicate_group"] >= 0].groupby("duplicate_group")["emotion"]
    labels = groups.agg(lambda found: ", ".join(sorted(set(found))))
    return labels[groups.nunique() > 1]


def conflicting_groups(index: pd.DataFrame) -> pd.DataFrame:
    """A row per group of identical images with different labels: labels, names."""
    conflicts = _labels_of_identical(index)
    names = index.groupby("duplicate_group")["name"].agg(list)
    return pd.DataFrame({"labels": conflicts, "names": names.reindex(conflicts.index)}).reset_index(drop=True)


def confused_pairs(split: Split, probabilities: Probabilities, has_votes: bool) -> pd.DataFrame:
    """A row per pair of emotions: emotion, other, by_model, and by_annotators if votes are known; the most first.

    `by_model` is the share of the images of an emotion that the model takes for the other; `by_annotators` is the mean
    share of the votes for the other.

    Args:
        split: n images.
        probabilities: (n, classes).
        has_votes: whether annotators' votes are known.
    """
    predicted, distributions = probabilities.argmax(axis=1), split.distributions
    rows = []
    for label, emotion in enumerate(split.emotions):
        mask = split.labels == label
        for other, name in enumerate(split.emotions):
            if other != label and mask.any():
                votes = float(distributions[mask, other].mean()) if has_votes else float("nan")
                rows.append((emotion, name, float((predicted[mask] == other).mean()), votes))
    table = pd.DataFrame(rows, columns=["emotion", "other", "by_model", "by_annotators"])
    key = "by_annotators" if has_votes else "by_model"
    return table.sort_values(key, ascending=False, ignore_index=True)


def corrections_by_rule(doubted: pd.DataFrame, action: Action, earlier: pd.DataFrame) -> pd.DataFrame:
    """The corrections of all doubted labels of training images, in the form of `read_corrections`.

    Args:
        doubted: from `doubted_labels`.
        action: what to do with them.
        earlier: corrections that stay, unless an image has a new one.
    """
    rows = doubted[doubted["split"] == "train"]
    new = rows[["name", "stated", "suggested"]].rename(columns={"stated": "emotion"}).assign(action=str(action))
    kept = earlier[~earlier["name"].isin(new["name"])]
    return pd.concat([kept, new])[["name", "emotion", "action", "suggested"]].reset_index(drop=True)
