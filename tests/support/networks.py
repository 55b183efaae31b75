"""Tiny untrained networks, and images for them."""

import keras
import numpy as np

from emotion.networks.build import build
from emotion.networks.familiarity import feature_weights, fit_familiarity
from emotion.networks.inference import Calibrated, exported_model, inference_models
from emotion.params.sections import Transfer

SHAPE = (48, 48, 1)
FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


PIXELS = FACES[..., None].astype(np.float32)
MANY_PIXELS = np.random.default_rng(1).integers(0, 256, (64, 48, 48, 1)).astype(np.float32)


RANDOM = Transfer(weights="none", image_size=32)


def with_random_statistics(network: keras.Model) -> keras.Model:
    """Randomize batch normalization, which is the identity in a new network."""
    generator = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + generator.uniform(0.1, 0.3, w.shape) for w in layer.get_weights()])
    return network


def tiny(name: str) -> keras.Model:
    return with_random_statistics(build(name, 4, 0.2, RANDOM, 7, SHAPE))


def to_export(network: keras.Model, tta: str) -> keras.Model:
    """Finish a network for export; noise is familiar to it."""
    averaged, fast = inference_models(network, tta, SHAPE)
    features = [output.numpy() for output in averaged(MANY_PIXELS, training=False)[1:]]
    familiarity = fit_familiarity(features, features, feature_weights(network))
    return exported_model(Calibrated(averaged, 1.0), Calibrated(fast, 1.0), familiarity)
