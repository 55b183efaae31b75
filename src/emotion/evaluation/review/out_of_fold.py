"""Predictions for every image by a network that was trained without it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.data.preparation.splits import connected_groups
from emotion.evaluation.metrics import Probabilities
from emotion.networks.inference import inference_model
from emotion.params.sections import Train
from emotion.runtime.files import atomic_write
from emotion.training.checkpoints import Checkpoints
from emotion.training.input_pipeline import predict_split
from emotion.training.trainer import fit

SHOWN_IMAGES = 1000  # of a fold, whose accuracy is shown after each epoch


def assign_folds(split: Split, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, (n,) from 0; identical images, and all images of a person, are in the same fold."""
    groups = connected_groups(split.index)
    of_group = np.random.default_rng(seed).permutation(int(groups.max()) + 1) % folds
    return np.asarray(of_group[groups], np.int64)


def predict_out_of_fold(settings: Train, split: Split, folds: int, folder: Path) -> Probabilities:
    """Train a network on the training images without each fold, and predict the images of the fold with it.

    Only training images are learned from, so that corrections of them owe nothing to the test images. Nothing is chosen
    by the labels of a fold, so they have no influence on its predictions. What is finished is kept in a folder, so that
    a later call continues.

    Args:
        settings: the network, and how to train it.
        split: all images.
        folds: number of trainings.
        folder: for checkpoints, and for the predictions of finished folds; only for these settings and images.

    Returns:
        (n, classes) float32.
    """
    fold_of, is_training = assign_folds(split, folds, settings.seed), (split.index["split"] == "train").to_numpy()
    probabilities = np.zeros((len(split), len(split.emotions)), np.float32)
    for fold in range(folds):
        rows, done = np.flatnonzero(fold_of == fold), folder / f"fold-{fold + 1}.npy"
        if not done.exists():
            print(f"Fold {fold + 1} of {folds}: training without {len(rows)} images.", flush=True)
            others = split.select(np.flatnonzero((fold_of != fold) & is_training))
            own = split.select(rows)
            some = own.select(np.arange(min(len(own), SHOWN_IMAGES)))
            result = fit(settings, others, some, checkpoints=Checkpoints(folder / f"checkpoints-{fold + 1}"))
            network = inference_model(result.network, settings.tta, split.input_shape)
            predicted, *_ = predict_split(network, own, f"Predicting fold {fold + 1}")
            with atomic_write(done) as tmp, tmp.open("wb") as file:
                np.save(file, predicted)
        probabilities[rows] = np.load(done)
    return probabilities
