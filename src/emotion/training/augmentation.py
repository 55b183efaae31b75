"""Random changes of a batch of training images, in TensorFlow and never inside the model."""

import math

import tensorflow as tf

from emotion.params.sections import Augmentation


def augment(
    images: tf.Tensor,
    settings: Augmentation,
    seed: tf.Tensor,
    size: int | None = None,
    flipped: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mirror, rotate, zoom, move, change the contrast, and erase a square.

    Args:
        images: (batch, height, width, 1) float32, 0..255.
        settings: how much of each.
        seed: (2,) int64; the same seed gives the same changes.
        size: of the results, in pixels a side; None keeps that of the images.
        flipped: (batch,) bool, which images to mirror where flips alternate (Jordan, 2024: each
            image's two sides in turn, for chance shows one of them too often).

    Returns:
        (batch, size, size, 1) float32, 0..255.
    """
    seeds = iter(tf.unstack(tf.random.experimental.stateless_split(seed, 8)))
    count = tf.shape(images)[0]

    def uniform(low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform((count,), next(seeds), low, high)

    side = float(images.shape[1])
    mirrored = uniform(0, 1) < (0.5 if settings.flip == "random" else 0.0)
    if settings.flip == "alternate" and flipped is not None:
        mirrored = flipped
    angle = uniform(-1, 1) * settings.rotation * math.pi / 180
    scale = 1 + uniform(-1, 1) * settings.zoom
    move_x = uniform(-1, 1) * settings.translation * side
    move_y = uniform(-1, 1) * settings.translation * side
    images = _affine(images, tf.where(mirrored, -1.0, 1.0), angle, scale, move_x, move_y)
    if size and size != images.shape[1]:
        images = tf.image.resize(images, (size, size), antialias=True)
    if settings.contrast:
        mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        factor = (1 + uniform(-1, 1) * settings.contrast)[:, None, None, None]
        images = tf.clip_by_value(mean + (images - mean) * factor, 0, 255)
    if settings.erasing:
        images = _cutout(images, settings.erasing, next(seeds))
    return images


def mixup(images: tf.Tensor, labels: tf.Tensor, largest: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix every image and label with another of the batch (mixup, Zhang et al., 2018).

    Args:
        images: (batch, height, width, 1) float32.
        labels: (batch, 7) float32.
        largest: part of the other, 0..1; each batch draws its own below.
        seed: (2,) int64.
    """
    if not largest:
        return images, labels
    part = tf.random.stateless_uniform((), tf.stack([seed[0] + 1, seed[1]]), 0, largest)
    return images * (1 - part) + images[::-1] * part, labels * (1 - part) + labels[::-1] * part


def _affine(
    images: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor, scale: tf.Tensor, move_x: tf.Tensor, move_y: tf.Tensor
) -> tf.Tensor:
    """One bilinear resampling for all geometric changes, about the image's centre."""
    centre = (images.shape[1] - 1) / 2
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
    rows = [
        a, b, centre - a * centre - b * centre + move_x,
        c, d, centre - c * centre - d * centre + move_y,
        tf.zeros_like(a), tf.zeros_like(a),
    ]  # fmt: skip
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(rows, axis=1), output_shape=images.shape[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST",
    )  # fmt: skip


def _cutout(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Gray out a square (Cutout, DeVries and Taylor, 2017) of a random size and place."""
    size = images.shape[1]
    x, y, side = tf.unstack(tf.random.stateless_uniform((3, tf.shape(images)[0]), seed))
    across = (tf.range(size, dtype=tf.float32) + 0.5) / size
    half = side[:, None] * largest / 2
    columns = tf.abs(across[None, :] - x[:, None]) < half
    rows = tf.abs(across[None, :] - y[:, None]) < half
    erased = tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)[..., None]
    return images * (1 - erased) + 128 * erased
