"""Random changes of a batch of training images, in TensorFlow and never inside the model."""

import tensorflow as tf

from emotion.params import Augmentation


def augment(images: tf.Tensor, settings: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Mirror, rotate, zoom, move, change the contrast, and erase a square.

    Args:
        images: (batch, height, width, 1) float32, 0..255.
        settings: how much of each.
        seed: (2,) int64; the same seed gives the same changes.

    Returns:
        The same shape, type and range.
    """
    seeds = iter(tf.unstack(tf.random.experimental.stateless_split(seed, 8)))
    count = tf.shape(images)[0]

    def uniform(low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform((count,), next(seeds), low, high)

    size = float(images.shape[1])
    mirror = tf.where(uniform(0, 1) < (0.5 if settings.flip else 0.0), -1.0, 1.0)
    angle = uniform(-1, 1) * settings.rotation * 3.14159265 / 180
    scale = 1 + uniform(-1, 1) * settings.zoom
    move_x = uniform(-1, 1) * settings.translation * size
    move_y = uniform(-1, 1) * settings.translation * size
    images = _project(images, mirror, angle, scale, move_x, move_y)
    if settings.contrast:
        mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        factor = (1 + uniform(-1, 1) * settings.contrast)[:, None, None, None]
        images = tf.clip_by_value(mean + (images - mean) * factor, 0, 255)
    if settings.erasing:
        images = _erase(images, settings.erasing, next(seeds))
    return images


def _project(
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


def _erase(images: tf.Tensor, largest: float, seed: tf.Tensor) -> tf.Tensor:
    """Gray out a square (Cutout, DeVries and Taylor, 2017) of a random size and place."""
    size = images.shape[1]
    x, y, side = tf.unstack(tf.random.stateless_uniform((3, tf.shape(images)[0]), seed))
    across = (tf.range(size, dtype=tf.float32) + 0.5) / size
    half = side[:, None] * largest / 2
    columns = tf.abs(across[None, :] - x[:, None]) < half
    rows = tf.abs(across[None, :] - y[:, None]) < half
    erased = tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)[..., None]
    return images * (1 - erased) + 128 * erased
