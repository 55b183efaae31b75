"""Error messages for parameters that are missing, unknown or out of bounds."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """Base class of the parameter sections: immutable, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def format_validation_errors(
    error: ValidationError, content: Any, model: type[BaseModel], section: str = ""
) -> list[str]:
    """Return one message per error, naming the key, the bound and the value received.

    Args:
        error: the error raised by validating `content`.
        content: the input that was validated.
        model: the model that `content` was validated against; it supplies suggestions for unknown keys.
        section: the location of `content` in params.yaml.
    """
    lines = []
    for detail in error.errors():
        location = list(_location(detail["loc"], content))
        key = ".".join(map(str, [*filter(None, [section]), *location]))
        if detail["type"] == "extra_forbidden":
            similar = get_close_matches(str(location[-1]), _field_names(model, location[:-1]), n=1)
            lines.append(f"unknown key {key}" + (f", did you mean {similar[0]}?" if similar else ""))
        elif detail["type"] == "missing":
            lines.append(f"{'.'.join(filter(None, [key, str(detail['loc'][-1])]))} is missing")
        elif detail["type"] == "value_error":
            lines.append(": ".join(filter(None, [key, str(detail["ctx"]["error"])])))
        else:
            message = detail["msg"].replace("Input should", "should")
            lines.append(f"{key} {message}, got {detail['input']!r}")
    return lines


def _location(parts: Sequence[int | str], content: Any) -> Iterator[int | str]:
    """Yield the parts that index into the content; the others name branches of pydantic's unions."""
    for part in parts:
        is_key = isinstance(content, dict) and part in content
        is_index = isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)
        if is_key or is_index:
            content = content[part]
            yield part


def _field_names(model: Any, location: Sequence[int | str]) -> list[str]:
    """Return the known keys at a location inside a model."""
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = fields[str(part)].annotation if part in fields else None
        if not hasattr(model, "model_fields"):
            return []
    return [field.alias or name for name, field in model.model_fields.items()]
