"""The sections of params.yaml, in the order of the stages, with the bounds of every value."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from emotion.data.layouts.words import EMOTION_OF, RESERVED, LabelMap
from emotion.params.intended_use import IntendedUse
from emotion.params.space import Minutes, Scalar, Seed, Tune
from emotion.params.validation import Section, format_validation_errors
from emotion.runtime.errors import UserError


def _not_a_misspelling(emotion: str) -> str:
    if emotion in RESERVED:
        raise ValueError(f"{emotion!r} cannot be the name of an emotion: it has another meaning here")
    similar = LabelMap().similar(emotion)
    if similar and emotion not in EMOTION_OF:
        raise ValueError(f"{emotion!r} looks like {EMOTION_OF[similar]!r}; write that, or a name that differs more")
    return EMOTION_OF.get(emotion, emotion)


Numbering = Literal["fer2013", "ferplus", "rafdb", "affectnet", "ckplus", "alphabetical7", "alphabetical8"]
EmotionName = Annotated[str, Field(pattern=r"^[a-z][a-z -]{1,30}$"), AfterValidator(_not_a_misspelling)]


def _each_label_once(labels: dict[str | int, str | None]) -> dict[str | int, str | None]:
    LabelMap.from_parameter(labels)
    return labels


Labels = (
    Numbering | Annotated[dict[str | Annotated[int, Field(ge=0)], EmotionName | None], AfterValidator(_each_label_once)]
)
Fraction = Annotated[float, Field(ge=0, le=1)]
NOT_SEARCHABLE = ("epochs", "budget_minutes", "tta", "tensorboard", "seed")


class Fetch(Section):
    """The source of the faces."""

    source: Literal["synthetic", "path", "kaggle"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    images: int = Field(ge=70, le=1_000_000)  # synthetic: number of faces to draw
    seed: Seed  # synthetic: random seed of the drawings
    path: str = Field(
        min_length=1, pattern=r"^[^\x00]*$"
    )  # path: a folder, a zip or tar file, a table, or an http(s) address
    dataset: str = Field(pattern=r"^[\w-]+/[\w.-]+$")  # kaggle: owner/name
    version: Annotated[int, Field(ge=1)] | None = None  # kaggle: None for the latest version
    # What labels mean that are no usual words: a numbering, or an emotion for each label, or None to leave it out
    labels: Labels | None = None


class Preprocess(Section):
    """Settings for converting images into a dataset with three splits."""

    protocol: Literal["auto", "challenge", "folders"]
    validation_fraction: float = Field(gt=0, lt=0.5)  # the fraction of the training images, if there is no validation
    test_fraction: float = Field(gt=0, lt=0.5)  # the fraction of the training images, if there are no test images
    gate_fraction: float = Field(ge=0, lt=1)  # the fraction of the test images that only `emotion promote` looks at
    detect_faces: bool  # find, cut out and align the face in each image, which is a photograph
    image_size: Literal[48, 64, 96, 112]  # pixels per side of the dataset's images
    colors: Literal["gray", "rgb"]  # of the dataset's images
    corrections: bool  # apply data/corrections.csv
    drop_leaked: bool  # drop training images that are also in validation or test
    max_bad_fraction: Fraction  # fail if a larger fraction of the images cannot be read
    seed: Seed


class Augmentation(Section):
    """Random transformations of the training images; 0 disables a transformation."""

    flip: Literal["none", "random", "alternate"]  # alternate: every second epoch; half of the images start flipped
    rotation: float = Field(ge=0, le=90)  # degrees in either direction
    zoom: float = Field(ge=0, lt=1)  # fraction of the size, in either direction
    translation: float = Field(ge=0, lt=1)  # fraction of the size, in either direction
    erasing: float = Field(ge=0, lt=1)  # maximum side of the erased square, as a fraction of the size


class Transfer(Section):
    """Settings of the keras.applications networks."""

    weights: str = Field(min_length=1)  # imagenet | none | path of a .weights.h5 or .keras file
    image_size: int = Field(ge=32, le=1024)  # pixels per side to which faces are enlarged
    fine_tune_from: str | None = None  # the first layer to train; None trains only the head


class Train(Section):
    """The network and its training. `tune.space` may override any scalar here."""

    network: Literal["residual", "vgg", "basic_cnn", "mobilenet_v2", "vgg16", "resnet50", "efficientnet_b0"]
    width: int = Field(ge=1, le=512)  # channels of the first block
    ensemble: int = Field(ge=1, le=16)  # number of networks trained together, whose probabilities are averaged
    dropout: float = Field(ge=0, lt=1)
    transfer: Transfer
    precision: Literal["auto", "float32", "bfloat16"]
    optimizer: Literal["muon", "sgd", "adamw"]
    learning_rate: float = Field(gt=0, le=10)  # peak of the schedule; with muon, for the matrices it orthogonalizes
    sgd_learning_rate: float = Field(gt=0, le=10)  # muon: peak for all other weights
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    targets: Literal["hard", "soft", "drawn"]  # the label; the distribution of votes; a label drawn from the votes
    class_weight_power: Fraction  # exponent of the inverse class frequency in the loss weights
    batch_size: int = Field(ge=1, le=65_536)
    epochs: int = Field(ge=1, le=100_000)
    budget_minutes: Minutes | None = None  # wall-clock budget that replaces epochs
    warmup: float = Field(ge=0, lt=1)  # fraction of the training during which the learning rate rises
    tta: Literal["plain", "flip", "flip_and_shift"]  # views that the exported model averages
    augmentation: Augmentation
    tensorboard: bool  # write logs for TensorBoard to reports/tensorboard
    seed: Seed

    @model_validator(mode="after")
    def _fits_the_network(self) -> "Train":
        if self.ensemble > 1 and self.network not in ("residual", "vgg"):
            raise ValueError(f"ensemble above 1 needs network residual or vgg, got {self.network}")
        return self

    def merged(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return this section as a dictionary with some values replaced, without validating them.

        Args:
            values: new values by name; dotted names refer to subsections, as in `augmentation.erasing`.
        """
        content = self.model_dump()
        for name, value in values.items():
            *sections, last = name.split(".")
            section = content
            for key in sections:
                inner = section.get(key)
                section[key] = section = inner if isinstance(inner, dict) else {}
            section[last] = value
        return content

    def override(self, values: Mapping[str, Any]) -> "Train":
        """Return a validated copy with some values replaced (see `merged`).

        Raises:
            ValidationError: if a name is unknown or a value is out of bounds.
        """
        return Train.model_validate(self.merged(values))


