"""The parameters of a run: one frozen model per section of params.yaml.

Unknown keys and values out of bounds are refused, naming the key, the bound and the value
received, before anything heavy is imported.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from emotion.data.labels import SIZE
from emotion.runtime.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Scalar = bool | int | float | str
PRESETS = Path(__file__).with_name("presets.yaml")


class Section(BaseModel):
    """Immutable, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fetch(Section):
    """Where the faces come from."""

    source: Literal["synthetic", "archive", "kaggle"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    images: int = Field(ge=70, le=1_000_000)  # synthetic: how many to draw
    seed: Seed  # synthetic: which ones
    archive: str = Field(min_length=1)  # archive: path of a zip
    dataset: str = Field(pattern=r"^[\w-]+/[\w.-]+$")  # kaggle: owner/name
    version: Annotated[int, Field(ge=1)] | None = None  # kaggle: None is the newest


class Preprocess(Section):
    """How images become a dataset with three splits."""

    protocol: Literal["challenge", "folders"]
    validation_fraction: float = Field(gt=0, lt=0.5)  # folders: the part of train/ held out
    drop_leaked: bool  # drop from training what is also in validation or test
    max_bad_fraction: Fraction  # stop when more images than this cannot be read
    seed: Seed


class Augmentation(Section):
    """Random changes of the training images; 0 turns each off."""

    flip: Literal["none", "random", "alternate"]  # alternate: every second epoch, half of the images at the start
    rotation: float = Field(ge=0, le=90)  # degrees either way
    zoom: float = Field(ge=0, lt=1)  # part of the size, either way
    translation: float = Field(ge=0, lt=1)  # part of the size, either way
    contrast: float = Field(ge=0, lt=1)  # part of the contrast, either way
    erasing: float = Field(ge=0, lt=1)  # largest side of the erased square, part of the size
    mixup: Fraction  # largest part of another image that is mixed in


class Transfer(Section):
    """What only the networks of keras.applications use."""

    weights: str = Field(min_length=1)  # imagenet | none | path of a .weights.h5 or .keras file
    image_size: int = Field(ge=32, le=1024)  # pixels a side that the faces are enlarged to
    fine_tune_from: str | None = None  # the first layer that is trained; None: only the head


class Train(Section):
    """The network and the recipe that trains it. `tune.space` may override any scalar here."""

    network: Literal["residual", "vgg", "basic_cnn", "mobilenet_v2", "vgg16", "resnet50", "efficientnet_b0"]
    width: int = Field(ge=1, le=512)  # channels of the first block
    ensemble: int = Field(ge=1, le=16)  # networks trained side by side, whose answers are averaged
    dropout: float = Field(ge=0, lt=1)
    transfer: Transfer
    precision: Literal["auto", "float32", "bfloat16"]
    optimizer: Literal["muon", "sgd", "adamw"]
    learning_rate: float = Field(gt=0, le=10)  # the peak of the schedule; of muon's matrices
    sgd_learning_rate: float = Field(gt=0, le=10)  # muon: the peak for all that is no convolution
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    class_weighting: Fraction  # power of the inverse class frequency that weights the loss
    batch_size: int = Field(ge=1, le=65_536)
    epochs: int = Field(ge=1, le=100_000)
    budget_minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None  # instead of epochs
    warmup: float = Field(ge=0, lt=1)  # part of the training in which the rate climbs
    smallest_size: int = Field(ge=16, le=SIZE)  # pixels a side of the first images; they grow to 48
    patience: int = Field(ge=1)  # epochs without improvement before stopping early
    select: Literal["val_accuracy", "val_loss"]  # what "best weights" means
    views: Literal["plain", "flip", "flip_and_shift"]  # what the exported model averages over
    augmentation: Augmentation
    tensorboard: bool  # write logs for TensorBoard to reports/tensorboard
    seed: Seed

    @model_validator(mode="after")
    def _fits_the_network(self) -> "Train":
        for asked, refused in (
            (f"smallest_size below {SIZE}", self.smallest_size < SIZE),
            ("ensemble above 1", self.ensemble > 1),
        ):
            if refused and self.network not in ("residual", "vgg"):
                raise ValueError(f"{asked} needs network residual or vgg, got {self.network}")
        return self

    def override(self, values: Mapping[str, Any]) -> "Train":
        """A copy with some values replaced, checked like the file was.

        Args:
            values: by name; dots reach into subsections, as in `augmentation.erasing`.

        Raises:
            ValidationError: for an unknown name or a value out of bounds.
        """
        content = self.model_dump()
        for name, value in values.items():
            *sections, last = name.split(".")
            place = content
            for section in sections:
                inner = place.get(section)
                place[section] = place = inner if isinstance(inner, dict) else {}
            place[last] = value
        return Train.model_validate(content)


class Dimension(Section):
    """One hyperparameter of the search."""

    # Only searched where each of these, choices above it in the space, has one of the values.
    when: dict[str, tuple[Scalar, ...]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _one_or_more(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {name: values if isinstance(values, list | tuple) else [values] for name, values in content.items()}


class Choice(Dimension):
    """One of the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_one_type(cls, content: Any) -> Any:
        """0 among floats is 0.0; other mixtures are refused, because KerasTuner knows none."""
        values = content.get("choice") if isinstance(content, dict) else None
        if isinstance(values, list | tuple) and all(isinstance(value, str) for value in values):
            with contextlib.suppress(ValueError):  # YAML takes 1e-4 for a text
                values = [float(value) for value in values]
                content = {**content, "choice": values}
        if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1:
            if {type(value) for value in values} != {int, float}:
                raise ValueError(f"choice should hold values of one type, got {values}")
            content = {**content, "choice": [float(value) for value in values]}
        return content

    def extremes(self) -> tuple[Scalar, ...]:
        """Every value."""
        return self.choice


class Range(Dimension):
    """A number between two bounds; a whole one where both bounds are."""

    min: int | float
    max: int | float
    step: int | float | None = None  # of log sampling: the factor from one value to the next
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
        if self.is_whole and isinstance(self.step, float):
            raise ValueError(f"step must be a whole number like min and max, got {self.step}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.min, int) and isinstance(self.max, int)

    def extremes(self) -> tuple[Scalar, ...]:
        """The two bounds, and a fraction between them where not only whole numbers are meant."""
        return (
            (self.min, self.max) if self.is_whole else (self.min, self.min + 0.3819 * (self.max - self.min), self.max)
        )


def _kind(dimension: Any) -> str:
    chosen = isinstance(dimension, Choice) or (isinstance(dimension, dict) and "choice" in dimension)
    return "choice" if chosen else "range"


Space = dict[str, Annotated[Annotated[Choice, Tag("choice")] | Annotated[Range, Tag("range")], Discriminator(_kind)]]


class Ray(Section):
    """What a trial takes of the cluster that RAY_ADDRESS names; of one started here where it names none."""

    trials_at_once: int = Field(ge=1, le=10_000)
    cpus: float = Field(gt=0)
    gpus: float = Field(ge=0)
    memory_gib: float = Field(gt=0)


class Tune(Section):
    """The hyperparameter search."""

    oracle: Literal["random", "bayesian", "hyperband", "grid"]  # KerasTuner's, which proposes the trials
    max_trials: int = Field(ge=0, le=10_000)  # 0: no search, train's own values are used
    epochs: int = Field(ge=1)  # of each trial; of hyperband's longest
    fraction: float = Field(gt=0, le=1)  # part of the training images each trial sees
    executions_per_trial: int = Field(ge=1, le=100)  # trainings, by seed; the score is their mean
    budget_minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None  # of the search, in wall-clock time
    pruning: Literal["none", "median"]  # median: end a trial that falls behind half of those before
    retries: int = Field(ge=0, le=100)  # of a trial that fails
    executor: Literal["local", "ray"]  # one trial at a time on this machine, or many on a cluster
    ray: Ray
    objective: Literal["val_accuracy", "val_loss"]
    seed: Seed
    space: Space

    @model_validator(mode="after")
    def _hyperband_prunes_by_itself(self) -> "Tune":
        if self.oracle == "hyperband" and self.pruning != "none":
            raise ValueError("pruning must be none with oracle hyperband, which ends trials early by itself")
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
                    raise ValueError(f"space.{name}.when names {parent}, which is no choice above it in the space")
                unknown = [value for value in values if value not in choices[parent].choice]
                if unknown:
                    raise ValueError(f"space.{name}.when asks for {parent} {unknown[0]!r}, which is not offered")
            if isinstance(dimension, Choice):
                choices[name] = dimension
        return self

    def combinations(self) -> Iterator[dict[str, Scalar]]:
        """Values that meet in a trial: the extremes of every two dimensions, with what they are conditional on."""
        single = [(name, name) for name in self.space]
        for first, second in (*single, *itertools.combinations(self.space, 2)):
            for values in itertools.product(self.space[first].extremes(), self.space[second].extremes()):
                chosen = self._with_conditions(dict(zip((first, second), values, strict=True)))
                if all(chosen[name] == value for name, value in zip((first, second), values, strict=True)):
                    yield chosen

    def _with_conditions(self, chosen: dict[str, Scalar]) -> dict[str, Scalar]:
        """Add what makes the chosen ones searched, where it contradicts in place of them."""
        for name in reversed(self.space):
            if name in chosen:
                for parent, values in self.space[name].when.items():
                    chosen = {**chosen, parent: chosen[parent] if chosen.get(parent) in values else values[0]}
        return chosen


class Evaluate(Section):
    """How the exported model is scored."""

    batch_size: int = Field(ge=1, le=65_536)
    calibration_bins: int = Field(ge=2, le=1000)
    sure_accuracy: Fraction  # of the validation images that are not answered with "unsure"
    mistakes: int = Field(ge=0, le=200)  # how many of the worst to picture
    robustness_images: int = Field(ge=1, le=1_000_000)  # at most, that are also shown corrupted


class Gate(Section):
    """What `emotion promote` asks of a version. Bounds may be reached, not passed."""

    min_accuracy: Fraction  # on the test images
    max_calibration_error: Fraction  # expected calibration error, on the test images
    max_size_mib: float = Field(gt=0)  # of the SavedModel
    max_latency_ratio: float = Field(gt=0)  # of one image at a time, to the champion's
    max_recall_loss: Fraction  # in any emotion, against the champion
    significance: float = Field(gt=0, lt=1)  # of a loss of accuracy against the champion
    resamples: int = Field(ge=100, le=1_000_000)  # of the interval of the difference of accuracy
    seed: Seed


class Register(Section):
    """Where the model goes, and what a champion must be."""

    name: str = Field(pattern=r"^[\w][\w .-]*$")
    gate: Gate


class Params(Section):
    """All of params.yaml, in the order of the stages."""

    fetch: Fetch
    preprocess: Preprocess
    tune: Tune
    train: Train
    evaluate: Evaluate
    register_: Register = Field(alias="register")

    @model_validator(mode="after")
    def _space_fits_train(self) -> "Params":
        for name in self.tune.space:
            if name in ("epochs", "budget_minutes", "select", "views", "tensorboard", "seed"):
                raise ValueError(f"tune.space.{name} cannot be searched; set it under tune or train")
        for values in self.tune.combinations():
            try:
                self.train.override(values)
            except ValidationError as error:
                offered = " with ".join(f"{name} {value!r}" for name, value in values.items())
                raise ValueError(f"tune.space offers {offered}: {'; '.join(_lines(error, 'train.'))}") from None
        return self

    def with_hyperparameters(self, values: Mapping[str, Scalar], origin: str) -> "Params":
        """A copy in which a search's values override those of `train`.

        Raises:
            UserError: for an unknown name or a value out of bounds, naming `origin`.
        """
        return self.model_copy(update={"train": with_values(self.train, values, origin)})


def with_values(train: Train, values: Mapping[str, Any], origin: str) -> Train:
    """`Train.override` of values that a person may have got wrong.

    Raises:
        UserError: for an unknown name or a value out of bounds, naming `origin`.
    """
    try:
        return train.override(values)
    except ValidationError as error:
        raise UserError("; ".join(f"{origin}: {line}" for line in _lines(error, "train."))) from None


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        UserError: naming every key that is missing, unknown or out of bounds.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {path} here. Run from the project's root.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError("; ".join(f"{path}: {line}" for line in _lines(error))) from None


def preset(name: str) -> dict[str, Scalar]:
    """What a named preset changes in params.yaml, by dotted names.

    Raises:
        UserError: where there is none of that name.
    """
    presets: dict[str, dict[str, Scalar]] = yaml.safe_load(PRESETS.read_text())
    if name not in presets:
        raise UserError(f"no preset is named {name}. There is {', '.join(presets)}.")
    return {"tune.max_trials": 0, **presets[name]}


_TAGS = (
    "choice",
    "range",
    "function-after[_ordered(), Range]",
    "function-before[_of_one_type(), Choice]",
    "int",
    "float",
)  # pydantic's, not the file's


def _lines(error: ValidationError, prefix: str = "") -> list[str]:
    lines = []
    for detail in error.errors():
        location = [*filter(None, prefix.split(".")), *(part for part in detail["loc"] if part not in _TAGS)]
        key = ".".join(str(part) for part in location)
        if detail["type"] == "extra_forbidden":
            near = get_close_matches(str(location[-1]), _names(location[:-1]), n=1)
            lines.append(f"unknown key {key}" + (f", did you mean {near[0]}?" if near else ""))
        elif detail["type"] == "missing":
            lines.append(f"{key} is missing")
        elif detail["type"] == "value_error":
            lines.append(": ".join(filter(None, [key, str(detail["ctx"]["error"])])))
        else:
            message = detail["msg"].replace("Input should", "should")
            lines.append(f"{key} {message}, got {detail['input']!r}")
    return lines


def _names(location: Sequence[Any]) -> list[str]:
    """The keys that are known at a place in the file."""
    model: Any = Params
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = fields[part].annotation if part in fields else None
        if not hasattr(model, "model_fields"):
            return []
    return [field.alias or name for name, field in model.model_fields.items()]
