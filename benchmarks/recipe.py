"""What each part of the recipe, or each network, brings: one training per variation and seed.

    python benchmarks/recipe.py VARIATIONS.yaml [--faces data/faces] [--seeds 2] [--results FILE]

Trains on the training images and scores validation, never test. VARIATIONS.yaml holds `base`
(what all change in `train` of params.yaml, or in a `preset`) and `variations` (name: what this
one changes beyond that; dotted keys reach into subsections). Every result is a line of FILE at once, and
what stands there is not trained again. Prints a table; the accuracy is that of each way to
average views, all other scores are those of `views`.
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
from emotion.params.load import load_params, load_preset
from emotion.params.sections import Train
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]
VIEWS = get_args(Train.model_fields["tta"].annotation)


def changed(base: Train, changes: dict[str, Any]) -> Train:
    """Override parameters, also those of subsections by dotted names."""
    content = base.model_dump()
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
    return Train.model_validate(content)


def train_once(settings: Train, train: Split, validation: Split) -> dict[str, float]:
    """Validation scores of the shipped form of the best epoch, and what it cost."""
    import keras
    import numpy as np

    from emotion.evaluation.metrics import score
    from emotion.networks.inference import inference_model
    from emotion.training.trainer import fit

    keras.backend.clear_session()
    fitted = fit(settings, train, validation)
    images = validation.images[..., None].astype(np.float32)
    answers = {views: inference_model(fitted.network, views).predict(images, 256, verbose=0) for views in VIEWS}
    scores = score(validation.labels, answers[settings.tta], bins=15)
    last = fitted.rows[-1]
    disgust = validation.labels == EMOTIONS.index("disgust")
    return {
        **{views: float((answers[views].argmax(axis=1) == validation.labels).mean()) for views in VIEWS},
        "macro_f1": scores["macro_f1"],
        "loss": scores["loss"],
        "disgust_recall": float((answers[settings.tta][disgust].argmax(axis=1) == EMOTIONS.index("disgust")).mean()),
        "training_accuracy": last["accuracy"],
        "epochs": last["epoch"],
        "minutes": last["seconds"] / 60,
        "parameters": fitted.network.count_params(),
    }


def show(names: list[str], results: list[dict[str, Any]]) -> None:
    """Mean and, over several seeds, the spread."""
    scores = ["macro_f1", "disgust_recall", "loss", "training_accuracy"]
    columns = [*VIEWS, *scores, "epochs", "minutes", "parameters"]
    table = Table("variation", "seeds", *columns)
    for name in names:
        rows = [result for result in results if result["name"] == name]
        cells = []
        for column in columns:
            values = [row[column] for row in rows]
            digits = 1 if column in ("minutes",) else 0 if column in ("epochs", "parameters") else 3
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 and digits == 3 else ""
            cells.append(f"{statistics.mean(values):,.{digits}f}{spread}" if values else "")
        table.add_row(name, str(len(rows)), *cells)
    Console(width=180).print(table)


def main(
    variations: Path,
    faces: Path = Path("data/faces"),
    seeds: int = 1,
    results: Annotated[Path, typer.Option(help="Kept results.")] = Path("recipe.jsonl"),
) -> None:
    """Train what is not there yet and show all."""
    content = yaml.safe_load(variations.read_text())
    preset = load_preset(content["preset"]) if "preset" in content else {}
    of_train = {key.removeprefix("train."): value for key, value in preset.items() if key.startswith("train.")}
    base = changed(load_params(ROOT / "params.yaml").train, {**of_train, **content["base"]})
    load_tensorflow()
    opened = open_dataset(faces)
    train, validation = opened.split("train"), opened.split("validation")
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in range(seeds):
        for name, changes in content["variations"].items():
            if any(result["name"] == name and result["seed"] == seed for result in done):
                continue
            print(f"== {name}, seed {seed}", flush=True)
            scores = train_once(changed(base, {**changes, "seed": seed}), train, validation)
            done.append({"name": name, "seed": seed, **scores})
            with results.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    show(list(content["variations"]), done)


if __name__ == "__main__":
    typer.run(main)
