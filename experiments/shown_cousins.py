"""Cousins as rows to learn from, beside those of the drives that were recorded."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from runs import RunError
from training_worlds import TrainingWorlds

from jaxrecon.agents.shown import Shown, prepare
from jaxrecon.trajectories import CousinData, read_cousins, read_source

CousinLabels = Literal["cousin", "recovery", "both"]


@dataclasses.dataclass(frozen=True)
class ShownCousins:
    """Data sets, ready to learn from.

    Attributes:
        shown: rows of each data set and each kind of label.
        content: hash of each data set, by its log's name.
    """

    shown: tuple[Shown, ...]
    content: dict[str, str]

    @property
    def count(self) -> int:
        """Rows of all of them."""
        return sum(one.count for one in self.shown)


def show_cousins(
    folders: Sequence[pathlib.Path],
    worlds: TrainingWorlds,
    size: tuple[int, int],
    history: int,
    labels: CousinLabels,
    blind: bool = False,
) -> ShownCousins:
    """Read data sets for a policy.

    Args:
        folders: that ``write_cousins`` wrote.
        worlds: that are trained in: cousins of their drives must show their scenes as they are now.
        size: of the policy's images, pixels.
        history: frames that it sees at once.
        labels: what is learned.
        blind: show black frames.

    Raises:
        RunError: if one is of a drive that is kept for validation, has other images or cameras than the policy, leaves
            out moments that the policy remembers, is named twice, or holds no row with such labels.
        StaleCousinsError: if one shows a scene that was improved since.
    """
    kinds: tuple[Literal["cousin", "recovery"], ...] = ("cousin", "recovery") if labels == "both" else (labels,)
    kept = worlds.held_out
    shown: list[Shown] = []
    content: dict[str, str] = {}
    for folder in folders:
        name = read_source(folder).log
        if name in kept:
            raise RunError(f"--cousins {folder}: {name} is kept for validation; take those of other drives")
        if name in content:
            raise RunError(f"--cousins {folder}: those of {name} were named before; name each once")
        stored = read_cousins(folder, worlds.content.get(name))
        _require_fitting(folder, stored, size, history)
        content[name] = stored.content
        for kind in kinds:
            data = stored.labelled(kind)
            if not data.demonstrations.valid.any():
                raise RunError(f"--cousins {folder}: no row has labels of the kind {kind!r}; choose others by --labels")
            shown.append(_prepared(data, history, blind))
    return ShownCousins(tuple(shown), content)


def _prepared(data: CousinData, history: int, blind: bool) -> Shown:
    rows = data.demonstrations
    if blind:
        unseen = dataclasses.replace(rows.observation, frames=np.zeros_like(rows.observation.frames))
        rows = dataclasses.replace(rows, observation=unseen)
    return prepare(rows, history, data.started)


def _require_fitting(folder: pathlib.Path, data: CousinData, size: tuple[int, int], history: int) -> None:
    _, cameras, height, width, _ = data.demonstrations.observation.frames.shape
    if (width, height) != size or cameras != 1:
        raise RunError(
            f"--cousins {folder}: {cameras} camera(s) of {width}x{height} pixels; the policy has one of "
            f"{size[0]}x{size[1]}: make them with --width {size[0]} --height {size[1]}"
        )
    stride = max(np.diff(data.rows["step"])[~data.started[1:]].tolist(), default=1)
    if history > 1 and stride != 1:
        raise RunError(
            f"--cousins {folder}: every {stride}th step is there, and the policy remembers {history} in a row: make "
            "them with --stride 1"
        )
