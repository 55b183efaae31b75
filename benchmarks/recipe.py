"""Network comparison: one training per variation and seed.

    python benchmarks/recipe.py VARIATIONS.yaml [--faces data/faces] [--seeds 2] [--results FILE]

Trains on the training images and evaluates on the validation images, never on the test images.
VARIATIONS.yaml contains `base` (overrides of section `train` of params.yaml, for all variations) and `variations`
(name: further overrides; dotted keys for subsections). Each result is appended to FILE when its training ends; results
in FILE are not computed again. Prints a table with the accuracy for each value of `tta`; the other scores are for the
variation's own `tta`.
"""

import json
import statistics
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
import yaml
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import Split, open_dataset
from emotion.data.labels import EMOTIONS
from emotion.params.load import load_params
from emotion.params.sections import Train
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]
TTA_MODES = get_args(Train.model_fields["tta"].annotation)


def with_overrides(base: Train, overrides: dict[str, Any]) -> Train:
    """Override parameters; dotted keys address those of subsections."""
    content = base.model_dump()
    for key, value in overrides.items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
    return Train.model_validate(content)


def train_once(settings: Train, train: Split, validation: Split) -> dict[str, float]:
    """Train a network; return the validation scores of its inference model, and the cost of the training."""
    import keras
    import numpy as np

    from emotion.evaluation.metrics import score
    from emotion.networks.inference import inference_model
    from emotion.training.trainer import fit

    keras.backend.clear_session()
    result = fit(settings, train, validation)
    images = validation.images[..., None].astype(np.float32)
    probabilities = {
        tta: inference_model(result.network, tta, train.input_shape).predict(images, 256, verbose=0)[0]
        for tta in TTA_MODES
    }
    scores = score(validation.labels, probabilities[settings.tta], bins=15)
    last = result.rows[-1]
    disgust = EMOTIONS.index("disgust")
    is_disgust = validation.labels == disgust
    return {
        **{tta: float((probabilities[tta].argmax(axis=1) == validation.labels).mean()) for tta in TTA_MODES},
        "macro_f1": scores["macro_f1"],
        "loss": scores["loss"],
        "disgust_recall": float((probabilities[settings.tta][is_disgust].argmax(axis=1) == disgust).mean()),
        "training_accuracy": last["accuracy"],
        "epochs": last["epoch"],
        "minutes": last["seconds"] / 60,
        "parameters": result.network.count_params(),
    }


def show(names: list[str], results: list[dict[str, Any]]) -> None:
    """Print the mean of each score and, for several seeds, its standard deviation."""
    scores = ["macro_f1", "disgust_recall", "loss", "training_accuracy"]
    columns = [*TTA_MODES, *scores, "epochs", "minutes", "parameters"]
    table = Table("variation", "seeds", *columns)
    for name in names:
        rows = [result for result in results if result["name"] == name]
        cells = []
        for column in columns:
            values = [row[column] for row in rows]
            digits = 1 if column in ("minutes",) else 0 if column in ("epochs", "parameters") else 3
            deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and digits == 3 else ""
            cells.append(f"{statistics.mean(values):,.{digits}f}{deviation}" if values else "")
        table.add_row(name, str(len(rows)), *cells)
    Console(width=180).print(table)


def main(
    variations: Path,
    faces: Path = Path("data/faces"),
    seeds: int = 1,
    results: Annotated[Path, typer.Option(help="File for the results.")] = Path("recipe.jsonl"),
) -> None:
    """Train what the results file does not contain yet; print all results."""
    content = yaml.safe_load(variations.read_text())
    base = with_overrides(load_params(ROOT / "params.yaml").train, content["base"])
    load_tensorflow(trains=True)
    dataset = open_dataset(faces)
    train, validation = dataset.split("train"), dataset.split("validation")
    completed = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in range(seeds):
        for name, overrides in content["variations"].items():
            if any(result["name"] == name and result["seed"] == seed for result in completed):
                continue
            print(f"== {name}, seed {seed}", flush=True)
            scores = train_once(with_overrides(base, {**overrides, "seed": seed}), train, validation)
            completed.append({"name": name, "seed": seed, **scores})
            with results.open("a") as file:
                file.write(json.dumps(completed[-1]) + "\n")
    show(list(content["variations"]), completed)


if __name__ == "__main__":
    typer.run(main)
