"""Search hyperparameters with KerasTuner.

    python -m emotion.tune

Reads data/faces/, `params: tune` and, as the base of every trial, `train`; writes
models/hyperparameters.json (the best values, the search, trial and run they come from, and the
runners-up), reports/trials.csv (a row per trial, best first) and reports/tuning/ (figures).
What the search has reached is kept in models/checkpoints/: a killed one goes on.
"""

from typing import Any

import pandas as pd

from emotion import params
from emotion.errors import UserError, exit_cleanly
from emotion.faces import open_faces
from emotion.paths import TRIALS, TUNING, whole
from emotion.runtime import load_tensorflow

RUNNERS_UP = 3  # named beside the best


def search(settings: params.Params, record: dict[str, Any], checkpoints: Any) -> list[Any]:
    """The trials, best first."""
    load_tensorflow()
    from emotion.executors import make_executor
    from emotion.records import dataset_facts
    from emotion.search import Search

    _say_what_is_new(checkpoints, record["params"])
    checkpoints.begin(record["run_id"], record["params"])
    folder = checkpoints.folder
    try:
        return Search(
            settings.tune, settings.train, record, folder, make_executor(settings.tune, folder), dataset_facts()
        ).run()
    except UserError:  # no trial ended well: another attempt starts afresh
        checkpoints.discard()
        raise


def _say_what_is_new(checkpoints: Any, parameters: dict[str, Any]) -> None:
    if checkpoints.run_id:
        return
    for folder, about in checkpoints.others().items():
        changed = [f"{k} was {about.get(k)}" for k in sorted(parameters) if about.get(k) != parameters[k]]
        print(f"A new search, not the unfinished one in {folder}: {', '.join(changed) or 'other data or code'}.")


def table(trials: list[Any]) -> pd.DataFrame:
    """A row per trial."""
    rows = [
        {
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
    return pd.DataFrame(rows, columns=None if rows else ["trial", "outcome", "score", "run_id", "reason"])


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion import records, trial_figures
    from emotion.training.checkpoints import of_training

    faces, objective = open_faces(), settings.tune.objective
    checkpoints = of_training(records.parameters("tune", settings))
    with checkpoints.held():
        with records.stage_run("tune", settings, unfinished=checkpoints.run_id) as record:
            trials = search(settings, record, checkpoints) if settings.tune.max_trials else []
            with whole(TRIALS) as part:
                table(trials).to_csv(part, index=False)
            trial_figures.draw(pd.read_csv(TRIALS), settings.tune, faces.caption, TUNING)
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
