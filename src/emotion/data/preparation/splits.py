"""Assigns images to splits and finds duplicates."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from emotion.data.labels import GATE, SPLITS, UNUSED, USAGES
from emotion.runtime.errors import UserError

MAX_PARTS = 20  # into which the images of people are divided, of which some are held out
Protocol = Literal["challenge", "folders"]


@dataclass(frozen=True)
class Fractions:
    """Which fraction of the images of each emotion becomes a split that the data does not have, 0..1."""

    validation: float  # of the training images
    test: float  # of the training images
    gate: float = 0  # of the test images


def choose_protocol(index: pd.DataFrame, wanted: str) -> Protocol:
    """The protocol that `auto` stands for: challenge if each image states its usage, and each usage occurs."""
    if wanted != "auto":
        return "challenge" if wanted == "challenge" else "folders"
    return "challenge" if set(index["usage"]) == {*USAGES} else "folders"


def assign_splits(
    index: pd.DataFrame, protocol: Protocol, fractions: Fractions, drop_leaked: bool, seed: int
) -> pd.DataFrame:
    """Add the column split.

    With the protocol `folders`, images without a split are training images, and a split that the data lacks is taken
    from training: stratified by emotion, with identical images, and all images of a person, on one side.

    Args:
        index: a table with the columns name, given_split, emotion, usage and pixel_hash; and subject, if it is known.
        protocol: see `choose_protocol`.
        fractions: of the splits that are made.
        drop_leaked: whether training images that also occur in validation or test become `unused`.
        seed: random seed for choosing images.

    Raises:
        UserError: if the data lacks images that the protocol needs.
    """
    if protocol == "challenge":
        split = _by_usage(index)
    else:
        split = index["given_split"].where(index["given_split"] != "", "train")
        for name, fraction in (("test", fractions.test), ("validation", fractions.validation)):
            if not (split == name).any():
                split = split.mask(_held_out(index, split == "train", fraction, seed), name)
    if fractions.gate:
        split = split.mask(_held_out(index, split == "test", fractions.gate, seed), GATE)
    pixel_hash = index["pixel_hash"]
    if drop_leaked:
        elsewhere = pixel_hash[split != "train"]
        split = split.mask((split == "train") & pixel_hash.isin(elsewhere), UNUSED)
    index = index.assign(split=split)
    require_every_split(index, (*SPLITS, GATE) if fractions.gate else SPLITS)
    return index


def mark_duplicates(index: pd.DataFrame) -> pd.DataFrame:
    """Add the columns duplicate_group (-1 if unique) and seen_in_training to the result of `assign_splits`."""
    split, pixel_hash = index["split"], index["pixel_hash"]
    repeated = pixel_hash.duplicated(keep=False)
    return index.assign(
        duplicate_group=index[repeated].groupby("pixel_hash", sort=False).ngroup().reindex(index.index, fill_value=-1),
        seen_in_training=split.isin((*SPLITS[1:], GATE)) & pixel_hash.isin(pixel_hash[split == "train"]),
    )


def _by_usage(index: pd.DataFrame) -> pd.Series:
    missing = [usage for usage in USAGES if not (index["usage"] == usage).any()]
    if missing:
        raise UserError(
            f"the data has no {' and no '.join(missing)} images, which preprocess.protocol=challenge"
            " needs. Use preprocess.protocol=folders, which takes missing splits from the training images."
        )
    unknown = index.loc[index["usage"] == "", "name"]
    if len(unknown):
        raise UserError(
            f"the names of {len(unknown)} images do not state a usage, such as {unknown.iloc[0]}."
            " Use preprocess.protocol=folders, which splits by folder."
        )
    return index["usage"].map(dict(zip(USAGES, SPLITS, strict=True)))


def _held_out(index: pd.DataFrame, chosen_from: pd.Series, fraction: float, seed: int) -> pd.Series:
    """A random fraction of some images of each emotion. What belongs together stays on one side."""
    rows = index[chosen_from]
    if "subject" in rows and (rows["subject"] != "").any():
        return _held_out_people(rows, fraction, seed).reindex(index.index, fill_value=False)
    copies = rows["pixel_hash"].value_counts()
    # Sorted by content, so that the same images are chosen whatever their files are called.
    distinct = rows.sort_values(["pixel_hash", "emotion"]).drop_duplicates("pixel_hash")
    rng = np.random.default_rng(seed)
    held_out: list[str] = []
    for emotion in sorted(set(distinct["emotion"])):
        shuffled = rng.permutation(distinct.loc[distinct["emotion"] == emotion, "pixel_hash"].to_numpy(str))
        total = copies[shuffled].cumsum().to_numpy()
        target = fraction * total[-1] if len(total) else 0
        held_out.extend(shuffled[: np.searchsorted(total, target) + 1])
    return rows["pixel_hash"].isin(held_out).reindex(index.index, fill_value=False)


def _held_out_people(rows: pd.DataFrame, fraction: float, seed: int) -> pd.Series:
    """About a fraction of the images, with as many of each emotion as possible, and with no person on both sides."""
    people = connected_groups(rows)
    parts = min(MAX_PARTS, len(set(people)))
    if parts < 2:
        raise UserError("the images that are left are all of one person, so no split can be made. Add other people.")
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(rows, rows["emotion"], people)
    wanted = min(max(1, round(fraction * parts)), parts - 1)
    held_out = np.concatenate([rest for _, rest in itertools.islice(folds, wanted)])
    return pd.Series(np.isin(np.arange(len(rows)), held_out), rows.index)


def connected_groups(index: pd.DataFrame) -> np.ndarray:
    """The number of the group of each row: identical images, and images of one person, are in the same group."""
    columns = [index["pixel_hash"]]
    if "subject" in index:
        columns.append(index["subject"].where(index["subject"] != "", index["pixel_hash"]))
    codes = [pd.factorize(column)[0] for column in columns]
    count = len(codes[0])
    starts = count + np.cumsum([0, *(code.max(initial=-1) + 1 for code in codes[:-1])])
    ends = np.concatenate([code + start for code, start in zip(codes, starts, strict=True)])
    nodes = np.tile(np.arange(count), len(codes))
    size = int(max(count, ends.max(initial=-1) + 1))
    _, groups = connected_components(coo_array((np.ones(len(ends)), (nodes, ends)), (size, size)), directed=False)
    return np.asarray(groups[:count])


def require_every_split(index: pd.DataFrame, needed: Sequence[str]) -> None:
    """Check that every split has every emotion.

    Args:
        index: a table with the columns split and emotion.
        needed: the splits.

    Raises:
        UserError: if one has not.
    """
    present = set(zip(index["split"], index["emotion"], strict=True))
    missing = [
        f"{name}/{emotion}"
        for name in needed
        for emotion in sorted(set(index["emotion"]))
        if (name, emotion) not in present
    ]
    if missing:
        raise UserError(
            f"there is no image for {', '.join(missing)}, but every split needs every emotion. Add images, choose other"
            " splits (preprocess.protocol and its fractions), or leave an emotion's labels out (fetch.labels)."
        )


def summarize(index: pd.DataFrame) -> dict[str, Any]:
    """Return summary counts: images per split and emotion, images per usage, duplicates and leaks.

    Args:
        index: the table that `mark_duplicates` returns, with the additional column `blank`.
    """
    table = pd.crosstab(index["split"], index["emotion"])
    groups = index[index["duplicate_group"] >= 0].groupby("duplicate_group")
    seen = index[index["seen_in_training"]]
    return {
        "images": len(index),
        "splits": {name: {e: int(n) for e, n in row.items()} for name, row in table.iterrows()},
        "usages": {str(k): int(v) for k, v in index["usage"].value_counts().items() if k},
        "distinct_images": int(index["pixel_hash"].nunique()),
        "duplicate_groups": len(groups),
        "groups_with_conflicting_labels": int((groups["emotion"].nunique() > 1).sum()),
        "seen_in_training": {name: int((seen["split"] == name).sum()) for name in SPLITS[1:]},
        "unused": int((index["split"] == UNUSED).sum()),
        "blank_images": int(index["blank"].sum()),
    }
