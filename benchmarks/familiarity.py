"""Which method tells best that an input is unlike the training faces?

    python benchmarks/familiarity.py [OTHER] [--training-images N]

Reads models/classifier.keras and data/faces, from `dvc repro`; OTHER is the data/faces of another project, whose test
faces are one more kind of input. Every method is fitted on N training images (by default, as many as in `train`), and
its limit is the value that 99% of the validation images do not exceed. The table has, for each kind of input, the share
above the limit and the AUROC against the validation images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import keras
import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray

from emotion.data.dataset import Images, open_dataset, subset
from emotion.evaluation.report.familiarity import TEST_FACES, familiarity_table, other_inputs
from emotion.networks import familiarity
from emotion.networks.build import members
from emotion.networks.inference import SHIFT, AverageViews, TestTimeAugmentation, fold_normalization, inference_model
from emotion.runtime.paths import CLASSIFIER
from emotion.train import FAMILIAR_IMAGES

NEIGHBOR = 10
BANK = 5000  # training images to compare with
IMAGES = 1500  # at most, of each kind
Score = Callable[[Images], NDArray[np.float32]]


def outputs(network: keras.Model, images: Images) -> list[NDArray[np.float32]]:
    """All outputs of a network, for images in batches."""
    answers = network.predict(images[..., None].astype(np.float32), batch_size=256, verbose=0)
    return answers if isinstance(answers, list) else [answers]


def last_features(network: keras.Model) -> keras.Model:
    """A model that returns the input of the last layer, for an ensemble those of all members, averaged over views."""
    folded = fold_normalization(network)
    inputs = [output._keras_history.operation.input for output in members(folded).outputs]
    features = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    pixels = keras.Input((48, 48, 1))
    views = keras.Model(folded.input, features)(TestTimeAugmentation(SHIFT)(pixels))
    return keras.Model(pixels, [AverageViews(6)(views)])


def class_mahalanobis(network: keras.Model, train: Images, labels: NDArray[np.int64]) -> Score:
    """Lee et al. (2018): the distance to the nearest emotion's mean, with one covariance."""
    model = last_features(network)
    (features,) = outputs(model, train)
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    centered = features - means[np.searchsorted(np.unique(labels), labels)]
    inverse = np.linalg.pinv(centered.T @ centered / len(centered), hermitian=True)

    def score(images: Images) -> NDArray[np.float32]:
        distances = outputs(model, images)[0][:, None] - means
        return np.asarray(np.einsum("nci,ij,ncj->nc", distances, inverse, distances).min(axis=1), np.float32)

    return score


def nearest_neighbors(network: keras.Model, train: Images, labels: NDArray[np.int64]) -> Score:
    """Sun et al. (2022): the distance to the tenth nearest training image, with features of length 1."""
    model = last_features(network)

    def unit(images: Images) -> NDArray[np.float32]:
        (features,) = outputs(model, images)
        return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6), np.float32)

    bank = unit(train[:BANK])
    return lambda images: -np.sort(unit(images) @ bank.T, axis=1)[:, -NEIGHBOR]


def pairs_of_blocks(weights: tuple[float, ...]) -> Callable[[keras.Model, Images, NDArray[np.int64]], Score]:
    """This project's method, with these weights of the pairs of blocks."""

    def fit(network: keras.Model, train: Images, labels: NDArray[np.int64]) -> Score:
        with patch.object(familiarity, "PAIR_WEIGHTS", weights):
            model = inference_model(network, "flip_and_shift", (48, 48, 1))
            of_features = familiarity.feature_weights(network)
        features = outputs(model, train)[1:]
        fitted = familiarity.fit_familiarity(features, features, of_features)
        layer = familiarity.Novelty(fitted)
        return lambda images: np.asarray(layer(outputs(model, images)[1:]), np.float32)

    return fit


METHODS = {
    "Mahalanobis, last features (Lee et al.)": class_mahalanobis,
    "nearest neighbors, last features (Sun et al.)": nearest_neighbors,
    "pairs of blocks, the first included": pairs_of_blocks((1.0, 1.0, 1.0, 0.25)),
    "pairs of blocks (this project)": pairs_of_blocks(familiarity.PAIR_WEIGHTS),
}


def main(other: Annotated[Path | None, typer.Argument()] = None, training_images: int = FAMILIAR_IMAGES) -> None:
    """Print a table with a row per method and kind of input."""
    dataset = open_dataset()
    network = keras.saving.load_model(CLASSIFIER, compile=False)
    train, validation, test = (dataset.split(name) for name in ("train", "validation", "test"))
    # `familiarity_table` compares other inputs with its test faces: here, with the images that determine the limit.
    kinds = {TEST_FACES: validation.images, "faces of the test split": test.images[:IMAGES]}
    kinds |= other_inputs(test.images, dataset.is_drawn)
    if other:
        theirs = open_dataset(other).split("test")
        kinds["test faces of the other project"] = subset(theirs, min(1.0, IMAGES / len(theirs)), seed=0).images
    some = subset(train, min(1.0, training_images / len(train)), seed=0)
    columns = {}
    for name, fit in METHODS.items():
        score = fit(network, some.images, some.labels)
        novelty = {kind: score(images) for kind, images in kinds.items()}
        limit = float(np.quantile(novelty[TEST_FACES], familiarity.FAMILIAR_SHARE))
        table = familiarity_table(novelty, limit).set_index("input").drop(index=TEST_FACES)
        columns[name] = table["unfamiliar"].map("{:.1%}".format) + ", " + table["auroc"].map("{:.3f}".format)
    print(f"Trained on {dataset.caption}: share above the limit, AUROC against validation images")
    print(pd.DataFrame(columns).to_markdown())


if __name__ == "__main__":
    typer.run(main)
