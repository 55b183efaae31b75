"""Train the classifier with the best hyperparameters and export it.

    python -m emotion.train

Reads data/faces/, models/hyperparameters.json and `params: train`, whose scalars the hyperparameters override;
writes models/classifier.keras, models/saved_model/, reports/history.csv, reports/curves.png, reports/network/ (its
layers) and reports/runs/train.json (the record of its MLflow run). The state after each epoch is saved in
models/checkpoints/ until `evaluate`, so that a killed training run can continue.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotion.data.dataset import Dataset, open_dataset, subset
from emotion.networks.calibration import choose_temperature
from emotion.params.load import load_params
from emotion.params.sections import Train
from emotion.runtime.errors import run_main
from emotion.runtime.files import atomic_write
from emotion.runtime.paths import CLASSIFIER, HISTORY, HYPERPARAMETERS, SAVED_MODEL, TENSORBOARD, project_root
from emotion.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:  # they import TensorFlow
    import keras

    from emotion.training.callbacks import Callback
    from emotion.training.checkpoints import Checkpoints
    from emotion.training.trainer import TrainingResult


FAMILIAR_IMAGES = 5_000  # training images at most that describe what is familiar


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, and the network that is exported."""

    training: "TrainingResult"
    exported: "keras.Model"
    temperatures: Mapping[str, float]  # of the exported network's accurate and fast probabilities

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the MLflow run of the training."""
        accurate, fast = (f"{self.temperatures[name]:.4f}" for name in ("accurate", "fast"))
        return {"precision": self.training.precision, "temperature": accurate, "temperature.fast": fast}


def train(
    settings: Train, dataset: Dataset, checkpoints: "Checkpoints", callbacks: "Sequence[Callback]"
) -> TrainedModel:
    """Train a network, calibrate it on the validation images, and describe which faces are familiar to it."""
    from emotion.networks.familiarity import feature_weights, fit_familiarity
    from emotion.networks.inference import Calibrated, exported_model, inference_models
    from emotion.training.input_pipeline import predict_split
    from emotion.training.trainer import fit

    training, validation = dataset.split("train"), dataset.split("validation")
    result = fit(settings, training, validation, callbacks, checkpoints)
    accurate, fast = inference_models(result.network, settings.tta, dataset.input_shape)
    probabilities, *features = predict_split(accurate, validation, "Predicting validation images")
    fast_probabilities, *_ = predict_split(fast, validation, "Predicting validation images with the fast signature")
    predicted = {"accurate": probabilities, "fast": fast_probabilities}
    temperatures = {name: choose_temperature(validation.labels, values) for name, values in predicted.items()}
    print(f"Temperature, fitted on the validation images: {temperatures['accurate']:.2f}.")
    some = subset(training, min(1.0, FAMILIAR_IMAGES / len(training)), settings.seed)
    _, *familiar = predict_split(accurate, some, "Computing what is familiar")
    familiarity = fit_familiarity(familiar, features, feature_weights(result.network))
    exported = exported_model(
        Calibrated(accurate, temperatures["accurate"]), Calibrated(fast, temperatures["fast"]), familiarity
    )
    return TrainedModel(result, exported, temperatures)


def save(model: TrainedModel, emotions: Sequence[str]) -> None:
    """Write the trained network, the exported SavedModel, and the training history."""
    from emotion.networks.inference import export

    with atomic_write(CLASSIFIER) as tmp:
        model.training.network.save(tmp)
    with atomic_write(SAVED_MODEL) as tmp:
        export(model.exported, tmp, emotions)
    with atomic_write(HISTORY) as tmp:
        model.training.history.to_csv(tmp, index=False)


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.tracking.restore import load_best_hyperparameters
    from emotion.tracking.resume import resumable_work
    from emotion.tracking.stage_runs import epoch_logger, relevant_params, stage_run

    best = load_best_hyperparameters(exit_callbacks)
    for name, value in best.values.items():
        print(f"train.{name} = {value}, from {best.trial}")
    params = params.with_hyperparameters(best.values, str(HYPERPARAMETERS))
    dataset = open_dataset()
    load_tensorflow(trains=True)
    from emotion.training.callbacks import tensorboard_callback

    work = resumable_work("train", relevant_params("train", params))
    with work.lock():
        with stage_run("train", params, exit_callbacks, best.tags, unfinished=work.run_id) as run:
            work.begin(run.run.id)
            callbacks = [epoch_logger(run.run)]
            if params.train.tensorboard:
                callbacks.append(tensorboard_callback(project_root() / TENSORBOARD / run.run.id))
            trained = train(params.train, dataset, work.checkpoints, callbacks)
            run.set_tags(trained.tags)
            save(trained, dataset.emotions)
            print(f"Faces: {dataset.caption}")
        work.finish()


if __name__ == "__main__":
    run_main("train", main)
