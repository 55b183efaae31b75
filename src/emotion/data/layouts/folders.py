"""Images in folders that are called like the emotions, such as Kaggle's copies of FER-2013."""

import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from emotion.data.labels import USAGES
from emotion.data.layouts.recognized import USAGE_SPLITS, RawFaces
from emotion.data.layouts.words import EMOTION_OF, LabelMap, is_number, normalize, split_of
from emotion.data.sources.files import IMAGES, Files
from emotion.runtime.errors import UserError

# Folders and names that tell the person; a subject is never on both sides of a split.
_SUBJECT_FOLDER = re.compile(r"(?:s|subject|subj|person|actor|id)[ _-]?\d+", re.IGNORECASE)
_SUBJECT_NAME = re.compile(r"(S\d{3})_\d{3}_\d{8}\.\w+")  # of CK+
# Words in the name of a folder inside the folder of an emotion, by which its images may not show this emotion.
_DOUBTS = {"bad", "maybe", "mixed", "no", "non", "not", "other", "others", "rejected", "unknown", "unsure", "wrong"}


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
        UserError: if the folders of an image name two emotions, or are two numbers.
    """
    rows = [_row(name, labels) for name in image_files(files)]
    has_words = any(labels.knows(row["label"]) and not is_number(row["label"]) for row in rows)
    if has_words:
        if labels.numbers is None:  # then a number is something else
            rows = [row | ({"label": f"folder {row['label']}"} if is_number(row["label"]) else {}) for row in rows]
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
        "label": _folder_label(path, labels),
        "given_split": split,
        "usage": usage if usage in USAGES else "",
        "subject": person[1] if person else next(iter(folders), ""),
    }


def _folder_label(path: PurePosixPath, labels: LabelMap) -> str:
    """The folder that names the emotion; without one, the deepest folder that is no split.

    Raises:
        UserError: if the folders name two emotions, or are two numbers.
    """
    folders = path.parts[:-1]
    known = [folder for folder in folders if labels.knows(folder) and not is_number(folder)]
    if len({labels.emotion(folder) for folder in known}) > 1:
        raise UserError(f"the folders of {path} name two emotions, {' and '.join(known)}. Rename one of them.")
    if known:
        inside = folders[folders.index(known[-1]) + 1 :]
        doubtful = [folder for folder in inside if _is_doubtful(folder)]
        return "/".join([known[-1], *doubtful])
    others = [folder for folder in folders if not split_of(folder) and folder not in USAGES]
    numbers = [folder for folder in others if is_number(folder)]
    if len(numbers) > 1:
        raise UserError(f"two folders of {path} are numbers, so the label is not certain. Rename one of them.")
    return numbers[0] if numbers else others[-1] if others else ""


def _is_doubtful(folder: str) -> bool:
    text = normalize(folder)
    return not _DOUBTS.isdisjoint(text.split(" ")) or any(word in text for word in EMOTION_OF)


def common_folders(files: Files, count: int) -> list[str]:
    """The folders with the most images, for a message."""
    found = Counter(str(PurePosixPath(name).parent) for name in image_files(files))
    return [f"{folder} ({images})" for folder, images in found.most_common(count)]
