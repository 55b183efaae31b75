"""One trial of a search, in a process of its own.

    python -m emotion.tuning.trial

The search writes request.json into a folder and the folder's name to the standard input of
this, a socket, whose copy trains, logs to the trial's run, and writes result.json beside the
request; then this writes the copy's exit code to the socket. The states of a training lie in the
folder, too: started again, it goes on from the last epoch. Both end at once where the socket
closes, so that they never outlive a search that was killed.
"""

import math
import os
import select
import socket
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from emotion.data.dataset import Split, open_faces, subset
from emotion.data.labels import SIZE
from emotion.params import Section, Train
from emotion.runtime.errors import UserError
from emotion.runtime.paths import write_json
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking.provenance import machine

REQUEST, RESULT = "request.json", "result.json"
# Pruning waits for so many trials to compare with, and for so much of a trial's own epochs.
FEWEST_TRIALS, FEWEST_EPOCHS = 3, 1 / 3

Objective = Literal["val_accuracy", "val_loss"]
Curve = tuple[float, ...]  # the objective after each epoch


class Request(Section):
    """What a trial is to do."""

    run_id: str  # in MLflow
    train: Train
    fraction: float  # of the training images
    subset_seed: int  # which of them
    executions: int  # trainings, with seeds from train.seed on
    objective: Objective
    earlier: tuple[Curve, ...] = ()  # of the completed trials, to be pruned by; none without pruning
    deadline: float | None = None  # in seconds since 1970
    dataset: dict[str, str]  # what MLflow shows of the data


class Result(Section):
    """How a trial ended."""

    outcome: Literal["completed", "pruned", "out of time", "failed"]
    reason: str = ""  # why it failed
    metrics: dict[str, float] = Field(
        default_factory=dict
    )  # of the best epoch by the objective, and what the trial cost
    curve: Curve = ()


def is_better(objective: Objective) -> Callable[[float, float], bool]:
    """Whether the first of two values is the better one."""
    return float.__gt__ if objective == "val_accuracy" else float.__lt__


def is_hopeless(curve: Curve, earlier: tuple[Curve, ...], epochs: int, objective: Objective) -> bool:
    """The median stopping rule (Golovin et al., 2017).

    Whether the best value so far is worse than the median of what earlier trials had on average
    until this epoch.
    """
    length = len(curve)
    averages = [statistics.fmean(other[:length]) for other in earlier if len(other) >= length]
    if len(averages) < FEWEST_TRIALS or length < FEWEST_EPOCHS * epochs:
        return False
    best = max(curve) if objective == "val_accuracy" else min(curve)
    return is_better(objective)(statistics.median(averages), best)


class Judge:
    """Ends a training that is hopeless, or too late."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcome = "completed"
        self.prunes = True

    def __call__(self, rows: list[dict[str, float]]) -> bool:
        """Asked after every epoch."""
        request, epochs = self.request, self.request.train.epochs
        curve = tuple(row[request.objective] for row in rows)
        # While the training images are smaller than those of validation, its curve lags behind.
        comparable = self.prunes and len(rows) < epochs and rows[-1]["image_size"] == SIZE
        if comparable and is_hopeless(curve, request.earlier, epochs, request.objective):
            self.outcome = "pruned"
        return self.is_late() or self.outcome != "completed"

    def is_late(self) -> bool:
        """Whether the search's time is up."""
        if self.request.deadline and time.time() >= self.request.deadline:
            self.outcome = "out of time"
        return self.outcome == "out of time"


def train_all(request: Request, images: Split, validation: Split, folder: Path | None, judge: Judge) -> list[Any]:
    """A training per execution; of several, only whole ones. The first alone can be hopeless."""
    from emotion.tracking import stage_runs as records
    from emotion.training.checkpoints import Checkpoints
    from emotion.training.trainer import fit

    fits: list[Any] = []
    for execution in range(request.executions):
        settings = request.train.override({"seed": request.train.seed + execution})
        suffix = f"_{execution + 1}" if execution else ""
        checkpoints = Checkpoints(folder / f"execution{suffix}") if folder else None
        fitted = fit(settings, images, validation, [records.epoch_logger(suffix)], checkpoints, judge)
        if judge.outcome == "completed" or not fits:
            fits.append(fitted)
        if len(fits) < request.executions and (judge.outcome != "completed" or judge.is_late()):
            break
        judge.prunes = False
    return fits


