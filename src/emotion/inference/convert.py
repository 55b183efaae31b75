"""Convert a SavedModel for other runtimes, and check that the predictions stay the same."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Dataset, Images, InputShape, Split, as_pixels, subset
from emotion.data.labels import LABELS
from emotion.evaluation.significance import mcnemar_test
from emotion.inference.benchmark import measure_speed
from emotion.inference.litert import LiteRT, with_labels
from emotion.inference.load import NOVELTY_LIMIT, Fast, Model, assess, check_classes, load_saved_model
from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write, folder_size
from emotion.runtime.tensorflow import silent_stderr

Format = Literal["litert", "int8", "onnx"]

MAX_DIFFERENCE = 1e-4  # of a probability, for formats with full precision
MAX_NOVELTY_DIFFERENCE = 1e-3  # for the same formats, relative to the novelty
MAX_LOSS = 0.02  # for int8: of validation accuracy, and of validation images that are as familiar as before
SIGNIFICANCE = 0.05  # a larger loss counts only with a lower p-value: one of 35 images is 2.9%
CALIBRATION_IMAGES = 300  # training images that determine the ranges for int8
MAX_IMAGES = 1000  # validation images for the comparison
BATCH = 32
ONNX_OPSET = 18
# Operations that int8 files compute in float32: the novelty is a small difference between large numbers.
FLOAT_OPS = (
    "ADD_N", "FULLY_CONNECTED", "L2_NORMALIZATION", "LOG", "MAXIMUM", "MEAN", "RSQRT", "SOFTMAX", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SUB", "SUM",
)  # fmt: skip


class RefusedError(UserError):
    """A model cannot be converted, or its predictions would differ too much."""


@dataclass(frozen=True)
class Parity:
    """A converted file compared with its SavedModel."""

    size_mib: float
    size_before_mib: float  # the SavedModel's
    max_difference: float  # of any probability
    agreement: float  # share of images with the same predicted emotion
    accuracy: float  # on validation images
    accuracy_before: float  # the SavedModel's, on the same
    p_value: float  # of the difference in accuracy (McNemar's exact test)
    # Of models that measure novelty:
    novelty_difference: float | None  # the largest, relative to the SavedModel's novelty
    same_familiarity: float | None  # share of images that both call familiar, or both unfamiliar
    speed: dict[str, float]  # see `measure_speed`
    speed_before: dict[str, float]


def convert(saved_model: Path, to_format: Format, target: Path, dataset: Dataset, fast: bool = False) -> Parity:
    """Write a converted file, and compare its predictions for validation images with the SavedModel's.

    Args:
        saved_model: the folder of the SavedModel.
        to_format: litert (float32), int8 (LiteRT with 8-bit convolutions) or onnx. If the SavedModel has the
            endpoint `assess`, the file has its two outputs.
        target: the file to write.
        dataset: its training images calibrate int8; its validation images are for the comparison.
        fast: whether to convert the endpoint `fast`, which returns only probabilities.

    Raises:
        RefusedError: if the model cannot be converted, or the predictions differ too much; then nothing is written.
        UserError: if the SavedModel or the target is unusable.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; name the file to write.")
    before: Model = load_saved_model(saved_model)
    if fast:
        before = Fast(before)
    check_classes(before, dataset)
    validation = compared_images(dataset)
    train = dataset.split("train")
    examples = subset(train, min(1.0, CALIBRATION_IMAGES / len(train)), seed=0).images
    with atomic_write(target) as tmp:
        tmp.write_bytes(_convert(saved_model, before, to_format, examples))
        sizes = tmp.stat().st_size / 2**20, folder_size(saved_model) / 2**20
        parity = _compare(before, _load(tmp, to_format), sizes, validation.images, validation.labels)
        _check(parity, to_format)
    return parity


def compared_images(dataset: Dataset) -> Split:
    """Return the validation images that files are compared on."""
    validation = dataset.split("validation")
    return subset(validation, min(1.0, MAX_IMAGES / len(validation)), seed=0)


