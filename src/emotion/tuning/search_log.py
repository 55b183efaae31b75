"""The saved progress of a search."""

from pathlib import Path

from emotion.params.space import Scalar
from emotion.params.validation import Section
from emotion.runtime.files import read_json
from emotion.tuning.results import Trial

LOG = "search.json"


class Proposal(Section):
    """The oracle's answer to a request for a trial."""

    values: dict[str, Scalar] | None  # with KerasTuner's own, such as tuner/epochs; None if there is no trial to run


class SearchLog(Section):
    """The saved progress of a search: the oracle's proposals and the trials that ended, in order.

    An oracle with the same settings that receives the same trials makes the same proposals again, so its own state is
    not saved. KerasTuner's files would not suffice: they lack the state of the grid and Bayesian oracles.
    """

    events: list[Proposal | Trial]
    seconds: float  # that the search has run


def read_log(folder: Path) -> SearchLog:
    """The saved progress; empty if the search is new."""
    path = folder / LOG
    if not path.exists():
        return SearchLog(events=[], seconds=0.0)
    return SearchLog.model_validate(read_json(path, fix(folder), SearchLog))


def fix(folder: Path) -> str:
    """What to do about a damaged log."""
    return f"Delete {folder} to search from the beginning."
