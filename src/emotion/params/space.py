"""The search space and the settings of `tune`."""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, field_validator, model_validator

from emotion.params.objective import Objective
from emotion.params.validation import Section

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Minutes = Annotated[float, Field(gt=0, le=100_000)]
Scalar = bool | int | float | str


class Dimension(Section):
    """One hyperparameter of the search."""

    # Searched only if each of these choices, which come earlier in the space, has one of the listed values.
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)

    @field_validator("when", mode="before")
    @classmethod
    def _one_or_more(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {name: values if isinstance(values, list | tuple) else [values] for name, values in content.items()}


class Choice(Dimension):
    """A choice among the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_one_type(cls, content: Any) -> Any:
        """Convert integers among floats to floats; reject other mixed types, which KerasTuner does not support."""
        values = content.get("choice") if isinstance(content, dict) else None
        if isinstance(values, list | tuple) and all(isinstance(value, str) for value in values):
            with contextlib.suppress(ValueError):  # YAML reads 1e-4 as a string
                values = [float(value) for value in values]
                content = {**content, "choice": values}
        if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1:
            if {type(value) for value in values} != {int, float}:
                raise ValueError(f"choice should contain values of one type, got {values}")
            content = {**content, "choice": [float(value) for value in values]}
        return content

    def contains(self, value: Any) -> bool:
        """Whether a value is among the choices."""
        return value in self.choice

    def boundary_values(self) -> tuple[Scalar, ...]:
        """Return all values."""
        return self.choice


class Range(Dimension):
    """A number between two bounds; an integer if both bounds are integers."""

    min: int | float
    max: int | float
    step: int | float | None = None  # with log sampling, the factor between consecutive values
    sampling: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min >= self.max:
            raise ValueError(f"min must be below max, got {self.min} and {self.max}")
        if self.sampling == "log" and self.min <= 0:
            raise ValueError(f"log sampling needs min above 0, got {self.min}")
        lowest = 1 if self.sampling == "log" else 0
        if self.step is not None and self.step <= lowest:
            raise ValueError(f"step must be above {lowest} with {self.sampling} sampling, got {self.step}")
        if self.is_integer and isinstance(self.step, float):
            raise ValueError(f"step must be an integer like min and max, got {self.step}")
        return self

    def contains(self, value: Any) -> bool:
        """Whether a value is in the range; steps between the bounds are not considered."""
        return isinstance(value, int | float) and self.min <= value <= self.max

    @property
    def is_integer(self) -> bool:
        """Whether only integers are searched."""
        return isinstance(self.min, int) and isinstance(self.max, int)

    def boundary_values(self) -> tuple[Scalar, ...]:
        """Return the two bounds, and a fractional value between them unless only integers are searched."""
        if self.is_integer:
            return self.min, self.max
        return self.min, self.min + 0.3819 * (self.max - self.min), self.max


def _kind(dimension: Any) -> str:
    is_choice = isinstance(dimension, Choice) or (isinstance(dimension, dict) and "choice" in dimension)
    return "choice" if is_choice else "range"


Space = dict[str, Annotated[Annotated[Choice, Tag("choice")] | Annotated[Range, Tag("range")], Discriminator(_kind)]]


class Ray(Section):
    """The resources of a trial on the cluster at RAY_ADDRESS; if it is not set, a local cluster is started."""

    trials_at_once: int = Field(ge=1, le=10_000)
    cpus: float = Field(gt=0)
    gpus: float = Field(ge=0)
    memory_gib: float = Field(gt=0)


class Penalties(Section):
    """What the score of a trial loses when the network becomes ten times as large or as slow."""

    parameters: float = Field(ge=0, le=10)
    latency: float = Field(ge=0, le=10)  # of one image at a time, on the machine of the trial

    def of(self, parameters: float, latency_ms: float) -> float:
        """The penalty of a network: 0 at a million parameters and a millisecond, and negative below.

        Args:
            parameters: their number.
            latency_ms: the latency of one image in milliseconds; not used if its penalty is 0.
        """
        of_latency = self.latency * math.log10(latency_ms) if self.latency else 0.0
        return self.parameters * math.log10(parameters / 1e6) + of_latency


class Tune(Section):
    """The hyperparameter search."""

    oracle: Literal["random", "bayesian", "hyperband", "grid"]  # the KerasTuner oracle that proposes the trials
    max_trials: int = Field(ge=0, le=10_000)  # 0 skips the search and uses the values of `train`
    start_from_train: bool  # with random and bayesian, the first trial has the values of `train`
    epochs: int = Field(ge=1)  # per trial; with hyperband, of the longest trial
    fraction: float = Field(gt=0, le=1)  # of the training images, for each trial
    executions_per_trial: int = Field(ge=1, le=100)  # training runs with different seeds, whose scores are averaged
    budget_minutes: Minutes | None = None  # wall-clock budget of the search
    pruning: Literal["none", "median"]  # median: stop a trial that falls below the median of earlier ones
    retries: int = Field(ge=0, le=100)  # per failed trial
    executor: Literal["local", "ray"]  # local: one trial at a time; ray: several on a cluster
    ray: Ray
    objective: Objective
    penalties: Penalties
    seed: Seed
    space: Space

    @model_validator(mode="after")
    def _hyperband_prunes_by_itself(self) -> "Tune":
        if self.oracle == "hyperband" and self.pruning != "none":
            raise ValueError("pruning must be none with oracle hyperband, which stops trials early by itself")
        return self

    @model_validator(mode="after")
    def _something_is_searched(self) -> "Tune":
        if self.max_trials and not self.space:
            raise ValueError("space is empty: name what to search, or set max_trials to 0")
        return self

    @model_validator(mode="after")
    def _conditions_name_choices_above(self) -> "Tune":
        choices: dict[str, Choice] = {}
        for name, dimension in self.space.items():
            for parent, values in dimension.when.items():
                if parent not in choices:
                    raise ValueError(f"space.{name}.when names {parent}, which is not a choice above it in the space")
                unknown = [value for value in values if value not in choices[parent].choice]
                if unknown:
                    raise ValueError(f"space.{name}.when names {parent} {unknown[0]!r}, which is not among its choices")
            if isinstance(dimension, Choice):
                choices[name] = dimension
        return self

    def values_of(self, base: BaseModel) -> dict[str, Scalar] | None:
        """The values that a section has for the dimensions that apply to them; None if one is not in the space.

        Args:
            base: the section `train`.
        """
        values: dict[str, Scalar] = {}
        for name, dimension in self.space.items():
            if all(values.get(parent) in allowed for parent, allowed in dimension.when.items()):
                value: Any = functools.reduce(getattr, name.split("."), base)
                if not dimension.contains(value):
                    return None
                values[name] = value
        return values

    def pairwise_boundaries(self) -> Iterator[dict[str, Scalar]]:
        """Yield the boundary values of every pair of dimensions, with the values that their conditions require."""
        single = [(name, name) for name in self.space]
        for first, second in (*single, *itertools.combinations(self.space, 2)):
            boundaries = self.space[first].boundary_values(), self.space[second].boundary_values()
            for values in itertools.product(*boundaries):
                chosen = self._with_conditions(dict(zip((first, second), values, strict=True)))
                if all(chosen[name] == value for name, value in zip((first, second), values, strict=True)):
                    yield chosen

    def _with_conditions(self, chosen: dict[str, Scalar]) -> dict[str, Scalar]:
        """Add the values that the chosen dimensions depend on, replacing conflicting ones."""
        for name in reversed(self.space):
            if name in chosen:
                for parent, values in self.space[name].when.items():
                    chosen = {**chosen, parent: chosen[parent] if chosen.get(parent) in values else values[0]}
        return chosen
