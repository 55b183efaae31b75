"""What `versus_fer.py` measures of one classifier, in a process of its own.

Imports nothing but numpy, because the package `fer` has an environment of its own.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Classify = Callable[[Any], Any]  # from (n, 48, 48) uint8 to (n, 7), in the order of `emotion.data.labels`


def report(start: float, load: Callable[[], Classify], path: str) -> None:
    """Print accuracy, speed, start-up and memory as a line of JSON.

    Args:
        start: of the process, by time.time().
        load: makes it ready.
        path: of an .npz with images and labels.
    """
    data = np.load(path)
    images, labels = data["images"], data["labels"]
    classify = load()
    classify(images[:1])
    ready = time.time() - start
    answers = np.concatenate([classify(images[row : row + 32]) for row in range(0, len(images), 32)])
    result = {
        "accuracy": float((answers.argmax(axis=1) == labels).mean()),
        "start-up, s": ready,
        **{f"{size} at once": per_face(classify, images[:size]) for size in (1, 32, 256)},
        "memory, MiB": peak_memory(),
    }
    print(json.dumps(result), file=sys.stderr)


def per_face(classify: Classify, images: Any) -> float:
    """Milliseconds, the best of several."""
    classify(images)
    times = []
    for _ in range(max(5, 200 // len(images))):
        begun = time.perf_counter()
        classify(images)
        times.append(time.perf_counter() - begun)
    return 1000 * min(times) / len(images)


def peak_memory() -> float:
    """MiB, of this process since it runs its own program."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
