"""What could be chance: intervals and paired tests, from counts and from which images are right."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95  # of the interval of a share
QUANTILE = 1.959964  # of the normal distribution, for that
Right = NDArray[np.bool_]  # (n,) which images a model has right


def paired(first: Right, second: Right) -> dict[str, float]:
    """Two models on the same images.

    Returns:
        images; difference (of accuracy, second minus first); only_first and only_second (images
        that one alone has right); p_value (McNemar's exact test, 1947: how probable so unequal
        numbers are of models that are equally good).
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "images": len(first),
        "difference": (only_second - only_first) / len(first),
        "only_first": only_first,
        "only_second": only_second,
        "p_value": binomial_p_value(only_first, only_second),
    }


def binomial_p_value(first: int, second: int) -> float:
    """Two-sided, of a fair coin that fell so often on either side."""
    throws = first + second
    tail = sum(math.comb(throws, heads) for heads in range(min(first, second) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**throws)))


def difference_interval(
    first: Right, second: Right, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap (Efron, 1979) of the difference of accuracy, second minus first.

    Args:
        first: of one model.
        second: of the other, to the same images.
        confidence: of the interval, 0..1.
        resamples: how many.
        seed: which.
    """
    # Only how many images are lost, alike or won matters, so that a resample is one multinomial draw.
    lost, won, count = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    shares = [lost / count, won / count, 1 - (lost + won) / count]
    draws = np.random.default_rng(seed).multinomial(count, shares, resamples)
    tail = 50 * (1 - confidence)
    low, high = np.percentile((draws[:, 1] - draws[:, 0]) / count, [tail, 100 - tail])
    return float(low), float(high)


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Of a share of at least one (Wilson, 1927)."""
    share, spread = part / whole, QUANTILE**2 / whole
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return centre - half, centre + half
