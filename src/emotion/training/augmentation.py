"""Random augmentation of training batches, in TensorFlow and outside the model."""

import math

import tensorflow as tf

from emotion.params.sections import Augmentation


def augment(
    images: tf.Tensor,
    settings: Augmentation,
    seed: tf.Tensor,
    flipped: tf.Tensor | None = None,
) -> tf.Tensor:
    """Flip, rotate, zoom and shift images, and erase a square.

    Args:
        images: (batch, side, side, channels) float32, 0..255.
        settings: the strength of each transformation.
        seed: (2,) int64; the same seed gives the same result.
        flipped: (batch,) bool, the images to flip if flips alternate (Jordan, 2024: each image is shown
            in both orientations in turn, because random flips repeat one of them too often).

    Returns:
        (batch, side, side, channels) float32, 0..255.
    """
    seeds = iter(tf.unstack(tf.random.experimental.stateless_split(seed, 8)))
    count = tf.shape(images)[0]

    def uniform(low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform((count,), next(seeds), low, high)

    mirrored = uniform(0, 1) < (0.5 if settings.flip == "random" else 0.0)
    if settings.flip == "alternate" and flipped is not None:
        mirrored = flipped
    angle = uniform(-1, 1) * settings.rotation * math.pi / 180
    scale = 1 + uniform(-1, 1) * settings.zoom
    shifts = [uniform(-1, 1) * settings.translation * float(images.shape[1]) for _ in range(2)]
    images = _affine(images, tf.where(mirrored, -1.0, 1.0), angle, scale, shifts)
    return _erase(images, settings.erasing, next(seeds)) if settings.erasing else images


def _affine(
    images: tf.Tensor, mirror: tf.Tensor, angle: tf.Tensor, scale: tf.Tensor, shifts: list[tf.Tensor]
) -> tf.Tensor:
    """Apply all geometric transformations about the image's center in one bilinear resampling."""
    center = (images.shape[1] - 1) / 2
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
    rows = [
        a, b, center - (a + b) * center + shifts[0],
        c, d, center - (c + d) * center + shifts[1],
        tf.zeros_like(a), tf.zeros_like(a),
    ]  # fmt: skip
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(rows, axis=1), output_shape=images.shape[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST",
    )  # fmt: skip


def _erase(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Fill a square of random size and position with the mean of the image (Cutout, DeVries and Taylor, 2017)."""
    size = images.shape[1]
    x, y, side = tf.unstack(tf.random.stateless_uniform((3, tf.shape(images)[0]), seed))
    across = (tf.range(size, dtype=tf.float32) + 0.5) / size
    half = side[:, None] * largest / 2
    columns = tf.abs(across[None, :] - x[:, None]) < half
    rows = tf.abs(across[None, :] - y[:, None]) < half
    erased = tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)[..., None]
    return images * (1 - erased) + tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True) * erased
