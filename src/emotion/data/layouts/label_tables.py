"""Images with a table that tells the label of each: `name, emotion`, with votes and attributes if there are any."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from emotion.data.dataset import VOTES
from emotion.data.labels import USAGES
from emotion.data.layouts.folders import image_files, split_of_path
from emotion.data.layouts.pixel_tables import header
from emotion.data.layouts.recognized import COLUMNS, USAGE_SPLITS, RawFaces
from emotion.data.layouts.words import LabelMap, normalize, split_of
from emotion.data.sources.files import ATTRIBUTES, TABLES, Files, open_text
from emotion.runtime.errors import UserError

MAX_ATTRIBUTES = 20
NAME_COLUMNS = ("name", "image", "image name", "image path", "file", "filename", "file name", "path", "pth", "filepath",
                "subdirectory filepath")  # fmt: skip
LABEL_COLUMNS = ("emotion", "label", "expression", "class")
SPLIT_COLUMNS = ("split", "usage", "set", "subset", "partition")
MIN_FOUND = 0.5  # of the names in a table; below, it is not about these images


def read_label_tables(files: Files, labels: LabelMap, only: str | None = None) -> RawFaces | None:
    """Read every table with names and labels, or with names and votes; None if there is none.

    Args:
        files: the images, and the tables.
        labels: which words are emotions.
        only: the only table to read; None for all that fit.

    Raises:
        UserError: if a table cannot be read, or two tables have different labels for an image.
    """
    found = []
    tables = [name for name in files.names if name.lower().endswith(TABLES) and name != ATTRIBUTES]
    for name in [only] if only else tables:
        if _is_label_table(header(files, name), labels):
            found.append(_read_table(files, name, labels))
    if not found:
        return None
    table = pd.concat(found, ignore_index=True).fillna("")
    images = table["name"].where(table["name"] != "")
    if images.duplicated().any():
        again = images[images.duplicated() & images.notna()]
        if len(again):
            raise UserError(f"the tables label {again.iloc[0]} twice. Remove one of the rows.")
    used = tuple(sorted({str(name) for name in table.pop("table")}))
    return RawFaces(f"images with labels in {', '.join(used)}", table, tables=used)


def _is_label_table(columns: list[str], labels: LabelMap) -> bool:
    words = [normalize(column) for column in columns]
    has_name = any(word in NAME_COLUMNS for word in words)
    votes = [column for column in columns if labels.knows(column)]
    return has_name and (any(word in LABEL_COLUMNS for word in words) or len(votes) > 1)


def _read_table(files: Files, table: str, labels: LabelMap) -> pd.DataFrame:
    raw = read_table(files, table)
    words = {normalize(str(column)): str(column) for column in raw.columns}
    name = next(words[word] for word in NAME_COLUMNS if word in words)
    label = next((words[word] for word in LABEL_COLUMNS if word in words), None)
    split = next((words[word] for word in SPLIT_COLUMNS if word in words), None)
    votes = {column: emotion for column in raw.columns if (emotion := labels.emotion(str(column)))}
    result = pd.DataFrame({"name": _match(files, table, raw[name].str.strip()), "table": table})
    counts = pd.DataFrame({f"{VOTES}{emotion}": raw[column] for column, emotion in votes.items()})
    try:
        numbers = counts.replace("", "0").astype(float)
    except ValueError as error:
        raise UserError(f"{table} has votes that are not numbers: {error}. Correct the table.") from None
    if ((numbers < 0) | ~np.isfinite(numbers)).to_numpy().any():
        raise UserError(f"{table} has negative or infinite votes. Correct the table.")
    if label is None:
        # The emotion with the most votes; without one, if several have as many.
        is_best = numbers.eq(numbers.max(axis=1), axis=0)
        best = numbers.columns.to_numpy()[is_best.to_numpy().argmax(axis=1)]
        result["label"] = np.where(is_best.sum(axis=1) == 1, [str(it).removeprefix(VOTES) for it in best], "")
    else:
        result["label"] = raw[label].str.strip()
    stated = raw[split].str.strip() if split else pd.Series("", raw.index)
    result["usage"] = stated.where(stated.isin(USAGES), "")
    of_word = stated.map(split_of) if split else result["name"].map(split_of_path)
    of_table = split_of(PurePosixPath(table).stem.split("_")[0])
    result["given_split"] = result["usage"].map(USAGE_SPLITS).fillna("").where(
        result["usage"] != "", of_word if (of_word != "").any() else of_table
    )  # fmt: skip
    taken = {name, label, split, *votes}
    others = [column for column in raw.columns if column not in taken and not str(column).startswith("Unnamed")]
    return pd.concat([result, numbers, raw[others[:MAX_ATTRIBUTES]]], axis=1)


def _match(files: Files, table: str, names: pd.Series) -> pd.Series:
    """The files that a table names: relative to its folder, to the top, or, if unique, by their last part."""
    images = image_files(files)
    folder = PurePosixPath(table).parent
    known = {image: image for image in images}
    by_last = pd.Series(images, index=[PurePosixPath(image).name for image in images], dtype=object)
    unique = by_last[~by_last.index.duplicated(keep=False)]
    relative = names.map(lambda name: known.get(str(folder / name)) if name else None)
    found = relative.fillna(names.map(known)).fillna(names.map(lambda name: unique.get(PurePosixPath(name).name)))
    return found.fillna("")


def read_table(files: Files, name: str) -> pd.DataFrame:
    """A table of texts, separated by commas or tabs.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with open_text(files, name) as text:
            separator = "\t" if name.lower().endswith(".tsv") else ","
            return pd.read_csv(text, sep=separator, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UserError(f"{name} cannot be read: {str(error).splitlines()[0]}. Correct it, or remove it.") from None


def read_attributes(files: Files) -> pd.DataFrame:
    """The table of attributes, as texts, with the column name; only that column if there is none.

    Raises:
        UserError: if it cannot be read, or its columns have the names of those of the index.
    """
    if ATTRIBUTES not in files.names:
        return pd.DataFrame({"name": pd.Series(dtype=str)})
    fix = f"Fix {ATTRIBUTES}, or remove it."
    table = read_table(files, ATTRIBUTES)
    columns = [str(column) for column in table.columns]
    if "name" not in columns or len(columns) > MAX_ATTRIBUTES + 1:
        raise UserError(
            f"{ATTRIBUTES} has the columns {columns[:9]}; expected name and at most {MAX_ATTRIBUTES} attributes. {fix}"
        )
    if taken := sorted({*columns} & {*RESERVED_COLUMNS}):
        raise UserError(f"{ATTRIBUTES} has the column {taken[0]}, which the dataset has. {fix}")
    if table["name"].duplicated().any():
        raise UserError(f"{ATTRIBUTES} names {table['name'][table['name'].duplicated()].iloc[0]} twice. {fix}")
    return table


RESERVED_COLUMNS = {*COLUMNS, "split", "pixel_hash", "duplicate_group", "seen_in_training"} - {"name"}
