"""FER-2013 as its competition distributed it: a table with a row of gray values per image.

`fer2013.csv` and `icml_face_data.csv` have the columns emotion, Usage and pixels, `train.csv` has no Usage. FER+ adds
`fer2013new.csv`, whose rows are the votes of ten annotators about the same images, in the same order (Barsoum et al.,
2016); its images are also distributed as files.
"""

import re
from collections.abc import Iterator
from math import isqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import VOTES
from emotion.data.labels import USAGES
from emotion.data.layouts.recognized import USAGE_SPLITS, RawFaces
from emotion.data.layouts.tables import header, open_rows, read_table, readable_header, table_names
from emotion.data.layouts.words import EMOTION_OF, NUMBERINGS, is_number, normalize, to_number
from emotion.data.sources.files import Files
from emotion.runtime.errors import UserError

VOTED_COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTED = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")  # their emotions
OTHER_VOTES = ("unknown", "NF")  # not an emotion, and not a face
MIN_AGREEMENT = 0.4  # of FER+ with FER-2013; it is about 0.65, and 0.2 if the rows do not belong together
BLOCK = 1000  # rows, in each of which they must agree
MAX_PIXELS = 150 * 150  # of an image; the csv module reads no more per cell


def find_pixel_table(files: Files) -> str | None:
    """The name of the table that holds the images; None if there is none.

    Of several, the one with Usage is preferred, because it has all images.

    Raises:
        UserError: if several have labels but no Usage.
    """
    found = {name: columns for name in table_names(files) if "pixels" in (columns := readable_header(files, name))}
    labelled = [name for name, columns in found.items() if "emotion" in columns]
    complete = [name for name in labelled if "usage" in found[name]]
    if len(labelled) > 1 and not complete:
        raise UserError(f"{' and '.join(labelled)} both hold labelled images. Give one of them, or join them.")
    return next(iter([*complete, *labelled]), None)


def read_pixel_table(files: Files, name: str) -> RawFaces:
    """Read the labels of a table of pixels; an image is called by its row, as in FER+'s first rows.

    Raises:
        UserError: if a row has no label or an unknown Usage.
    """
    columns = header(files, name)
    label, usage = columns.index("emotion"), columns.index("usage") if "usage" in columns else None
    labels, usages = [], []
    known = {it.lower(): it for it in USAGES}
    with open_rows(files, name) as rows:
        for number, row in enumerate(rows, start=2):
            stated = "" if usage is None or len(row) != len(columns) else row[usage].strip()
            if len(row) != len(columns) or (usage is not None and stated.lower() not in known):
                raise UserError(
                    f"{name}, line {number}, has {len(row)} cells and the Usage {stated!r}; expected {len(columns)}"
                    f" cells and one of {', '.join(USAGES)}. Fetch the table again."
                )
            labels.append(row[label].strip())
            usages.append(known.get(stated.lower(), ""))
    table = pd.DataFrame({"name": [image_name(row) for row in range(len(labels))], "label": labels, "usage": usages})
    table["given_split"] = table["usage"].map(USAGE_SPLITS).fillna("")
    return RawFaces(f"a table of pixels, {name}", table, "fer2013")


def image_name(row: int) -> str:
    """What the image in a row of the table is called."""
    return f"fer{row:07d}.png"


def read_pixels(files: Files, name: str) -> Iterator[NDArray[np.uint8] | None]:
    """Yield the images of a table of pixels, each (side, side) uint8; None for a row that is not an image."""
    column = header(files, name).index("pixels")
    with open_rows(files, name) as rows:
        for row in rows:
            yield _parse_pixels(row[column] if column < len(row) else "")


def _parse_pixels(text: str) -> NDArray[np.uint8] | None:
    if not re.fullmatch(r"\d{1,3}(?: \d{1,3})*", text.strip()):
        return None
    values = np.array(text.split(), np.int64)
    side = isqrt(len(values))
    if side * side != len(values) or not 0 < len(values) <= MAX_PIXELS or values.max() > 255:
        return None
    return values.reshape(side, side).astype(np.uint8)


def find_votes(files: Files) -> str | None:
    """The name of FER+'s table of votes; None if there is none."""
    expected = {*VOTED_COLUMNS, "unknown", "nf"}
    return next((name for name in table_names(files) if expected <= {*readable_header(files, name)}), None)


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
    table = read_table(files, name).rename(columns=str.lower)
    if not {"usage", "image name"} <= {*table.columns}:
        raise UserError(f"{name} has no columns Usage and Image name. Fetch FER+'s fer2013new.csv again.")
    try:
        return table.astype(dict.fromkeys([*VOTED_COLUMNS, "unknown", "nf"], float))
    except ValueError as error:
        raise UserError(f"{name} has votes that are not numbers: {error}. Fetch it again.") from None


def _names_by_row(files: Files, pixels: str, votes: str, raw: pd.DataFrame) -> list[str]:
    """The images of the rows. FER+'s own names are not used: they leave out rows, and name some twice."""
    images = read_pixel_table(files, pixels).table
    if len(images) != len(raw) or not (images["usage"].to_numpy() == raw["usage"].to_numpy()).all():
        raise UserError(
            f"{votes} has other rows than {pixels}: {len(raw)} and {len(images)}, or another Usage. Use the complete"
            " fer2013.csv, whose rows FER+ describes."
        )
    theirs = images["label"].map(_fer2013_emotion)
    ours = raw["label"].map(dict(zip(VOTED_COLUMNS, VOTED, strict=True)))
    blocks = np.array_split((theirs == ours).to_numpy(), max(1, len(raw) // BLOCK))
    agreement = min(float(block.mean()) for block in blocks)
    if agreement < MIN_AGREEMENT:
        raise UserError(
            f"the labels of {votes} agree with those of {pixels} for only {agreement:.0%} of some images: the rows do"
            " not belong together, or the numbers have another meaning than FER-2013's. Use the original tables."
        )
    return list(images["name"])


def _fer2013_emotion(label: str) -> str | None:
    """The emotion of a label of FER-2013, which is a number or a word."""
    return NUMBERINGS["fer2013"].get(to_number(label)) if is_number(label) else EMOTION_OF.get(normalize(label))


def _names_of_files(files: Files, table: pd.DataFrame) -> np.ndarray:
    """The files that FER+ names; empty where there is none, or where two rows have the same name."""
    images = pd.Series([name for name in files.names if name.lower().endswith(".png")], dtype=object)
    found = images.set_axis(images.str.rsplit("/", n=1).str[-1])
    names = table["image name"].str.strip()
    known = names.map(found[~found.index.duplicated(keep=False)]).where(~names.duplicated(keep=False))
    return np.asarray(known.fillna(""), object)
