"""The statistics of the normalizations of a trained network."""

import keras
import numpy as np
import tensorflow as tf

from emotion.training.batch_statistics import estimate_statistics, trained_normalizations

BATCHES = [tf.constant(np.random.default_rng(seed).normal(seed, 1 + seed, (4, 6, 6, 2)), tf.float32) for seed in (1, 3)]


def network(*frozen: bool) -> keras.Model:
    pixels = features = keras.Input((6, 6, 2))
    for is_frozen in frozen:
        features = keras.layers.BatchNormalization(scale=False, center=False, epsilon=0, trainable=not is_frozen)(
            features
        )
    return keras.Model(pixels, features)


def test_the_statistics_are_those_of_all_images_of_all_batches() -> None:
    model = network(False)
    estimate_statistics(model, BATCHES)
    (layer,) = trained_normalizations(model)
    images = np.concatenate(BATCHES)
    np.testing.assert_allclose(layer.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, images.var(axis=(0, 1, 2)), rtol=1e-4)
    assert layer.momentum == keras.layers.BatchNormalization().momentum


def test_frozen_layers_keep_their_statistics() -> None:
    model = network(True, False)
    before = [weight.numpy() for weight in model.layers[1].weights]
    estimate_statistics(model, BATCHES)
    for weight, old in zip(model.layers[1].weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert trained_normalizations(model) == [model.layers[2]]


def test_a_network_without_normalization_looks_at_no_images() -> None:
    remaining = iter(BATCHES)
    estimate_statistics(keras.Sequential([keras.Input((6, 6, 2)), keras.layers.ReLU()]), remaining)
    assert len(list(remaining)) == len(BATCHES)
