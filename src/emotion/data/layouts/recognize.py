"""Recognize a layout by looking at the names of files and at small tables."""

from emotion.data.layouts.folders import common_folders, image_files, read_folders
from emotion.data.layouts.label_tables import (
    MAX_ATTRIBUTES,
    RESERVED_COLUMNS,
    read_attributes,
    read_label_tables,
)
from emotion.data.layouts.originals import read_affectnet, read_ckplus, read_jaffe, read_rafdb
from emotion.data.layouts.pixel_tables import find_pixel_table, find_votes, read_pixel_table, read_votes
from emotion.data.layouts.recognized import COLUMNS, RawFaces, Recognized, attach_emotions, columns_of
from emotion.data.layouts.words import LabelMap
from emotion.data.sources.files import ATTRIBUTES, Files
from emotion.runtime.errors import UserError

EXPECTED = (
    "folders that are called like emotions; a table with names and emotions (or votes); fer2013.csv, with or without"
    " FER+'s fer2013new.csv; or the original files of RAF-DB, AffectNet, CK+ or JAFFE"
)
MAX_REASON = 3  # examples in a message


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
    pixels = find_pixel_table(files)
    votes = find_votes(files)
    left_out: dict[str, int] = {}
    raw: RawFaces | None
    if votes:
        raw, left_out = read_votes(files, votes, pixels)
    elif pixels:
        raw = read_pixel_table(files, pixels)
    else:
        raw = (
            read_rafdb(files)
            or read_ckplus(files)
            or read_affectnet(files)
            or read_label_tables(files, labels, table)
            or read_folders(files, labels)
            or read_jaffe(files)
        )
    if raw is None or raw.table.empty:
        folders = ", ".join(common_folders(files, MAX_REASON)) or "none"
        raise UserError(
            f"{shown} has no layout that is known. It has {len(files.names):,} files; the folders with most images:"
            f" {folders}. Expected {EXPECTED}. If your labels are other words, list them in fetch.labels."
        )
    is_missing = raw.table["name"] == ""
    if is_missing.any():
        left_out["without an image file"] = left_out.get("without an image file", 0) + int(is_missing.sum())
    faces, unlabelled = attach_emotions(raw, labels, shown)
    faces = faces[faces["name"] != ""].sort_values("name", ignore_index=True)
    left_out |= unlabelled
    emotions = sorted(set(faces["emotion"]))
    if len(emotions) < 2:
        raise UserError(
            f"{shown} ({raw.layout}) has images of {len(emotions)} emotions; at least two are needed. Left out:"
            f" {', '.join(f'{reason}: {count}' for reason, count in left_out.items()) or 'nothing'}."
        )
    if not (pixels or votes):
        unlisted = len(image_files(files)) - len(raw.table)
        if unlisted > 0:
            left_out["not in the table"] = unlisted
    attributes = read_attributes(files)
    if len(attributes):
        faces = faces.merge(attributes, "left", "name")
    own = columns_of(faces, "attributes")
    if len(own) > MAX_ATTRIBUTES or {*own} & RESERVED_COLUMNS:
        raise UserError(
            f"{shown} has {len(own)} attributes, {', '.join(own[:9])}; expected at most {MAX_ATTRIBUTES}, and none of"
            f" {', '.join(sorted(RESERVED_COLUMNS))}. Remove some columns."
        )
    return Recognized(
        layout=raw.layout,
        faces=faces[[*COLUMNS, *own, *columns_of(faces, "votes")]].fillna(dict.fromkeys(own, "")),
        left_out=left_out,
        pixels=pixels or "",
        annotation="FER+" if votes else "",
        tables=(*raw.tables, *([ATTRIBUTES] if len(attributes) else [])),
    )
