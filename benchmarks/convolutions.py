"""Where a training step's time goes: every convolution alone, against a plain matrix product.

    python benchmarks/convolutions.py [--network residual] [--width 64] [--batch 128] [--size 48] [--precision auto]

For every convolution of the network: billions of operations per second of its forward pass,
its gradient for the images, and its gradient for the filters by the library and by the
product's own layer. At the end their sum beside a whole training step: the rest is
normalization, pooling, activation and the optimizer.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from emotion.params.load import load_params
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]


def time_call(work: Callable[[], Any]) -> float:
    """Of one call: the best of five rounds of at least 0.2 s."""
    work()
    start = time.perf_counter()
    work()
    calls = max(1, round(0.2 / (time.perf_counter() - start)))
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter() - start) / calls)
    return min(rounds)


def main(network: str = "residual", width: int = 64, batch: int = 128, size: int = 48, precision: str = "auto") -> None:
    """Measure and print."""
    load_tensorflow()
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf

    from emotion.data.dataset import Split
    from emotion.networks.layers import Convolution
    from emotion.training.trainer import Trainer

    changes = {"network": network, "width": width, "batch_size": batch, "precision": precision}
    settings = load_params(ROOT / "params.yaml").train.override(changes)
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, 48, 48), dtype=np.uint8)
    faces = Split(images, np.arange(4 * batch) % 7, pd.DataFrame(index=range(4 * batch)))
    trainer = Trainer(settings, faces, faces)
    number = tf.bfloat16 if trainer.precision.startswith("bfloat16") else tf.float32

    def random(shape: Any) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), number)

    square = random((1536, 1536))
    product = 2 * 1536**3 / time_call(lambda: tf.matmul(square, square)) / 1e9

    seen: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for layer in trainer.network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            probe = keras.Model(trainer.network.input, layer.input)
            seen[layer.name] = (layer, probe(np.zeros((batch, size, size, 1), np.float32)).shape)
    table = Table("map", "filters", "forward", "to images", "to filters", "of the library", title="GFLOP/s")
    total = 0.0
    for layer, shape in seen.values():
        features, kernel = random(shape), tf.cast(layer.kernel.value, number)
        stride = layer.strides[0]
        upstream = tf.nn.conv2d(features, kernel, stride, "SAME")
        work = 2 * np.prod(upstream.shape) * np.prod(kernel.shape[:3]) / 1e9
        common = {"strides": [1, stride, stride, 1], "padding": "SAME"}

        def own(layer: Any, features: Any, upstream: Any) -> Any:
            with tf.GradientTape() as tape:
                answer = layer(features, training=True)
            return tape.gradient(answer, layer.kernel.value, output_gradients=upstream)

        forward = time_call(partial(tf.nn.conv2d, features, kernel, stride, "SAME"))
        to_images = time_call(
            partial(
                tf.raw_ops.Conv2DBackpropInput,
                input_sizes=features.shape, filter=kernel, out_backprop=upstream, **common,
            )
        )  # fmt: skip
        library = time_call(
            partial(
                tf.raw_ops.Conv2DBackpropFilter,
                input=features, filter_sizes=kernel.shape, out_backprop=upstream, **common,
            )
        )  # fmt: skip
        small = isinstance(layer, Convolution) and layer.is_small(features)
        quick = time_call(partial(tf.function(own), layer, features, upstream)) if small else library
        total += forward + min(quick, library) + (to_images if shape[-1] > 1 else 0)
        speeds = [f"{work / taken:.0f}" for taken in (forward, to_images, quick, library)]
        table.add_row(f"{shape[1]}x{shape[2]}", "x".join(map(str, kernel.shape)), *speeds)
    console = Console(width=100)
    console.print(table)
    ready = (tf.random.normal((batch, size, size, 1)), tf.one_hot(np.arange(batch) % 7, 7))
    step = time_call(lambda: trainer.train_step(*ready))
    console.print(f"A plain matrix product: {product:.0f} GFLOP/s")
    console.print(f"All convolutions alone: {total * 1e3:.0f} ms; a training step: {step * 1e3:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
