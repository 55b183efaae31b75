"""Files that are written completely or not at all, and their digests."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from emotion.runtime.errors import UserError

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; the file or folder written there then replaces `path`.

    If writing fails, the temporary path is removed and `path` stays as it was.

    Raises:
        UserError: if `path` is a device, a pipe or a socket, which would be replaced by a file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path} is not a regular file, but a pipe, a socket or a device. Choose another path.")
    path = path.resolve() if path.name in ("", "..") else path  # . has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f"tmp-{path.name}")
    _remove(tmp)
    try:
        yield tmp
        if tmp.is_dir():
            _remove(path)  # a folder cannot be replaced in one step
        tmp.replace(path)
    finally:
        _remove(tmp)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file atomically."""
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, fix: str, schema: Any = dict[str, Any]) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        fix: what to do if the file is missing or damaged, for the message.
        schema: a pydantic model, or any type that pydantic can validate, that the object must conform to.

    Raises:
        UserError: if the file is missing, is not valid JSON (which has no NaN), or does not conform to the schema.
    """
    return _read(path, "JSON", lambda text: json.loads(text, parse_constant=_reject_constant), fix, schema)


def read_yaml(path: Path, fix: str, schema: Any) -> dict[str, Any]:
    """Read a YAML mapping. As `read_json`."""
    import yaml

    def parse(text: str) -> Any:
        try:
            return yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise ValueError from error

    return _read(path, "YAML", parse, fix, schema)


def _read(path: Path, language: str, parse: Callable[[str], Any], fix: str, schema: Any) -> dict[str, Any]:
    try:
        content: dict[str, Any] = parse(path.read_text())
        TypeAdapter(schema).validate_python(content)
    except FileNotFoundError:
        raise UserError(f"{path} is missing. {fix}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise UserError(f"{path} is damaged: {where}: {first['msg']}. {fix}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is not valid {language}. {fix}") from None
    return content


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")


def read_csv(path: Path, columns: Collection[str], fix: str, **options: Any) -> "pd.DataFrame":
    """Read a CSV file.

    Args:
        path: the file.
        columns: the columns that it must have; others are allowed.
        fix: what to do if the file is missing or damaged, for the message.
        **options: options of `pandas.read_csv`.

    Raises:
        UserError: if the file is missing or truncated, is not a CSV file, or lacks a column.
    """
    import pandas as pd

    try:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):  # pandas would fill a truncated row with missing values
            raise UserError(f"{path} is damaged: its last line is incomplete. {fix}")
        table: pd.DataFrame = pd.read_csv(io.BytesIO(content), **options)
    except FileNotFoundError:
        raise UserError(f"{path} is missing. {fix}") from None
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is damaged: it is not a CSV file ({reason}). {fix}") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise UserError(f"{path} is damaged: it has no column {', '.join(missing)}. {fix}")
    return table


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def bytes_digest(content: bytes) -> str:
    """SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its relative path."""
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in folder_files(folder)}


def folder_digest(folder: Path) -> str:
    """One SHA-256 of the names and contents of all files below a folder."""
    lines = (f"{name}\0{digest}\n" for name, digest in file_digests(folder).items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def folder_size(folder: Path) -> int:
    """The size of all files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder_files(folder))
