"""Train `quick` with a method that was no improvement, and score it on the validation images.

    python benchmarks/methods.py lanczos
    python benchmarks/methods.py distillation --teacher CLASSIFIER.keras

Reads data/faces. `lanczos` resamples augmented images from twice as many pixels, which a Lanczos window interpolates:
bilinear resampling blurs. With `distillation`, 70% of the targets are the predictions of another network, from the
models/classifier.keras of another training, for each training image and its mirror image (Hinton et al., 2015). It must
have learned from the same training images, so that it has not seen the validation images.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
import typer
from numpy.typing import NDArray

from emotion.data.dataset import VOTES, Split, open_dataset
from emotion.networks.calibration import choose_temperature, loss
from emotion.networks.inference import inference_model
from emotion.params.load import load_params, load_train_preset
from emotion.params.sections import Train
from emotion.training import augmentation
from emotion.training.input_pipeline import predict_split
from emotion.training.trainer import fit

TEACHER_SHARE = 0.7  # of the targets; the rest is the label
FINER, LOBES = 2, 3  # times as many pixels per side; the size of the Lanczos window


def lanczos_filters() -> NDArray[np.float32]:
    """Filters for the pixels at each fraction of a pixel, (2 * LOBES, 2 * LOBES, 1, FINER * FINER)."""
    distances = np.arange(1 - LOBES, LOBES + 1) - np.arange(FINER)[:, None] / FINER
    weights = np.sinc(distances) * np.sinc(distances / LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    filters = np.einsum("ip,jq->pqij", weights, weights)
    return np.asarray(filters.reshape(2 * LOBES, 2 * LOBES, 1, FINER**2), np.float32)


def sharp_affine(
    images: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor, scale: tf.Tensor, shifts: list[tf.Tensor]
) -> tf.Tensor:
    """The transformations of `augmentation._affine`, for gray images, from interpolated pixels."""
    center, border = (images.shape[1] - 1) / 2, [LOBES - 1, LOBES]
    padded = tf.pad(images, [[0, 0], border, border, [0, 0]], mode="SYMMETRIC")
    finer = tf.nn.depth_to_space(tf.nn.conv2d(padded, lanczos_filters(), 1, "VALID"), FINER)
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
    rows = [a, b, center - (a + b) * center + shifts[0], c, d, center - (c + d) * center + shifts[1]]
    transforms = tf.stack([FINER * row for row in rows] + 2 * [tf.zeros_like(a)], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=finer, transforms=transforms, output_shape=images.shape[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST",
    )  # fmt: skip


def distilled(train: Split, teacher: Path) -> Split:
    """Training images whose votes are a mixture of the label and the predictions of another network."""
    network = keras.saving.load_model(teacher, compile=False)
    predicted, *_ = predict_split(inference_model(network, "flip", train.input_shape), train, "Predicting the targets")
    labels = np.eye(len(train.emotions), dtype=np.float32)[train.labels]
    votes = (1 - TEACHER_SHARE) * labels + TEACHER_SHARE * predicted
    columns = {f"{VOTES}{emotion}": votes[:, number] for number, emotion in enumerate(train.emotions)}
    return replace(train, index=train.index.assign(**columns))


def score(settings: Train, train: Split, validation: Split) -> None:
    """Train, and print the accuracy and the log loss on the validation images."""
    network = inference_model(fit(settings, train, validation).network, settings.tta, train.input_shape)
    predicted, *_ = predict_split(network, validation, "Predicting validation images")
    accuracy = (predicted.argmax(axis=1) == validation.labels).mean()
    log_loss = loss(validation.labels, predicted, choose_temperature(validation.labels, predicted))
    print(f"{len(validation)} validation images: accuracy {accuracy:.1%}, log loss {log_loss:.3f}")


def main(method: Literal["lanczos", "distillation"], teacher: Path | None = None, epochs: int | None = None) -> None:
    """Run the training."""
    settings = load_params().train.override(load_train_preset("quick"))
    settings = settings.override({"epochs": epochs or settings.epochs})
    dataset = open_dataset()
    train, validation = dataset.split("train"), dataset.split("validation")
    if method == "lanczos":
        with patch.object(augmentation, "_affine", sharp_affine):
            score(settings, train, validation)
    elif teacher is None:
        raise typer.BadParameter("distillation needs --teacher")
    else:
        score(settings.override({"targets": "soft", "label_smoothing": 0.0}), distilled(train, teacher), validation)


if __name__ == "__main__":
    typer.run(main)
