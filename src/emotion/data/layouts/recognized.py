"""The result of recognizing a layout, and the rules that keep labels from being taken wrongly."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emotion.data.dataset import VOTES
from emotion.data.labels import SPLITS
from emotion.data.layouts.words import NUMBERINGS, PUBLISHED, LabelMap, is_number, to_number
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_csv

COLUMNS = ("name", "label", "emotion", "given_split", "usage")  # then the attributes, and the votes
USAGE_SPLITS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
SHOWN = 10  # labels in a message
MAX_REASONS = 20  # why images are left out


@dataclass(frozen=True)
class Recognized:
    """Labelled faces, as a layout holds them.

    Attributes:
        layout: the form of the data, in words.
        faces: a row per face with COLUMNS, attributes (texts), and columns of votes (numbers).
        left_out: how many images have no place in `faces`, by the reason.
        pixels: the table that contains the pixels, if these are not image files.
        annotation: who labelled the images, if they also exist with other labels; else empty.
        tables: the other files that were used.
    """

    layout: str
    faces: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)
    pixels: str = ""
    annotation: str = ""
    tables: tuple[str, ...] = ()

    @property
    def label_map(self) -> dict[str, str]:
        """What each label means."""
        pairs = self.faces[["label", "emotion"]].drop_duplicates()
        return dict(sorted(zip(pairs["label"], pairs["emotion"], strict=True)))


@dataclass(frozen=True)
class RawFaces:
    """Faces with their labels as the data has them.

    Attributes:
        layout: the form of the data, in words.
        table: name, label, given_split, usage, and attributes and votes if there are any.
        numbering: the key in NUMBERINGS of what its numbers mean if it is the published dataset; else empty.
        tables: the files that the labels are in.
    """

    layout: str
    table: pd.DataFrame
    numbering: str = ""
    tables: tuple[str, ...] = ()


def attach_emotions(raw: RawFaces, labels: LabelMap, shown: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Add the column emotion; return the faces that have one, and why the others were left out.

    Numbers are accepted only if fetch.labels says what they mean, or if the data is exactly the published dataset.

    Raises:
        UserError: if the meaning of numbers is not certain, or a label looks like a misspelled emotion; it names
            `shown`.
    """
    found = raw.table["label"].astype(str)
    counts = Counter(found)
    meanings: dict[str, str | None] = {}
    left_out: dict[str, int] = {}
    numbers = {label: to_number(label) for label in counts if is_number(label)}
    if numbers and not all(label in numbers or not label.strip() for label in counts):
        words = [label for label in counts if label not in numbers]
        raise UserError(
            f"{shown} has both numbers ({_listed(numbers)}) and words ({_listed(words)}) as labels. State what each"
            " means in fetch.labels."
        )
    of_number = _meaning_of_numbers(raw, labels, numbers, counts, shown) if numbers else {}
    for label, count in counts.items():
        if label in numbers:
            meanings[label] = of_number[numbers[label]]
        elif labels.knows(label):
            meanings[label] = labels.emotion(label)
        elif label.strip() and (similar := labels.similar(label)):
            raise UserError(
                f"{shown} has {count} images labelled {label!r}, which looks like {similar!r}. Correct the label, or"
                f" say what it means: fetch.labels: {{{label}: ...}}."
            )
        if not meanings.get(label):
            reason = "left out by fetch.labels" if label in meanings else "none of the emotions"
            left_out[f"label {label!r}: {reason}" if label.strip() else "without a label"] = count
    if len(left_out) > MAX_REASONS:
        others = sorted(left_out, key=lambda reason: -left_out[reason])[MAX_REASONS:]
        left_out[f"{len(others)} other labels"] = sum(left_out.pop(reason) for reason in others)
    emotion = found.map(meanings)
    kept = raw.table[emotion.notna()].assign(emotion=emotion[emotion.notna()]).reset_index(drop=True)
    return kept, left_out


def _meaning_of_numbers(
    raw: RawFaces, labels: LabelMap, numbers: Mapping[str, int], counts: Counter[str], shown: str
) -> Mapping[int, str | None]:
    stated = labels.numbers
    if stated is not None:
        missing = sorted({*numbers.values()} - {*stated})
        if missing:
            raise UserError(
                f"{shown} has the label {missing[0]}, which fetch.labels does not mention. Add it, with null to leave"
                " its images out."
            )
        return stated
    if raw.numbering and _has_published_counts(raw):
        return NUMBERINGS[raw.numbering]
    per_number = ", ".join(f"{numbers[label]}: {counts[label]}" for label in sorted(numbers, key=numbers.__getitem__))
    fitting = [name for name, mapping in NUMBERINGS.items() if {*numbers.values()} <= {*mapping}]
    ways = "; ".join(f"{name} ({_meanings(name, sorted(numbers.values()))})" for name in fitting)
    known = f" Numberings in use: {ways}." if ways else ""
    example = fitting[0] if fitting else "{1: happy, 2: sad}"
    raise UserError(
        f"{shown} ({raw.layout}) has numbers as labels, which mean different emotions in different datasets. Images per"
        f" number: {per_number}.{known} Say which one it is, as in fetch.labels={example}, or list the meaning of each"
        " number; `emotion data PATH --sheet FILE --labels ...` shows the images."
    )


def _has_published_counts(raw: RawFaces) -> bool:
    """Whether the data has exactly the published number of images of each number in each split."""
    part = raw.table["usage"].where(raw.table["usage"] != "", raw.table["given_split"])
    found = Counter(zip(part, raw.table["label"].map(to_number), strict=True))
    numbers = sorted(NUMBERINGS[raw.numbering])
    return any(
        found == Counter({(part, numbers[i]): n for part, counts in published.items() for i, n in enumerate(counts)})
        for published in PUBLISHED[raw.numbering]
    )


def _meanings(name: str, numbers: list[int]) -> str:
    return " ".join(f"{number} {NUMBERINGS[name][number] or 'none'}" for number in numbers)


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(repr(label) for label in list(labels)[:SHOWN])


def columns_of(table: pd.DataFrame, kind: str) -> list[str]:
    """The columns with votes (kind `votes`), or with attributes (`attributes`)."""
    own = {*COLUMNS}
    votes = [column for column in table.columns if column.startswith(VOTES)]
    return votes if kind == "votes" else [column for column in table.columns if column not in {*own, *votes}]


def read_faces(path: Path) -> pd.DataFrame:
    """Read the table of faces that `fetch` wrote.

    Raises:
        UserError: if it is missing or damaged.
    """
    fix = "Run `dvc checkout`, or `dvc repro --force --single-item fetch`."
    table = read_csv(path, COLUMNS, fix, keep_default_na=False, dtype=str)
    problem = ""
    if (table["emotion"] == "").any() or table["emotion"].nunique() < 2:
        problem = "an image has no emotion, or all have the same"
    elif unknown := sorted({*table["given_split"]} - {*SPLITS, ""}):
        problem = f"its column given_split contains {unknown[0]!r}"
    elif table["name"].duplicated().any():
        problem = f"it lists {table['name'][table['name'].duplicated()].iloc[0]} twice"
    try:
        table = table.astype(dict.fromkeys(columns_of(table, "votes"), float))
    except ValueError:
        problem = "votes should be numbers"
    if problem:
        raise UserError(f"{path} is damaged: {problem}. {fix}")
    return table
