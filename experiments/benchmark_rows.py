"""Rows of a benchmark: their format, their file and their table."""

import datetime
import json
import math
import pathlib
from typing import Any

import jax
from benchmark_timing import Timing
from runs import write_text

REQUIRED = ("name", "value", "unit", "device", "jax", "date")
OPTIONAL = ("peer_name", "peer_value", "ratio", "quality", "low", "high")


class BenchmarkError(ValueError):
    """A measurement that cannot be made or must not be believed; the message says why."""


def make_row(name: str, value: float, unit: str, quality: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A row measured now on JAX's default device; numbers are rounded to six digits.

    Args:
        name: of the row, fixed.
        value: what was measured.
        unit: of the value.
        quality: what stands beside it.
        others: optional keys; those that are None do not apply and are left out.
    """
    row = {"name": name, "value": value, "unit": unit, **others, "quality": quality}
    row |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    row["date"] = datetime.date.today().isoformat()
    row = tidy({key: entry for key, entry in row.items() if entry is not None})
    check_row(row)
    return row


def milliseconds(name: str, ours: Timing, quality: dict[str, Any], peer: Timing | None, peer_name: str) -> dict:
    """A row whose value is the time of a call."""
    compared: dict[str, Any] = {}
    if peer is not None:
        compared = {"peer_name": peer_name, "peer_value": peer.median, "ratio": peer.median / ours.median}
    return make_row(name, ours.median, "ms", quality, **compared, low=ours.low, high=ours.high)


def images_per_second(name: str, ours: Timing, images: int, quality: dict[str, Any]) -> dict[str, Any]:
    """A row whose value is how many images a call makes in a second."""
    low, middle, high = (1e3 * images / time for time in (ours.high, ours.median, ours.low))
    return make_row(name, middle, "images/s", quality, low=low, high=high)


def check_row(row: dict[str, Any]) -> None:
    """Raise for a row that is not in the format.

    Raises:
        BenchmarkError: naming the row and the key.
    """
    name = row.get("name", "?")
    missing = [key for key in REQUIRED if key not in row]
    unknown = sorted(set(row) - set(REQUIRED) - set(OPTIONAL))
    if missing or unknown:
        raise BenchmarkError(f"row {name}: keys {missing} are missing, keys {unknown} are unknown")
    for key in ("value", "peer_value", "ratio", "low", "high"):
        if key in row and not (isinstance(row[key], (int, float)) and math.isfinite(row[key])):
            raise BenchmarkError(f"row {name}: {key} is {row[key]!r}; expected a finite number")


def write_rows(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Write a file of rows that appears whole or not at all."""
    for row in rows:
        check_row(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"rows": rows}, indent=2, allow_nan=False) + "\n")


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a file.

    Raises:
        BenchmarkError: if the file holds something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path}: holds no rows ({error!r}); choose another file with --json") from error
    for row in rows:
        check_row(row)
    return rows


def format_row(row: dict[str, Any]) -> str:
    """A row and its quality, for the eye."""
    quality = row.get("quality", {})
    return "\n".join([table([row], header=False), *(f"    {key}: {_brief(entry)}" for key, entry in quality.items())])


def table(rows: list[dict[str, Any]], header: bool = True) -> str:
    """A line per row."""
    lines = (
        [f"{'row':42} {'value':>11} {'unit':9} {'low':>10} {'high':>10} {'peer':>10} {'ratio':>7}"] if header else []
    )
    for row in rows:
        low, high, peer, ratio = (_brief(row.get(key, "")) for key in ("low", "high", "peer_value", "ratio"))
        value = _brief(row["value"])
        lines.append(f"{row['name']:42} {value:>11} {row['unit']:9} {low:>10} {high:>10} {peer:>10} {ratio:>7}")
    return "\n".join(lines)


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(entry)}" for key, entry in value.items())
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def tidy(value: Any) -> Any:
    """Numbers as JSON can hold them, without digits that mean nothing; null stands for what could not be measured."""
    if isinstance(value, dict):
        return {key: tidy(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(entry) for entry in value]
    if isinstance(value, float) or hasattr(value, "dtype"):
        number = float(value)
        return float(f"{number:.6g}") if math.isfinite(number) else None
    return value
