"""The parameters of a run: one frozen model per section of params.yaml.

Unknown keys and values out of bounds are refused, naming the key, the bound and the value
received, before anything heavy is imported.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from emotion.errors import UserError
from emotion.labels import SIZE

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

        Raises:
            ValidationError: for an unknown name or a value out of bounds.
        """
        return Train.model_validate({**self.model_dump(), **values})


class Choice(Section):
    """One of the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_one_type(cls, content: Any) -> Any:
        """0 among floats is 0.0; other mixtures are refused, because KerasTuner knows none."""
        values = content.get("choice") if isinstance(content, dict) else None
        if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1:
            if {type(value) for value in values} != {int, float}:
                raise ValueError(f"choice should hold values of one type, got {values}")
            content = {**content, "choice": [float(value) for value in values]}
        return content

    def extremes(self) -> tuple[Scalar, ...]:
        """Every value."""
        return self.choice


class Range(Section):
    """A number between two bounds."""

    min: int | float
    max: int | float
    sampling: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min >= self.max:
            raise ValueError(f"min must be below max, got {self.min} and {self.max}")
        if self.sampling == "log" and self.min <= 0:
            raise ValueError(f"log sampling needs min above 0, got {self.min}")
        return self

    def extremes(self) -> tuple[Scalar, ...]:
        """The two bounds."""
        return (self.min, self.max)


def _kind(dimension: Any) -> str:
    chosen = isinstance(dimension, Choice) or (isinstance(dimension, dict) and "choice" in dimension)
    return "choice" if chosen else "range"


Dimension = Annotated[Annotated[Choice, Tag("choice")] | Annotated[Range, Tag("range")], Discriminator(_kind)]


class Tune(Section):
    """The hyperparameter search."""

    max_trials: int = Field(ge=0, le=10_000)  # 0: no search, train's own values are used
    epochs: int = Field(ge=1)  # of each trial
    fraction: float = Field(gt=0, le=1)  # part of the training images each trial sees
    objective: Literal["val_accuracy", "val_loss"]
    seed: Seed
    space: dict[str, Dimension]


class Evaluate(Section):
    """How the exported model is scored."""

    batch_size: int = Field(ge=1, le=65_536)
    calibration_bins: int = Field(ge=2, le=1000)
    mistakes: int = Field(ge=0, le=200)  # how many of the worst to picture


class Register(Section):
    """Where the model goes."""

    name: str = Field(pattern=r"^[\w][\w .-]*$")


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
        for name, dimension in self.tune.space.items():
            if name in ("epochs", "budget_minutes", "views", "tensorboard", "seed"):
                raise ValueError(f"tune.space.{name} cannot be searched; set tune.{name} or train.{name}")
            for value in dimension.extremes():
                try:
                    self.train.override({name: value})
                except ValidationError as error:
                    reasons = "; ".join(_lines(error, "train."))
                    raise ValueError(f"tune.space.{name} offers {value!r}: {reasons}") from None
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
        key = prefix + ".".join(str(part) for part in detail["loc"] if part not in _TAGS)
        if detail["type"] == "extra_forbidden":
            near = get_close_matches(str(detail["loc"][-1]), _names(detail["loc"][:-1]), n=1)
            lines.append(f"unknown key {key}" + (f", did you mean {near[0]}?" if near else ""))
        elif detail["type"] == "missing":
            lines.append(f"{key} is missing")
        elif detail["type"] == "value_error":
            lines.append(": ".join(filter(None, [key, str(detail["ctx"]["error"])])))
        else:
            message = detail["msg"].replace("Input should", "should")
            lines.append(f"{key} {message}, got {detail['input']!r}")
    return lines


def _names(location: tuple[Any, ...]) -> list[str]:
    """The keys that are known at a place in the file."""
    model: Any = Params
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = fields[part].annotation if part in fields else None
        if not hasattr(model, "model_fields"):
            return []
    return [field.alias or name for name, field in model.model_fields.items()]
