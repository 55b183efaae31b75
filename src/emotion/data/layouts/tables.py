"""Reads tables, whatever separates their columns."""

import csv
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from emotion.data.sources.files import ATTRIBUTES, TABLES, Files, open_text
from emotion.runtime.errors import UserError

MAX_HEADER = 100_000  # characters
SEPARATORS = (",", ";", "\t")


def table_names(files: Files) -> list[str]:
    """The names of tables, without that of attributes."""
    return [name for name in files.names if name.lower().endswith(TABLES) and name != ATTRIBUTES]


def header(files: Files, name: str) -> list[str]:
    """The names of a table's columns, in lower case and without the blanks of `icml_face_data.csv`.

    Raises:
        UserError: if the table cannot be read.
    """
    with open_text(files, name) as text:
        line = text.readline(MAX_HEADER)
        return [column.strip().lower() for column in next(csv.reader([line], delimiter=_separator(line)), [])]


def readable_header(files: Files, name: str) -> list[str]:
    """As `header`; no columns if the table cannot be read, because it may be about something else."""
    try:
        return header(files, name)
    except UserError:
        return []


@contextmanager
def open_rows(files: Files, name: str) -> Iterator[Iterator[list[str]]]:
    """The rows of a table after its header."""
    with open_text(files, name) as text:
        delimiter = _separator(text.readline(MAX_HEADER))
        yield csv.reader(text, delimiter=delimiter)


def _separator(line: str) -> str:
    return max(SEPARATORS, key=line.count)


def read_table(files: Files, name: str) -> pd.DataFrame:
    """A table of texts.

    Raises:
        UserError: if it cannot be read, or its columns are not all different.
    """
    try:
        with open_text(files, name) as text:
            separator = _separator(text.readline(MAX_HEADER))
        with open_text(files, name) as text, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more cells than the header
            table = pd.read_csv(text, sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise UserError(f"{name} cannot be read: {str(error).splitlines()[0]}. Correct it, or remove it.") from None
    table.columns = [str(column).strip() for column in table.columns]
    words = pd.Series([column.lower() for column in table.columns])
    if words.duplicated().any():
        raise UserError(f"{name} has two columns {words[words.duplicated()].iloc[0]!r}. Remove one of them.")
    return table
