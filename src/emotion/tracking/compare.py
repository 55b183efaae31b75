"""Runs beside each other: the trials of a search, and any runs against a first one."""

from dataclasses import dataclass

import pandas as pd
from pandas.api.types import is_numeric_dtype

from emotion.evaluation import predictions
from emotion.evaluation.significance import paired
from emotion.runtime.errors import UserError
from emotion.tracking import runs as tracking
from emotion.tracking.runs import Run

SPACE = "tune.space."
# Columns of trials that are shown only where asked for.
DETAILS = {
    "accuracy",
    "learning_rate",
    "image_size",
    "loss",
    "score_spread",
    "seconds",
    "training_seconds",
    "val_accuracy",
    "val_loss",
}


def find(*names: str) -> list[Run]:
    """Runs by their ids, the beginnings of these, or as trials of the newest search.

    Raises:
        UserError: where there is none of a name, or more than one.
    """
    known = tracking.runs()
    searches = [run.id for run in known if _is_search(run)]
    return [_only(name, known, searches) for name in names]


def _only(name: str, known: list[Run], searches: list[str]) -> Run:
    found = [run for run in known if run.id.startswith(name)]
    if not found and searches:
        found = [run for run in known if run.name == name and run.tags.get("mlflow.parentRunId") == searches[0]]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{len(found)} runs begin with {name}: write more of the one that you mean.")
    raise UserError(f"no run begins with {name}. `emotion trials` lists trials, the MLflow UI all runs.")


def _is_search(run: Run) -> bool:
    return run.name == "tune" and run.params.get("tune.max_trials") != "0"


def newest_search() -> Run:
    """The `tune` run that was begun last.

    Raises:
        UserError: where there is none.
    """
    found = [run for run in tracking.runs(name="tune") if _is_search(run)]
    if not found:
        raise UserError("there is no search in MLflow yet. `dvc repro tune` makes one.")
    return found[0]


def trials(search: Run, sort: str | None = None) -> pd.DataFrame:
    """A row per trial: trial, status, score, what was searched, metrics, run_id; the best first.

    Args:
        search: its run.
        sort: a column in place of the score, which puts completed trials first; numbers in
            descending order, val_loss and loss in ascending order.

    Raises:
        UserError: for a column that is not there.
    """
    names = searched(search)
    rows = [
        {
            "trial": run.name,
            "status": run.tags.get("outcome", run.status.lower()),
            "score": run.metrics.get("score"),
            **{name: _number(run.params.get(f"train.{name}")) for name in names},
            **{name: value for name, value in sorted(run.metrics.items()) if name not in ("score", *names)},
            "run_id": run.id,
        }
        for run in tracking.runs(parent=search.id)
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["trial", "status", "score", "run_id"])
    column = sort or "score"
    if column not in table:
        raise UserError(f"no trial has {column}. There is {', '.join(table.columns)}.")
    by_loss = column.endswith("loss") or (column == "score" and search.params.get("tune.objective") == "val_loss")
    table = table.sort_values(column, ascending=by_loss or not is_numeric_dtype(table[column]), kind="stable")
    return table if sort else table.sort_values("status", key=lambda status: status != "completed", kind="stable")


def searched(search: Run) -> list[str]:
    """The names of the hyperparameters in a search's space."""
    ends = (".choice", ".min")
    return [
        key.removeprefix(SPACE).rpartition(".")[0]
        for key in search.params
        if key.startswith(SPACE) and key.endswith(ends)
    ]


def _number(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Comparison:
    """What differs between runs, a column per run."""

    params: pd.DataFrame  # only those that differ
    metrics: pd.DataFrame  # of all that the first has
    paired: pd.DataFrame  # a row per other run whose validation images are the first's


def compare(runs: list[Run]) -> Comparison:
    """Every run against the first.

    Raises:
        UserError: for fewer than two.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs two runs at least.")
    names = [f"{run.name} {run.id[:8]}" for run in runs]
    params = pd.DataFrame({name: pd.Series(run.params) for name, run in zip(names, runs, strict=True)})
    metrics = pd.DataFrame({name: pd.Series(run.metrics) for name, run in zip(names, runs, strict=True)})
    tables = [predictions.of_run(run.id) for run in runs]
    tests = [
        {"run": name, **paired(predictions.right(tables[0]), predictions.right(table))}
        for name, table in zip(names[1:], tables[1:], strict=True)
        if tables[0] is not None and table is not None and predictions.same_images(tables[0], table)
    ]
    differing = params[params.astype(object).where(params.notna(), "").nunique(axis=1) > 1]
    return Comparison(differing, metrics.reindex(pd.Series(runs[0].metrics).index), pd.DataFrame(tests))
