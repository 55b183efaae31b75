"""Figures of the metrics on test images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion.data.dataset import Images
from emotion.evaluation.figures.base import FACES_PER_ROW, save_figure, show_faces
from emotion.evaluation.report.groups import ALL
from emotion.evaluation.report.robustness import CORRUPTIONS


def draw_confusion(matrix: NDArray[np.int64], emotions: Sequence[str], caption: str, path: Path) -> None:
    """Draw the confusion matrix: counts, colored by the share of the actual emotion; rows are actual."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    colors = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(count), ha="center", va="center", color=color)
    ticks = range(len(emotions))
    axis.set_xticks(ticks, emotions, rotation=30)
    axis.set_yticks(ticks, emotions)
    axis.set(xlabel="predicted", ylabel="actual", title=f"Test images: {caption}")
    figure.colorbar(colors, label="share of the actual emotion")
    save_figure(figure, path)


def draw_per_class(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw precision, recall and F1 of every emotion."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    table.set_index("emotion")[["precision", "recall", "f1"]].plot.bar(ax=axis, rot=30, ylim=(0, 1.15), xlabel="")
    axis.legend(loc="upper center", ncols=3)
    axis.set_title(f"Test images: {caption}")
    save_figure(figure, path)


def draw_groups(table: pd.DataFrame, accuracy: float, caption: str, path: Path) -> None:
    """Draw the accuracy of every group with its interval, from `emotion.evaluation.report.groups.groups_table`.

    Args:
        table: rows of other emotions than ALL are left out.
        accuracy: of all images, drawn as a line.
        caption: a description of the data.
        path: the PNG file to write.
    """
    rows = table[table["emotion"] == ALL][::-1]
    figure = Figure(figsize=(8, 0.32 * len(rows) + 1.6), layout="constrained")
    axis = figure.subplots()
    titles = [f"{attribute}: {group} ({images})" for attribute, group, images in
              rows[["attribute", "group", "images"]].itertuples(index=False)]  # fmt: skip
    errors = [rows["recall"] - rows["low"], rows["high"] - rows["recall"]]
    axis.errorbar(rows["recall"], range(len(rows)), xerr=errors, fmt="o", capsize=3)
    axis.set_yticks(range(len(rows)), titles)
    axis.axvline(accuracy, color="gray", linestyle=":", label="all test images")
    label = "accuracy (95% intervals)" if len(rows) else "The data has no attributes that form groups."
    axis.set(xlabel=label, title=f"Test images by group: {caption}")
    axis.legend(loc="lower left")
    axis.grid(alpha=0.3, axis="x")
    save_figure(figure, path)


def draw_reliability(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw accuracy by confidence (a reliability diagram), with each bin's share of the images."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    axis.bar(table["confidence"], table["share"], width=0.02, alpha=0.4, label="share of images")
    axis.plot([0, 1], [0, 1], ":", color="gray", label="perfectly calibrated")
    axis.plot(table["confidence"], table["accuracy"], "o-", label="accuracy")
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"Test images: {caption}")
    axis.legend()
    save_figure(figure, path)


def draw_coverage(table: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw accuracy and coverage when predictions below a confidence are withheld."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["coverage"], table["accuracy"])
    left.set(
        xlabel="coverage (share of images answered)", ylabel="accuracy of the answers", xlim=(0, 1), ylim=(None, 1.01)
    )
    right.plot(table["threshold"], table["coverage"], label="coverage")
    right.plot(table["threshold"], table["accuracy"], label="accuracy of the answers")
    right.set(xlabel="confidence threshold", xlim=(0, 1), ylim=(0, 1.01))
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.suptitle(f"Test images: {caption}")
    save_figure(figure, path)


def draw_robustness(table: pd.DataFrame, title: str, path: Path) -> None:
    """Draw accuracy by severity for every corruption, from `emotion.evaluation.report.robustness.robustness_table`."""
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


def draw_familiarity(novelty: Mapping[str, NDArray[np.float32]], limit: float, caption: str, path: Path) -> None:
    """Draw the distribution of the novelty of each kind of input, and the limit of what is familiar."""
    figure = Figure(figsize=(8, 0.5 * len(novelty) + 1.5), layout="constrained")
    axis = figure.subplots()
    kinds = list(novelty)[::-1]
    axis.boxplot([novelty[kind] for kind in kinds], orientation="horizontal", tick_labels=kinds, whis=(1, 99), sym="")
    axis.axvline(limit, color="tab:red", linestyle=":", label="above: unfamiliar, answered “unsure”")
    axis.set(xscale="log", xlabel="novelty (whiskers: 1% to 99%)", title=f"Trained on {caption}")
    axis.legend(loc="lower right")
    axis.grid(alpha=0.3, axis="x")
    save_figure(figure, path)


def draw_mistakes(images: Images, titles: Sequence[str], caption: str, path: Path) -> None:
    """Draw the mistakes with the highest confidence, the worst first."""
    rows = max(1, -(-len(images) // FACES_PER_ROW))
    figure = Figure(figsize=(FACES_PER_ROW * 1.5, rows * 2 + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    if len(images):
        for (x, y), title in zip(show_faces(axes, images, gap=20), titles, strict=True):
            axes.text(x, y - 0.54 * images.shape[1], title, fontsize=7, ha="center", va="bottom")
    figure.suptitle(f"Worst mistakes on test images: {caption}")
    save_figure(figure, path)
