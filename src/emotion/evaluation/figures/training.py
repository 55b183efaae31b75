"""Figures of a training run."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from emotion.evaluation.figures.base import save_figure

METRICS = ("accuracy", "loss", "learning_rate")


def draw_training_curves(history: pd.DataFrame, caption: str, path: Path) -> None:
    """Draw accuracy, loss and learning rate by epoch.

    Args:
        history: a row per epoch.
        caption: the description of the data.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
        axis.plot(history["epoch"], history[name], label="training (augmented images)")
        if f"val_{name}" in history:
            axis.plot(history["epoch"], history[f"val_{name}"], label="validation")
            axis.legend()
        axis.set(xlabel="epoch", title=name.replace("_", " "))
        axis.grid(alpha=0.3)
    figure.suptitle(f"Training on {caption}")
    save_figure(figure, path)
