"""How many networks does an ensemble need, and how much do they differ?

    python benchmarks/ensemble.py

Reads models/classifier.keras, data/faces and the views of `train.tta`, from a training with `train.ensemble` above 1.
The networks of an ensemble are trained independently, so the ensembles of n of them show what `train.ensemble: n`
would reach. Prints, for each n, mean and standard deviation over these ensembles of the scores on validation images;
the log loss is that after temperature scaling. Ensembles of the same networks are alike, so the standard deviation of
large ones is too small.
"""

from itertools import combinations

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import Dataset, open_dataset
from emotion.evaluation.metrics import score
from emotion.networks.build import members
from emotion.networks.calibration import apply_temperature, fit_temperature
from emotion.networks.inference import inference_model
from emotion.params.load import load_params
from emotion.runtime.paths import CLASSIFIER
from emotion.training.input_pipeline import predict_split

METRICS = {"accuracy": "{:.2%}", "macro_f1": "{:.3f}", "loss": "{:.4f}"}


def predict(dataset: Dataset) -> list[NDArray[np.float32]]:
    """The probabilities of each network for the validation images, averaged over the views."""
    network = keras.saving.load_model(CLASSIFIER, compile=False)
    tta, validation = load_params().train.tta, dataset.split("validation")
    parts = [keras.Model(network.input, output, name=network.name) for output in members(network).outputs]
    models = [inference_model(part, tta, dataset.input_shape) for part in parts]
    return [predict_split(model, validation, f"Network {number}")[0] for number, model in enumerate(models, 1)]


def main() -> None:
    """Print a table with a row per number of networks."""
    dataset = open_dataset()
    labels, predictions, rows = dataset.split("validation").labels, predict(dataset), []
    for networks in range(1, len(predictions) + 1):
        scores = []
        for chosen in combinations(predictions, networks):
            mean = np.mean(chosen, axis=0)
            calibrated = apply_temperature(mean, fit_temperature(labels, mean)).astype(np.float32)
            scores.append(score(labels, calibrated, bins=15))
        table = pd.DataFrame(scores)[list(METRICS)]
        cells = {
            name: f"{form.format(table[name].mean())} ± {form.format(table[name].std(ddof=0))}"
            for name, form in METRICS.items()
        }
        rows.append({"networks": networks, "ensembles": len(table), **cells})
    print(f"{dataset.caption}: {len(labels)} validation images")
    print(pd.DataFrame(rows).to_markdown(index=False))


if __name__ == "__main__":
    main()
