"""Histories of frames: carried as a ring while driving, and rebuilt by index from frames that are stored once."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxrecon.simulator.history import FrameHistory, begin_history, extend_history, history_rows

FRAMES = "frames"
UNUSED = ("depth", "confidence", "unsupported")  # of what the simulator shows: no policy looks at it


def history_of(policy: Any) -> int:
    """How many frames a policy sees at once; one where its configuration, or that of the policy in it, says nothing."""
    config = getattr(policy, "config", None)
    if config is None and hasattr(policy, "policy"):
        return history_of(policy.policy)
    return getattr(config, "history", 1)


def begin(policy: Any, observation: Any) -> FrameHistory | None:
    """What a policy remembers at the start of clips; None where it sees the newest frame alone."""
    length = history_of(policy)
    return None if length == 1 else begin_history(observation.frames, length)


def extend(memory: FrameHistory | None, observation: Any, started: Bool[Array, " env"]) -> FrameHistory | None:
    """The memory with another observation in it; where a clip started, with that alone."""
    return None if memory is None else extend_history(memory, observation.frames, started)


def seen(observation: Any, memory: FrameHistory | None) -> Any:
    """The observation as the policy takes it, given a memory that holds its frames already."""
    return observation if memory is None else dataclasses.replace(observation, frames=memory.stacked)


def without_frames(observation: Any) -> tuple[Array | np.ndarray | None, Any]:
    """Frames of an observation (None where it has none), and the rest of what policies look at."""
    if not hasattr(observation, FRAMES):
        return None, observation
    nothing = {name: None for name in (FRAMES, *UNUSED) if hasattr(observation, name)}
    return observation.frames, dataclasses.replace(observation, **nothing)


def with_frames(rest: Any, frames: Array | np.ndarray | None) -> Any:
    """The inverse of ``without_frames``."""
    return rest if frames is None else dataclasses.replace(rest, frames=frames)


def earlier_frames(memory: FrameHistory) -> Array:
    """What a memory holds but for the newest frame, (slot - 1, env, ...), oldest first."""
    return jnp.moveaxis(memory.stacked[:, :0:-1], 1, 0)


def rollout_rows(started: Bool[Array, "time env"], length: int) -> Int[Array, "time env slot"]:
    """Rows of a rollout's frames, behind the ``length - 1`` earlier ones, that make up each history, newest first.

    Args:
        started: this row's frame is the first of a clip.
        length: frames of a history.
    """
    before = jnp.zeros((length - 1, started.shape[1]), bool)
    return history_rows(jnp.concatenate([before, started]), length)[length - 1 :]


def recorded_rows(started: Bool[np.ndarray, " row"], length: int) -> Int[np.ndarray, "row slot"]:
    """The same for rows in the order in which they were recorded, drive after drive; on the host."""
    return np.asarray(history_rows(jnp.asarray(started)[:, None], length)[:, 0])
