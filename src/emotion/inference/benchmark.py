"""Latency and throughput of a model on this machine."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from emotion.inference.load import Model, predict

if TYPE_CHECKING:
    from emotion.data.dataset import Images

LATENCY_CALLS, THROUGHPUT_PASSES, BATCHES_PER_PASS = 100, 3, 4


def measure_speed(model: Model, images: "Images", batch_size: int, fast: Model | None = None) -> dict[str, float]:
    """Measure how fast predictions are on this machine under its current load.

    Args:
        model: from `load_saved_model`.
        images: as for `predict`, at least one.
        batch_size: the batch size for measuring the throughput.
        fast: the model with fewer networks or views, see `Fast`.

    Returns:
        latency_ms_median and latency_ms_p95 of one image at a time, over 100 calls, and fast_latency_ms_median of
        `fast`;
        images_per_second in batches, the best of three passes over at most 4 batches.
    """
    one, many = images[:1], images[: BATCHES_PER_PASS * batch_size]
    predict(model, many[:batch_size], batch_size)
    latencies = _latencies_ms(model, one)
    passes = [time_call(lambda: predict(model, many, batch_size)) for _ in range(THROUGHPUT_PASSES)]
    of_fast = {"fast_latency_ms_median": float(np.median(_latencies_ms(fast, one)))} if fast else {}
    return {
        **of_fast,
        "latency_ms_median": float(np.median(latencies)),
        "latency_ms_p95": float(np.percentile(latencies, 95)),
        "images_per_second": len(many) / min(passes),
    }


def _latencies_ms(model: Model, image: "Images") -> list[float]:
    predict(model, image, 1)
    return [time_call(lambda: predict(model, image, 1)) * 1000 for _ in range(LATENCY_CALLS)]


def time_call(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
