"""Training progress, and the learning rate that depends on it."""

import time

from emotion.params.sections import Train


class Schedule:
    """Tracks progress from 0 to 1, in steps or, with a budget, in seconds.

    With a budget, the learning rate follows the clock, so that it reaches zero when the time is
    up, regardless of the machine's speed and load.

    Args:
        settings: epochs or budget_minutes, learning rate, warmup.
        steps_per_epoch: number of training steps per epoch.
    """

    def __init__(self, settings: Train, steps_per_epoch: int) -> None:
        self.settings = settings
        self.steps = steps_per_epoch * settings.epochs
        self.budget = settings.budget_minutes and settings.budget_minutes * 60
        self.started = time.monotonic()
        self.final_seconds = 0.0  # estimated duration of what follows the last step

    def start(self, seconds: float) -> None:
        """Start the clock, or resume it after `seconds` of training."""
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """Return the fraction of the training that is complete before a step, 0..1."""
        done = self.seconds / max(self.budget - self.final_seconds, 1e-9) if self.budget else step / self.steps
        return min(done, 1.0)

    def learning_rate(self, progress: float) -> float:
        """Return a rate that rises linearly to the peak, then falls linearly to 0 (Goyal et al., 2017; Page, 2018)."""
        warmup = self.settings.warmup
        rise = progress / warmup if warmup else 1.0
        return self.settings.learning_rate * min(rise, (1 - progress) / (1 - warmup))

    def remaining(self, step: int) -> float:
        """Estimate the remaining seconds."""
        if self.budget:
            return max(0.0, self.budget - self.seconds)
        progress = self.progress(step)
        return self.seconds * (1 / progress - 1) if progress else 0.0
