"""The last few frames of every environment, for policies that look back; kept outside of the simulator's state.

An agent that acts carries one ring of k frames an environment: 4096 environments with four frames of 96x64 take 302 MB.
A learner stores each frame of a rollout once and gathers the same stacks by index, minibatch by minibatch.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt8


@flax.struct.dataclass
class FrameHistory:
    """A ring of frames.

    Attributes:
        frames: (env, slot, camera, height, width, 3) uint8.
        newest: () int32, slot of the newest.
    """

    frames: UInt8[Array, "env slot camera height width 3"]
    newest: Int[Array, ""]

    @property
    def stacked(self) -> UInt8[Array, "env slot camera height width 3"]:
        """The frames from the newest to the oldest."""
        slots = self.frames.shape[1]
        return self.frames[:, jnp.mod(self.newest - jnp.arange(slots), slots)]


def begin_history(frames: UInt8[Array, "env camera height width 3"], length: int) -> FrameHistory:
    """The history at a clip's start: its first frame, so many times.

    Raises:
        ValueError: if length is less than one.
    """
    if length < 1:
        raise ValueError(f"a history of {length} frames was asked for; expected at least 1")
    return FrameHistory(jnp.repeat(frames[:, None], length, axis=1), jnp.zeros((), jnp.int32))


def extend_history(
    history: FrameHistory, frames: UInt8[Array, "env camera height width 3"], started: Bool[Array, " env"]
) -> FrameHistory:
    """The history after a step; where a clip started (``~StepResult.valid``) the new frame takes every slot."""
    slots = history.frames.shape[1]
    newest = jnp.mod(history.newest + 1, slots)
    replaced = started[:, None] | (jnp.arange(slots) == newest)
    mask = replaced.reshape(*replaced.shape, 1, 1, 1, 1)
    return FrameHistory(jnp.where(mask, frames[:, None], history.frames), newest)


def history_rows(started: Bool[Array, "time env"], length: int) -> Int[Array, "time env slot"]:
    """Which row of a rollout holds each frame of each history, from the newest to the oldest.

    Args:
        started: a clip starts with this row's frame; of the first row none counts, it stands for all before it.
        length: frames of a history.

    Returns:
        Rows: ``frames[rows[t, e], e]`` is the history at (t, e). None reaches before its clip's start.
    """
    time = jnp.arange(started.shape[0])[:, None]
    first = jnp.where(started, time, 0)
    # Starts rise with time: the latest so far is the largest.
    first = jnp.maximum.accumulate(first, axis=0)
    return jnp.maximum(time[..., None] - jnp.arange(length), first[..., None])
