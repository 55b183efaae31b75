"""A network's layers: output shapes, parameters, and floating-point operations."""

from collections import Counter

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow.python.profiler.model_analyzer import profile
from tensorflow.python.profiler.option_builder import ProfileOptionBuilder

from emotion.data.dataset import InputShape

COLUMNS = ("layer", "type", "output", "parameters", "mflops")
NORMALIZATION = ("Normalization", "BatchNormalization", "FusedBatchNormalization", "Standardization")


def layer_table(network: keras.Model, input_shape: InputShape) -> pd.DataFrame:
    """A row per layer, in order, for one image: COLUMNS.

    The output is height x width x channels, or a number of values. The floating-point operations, in millions, are
    those that TensorFlow counts; a multiplication and an addition are two.
    """
    tensors = [output for layer in network.layers for output in keras.tree.flatten(layer.output)]
    values = keras.Model(network.input, tensors)(np.zeros((1, *input_shape), np.float32))
    shapes = {id(tensor): value.shape for tensor, value in zip(tensors, keras.tree.flatten(values), strict=True)}
    rows = [
        {
            "layer": layer.name,
            "type": type(layer).__name__,
            "output": " x ".join(map(str, shapes[id(keras.tree.flatten(layer.output)[0])][1:])),
            "parameters": layer.count_params(),
            "mflops": _count_flops(layer, shapes) / 1e6,
        }
        for layer in network.layers
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _count_flops(layer: keras.Layer, shapes: dict[int, tf.TensorShape]) -> int:
    """The floating-point operations of a layer for one image."""
    if isinstance(layer, keras.layers.InputLayer):
        return 0
    inputs = keras.tree.map_structure(lambda tensor: tf.TensorSpec(shapes[id(tensor)], tensor.dtype), layer.input)
    graph = tf.function(lambda values: layer(values), autograph=False).get_concrete_function(inputs).graph
    options = ProfileOptionBuilder(ProfileOptionBuilder.float_operation()).with_empty_output().build()
    return int(profile(graph, options=options).total_float_ops)


def stage_table(layers: pd.DataFrame) -> pd.DataFrame:
    """A row per size of the feature maps: side (pixels; 0 for a vector), channels, layers, parameters, mflops.

    Padding, and what happens beside the feature maps, such as squeeze-and-excitation, counts for the size around it.

    Args:
        layers: from `layer_table`.
    """
    parts = layers["output"].str.split(" x ")
    sides = parts.map(lambda part: int(part[0]) if len(part) == 3 else 0).where(layers["type"] != "ZeroPadding2D")
    largest_to_come = sides.ffill()[::-1].cummax()[::-1].astype(int)
    channels = parts.map(lambda part: int(part[-1]))
    rows = []
    for side, stage in layers.groupby(largest_to_come, sort=False):
        kinds = Counter(stage.loc[stage["parameters"] > 0, "type"])
        named = [f"{count} {kind}" for kind, count in kinds.items() if kind not in NORMALIZATION]
        rows.append(
            {
                "side": side,
                "channels": int(channels[stage.index].max()),
                "layers": ", ".join(named) or "no weights",
                "parameters": int(stage["parameters"].sum()),
                "mflops": float(stage["mflops"].sum()),
            }
        )
    return pd.DataFrame(rows)