def _convert(saved_model: Path, model: Model, to_format: Format, examples: Images) -> bytes:
    from tensorflow.lite.python.convert_phase import ConverterError

    signature = "fast" if isinstance(model, Fast) else "assess" if hasattr(model, "assess") else "serving_default"
    with warnings.catch_warnings(), silent_stderr():
        warnings.simplefilter("ignore")  # the converters use deprecated parts of TensorFlow and numpy
        try:
            if to_format == "onnx":
                return _onnx(model)
            content = _litert(saved_model, signature, examples if to_format == "int8" else None)
        except (ConverterError, RuntimeError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
            raise RefusedError(
                f"the model cannot be converted to {to_format}: {reason}. Nothing was written. Use the SavedModel."
            ) from error
        return with_labels(content, model.emotions)


def _litert(saved_model: Path, signature: str, examples: Images | None) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[signature])
    if examples is None:
        content: bytes = converter.convert()
        return content

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for face in examples:
            yield [as_pixels(face[None]).astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    # The converter alone quantizes everything; its debugger can leave operations out.
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(FLOAT_OPS))
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=representative, debug_options=options
    )
    quantized: bytes = debugger.get_nondebug_quantized_model()
    return quantized


def _onnx(model: Model) -> bytes:
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec((None, *model.input_shape), tf.float32, name="pixels")]

    def outputs(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        assess = getattr(model, "assess", None)
        return assess(pixels) if assess else {"probabilities": model.serve(pixels)}

    function = tf.function(outputs, input_signature=signature, autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, signature, opset=ONNX_OPSET)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    proto.metadata_props.add(key=LABELS.stem, value="\n".join(model.emotions))
    content: bytes = proto.SerializeToString()
    return content


class _Onnx:
    input_shape: InputShape

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path.read_bytes())
        (pixels,) = self._session.get_inputs()
        self._name, self.input_shape = pixels.name, tuple(pixels.shape[1:])
        self.emotions = tuple(self._session.get_modelmeta().custom_metadata_map[LABELS.stem].splitlines())
        self._outputs = [output.name for output in self._session.get_outputs()]
        if "novelty" in self._outputs:
            self.assess = self._run

    def serve(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._run(pixels)["probabilities"]

    def _run(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self._outputs, self._session.run(None, {self._name: pixels}), strict=True))


def _load(path: Path, to_format: Format) -> Model:
    return _Onnx(path) if to_format == "onnx" else LiteRT(path)


def _compare(
    before: Model, after: Model, sizes: tuple[float, float], images: Images, labels: NDArray[np.int64]
) -> Parity:
    (ours, novelty_before), (theirs, novelty) = assess(before, images, BATCH), assess(after, images, BATCH)
    correct = [probabilities.argmax(axis=1) == labels for probabilities in (ours, theirs)]
    measured = bool(np.isfinite(novelty_before).all())
    return Parity(
        size_mib=sizes[0],
        size_before_mib=sizes[1],
        max_difference=float(np.abs(ours - theirs).max()),
        agreement=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        accuracy=float(correct[1].mean()),
        accuracy_before=float(correct[0].mean()),
        p_value=mcnemar_test(*correct)["p_value"],
        novelty_difference=float((np.abs(novelty - novelty_before) / novelty_before).max()) if measured else None,
        same_familiarity=float(((novelty > NOVELTY_LIMIT) == (novelty_before > NOVELTY_LIMIT)).mean())
        if measured
        else None,
        speed=measure_speed(after, images, BATCH),
        speed_before=measure_speed(before, images, BATCH),
    )


def _check(parity: Parity, to_format: Format) -> None:
    if to_format == "int8":
        loss = parity.accuracy_before - parity.accuracy
        if loss > MAX_LOSS and parity.p_value < SIGNIFICANCE:
            raise RefusedError(
                f"int8 costs {loss:.1%} of validation accuracy (p = {parity.p_value:.2g}), more than"
                f" {MAX_LOSS:.0%}: nothing was written. Use `--format litert`, which does not lose accuracy."
            )
        if parity.same_familiarity is not None and 1 - parity.same_familiarity > MAX_LOSS:
            raise RefusedError(
                f"int8 changes whether an image is familiar for {1 - parity.same_familiarity:.1%} of the validation"
                f" images, more than {MAX_LOSS:.0%}: nothing was written. Use `--format litert`, which does not."
            )
    elif parity.max_difference > MAX_DIFFERENCE or (parity.novelty_difference or 0) > MAX_NOVELTY_DIFFERENCE:
        raise RefusedError(
            f"the file's outputs differ from the SavedModel's: probabilities by up to {parity.max_difference:.2g}"
            f" (allowed: {MAX_DIFFERENCE:g}), novelty by up to {parity.novelty_difference or 0:.2g} of its value"
            f" (allowed: {MAX_NOVELTY_DIFFERENCE:g}); nothing was written. Use the SavedModel itself."
        )
