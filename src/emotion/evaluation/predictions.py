"""A model's predictions, image by image: predictions.csv."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS
from emotion.runtime.files import read_csv

FILE_NAME = "predictions.csv"


def predictions_table(index: pd.DataFrame, probabilities: NDArray[np.float32]) -> pd.DataFrame:
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
    """Write a table as CSV, with five decimal places."""
    predictions.to_csv(path, index=False, float_format="%.5f")


def read(path: Path, fix: str) -> pd.DataFrame:
    """Read what `write` wrote.

    Raises:
        UserError: if the file is missing or damaged; `fix` says what to do.
    """
    return read_csv(path, ("name", "actual", "predicted", *EMOTIONS), fix, keep_default_na=False)


def same_images(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables are about the same images with the same labels."""
    return bool(first[["name", "actual"]].equals(second[["name", "actual"]]))


def is_correct(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images were predicted correctly, (n,)."""
    return (predictions["actual"] == predictions["predicted"]).to_numpy()
