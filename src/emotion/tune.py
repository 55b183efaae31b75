"""Search hyperparameters with KerasTuner.

    python -m emotion.tune

Reads data/faces/, `params: tune` and, as the base of every trial, `train`; writes
models/hyperparameters.json (the best values, and the search, trial and run they come from)
and reports/trials.csv (a row per trial, best first).
"""

import pandas as pd

from emotion import params
from emotion.errors import exit_cleanly
from emotion.faces import open_faces, subset
from emotion.paths import TRIALS, whole
from emotion.runtime import load_tensorflow


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion import records

    with records.stage_run("tune", settings) as record:
        load_tensorflow()
        from emotion.search import search

        faces = open_faces()
        train = subset(faces.split("train"), settings.tune.fraction, settings.tune.seed)
        trials = search(settings.tune, settings.train, train, faces.split("validation"), record)
        rows = [
            {"trial": t.name, **{f"train.{k}": v for k, v in t.values.items()}, **t.metrics, "run_id": t.run_id}
            for t in trials
        ]
        with whole(TRIALS) as part:
            columns = None if rows else ["trial", "score", "run_id"]
            pd.DataFrame(rows, columns=columns).to_csv(part, index=False)
        best = trials[0] if trials else None
        record |= {
            "values": best.values if best else {},
            "objective": settings.tune.objective,
            "score": best.metrics["score"] if best else None,
            "trial": best.name if best else None,
            "trial_run_id": best.run_id if best else None,
        }
        print(f"Best of {len(trials)} trials: {record['values']}, {settings.tune.objective} {record['score']}")
        print(f"Faces: {faces.caption}")


if __name__ == "__main__":
    exit_cleanly("tune", main)
