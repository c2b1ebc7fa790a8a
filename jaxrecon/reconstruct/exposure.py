"""One affine colour change a frame, for cameras that adapt; held-out frames take theirs from their neighbours."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Exposure:
    """What a camera did to each frame's colours: rgb * exp(log_gain) + bias.

    Attributes:
        log_gain: natural logarithm of the gain of each channel.
        bias: added to each channel.
    """

    log_gain: Float[Array, "frame 3"]
    bias: Float[Array, "frame 3"]


def neutral(frames: int) -> Exposure:
    """No change in any frame."""
    return Exposure(jnp.zeros((frames, 3)), jnp.zeros((frames, 3)))


def expose(
    exposure: Exposure, frame: Int[Array, ""], rgb: Float[Array, "height width 3"]
) -> Float[Array, "height width 3"]:
    """Colours as the camera would have recorded them in that frame."""
    return rgb * jnp.exp(exposure.log_gain[frame]) + exposure.bias[frame]


def interpolate(exposure: Exposure, fitted: Bool[Array, " frame"]) -> Exposure:
    """Exposure of every frame, linear in time between the fitted frames and constant beyond them."""
    frames = jnp.arange(fitted.shape[0])
    # Frames that were not fitted sort behind all that were and so never bound an interval.
    order = jnp.argsort(jnp.where(fitted, frames, fitted.shape[0]))
    count = jnp.maximum(jnp.sum(fitted), 1)
    knots = jnp.where(jnp.arange(len(frames)) < count, frames[order], frames[order[count - 1]] + frames + 1)

    def along_time(values: Array) -> Array:
        ordered = values[order]
        held = jnp.where((jnp.arange(len(frames)) < count)[:, None], ordered, ordered[count - 1])
        return jnp.stack([jnp.interp(frames, knots, held[:, channel]) for channel in range(3)], axis=-1)

    return Exposure(along_time(exposure.log_gain), along_time(exposure.bias))
