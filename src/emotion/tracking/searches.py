"""The searches in the tracking store, and their trials."""

from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_numeric_dtype

from emotion.params.objective import Objective
from emotion.runtime.errors import UserError
from emotion.tracking.queries import RunInfo, get_run, metric_steps, search_runs
from emotion.tracking.runs import KEY_TAG

SPACE = "tune.space."


def is_search(run: RunInfo) -> bool:
    """Whether a run is a search."""
    return run.tags.get("stage") == "tune" and run.params.get("tune.max_trials") != "0"


def newest_search() -> RunInfo | None:
    """The run of the most recently started search; None if there is none."""
    return next(filter(is_search, search_runs("tune")), None)


def trials_table(search: RunInfo, sort: str | None = None) -> pd.DataFrame:
    """A row per trial: trial, status, score, the searched parameters, metrics, run_id; the best first.

    Args:
        search: the run of the search.
        sort: the column to sort by: numbers in descending order, losses and text in ascending order. None sorts by
            score, with completed trials first.

    Raises:
        UserError: for an unknown column.
    """
    names = searched_params(search)
    rows = [
        {
            "trial": run.tags.get(KEY_TAG, run.name),
            "status": run.tags.get("outcome", run.status.lower()),
            "score": run.metrics.get("score"),
            **{name: _to_number(run.params.get(f"train.{name}")) for name in names},
            **{
                short: value
                for name, value in sorted(run.metrics.items())
                if name.startswith("trial/") and (short := name.partition("/")[2]) not in names
            },
            "run_id": run.id,
        }
        for run in search_runs(parent=search.id)
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["trial", "status", "score", "run_id"])
    column = sort or "score"
    if column not in table:
        raise UserError(f"the trials have no column {column}. Choose one of {', '.join(table.columns)}.")
    is_loss = (
        search.params.get("tune.objective") == Objective.VAL_LOSS if column == "score" else column.endswith("loss")
    )
    table = table.sort_values("trial")  # the order of equal ones
    table = table.sort_values(column, ascending=is_loss or not is_numeric_dtype(table[column]), kind="stable")
    return table if sort else table.sort_values("status", key=lambda status: status != "completed", kind="stable")


def searched_params(search: RunInfo) -> list[str]:
    """The names of the hyperparameters in a search's space."""
    ends = (".choice", ".min")
    return [
        key.removeprefix(SPACE).rpartition(".")[0]
        for key in search.params
        if key.startswith(SPACE) and key.endswith(ends)
    ]


def _to_number(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class SearchProgress:
    """How far a search has come."""

    search: RunInfo
    trials: list[dict[str, str | float | None]]  # trial, status, epoch, score, values; running ones first
    best: float | None
    seconds_left: float | None  # None if no trial has ended, or the search has


def search_progress(run_id: str) -> SearchProgress:
    """The progress of a search, from the runs of its trials."""
    search = get_run(run_id)
    if search is None:
        raise UserError(f"the search {run_id} is no longer in MLflow.")
    runs = search_runs(parent=run_id)
    epochs = search.params.get("tune.epochs", "?")
    rows = [
        {
            "trial": run.tags.get(KEY_TAG, run.name),
            "status": run.tags.get("outcome", run.status.lower()),
            "epoch": f"{metric_steps(run.id, 'train/loss')} of {run.params.get('train.epochs', epochs)}",
            "score": run.metrics.get("score", run.metrics.get(f"train/{search.params.get('tune.objective')}")),
            "values": run.name.partition(" · ")[2],
        }
        for run in sorted(runs, key=lambda run: (run.status != "RUNNING", -run.start))
    ]
    ended = [run.metrics["trial/duration"] for run in runs if "trial/duration" in run.metrics]
    scores = [run.metrics["score"] for run in runs if "score" in run.metrics]
    pick = min if search.params.get("tune.objective") == Objective.VAL_LOSS else max
    wanted = _to_number(search.params.get("tune.max_trials"))
    seconds_left = None
    if search.status == "RUNNING" and ended and isinstance(wanted, float):
        seconds_left = (wanted - len(ended)) * sum(ended) / len(ended)
    return SearchProgress(search, rows, pick(scores) if scores else None, seconds_left)
