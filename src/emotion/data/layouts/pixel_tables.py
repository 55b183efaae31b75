"""FER-2013 as its competition distributed it: a table with a row of gray values per image.

`fer2013.csv` and `icml_face_data.csv` have the columns emotion, Usage and pixels, `train.csv` has no Usage. FER+ adds
`fer2013new.csv`, whose rows are the votes of ten annotators about the same images, in the same order (Barsoum et al.,
2016); its images are also distributed as files.
"""

import csv
import re
from collections.abc import Iterator
from math import isqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import VOTES
from emotion.data.labels import USAGES
from emotion.data.layouts.recognized import USAGE_SPLITS, RawFaces
from emotion.data.layouts.words import NUMBERINGS
from emotion.data.sources.files import Files, open_text
from emotion.runtime.errors import UserError

VOTED_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTED = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")  # their emotions
OTHER_VOTES = ("unknown", "NF")  # not an emotion, and not a face
MIN_AGREEMENT = 0.4  # of FER+ with FER-2013; it is about 0.65, and 0.2 if the rows do not belong together
MAX_PIXELS = 512 * 512
MAX_HEADER = 100_000  # characters


def find_pixel_table(files: Files) -> str | None:
    """The name of the table that holds the images; None if there is none.

    Of several, the one with Usage is preferred, because it has all images.
    """
    found = {name: columns for name in _tables(files) if "pixels" in (columns := header(files, name))}
    labelled = {name: columns for name, columns in found.items() if "emotion" in columns}
    complete = [name for name, columns in labelled.items() if "usage" in columns]
    return next(iter([*complete, *labelled]), None)


def _tables(files: Files) -> list[str]:
    return [name for name in files.names if name.lower().endswith(".csv")]


def header(files: Files, name: str) -> list[str]:
    """The names of a table's columns, in lower case and without the blanks of `icml_face_data.csv`."""
    with open_text(files, name) as text:
        return [column.strip().lower() for column in next(csv.reader([text.readline(MAX_HEADER)]), [])]


def read_pixel_table(files: Files, name: str) -> RawFaces:
    """Read the labels of a table of pixels; an image is called by its row, as in FER+'s first rows.

    Raises:
        UserError: if a row has no label or an unknown Usage.
    """
    columns = header(files, name)
    label, usage = columns.index("emotion"), columns.index("usage") if "usage" in columns else None
    labels, usages = [], []
    with open_text(files, name) as text:
        rows = csv.reader(text)
        next(rows)
        for number, row in enumerate(rows, start=2):
            if len(row) != len(columns) or (usage is not None and row[usage].strip() not in USAGES):
                raise UserError(
                    f"{name}, line {number}, has {len(row)} cells and no known Usage; expected {len(columns)} cells"
                    f" and one of {', '.join(USAGES)}. Fetch the table again."
                )
            labels.append(row[label].strip())
            usages.append("" if usage is None else row[usage].strip())
    table = pd.DataFrame({"name": [image_name(row) for row in range(len(labels))], "label": labels, "usage": usages})
    table["given_split"] = table["usage"].map(USAGE_SPLITS).fillna("")
    return RawFaces(f"a table of pixels, {name}", table, "fer2013")


def image_name(row: int) -> str:
    """What the image in a row of the table is called."""
    return f"fer{row:07d}.png"


def read_pixels(files: Files, name: str) -> Iterator[NDArray[np.uint8] | None]:
    """Yield the images of a table of pixels, each (side, side) uint8; None for a row that is not an image."""
    column = header(files, name).index("pixels")
    with open_text(files, name) as text:
        rows = csv.reader(text)
        next(rows)
        for row in rows:
            yield _parse_pixels(row[column] if column < len(row) else "")


def _parse_pixels(text: str) -> NDArray[np.uint8] | None:
    if not re.fullmatch(r"[0-9 ]+", text):
        return None
    values = np.array(text.split(), np.int64)
    side = isqrt(len(values))
    if side * side != len(values) or not 0 < len(values) <= MAX_PIXELS or values.max() > 255:
        return None
    return values.reshape(side, side).astype(np.uint8)


def find_votes(files: Files) -> str | None:
    """The name of FER+'s table of votes; None if there is none."""
    expected = {*VOTED_COLUMNS, "nf"}
    return next((name for name in _tables(files) if expected <= {*header(files, name)}), None)


