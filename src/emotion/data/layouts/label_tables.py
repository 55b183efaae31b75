"""Images with a table that tells the label of each: `name, emotion`, with votes and attributes if there are any."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from emotion.data.dataset import VOTES
from emotion.data.labels import USAGES
from emotion.data.layouts.folders import image_files, split_of_path
from emotion.data.layouts.recognized import COLUMNS, USAGE_SPLITS, RawFaces
from emotion.data.layouts.tables import header, read_table, readable_header, table_names
from emotion.data.layouts.words import LabelMap, is_number, normalize, split_of
from emotion.data.sources.files import ATTRIBUTES, Files
from emotion.runtime.errors import UserError

MAX_ATTRIBUTES = 20
NAME_COLUMNS = ("name", "image", "image name", "image path", "file", "filename", "file name", "path", "pth", "filepath",
                "img", "subdirectory filepath")  # fmt: skip
LABEL_COLUMNS = ("emotion", "label", "expression", "class")
SPLIT_COLUMNS = ("split", "usage", "set", "subset", "partition")
OTHER_VOTES = ("nf", "none", "not a face", "other", "uncertain", "unknown", "unsure")  # for no emotion
MIN_FOUND = 0.5  # of the names in a table; below, it is not about these images
# Columns of the dataset, which an attribute cannot have.
RESERVED_COLUMNS = {*COLUMNS, "split", "pixel_hash", "duplicate_group", "seen_in_training", "blank"} - {"name"}


def read_label_tables(files: Files, labels: LabelMap, only: str | None = None) -> RawFaces | None:
    """Read every table with names and labels, or with names and votes; None if there is none.

    Args:
        files: the images, and the tables.
        labels: which words are emotions.
        only: the only table to read; None for all that fit.

    Raises:
        UserError: if a table cannot be read or contradicts itself, two tables label an image, or `only` is not a table
            of labels.
    """
    found: dict[str, pd.DataFrame] = {}
    for name in [only] if only else table_names(files):
        columns = header(files, name) if only else readable_header(files, name)
        if _is_label_table(columns, labels) and (table := _read_table(files, name, labels)) is not None:
            found[name] = table
        elif only:
            raise UserError(
                f"{only} has the columns {', '.join(columns[:9])}, in which no names of images with their emotions are"
                " recognized. Call them name and emotion, or give the folder instead."
            )
    if not found:
        return None
    table = pd.concat(found.values(), ignore_index=True)
    votes = [str(column) for column in table if str(column).startswith(VOTES)]
    table = table.fillna(dict.fromkeys(votes, 0.0)).fillna("")
    return RawFaces(f"images with labels in {', '.join(found)}", table, tables=tuple(found))


def _is_label_table(columns: list[str], labels: LabelMap) -> bool:
    words = [normalize(column) for column in columns]
    has_label = any(word in LABEL_COLUMNS for word in words) or sum(map(labels.knows, columns)) > 1
    return has_label and any(word in NAME_COLUMNS for word in words)


def _read_table(files: Files, name: str, labels: LabelMap) -> pd.DataFrame | None:
    """The faces of a table; None if its labels are about something else, such as gender."""
    raw = read_table(files, name)
    words = {normalize(column): column for column in raw.columns}
    votes, others = _votes(raw, name, labels)
    stated = [words[word] for word in LABEL_COLUMNS if word in words]
    label = _labels(raw, name, stated, votes, others, labels)
    if label is None:
        return None
    column, found = _names(files, name, raw, [words[word] for word in NAME_COLUMNS if word in words])
    split_column = next((words[word] for word in SPLIT_COLUMNS if word in words), None)
    usage, split = _splits(raw, name, split_column, found)
    result = pd.DataFrame({"name": found, "label": label, "given_split": split, "usage": usage})
    used = {column, *stated, *(words[word] for word in SPLIT_COLUMNS if word in words)}
    used |= {it for it in raw.columns if labels.knows(it) or normalize(it) in OTHER_VOTES or it.startswith("Unnamed")}
    attributes = [str(it) for it in raw.columns if it and it not in used]
    if taken := [it for it in attributes if it in RESERVED_COLUMNS or it.startswith(VOTES)]:
        raise UserError(f"{name} has the column {taken[0]}, which the dataset has, too. Rename it, or remove it.")
    return pd.concat([result, raw[attributes], votes], axis=1)


def _votes(raw: pd.DataFrame, name: str, labels: LabelMap) -> tuple[pd.DataFrame, pd.Series]:
    """The votes for each emotion, and the most votes for anything else."""
    columns = [column for column in raw.columns if labels.knows(column) and not is_number(column)]
    rest = [column for column in raw.columns if normalize(column) in OTHER_VOTES] if columns else []
    try:
        numbers = raw[[*columns, *rest]].replace("", "0").astype(float)
    except ValueError as error:
        raise UserError(f"{name} has votes that are not numbers: {error}. Correct the table.") from None
    if ((numbers < 0) | ~np.isfinite(numbers)).to_numpy().any():
        raise UserError(f"{name} has negative or infinite votes. Correct the table.")
    emotions = sorted({str(labels.emotion(column)) for column in columns if labels.emotion(column)})
    votes = {
        f"{VOTES}{emotion}": numbers[[it for it in columns if labels.emotion(it) == emotion]].sum(axis=1)
        for emotion in emotions
    }
    return pd.DataFrame(votes, index=raw.index), numbers[rest].max(axis=1) if rest else pd.Series(0.0, raw.index)


def _labels(
    raw: pd.DataFrame, name: str, stated: list[str], votes: pd.DataFrame, others: pd.Series, labels: LabelMap
) -> pd.Series | None:
    """The label of each row: as a column states it, or what most voted for; empty without a majority."""
    meanings: dict[str, pd.Series] = {}
    for column in stated:
        values = raw[column].str.strip()
        if any(labels.knows(value) or is_number(value) for value in set(values)):
            meanings[column] = values
    if len(meanings) > 1:
        first, *rest = meanings
        for column in rest:
            pairs = set(zip(meanings[first], meanings[column], strict=True))
            contradiction = next((it for it in pairs if labels.emotion(it[0]) != labels.emotion(it[1])), None)
            if contradiction and not any(map(is_number, contradiction)):
                raise UserError(
                    f"{name} has the columns {first} and {column}, which differ: {' and '.join(contradiction)}. Remove"
                    " one of them."
                )
    if meanings:
        return next(iter(meanings.values()))
    if votes.shape[1] < 2:
        return None
    most = votes.max(axis=1)
    is_best = votes.eq(most, axis=0)
    best = votes.columns.to_numpy(str)[is_best.to_numpy().argmax(axis=1)]
    is_clear = (is_best.sum(axis=1) == 1) & (most > others)
    return pd.Series(np.where(is_clear, [str(it).removeprefix(VOTES) for it in best], ""), raw.index)


def _splits(raw: pd.DataFrame, name: str, column: str | None, found: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The usage and the split of each row, from a column, from the folders, or from the name of the table."""
    nothing = pd.Series("", raw.index)
    if column is None:
        of_folder = found.map(split_of_path)
        of_table = split_of(PurePosixPath(name).stem.split("_")[0])
        return nothing, of_folder if (of_folder != "").any() else nothing + of_table
    values = raw[column].str.strip()
    of_usage = {usage.lower(): usage for usage in USAGES}
    usage = values.str.lower().map(of_usage).fillna("")
    split = values.map(split_of).where(usage == "", usage.map(USAGE_SPLITS))
    unknown = sorted(set(values[(split == "") & (values != "")]))
    if unknown:
        raise UserError(
            f"{name} has the splits {', '.join(map(repr, unknown[:9]))} in its column {column}. Call them train,"
            " validation and test, or remove the column."
        )
    return usage, split


