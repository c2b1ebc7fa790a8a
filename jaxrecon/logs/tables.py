"""Arrow tables (Feather and Parquet) of other people's recordings, read so that whatever is wrong in them is named."""

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrecon.logs.errors import LogError
from jaxrecon.logs.json_text import COPY_AGAIN

INSTALL = "Run `pip install pyarrow`, or install jaxrecon[argoverse]"
NUMBER, WHOLE, TEXT = "number", "whole number", "text"


def read_table(file: pathlib.Path, columns: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Some columns of a ``.feather`` or ``.parquet`` file.

    Args:
        file: the table.
        columns: what each wanted column holds: ``NUMBER`` (becomes float64), ``WHOLE`` (int64) or ``TEXT`` (objects).

    Raises:
        LogError: pyarrow is not installed, the file cannot be read, or a column is missing, of another kind or has
            gaps or numbers that are not finite.
    """
    table = _load(file)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        problem = f"lacks the columns {missing}, it has {table.column_names}"
        raise LogError(problem, file=file, field="columns", remedy=COPY_AGAIN)
    return {name: _column(table.column(name), kind, file, name) for name, kind in columns.items()}


def _load(file: pathlib.Path) -> Any:
    try:
        arrow = importlib.import_module("pyarrow")
        reader = importlib.import_module("pyarrow.feather" if file.suffix == ".feather" else "pyarrow.parquet")
    except ImportError as error:
        raise LogError("needs the package pyarrow, which is not installed", file=file, remedy=INSTALL) from error
    try:
        table = reader.read_table(file)
        table.validate(full=True)
    except (OSError, ValueError, arrow.ArrowException) as error:
        problem = f"cannot be read, it is missing, truncated or damaged ({error})"
        raise LogError(problem, file=file, field="content", remedy=COPY_AGAIN) from error
    return table


def _column(column: Any, kind: str, file: pathlib.Path, name: str) -> np.ndarray:
    values: Sequence[Any] = column.to_pylist()
    fits = {NUMBER: (int, float), WHOLE: (int,), TEXT: (str,)}[kind]
    for row, value in enumerate(values):
        if not isinstance(value, fits) or isinstance(value, bool):
            problem = f"row {row} holds {value!r}, expected a {kind}"
            raise LogError(problem, file=file, field=name, remedy=COPY_AGAIN)
    if kind == TEXT:
        return np.array(values, object)
    array = np.array(values, np.int64 if kind == WHOLE else np.float64)
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise LogError(f"row {row} holds {array[row]}", file=file, field=name, remedy=COPY_AGAIN)
    return array
