"""Find the runs of earlier stages in MLflow, or log them again from their files.

DVC can restore outputs without running a stage (`dvc pull`, the run cache), and the tracking store may be
new. In both cases the files exist, but their runs do not.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from emotion.params.sections import Params
from emotion.params.space import Scalar
from emotion.runtime.files import read_csv, read_json
from emotion.runtime.paths import HISTORY, HYPERPARAMETERS, SCORES, TRIALS
from emotion.tracking import provenance
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG
from emotion.tracking.git import uncommitted_patch
from emotion.tracking.metric_names import epoch_metrics, trial_metrics
from emotion.tracking.queries import close_abandoned_runs
from emotion.tracking.records import RunRecord, read_record
from emotion.tracking.run import Run
from emotion.tracking.run_names import PURPOSES, trial_run_name
from emotion.tracking.runs import (
    Period,
    end_run,
    fail_open_runs,
    get_or_create_child_run,
    reopen_run,
    resolve_run_id,
    resume_run,
    start_run,
)
from emotion.tracking.stage_runs import log_outputs, log_patch, relevant_params, run_name

EPOCH_COLUMNS = ("epoch", "seconds")  # of reports/history.csv


@dataclass(frozen=True)
class BestHyperparameters:
    """What `tune` hands to `train`."""

    values: dict[str, Scalar]  # by name under `train`
    trial: str | None  # the trial that found the values
    tags: dict[str, str]  # that name the search and the trial


def load_best_hyperparameters(exit_callbacks: ExitStack) -> BestHyperparameters:
    """The best values of the search, with tags that name the search and the trial.

    If MLflow has lost the search's run, it is logged again first.

    Args:
        exit_callbacks: callbacks that run whenever and however the process ends.

    Raises:
        UserError: if the output of `tune` is missing or damaged.
    """
    exit_callbacks.callback(fail_open_runs)
    values = read_json(
        HYPERPARAMETERS, "Run `dvc checkout`, `dvc pull` or `dvc repro --force tune`.", dict[str, Scalar]
    )
    run_id = restore("tune")
    return BestHyperparameters(values, *_search_tags(run_id, read_record("tune")))


def _search_tags(run_id: str, record: RunRecord) -> tuple[str | None, dict[str, str]]:
    """The best trial, and tags that name it and its search."""
    best = record.search.best if record.search else None
    tags = {"tune.run_id": run_id}
    if best is None:
        return None, tags
    trial = resolve_run_id(best.run_id) or best.run_id
    return best.trial, {
        **tags, "tune.trial": best.trial, "tune.trial_run_id": trial, "tune.score": str(best.score)
    }  # fmt: skip


@contextmanager
def resume_train_run(stage: str, params: Params, exit_callbacks: ExitStack) -> Iterator[Run]:
    """Let a later stage add to the run of `train`. If MLflow has lost the run, it is logged again first."""
    exit_callbacks.callback(fail_open_runs)
    close_abandoned_runs()
    run_id = restore("train")
    patch = uncommitted_patch()
    facts = {**provenance.run_tags(stage, patch), **relevant_params(stage, params)}
    del facts["stage"]
    # Tags instead of parameters, because a stage may run again with different values.
    tags = {key if key.startswith(f"{stage}.") else f"{stage}.{key}": str(value) for key, value in facts.items()}
    with reopen_run(run_id, tags) as run:
        log_patch(run, stage, patch)
        yield run
        if stage == "evaluate":
            log_outputs(run, stage)


def restore(stage: str) -> str:
    """Return the id of a stage's run in the store; if the run was lost, log it again from the stage's files.

    Raises:
        UserError: if the stage's record is missing or damaged.
    """
    record = read_record(stage)
    if known := resolve_run_id(record.run_id):
        return known
    with connection().restore_lock:
        return resolve_run_id(record.run_id) or _log_again(stage, record)


def _log_again(stage: str, record: RunRecord) -> str:
    """Log a run again from a stage's files; return its id."""
    tags = {**record.tags, **_resolved_links(stage, record), "restored": "true"}
    purpose = PURPOSES.get(stage, "training")
    period = Period(record.start, record.end)
    with start_run(run_name(stage, tags, record.params), tags, record.params, purpose=purpose, period=period) as run:
        log_patch(run, stage, record.patch)
        if stage == "tune":
            _restore_trials(run, record, period)
        if stage == "train":
            history = read_csv(HISTORY, EPOCH_COLUMNS, "Run `dvc checkout` or `dvc repro --force train`.")
            for row in history.to_dict("records"):
                values = {str(key): float(value) for key, value in row.items()}
                at = period.start and period.start + int(1000 * values["seconds"])
                run.log_metrics(epoch_metrics(values), int(values["epoch"]), at)
            if SCORES.exists():
                log_outputs(run, "evaluate")
        log_outputs(run, stage)
        # Set last, so that an incomplete replacement is not mistaken for the run.
        run.set_tags({RESTORED_FROM_TAG: record.run_id})
    print(f"The run of {stage} was not in MLflow and was logged again from its files.")
    return run.id


