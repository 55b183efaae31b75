"""The dataset that `preprocess` writes: every face in one array, a row about each in a table.

data/faces/images.npy    (N, 48, 48) uint8, 0..255
data/faces/index.csv     name, emotion, usage, split, pixel_hash, duplicate_group,
                         seen_in_training; row i is about image i
data/faces/dataset.json  where it comes from, how it was split, how many of what
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS, SIZE
from emotion.runtime.errors import UserError
from emotion.runtime.paths import FACES

Images = NDArray[np.uint8]  # (n, 48, 48)
Labels = NDArray[np.int64]  # (n,), an index into EMOTIONS


@dataclass(frozen=True)
class Split:
    """Some of the faces, with their labels and rows."""

    images: Images
    labels: Labels
    index: pd.DataFrame

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Faces:
    """The whole dataset, its images memory-mapped."""

    images: Images
    index: pd.DataFrame
    about: dict[str, Any]

    def split(self, name: str) -> Split:
        """The faces of one split (train, validation or test), read into memory."""
        rows = np.flatnonzero(self.index["split"] == name)
        index = self.index.iloc[rows].reset_index(drop=True)
        labels = pd.Categorical(index["emotion"], categories=EMOTIONS).codes.astype(np.int64)
        return Split(np.asarray(self.images[rows]), labels, index)

    @property
    def caption(self) -> str:
        """What every figure and report says of the data."""
        return caption(self.about)


def caption(about: dict[str, Any]) -> str:
    """Where faces come from, and plainly whether they are drawings, given dataset.json."""
    source = about["source"]
    kind = "drawings, not photographs" if source["source"] == "synthetic" else "not drawn by this project"
    return f"{source['origin']} ({kind})"


def open_faces(folder: Path = FACES) -> Faces:
    """Open what `preprocess` wrote.

    Raises:
        UserError: where it is missing or its parts do not fit together.
    """
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        index = pd.read_csv(folder / "index.csv", keep_default_na=False)
        about = json.loads((folder / "dataset.json").read_text())
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing. `dvc repro preprocess` makes it.") from None
    if images.shape != (len(index), SIZE, SIZE) or images.dtype != np.uint8:
        raise UserError(
            f"{folder} is inconsistent: {len(index)} rows, but images of shape {images.shape} and"
            f" type {images.dtype}. `dvc repro --force --single-item preprocess` makes it anew."
        )
    return Faces(images, index, about)


def subset(split: Split, fraction: float, seed: int) -> Split:
    """A random part of a split, in the split's order."""
    count = max(1, round(len(split) * fraction))
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:count])
    return Split(split.images[rows], split.labels[rows], split.index.iloc[rows].reset_index(drop=True))