def _names(files: Files, table: str, raw: pd.DataFrame, columns: list[str]) -> tuple[str, pd.Series]:
    """The column with the names of the images, and the file of each row; empty where there is none."""
    images, folder = image_files(files), str(PurePosixPath(table).parent)
    inside = [image for image in images if folder == "." or image.startswith(f"{folder}/")]
    places = _places(inside or images)  # a table in a folder of its own is about images anywhere
    candidates = {column: _match(places, table, raw[column]) for column in columns}
    column = max(candidates, key=lambda it: int((candidates[it] != "").sum()))
    found = candidates[column]
    if (found != "").mean() < MIN_FOUND:
        example = raw[column][found == ""].iloc[0] if len(raw) else ""
        raise UserError(
            f"{table} names {len(raw)} images, of which {int((found != '').sum())} are here; {example!r}, for example,"
            " is not. Put the images beside the table, or remove it."
        )
    return column, found


def _places(images: list[str]) -> dict[str, set[str]]:
    """The images by every end of their paths."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        parts = unicodedata.normalize("NFC", image).split("/")
        for start in range(len(parts)):
            places["/".join(parts[start:])].add(image)
    return places


def _match(places: Mapping[str, set[str]], table: str, names: pd.Series) -> pd.Series:
    """The file that each name means: beside the table, or the only one whose path ends with the name."""
    folder = PurePosixPath(table).parent

    def find(name: str) -> str:
        text = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").removeprefix("./")
        beside = str(folder / text)
        if not text:
            return ""
        if beside in places and any(unicodedata.normalize("NFC", it) == beside for it in places[beside]):
            return next(it for it in places[beside] if unicodedata.normalize("NFC", it) == beside)
        parts = text.split("/")
        for start in range(len(parts)):  # the table may have been written for a folder further up
            end = places.get("/".join(parts[start:]), set())
            whole = [it for it in end if start == 0 or unicodedata.normalize("NFC", it) == "/".join(parts[start:])]
            if len(whole) == 1 and (start == 0 or "/" in whole[0]):
                return whole[0]
        return ""

    return names.map(find)


def read_attributes(files: Files) -> pd.DataFrame:
    """The table of attributes, as texts, with the column name; only that column if there is none.

    Raises:
        UserError: if it cannot be read, or its columns have the names of those of the index.
    """
    if ATTRIBUTES not in files.names:
        return pd.DataFrame({"name": pd.Series(dtype=str)})
    fix = f"Fix {ATTRIBUTES}, or remove it."
    table = read_table(files, ATTRIBUTES)
    columns = list(table.columns)
    if "name" not in columns or len(columns) > MAX_ATTRIBUTES + 1:
        raise UserError(
            f"{ATTRIBUTES} has the columns {columns[:9]}; expected name and at most {MAX_ATTRIBUTES} attributes. {fix}"
        )
    if taken := sorted(it for it in columns if it in RESERVED_COLUMNS or it.startswith(VOTES)):
        raise UserError(f"{ATTRIBUTES} has the column {taken[0]}, which the dataset has. {fix}")
    if table["name"].duplicated().any():
        raise UserError(f"{ATTRIBUTES} names {table['name'][table['name'].duplicated()].iloc[0]} twice. {fix}")
    return table
