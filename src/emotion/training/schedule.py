"""Training progress, and the learning rate and image size that depend on it."""

import math
import time

from emotion.params.sections import Train

GROWTH_ENDS = 0.6  # fraction of the training after which images have their full size
SIZE_STEP = 8  # pixels


class Schedule:
    """Tracks progress from 0 to 1, in steps or, with a budget, in seconds.

    With a budget, the learning rate follows the clock, so that it reaches zero when the time is
    up, regardless of the machine's speed and load.

    Args:
        settings: epochs or budget_minutes, learning rate, warmup, initial image size.
        steps_per_epoch: number of training steps per epoch.
        image_size: of the dataset, in pixels per side.
    """

    def __init__(self, settings: Train, steps_per_epoch: int, image_size: int) -> None:
        self.settings = settings
        self.first_size, self.full_size = settings.initial_image_size or image_size, image_size
        self.steps = steps_per_epoch * settings.epochs
        self.budget = settings.budget_minutes and settings.budget_minutes * 60
        self.started = time.monotonic()
        self.validation_seconds = 0.0  # estimated duration of the last validation

    def start(self, seconds: float) -> None:
        """Start the clock, or resume it after `seconds` of training."""
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """Return the fraction of the training that is complete before a step, 0..1."""
        done = self.seconds / max(self.budget - self.validation_seconds, 1e-9) if self.budget else step / self.steps
        return min(done, 1.0)

    def learning_rate(self, progress: float) -> float:
        """Return a rate that rises linearly to the peak, then falls linearly to 0 (Goyal et al., 2017; Page, 2018)."""
        warmup = self.settings.warmup
        rise = progress / warmup if warmup else 1.0
        return self.settings.learning_rate * min(rise, (1 - progress) / (1 - warmup))

    def image_size(self, progress: float) -> int:
        """Return the image size, which starts small to save time (progressive resizing, Howard, 2018)."""
        missing = (self.full_size - self.first_size) * max(0.0, 1 - progress / GROWTH_ENDS)
        return max(self.first_size, self.full_size - SIZE_STEP * math.ceil(missing / SIZE_STEP))

    def remaining(self, step: int) -> float:
        """Estimate the remaining seconds, given that larger images take longer."""
        progress = self.progress(step)
        if self.budget:
            return max(0.0, self.budget - self.seconds)
        return self.seconds * self._work(progress, 1) / self._work(0, progress) if progress else 0.0

    def _work(self, start: float, end: float, parts: int = 100) -> float:
        """Estimate the amount of work between two points of the training, in arbitrary units."""
        width = (end - start) / parts
        sizes = [self.image_size(start + width * (index + 0.5)) for index in range(parts)]
        # Some costs of a step grow with the number of pixels, others do not. Measured: side ** 1.1 to 1.8.
        return width * sum(math.pow(size, 1.5) for size in sizes)
