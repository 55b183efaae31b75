"""Confidence intervals and paired tests for proportions of correct predictions."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

NORMAL = NormalDist()
EPSILON = 1e-7  # the smallest probability in a logarithm
CONFIDENCE = 0.95  # of the interval of a proportion
IsCorrect = NDArray[np.bool_]  # (n,) which images a model predicts correctly


def mcnemar_test(first: IsCorrect, second: IsCorrect) -> dict[str, float]:
    """Compare two models on the same images (McNemar's exact test, 1947).

    Returns:
        images; difference (of accuracy, second minus first); only_first and only_second (images that
        only that model predicts correctly); p_value (two-sided: the probability of counts at least as
        unequal, if the models are equally good).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return {
        "images": len(first),
        "difference": (only_second - only_first) / len(first),
        "only_first": only_first,
        "only_second": only_second,
        "p_value": float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    }


def loss_p_value(first: IsCorrect, second: IsCorrect) -> float:
    """The one-sided p-value of McNemar's exact test that the second model is worse."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, alternative="greater").pvalue)


def paired_interval(first: IsCorrect, second: IsCorrect, confidence: float) -> tuple[float, float]:
    """The interval of the difference of accuracy, second minus first (adjusted Wald; Bonett and Price, 2012).

    Args:
        first: the correct predictions of one model.
        second: those of the other model, for the same images.
        confidence: of the two-sided interval, 0..1.
    """
    count = len(first) + 2
    lost, won = ((int(changed.sum()) + 1) / count for changed in (first & ~second, second & ~first))
    error = NORMAL.inv_cdf((1 + confidence) / 2) * np.sqrt((lost + won - (won - lost) ** 2) / count)
    return won - lost - float(error), won - lost + float(error)


def loss_per_image(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cross-entropy of each prediction in nats, (n,)."""
    actual = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(actual, EPSILON, 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for the number of tests (Holm, 1979), in the given order."""
    corrected = np.ones(len(p_values))
    largest = 0.0
    for rank, test in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[test] * (len(p_values) - rank)))
        corrected[test] = largest
    return [float(value) for value in corrected]


def smallest_difference(discordant: float, images: int, significance: float) -> float:
    """The difference of accuracy from which on it can be told from none (one-sided), 0..1.

    Args:
        discordant: the share of the images that only one of two models predicts correctly.
        images: how many there are.
        significance: the one-sided significance level.
    """
    return NORMAL.inv_cdf(1 - significance) * float(np.sqrt(discordant / images))


def images_needed(discordant: float, difference: float, significance: float, power: float = 0.5) -> int:
    """How many images tell a true difference of accuracy from none (one-sided), with a probability of `power`."""
    z = NORMAL.inv_cdf(1 - significance) + NORMAL.inv_cdf(power)
    return int(np.ceil(discordant * (z / difference) ** 2))


def expected_maximum(count: int) -> float:
    """The expected maximum of `count` standard normal values (Blom, 1958)."""
    return NORMAL.inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """The interval of a proportion (Wilson, 1927) at CONFIDENCE.

    Args:
        successes: 0..count.
        count: at least 1.
    """
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def format_interval(proportion: float, count: float) -> str:
    """A proportion of a number of images, with its interval."""
    low, high = wilson_interval(round(proportion * count), int(count)) if count else (0.0, 1.0)
    return f"{proportion:.3f} ({low:.3f} to {high:.3f})"
