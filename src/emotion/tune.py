"""Search hyperparameters with KerasTuner.

    python -m emotion.tune

Reads data/faces/, `params: tune` and, as the base of every trial, `train`; writes models/hyperparameters.json
(the best values and nothing else), reports/trials.csv (a row per trial, the best first), reports/tuning/
(figures) and reports/runs/tune.json (the record of its MLflow run, with the trial that the values come from).
The state of the search is saved in models/checkpoints/, so that a killed search can be resumed.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from emotion.data.dataset import open_dataset
from emotion.params.load import load_params
from emotion.params.objective import Objective
from emotion.params.sections import Params
from emotion.runtime.errors import run_main
from emotion.runtime.files import atomic_write, write_json
from emotion.runtime.paths import HYPERPARAMETERS, TRIALS
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking.records import SearchRecord, TrialRecord
from emotion.tuning.results import Trial, trials_table

RUNNERS_UP = 3  # recorded beside the best trial


def save(trials: Sequence[Trial], space: Mapping[str, object], objective: Objective) -> SearchRecord:
    """Write the best values and the table of trials; return the record of the search."""
    with atomic_write(TRIALS) as tmp:
        trials_table(trials, space, objective).to_csv(tmp, index=False)
    ranked = [
        TrialRecord(trial=trial.name, run_id=trial.run_id, score=trial.score, values=trial.values)
        for trial in trials[: RUNNERS_UP + 1]
        if trial.score is not None
    ]
    write_json(HYPERPARAMETERS, ranked[0].values if ranked else {})
    if ranked:
        took = max(trial.ended_after for trial in trials)
        trained = sum(trial.result.metrics.get("training_seconds", 0) for trial in trials)
        print(f"{len(trials)} trials in {took:.0f} s, of which {trained:.0f} s were training.")
        print(f"Best trial: {ranked[0].trial}, score {ranked[0].score:.4f} ({objective}), {ranked[0].values}")
    return SearchRecord(objective=objective, best=ranked[0] if ranked else None, runners_up=tuple(ranked[1:]))


def skip_search(params: Params, exit_callbacks: ExitStack) -> None:
    """Record that nothing was searched."""
    from emotion.tracking.stage_runs import stage_run

    with stage_run("tune", params, exit_callbacks) as run:
        run.search = save([], params.tune.space, params.tune.objective)
        print("tune.max_trials is 0: no search. `train` uses the values in params.yaml.")


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    caption = open_dataset().caption
    if not params.tune.max_trials:
        skip_search(params, exit_callbacks)
        return
    from emotion.tracking.resume import close_stale_searches, finished_trials_path, resumable_work
    from emotion.tracking.stage_runs import relevant_params, stage_run
    from emotion.tracking.views import update_views
    from emotion.tuning.executors import make_executor
    from emotion.tuning.finished import read_finished, write_finished

    relevant = relevant_params("tune", params)
    work, path = resumable_work("tune", relevant), finished_trials_path(relevant)
    finished = read_finished(path, params.tune)
    executor = make_executor(params.tune, work.folder)  # starts to load TensorFlow in another process
    load_tensorflow(trains=True)
    # Imported before there is a run, which a kill during these seconds would leave open.
    from emotion.tuning.observer import TrialLogger
    from emotion.tuning.search import AllTrialsFailedError, Search

    with work.lock():
        with stage_run("tune", params, exit_callbacks, unfinished=work.run_id) as run:
            close_stale_searches(work, run.params)
            work.begin(run.run.id, run.params)
            update_views()
            try:
                search = Search(params.tune, params.train, work.folder, executor, TrialLogger(run), finished)
                trials = search.run()
            except AllTrialsFailedError:
                work.discard()  # the next attempt starts from the beginning
                raise
            run.search = save(trials, params.tune.space, params.tune.objective)
            write_finished(path, params.tune, trials)
            print(f"Faces: {caption}")
        work.finish()


if __name__ == "__main__":
    run_main("tune", main)
