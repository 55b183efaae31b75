"""Figures of a hyperparameter search."""

from pathlib import Path

import pytest

from emotion.evaluation.figures.search import FIGURES, draw_search
from emotion.tuning.results import trials_table
from support.search import SPACE, Formula, params_with, search


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_search_with_any_number_of_trials_is_plotted(count: int, tmp_path: Path) -> None:
    executor = Formula(fails=lambda name: name == "trial-003")
    trials = search(tmp_path, executor, max_trials=count) if count else []
    unused = {"width": {"min": 8, "max": 32, "when": {"network": ["basic_cnn"]}}}
    settings = params_with(max_trials=count, space=SPACE | unused).tune
    draw_search(trials_table(trials, settings.space), settings, "nothing", tmp_path / "tuning")
    files = {file.name for file in (tmp_path / "tuning").iterdir()}
    assert files == {*FIGURES, *(["parallel_coordinates.html"] if trials else [])}
    if trials:
        page = (tmp_path / "tuning/parallel_coordinates.html").read_text()
        assert "augmentation.erasing" in page
        without_ensemble = [trial for trial in trials if trial.values["network"] == "basic_cnn"]
        assert ("(not searched)" in page) == bool(without_ensemble) == (count == 12)
        assert 'src="http' not in page  # it opens without a network
