"""Run variations of the parameters as DVC experiments, and compare them on validation images.

    python benchmarks/experiments.py VARIATIONS.yaml [--seeds 2]

VARIATIONS.yaml contains a `preset` (optional), `base` (values for `dvc exp run -S`, for all variations) and
`variations` (name: further values); the others are compared with the first. Each training is the DVC experiment
VARIATIONS-NAME-SEED up to the stage `evaluate`, with its run in MLflow. Run `make repro` before: DVC needs the
outputs of the stage after it. Complete experiments are not repeated, even if their values have changed since: give
them another name. Do not edit params.yaml while it runs: it is restored after each training. models/, reports/ and
dvc.lock are left as the last training wrote them. Test images decide nothing: hold out a fifth of the training images
by `preprocess.validation_fraction: 0.2`.

Prints a table with means over the seeds, and their standard deviations. The difference of log loss is that of each
image, averaged over the seeds, with its standard error over the images.
"""

import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.table import Table

from emotion.evaluation import predictions
from emotion.params.load import load_params, load_preset
from emotion.registry.comparison.compare import Comparison, compare_runs
from emotion.registry.names import find_runs
from emotion.runtime.errors import UserError

METRICS = ("validation/accuracy", "validation/macro_f1", "validation/loss", "train/accuracy", "train/seconds")


def experiment_name(file: Path, variation: str, seed: int) -> str:
    """The name of a DVC experiment, of the characters that Git allows."""
    return f"{file.stem}-{re.sub(r'[^a-z0-9.]+', '-', variation.lower()).strip('-')}-{seed}"


def is_complete(name: str) -> bool:
    """Whether a DVC experiment has been trained and evaluated."""
    try:
        (run,) = find_runs(load_params().register_.name, name)
    except UserError:
        return False
    return set(METRICS) <= set(run.metrics)


def train(name: str, values: dict[str, Any]) -> None:
    """Run a DVC experiment; leave params.yaml as it was."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "params.yaml"]).returncode:
        sys.exit("params.yaml has changes. Commit them, or undo them: git restore --staged --worktree params.yaml")
    options = [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
    try:
        status = subprocess.run(["dvc", "exp", "run", "--name", name, *options, "evaluate"]).returncode
    finally:
        subprocess.run(["git", "restore", "--staged", "--worktree", "params.yaml"])
    if status:
        sys.exit(f"{name} failed.")


def compare(names: list[str]) -> Comparison:
    """Compare experiments with the first, by their predictions for validation images."""
    return compare_runs(find_runs(load_params().register_.name, *names), names, split="validation")


def loss_difference(comparisons: list[Comparison], row: int) -> str:
    """The difference of log loss between a row and the first, over all seeds, with its standard error."""
    changes = []
    for comparison in comparisons:
        tables = comparison.predictions
        first, other = (predictions.losses(tables[comparison.labels[index]]) for index in (0, row))
        changes.append(other - first)
    of_images = np.mean(changes, axis=0)
    return f"{of_images.mean():+.4f} ± {of_images.std() / len(of_images) ** 0.5:.4f}"


def main(variations: Path, seeds: int = 1) -> None:
    """Run the experiments that are missing; print all results."""
    content = yaml.safe_load(variations.read_text())
    base = {**(load_preset(content["preset"]) if "preset" in content else {}), **content["base"]}
    names = list(content["variations"])
    for seed in range(seeds):
        for name in names:
            values = {**base, **content["variations"][name], "train.seed": seed}
            experiment = experiment_name(variations, name, seed)
            if not is_complete(experiment):
                train(experiment, values)
    comparisons = [compare([experiment_name(variations, name, seed) for name in names]) for seed in range(seeds)]
    table = Table("variation", *METRICS, "difference of log loss")
    for row, name in enumerate(names):
        cells = []
        for metric in METRICS:
            scores = [comparison.runs[row].metrics[metric] for comparison in comparisons]
            deviation = f" ± {statistics.stdev(scores):.2g}" if seeds > 1 else ""
            cells.append(f"{statistics.mean(scores):.4g}{deviation}")
        table.add_row(name, *cells, loss_difference(comparisons, row) if row else "")
    Console(width=180).print(table)


if __name__ == "__main__":
    typer.run(main)
