"""Compare training throughput: this trainer, stock Keras, PyTorch, and the earlier study's network.

    python benchmarks/training.py compare [--torch PYTHON] [--precision auto] [--seconds 20] [--rounds 3] [--batch 128]

`make benchmark` installs PyTorch in a separate environment and runs the comparison. Each measurement runs
in a separate process, one at a time. Each round measures all trainers once, so that noise on the machine
affects all of them; the table contains the medians. All use SGD with Nesterov momentum on 48x48 images.
This trainer and stock Keras' `fit` also load the images, and only this trainer augments them. This trainer
and PyTorch use bfloat16 if the hardware supports it, or the given precision; stock Keras uses its defaults. PyTorch is
also measured as one process per core, each with its share of the batch and without exchanging gradients; the faster
way counts.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from emotion.data.labels import EMOTIONS
from emotion.params.load import load_params
from emotion.params.sections import Train
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]
FER_2013 = 28_709  # training images
WIDTHS = {"residual": 64, "vgg": 32, "basic_cnn": 32}

app = typer.Typer(pretty_exceptions_enable=False)


def settings(network: str, batch: int, precision: str = "auto") -> Train:
    """The default parameters, with SGD and a number of epochs that is never reached."""
    overrides = {"network": network, "width": WIDTHS[network], "batch_size": batch, "precision": precision}
    return load_params(ROOT / "params.yaml").train.override(
        {**overrides, "optimizer": "sgd", "learning_rate": 0.01, "epochs": 100_000}
    )


def random_faces(count: int) -> Any:
    """A split of random images: their content does not affect the speed."""
    import numpy as np
    import pandas as pd

    from emotion.data.dataset import Split

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    return Split(images, generator.integers(0, 7, count), pd.DataFrame(index=range(count)), EMOTIONS)


def measure_ours(network: str, batch: int, images: int, seconds: float, precision: str) -> float:
    """Images per second of this project's trainer."""
    load_tensorflow(trains=True)
    from emotion.training.trainer import Trainer

    trainer = Trainer(settings(network, batch, precision), random_faces(images), random_faces(10))
    trainer.steps_per_epoch = sys.maxsize
    steps = trainer.steps()
    for _ in range(5):
        next(steps)
    completed, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(steps)
        completed += 1
    return completed * batch / (time.perf_counter() - start)


def measure_stock(network: str, batch: int, images: int, seconds: float, precision: str) -> float:
    """Images per second of `fit` with Keras' layers, float32 and TensorFlow's defaults."""
    import keras
    import numpy as np

    from emotion.networks.build import build
    from emotion.networks.layers import Convolution, FusedBatchNormalization

    stock_layers = {FusedBatchNormalization: keras.layers.BatchNormalization, Convolution: keras.layers.Conv2D}
    train = settings(network, batch)

    def to_stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        return stock_layers.get(type(layer), type(layer)).from_config(layer.get_config())

    model = keras.models.clone_model(
        build(network, train.width, 0.2, train.transfer, len(EMOTIONS), (48, 48, 1)), clone_function=to_stock
    )
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy")
    faces = random_faces(images)
    data = (faces.images[..., None].astype(np.float32), faces.labels)
    started: list[float] = []
    steps = 0

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            nonlocal steps
            if not started and batch == 5:
                started.append(time.perf_counter())
            elif started:
                steps += 1
                self.model.stop_training = time.perf_counter() - started[0] > seconds

    model.fit(*data, batch_size=batch, epochs=1000, verbose=0, callbacks=[Timer()])
    return steps * batch / (time.perf_counter() - started[0])


@app.command()
def measure(trainer: str, network: str, batch: int, images: int, seconds: float, precision: str = "auto") -> None:
    """Measure one trainer, ours or stock; print images_per_second and peak_mib as JSON."""
    function = {"ours": measure_ours, "stock": measure_stock}[trainer]
    speed = function(network, batch, images, seconds, precision)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"images_per_second": speed, "peak_mib": peak}))


def run_commands(*commands: list[str]) -> list[str]:
    """Run commands at the same time; return the last lines of their output."""
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for command in commands]
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode:
            sys.exit(f"{process.args!r} failed:\n{errors}")
    return [output.splitlines()[-1] for output, _ in outputs]


def measure_in_subprocess(
    trainer: str, network: str, batch: int, images: int, seconds: float, precision: str
) -> dict[str, float]:
    """Run the command `measure` in a separate process."""
    options = ["--precision", precision]
    arguments = ["measure", trainer, network, *map(str, (batch, images, seconds)), *options]
    (line,) = run_commands([sys.executable, __file__, *arguments])
    result: dict[str, float] = json.loads(line)
    return result


def measure_torch(python: Path, network: str, batch: int, seconds: float, precision: str) -> float:
    """Images per second of PyTorch, in one process or one per core."""
    load_tensorflow()
    from emotion.training.precision import choose

    def command(processes: int) -> list[str]:
        script = str(Path(__file__).with_name("torch_trainer.py"))
        share, threads = str(batch // processes), str(cores // processes)
        return [str(python), script, network, str(WIDTHS[network]), share, str(seconds), choose(precision)[0], threads]

    cores = os.cpu_count() or 1
    return max(sum(map(float, run_commands(*[command(count)] * count))) for count in (1, cores))


@app.command()
def compare(
    torch: Annotated[Path | None, typer.Option(help="A Python interpreter with PyTorch installed.")] = None,
    precision: str = "auto",
    seconds: float = 20,
    rounds: int = 3,
    batch: int = 128,
) -> None:
    """Measure all trainers and print two tables."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for index in range(rounds):
        for network in ("residual", "vgg"):
            for name in ("ours", "stock"):
                result = measure_in_subprocess(name, network, batch, FER_2013, seconds, precision)
                speeds.setdefault((network, name), []).append(result["images_per_second"])
            if torch:
                speed = measure_torch(torch, network, batch, seconds, precision)
                speeds.setdefault((network, "torch"), []).append(speed)
        baseline = measure_in_subprocess("stock", "basic_cnn", batch, FER_2013, seconds, precision)
        speeds.setdefault(("basic_cnn", "stock"), []).append(baseline["images_per_second"])
        print(f"Finished round {index + 1} of {rounds}.", flush=True)
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    names = {"ours": "this trainer", "stock": "stock Keras", "torch": "PyTorch"}
    table = Table("network", "trainer", "images/s", "range", "speed of this trainer relative to it")
    for (network, name), speed in sorted(medians.items()):
        ratio = f"{medians[network, 'ours'] / speed:.2f}x" if (network, "ours") in medians else ""
        spread = f"{min(speeds[network, name]):.0f} to {max(speeds[network, name]):.0f}"
        table.add_row(f"{network}, width {WIDTHS[network]}", names[name], f"{speed:.0f}", spread, ratio)
    Console(width=110).print(table)

    table = Table("training images", "images/s of this trainer", "peak memory, MiB")
    for images in (FER_2013 // 4, FER_2013, FER_2013 * 4):
        results = [measure_in_subprocess("ours", "residual", batch, images, seconds, precision) for _ in range(rounds)]
        speed = statistics.median(result["images_per_second"] for result in results)
        table.add_row(f"{images:,}", f"{speed:.0f}", f"{max(result['peak_mib'] for result in results):.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    app()
