"""Every picture: of the data, of the training, and of the evaluation. PNG files."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion.data.dataset import Faces, Images
from emotion.data.labels import EMOTIONS, SIZE, SPLITS
from emotion.evaluation.robustness import CORRUPTIONS
from emotion.params import Augmentation
from emotion.runtime.paths import whole
from emotion.runtime.tensorflow import load_tensorflow

matplotlib.use("Agg")

EXAMPLES = 8  # faces a row


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=110)


def data_figures(faces: Faces, augmentation: Augmentation, folder: Path) -> None:
    """Class distribution, example faces, and the same faces augmented."""
    class_distribution(faces, folder / "class_distribution.png")
    images = example_images(faces)
    face_grid(images, EMOTIONS, f"Examples: {faces.caption}", folder / "examples.png")
    face_grid(
        augmented(images, augmentation), EMOTIONS, f"The same, augmented: {faces.caption}", folder / "augmented.png"
    )


def class_distribution(faces: Faces, path: Path) -> None:
    """Images per emotion and split, as bars, with each emotion's share."""
    counts = pd.crosstab(faces.index["emotion"], faces.index["split"]).reindex(index=EMOTIONS, columns=SPLITS)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts.plot.bar(ax=left, rot=30, ylabel="images", xlabel="", title="Images")
    (counts / counts.sum() * 100).plot.bar(ax=right, rot=30, ylabel="% of the split", xlabel="", title="Shares")
    figure.suptitle(f"Class distribution: {faces.caption}")
    save_figure(figure, path)


def example_images(faces: Faces) -> Images:
    """The first training faces of every emotion, (7 * EXAMPLES, 48, 48); blank where too few."""
    grid = np.zeros((len(EMOTIONS), EXAMPLES, SIZE, SIZE), np.uint8)
    for row, emotion in enumerate(EMOTIONS):
        chosen = np.flatnonzero((faces.index["split"] == "train") & (faces.index["emotion"] == emotion))[:EXAMPLES]
        grid[row, : len(chosen)] = faces.images[chosen]
    return grid.reshape(-1, SIZE, SIZE)


def augmented(images: Images, augmentation: Augmentation) -> Images:
    """The images as one step of training might see them."""
    load_tensorflow()
    import tensorflow as tf

    from emotion.training.augmentation import augment

    changed = augment(tf.constant(images[..., None], tf.float32), augmentation, tf.constant([0, 0], tf.int64))
    return np.asarray(changed.numpy()[..., 0], np.uint8)


def face_grid(images: Images, row_labels: Sequence[str], title: str, path: Path) -> None:
    """Faces in rows of EXAMPLES, each row with its label."""
    figure = Figure(figsize=(EXAMPLES * 1.1, len(row_labels) * 1.15 + 0.4), layout="constrained")
    axes = figure.subplots(len(row_labels), EXAMPLES, squeeze=False)
    for position, axis in enumerate(axes.flat):
        _show(axis, images[position])
        if position % EXAMPLES == 0:
            axis.set_ylabel(row_labels[position // EXAMPLES])
    figure.suptitle(title)
    save_figure(figure, path)


def _show(axis: Axes, image: NDArray[np.uint8]) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_xticks([])
    axis.set_yticks([])


def curves(history: pd.DataFrame, caption: str, path: Path) -> None:
    """Accuracy, loss, learning rate, and the size of the training images over the epochs."""
    figure = Figure(figsize=(16, 4), layout="constrained")
    names = ("accuracy", "loss", "learning_rate", "image_size")
    for axis, name in zip(figure.subplots(1, len(names)), names, strict=True):
        axis.plot(history["epoch"], history[name], label="training")
        if f"val_{name}" in history:
            axis.plot(history["epoch"], history[f"val_{name}"], label="validation, at full size")
            axis.legend()
        axis.set(xlabel="epoch", title=name.replace("_", " "))
        axis.grid(alpha=0.3)
    axis.set_ylim(0, SIZE + 2)
    figure.suptitle(f"Training on {caption}")
    save_figure(figure, path)


def confusion(matrix: NDArray[np.int64], caption: str, path: Path) -> None:
    """Counts, coloured by the share of the actual emotion; rows are actual."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    colours = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(count), ha="center", va="center", color=colour)
    ticks = range(len(EMOTIONS))
    axis.set_xticks(ticks, EMOTIONS, rotation=30)
    axis.set_yticks(ticks, EMOTIONS)
    axis.set(xlabel="predicted", ylabel="actual", title=f"Test images: {caption}")
    figure.colorbar(colours, label="share of the actual emotion")
    save_figure(figure, path)


def per_class(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Precision, recall and F1 of every emotion, as bars."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    table.set_index("emotion")[["precision", "recall", "f1"]].plot.bar(ax=axis, rot=30, ylim=(0, 1.15), xlabel="")
    axis.legend(loc="upper center", ncols=3)
    axis.set_title(f"Test images: {caption}")
    save_figure(figure, path)


def reliability(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Accuracy against confidence, with each bin's share of the images."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    axis.bar(table["confidence"], table["share"], width=0.02, alpha=0.4, label="share of images")
    axis.plot([0, 1], [0, 1], ":", color="gray", label="perfectly calibrated")
    axis.plot(table["confidence"], table["accuracy"], "o-", label="accuracy")
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"Test images: {caption}")
    axis.legend()
    save_figure(figure, path)


def coverage(table: pd.DataFrame, caption: str, path: Path) -> None:
    """What withholding answers below a confidence costs and brings."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["coverage"], table["accuracy"])
    left.set(xlabel="share of images answered", ylabel="accuracy of the answers", xlim=(0, 1), ylim=(None, 1.01))
    right.plot(table["threshold"], table["coverage"], label="share answered")
    right.plot(table["threshold"], table["accuracy"], label="accuracy of the answers")
    right.set(xlabel="lowest confidence that is answered", xlim=(0, 1), ylim=(0, 1.01))
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.suptitle(f"Test images: {caption}")
    save_figure(figure, path)


def robustness(table: pd.DataFrame, title: str, path: Path) -> None:
    """Accuracy against every corruption's strength, from `emotion.evaluation.robustness.table`."""
    figure = Figure(figsize=(3.2 * len(CORRUPTIONS), 3.6), layout="constrained")
    axes = figure.subplots(1, len(CORRUPTIONS), sharey=True)
    for axis, (name, (_, _, unit)) in zip(axes, CORRUPTIONS.items(), strict=True):
        rows = table[table["corruption"] == name].sort_values("level")
        axis.plot(rows["level"], rows["accuracy"], "o-")
        axis.set(title=name, xlabel=unit, ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy")
    figure.suptitle(title)
    save_figure(figure, path)


def mistakes(images: Images, titles: Sequence[str], caption: str, path: Path) -> None:
    """The faces that were confidently misjudged, the worst first."""
    rows = max(1, -(-len(images) // EXAMPLES))
    figure = Figure(figsize=(EXAMPLES * 1.5, rows * 2 + 0.5), layout="constrained")
    axes = figure.subplots(rows, EXAMPLES, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        _show(axis, image)
        axis.set_title(title, fontsize=7)
    figure.suptitle(f"Worst mistakes on test images: {caption}")
    save_figure(figure, path)
