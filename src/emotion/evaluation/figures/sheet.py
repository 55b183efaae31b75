"""A sheet of example images, to check by eye what labels mean."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emotion.data.layouts.source import Source, read_images
from emotion.data.preparation.images import UnreadableImageError, load_face
from emotion.evaluation.figures.base import save_figure

SHAPE = (96, 96, 3)
MAX_LABELS = 3  # in a title


def draw_sheet(source: Source, count: int, path: Path) -> None:
    """Draw a row of images for each emotion, spread evenly over the data; a row says which labels it is made of.

    Args:
        source: the faces.
        count: images of each emotion.
        path: the PNG file to write.
    """
    faces = source.recognized.faces
    emotions = sorted(set(faces["emotion"]))
    chosen = {emotion: _spread(faces.index[faces["emotion"] == emotion].to_numpy(), count) for emotion in emotions}
    rows = np.sort(np.concatenate(list(chosen.values())))
    images = _images(source, list(faces["name"][rows]))
    grid = np.full((len(emotions), count, *SHAPE), 255, np.uint8)
    for line, emotion in enumerate(emotions):
        for column, face in enumerate(chosen[emotion]):
            grid[line, column] = images[faces["name"][face]]
    height, width = len(emotions) * SHAPE[0], count * SHAPE[1]
    figure = Figure(figsize=(1.0 * count + 1.5, 1.0 * len(emotions) + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid.swapaxes(1, 2).reshape(height, width, 3))
    titles = [_title(emotion, faces["label"][faces["emotion"] == emotion]) for emotion in emotions]
    axes.set_yticks(SHAPE[0] * (np.arange(len(emotions)) + 0.5), titles)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(source.recognized.layout)
    save_figure(figure, path)


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)
    return rows[places]


def _images(source: Source, names: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """The images by name; gray for those that cannot be read."""
    images: dict[str, NDArray[np.uint8]] = {}
    for name, content in read_images(source, names):
        try:
            images[name] = load_face(content, SHAPE)
        except UnreadableImageError:
            images[name] = np.full(SHAPE, 200, np.uint8)
    return images


def _title(emotion: str, labels: pd.Series) -> str:
    others = sorted(set(labels) - {emotion})
    return f"{emotion}\n(label {', '.join(others[:MAX_LABELS])})" if others else emotion
