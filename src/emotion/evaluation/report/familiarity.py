"""Whether a model calls its test faces familiar, and inputs of other kinds unfamiliar."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from emotion.data.dataset import Images
from emotion.data.labels import EMOTIONS, IMAGE_SIZE
from emotion.data.sources.drawing import draw_face

SEED = 0
COUNT = 700  # images of each kind
TEST_FACES = "test faces"


def other_inputs(test: Images, is_drawn: bool) -> dict[str, Images]:
    """Inputs of other origin, by kind; they are the same on every call.

    A model should call them unfamiliar, except photographs of faces if it learned from photographs.

    Args:
        test: the test images, (n, 48, 48) uint8.
        is_drawn: whether the model learned from drawn faces.
    """
    rng = np.random.default_rng(SEED)
    return {
        "photographs of faces": _photographs(),
        **({} if is_drawn else {"drawn faces": _drawings(rng)}),
        "upside-down test faces": test[:COUNT, ::-1],
        "a cat": _crops([skimage.data.chelsea()], rng),
        "textures": _crops([skimage.data.brick(), skimage.data.grass(), skimage.data.gravel()], rng),
        "noise": rng.integers(0, 256, (COUNT, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8),
        "black": np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8),
    }


def _photographs() -> Images:
    """A hundred faces of Labeled Faces in the Wild (Huang et al., 2007), 25 pixels wide."""
    faces = skimage.data.lfw_subset()[:100]
    return np.stack([_gray(Image.fromarray((255 * face).astype(np.uint8))) for face in faces])


def _drawings(rng: np.random.Generator) -> Images:
    return np.stack([np.asarray(draw_face(EMOTIONS[number % len(EMOTIONS)], rng)) for number in range(COUNT)])


def _crops(pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> Images:
    """Random squares of pictures."""
    crops = []
    for number in range(COUNT):
        picture = Image.fromarray(pictures[number % len(pictures)])
        side = int(rng.integers(IMAGE_SIZE, min(picture.size)))
        left, top = int(rng.integers(picture.width - side + 1)), int(rng.integers(picture.height - side + 1))
        crops.append(_gray(picture.crop((left, top, left + side, top + side))))
    return np.stack(crops)


def _gray(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


def novelty_by_kind(
    novelty_of: Callable[[Images], NDArray[np.float32]], test: Images, is_drawn: bool
) -> dict[str, NDArray[np.float32]]:
    """The novelty of the test faces and of other inputs, by kind.

    Args:
        novelty_of: returns the novelty of images, (n,).
        test: the test images.
        is_drawn: see `other_inputs`.
    """
    return {TEST_FACES: novelty_of(test)} | {
        kind: novelty_of(images) for kind, images in other_inputs(test, is_drawn).items()
    }


def familiarity_table(novelty: Mapping[str, NDArray[np.float32]], limit: float) -> pd.DataFrame:
    """A row per kind of input: input, images, unfamiliar (share), auroc.

    The last is the area under the ROC curve of the novelty for telling the input from the test faces: 1 if it always
    can, 0.5 if it is no better than chance.

    Args:
        novelty: from `novelty_by_kind`.
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
