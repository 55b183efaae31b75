"""Metrics compared with values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from emotion.data.labels import EMOTIONS
from emotion.evaluation import metrics


def certain(*predicted: int, confidence: float = 1.0) -> metrics.Probabilities:
    rest = (1 - confidence) / 6
    return np.array([[confidence if c == p else rest for c in range(7)] for p in predicted], np.float32)


def test_perfect_predictions_have_accuracy_one_and_loss_zero() -> None:
    labels = np.arange(7)
    scores = metrics.score(labels, certain(*labels), bins=10)
    assert scores["accuracy"] == scores["balanced_accuracy"] == scores["macro_f1"] == 1
    assert scores["loss"] == pytest.approx(0, abs=1e-6)
    assert scores["expected_calibration_error"] == pytest.approx(0, abs=1e-6)


def test_balanced_accuracy_and_macro_f1_weight_emotions_equally() -> None:
    labels = np.array([3, 3, 3, 3, 1])
    scores = metrics.score(labels, certain(3, 3, 3, 3, 3), bins=10)
    assert scores["accuracy"] == pytest.approx(0.8)
    assert scores["balanced_accuracy"] == pytest.approx(0.5)
    assert scores["macro_f1"] == pytest.approx((8 / 9) / 7)


def test_the_loss_is_the_cross_entropy_in_nats() -> None:
    labels = np.arange(7)
    scores = metrics.score(labels, certain(*labels, confidence=0.5), bins=10)
    assert scores["loss"] == pytest.approx(-np.log(0.5), rel=1e-4)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    labels = np.array([0, 0, 0, 1])  # predicted 0 at 95 %: correct in 3 of 4
    scores = metrics.score(labels, certain(0, 0, 0, 0, confidence=0.95), bins=10)
    assert scores["expected_calibration_error"] == pytest.approx(0.2, abs=1e-5)


def test_confidence_of_one_falls_into_the_last_bin() -> None:
    table = metrics.reliability_table(np.array([0]), certain(0), bins=15)
    assert table.to_dict("list") == {"confidence": [1.0], "accuracy": [1.0], "share": [1.0]}


def test_the_rows_of_the_confusion_matrix_are_actual_emotions() -> None:
    matrix = metrics.confusion_matrix(np.array([0, 0, 5]), certain(0, 2, 5))
    assert matrix[0, 0] == matrix[0, 2] == matrix[5, 5] == 1
    assert matrix.sum() == 3


def test_the_per_class_table_has_precision_recall_f1_and_support() -> None:
    table = metrics.per_class_table(np.array([0, 0, 1, 1]), certain(0, 1, 1, 1), EMOTIONS).set_index("emotion")
    rows = {name: row.tolist() for name, row in zip(table.index, table.to_numpy(), strict=True)}
    assert rows["angry"] == pytest.approx([1, 0.5, 2 / 3, 2])
    assert rows["disgust"] == pytest.approx([2 / 3, 1, 0.8, 2])


def test_the_worst_mistakes_are_sorted_by_confidence() -> None:
    probabilities = np.concatenate([certain(0, confidence=c) for c in (0.6, 0.9, 0.99, 0.8)])
    worst = metrics.worst_mistakes(np.array([1, 1, 0, 1]), probabilities, 2)
    assert worst.tolist() == [1, 3]


def test_unseen_images_and_usages_are_separate_subsets() -> None:
    index = pd.DataFrame(
        {
            "seen_in_training": [True, False, False],
            "usage": ["PublicTest", "PublicTest", "PrivateTest"],
        }
    )
    rows = {name: part.tolist() for name, part in metrics.evaluation_subsets("test", index).items()}
    assert rows == {
        "test": [0, 1, 2],
        "test_unseen": [1, 2],
        "test_PrivateTest": [2],
        "test_PublicTest": [0, 1],
    }
    assert list(metrics.evaluation_subsets("validation", index)) == ["validation"]


def test_the_confidence_threshold_is_the_lowest_that_reaches_the_target_accuracy() -> None:
    """Predictions are correct at 0.9 and 0.6 and wrong at 0.5 and 0.3."""
    answers = np.concatenate([certain(0, confidence=share) for share in (0.9, 0.6, 0.5, 0.3)])
    labels = np.array([0, 0, 1, 1])
    assert metrics.confidence_threshold(labels, answers, 1.0) == pytest.approx(0.51)
    assert metrics.confidence_threshold(labels, answers, 0.6) == pytest.approx(0.31)
    assert metrics.confidence_threshold(labels, answers, 0.5) == 0
    assert metrics.confidence_threshold(np.array([1, 1, 1, 1]), answers, 0.5) == 1
    familiar = np.array([True, True, True, True])
    told = metrics.selective_accuracy(labels, answers, 0.4, familiar)
    assert told == pytest.approx({"unsure_below": 0.4, "coverage": 0.75, "accuracy": 2 / 3})
    none = metrics.selective_accuracy(labels, answers, 1.0, familiar)
    assert none == {"unsure_below": 1.0, "coverage": 0.0, "accuracy": 0.0}
    told = metrics.selective_accuracy(labels, answers, 0.4, np.array([True, False, True, True]))
    assert told == pytest.approx({"unsure_below": 0.4, "coverage": 0.5, "accuracy": 0.5})