def read_votes(files: Files, votes: str, pixels: str | None) -> tuple[RawFaces, dict[str, int]]:
    """Read FER+: the votes, for the rows of a table of pixels or for image files.

    The label is what most annotators voted for, by the rule of its authors: single votes are ignored; more than half
    of the other votes must agree; "unknown" and "not a face" are no emotions.

    Args:
        files: where the tables are.
        votes: the table of votes.
        pixels: the table of pixels; None if the images are files.

    Returns:
        The faces with a majority, and how many images were left out, by the reason.

    Raises:
        UserError: if the tables do not belong together.
    """
    table = _vote_table(files, votes)
    counts = table[[*VOTED_COLUMNS, "unknown", "nf"]].to_numpy(float)
    counts[counts <= 1] = 0
    best = counts.argmax(axis=1)
    has_majority = counts.max(axis=1) > counts.sum(axis=1) / 2
    is_emotion = best < len(VOTED)
    raw = pd.DataFrame({f"{VOTES}{emotion}": counts[:, column] for column, emotion in enumerate(VOTED)})
    raw["label"] = np.array([*VOTED_COLUMNS, *OTHER_VOTES], object)[best]
    raw["usage"] = table["usage"].str.strip()
    raw["given_split"] = raw["usage"].map(USAGE_SPLITS).fillna("")
    raw.insert(0, "name", _names_by_row(files, pixels, votes, raw) if pixels else _names_of_files(files, table))
    reasons = np.select(
        [raw["name"] == "", ~has_majority, ~is_emotion],
        ["without an image file, or with a name used twice", "without a majority", "not an emotion, or not a face"],
        "",
    )
    left_out = {str(reason): int((reasons == reason).sum()) for reason in np.unique(reasons) if reason}
    faces = RawFaces("FER+, votes about FER-2013", raw[reasons == ""].reset_index(drop=True), tables=(votes,))
    return faces, left_out


def _vote_table(files: Files, name: str) -> pd.DataFrame:
    try:
        with open_text(files, name) as text:
            table = pd.read_csv(text, dtype=str, keep_default_na=False)
        table.columns = [str(column).strip().lower() for column in table.columns]
        for column in (*VOTED_COLUMNS, "unknown", "nf"):
            table[column] = table[column].astype(float)
    except ValueError as error:
        raise UserError(f"{name} cannot be read: {str(error).splitlines()[0]}. Fetch it again.") from None
    if not {"usage", "image name"} <= {*table.columns}:
        raise UserError(f"{name} has no columns Usage and Image name. Fetch FER+'s fer2013new.csv again.")
    return table


def _names_by_row(files: Files, pixels: str, votes: str, raw: pd.DataFrame) -> list[str]:
    """The images of the rows. FER+'s own names are not used: they leave out rows, and name some twice."""
    images = read_pixel_table(files, pixels).table
    if len(images) != len(raw) or not (images["usage"].to_numpy() == raw["usage"].to_numpy()).all():
        raise UserError(
            f"{votes} has other rows than {pixels}: {len(raw)} and {len(images)}, or another Usage. Use the complete"
            " fer2013.csv, whose rows FER+ describes."
        )
    by_number = NUMBERINGS["fer2013"]
    theirs = images["label"].map(lambda label: by_number.get(int(label)) if label.isdecimal() else None)
    ours = raw["label"].map(dict(zip(VOTED_COLUMNS, VOTED, strict=True)))
    agreement = float((theirs == ours).mean())
    if agreement < MIN_AGREEMENT:
        raise UserError(
            f"the labels of {votes} agree with those of {pixels} for only {agreement:.0%} of the images: the rows do"
            " not belong together, or the numbers have another meaning than FER-2013's. Use the original tables."
        )
    return list(images["name"])


def _names_of_files(files: Files, table: pd.DataFrame) -> np.ndarray:
    """The files that FER+ names; empty where there is none, or where two rows have the same name."""
    found = {name.rsplit("/", 1)[-1]: name for name in files.names if name.lower().endswith(".png")}
    names = table["image name"].str.strip()
    known = names.map(found).where(~names.duplicated(keep=False))
    return np.asarray(known.fillna(""), object)
