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
        self.validation_seconds = 0.0  # duration of the last validation, or an estimate before it
        self.statistics_seconds = 0.0  # estimated duration of what precedes the last validation, after the last step

    def start(self, seconds: float) -> None:
        """Start the clock, or resume it after `seconds` of training."""
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """Return the fraction of the training that is complete before a step, 0..1."""
        done = self.seconds / max(self._seconds_of_steps(), 1e-9) if self.budget else step / self.steps
        return min(done, 1.0)

    def ends_after(self, step: int) -> bool:
        """Return whether no training remains after a step and a validation."""
        if self.budget:
            return self.seconds + self.validation_seconds >= self._seconds_of_steps()
        return step >= self.steps

    def _seconds_of_steps(self) -> float:
        """The part of the budget for training steps, and for the validations between them."""
        return (self.budget or 0.0) - self.validation_seconds - self.statistics_seconds

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
