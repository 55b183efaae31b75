"""Compare the trials of a search, or any runs with a baseline run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from emotion.evaluation import predictions
from emotion.evaluation.significance import mcnemar_test
from emotion.params.objective import Objective
from emotion.runtime.errors import UserError
from emotion.tracking.queries import RunInfo, read_artifact, search_runs
from emotion.tracking.runs import KEY_TAG, PARENT_TAG
from emotion.tracking.stage_runs import VALIDATION_FOLDER

SPACE = "tune.space."


def find_runs(*names: str) -> list[RunInfo]:
    """Find runs by id, by id prefix, or by the name of a trial of the newest search.

    Raises:
        UserError: if a name matches no run, or more than one.
    """
    known = search_runs()
    searches = [run.id for run in known if _is_search(run)]
    return [_find_run(name, known, searches) for name in names]


def _find_run(name: str, known: list[RunInfo], searches: list[str]) -> RunInfo:
    matches = [run for run in known if run.id.startswith(name)]
    if not matches and searches:
        matches = [run for run in known if run.tags.get(KEY_TAG) == name and run.tags.get(PARENT_TAG) == searches[0]]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"{len(matches)} runs have ids that start with {name}. Give more characters of the id.")
    raise UserError(
        f"no run has an id that starts with {name}. `emotion trials` lists the trials of a search; `emotion ui` shows"
        " all runs."
    )


def _is_search(run: RunInfo) -> bool:
    return run.tags.get("stage") == "tune" and run.params.get("tune.max_trials") != "0"


def newest_search() -> RunInfo | None:
    """The run of the most recently started search; None if there is none."""
    return next(filter(_is_search, search_runs("tune")), None)


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
                if name.startswith(("train_best_epoch/", "trial/")) and (short := name.partition("/")[2]) not in names
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
class Comparison:
    """The differences between runs, a column per run."""

    params: pd.DataFrame  # only those that differ
    metrics: pd.DataFrame  # those that the first run has
    significance: pd.DataFrame  # a row per other run with predictions for the first run's validation images


def compare_runs(runs: list[RunInfo]) -> Comparison:
    """Compare every run with the first.

    Raises:
        UserError: for fewer than two runs.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs at least two runs. Add another run id or trial name.")
    names = [f"{run.name} {run.id[:8]}" for run in runs]
    params = pd.DataFrame({name: pd.Series(run.params) for name, run in zip(names, runs, strict=True)})
    metrics = pd.DataFrame({name: pd.Series(run.metrics) for name, run in zip(names, runs, strict=True)})
    tables = [_val_predictions(run.id) for run in runs]
    tests = [
        {"run": name, **mcnemar_test(predictions.is_correct(tables[0]), predictions.is_correct(table))}
        for name, table in zip(names[1:], tables[1:], strict=True)
        if tables[0] is not None and table is not None and predictions.same_images(tables[0], table)
    ]
    differing = params[params.astype(object).where(params.notna(), "").nunique(axis=1) > 1]
    return Comparison(differing, metrics.reindex(pd.Series(runs[0].metrics).index), pd.DataFrame(tests))


def _val_predictions(run_id: str) -> pd.DataFrame | None:
    """The predictions that a run logged for the validation images; None if it has none."""
    content = read_artifact(run_id, f"{VALIDATION_FOLDER}/{predictions.FILE_NAME}")
    if content is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / predictions.FILE_NAME
        path.write_bytes(content)
        return predictions.read(path, f"It is an artifact of run {run_id}: compare others, or train again.")
