"""Search hyperparameters with KerasTuner.

    python -m emotion.tune

Reads data/faces/, `params: tune` and, as the base of every trial, `train`; writes
models/hyperparameters.json (the best values, the search, trial and run they come from, and the
runners-up), reports/trials.csv (a row per trial, best first) and reports/tuning/ (figures).
What the search has reached is kept in models/checkpoints/: a killed one goes on.
"""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from emotion import params
from emotion.data.dataset import open_faces
from emotion.runtime.errors import exit_cleanly
from emotion.runtime.paths import TRIALS, TUNING, whole
from emotion.runtime.tensorflow import load_tensorflow

RUNNERS_UP = 3  # named beside the best


def search(settings: params.Params, record: dict[str, Any], checkpoints: Any, executor: Any) -> list[Any]:
    """The trials, best first."""
    from emotion.tracking.stage_runs import dataset_facts
    from emotion.tuning.search import NoTrialEndedWellError, Search

    try:
        return Search(settings.tune, settings.train, record, checkpoints.folder, executor, dataset_facts()).run()
    except NoTrialEndedWellError:  # another attempt starts afresh
        checkpoints.discard()
        raise


def leave_others(checkpoints: Any, parameters: dict[str, Any]) -> None:
    """Say what is new in a new search; the runs of unfinished others that no process is at are ended."""
    from emotion.tracking import runs as tracking

    now = json.loads(json.dumps(parameters))
    for other in checkpoints.others():
        then = other.about
        changed = [f"{k} was {then.get(k)}" for k in sorted({*now, *then}) if then.get(k) != now.get(k)]
        print(f"A new search, not the unfinished one in {other.folder}: {', '.join(changed) or 'other data or code'}.")
        if not other.is_held:
            tracking.abandon(other.run_id)


def table(trials: list[Any], space: Iterable[str]) -> pd.DataFrame:
    """A row per trial, with all names of the space."""
    columns = ["trial", "outcome", *(f"train.{name}" for name in space)]
    rows = [
        {
            **dict.fromkeys(columns),
            "trial": trial.name,
            "outcome": trial.result.outcome,
            **{f"train.{key}": value for key, value in trial.values.items()},
            "train.epochs": trial.epochs,
            "ended_after": trial.ended_after,
            **trial.result.metrics,
            "run_id": trial.run_id,
            "reason": trial.result.reason,
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "ended_after", "score", "run_id", "reason"])


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.evaluation.figures import search as trial_figures
    from emotion.tracking import stage_runs as records
    from emotion.training.checkpoints import of_search
    from emotion.tuning.executors import make_executor

    faces, objective, trials = open_faces(), settings.tune.objective, []
    checkpoints = of_search(records.parameters("tune", settings))
    if settings.tune.max_trials:
        executor = make_executor(settings.tune, checkpoints.folder)  # its process loads TensorFlow while this one does
        load_tensorflow()
        import emotion.tuning.search  # noqa: F401  before there is a run, which a kill would leave open
    with checkpoints.held():
        begun = checkpoints.run_id
        with records.stage_run("tune", settings, unfinished=begun) as record:
            if settings.tune.max_trials:
                checkpoints.begin(record["run_id"], record["params"])
                if not begun:
                    leave_others(checkpoints, record["params"])
                trials = search(settings, record, checkpoints, executor)
            found = table(trials, settings.tune.space)
            with whole(TRIALS) as part:
                found.to_csv(part, index=False)
            trial_figures.draw(found, settings.tune, faces.caption, TUNING)
            named = [
                {"trial": t.name, "trial_run_id": t.run_id, "score": t.score, "values": t.values}
                for t in trials[: RUNNERS_UP + 1]
                if t.score is not None
            ]
            nothing: dict[str, Any] = {"trial": None, "trial_run_id": None, "score": None, "values": {}}
            record |= {"objective": objective, **(named[0] if named else nothing), "runners_up": named[1:]}
            if trials:
                took = max(trial.ended_after for trial in trials)
                trained = sum(trial.result.metrics.get("training_seconds", 0) for trial in trials)
                print(f"{len(trials)} trials in {took:.0f} s, in which they trained for {trained:.0f} s.")
            print(f"Best of {len(trials)} trials: {record['values']}, {objective} {record['score']}")
            print(f"Faces: {faces.caption}")
        if trials:
            checkpoints.finish()


if __name__ == "__main__":
    exit_cleanly("tune", main)
