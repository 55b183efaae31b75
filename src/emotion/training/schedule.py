"""How far a training is, and what the learning rate and the image size are there."""

import math
import time

from emotion.data.labels import IMAGE_SIZE
from emotion.params.sections import Train

GROWTH_ENDS = 0.6  # of the training: from there on images have their full size
SIZE_STEP = 8  # pixels


class Schedule:
    """Progress from 0 to 1: in steps, or in seconds where there is a budget.

    With a budget the rate follows the clock, so that it has fallen to zero when the time is
    up, however fast the machine is and whatever else it does.

    Args:
        settings: epochs or budget_minutes, learning rate, warm-up, smallest size.
        steps_per_epoch: of the training images.
    """

    def __init__(self, settings: Train, steps_per_epoch: int) -> None:
        self.settings = settings
        self.steps = steps_per_epoch * settings.epochs
        self.budget = settings.budget_minutes and settings.budget_minutes * 60
        self.started = time.monotonic()
        self.validation_seconds = 0.0  # seconds that the last look at validation will take

    def start(self, seconds: float) -> None:
        """Begin, or go on after so many seconds of training."""
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """Of the training before a step, 0..1."""
        done = self.seconds / max(self.budget - self.validation_seconds, 1e-9) if self.budget else step / self.steps
        return min(done, 1.0)

    def learning_rate(self, progress: float) -> float:
        """Linear from 0 to the peak, then linear to 0 (Goyal et al., 2017; Page, 2018)."""
        warmup = self.settings.warmup
        rise = progress / warmup if warmup else 1.0
        return self.settings.learning_rate * min(rise, (1 - progress) / (1 - warmup))

    def image_size(self, progress: float) -> int:
        """Growing images cost less at first (progressive resizing, Howard, 2018)."""
        missing = (IMAGE_SIZE - self.settings.initial_image_size) * max(0.0, 1 - progress / GROWTH_ENDS)
        return max(self.settings.initial_image_size, IMAGE_SIZE - SIZE_STEP * math.ceil(missing / SIZE_STEP))

    def remaining(self, step: int) -> float:
        """Seconds that the rest will take, about: as the images grow, so does the time they take."""
        progress = self.progress(step)
        if self.budget:
            return max(0.0, self.budget - self.seconds)
        return self.seconds * self._work(progress, 1) / self._work(0, progress) if progress else 0.0

    def _work(self, start: float, end: float, parts: int = 100) -> float:
        """How much there is to do between two points of the training, about, in any unit."""
        width = (end - start) / parts
        sizes = [self.image_size(start + width * (part + 0.5)) for part in range(parts)]
        # A step has costs that grow with the pixels, and others that do not grow: measured, side ** 1.1 to 1.8.
        return width * sum(math.pow(size, 1.5) for size in sizes)
