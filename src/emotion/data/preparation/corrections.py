"""Corrections of labels, which people or a rule decided on after a review of the data."""

from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import VOTES
from emotion.data.labels import UNUSED
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digest, read_csv

COLUMNS = ("name", "emotion", "action", "suggested")
FIX = "Correct it, write it again with `emotion data review`, or set preprocess.corrections to false."


class Action(StrEnum):
    """What to do with an image whose label is doubted."""

    KEEP = "keep"
    DROP = "drop"  # it is used for nothing
    RELABEL = "relabel"  # its emotion is the suggested one
    SOFTEN = "soften"  # half of the votes for its label, half for the suggested one; see train.targets


def read_corrections(path: Path) -> pd.DataFrame:
    """Read a table of corrections: the name of an image, its label, what to do, and the suggested emotion.

    Raises:
        UserError: if it is missing or damaged.
    """
    table = read_csv(path, COLUMNS, FIX, keep_default_na=False, dtype=str)
    if unknown := sorted(set(table["action"]) - {*Action}):
        raise UserError(f"{path} has the action {unknown[0]!r}; expected one of {', '.join(Action)}. {FIX}")
    if table["name"].duplicated().any():
        raise UserError(f"{path} corrects {table['name'][table['name'].duplicated()].iloc[0]} twice. {FIX}")
    return table


def apply_corrections(index: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, int | str]]:
    """Correct the labels of an index with splits.

    Args:
        index: a table with the columns name, emotion and split.
        path: the table of corrections.

    Returns:
        The corrected index, and what was done: the number of corrections by action, those about other images, and
        the SHA-256 of the table.

    Raises:
        UserError: if the table is damaged, or about images with other labels.
    """
    table = read_corrections(path).set_index("name")
    known = table[table.index.isin(index["name"])]
    rows = index.reset_index().set_index("name").loc[known.index, "index"].to_numpy()
    different = index.loc[rows, "emotion"].to_numpy() != known["emotion"].to_numpy()
    if different.any():
        row = known[different].iloc[0]
        raise UserError(
            f"{path} is about other labels: it says that {row.name} is {row['emotion']}, but the data says"
            f" {index.loc[rows[different][0], 'emotion']}. {FIX}"
        )
    emotions = set(index["emotion"])
    changing = known[known["action"].isin([Action.RELABEL, Action.SOFTEN])]
    if unknown := sorted(set(changing["suggested"]) - emotions):
        raise UserError(f"{path} suggests {unknown[0]!r}, which is none of the data's emotions. {FIX}")
    corrected = index.copy()
    for action, group in known.groupby("action"):
        places = rows[(known["action"] == action).to_numpy()]
        if action == Action.DROP:
            corrected.loc[places, "split"] = UNUSED
        elif action == Action.RELABEL:
            corrected.loc[places, "emotion"] = group["suggested"].to_numpy()
            if any(str(column).startswith(VOTES) for column in corrected):
                corrected = _vote(corrected, places, group["suggested"], group["suggested"], sorted(emotions))
        elif action == Action.SOFTEN:
            corrected = _vote(corrected, places, group["emotion"], group["suggested"], sorted(emotions))
    counts = {str(action): int((known["action"] == action).sum()) for action in Action}
    return corrected, {**counts, "about_other_images": len(table) - len(known), "sha256": file_digest(path)}


def _vote(
    index: pd.DataFrame, rows: NDArray[np.intp], ours: pd.Series, theirs: pd.Series, emotions: list[str]
) -> pd.DataFrame:
    """Split the votes for some images equally between two emotions, which may be the same."""
    columns = [f"{VOTES}{emotion}" for emotion in emotions]
    index = index.assign(**{column: 0.0 for column in columns if column not in index})
    index.loc[rows, [column for column in index if str(column).startswith(VOTES)]] = 0.0
    for row, first, second in zip(rows, ours, theirs, strict=True):
        index.loc[row, f"{VOTES}{first}"] += 0.5
        index.loc[row, f"{VOTES}{second}"] += 0.5
    return index
