"""One affine colour change a frame, for cameras that adapt; held-out frames take theirs from their neighbours."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrecon.reconstruct.timeline import in_time


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


def fill_exposure(exposure: Exposure, weights: Float[Array, "frame frame"]) -> Exposure:
    """Exposure of every frame, that of held-out frames from their neighbours by ``time_weights``."""
    return Exposure(in_time(weights, exposure.log_gain), in_time(weights, exposure.bias))
