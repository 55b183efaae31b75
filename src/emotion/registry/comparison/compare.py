"""Compare runs with the first of them."""

import ast
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emotion.evaluation import predictions
from emotion.evaluation.significance import mcnemar_test
from emotion.runtime.errors import UserError
from emotion.runtime.paths import EVALUATION
from emotion.tracking.queries import RunInfo, read_artifact
from emotion.tracking.stage_runs import VALIDATION_FOLDER

SPLITS = {"test": f"{EVALUATION.name}/test", "validation": VALIDATION_FOLDER}  # the folders of their predictions
SIGNIFICANCE = 0.05
MISSING = "not recorded"  # shown for a parameter that a run lacks
EPOCHS = "train/"  # metrics of epochs: of the last one only, which means little


@dataclass(frozen=True)
class PairedTest:
    """A run compared with the first on the same images (McNemar's exact test; the difference of log loss)."""

    run: str
    first: str
    split: str  # whose images: test or validation
    images: int
    difference: float  # of the accuracy
    only_first: int  # images that only the first run predicts correctly
    only_second: int
    p_value: float
    loss_difference: float  # of the log loss, in nats per image
    loss_error: float  # the standard error of this difference

    @property
    def sentence(self) -> str:
        """What the test says, in words."""
        if self.p_value >= SIGNIFICANCE:
            verdict = "The difference is not significant"
        else:
            verdict = f"{self.run if self.difference > 0 else self.first} is significantly better"
        points = f"{abs(100 * self.difference):.1f} percentage points {'lower' if self.difference < 0 else 'higher'}"
        return (
            f"On {self.images:,} {self.split} images, the accuracy of {self.run} is {points} than that of {self.first}."
            f" {self.only_second} images are correct only with {self.run}, {self.only_first} only with {self.first}."
            f" {verdict} (McNemar's exact test, p = {self.p_value:.2g}). The log loss of {self.run} is"
            f" {abs(self.loss_difference):.4f} {'lower' if self.loss_difference < 0 else 'higher'}"
            f" (standard error {self.loss_error:.4f})."
        )


@dataclass(frozen=True)
class Comparison:
    """The differences between runs, a column per run."""

    labels: list[str]
    runs: list[RunInfo]
    params: pd.DataFrame  # only those that differ
    metrics: pd.DataFrame  # those that at least two runs have, without those of epochs
    split: str  # the images whose predictions are compared
    predictions: dict[str, pd.DataFrame]  # by label, of the runs that predicted the same images as the first
    tests: list[PairedTest]


def compare_runs(runs: Sequence[RunInfo], labels: Sequence[str], split: str | None = None) -> Comparison:
    """Compare every run with the first.

    Args:
        runs: the runs.
        labels: what to call them.
        split: whose predictions to compare, test or validation; None for the test images if possible.

    Raises:
        UserError: for fewer than two different runs.
    """
    if len({run.id for run in runs}) < 2 or len(set(labels)) < len(labels):
        raise UserError("a comparison needs at least two different runs, each once.")
    metrics = {
        label: {key: value for key, value in run.metrics.items() if not key.startswith(EPOCHS)}
        for label, run in zip(labels, runs, strict=True)
    }
    split, tables = _predictions(runs, labels, [split] if split else list(SPLITS))
    first, *others = labels
    tests = [_paired_test(label, first, split, tables) for label in others if label in tables]
    return Comparison(
        list(labels), list(runs), _differing(runs, labels), pd.DataFrame(metrics).dropna(thresh=2), split, tables, tests
    )


def _paired_test(label: str, first: str, split: str, tables: Mapping[str, pd.DataFrame]) -> PairedTest:
    result = mcnemar_test(predictions.is_correct(tables[first]), predictions.is_correct(tables[label]))
    changes = predictions.losses(tables[label]) - predictions.losses(tables[first])
    error = float(changes.std() / len(changes) ** 0.5)
    return PairedTest(
        label, first, split, int(result["images"]), result["difference"], int(result["only_first"]),
        int(result["only_second"]), result["p_value"], float(changes.mean()), error,
    )  # fmt: skip


def _differing(runs: Sequence[RunInfo], labels: Sequence[str]) -> pd.DataFrame:
    """The parameters that differ; `[0, 1]` and `(0, 1)`, or 1 and 1.0, do not. Those that a run lacks are MISSING."""
    table = pd.DataFrame({label: run.params for label, run in zip(labels, runs, strict=True)})
    is_trial = any(run.tags.get("stage") == "trial" for run in runs)  # has fewer parameters than a training
    table = table.dropna() if is_trial else table.fillna(MISSING)  # others lack those that came later
    values = table.map(_canonical)
    return table[values.nunique(axis=1) > 1]


def _canonical(text: str) -> str:
    try:
        value = ast.literal_eval(text)
        if isinstance(value, list | tuple):
            return str([_canonical(str(item)) for item in value])
        return str(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else text
    except (ValueError, SyntaxError, OverflowError, MemoryError, RecursionError):  # anyone can edit a parameter's text
        return text


def _predictions(
    runs: Sequence[RunInfo], labels: Sequence[str], splits: Sequence[str]
) -> tuple[str, dict[str, pd.DataFrame]]:
    """The predictions that can be compared with the first run's, for the images of the first split that has some."""
    of_split = {split: _comparable_predictions(runs, labels, SPLITS[split]) for split in splits}
    split = next((split for split, tables in of_split.items() if len(tables) > 1), splits[-1])
    return split, of_split[split]


def _comparable_predictions(runs: Sequence[RunInfo], labels: Sequence[str], folder: str) -> dict[str, pd.DataFrame]:
    tables = {label: _read_predictions(run.id, folder) for label, run in zip(labels, runs, strict=True)}
    first = tables[labels[0]]
    return {
        label: table
        for label, table in tables.items()
        if first is not None and table is not None and predictions.same_images(first, table)
    }


def _read_predictions(run_id: str, folder: str) -> pd.DataFrame | None:
    """The predictions that a run logged; None if it has none."""
    content = read_artifact(run_id, f"{folder}/{predictions.FILE_NAME}")
    if content is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / predictions.FILE_NAME
        path.write_bytes(content)
        return predictions.read(path, f"It is an artifact of run {run_id}: compare others, or train again.")
