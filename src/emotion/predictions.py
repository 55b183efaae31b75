"""What a model answers, image by image: predictions.csv."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion import tracking
from emotion.labels import EMOTIONS

FILE = "predictions.csv"
FOLDER = "evaluation/validation"  # where runs have it among their artifacts


def table(index: pd.DataFrame, probabilities: NDArray[np.float32]) -> pd.DataFrame:
    """A row per image: name, actual, predicted, and the probability of every emotion.

    Args:
        index: the rows of a split.
        probabilities: (n, 7).
    """
    return pd.DataFrame(
        {
            "name": index["name"],
            "actual": index["emotion"],
            "predicted": [EMOTIONS[label] for label in probabilities.argmax(axis=1)],
            **{emotion: probabilities[:, label] for label, emotion in enumerate(EMOTIONS)},
        }
    )


def write(predictions: pd.DataFrame, path: Path) -> None:
    """As CSV, with five digits."""
    predictions.to_csv(path, index=False, float_format="%.5f")


def of_run(run_id: str) -> pd.DataFrame | None:
    """The table that a run logged of the validation images; None where it has none."""
    path = tracking.artifact(run_id, f"{FOLDER}/{FILE}")
    return None if path is None else pd.read_csv(path, keep_default_na=False)


def same_images(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables are about the same images with the same labels."""
    return bool(first[["name", "actual"]].equals(second[["name", "actual"]]))


def paired(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    """Two models on the same images.

    Returns:
        images; difference (of accuracy, second minus first); only_first and only_second (images
        that one alone has right); p_value (McNemar's exact test, 1947: how probable so unequal
        numbers are of models that are equally good).
    """
    right = [table["actual"] == table["predicted"] for table in (first, second)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
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
