"""What a step brought about, put together for rewards and metrics."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.dynamics import VehicleState
from jaxrecon.simulator.encounters import surroundings_of
from jaxrecon.simulator.interaction import motion
from jaxrecon.simulator.moments import trace_of
from jaxrecon.simulator.situation import Situation
from jaxrecon.simulator.state import Moment, State
from jaxrecon.simulator.world import World


def situation_of(
    world: World,
    before: VehicleState,
    moment: Moment,
    state: State,
    events: Bool[Array, "*b 4"],
    progress: Float[Array, "*b"],
    clip_steps: int,
) -> Situation:
    """Outcome of a step.

    Args:
        world: where.
        before: the ego a step earlier; at a clip's start the same as now.
        moment: now.
        state: now, for where and when the clip started.
        events: that happened, in the order of ``EVENTS``.
        progress: along the expert's path in this step, metres.
        clip_steps: of a clip that nothing ends.
    """
    shape = world.vehicle.at(moment.scene)
    ahead = expert_route(world, moment.scene, state.start_frame, clip_steps)
    return Situation(
        events=events,
        progress=progress,
        motion=motion(before, moment.vehicle, shape, world.dt),
        trace=trace_of(world, moment, state.start_route, state.start_frame, state.elapsed),
        surroundings=surroundings_of(world, before, moment, ahead),
    )


def expert_route(
    world: World, scene: Int[Array, "*b"], start_frame: Int[Array, "*b"], clip_steps: int
) -> Float[Array, "*b"]:
    """Metres that the recorded driver covers in a whole clip."""
    route, last = world.reference.route, world.frames[scene] - 1
    return route[scene, jnp.minimum(start_frame + clip_steps, last)] - route[scene, start_frame]
