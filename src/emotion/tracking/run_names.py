"""The names of runs in MLflow: the stage, and what tells its runs apart."""

from collections.abc import Mapping

from emotion.params.space import Scalar
from emotion.tracking.experiments import Purpose

PURPOSES: dict[str, Purpose] = {"fetch": "data", "preprocess": "data"}  # of other stages: training
SIZED = ("residual", "vgg", "basic_cnn")  # networks that have a width
MAX_VALUES = 60  # characters of a trial's values


def stage_run_name(
    stage: str, tags: Mapping[str, str], params: Mapping[str, object], data: str, score: str = ""
) -> str:
    """The name of a stage's run, such as `train residual-32 · drawn faces · 94.5%`.

    Args:
        stage: the name of the stage.
        tags: the tags of the run; a DVC experiment comes first.
        params: the parameters of the run, as section.key: value.
        data: the data that it used, in a few words.
        score: how good the result is, once this is known.
    """
    match stage:
        case "preprocess":
            size, protocol = params["preprocess.image_size"], params["preprocess.protocol"]
            what = f"{params['preprocess.colors']} {size}x{size}" + ("" if protocol == "auto" else f", {protocol}")
        case "tune" if str(params["tune.max_trials"]) == "0":
            what = "no search"
        case "tune":
            what = f"{params['tune.oracle']}, {params['tune.max_trials']} trials"
        case "train":
            what = network_name(params)
        case _:
            what = ""
    return f"{stage} {' · '.join(filter(None, (tags.get('dvc.experiment'), what, data, score)))}".strip()


def network_name(params: Mapping[str, object]) -> str:
    """The name of a network with its size, from the parameters of a run."""
    name = str(params["train.network"])
    sized = f"{name}-{params['train.width']}" if name in SIZED else name
    return sized if str(params["train.ensemble"]) == "1" else f"{params['train.ensemble']} x {sized}"


def trial_run_name(trial: str, values: Mapping[str, Scalar]) -> str:
    """The name of a trial's run, such as `trial-003 · dropout 0.2, learning_rate 0.031`.

    Args:
        trial: the name of the trial.
        values: the values that were searched, by name; the last part of each name is shown.
    """
    shown: list[str] = []
    for name, value in values.items():
        number = f"{value:.3g}" if isinstance(value, float) else str(value)
        shown.append(f"{name.rpartition('.')[2]} {number}")
    text = ", ".join(shown)
    while len(text) > MAX_VALUES:
        shown.pop()
        text = ", ".join((*shown, "..."))
    return f"{trial} · {text}" if text else trial
