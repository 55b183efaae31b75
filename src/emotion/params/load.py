"""Loads params.yaml and the presets."""

from pathlib import Path

import yaml
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from emotion.params.sections import Params
from emotion.params.space import Scalar
from emotion.params.validation import format_validation_errors
from emotion.runtime.errors import UserError

PRESETS = Path(__file__).with_name("presets.yaml")


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and validate the parameters.

    Raises:
        UserError: if the file is missing or invalid. The message names every key that is missing,
            unknown or out of bounds.
    """
    path = Path(path)
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))  # rejects duplicate keys, like DVC
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run from the project's root.") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        reason = str(error.problem).splitlines()[0]
        raise UserError(f"{path}{line} is not valid YAML: {reason}. Correct it.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {str(error).splitlines()[0]}. Correct it.") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        reasons = format_validation_errors(error, content, Params)
        raise UserError("; ".join(f"{path}: {reason}" for reason in reasons)) from None


def load_preset(name: str) -> dict[str, Scalar]:
    """Return the parameters that a preset changes, by dotted name.

    Raises:
        UserError: if there is no such preset.
    """
    presets: dict[str, dict[str, Scalar]] = yaml.safe_load(PRESETS.read_text())
    if name not in presets:
        raise UserError(f"there is no preset {name}. Choose one of {', '.join(presets)}.")
    return {"tune.max_trials": 0, **presets[name]}


def load_train_preset(name: str) -> dict[str, Scalar]:
    """Return the parameters under `train` that a preset changes, by their names there; see `load_preset`."""
    section = "train."
    return {key.removeprefix(section): value for key, value in load_preset(name).items() if key.startswith(section)}
