"""Drawn faces in the layout, names and class shares of FER-2013: the embedded dataset.

Every image depends only on the seed and its own number, so the zip is the same to the byte
wherever it is made with the same versions of numpy and pillow.
"""

import io
import zipfile
from pathlib import Path

import numpy as np

from emotion.data.labels import EMOTIONS, USAGES
from emotion.data.sources.drawing import draw_face
from emotion.runtime.progress import track

# How many of each emotion FER-2013's training set holds (Goodfellow et al., 2013).
FER2013_TRAINING = dict(zip(EMOTIONS, (3995, 436, 4097, 7215, 4965, 4830, 3171), strict=True))
USAGE_SHARES = dict(zip(USAGES, (0.8, 0.1, 0.1), strict=True))
COPIES = 0.03  # part of the test images that repeat a training image; 0.08 in FER-2013


def fetch_synthetic(images: int, seed: int, destination: Path) -> None:
    """Draw about `images` faces and write them as a zip of JPEGs.

    Every usage holds every emotion, in FER-2013's shares and at least one of each.
    """
    tasks = [
        (usage, emotion, number, seed)
        for usage, share in USAGE_SHARES.items()
        for emotion, count in FER2013_TRAINING.items()
        for number in range(max(1, round(images * share * count / sum(FER2013_TRAINING.values()))))
    ]
    with zipfile.ZipFile(destination, "w") as archive:
        for name, jpeg in track(map(_draw, tasks), "Drawing faces", len(tasks)):
            # A fixed date, because a zip records one for every entry.
            archive.writestr(zipfile.ZipInfo(name, date_time=(2013, 1, 1, 0, 0, 0)), jpeg)


def _draw(task: tuple[str, str, int, int]) -> tuple[str, bytes]:
    """The name in the archive and the JPEG of one face."""
    usage, emotion, number, seed = task
    folder = "train" if usage == "Training" else "test"
    name = f"{folder}/{folder}/{emotion}/{usage}_{EMOTIONS.index(emotion)}{number:06d}.jpg"
    rng = np.random.default_rng([seed, USAGES.index(usage), EMOTIONS.index(emotion), number])
    if usage != "Training" and rng.random() < COPIES:
        rng = np.random.default_rng([seed, 0, EMOTIONS.index(emotion), number])
    buffer = io.BytesIO()
    draw_face(emotion, rng).save(buffer, "JPEG", quality=90)
    return name, buffer.getvalue()
