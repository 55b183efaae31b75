"""Ask an exported model."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:  # they bring pandas and scikit-learn
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel with a `serve` endpoint.

    Raises:
        UserError: where it is missing, or has no such endpoint.
    """
    if not (folder / "saved_model.pb").exists():
        raise UserError(f"no SavedModel in {folder}. `dvc repro train` makes it.")
    load_tensorflow()
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    if not hasattr(model, "serve"):
        raise UserError(f"the SavedModel in {folder} has no endpoint `serve`, as those have that Keras exports.")
    return model


def predict(model: Any, images: "Images", batch_size: int) -> "Probabilities":
    """Probabilities of the seven emotions.

    Args:
        model: from `load_saved_model`, or whatever else has a `serve` like it.
        images: (n, 48, 48) uint8, 0..255.
        batch_size: images asked about at once.

    Returns:
        (n, 7) float32.
    """
    batches = [
        np.asarray(model.serve(images[start : start + batch_size, ..., None].astype(np.float32)))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches)


def measure_speed(model: Any, images: "Images", batch_size: int) -> dict[str, float]:
    """How long answers take on this machine, as it is loaded just now.

    Args:
        model: from `load_saved_model`.
        images: (n, 48, 48) uint8, at least one.
        batch_size: of the throughput.

    Returns:
        latency_ms_median and latency_ms_p95 of one image at a time, over 100 of them;
        images_per_second in batches, the best of three passes over at most 4 of them.
    """
    one, many = images[:1], images[: 4 * batch_size]
    predict(model, many[:batch_size], batch_size)
    predict(model, one, 1)
    latencies = [seconds(lambda: predict(model, one, 1)) * 1000 for _ in range(100)]
    passes = [seconds(lambda: predict(model, many, batch_size)) for _ in range(3)]
    return {
        "latency_ms_median": float(np.median(latencies)),
        "latency_ms_p95": float(np.percentile(latencies, 95)),
        "images_per_second": len(many) / min(passes),
    }


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
