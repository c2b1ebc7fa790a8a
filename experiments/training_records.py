"""What a training run leaves behind while it goes on: a line of figures an update, and curves to look at."""

import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from runs import write_text

from jaxrecon import viz
from jaxrecon.agents.outputs import HEADS

REDRAW = 30.0  # seconds between two drawings of the curves
DRIVING = "cost of driving, validation streets"
SMOOTHING = 5  # updates over which curves are averaged


class Records:
    """A file of JSON lines, one an update, that an interrupted and resumed run goes on with.

    Args:
        folder: of ``metrics.jsonl`` and ``curves.png``.
        names: of the rewards.
    """

    def __init__(self, folder: pathlib.Path, names: Sequence[str]):
        self.path, self.picture, self.names = folder / "metrics.jsonl", folder / "curves.png", list(names)
        self.rows = read_lines(self.path)
        self._drawn = time.perf_counter()

    def add(self, number: int, figures: Mapping[str, Any]) -> None:
        """Keep the figures of an update, counted from 0; what is there of it and of later ones is dropped."""
        row = {"update": number, **{name: _plain(value) for name, value in figures.items()}}
        if number < len(self.rows):
            self.rows = self.rows[:number]
            write_text(self.path, "".join(json.dumps(one) + "\n" for one in self.rows))
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        if time.perf_counter() - self._drawn > REDRAW:
            self.draw()

    def draw(self) -> None:
        """Draw the curves so far."""
        self._drawn = time.perf_counter()
        columns = {name: np.array([number_of(row.get(name)) for row in self.rows]) for name in self._scalars()}
        rewards = np.array([[number_of(one) for one in row["rewards"]] for row in self.rows])
        panels = {
            "reward per step": {"sum": columns["reward"]},
            "reward per step, by term": {name: rewards[:, i] for i, name in enumerate(self.names)},
            "share of steps that end a clip": {
                "by an event": columns["event_rate"], "by time": columns["truncation_rate"],
            },
            "drift of a head (nats)": {head: columns[f"{head}_kl"] for head in HEADS},
            "entropy of a head (nats)": {head: columns[f"{head}_entropy"] for head in HEADS},
            "critics' error": {"value loss": columns["value_loss"]},
            DRIVING: {"policy": columns["driving_cost"]},
            "environment steps per second": {"training": columns["steps_per_second"]},
        }  # fmt: skip
        draw_panels(panels, self.picture, {DRIVING: "drive"})

    def _scalars(self) -> list[str]:
        return [name for name, value in self.rows[0].items() if not isinstance(value, list)]


def draw_panels(
    panels: Mapping[str, Mapping[str, np.ndarray]], path: pathlib.Path, axis: Mapping[str, str] | None = None
) -> None:
    """Curves averaged over a few updates, without what is not finite."""
    shown: dict[str, dict[str, np.ndarray]] = {}
    for title, series in panels.items():
        lines = {name: smoothed(values[np.isfinite(values)]) for name, values in series.items()}
        lines = {name: values for name, values in lines.items() if values.size}
        if lines:
            shown[title] = lines
    viz.plot_learning_curves(shown, path, axis)


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows of a file, up to the first that was not written whole."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or row.get("update") != len(rows):
            break
        rows.append(row)
    return rows


def smoothed(values: np.ndarray) -> np.ndarray:
    """Averages over a few updates."""
    window = max(1, min(SMOOTHING, len(values) // 4))
    return np.convolve(values, np.ones(window) / window, mode="valid") if values.size else values


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.ndim:
        return [_plain(one) for one in array]
    number = array.item()
    return float(f"{number:.6g}") if math.isfinite(number) else None


def number_of(value: Any) -> float:
    """A number of a stored line; NaN where it says null."""
    return math.nan if value is None else float(value)
