"""Confidence intervals and paired tests for proportions of correct predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

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


def bootstrap_ci(
    first: IsCorrect, second: IsCorrect, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron, 1979) of the difference of accuracy, second minus first.

    Args:
        first: the correct predictions of one model.
        second: those of the other model, for the same images.
        confidence: the confidence of the interval, 0..1.
        resamples: the number of resamples.
        seed: the seed of the resamples.
    """
    # Only the counts of lost, equal and won images matter, so that a resample is one multinomial draw.
    lost, won, count = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    shares = [lost / count, won / count, 1 - (lost + won) / count]
    draws = np.random.default_rng(seed).multinomial(count, shares, resamples)
    tail = 50 * (1 - confidence)
    low, high = np.percentile((draws[:, 1] - draws[:, 0]) / count, [tail, 100 - tail])
    return float(low), float(high)


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
