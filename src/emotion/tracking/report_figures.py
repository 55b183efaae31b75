"""Figures of the search and of the training, drawn when the stage ends.

They belong to the record of a run: drawing them here keeps `tune` and `train` independent of plotting code.
"""

from emotion.data.dataset import open_dataset
from emotion.params.sections import Params
from emotion.runtime.files import read_csv
from emotion.runtime.paths import HISTORY, SEARCH_FIGURES, TRAINING_CURVES, TRIALS


def draw_report_figures(stage: str, params: Params) -> None:
    """Draw the figures of a stage from the files that it wrote, if it has any."""
    if stage == "tune":
        from emotion.evaluation.figures.search import draw_search  # scikit-learn and plotly, which take seconds

        trials = read_csv(TRIALS, ("trial",), "Run `dvc repro --force tune`.")
        draw_search(trials, params.tune, open_dataset().caption, SEARCH_FIGURES)
    elif stage == "train":
        from emotion.evaluation.figures.training import draw_training_curves

        history = read_csv(HISTORY, ("epoch",), "Run `dvc repro --force train`.")
        draw_training_curves(history, open_dataset().caption, TRAINING_CURVES)
