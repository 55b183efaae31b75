"""Datasets in the form in which their authors distribute them: RAF-DB, CK+, AffectNet and JAFFE."""

import io
import math
import re
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np
import pandas as pd

from emotion.data.layouts.folders import image_files, split_of_path
from emotion.data.layouts.recognized import RawFaces
from emotion.data.layouts.words import split_of
from emotion.data.sources.files import DamagedFileError, Files, read_bytes
from emotion.runtime.errors import UserError

JAFFE_CODES = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad",
               "SU": "surprise"}  # fmt: skip
_JAFFE_NAME = re.compile(r"([A-Z]{2})\.(AN|DI|FE|HA|NE|SA|SU)\d\.\d+\.(?:tiff?|tiff\.bmp|jpe?g|png|bmp)", re.IGNORECASE)
_CKPLUS_LABEL = re.compile(r"(S\d{3})_\d{3}_\d{8}_emotion\.txt")
RAFDB_ATTRIBUTES = {  # in the lines of Annotation/manual, after five landmarks
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0 to 3", "4 to 19", "20 to 39", "40 to 69", "70 and more"),
}
Key = TypeVar("Key", bound=Hashable)
MAX_NUMBER = 1000
MAX_NOTE_BYTES = 100_000  # of a file that describes one image


def read_rafdb(files: Files) -> RawFaces | None:
    """RAF-DB: a list of names and numbers, and aligned images; None if the list is not there.

    Raises:
        UserError: if the list cannot be read.
    """
    lists = [name for name in files.names if re.search(r"(^|/)list_par?tition_label\.txt$", name)]
    if not lists:
        return None
    if len(lists) > 1:
        raise UserError(
            f"{' and '.join(lists)} are lists of labels of several datasets. Give the folder of one of them."
        )
    root = str(PurePosixPath(lists[0]).parent.parent)
    images = _images_by_stem(files, "" if root == "." else f"{root}/")
    manual = {PurePosixPath(name).name: name for name in files.names if name.endswith("_manu_attri.txt")}
    rows, used = [], [lists[0]]
    for line in _read_note(files, lists[0], 100 * MAX_NOTE_BYTES).splitlines():
        name, _, label = line.strip().rpartition(" ")
        stem = PurePosixPath(name).stem
        if not name or not label.isdecimal():
            raise UserError(f"{lists[0]} has the line {line!r}; expected a name and a number. Fetch it again.")
        note = manual.get(f"{stem}_manu_attri.txt")
        used += [note] if note else []
        file = _only(images, f"{stem}_aligned") or _only(images, stem)
        split = split_of(stem.split("_")[0])
        rows.append({"name": file, "label": label, "given_split": split, "usage": ""} | _rafdb_attributes(files, note))
    return RawFaces(f"RAF-DB, labels in {lists[0]}", pd.DataFrame(rows).fillna(""), "rafdb", tuple(used))


def _rafdb_attributes(files: Files, name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    codes = _read_note(files, name).split("\n")[5:8]
    values = {
        attribute: meanings[int(code)]
        for (attribute, meanings), code in zip(RAFDB_ATTRIBUTES.items(), codes, strict=False)
        if code.strip().isdecimal() and int(code) < len(meanings)
    }
    return {attribute: "" if value == "unsure" else value for attribute, value in values.items()}


def read_ckplus(files: Files) -> RawFaces | None:
    """CK+: a number for the last image of each labelled sequence; None if there are no such labels.

    Raises:
        UserError: if a label cannot be read.
    """
    found = {name: match for name in files.names if (match := _CKPLUS_LABEL.fullmatch(PurePosixPath(name).name))}
    if not found:
        return None
    images = _images_by_stem(files)
    rows = []
    for name, match in found.items():
        label = _whole_number(_read_note(files, name).strip(), name)
        image = _only(images, PurePosixPath(name).name.removesuffix("_emotion.txt"))
        rows.append({"name": image, "label": label, "given_split": "", "usage": "", "subject": match[1]})
    return RawFaces("CK+, a label for the last image of each sequence", pd.DataFrame(rows), "ckplus", tuple(found))


def read_affectnet(files: Files) -> RawFaces | None:
    """AffectNet: images and annotations in files with the same number; None if there are no annotations.

    Copies number the emotions differently, so `fetch.labels` must say what the numbers mean.

    Raises:
        UserError: if an annotation cannot be read.
    """
    annotations = {PurePosixPath(name).parent.parent / PurePosixPath(name).name[: -len("_exp.npy")]: name
                   for name in files.names if name.endswith("_exp.npy")}  # fmt: skip
    if not annotations:
        return None
    images: defaultdict[PurePosixPath, list[str]] = defaultdict(list)
    for name in image_files(files):
        images[PurePosixPath(name).parent.parent / PurePosixPath(name).stem].append(name)
    rows = [
        {"name": _only(images, key), "label": _expression(files, name), "given_split": split_of_path(name)}
        for key, name in annotations.items()
    ]
    table = pd.DataFrame(rows).assign(usage="")
    return RawFaces("AffectNet, images and annotations", table, "affectnet", tuple(annotations.values()))


def _expression(files: Files, name: str) -> str:
    try:
        value = np.load(io.BytesIO(read_bytes(files, name, MAX_NOTE_BYTES)), allow_pickle=False).item()
    except Exception as error:  # noqa: BLE001  NumPy raises many kinds for files that are not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} does not contain one number: {reason}. Fetch it again.") from None
    return _whole_number(str(value), name)


def _whole_number(text: str, name: str) -> str:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer() or abs(number) > MAX_NUMBER:
        raise UserError(f"{name} contains {text[:20]!r}; expected a whole number. Fetch it again.")
    return str(int(number))


def read_jaffe(files: Files) -> RawFaces | None:
    """JAFFE: the names of the images tell the person and the emotion; None if not all names do."""
    images = image_files(files)
    matches = [_JAFFE_NAME.fullmatch(PurePosixPath(name).name) for name in images]
    if not images or not all(matches):
        return None
    rows = [
        {"name": name, "label": JAFFE_CODES[match[2].upper()], "given_split": "", "usage": "", "subject": match[1]}
        for name, match in zip(images, matches, strict=True)
        if match
    ]
    return RawFaces("JAFFE, emotions in the names of the images", pd.DataFrame(rows))


def _images_by_stem(files: Files, below: str = "") -> dict[str, list[str]]:
    images: defaultdict[str, list[str]] = defaultdict(list)
    for name in image_files(files):
        if name.startswith(below):
            images[PurePosixPath(name).stem].append(name)
    return images


def _only(images: Mapping[Key, list[str]], key: Key) -> str:
    """The image with a key; empty if there is none.

    Raises:
        UserError: if there are several.
    """
    found = images.get(key, [])
    if len(found) > 1:
        raise UserError(f"the label of {key} may be about {' or '.join(found[:2])}. Give the folder of one dataset.")
    return found[0] if found else ""


def _read_note(files: Files, name: str, limit: int = MAX_NOTE_BYTES) -> str:
    try:
        return read_bytes(files, name, limit).decode("utf-8-sig")
    except (DamagedFileError, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read: {error}. Fetch it again.") from None
