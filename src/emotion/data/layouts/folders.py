"""Images in folders that are called like the emotions, such as Kaggle's copies of FER-2013."""

import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from emotion.data.labels import USAGES
from emotion.data.layouts.recognized import USAGE_SPLITS, RawFaces
from emotion.data.layouts.words import LabelMap, is_number, split_of
from emotion.data.sources.files import IMAGES, Files
from emotion.runtime.errors import UserError

# Folders and names that tell the person; a subject is never on both sides of a split.
_SUBJECT_FOLDER = re.compile(r"(?:s|subject|subj|person|actor|id)[ _-]?\d+", re.IGNORECASE)
_SUBJECT_NAME = re.compile(r"(S\d{3})_\d{3}_\d{8}\.\w+")  # of CK+


def image_files(files: Files) -> list[str]:
    """The names of images, without those that macOS adds to archives."""
    return [
        name
        for name in files.names
        if name.lower().endswith(IMAGES) and not name.startswith("__MACOSX/") and "/." not in f"/{name}"
    ]


def split_of_path(name: str) -> str:
    """The split that the folders of a path name; empty if they name none.

    Raises:
        UserError: if they name two.
    """
    folders = [folder for folder in name.split("/")[:-1] if split_of(folder)]
    splits = sorted({split_of(folder) for folder in folders})
    if len(splits) > 1:
        raise UserError(f"the folders of {name} name two splits, {' and '.join(folders)}. Rename one of them.")
    return splits[0] if splits else ""


def read_folders(files: Files, labels: LabelMap) -> RawFaces | None:
    """Images whose folder, or one above it, is called like an emotion or is a number; None if there are none.

    Raises:
        UserError: if the folders of an image name two emotions.
    """
    rows = [_row(name, labels) for name in image_files(files)]
    # Numbers are labels only where no folder names an emotion: otherwise, they number something else.
    if any(row["label"] and not is_number(row["label"]) and labels.knows(row["label"]) for row in rows):
        rows = [{**row, "label": "" if is_number(row["label"]) else row["label"]} for row in rows]
    elif not any(is_number(row["label"]) for row in rows):
        return None
    table = pd.DataFrame(rows)
    if not (table["subject"] != "").all():
        table = table.drop(columns="subject")
    has_numbers = table["label"].map(is_number).any()
    title = f"folders {'with numbers' if has_numbers else 'of emotions'}"
    return RawFaces(title, table, "rafdb" if has_numbers else "")  # whose copies have its numbers as folders


def _row(name: str, labels: LabelMap) -> dict[str, str]:
    path = PurePosixPath(name)
    usage = path.name.split("_")[0]
    split = split_of_path(name)
    for folder in path.parts[:-1]:
        if folder in USAGES:
            usage, split = folder, USAGE_SPLITS[folder]
    person = _SUBJECT_NAME.fullmatch(path.name)
    folders = [part for part in path.parts[:-1] if _SUBJECT_FOLDER.fullmatch(part) and not labels.knows(part)]
    return {
        "name": name,
        "label": _label(path, labels),
        "given_split": split,
        "usage": usage if usage in USAGES else "",
        "subject": person[1] if person else next(iter(folders), ""),
    }


def _label(path: PurePosixPath, labels: LabelMap) -> str:
    """The folder that names the emotion; without one, the deepest folder that is no split."""
    folders = path.parts[:-1]
    known = [folder for folder in folders if labels.knows(folder) and not is_number(folder)]
    if len({labels.emotion(folder) for folder in known}) > 1:
        raise UserError(
            f"the folders of {path} name two emotions, {' and '.join(known)}. Rename one, or say what they mean in"
            " fetch.labels."
        )
    if known:
        return known[-1]
    others = [folder for folder in folders if not split_of(folder) and folder not in USAGES]
    return others[-1] if others else ""


def common_folders(files: Files, count: int) -> list[str]:
    """The folders with the most images, for a message."""
    found = Counter(str(PurePosixPath(name).parent) for name in image_files(files))
    return [f"{folder} ({images})" for folder, images in found.most_common(count)]
