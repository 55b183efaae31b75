"""Bootstrap intervals of the scores of an evaluation (Efron, 1979)."""

import numpy as np
from numpy.typing import NDArray

from emotion.evaluation.metrics import Probabilities
from emotion.evaluation.significance import CONFIDENCE

RESAMPLES = 500
THRESHOLDS = np.arange(100) / 100  # as in `emotion.evaluation.metrics.coverage_table`


def score_intervals(
    labels: NDArray[np.int64], probabilities: Probabilities, bins: int
) -> dict[str, tuple[float, float]]:
    """Intervals at CONFIDENCE of macro_f1, loss, expected_calibration_error and coverage_at_90.

    Args:
        labels: (n,) the actual emotions.
        probabilities: (n, classes).
        bins: the number of bins for the calibration error.
    """
    count = len(labels)
    # How often each image is in each resample, (resamples, n). Every score follows from sums over images.
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float32)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    is_correct = predicted == labels
    values = {
        "macro_f1": _macro_f1(weights, *(np.eye(probabilities.shape[1])[it] for it in (labels, predicted))),
        "loss": weights @ -np.log(np.clip(probabilities[np.arange(count), labels], 1e-7, 1)) / count,
        "expected_calibration_error": _calibration_error(weights, confidence, is_correct, bins),
        "coverage_at_90": _coverage_at_90(weights, confidence, is_correct),
    }
    tail = 50 * (1 - CONFIDENCE)
    percentiles = {name: np.percentile(sample, [tail, 100 - tail]) for name, sample in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in percentiles.items()}


def _macro_f1(
    weights: NDArray[np.float32], of_label: NDArray[np.float64], of_prediction: NDArray[np.float64]
) -> NDArray[np.float64]:
    hits, both = weights @ (of_label * of_prediction), weights @ of_label + weights @ of_prediction
    return np.asarray((2 * hits / np.maximum(both, 1)).mean(axis=1), np.float64)


def _calibration_error(
    weights: NDArray[np.float32], confidence: NDArray[np.float32], is_correct: NDArray[np.bool_], bins: int
) -> NDArray[np.float64]:
    in_bin = np.eye(bins)[np.minimum((confidence * bins).astype(int), bins - 1)]
    gaps = weights @ (in_bin * (confidence - is_correct)[:, None])
    return np.asarray(np.abs(gaps).sum(axis=1) / len(confidence), np.float64)


def _coverage_at_90(
    weights: NDArray[np.float32], confidence: NDArray[np.float32], is_correct: NDArray[np.bool_]
) -> NDArray[np.float64]:
    is_kept = (confidence[:, None] >= THRESHOLDS).astype(np.float32)
    kept, right = weights @ is_kept, weights @ (is_kept * is_correct[:, None])
    is_enough = right >= 0.9 * np.maximum(kept, 1)
    return np.asarray((np.where(is_enough, kept, 0) / len(confidence)).max(axis=1), np.float64)
