"""A model's predictions, image by image: predictions.csv."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.evaluation.significance import loss_per_image
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_csv

FILE_NAME = "predictions.csv"
COLUMNS = ("name", "actual", "predicted")  # the others are the emotions


def predictions_table(index: pd.DataFrame, probabilities: NDArray[np.float32], emotions: Sequence[str]) -> pd.DataFrame:
    """A row per image: name, actual, predicted, and the probability of every emotion.

    Args:
        index: the rows of a split.
        probabilities: (n, classes).
        emotions: the names of the classes.
    """
    return pd.DataFrame(
        {
            "name": index["name"],
            "actual": index["emotion"],
            "predicted": [emotions[label] for label in probabilities.argmax(axis=1)],
            **{emotion: probabilities[:, label] for label, emotion in enumerate(emotions)},
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
    table = read_csv(path, COLUMNS, fix, keep_default_na=False)
    emotions = set(emotions_of(table))
    if unknown := {*map(str, table["actual"]), *map(str, table["predicted"])} - emotions:
        raise UserError(f"{path} is damaged: it has no probabilities of {min(unknown)!r}. {fix}")
    return table


def emotions_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The emotions that a table has probabilities of."""
    return tuple(str(column) for column in table.columns if column not in COLUMNS)


def same_images(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables are about the same images with the same labels."""
    return bool(first[["name", "actual"]].equals(second[["name", "actual"]]))


def losses(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """The cross-entropy of each prediction in nats, (n,)."""
    emotions = emotions_of(predictions)
    labels = predictions["actual"].map(emotions.index).to_numpy(np.int64)
    return loss_per_image(labels, predictions[list(emotions)].to_numpy(np.float32))


def is_correct(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images were predicted correctly, (n,)."""
    return (predictions["actual"] == predictions["predicted"]).to_numpy()
