"""Demonstrations made ready for gradient steps: checked, and their frames stored once however long the history."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrecon.agents import histories


class DemonstrationError(ValueError):
    """Demonstrations that nothing can be learned from; the message says why and what to do."""


@flax.struct.dataclass
class Shown:
    """Rows to learn from; the axis ``b`` counts the valid ones, ``row`` all that were recorded.

    Attributes:
        frames: (row, camera, height, width, 3) uint8; None where observations have none.
        recall: (b, slot) int32, rows of the frames of each history, newest first.
        rest: observations without frames, (b, ...).
        action: (b, 2) int32 anchors, lateral and longitudinal.
    """

    frames: Any
    recall: Any
    rest: Any
    action: Any

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.action.shape[0]

    def rows(self, chosen: Int[Array, " n"]) -> "Shown":
        """Some rows, all frames."""
        recall, rest, action = jax.tree.map(lambda x: x[chosen], (self.recall, self.rest, self.action))
        return Shown(self.frames, recall, rest, action)

    def take(self, chosen: Int[Array, " n"]) -> tuple[Any, Int[Array, "n 2"]]:
        """Observations, their histories gathered, and actions."""
        rest, action = jax.tree.map(lambda x: x[chosen], (self.rest, self.action))
        if self.frames is None:
            return rest, action
        recall = self.recall[chosen]
        frames = self.frames[recall] if recall.shape[1] > 1 else self.frames[recall[:, 0]]
        return histories.with_frames(rest, frames), action


def prepare(demonstrations: Any, history: int = 1, started: Bool[np.ndarray, " row"] | None = None) -> Shown:
    """Check demonstrations and put those that are valid on the device.

    Args:
        demonstrations: with ``observation``, ``lateral`` and ``longitudinal`` labels and ``valid``, rows in the order
            in which they were recorded.
        history: frames that the policy sees at once.
        started: rows that begin another drive, before which no history reaches; the first alone by default. Rows beside
            the recorded path have no frames before them: mark each as started.

    Raises:
        DemonstrationError: when there is no row, none is valid, a valid one holds NaN or infinity, or ``started`` has
            another length.
    """
    valid = np.asarray(demonstrations.valid)
    if not valid.any():
        raise DemonstrationError(
            f"demonstrations have {valid.size} rows and none is valid: the log is shorter than the 0.5 s that a label "
            "looks ahead, or its poses were rejected"
        )
    _check_finite(demonstrations, valid)
    started = np.arange(valid.size) == 0 if started is None else np.asarray(started, bool)
    if started.shape != valid.shape:
        raise DemonstrationError(f"started has shape {started.shape}, expected one entry a row, {valid.shape}")
    frames, rest = histories.without_frames(demonstrations.observation)
    action = np.stack([np.asarray(demonstrations.lateral), np.asarray(demonstrations.longitudinal)], axis=-1)
    recall = histories.recorded_rows(started, history)[valid]
    if history == 1 and frames is not None:
        frames, recall = np.asarray(frames)[valid], np.arange(valid.sum(), dtype=np.int32)[:, None]
    rest, action = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[valid]), (rest, action.astype(np.int32)))
    return Shown(None if frames is None else jnp.asarray(frames), jnp.asarray(recall), rest, action)


def joined(parts: Sequence[Shown]) -> Shown:
    """Rows of several sources, source after source.

    Args:
        parts: of policies with one shape: alike in images, history and what else is observed.

    Raises:
        DemonstrationError: when they are not alike.
    """
    if len({_shape_of(one) for one in parts}) != 1:
        listed = "; ".join(sorted({str(_shape_of(one)) for one in parts}))
        raise DemonstrationError(f"rows to learn from differ in shape: {listed}; draw them for one policy")
    before = np.cumsum([0, *(0 if one.frames is None else one.frames.shape[0] for one in parts)])
    recall = [one.recall + int(first) for one, first in zip(parts, before[:-1], strict=True)]
    frames = None if parts[0].frames is None else jnp.concatenate([one.frames for one in parts])
    rest, action = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *((one.rest, one.action) for one in parts))
    return Shown(frames, jnp.concatenate(recall), rest, action)


def _shape_of(shown: Shown) -> tuple[Any, ...]:
    """Shapes of a row's frames, history and other leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(shown.rest)
    rest = tuple((jax.tree_util.keystr(path), leaf.shape[1:]) for path, leaf in leaves)
    return (None if shown.frames is None else shown.frames.shape[1:], shown.recall.shape[1:], rest)


def _check_finite(demonstrations: Any, valid: Bool[np.ndarray, " row"]) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(demonstrations):
        if not np.issubdtype(leaf.dtype, np.floating):
            continue
        values = np.asarray(leaf).reshape(valid.size, -1)
        bad = np.flatnonzero(valid & ~np.isfinite(values).all(axis=1))
        if bad.size:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise DemonstrationError(
                f"demonstrations.{name} of row {bad[0]} is {values[bad[0]].tolist()} ({bad.size} such rows), "
                "expected finite numbers: mark the rows invalid or correct the log's poses"
            )
