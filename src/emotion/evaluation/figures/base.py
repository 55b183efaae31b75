"""Helpers that all figures share."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion.runtime.files import atomic_write

FACES_PER_ROW = 8


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file atomically."""
    with atomic_write(path) as tmp:
        figure.savefig(tmp, format="png", dpi=110)


def show_face(axis: Axes, image: NDArray[np.uint8]) -> None:
    """Draw a gray image without ticks."""
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_xticks([])
    axis.set_yticks([])
