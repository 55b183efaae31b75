"""The built-in dataset: drawn faces with the layout, file names and class proportions of FER-2013.

Every image depends only on the seed and its own number, so the zip file is identical byte for byte
on every machine with the same versions of NumPy and Pillow. Its table attributes.csv tells the skin, hair, glasses,
pose and light of every face.
"""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from emotion.data.labels import EMOTIONS, USAGES
from emotion.data.sources.archive import dated_entry
from emotion.data.sources.drawing import draw_face_with_attributes
from emotion.data.sources.files import ATTRIBUTES
from emotion.runtime.progress import track

# Images per emotion in FER-2013's training set (Goodfellow et al., 2013).
FER2013_TRAINING = dict(zip(EMOTIONS, (3995, 436, 4097, 7215, 4965, 4830, 3171), strict=True))
USAGE_SHARES = dict(zip(USAGES, (0.8, 0.1, 0.1), strict=True))
COPIES = 0.03  # fraction of the test images that duplicate a training image; 0.08 in FER-2013


def fetch_synthetic(images: int, seed: int, destination: Path) -> None:
    """Draw about `images` faces and write them to a zip file of JPEGs.

    Every usage contains every emotion, in FER-2013's proportions and with at least one image of each.
    """
    tasks = [
        (usage, emotion, number, seed)
        for usage, share in USAGE_SHARES.items()
        for emotion, count in FER2013_TRAINING.items()
        for number in range(max(1, round(images * share * count / sum(FER2013_TRAINING.values()))))
    ]
    table = io.StringIO()
    with zipfile.ZipFile(destination, "w") as archive:
        for name, jpeg, attributes in track(map(_draw, tasks), "Drawing faces", len(tasks)):
            archive.writestr(dated_entry(name), jpeg)
            writer = csv.DictWriter(table, ["name", *attributes], lineterminator="\n")
            if not table.tell():
                writer.writeheader()
            writer.writerow({"name": name, **attributes})
        archive.writestr(dated_entry(ATTRIBUTES), table.getvalue(), zipfile.ZIP_DEFLATED)


def _draw(task: tuple[str, str, int, int]) -> tuple[str, bytes, dict[str, str]]:
    """Return the path in the archive, the JPEG and the attributes of one face."""
    usage, emotion, number, seed = task
    folder = "train" if usage == "Training" else "test"
    name = f"{folder}/{folder}/{emotion}/{usage}_{EMOTIONS.index(emotion)}{number:06d}.jpg"
    rng = np.random.default_rng([seed, USAGES.index(usage), EMOTIONS.index(emotion), number])
    if usage != "Training" and rng.random() < COPIES:
        rng = np.random.default_rng([seed, 0, EMOTIONS.index(emotion), number])
    buffer = io.BytesIO()
    image, attributes = draw_face_with_attributes(emotion, rng)
    image.save(buffer, "JPEG", quality=90)
    return name, buffer.getvalue(), attributes
