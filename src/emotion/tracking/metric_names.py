"""The names of metrics in MLflow, which groups them by what stands before the slash.

A run has the metrics that runs are compared by; all others are in its artifacts.
"""

from collections.abc import Mapping
from typing import Any

EPOCH_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
TRIAL_METRICS = ("score_spread", "duration", "training_seconds", "epochs", "parameters", "latency_ms")
SUBSETS = {  # of the images: the metrics that are logged
    "test": (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "loss",
        "expected_calibration_error",
        "coverage_at_90",
        "distribution_loss",
    ),
    "test_unseen": ("accuracy", "macro_f1"),
    "test_answered": ("accuracy", "coverage"),
    "test_fast": ("accuracy",),
    "validation": ("accuracy", "macro_f1", "loss"),
}
TEST_ACCURACY = "test/accuracy"
FERPLUS_ACCURACY = "ferplus_test/accuracy"  # by the labels of FER+


def epoch_metrics(row: Mapping[str, float], suffix: str = "") -> dict[str, float]:
    """The metrics of an epoch, from a row of reports/history.csv."""
    return {f"train/{key}{suffix}": float(value) for key, value in row.items() if key != "epoch"}


def trial_metrics(result: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a trial, from a `TrialResult` or a row of reports/trials.csv."""
    names = (*EPOCH_METRICS, *TRIAL_METRICS)  # the former are those of its last epoch
    own = {f"trial/{key}": float(result[key]) for key in names if key in result}
    return {"score": float(result["score"])} | own if "score" in result else own


def evaluation_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the exported model, from reports/evaluation/scores.json."""
    from emotion.evaluation.metrics import subset_name  # scikit-learn, which takes a second

    annotation = scores.get("annotation", "")
    values = {
        f"{subset_name(name, annotation)}/{key}": float(scores[name][key])
        for name, keys in SUBSETS.items() if name in scores for key in keys if key in scores[name]
    }  # fmt: skip
    recalls = {
        f"{subset_name('test_recall', annotation)}/{emotion}": of_emotion["recall"]
        for emotion, of_emotion in scores["test_per_class"].items()
    }
    return values | recalls
