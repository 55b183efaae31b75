"""Small synthetic datasets for fast training."""

import numpy as np
import pandas as pd
import tensorflow as tf

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.data.sources.drawing import draw_face
from emotion.params.sections import Augmentation


def drawn_split(count: int, seed: int) -> Split:
    """Synthetic faces of two emotions that are easy to distinguish."""
    emotions = ["happy" if number % 2 else "surprise" for number in range(count)]
    images = [np.asarray(draw_face(e, np.random.default_rng([seed, n]))) for n, e in enumerate(emotions)]
    labels = np.array([EMOTIONS.index(emotion) for emotion in emotions])
    return Split(
        np.stack(images),
        labels,
        pd.DataFrame({"name": [f"{n}.png" for n in range(count)], "emotion": emotions}),
        EMOTIONS,
    )


TRAIN, VALIDATION = drawn_split(96, 0), drawn_split(32, 1)


OFF = Augmentation(flip="none", rotation=0, zoom=0, translation=0, erasing=0)


def seed(number: int) -> tf.Tensor:
    return tf.constant([0, number], tf.int64)
