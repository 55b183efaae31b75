"""Profile a training step: the speed of each convolution, compared with a matrix product.

    python benchmarks/convolutions.py [--network residual] [--width 64] [--batch 128] [--size 48] [--precision auto]

Prints, for each convolution of the network, the GFLOP/s of its forward pass, its input gradient and its
filter gradient (as this project computes it, and with oneDNN). Then prints where the time of a training step goes,
by a trace, and compares it with the total time of all convolutions.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from emotion.data.labels import EMOTIONS
from emotion.params.load import load_params
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]


def time_call(function: Callable[[], Any]) -> float:
    """Seconds per call: the minimum of five rounds of about 0.2 s each."""
    function()
    start = time.perf_counter()
    function()
    calls = max(1, round(0.2 / (time.perf_counter() - start)))
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        rounds.append((time.perf_counter() - start) / calls)
    return min(rounds)


def operations_table(step: Callable[[], Any], steps: int = 5, top: int = 12) -> Table:
    """A trace of some training steps: the time of each kind of operation, summed over threads."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                step()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    milliseconds: Counter[str] = Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            _, _, operation = plane.event_metadata[event.metadata_id].name.partition(":")
            if operation and not operation.lstrip().startswith((":", "__")):  # of the executor, and whole functions
                milliseconds[operation.partition("#")[0]] += event.duration_ps / 1e9 / steps
    total = sum(milliseconds.values())
    table = Table("operation", "ms per step", "share", title=f"Trace: {total:.0f} ms, summed over threads")
    for operation, duration in milliseconds.most_common(top):
        table.add_row(operation.removeprefix("_Mkl"), f"{duration:.1f}", f"{duration / total:.1%}")
    return table


def main(network: str = "residual", width: int = 64, batch: int = 128, size: int = 48, precision: str = "auto") -> None:
    """Run the benchmark and print the results."""
    load_tensorflow(trains=True)
    import keras
    import numpy as np
    import pandas as pd
    import tensorflow as tf

    from emotion.data.dataset import Split
    from emotion.networks.layers import Convolution
    from emotion.training.trainer import Trainer

    overrides = {"network": network, "width": width, "batch_size": batch, "precision": precision}
    settings = load_params(ROOT / "params.yaml").train.override(overrides)
    images = np.random.default_rng(0).integers(0, 256, (4 * batch, size, size), dtype=np.uint8)
    faces = Split(images, np.arange(4 * batch) % 7, pd.DataFrame(index=range(4 * batch)), EMOTIONS)
    trainer = Trainer(settings, faces, faces)
    dtype = tf.bfloat16 if trainer.precision.startswith("bfloat16") else tf.float32

    def random(shape: Any) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), dtype)

    matrix = random((1536, 1536))
    matmul_speed = 2 * 1536**3 / time_call(lambda: tf.matmul(matrix, matrix)) / 1e9

    layers: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for layer in trainer.network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            input_model = keras.Model(trainer.network.input, layer.input)
            layers[layer.name] = (layer, input_model(np.zeros((batch, size, size, 1), np.float32)).shape)
    table = Table(
        "feature map", "kernel", "forward", "input gradient", "filter gradient", "filter gradient, oneDNN",
        title="GFLOP/s",
    )  # fmt: skip
    total = 0.0
    for layer, shape in layers.values():
        features, kernel = random(shape), tf.cast(layer.kernel.value, dtype)
        stride = layer.strides[0]
        upstream = tf.nn.conv2d(features, kernel, stride, "SAME")
        gflop = 2 * np.prod(upstream.shape) * np.prod(kernel.shape[:3]) / 1e9
        common = {"strides": [1, stride, stride, 1], "padding": "SAME"}

        def filter_gradient(layer: Any, features: Any, upstream: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = layer(features, training=True)
            return tape.gradient(outputs, layer.kernel.value, output_gradients=upstream)

        forward = time_call(partial(tf.nn.conv2d, features, kernel, stride, "SAME"))
        input_gradient = time_call(
            partial(
                tf.raw_ops.Conv2DBackpropInput,
                input_sizes=features.shape, filter=kernel, out_backprop=upstream, **common,
            )
        )  # fmt: skip
        onednn_gradient = time_call(
            partial(
                tf.raw_ops.Conv2DBackpropFilter,
                input=features, filter_sizes=kernel.shape, out_backprop=upstream, **common,
            )
        )  # fmt: skip
        has_own_gradient = isinstance(layer, Convolution) and layer.is_small(features)
        own_gradient = onednn_gradient
        if has_own_gradient:
            own_gradient = time_call(partial(tf.function(filter_gradient), layer, features, upstream))
        total += forward + min(own_gradient, onednn_gradient) + (input_gradient if shape[-1] > 1 else 0)
        speeds = [f"{gflop / seconds:.0f}" for seconds in (forward, input_gradient, own_gradient, onednn_gradient)]
        table.add_row(f"{shape[1]}x{shape[2]}", "x".join(map(str, kernel.shape)), *speeds)
    console = Console(width=100)
    console.print(table)
    step = time_call(lambda: trainer.train_step(0))
    console.print(operations_table(lambda: trainer.train_step(0)))
    console.print(f"Matrix product: {matmul_speed:.0f} GFLOP/s")
    console.print(f"All convolutions: {total * 1e3:.0f} ms; one training step: {step * 1e3:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
