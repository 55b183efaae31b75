"""The result of recognizing a layout, and the rules that keep labels from being taken wrongly."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from emotion.data.dataset import VOTES
from emotion.data.labels import SPLITS
from emotion.data.layouts.words import NUMBERINGS, PUBLISHED, LabelMap, is_number, label_key, to_number
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
        notes: what else the user should know.
    """

    layout: str
    faces: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)
    pixels: str = ""
    annotation: str = ""
    tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
        numbering: the key in NUMBERINGS of what its numbers most likely mean, which is certain if it has exactly the
            published images; else empty.
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
        UserError: if the meaning of numbers is not certain, or contradicts the published one; if a label looks like a
            misspelled emotion; if fetch.labels names labels that are not there. It names `shown`.
    """
    found = raw.table["label"].astype(str)
    counts = Counter(found)
    numbers = {label: to_number(label) for label in counts if is_number(label)}
    words = [label for label in counts if label not in numbers and label.strip()]
    _check_stated(raw, labels, [*counts], shown)
    of_number = _meaning_of_numbers(raw, labels, numbers, counts, words, shown) if numbers else {}
    meanings: dict[str, str | None] = {}
    left_out: dict[str, int] = {}
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
    _check_prefixes(meanings, shown)
    if len(left_out) > MAX_REASONS:
        others = sorted(left_out, key=lambda reason: -left_out[reason])[MAX_REASONS:]
        left_out[f"{len(others)} other labels"] = sum(left_out.pop(reason) for reason in others)
    emotion = found.map(meanings)
    kept = raw.table[emotion.notna()].assign(emotion=emotion[emotion.notna()]).reset_index(drop=True)
    return kept, left_out


def _check_stated(raw: RawFaces, labels: LabelMap, found: list[str], shown: str) -> None:
    """Check that each label that fetch.labels mentions is there; columns of votes are labels, too."""
    known = {label_key(label) for label in found}
    if unused := sorted(set(labels.given) - known) if not columns_of(raw.table, "votes") else []:
        raise UserError(
            f"fetch.labels names {unused[0]!r}, which is no label of {shown}. Its labels: {_listed(sorted(found))}."
        )


def _check_prefixes(meanings: Mapping[str, str | None], shown: str) -> None:
    """Check that an emotion does not have several numbers in front, as in `0_happy` and `1_happy`."""
    prefixes: dict[str, set[str]] = {}
    for label, emotion in meanings.items():
        if emotion and (match := re.match(r"\s*(\d+)[\s._-]+\D", label)):
            prefixes.setdefault(emotion, set()).add(match[1])
    for emotion, found in prefixes.items():
        if len(found) > 1:
            raise UserError(
                f"{shown} numbers {emotion} as {' and '.join(sorted(found))}: one of the labels is wrong. Correct it."
            )


def _meaning_of_numbers(
    raw: RawFaces,
    labels: LabelMap,
    numbers: Mapping[str, int],
    counts: Counter[str],
    words: list[str],
    shown: str,
) -> Mapping[int, str | None]:
    stated = labels.numbers
    is_published = bool(raw.numbering) and not words and _has_published_counts(raw)
    if stated is not None:
        missing = sorted({*numbers.values()} - {*stated})
        if missing:
            known = ", ".join(map(str, stated))
            raise UserError(
                f"{shown} has the label {missing[0]}, but fetch.labels only says what {known} mean. Add it, with null"
                " to leave its images out, or choose another numbering."
            )
        published = NUMBERINGS[raw.numbering] if is_published else stated
        differing = [number for number in numbers.values() if published[number] != stated[number]]
        if differing:
            raise UserError(
                f"{shown} has exactly the images of {raw.numbering}, where {differing[0]} means"
                f" {published[differing[0]]}, but fetch.labels says {stated[differing[0]]}. Remove fetch.labels."
            )
        return stated
    if words:
        raise UserError(
            f"{shown} has both numbers ({_listed(numbers)}) and words ({_listed(words)}) as labels. Say what the"
            " numbers mean in fetch.labels."
        )
    if is_published:
        return NUMBERINGS[raw.numbering]
    ordered = sorted(numbers, key=numbers.__getitem__)
    per_number = ", ".join(f"{numbers[label]}: {counts[label]}" for label in ordered[:MAX_REASONS])
    fitting = [name for name, mapping in NUMBERINGS.items() if {*numbers.values()} <= {*mapping}]
    fitting.sort(key=lambda name: name != raw.numbering)
    ways = "".join(f"\n  {name:<14}{_meanings(name, sorted(numbers.values()))}" for name in fitting)
    example = f"fetch.labels={fitting[0]}" if fitting else "fetch.labels: {1: happy, 2: sad} in params.yaml"
    raise UserError(
        f"{shown} ({raw.layout}) has numbers as labels, which mean different emotions in different datasets."
        f" Images per number: {per_number}. Say what they mean, as in {example}; `emotion data PATH --sheet FILE"
        f" --labels ...` shows the images.{' Numberings in use:' if ways else ''}{ways}"
    )


def _has_published_counts(raw: RawFaces) -> bool:
    """Whether the data has exactly the published number of images of each number in each split."""
    if not raw.table["label"].map(is_number).all():
        return False
    part = raw.table["usage"].where(raw.table["usage"] != "", raw.table["given_split"])
    found = Counter(zip(part, raw.table["label"].map(to_number), strict=True))
    numbers = sorted(NUMBERINGS[raw.numbering])
    return any(
        found == Counter({(part, numbers[i]): n for part, counts in published.items() for i, n in enumerate(counts)})
        for published in PUBLISHED.get(raw.numbering, ())
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
