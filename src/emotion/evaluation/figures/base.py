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
    """Draw images in rows of FACES_PER_ROW, as one picture: matplotlib takes long for many axes.

    Args:
        axes: ends up without ticks and frame.
        images: (n, size, size) uint8, or (n, size, size, 3) in color, at least one.
        gap: white pixels after each row, if the images have IMAGE_SIZE pixels per side; a quarter after each column.

    Returns:
        The centers of the images, (n, 2): x and y in the axes' data coordinates.
    """
    rows, side = -(-len(images) // FACES_PER_ROW), images.shape[1]
    height, width = side + gap * side // IMAGE_SIZE, side + gap // 4 * side // IMAGE_SIZE
    color = images.shape[3:]
    grid = np.full((rows, FACES_PER_ROW, height, width, *color), 255, np.uint8)
    row, column = np.divmod(np.arange(len(images)), FACES_PER_ROW)
    grid[row, column, :side, :side] = images
    picture = grid.swapaxes(1, 2).reshape(rows * height, FACES_PER_ROW * width, *color)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    centers: NDArray[np.int64] = np.stack([column * width, row * height], axis=1) + side // 2
    return centers
