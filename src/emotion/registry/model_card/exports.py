"""The files that `emotion export` writes, compared for the model card."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from emotion.data.dataset import open_dataset
from emotion.inference.benchmark import measure_speed
from emotion.inference.convert import BATCH, Format, RefusedError, compared_images, convert
from emotion.inference.load import Fast, Model, load_saved_model, predict
from emotion.runtime.files import folder_size, read_csv

FORMATS: dict[Format, str] = {"litert": "LiteRT, 32 bits", "int8": "LiteRT, 8 bits"}
FILE_NAME = "exports.csv"
COLUMNS = ("signature", "file", "MiB", "ms per image", "validation accuracy")


def measure_exports(saved_model: Path) -> pd.DataFrame:
    """Convert both signatures of a SavedModel, and measure each file on validation images.

    Args:
        saved_model: the folder of a SavedModel that `train` wrote, of the emotions in data/faces.

    Returns:
        COLUMNS, of a row per signature and file: MiB (of the SavedModel, of both signatures), the median time for one
        image at a time, and a fraction. The figures of a file are missing if `emotion export` would refuse to write it.
    """
    loaded, dataset, rows = load_saved_model(saved_model), open_dataset(), []
    images = compared_images(dataset)
    models: Mapping[str, Model] = {"serve": loaded, "fast": Fast(loaded)}
    for signature, model in models.items():
        correct = predict(model, images.images, BATCH).argmax(axis=1) == images.labels
        speed = measure_speed(model, images.images, BATCH)
        size = folder_size(saved_model) / 2**20
        rows.append((signature, "SavedModel", size, speed["latency_ms_median"], float(correct.mean())))
        for to_format, name in FORMATS.items():
            with TemporaryDirectory() as folder:
                try:
                    parity = convert(saved_model, to_format, Path(folder) / "model", dataset, fast=signature == "fast")
                    figures = parity.size_mib, parity.speed["latency_ms_median"], parity.accuracy
                except RefusedError:
                    figures = (float("nan"),) * 3
            rows.append((signature, name, *figures))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_exports(folder: Path) -> pd.DataFrame | None:
    """Return the comparison in the folder of a model card, or None if it has none."""
    path = folder / FILE_NAME
    return read_csv(path, COLUMNS, "Run `dvc repro --force register`.") if path.exists() else None
