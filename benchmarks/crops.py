"""Measure one classifier for `versus_fer.py`, in a separate process.

Imports only NumPy, because the package `fer` is installed in a separate environment.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Classify = Callable[[Any], Any]  # (n, 48, 48) uint8 -> (n, 7), in the order of `emotion.data.labels`


def report(start: float, load: Callable[[], Classify], path: str) -> None:
    """Print accuracy, speed, start-up time and peak memory to stderr, as one line of JSON.

    Args:
        start: time.time() when the process was started.
        load: loads the classifier.
        path: an .npz file with images and labels.
    """
    data = np.load(path)
    images, labels = data["images"], data["labels"]
    classify = load()
    classify(images[:1])
    startup = time.time() - start
    probabilities = np.concatenate([classify(images[row : row + 32]) for row in range(0, len(images), 32)])
    result = {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "start-up, s": startup,
        **{f"batch of {size}": time_per_face(classify, images[:size]) for size in (1, 32, 256)},
        "memory, MiB": peak_memory(),
    }
    print(json.dumps(result), file=sys.stderr)


def time_per_face(classify: Classify, images: Any) -> float:
    """Milliseconds per face: the minimum of several runs."""
    classify(images)
    times = []
    for _ in range(max(5, 200 // len(images))):
        start = time.perf_counter()
        classify(images)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(images)


def peak_memory() -> float:
    """The peak resident memory of this process, in MiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
