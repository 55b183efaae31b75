"""The finished trials of a search, which another search over the same space and data can continue with."""

from collections.abc import Sequence
from pathlib import Path

from emotion.params.space import Tune
from emotion.params.validation import Section
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_json, write_json
from emotion.tuning.results import Trial


class FinishedTrials(Section):
    """The content of the file."""

    oracle: str
    max_trials: int
    trials: tuple[Trial, ...]


def write_finished(path: Path, settings: Tune, trials: Sequence[Trial]) -> None:
    """Write the trials of a search that were completed, in the order in which they started."""
    completed = sorted((trial for trial in trials if trial.result.outcome == "completed"), key=lambda trial: trial.name)
    found = FinishedTrials(oracle=settings.oracle, max_trials=settings.max_trials, trials=tuple(completed))
    write_json(path, found.model_dump(mode="json"))


def read_finished(path: Path, settings: Tune) -> tuple[Trial, ...]:
    """The trials to continue with: those of a search with another oracle or fewer trials; none if there is no file.

    The same search is not continued but repeated: whoever runs it again wants to see it again.
    """
    if not path.exists():
        return ()
    try:
        found = FinishedTrials.model_validate(read_json(path, f"Delete {path}.", FinishedTrials))
    except UserError as error:
        print(f"Earlier trials are not continued: {error}")
        return ()
    is_same = found.oracle == settings.oracle and found.max_trials >= settings.max_trials
    return () if is_same else found.trials
