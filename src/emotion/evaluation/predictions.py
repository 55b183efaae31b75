"""What a model answers, image by image: predictions.csv."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS
from emotion.tracking import runs as tracking

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


def right(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images the model has right, (n,)."""
    return (predictions["actual"] == predictions["predicted"]).to_numpy()