def run(request: Request, train: Split, validation: Split, folder: Path | None, where: Mapping[str, str]) -> Result:
    """Train and log to the trial's run.

    Args:
        request: what to do.
        train: all training images.
        validation: what the trial is scored on.
        folder: where the states of the trainings are kept, or None.
        where: tags that say which machine this is.

    Raises:
        UserError: where the loss is no number any more.
    """
    from emotion.evaluation import predictions
    from emotion.tracking import runs as tracking
    from emotion.tracking import stage_runs as records

    start, judge, objective = time.monotonic(), Judge(request), request.objective
    images = subset(train, request.fraction, request.subset_seed)
    with tracking.within(request.run_id):
        records.log_dataset(request.dataset)
        for key, value in where.items():
            tracking.set_tag(key, value)
        fits = train_all(request, images, validation, folder, judge)
        rows = [fitted.rows[_best(fitted.rows, objective)] for fitted in fits]
        scores = [row[objective] for row in rows]
        if not all(map(math.isfinite, scores)):
            raise UserError(f"{objective} is no number: the training diverged. Lower the rates in tune.space.")
        metrics = {key: value for key, value in rows[0].items() if key not in ("epoch", "seconds")} | {
            "score": statistics.fmean(scores),
            "score_spread": statistics.stdev(scores) if len(scores) > 1 else 0.0,
            "duration": time.monotonic() - start,  # in seconds
            "training_seconds": sum(fitted.rows[-1]["seconds"] for fitted in fits),
            "epochs": float(sum(len(fitted.rows) for fitted in fits)),
            "parameters": float(fits[0].network.count_params()),
        }
        logged = ("score", "score_spread", "duration", "training_seconds", "epochs", "parameters")
        tracking.log_metrics({key: metrics[key] for key in logged})
        tracking.set_tag("outcome", judge.outcome)
        records.log_predictions(predictions.table(validation.index, fits[0].answers))
    curve = tuple(row[objective] for row in fits[0].rows)
    return Result.model_validate({"outcome": judge.outcome, "metrics": metrics, "curve": curve})


def _best(rows: list[dict[str, float]], objective: Objective) -> int:
    values = [row[objective] for row in rows]
    return values.index(max(values) if objective == "val_accuracy" else min(values))


def attempt(
    request: Request,
    train: Split,
    validation: Split,
    folder: Path | None = None,
    where: Mapping[str, str] | None = None,
) -> Result:
    """`run`, whose failure is a result as well."""
    try:
        return run(request, train, validation, folder, {"machine": machine(), **(where or {})})
    except UserError as error:
        return Result(outcome="failed", reason=str(error))
    except Exception as error:  # noqa: BLE001  whatever it was, it costs one trial
        traceback.print_exc()
        return Result(outcome="failed", reason=f"{type(error).__name__}: {error}".splitlines()[0][:500])


def main() -> None:
    """Load what trials need, then run those that are asked for, each in a copy of this process.

    A copy has nothing to load. TensorFlow bears it as long as nothing was computed before.
    """
    load_tensorflow(look_for_devices=False)

    with socket.socket(fileno=sys.stdin.fileno()) as search:
        while line := search.recv(4096):
            status = _in_a_copy(Path(line.decode().rstrip("\n")), search)
            if status is None:  # the search has ended
                return
            search.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _in_a_copy(folder: Path, search: socket.socket) -> int | None:
    """Fork, run one trial, and wait for it.

    Returns:
        How the copy ended, as `os.wait` has it; None where the search ended first, which ends it too.
    """
    copy_lives, copys_life = os.pipe()  # each reads as ended once the other side's process has
    we_live, our_life = os.pipe()
    copy = os.fork()
    if not copy:
        os.close(our_life)
        search.close()
        threading.Thread(target=_end_with, args=(we_live,), daemon=True).start()
        code = 1
        try:
            _run_one(folder)
            code = 0
        finally:  # it must never go on as its parent would
            if code:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)
    os.close(copys_life)
    os.close(we_live)
    ended, *_ = select.select([copy_lives, search.fileno()], [], [])
    for pipe in (copy_lives, our_life):
        os.close(pipe)
    _, status = os.waitpid(copy, 0)
    return None if search.fileno() in ended else status


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def _run_one(folder: Path) -> None:
    load_tensorflow()
    request = Request.model_validate_json((folder / REQUEST).read_text())
    faces = open_faces()
    result: Any = attempt(request, faces.split("train"), faces.split("validation"), folder)
    write_json(folder / RESULT, result.model_dump())


if __name__ == "__main__":
    main()
