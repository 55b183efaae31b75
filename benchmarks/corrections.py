"""What corrections of doubtful labels by a rule bring: train with and without them, and compare.

    emotion data review --preset quick --epochs 12
    python benchmarks/corrections.py SEEDS EPOCHS

Run it in a project with the dataset, after the review. The labels of validation and test images stay as they are.
Finished trainings are kept in corrections.jsonl, so that a second call continues.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import VOTES, Split, open_dataset
from emotion.params.load import load_params, load_train_preset
from emotion.runtime.paths import REVIEW
from emotion.runtime.tensorflow import load_tensorflow

RESULTS = Path("corrections.jsonl")
RULES = ("none", "drop", "soften")


def corrected(train: Split, doubted: pd.DataFrame, rule: str) -> Split:
    """The training images with a rule applied to all doubtful labels."""
    suggested = doubted.set_index("name")["suggested"].reindex(train.index["name"])
    is_doubted = suggested.notna().to_numpy()
    if rule == "none":
        return train
    if rule == "drop":
        return train.select(np.flatnonzero(~is_doubted))
    index = train.index.copy()
    for emotion in train.emotions:
        ours, theirs = (index["emotion"] == emotion).to_numpy(), (suggested == emotion).to_numpy()
        index[f"{VOTES}{emotion}"] = np.where(is_doubted, 0.5 * ours + 0.5 * theirs, ours)
    return replace(train, index=index)


def run(rule: str, seed: int, epochs: int) -> dict[str, float]:
    """Train and score once."""
    from emotion.networks.inference import inference_model
    from emotion.training.input_pipeline import predict_split
    from emotion.training.trainer import fit

    targets = "soft" if rule == "soften" else "hard"
    values = {**load_train_preset("quick"), "epochs": epochs, "seed": seed, "targets": targets}
    settings = load_params().train.override(values)
    dataset, doubted = open_dataset(), pd.read_csv(REVIEW / "doubted.csv")
    train, validation, test = (
        corrected(dataset.split("train"), doubted, rule),
        dataset.split("validation"),
        dataset.split("test"),
    )
    network = inference_model(fit(settings, train, validation).network, settings.tta, dataset.input_shape)
    unseen = ~test.index["seen_in_training"].to_numpy(bool)
    scores = {"images": float(len(train))}
    for name, split, rows in (
        ("validation", validation, slice(None)), ("test", test, slice(None)), ("test_unseen", test, unseen),
    ):  # fmt: skip
        predicted = predict_split(network, split, name)[0][rows]
        labels = split.labels[rows]
        scores[f"{name}_accuracy"] = float((predicted.argmax(axis=1) == labels).mean())
        scores[f"{name}_loss"] = float(-np.log(np.maximum(predicted[np.arange(len(labels)), labels], 1e-7)).mean())
    return scores


def main() -> None:
    """Run what is missing, and print the results."""
    seeds, epochs = int(sys.argv[1]), int(sys.argv[2])
    load_tensorflow(trains=True)
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for seed in range(seeds):
        for rule in RULES:
            key = {"rule": rule, "seed": seed, "epochs": epochs}
            if not any(key.items() <= row.items() for row in done):
                done.append({**key, **run(rule, seed, epochs)})
                with RESULTS.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    frame = pd.DataFrame([row for row in done if row["epochs"] == epochs])
    columns = [str(column) for column in frame if column not in ("rule", "seed", "epochs")]
    table = Table("rule", "seeds", *columns)
    for name, rows in frame.groupby("rule", sort=False):
        each = {column: ", ".join(f"{value:.4f}" for value in rows[column]) for column in columns}
        table.add_row(str(name), str(len(rows)), *(f"{rows[it].mean():.4f} ({each[it]})" for it in columns))
    Console(width=250).print(table)


if __name__ == "__main__":
    main()
