"""Metrics and tables of predictions, from arrays alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics

from emotion.data.dataset import Split

Probabilities = NDArray[np.float32]  # (n, classes), rows sum to 1


def score(labels: NDArray[np.int64], probabilities: Probabilities, bins: int) -> dict[str, float]:
    """Summary metrics of at least one image; all but the loss and the count are in 0..1.

    Args:
        labels: (n,) the actual emotions.
        probabilities: (n, classes).
        bins: the number of bins for the calibration error.

    Returns:
        images, loss (cross-entropy in nats), accuracy, balanced_accuracy (mean recall of the
        emotions that occur), macro_f1 (over all classes), expected_calibration_error,
        coverage_at_90 (share of the most confident predictions that has an accuracy of 0.9),
        confident_mistakes (share of images that are wrong with a confidence of at least 0.9).
    """
    predicted, classes = probabilities.argmax(axis=1), list(range(probabilities.shape[1]))
    recalls = metrics.recall_score(labels, predicted, labels=np.unique(labels), average=None, zero_division=0)
    return {
        "images": len(labels),
        "loss": float(metrics.log_loss(labels, _normalized(probabilities), labels=classes)),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(metrics.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)),
        "expected_calibration_error": calibration_error(reliability_table(labels, probabilities, bins)),
        "coverage_at_90": coverage_at(coverage_table(labels, probabilities), 0.9),
        "confident_mistakes": float(((predicted != labels) & (probabilities.max(axis=1) >= 0.9)).mean()),
    }


def distribution_loss(distributions: NDArray[np.float32], probabilities: Probabilities) -> float:
    """The mean cross-entropy of predictions with the distributions of votes, in nats.

    Args:
        distributions: (n, classes), rows sum to 1.
        probabilities: (n, classes).
    """
    return float(-(distributions * np.log(np.maximum(_normalized(probabilities), 1e-7))).sum(axis=1).mean())


def _normalized(probabilities: Probabilities) -> NDArray[np.float64]:
    """Convert to double precision, and normalize the rows as precisely as scikit-learn expects."""
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


def per_class_table(labels: NDArray[np.int64], probabilities: Probabilities, emotions: Sequence[str]) -> pd.DataFrame:
    """A row per emotion: emotion, precision, recall, f1, support."""
    columns = metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=list(range(len(emotions))), zero_division=0
    )
    return pd.DataFrame(
        {"emotion": emotions, **dict(zip(["precision", "recall", "f1", "support"], columns, strict=True))}
    )


def confusion_matrix(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.int64]:
    """(classes, classes) counts; rows are actual, columns predicted."""
    classes = list(range(probabilities.shape[1]))
    matrix: NDArray[np.int64] = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes)
    return matrix


def reliability_table(labels: NDArray[np.int64], probabilities: Probabilities, bins: int) -> pd.DataFrame:
    """A row per bin of confidence that holds images: confidence, accuracy, share.

    The bins have equal widths in 0..1 (Guo et al., 2017).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    frame = pd.DataFrame(
        {"bin": np.minimum((confidence * bins).astype(int), bins - 1), "confidence": confidence, "accuracy": correct}
    )
    table = frame.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), share=("accuracy", "size")
    )
    return table.assign(share=table["share"] / len(labels)).reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float:
    """The expected calibration error (Naeini et al., 2015): mean distance of confidence and accuracy, by share."""
    return float(((table["confidence"] - table["accuracy"]).abs() * table["share"]).sum())


def coverage_table(labels: NDArray[np.int64], probabilities: Probabilities) -> pd.DataFrame:
    """Coverage and accuracy if predictions below a confidence are withheld (El-Yaniv and Wiener, 2010).

    Returns:
        A row per threshold from 0 to 0.99: threshold, coverage (share answered), accuracy (of
        those); thresholds above every confidence are left out.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    rows = [(t, confidence >= t) for t in np.arange(100) / 100]
    return pd.DataFrame(
        [(t, float(kept.mean()), float(right[kept].mean())) for t, kept in rows if kept.any()],
        columns=["threshold", "coverage", "accuracy"],
    )


def coverage_at(table: pd.DataFrame, accuracy: float) -> float:
    """The largest coverage with at least this accuracy; 0 if there is none."""
    enough = table[table["accuracy"] >= accuracy]
    return float(enough["coverage"].max()) if len(enough) else 0.0


def confidence_threshold(labels: NDArray[np.int64], probabilities: Probabilities, accuracy: float) -> float:
    """The lowest threshold above which the accuracy is at least `accuracy`, 0..1; 1 if there is none."""
    table = coverage_table(labels, probabilities)
    enough = table[table["accuracy"] >= accuracy]
    return float(enough["threshold"].min()) if len(enough) else 1.0


def selective_accuracy(
    labels: NDArray[np.int64], probabilities: Probabilities, unsure_below: float, familiar: NDArray[np.bool]
) -> dict[str, float]:
    """The effect of answering "unsure": unsure_below, coverage (share answered), accuracy (of the answers), 0..1.

    Args:
        labels: (n,) the actual emotions.
        probabilities: (n, classes).
        unsure_below: the confidence below which the answer is "unsure".
        familiar: (n,) whether an image is familiar; otherwise, the answer is "unsure", too.
    """
    sure = (probabilities.max(axis=1) >= unsure_below) & familiar
    right = probabilities.argmax(axis=1)[sure] == labels[sure]
    return {
        "unsure_below": unsure_below,
        "coverage": float(sure.mean()),
        "accuracy": float(right.mean()) if len(right) else 0.0,
    }


def mistakes_table(split: Split, probabilities: Probabilities) -> pd.DataFrame:
    """All mistakes, the most confident first: name, actual, predicted, confidence."""
    labels, emotions = split.labels, split.emotions
    wrong = worst_mistakes(labels, probabilities, len(labels))
    return pd.DataFrame(
        {
            "name": split.index["name"].to_numpy()[wrong],
            "actual": [emotions[label] for label in labels[wrong]],
            "predicted": [emotions[label] for label in probabilities[wrong].argmax(axis=1)],
            "confidence": probabilities[wrong].max(axis=1),
        }
    )


def worst_mistakes(labels: NDArray[np.int64], probabilities: Probabilities, count: int) -> NDArray[np.intp]:
    """The indices of the mistakes with the highest confidence, the worst first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:count]


def subset_name(subset: str, annotation: str) -> str:
    """What a subset is called in tables, so that scores by different labels never share a column.

    Args:
        subset: such as test.
        annotation: who labelled the images, if they also exist with other labels, such as FER+; else empty.
    """
    prefix = "".join(character for character in annotation.lower().replace("+", "plus") if character.isalnum())
    return f"{prefix}_{subset}" if prefix else subset


def evaluation_subsets(split: str, index: pd.DataFrame) -> dict[str, NDArray[np.intp]]:
    """The rows of a split and, for test, of the subsets that are reported separately.

    The subsets are the images never seen in training and, if file names tell it, the images of each usage.
    """
    masks = {split: np.ones(len(index), bool)}
    if split == "test":
        masks["test_unseen"] = ~index["seen_in_training"].to_numpy(bool)
        for usage in sorted(set(index["usage"]) - {""}):
            masks[f"test_{usage}"] = (index["usage"] == usage).to_numpy()
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any()}
