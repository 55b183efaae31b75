"""Whether a model calls its test faces familiar, and inputs of other kinds unfamiliar."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from emotion.data.dataset import Images, input_shape
from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import model_input
from emotion.data.sources.drawing import draw_face

SEED = 0
COUNT = 700  # images of each kind
TEST_FACES = "test faces"


def other_inputs(test: Images, is_drawn: bool) -> dict[str, Images]:
    """Inputs of other origin, by kind; they are the same on every call.

    A model should call them unfamiliar, except photographs of faces if it learned from photographs.

    Args:
        test: the test images.
        is_drawn: whether the model learned from drawn faces.
    """
    rng, shape = np.random.default_rng(SEED), input_shape(test)

    def stack(pictures: Iterable[Image.Image]) -> Images:
        return np.stack([model_input(picture, shape) for picture in pictures])

    return {
        "photographs of faces": stack(_photographs()),
        **({} if is_drawn else {"drawn faces": stack(_drawings(rng))}),
        "upside-down test faces": test[:COUNT, ::-1],
        "a cat": stack(_crops([skimage.data.chelsea()], rng, shape[0])),
        "textures": stack(_crops([skimage.data.brick(), skimage.data.grass(), skimage.data.gravel()], rng, shape[0])),
        "noise": rng.integers(0, 256, (COUNT, *test.shape[1:]), dtype=np.uint8),
        "black": np.zeros((1, *test.shape[1:]), np.uint8),
    }


def _photographs() -> Iterator[Image.Image]:
    """A hundred faces of Labeled Faces in the Wild (Huang et al., 2007), 25 pixels wide."""
    for face in skimage.data.lfw_subset()[:100]:
        yield Image.fromarray((255 * face).astype(np.uint8))


def _drawings(rng: np.random.Generator) -> Iterator[Image.Image]:
    for number in range(COUNT):
        yield draw_face(EMOTIONS[number % len(EMOTIONS)], rng)


def _crops(pictures: list[NDArray[np.uint8]], rng: np.random.Generator, min_side: int) -> Iterator[Image.Image]:
    """Random squares of pictures."""
    for number in range(COUNT):
        picture = Image.fromarray(pictures[number % len(pictures)])
        side = int(rng.integers(min_side, min(picture.size)))
        left, top = int(rng.integers(picture.width - side + 1)), int(rng.integers(picture.height - side + 1))
        yield picture.crop((left, top, left + side, top + side))


def familiarity_table(novelty: Mapping[str, NDArray[np.float32]], limit: float) -> pd.DataFrame:
    """A row per kind of input: input, images, unfamiliar (share), auroc.

    The last is the area under the ROC curve of the novelty for telling the input from the test faces: 1 if it always
    can, 0.5 if it is no better than chance.

    Args:
        novelty: of the test faces and of other inputs, (n,) float32, by kind.
        limit: the novelty above which an input is unfamiliar.
    """
    faces = novelty[TEST_FACES]
    rows = [
        {
            "input": kind,
            "images": len(values),
            "unfamiliar": float((values > limit).mean()),
            "auroc": None if kind == TEST_FACES else _auroc(faces, values),
        }
        for kind, values in novelty.items()
    ]
    return pd.DataFrame(rows)


def _auroc(faces: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    truth = np.concatenate([np.zeros(len(faces)), np.ones(len(others))])
    return float(roc_auc_score(truth, np.concatenate([faces, others])))


def familiarity_summary(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The share of each kind of input that is unfamiliar, and its AUROC, by a name without blanks."""
    names = table["input"].str.replace("-", " ").str.replace(" ", "_")
    return {
        name: {key: float(row[key]) for key in ("unfamiliar", "auroc") if pd.notna(row[key])}
        for name, (_, row) in zip(names, table.iterrows(), strict=True)
    }
