"""Log every trial of a search as an MLflow run."""

from collections.abc import Mapping

from emotion.params.space import Scalar
from emotion.tracking.metric_names import trial_metrics
from emotion.tracking.restore import start_trial_run
from emotion.tracking.runs import end_run, release_run, resume_run
from emotion.tracking.stage_runs import StageRun
from emotion.tuning.results import Trial


class TrialLogger:
    """A `SearchObserver` that creates and ends the runs of trials, as child runs of the search."""

    def __init__(self, search: StageRun) -> None:
        self.search = search

    def trial_started(self, name: str, values: Mapping[str, Scalar]) -> str:
        """Create the run of a trial, or find it if the search is resumed."""
        own = {f"train.{key}": value for key, value in values.items()}
        return start_trial_run(name, self.search.run.id, self.search.tags, self.search.params, own)

    def trial_ended(self, trial: Trial) -> None:
        """End the run of a failed trial; successful trials have already ended their own."""
        if trial.score is None:
            end_run(trial.run_id, "FAILED", {"outcome": "failed", "reason": trial.result.reason})
        else:
            release_run(trial.run_id)

    def trial_continued(self, name: str, trial: Trial) -> str:
        """Log a trial of an earlier search again, as a child run of this one."""
        own: dict[str, Scalar] = {f"train.{key}": value for key, value in trial.values.items()}
        own["train.epochs"] = trial.epochs
        run_id = start_trial_run(name, self.search.run.id, self.search.tags, self.search.params, own)
        with resume_run(run_id) as run:
            run.log_metrics(trial_metrics(trial.result.metrics))
            run.set_tags({"outcome": trial.result.outcome, "continued_from": trial.run_id})
        return run_id

    def trial_killed(self, run_id: str) -> None:
        """End the run of a trial that was stopped with the search."""
        end_run(run_id, "KILLED")
