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
    draw_search(trials_table(trials, settings.space, settings.objective), settings, "nothing", tmp_path / "tuning")
    files = {file.name for file in (tmp_path / "tuning").iterdir()}
    assert files == set(FIGURES)
    for file in (tmp_path / "tuning").iterdir():
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 1_000_000
