"""Figures of the search and of the training, drawn when the stage ends.

They belong to the record of a run: drawing them here keeps `tune` and `train` independent of plotting code.
"""

from emotion.data.dataset import InputShape, open_dataset
from emotion.params.sections import Params
from emotion.runtime.files import atomic_write, read_csv
from emotion.runtime.paths import CLASSIFIER, HISTORY, LAYERS, NETWORK, SEARCH_FIGURES, TRAINING_CURVES, TRIALS


def draw_report_figures(stage: str, params: Params) -> None:
    """Draw the figures of a stage from the files that it wrote, if it has any."""
    if stage == "tune":
        from emotion.evaluation.figures.search import draw_search  # scikit-learn, which takes seconds

        trials = read_csv(TRIALS, ("trial",), "Run `dvc repro --force tune`.")
        draw_search(trials, params.tune, open_dataset().caption, SEARCH_FIGURES)
    elif stage == "train":
        from emotion.evaluation.figures.training import draw_training_curves

        history = read_csv(HISTORY, ("epoch",), "Run `dvc repro --force train`.")
        dataset = open_dataset()
        draw_training_curves(history, dataset.caption, TRAINING_CURVES)
        _describe_network(params.train.network, dataset.input_shape)


def _describe_network(name: str, input_shape: InputShape) -> None:
    """Write a diagram and a table of the layers of the trained network."""
    import keras

    from emotion.evaluation.figures.network import draw_network
    from emotion.evaluation.network_layers import layer_table, stage_table
    from emotion.networks import build  # noqa: F401  registers its layers

    layers = layer_table(keras.saving.load_model(CLASSIFIER, compile=False), input_shape)
    with atomic_write(NETWORK) as tmp:
        tmp.mkdir()
        layers.to_csv(tmp / LAYERS.name, index=False)
        draw_network(stage_table(layers), name, tmp / "network.png")
