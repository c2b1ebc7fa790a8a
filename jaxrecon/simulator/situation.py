"""All that a reward may ask about one moment of a drive."""

import flax.struct
from jaxtyping import Array, Bool, Float

from jaxrecon.metrics.closed_loop import Trace
from jaxrecon.metrics.comfort import Motion
from jaxrecon.metrics.surroundings import Surroundings


@flax.struct.dataclass
class Situation:
    """The outcome of one step; every field has the axis ``env`` (or any batch dimensions, all the same).

    Attributes:
        events: (env, 4) bool, RAD's, in the order of ``EVENTS``.
        progress: (env,) metres along the expert's path that the step brought, negative backwards.
        motion: accelerations, turn rates and jerks, see ``interaction.motion``.
        trace: the ride: speed, distance to the expert's path, heading error, ...
        surroundings: the rest: others, road and lights.
    """

    events: Bool[Array, "*b 4"]
    progress: Float[Array, " *b"]
    motion: Motion
    trace: Trace
    surroundings: Surroundings
