"""Random augmentation of training batches, in TensorFlow and outside the model."""

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
    """Flip, rotate, zoom and shift images, change their contrast, and erase a square.

    Args:
        images: (batch, height, width, channels) float32, 0..255.
        settings: the strength of each transformation.
        seed: (2,) int64; the same seed gives the same result.
        size: size of the results, in pixels per side; None keeps the size of the images.
        flipped: (batch,) bool, the images to flip if flips alternate (Jordan, 2024: each image is shown
            in both orientations in turn, because random flips repeat one of them too often).

    Returns:
        (batch, size, size, channels) float32, 0..255.
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
    """Mix every image and label with another one in the batch (mixup, Zhang et al., 2018).

    Args:
        images: (batch, height, width, channels) float32.
        labels: (batch, classes) float32.
        largest: maximum weight of the other image, 0..1; each batch draws a weight up to this.
        seed: (2,) int64.
    """
    if not largest:
        return images, labels
    weight = tf.random.stateless_uniform((), tf.stack([seed[0] + 1, seed[1]]), 0, largest)
    return images * (1 - weight) + images[::-1] * weight, labels * (1 - weight) + labels[::-1] * weight


def _affine(
    images: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor, scale: tf.Tensor, move_x: tf.Tensor, move_y: tf.Tensor
) -> tf.Tensor:
    """Apply all geometric transformations about the image's center in one bilinear resampling."""
    center = (images.shape[1] - 1) / 2
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
    rows = [
        a, b, center - a * center - b * center + move_x,
        c, d, center - c * center - d * center + move_y,
        tf.zeros_like(a), tf.zeros_like(a),
    ]  # fmt: skip
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(rows, axis=1), output_shape=images.shape[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST",
    )  # fmt: skip


def _cutout(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Gray out a square of random size and position (Cutout, DeVries and Taylor, 2017)."""
    size = images.shape[1]
    x, y, side = tf.unstack(tf.random.stateless_uniform((3, tf.shape(images)[0]), seed))
    across = (tf.range(size, dtype=tf.float32) + 0.5) / size
    half = side[:, None] * largest / 2
    columns = tf.abs(across[None, :] - x[:, None]) < half
    rows = tf.abs(across[None, :] - y[:, None]) < half
    erased = tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)[..., None]
    return images * (1 - erased) + 128 * erased
