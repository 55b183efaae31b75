"""Recognize a layout by the names of files and by small tables."""

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

import pandas as pd

from emotion.data.layouts.folders import common_folders, image_files, read_folders
from emotion.data.layouts.label_tables import MAX_ATTRIBUTES, read_attributes, read_label_tables
from emotion.data.layouts.originals import read_affectnet, read_ckplus, read_jaffe, read_rafdb
from emotion.data.layouts.pixel_tables import find_pixel_table, find_votes, read_pixel_table, read_votes
from emotion.data.layouts.recognized import COLUMNS, Recognized, attach_emotions, columns_of
from emotion.data.layouts.tables import table_names
from emotion.data.layouts.words import LabelMap
from emotion.data.sources.files import ATTRIBUTES, Files
from emotion.runtime.errors import UserError

EXPECTED = (
    "folders that are called like emotions; a table with names and emotions (or votes); fer2013.csv, with or without"
    " FER+'s fer2013new.csv; or the original files of RAF-DB, AffectNet, CK+ or JAFFE"
)
MAX_EXAMPLES = 3  # in a message


def recognize(files: Files, labels: LabelMap, shown: str, table: str | None = None) -> Recognized:
    """Find the labelled faces among files.

    Args:
        files: what to look at; only tables and notes are read, no images.
        labels: what labels mean, beside the usual words.
        shown: what to call the files in messages.
        table: the table with the labels; None to look for it.

    Raises:
        UserError: if no layout fits, or what a label means is not certain.
    """
    left_out: dict[str, int] = {}
    raw, pixels, annotation = None, "", ""
    if table is None:
        pixels, votes = find_pixel_table(files) or "", find_votes(files)
        if votes:
            annotation = "FER+"
            raw, left_out = read_votes(files, votes, pixels or None)
        elif pixels:
            raw = read_pixel_table(files, pixels)
        else:
            raw = read_rafdb(files) or read_ckplus(files) or read_affectnet(files)
    raw = raw or read_label_tables(files, labels, table) or read_folders(files, labels) or read_jaffe(files)
    if raw is None or raw.table.empty:
        raise UserError(_nothing_found(files, shown))
    is_missing = raw.table["name"] == ""
    if is_missing.any():
        left_out["rows without an image file"] = int(is_missing.sum())
    repeated = raw.table["name"][~is_missing & raw.table["name"].duplicated()]
    if len(repeated):
        raise UserError(f"{shown} ({raw.layout}) labels {repeated.iloc[0]} twice. Remove one of the labels.")
    faces, unlabelled = attach_emotions(raw, labels, shown)
    faces = faces[faces["name"] != ""].sort_values("name", ignore_index=True)
    left_out |= unlabelled
    if faces["emotion"].nunique() < 2:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in left_out.items())
        raise UserError(
            f"{shown} ({raw.layout}) has images of {', '.join(sorted(set(faces['emotion']))) or 'no emotion'}; at least"
            f" two emotions are needed. Left out: {reasons or 'nothing'}. Say what unusual labels mean in fetch.labels."
        )
    unlisted = len(image_files(files)) - int((~is_missing).sum())
    if not pixels and unlisted > 0:
        left_out["images without a label"] = unlisted
    left_out |= {reason: count for reason, count in files.skipped.items() if count}
    faces, known = _with_attributes(files, faces, shown)
    own = columns_of(faces, "attributes")
    return Recognized(
        layout=raw.layout,
        faces=faces[[*COLUMNS, *own, *columns_of(faces, "votes")]].fillna(dict.fromkeys(own, "")),
        left_out=left_out,
        pixels=pixels,
        annotation=annotation,
        tables=(*raw.tables, *([ATTRIBUTES] if known else [])),
        notes=tuple(_notes(files, (*raw.tables, pixels), raw.layout, faces, labels, known)),
    )


def _nothing_found(files: Files, shown: str) -> str:
    folders = ", ".join(common_folders(files, MAX_EXAMPLES)) or "none"
    skipped = ", ".join(f"{count} {reason}" for reason, count in files.skipped.items() if count)
    return (
        f"{shown} has no layout that is known. It has {len(files.names):,} files"
        f"{f' (and {skipped})' if skipped else ''}; the folders with most images: {folders}. Expected {EXPECTED}."
        " If your labels are other words, list them in fetch.labels."
    )


def _with_attributes(files: Files, faces: pd.DataFrame, shown: str) -> tuple[pd.DataFrame, int]:
    """The faces with the columns of the table of attributes, and how many faces it describes."""
    attributes = read_attributes(files)
    both = sorted({*attributes.columns} & {*faces.columns} - {"name"})
    own = {*columns_of(faces, "attributes"), *attributes.columns} - {"name"}
    if both:
        raise UserError(f"{ATTRIBUTES} and the table of labels both have the column {both[0]}. Remove one of them.")
    if len(own) > MAX_ATTRIBUTES:
        raise UserError(f"{shown} has {len(own)} attributes; at most {MAX_ATTRIBUTES} are kept. Remove some columns.")
    if attributes.empty:
        return faces, 0
    known = int(faces["name"].isin(attributes["name"]).sum())
    if not known:
        example = attributes["name"].iloc[0]
        raise UserError(f"{ATTRIBUTES} describes none of the images; {example!r}, for example, is not here. Fix it.")
    return faces.merge(attributes, "left", "name"), known


def _notes(
    files: Files, used: Collection[str], layout: str, faces: pd.DataFrame, labels: LabelMap, known: int
) -> Iterator[str]:
    if known:
        yield f"{ATTRIBUTES} describes {known} of {len(faces)} images."
    unused = [name for name in table_names(files) if name not in used]
    if unused:
        yield f"Tables that are not used: {', '.join(unused[:MAX_EXAMPLES])}."
    if layout.startswith("images with labels"):
        other = sum(
            any(labels.emotion(folder) not in (None, emotion) for folder in PurePosixPath(name).parts[:-1])
            for name, emotion in zip(faces["name"], faces["emotion"], strict=True)
        )
        if other:
            yield f"{other} images are in a folder of another emotion than the table says; the table counts."
    partly = (faces["given_split"] == "").sum()
    if 0 < partly < len(faces):
        yield f"{partly} images state no split: they become training images."
