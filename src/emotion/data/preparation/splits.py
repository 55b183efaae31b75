"""Assigns images to splits and finds duplicates."""

from typing import Any

import numpy as np
import pandas as pd

from emotion.data.labels import EMOTIONS, SPLITS, UNUSED, USAGES
from emotion.runtime.errors import UserError


def assign_splits(
    index: pd.DataFrame, protocol: str, validation_fraction: float, drop_leaked: bool, seed: int
) -> pd.DataFrame:
    """Add the columns split, duplicate_group (-1 if unique) and seen_in_training.

    Args:
        index: a table with the columns name, folder (train | test), emotion, usage and pixel_hash.
        protocol: `challenge` or `folders`, see params.yaml.
        validation_fraction: the fraction of each emotion in train/ that becomes validation.
        drop_leaked: whether training images that also occur in validation or test become `unused`.
        seed: random seed for choosing the validation images.

    Raises:
        UserError: if the archive lacks images that the protocol needs.
    """
    split = _by_usage(index) if protocol == "challenge" else _by_folder(index, validation_fraction, seed)
    pixel_hash = index["pixel_hash"]
    if drop_leaked:
        held_out = pixel_hash[split != "train"]
        split = split.mask((split == "train") & pixel_hash.isin(held_out), UNUSED)
    _require_every_split(index, split, protocol)
    repeated = pixel_hash.duplicated(keep=False)
    return index.assign(
        split=split,
        duplicate_group=index[repeated].groupby("pixel_hash", sort=False).ngroup().reindex(index.index, fill_value=-1),
        seen_in_training=split.isin(SPLITS[1:]) & pixel_hash.isin(pixel_hash[split == "train"]),
    )


def _by_usage(index: pd.DataFrame) -> pd.Series:
    missing = [usage for usage in USAGES if not (index["usage"] == usage).any()]
    if missing:
        raise UserError(
            f"the archive has no {' and no '.join(missing)} images, which preprocess.protocol=challenge"
            " needs. Use preprocess.protocol=folders, which takes validation from train/."
        )
    unknown = index.loc[index["usage"] == "", "name"]
    if len(unknown):
        raise UserError(
            f"the names of {len(unknown)} images do not state a usage, such as {unknown.iloc[0]}."
            " Use preprocess.protocol=folders, which splits by folder."
        )
    return index["usage"].map(dict(zip(USAGES, SPLITS, strict=True)))


def _by_folder(index: pd.DataFrame, validation_fraction: float, seed: int) -> pd.Series:
    """Split by folder. Identical images stay together, so that none is in both train and validation."""
    train = index[index["folder"] == "train"]
    copies = train["pixel_hash"].value_counts()
    distinct = train.drop_duplicates("pixel_hash")
    rng = np.random.default_rng(seed)
    validation: list[str] = []
    for emotion in EMOTIONS:
        shuffled = rng.permutation(distinct.loc[distinct["emotion"] == emotion, "pixel_hash"].to_numpy())
        total = copies[shuffled].cumsum().to_numpy()
        target = validation_fraction * total[-1] if len(total) else 0
        validation.extend(shuffled[: np.searchsorted(total, target) + 1])
    held_out = train["pixel_hash"].isin(validation).reindex(index.index, fill_value=False)
    return index["folder"].mask(held_out, "validation")


def _require_every_split(index: pd.DataFrame, split: pd.Series, protocol: str) -> None:
    present = set(zip(split, index["emotion"], strict=True))
    missing = [f"{name}/{emotion}" for name in SPLITS for emotion in EMOTIONS if (name, emotion) not in present]
    if missing:
        raise UserError(
            f"with preprocess.protocol={protocol}, there is no image for {', '.join(missing)}."
            " Every split needs every emotion: use a larger archive or the other protocol."
        )


def summarize(index: pd.DataFrame) -> dict[str, Any]:
    """Return summary counts: images per split and emotion, images per usage, duplicates and leaks.

    Args:
        index: the table that `assign_splits` returns, with the additional column `blank`.
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
        "dropped_from_training": int((index["split"] == UNUSED).sum()),
        "blank_images": int(index["blank"].sum()),
    }
