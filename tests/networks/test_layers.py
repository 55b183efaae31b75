"""Custom layers compared with their reference implementations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.networks.layers import SMALL_MAP, Convolution, FusedBatchNormalization, Standardization
from support.networks import PIXELS


def test_fused_batch_normalization_matches_keras() -> None:
    values = tf.random.stateless_normal((8, 6, 6, 3), (0, 0)) * 3 + 1
    fused, plain = FusedBatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for training in (True, True, False):
        np.testing.assert_allclose(
            fused(values, training=training), plain(values, training=training), rtol=0.005, atol=1e-4
        )
    for ours, theirs in zip(fused.weights, plain.weights, strict=True):
        # The fused operation's moving variance is the unbiased one: 288/287 here.
        np.testing.assert_allclose(ours, theirs, rtol=0.005, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("side", [2, 3, 4, 6, 12, 16])
def test_convolutions_of_small_maps_match_tensorflow_in_outputs_and_gradients(side: int, policy: str) -> None:
    fast = Convolution(5, 3, padding="same", use_bias=False, dtype=policy)
    images = tf.cast(tf.random.stateless_normal((4, side, side, 3), (0, 0)), fast.compute_dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        ours = fast(images, training=True)
        reference = tf.nn.conv2d(images, tf.cast(fast.kernel, images.dtype), 1, "SAME")
        ours_squared, reference_squared = tf.reduce_sum(ours**2), tf.reduce_sum(reference**2)
    pairs = [(ours, reference)]
    for source in (images, fast.kernel.value):
        pairs.append((tape.gradient(ours_squared, source), tape.gradient(reference_squared, source)))
    for one, other in pairs:
        one, other = (tf.cast(values, tf.float32).numpy() for values in (one, other))
        # Compare norms: processors without bfloat16 hardware round single values differently.
        assert np.linalg.norm(one - other) < (1e-5 if policy == "float32" else 0.05) * np.linalg.norm(other)
    small = side <= SMALL_MAP[fast.compute_dtype]
    graph = tf.function(lambda x: gradients_of(fast, x)).get_concrete_function(images).graph
    operations = {operation.type for operation in graph.get_operations()}
    assert ("Conv2DBackpropFilter" not in operations) == small


def gradients_of(layer: keras.layers.Layer, images: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(images, training=True))
    return tape.gradient(total, layer.trainable_variables)


def test_standardization_is_invariant_to_brightness_and_contrast() -> None:
    layer = Standardization()
    np.testing.assert_allclose(layer(PIXELS * 0.5 + 40), layer(PIXELS), atol=1e-4)
    np.testing.assert_array_equal(layer(np.full((1, 48, 48, 1), 99, np.float32)), 0)