class Evaluate(Section):
    """Settings for scoring the exported model."""

    batch_size: int = Field(ge=1, le=65_536)
    calibration_bins: int = Field(ge=2, le=1000)
    target_accuracy: Fraction  # on the validation images that are not classified as "unsure"
    mistakes: int = Field(ge=0, le=200)  # number of worst mistakes to show
    robustness_images: int = Field(ge=1, le=1_000_000)  # maximum number of images that are also scored with corruptions


class Gate(Section):
    """The rules of `emotion promote`. Every bound is inclusive."""

    min_accuracy: Fraction  # on the test images
    max_calibration_error: Fraction  # expected calibration error, on the test images
    max_size_mib: float = Field(gt=0)  # of the SavedModel
    max_latency_ratio: float = Field(gt=0)  # latency for a single image, relative to the champion
    policy: Literal["improve", "not_worse"]  # what a version needs, compared with the champion
    max_accuracy_loss: float = Field(gt=0, le=1)  # a loss that must be excluded, compared with the champion
    significance: float = Field(gt=0, lt=0.5)  # of every comparison with the champion, one-sided
    max_recall_loss: float = Field(gt=0, le=1)  # maximum loss of recall for any emotion, compared with the champion
    max_group_loss: float = Field(gt=0, le=1)  # maximum loss of accuracy for any group, compared with the champion
    max_uses: int = Field(ge=1)  # decisions about the same test images before a warning


class Register(Section):
    """The registered model and its promotion rules."""

    name: str = Field(pattern=r"^[\w][\w .-]*$")
    intended_use: IntendedUse
    exports: bool  # compare the LiteRT files on the model card, too
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
            if name in NOT_SEARCHABLE:
                raise ValueError(f"tune.space.{name} cannot be searched; set it under tune or train")
        for values in self.tune.pairwise_boundaries():
            try:
                self.train.override(values)
            except ValidationError as error:
                combination = " with ".join(f"{name} {value!r}" for name, value in values.items())
                reasons = format_validation_errors(error, self.train.merged(values), Train, "train")
                raise ValueError(f"tune.space allows {combination}: {'; '.join(reasons)}") from None
        return self

    def with_hyperparameters(self, values: Mapping[str, Scalar], origin: str) -> "Params":
        """Return a copy in which hyperparameters from a search override those of `train`.

        Raises:
            UserError: if a name is unknown or a value is out of bounds. The message names `origin`.
        """
        return self.model_copy(update={"train": with_values(self.train, values, origin)})


def with_values(train: Train, values: Mapping[str, Any], origin: str) -> Train:
    """Apply `Train.override` to values from a file.

    Raises:
        UserError: if a name is unknown or a value is out of bounds. The message names `origin`.
    """
    try:
        return train.override(values)
    except ValidationError as error:
        reasons = format_validation_errors(error, train.merged(values), Train, "train")
        raise UserError("; ".join(f"{origin}: {reason}" for reason in reasons)) from None