def _resolved_links(stage: str, record: RunRecord) -> dict[str, str]:
    """The tags that name other runs, as the store knows them.

    If a later search finds the same values, `train` does not run again. If MLflow has lost the original search,
    the tags name the later one.
    """
    links = {key: value for key, value in record.tags.items() if key.endswith("run_id")}
    resolved = {key: resolve_run_id(value) for key, value in links.items()}
    if stage == "train" and "tune.run_id" in links and resolved["tune.run_id"] is None:
        _, tags = _search_tags(restore("tune"), read_record("tune"))
        return tags
    return {key: resolved[key] or value for key, value in links.items()}


def _restore_trials(search: Run, record: RunRecord, period: Period) -> None:
    # As text: pandas would turn the integers of a column with gaps into floats.
    fix = "Run `dvc checkout` or `dvc repro --force tune`."
    for row in read_csv(TRIALS, ("trial", "run_id", "outcome", "ended_after"), fix, dtype=str).to_dict("records"):
        trial = {str(key): value for key, value in row.items() if value == value}
        name, lost, outcome = trial.pop("trial"), trial.pop("run_id"), trial.pop("outcome")
        trial.pop("pareto", None)
        tags = {"outcome": outcome, "reason": trial.pop("reason", ""), "restored": "true"}
        values = {key: trial.pop(key) for key in list(trial) if key.startswith("train.")}
        metrics = {key: float(value) for key, value in trial.items()}
        end = period.start and period.start + int(1000 * metrics["ended_after"])
        start = end and end - int(1000 * metrics.get("duration", 0.0))
        run_id = start_trial_run(name, search.id, record.tags, record.params, values, start)
        with resume_run(run_id) as run:
            run.log_metrics(trial_metrics(metrics), at=end)
        tags[RESTORED_FROM_TAG] = lost
        end_run(run_id, "FAILED" if outcome == "failed" else "FINISHED", tags, end)


def start_trial_run(
    name: str,
    search: str,
    tags: dict[str, str],
    params: dict[str, str],
    values: dict[str, Scalar],
    start: int | None = None,
) -> str:
    """Return the id of a trial's run, a child of the search's run; create it if there is none.

    Args:
        name: the name of the trial.
        search: the id of the search's run.
        tags: the tags of the search.
        params: the parameters of the search.
        values: the parameters of this trial, by their names in params.yaml.
        start: when it started, if it is logged afterwards, in milliseconds since 1970.
    """
    own = {key: value for key, value in params.items() if key.startswith("train.")} | values
    searched = {key: _number(value) for key, value in values.items() if _is_searched(key, params)}
    return get_or_create_child_run(
        name, trial_run_name(name, searched), {**tags, "stage": "trial"}, own, search, start
    )  # fmt: skip


def _number(value: Scalar) -> Scalar:
    """A value from a table of texts."""
    try:
        return float(value)
    except ValueError:
        return value


def _is_searched(name: str, params: Mapping[str, str]) -> bool:
    """Whether a parameter is in the space of a search with these parameters."""
    key = f"tune.space.{name.removeprefix('train.')}"
    return any(f"{key}.{kind}" in params for kind in ("choice", "min"))
