"""Figures that show several models beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emotion.data.dataset import Images
from emotion.evaluation.figures.base import FACES_PER_ROW, save_figure, show_faces
from emotion.evaluation.predictions import emotions_of

CURVES = ("val_accuracy", "accuracy", "val_loss", "loss")


def draw_curves(histories: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw the curves of trainings over each other.

    Args:
        histories: by label: a row per epoch, with the columns epoch and CURVES.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    for axis, name in zip(axes, CURVES, strict=True):
        for label, history in histories.items():
            axis.plot(history["epoch"], history[name], marker=".", label=label)
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0].legend()
    save_figure(figure, path)


def draw_recalls(predictions: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw the recall of every emotion by several models.

    Args:
        predictions: by label: tables as in predictions.csv, for the same images.
        path: the PNG file to write.
    """
    recalls = pd.DataFrame({label: _recall(table) for label, table in predictions.items()})
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    axis = figure.subplots()
    recalls.plot.bar(ax=axis, rot=0, ylim=(0, 1.05), xlabel="", ylabel="recall")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(recalls.columns))
    axis.grid(alpha=0.3, axis="y")
    save_figure(figure, path)


def _recall(table: pd.DataFrame) -> pd.Series:
    is_correct = (table["actual"] == table["predicted"]).groupby(table["actual"]).mean()
    return is_correct.reindex([emotion for emotion in emotions_of(table) if emotion in is_correct.index])


def draw_confusions(predictions: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw confusion matrices beside each other, as shares of the actual emotion (rows)."""
    figure = Figure(figsize=(5.2 * len(predictions), 5), layout="constrained")
    axes = figure.subplots(1, len(predictions), squeeze=False)[0]
    for axis, (label, table) in zip(axes, predictions.items(), strict=True):
        emotions = list(emotions_of(table))
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(
            index=emotions, columns=emotions, fill_value=0
        )
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.5 else "black"
            axis.text(column, row, f"{share:.0%}", ha="center", va="center", color=color, fontsize=8)
        axis.set_xticks(range(len(emotions)), emotions, rotation=40)
        axis.set_yticks(range(len(emotions)), emotions)
        axis.set(title=label, xlabel="predicted", ylabel="actual")
    save_figure(figure, path)


def draw_disagreements(images: Images, titles: Sequence[str], path: Path) -> None:
    """Draw images with what the models answered.

    Args:
        images: at least one.
        titles: of the images.
        path: the PNG file to write.
    """
    rows = -(-len(images) // FACES_PER_ROW)
    figure = Figure(figsize=(FACES_PER_ROW * 1.6, rows * 2.1 + 0.3), layout="constrained")
    axes = figure.subplots()
    for (x, y), title in zip(show_faces(axes, images, gap=24), titles, strict=True):
        axes.text(x, y - 0.54 * images.shape[1], title, fontsize=7, ha="center", va="bottom")
    save_figure(figure, path)
