"""Accuracy under fixed, seeded corruptions (after Hendrycks and Dietterich, 2019), for small images."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import ndimage

from emotion.data.dataset import Images, Split
from emotion.evaluation.metrics import Probabilities
from emotion.runtime.progress import track

SEED = 0


def brightness(images: Images, change: float) -> Images:
    """Add gray levels, -255..255."""
    return _to_pixels(images.astype(np.float32) + change)


def blur(images: Images, sigma: float) -> Images:
    """Gaussian blur with a standard deviation in pixels."""
    return _to_pixels(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)[: images.ndim]))


def noise(images: Images, sigma: float) -> Images:
    """Gaussian noise with a standard deviation in gray levels."""
    return _to_pixels(images + np.random.default_rng(SEED).normal(0, sigma, images.shape))


def rotation(images: Images, degrees: float) -> Images:
    """Rotate about the center, every second image in the other direction."""
    rotated = images.astype(np.float32)
    for start, angle in ((0, degrees), (1, -degrees)):
        if len(rotated[start::2]):
            rotated[start::2] = ndimage.rotate(
                rotated[start::2], angle, axes=(2, 1), reshape=False, order=1, mode="nearest"
            )
    return _to_pixels(rotated)


def occlusion(images: Images, side: float) -> Images:
    """Cover a random square with gray; `side` is a fraction of the image's side."""
    size = images.shape[1]
    length = round(side * size)
    corners = np.random.default_rng(SEED).integers(0, size - length + 1, (len(images), 2))
    covered = images.copy()
    for image, (top, left) in zip(covered, corners, strict=True):
        image[top : top + length, left : left + length] = 128
    return covered


def _to_pixels(images: np.ndarray) -> Images:
    pixels: Images = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return pixels


# Each corruption with its severities and their unit.
CORRUPTIONS: Mapping[str, tuple[Callable[[Images, float], Images], tuple[float, ...], str]] = {
    "brightness": (brightness, (-80, -40, 40, 80), "gray levels added"),
    "blur": (blur, (0.5, 1, 2), "standard deviation, pixels"),
    "noise": (noise, (10, 20, 40), "standard deviation, gray levels"),
    "rotation": (rotation, (10, 20, 40), "degrees"),
    "occlusion": (occlusion, (0.2, 0.35, 0.5), "side of the square, as a fraction of the image's side"),
}


def robustness_table(predict: Callable[[Images], Probabilities], faces: Split) -> pd.DataFrame:
    """A row per corruption and severity: corruption, level, accuracy; level 0 stands for the original images.

    Args:
        predict: returns the probabilities of images, (n, classes).
        faces: at least one.
    """

    def accuracy(images: Images) -> float:
        return float((predict(images).argmax(axis=1) == faces.labels).mean())

    clean = accuracy(faces.images)
    rows = [(name, corrupt, level) for name, (corrupt, levels, _) in CORRUPTIONS.items() for level in (0, *levels)]
    return pd.DataFrame(
        {"corruption": name, "level": level, "accuracy": accuracy(corrupt(faces.images, level)) if level else clean}
        for name, corrupt, level in track(rows, "Predicting corrupted test images", len(rows))
    )


def robustness_summary(rows: pd.DataFrame) -> dict[str, float]:
    """Accuracy on the original images (`none`), and its mean over the severities of each corruption."""
    changed = rows[rows["level"] != 0].groupby("corruption", sort=False)["accuracy"].mean()
    clean = float(rows.loc[rows["level"] == 0, "accuracy"].iloc[0])
    return {"none": clean, **{str(name): float(mean) for name, mean in changed.items()}}
