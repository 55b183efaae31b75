"""Figures of the data: class distribution, examples, augmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emotion.data.dataset import Dataset, Images, as_pixels
from emotion.data.labels import SPLITS
from emotion.evaluation.figures.base import FACES_PER_ROW, save_figure, show_faces
from emotion.params.sections import Augmentation
from emotion.runtime.tensorflow import load_tensorflow


def draw_dataset(dataset: Dataset, augmentation: Augmentation, folder: Path) -> None:
    """Draw the class distribution, example faces, and the same faces augmented."""
    draw_class_distribution(dataset, folder / "class_distribution.png")
    images = example_images(dataset)
    draw_face_grid(images, dataset.emotions, f"Examples: {dataset.caption}", folder / "examples.png")
    title = f"The same faces, augmented: {dataset.caption}"
    draw_face_grid(augment_once(images, augmentation), dataset.emotions, title, folder / "augmented.png")


def draw_class_distribution(dataset: Dataset, path: Path) -> None:
    """Draw the images per emotion and split, as counts and as percentages of the split."""
    counts = pd.crosstab(dataset.index["emotion"], dataset.index["split"]).reindex(
        index=list(dataset.emotions), columns=list(SPLITS)
    )
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts.plot.bar(ax=left, rot=30, ylabel="images", xlabel="", title="Images")
    (counts / counts.sum() * 100).plot.bar(ax=right, rot=30, ylabel="% of the split", xlabel="", title="Shares")
    figure.suptitle(f"Class distribution: {dataset.caption}")
    save_figure(figure, path)


def example_images(dataset: Dataset) -> Images:
    """The first training faces of every emotion, FACES_PER_ROW of each; blank if there are too few."""
    shape = dataset.images.shape[1:]
    grid = np.zeros((len(dataset.emotions), FACES_PER_ROW, *shape), np.uint8)
    for row, emotion in enumerate(dataset.emotions):
        is_example = (dataset.index["split"] == "train") & (dataset.index["emotion"] == emotion)
        chosen = np.flatnonzero(is_example)[:FACES_PER_ROW]
        grid[row, : len(chosen)] = dataset.images[chosen]
    return grid.reshape(-1, *shape)


def augment_once(images: Images, augmentation: Augmentation) -> Images:
    """The images as one training step could see them."""
    load_tensorflow()
    import tensorflow as tf

    from emotion.training.augmentation import augment

    augmented = augment(tf.constant(as_pixels(images), tf.float32), augmentation, tf.constant([0, 0], tf.int64))
    return np.asarray(augmented.numpy().reshape(images.shape), np.uint8)


def draw_face_grid(images: Images, row_labels: Sequence[str], title: str, path: Path) -> None:
    """Draw faces in rows of FACES_PER_ROW, each row with its label."""
    figure = Figure(figsize=(FACES_PER_ROW * 1.1, len(row_labels) * 1.15 + 0.4), layout="constrained")
    axes = figure.subplots()
    centers = show_faces(axes, images, gap=8)
    axes.set_yticks(centers[::FACES_PER_ROW, 1], row_labels, rotation=90, va="center")
    axes.tick_params(length=0)
    figure.suptitle(title)
    save_figure(figure, path)
