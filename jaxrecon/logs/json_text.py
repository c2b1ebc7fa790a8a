"""JSON files of other people's recordings, read so that whatever is wrong in them is named."""

import gzip
import json
import pathlib
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxrecon.logs.errors import LogError

COPY_AGAIN = "Copy the file again from the original recording"
# No city is farther from the origin of its map than this; whatever lies beyond is not a measurement.
FARTHEST = 1e6  # metres


def read_json(file: pathlib.Path) -> Any:
    """What a JSON file holds; one whose name ends in ``.gz`` is decompressed.

    Raises:
        LogError: it cannot be read, decompressed or parsed.
    """
    try:
        content = file.read_bytes()
        text = gzip.decompress(content) if file.suffix == ".gz" else content
        return json.loads(text)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        problem = f"cannot be read as JSON ({error})"
        raise LogError(problem, file=file, field="content", remedy=COPY_AGAIN) from error


def entry(holder: Any, name: str, kind: type | tuple[type, ...], file: pathlib.Path, field: str) -> Any:
    """A member of a JSON object.

    Args:
        holder: the object.
        name: of the member.
        kind: what it has to be.
        file: for errors.
        field: what the holder is, for errors.

    Raises:
        LogError: the holder is no object, has no such member, or it is of another kind.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    expected = " or ".join(one.__name__ for one in kinds)
    if not isinstance(holder, dict) or name not in holder:
        found = sorted(holder)[:12] if isinstance(holder, dict) else type(holder).__name__
        raise LogError(f"lacks {name!r}, it holds {found}", file=file, field=field, remedy=COPY_AGAIN)
    value = holder[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        where = f"{field}.{name}" if field else name
        raise LogError(f"is {str(value)[:40]}, expected {expected}", file=file, field=where, remedy=COPY_AGAIN)
    return value


def number(holder: Any, name: str, file: pathlib.Path, field: str) -> float:
    """A number in a JSON object; arguments as of ``entry``.

    Raises:
        LogError: as ``entry``, or the number is too large for a float.
    """
    value = entry(holder, name, (int, float), file, field)
    try:
        return float(value)
    except OverflowError:
        problem = "is a whole number too large for a float"
        raise LogError(problem, file=file, field=f"{field}.{name}", remedy=COPY_AGAIN) from None


def numbers(values: Any, file: pathlib.Path, field: str) -> Float[np.ndarray, " n"]:
    """A list of numbers as float64; they need not be finite.

    Raises:
        LogError: it is no list of numbers.
    """
    whole = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not whole:
        raise LogError(f"is {str(values)[:40]}, expected a list of numbers", file=file, field=field, remedy=COPY_AGAIN)
    try:
        return np.array(values, np.float64)
    except OverflowError as error:
        raise LogError("holds a number beyond all bounds", file=file, field=field, remedy=COPY_AGAIN) from error


def points(values: Any, axes: str, file: pathlib.Path, field: str) -> Float[np.ndarray, "n 3"]:
    """A list of ``{"x": ..., "y": ..., "z": ...}`` as metres.

    Args:
        values: the list.
        axes: "xyz", or "xy" for points without a height, which get 0.
        file: for errors.
        field: for errors.

    Raises:
        LogError: it is no such list.
    """
    if not isinstance(values, list):
        raise LogError(f"is {str(values)[:40]}, expected a list of points", file=file, field=field, remedy=COPY_AGAIN)
    try:
        rows = [[point[axis] for axis in axes] for point in values]
    except (KeyError, TypeError, IndexError) as error:
        problem = f"holds a point without one of {', '.join(axes)}"
        raise LogError(problem, file=file, field=field, remedy=COPY_AGAIN) from error
    flat = numbers([value for row in rows for value in row], file, field).reshape(-1, len(axes))
    return np.pad(flat, ((0, 0), (0, 3 - len(axes))))


def measured(array: np.ndarray, file: pathlib.Path, field: str, frames: np.ndarray | None = None) -> np.ndarray:
    """The same array, in which everything is a measurement: finite and within the bounds of a map.

    Args:
        array: the first dimension counts points or frames.
        file: for errors.
        field: for errors.
        frames: number of each row, where rows are frames, for errors.

    Raises:
        LogError: naming the first row that is not.
    """
    good = (np.isfinite(array) & (np.abs(array) < FARTHEST)).all(axis=tuple(range(1, array.ndim)))
    if not good.all():
        row = int(np.argmin(good))
        problem = f"is no measurement: {array[row]}" if frames is not None else f"point {row} is none: {array[row]}"
        frame = None if frames is None else int(frames[row])
        raise LogError(problem, file=file, frame=frame, field=field, remedy=COPY_AGAIN)
    return array
