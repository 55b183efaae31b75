"""Helpers that all figures share."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion.data.dataset import Images
from emotion.data.labels import IMAGE_SIZE
from emotion.runtime.files import atomic_write

FACES_PER_ROW = 8


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file atomically."""
    with atomic_write(path) as tmp:
        figure.savefig(tmp, format="png", dpi=110)


def show_faces(axes: Axes, images: Images, gap: int) -> NDArray[np.int64]:
    """Draw gray images in rows of FACES_PER_ROW, as one picture: matplotlib takes long for many axes.

    Args:
        axes: ends up without ticks and frame.
        images: (n, 48, 48) uint8, at least one.
        gap: white pixels after each row; a quarter of them after each column.

    Returns:
        The centers of the images, (n, 2): x and y in the axes' data coordinates.
    """
    rows = -(-len(images) // FACES_PER_ROW)
    grid = np.full((rows, FACES_PER_ROW, IMAGE_SIZE + gap, IMAGE_SIZE + gap // 4), 255, np.uint8)
    row, column = np.divmod(np.arange(len(images)), FACES_PER_ROW)
    grid[row, column, :IMAGE_SIZE, :IMAGE_SIZE] = images
    height, width = grid.shape[2:]
    axes.imshow(grid.swapaxes(1, 2).reshape(rows * height, -1), cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return np.stack([column * width, row * height], axis=1) + IMAGE_SIZE // 2
