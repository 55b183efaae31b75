"""Assigns images to splits and finds duplicates."""

from typing import Any

import numpy as np
import pandas as pd

from emotion.data.labels import GATE, SPLITS, UNUSED, USAGES
from emotion.runtime.errors import UserError


def assign_splits(
    index: pd.DataFrame,
    protocol: str,
    validation_fraction: float,
    drop_leaked: bool,
    seed: int,
    gate_fraction: float = 0,
) -> pd.DataFrame:
    """Add the columns split, duplicate_group (-1 if unique) and seen_in_training.

    Args:
        index: a table with the columns name, folder (train | test), emotion, usage and pixel_hash.
        protocol: `challenge` or `folders`, see params.yaml.
        validation_fraction: the fraction of each emotion in train/ that becomes validation.
        drop_leaked: whether training images that also occur in validation or test become `unused`.
        seed: random seed for choosing the validation images.
        gate_fraction: the fraction of each emotion in the test images that becomes `gate`.

    Raises:
        UserError: if the archive lacks images that the protocol needs.
    """
    if protocol == "challenge":
        split = _by_usage(index)
    else:
        held_out = _held_out(index, index["folder"] == "train", validation_fraction, seed)
        split = index["folder"].mask(held_out, "validation")
    if gate_fraction:
        split = split.mask(_held_out(index, split == "test", gate_fraction, seed), GATE)
    pixel_hash = index["pixel_hash"]
    if drop_leaked:
        elsewhere = pixel_hash[split != "train"]
        split = split.mask((split == "train") & pixel_hash.isin(elsewhere), UNUSED)
    _require_every_split(index, split, (*SPLITS, GATE) if gate_fraction else SPLITS, protocol)
    repeated = pixel_hash.duplicated(keep=False)
    return index.assign(
        split=split,
        duplicate_group=index[repeated].groupby("pixel_hash", sort=False).ngroup().reindex(index.index, fill_value=-1),
        seen_in_training=split.isin((*SPLITS[1:], GATE)) & pixel_hash.isin(pixel_hash[split == "train"]),
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


def _held_out(index: pd.DataFrame, chosen_from: pd.Series, fraction: float, seed: int) -> pd.Series:
    """A random fraction of some images of each emotion. Identical images stay together, on one side."""
    rows = index[chosen_from]
    copies = rows["pixel_hash"].value_counts()
    distinct = rows.drop_duplicates("pixel_hash")
    rng = np.random.default_rng(seed)
    held_out: list[str] = []
    for emotion in sorted(set(distinct["emotion"])):
        shuffled = rng.permutation(distinct.loc[distinct["emotion"] == emotion, "pixel_hash"].to_numpy())
        total = copies[shuffled].cumsum().to_numpy()
        target = fraction * total[-1] if len(total) else 0
        held_out.extend(shuffled[: np.searchsorted(total, target) + 1])
    return rows["pixel_hash"].isin(held_out).reindex(index.index, fill_value=False)


def _require_every_split(index: pd.DataFrame, split: pd.Series, needed: tuple[str, ...], protocol: str) -> None:
    present = set(zip(split, index["emotion"], strict=True))
    emotions = sorted(set(index["emotion"]))
    missing = [f"{name}/{emotion}" for name in needed for emotion in emotions if (name, emotion) not in present]
    if missing:
        raise UserError(
            f"with preprocess.protocol={protocol}, there is no image for {', '.join(missing)}."
            " Every split needs every emotion: use a larger archive, the other protocol, or other fractions."
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
