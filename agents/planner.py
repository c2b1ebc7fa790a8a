"""The oracle: a planner that sees the true boxes, and drives the best of a few proposals along the expert's path.

Each proposal keeps to one side of the path and follows the Intelligent Driver Model towards one share of the cruising
speed. All are driven in the coordinates of the path, against boxes that keep their speeds and against the true
obstacles; the one that stays clear the longest, and of those the one that gets farthest in comfort, is driven for a
step.

Source: Dauner et al. 2023, "Parting with misconceptions about learning-based vehicle motion planning" (PDM-Closed),
whose proposals, forecast and score are simplified.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.agents.drivers import SIDE_MARGIN, bend_speed, steer_for, surroundings_on_path
from jaxrecon.agents.driving import Unseeing
from jaxrecon.dynamics import travel
from jaxrecon.geometry.transforms import in_frame
from jaxrecon.simulator import Observation, Simulator, State
from jaxrecon.simulator.shapes import EgoShape
from jaxrecon.traffic.idm import FREE, IDM, IdmParams, Places, idm_acceleration, path_leader
from jaxrecon.traffic.replay import Actors

STANDING = 0.1  # m/s below which a car does not run into anything
TOP_SPEED = 32.0  # m/s
LANE_KEEPING = 0.3  # share of its speed along the road below which a box's speed across it is a passing drift
DRIFT_SECONDS = 0.7  # in which such a drift dies down


@dataclasses.dataclass(frozen=True)
class OracleConfig:
    """What the oracle considers.

    Attributes:
        offsets: metres to the left of the path.
        speeds: shares of the cruising speed; zero stops.
        steps: of the forecast.
        step_seconds: each takes.
        settling: seconds in which a proposal covers most of its way to its offset.
        margin: metres by which boxes are taken wider.
        urgent: seconds within which staying clear comes before all else; forecasts of what comes later are rough.
        later: metres of progress that a second of staying clear is worth beyond that.
        aside: metres of progress that a metre beside the path is worth.
        brake: metres of progress that a m/s2 of braking is worth.
    """

    offsets: tuple[float, ...] = (-0.9, 0.0, 0.9)
    speeds: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    steps: int = 20
    step_seconds: float = 0.2
    settling: float = 1.0
    margin: float = 0.2
    urgent: float = 2.0
    later: float = 1.0
    aside: float = 2.0
    brake: float = 0.3

    def __post_init__(self) -> None:
        if not self.offsets or not self.speeds or self.steps < 1 or not min(self.step_seconds, self.settling) > 0:
            raise ValueError(f"{self}: expected at least one offset, speed and step, and positive durations")


@flax.struct.dataclass
class Proposals:
    """How proposals go on; every field has the axes (step, env, proposal).

    Attributes:
        arc: of the rear axle along the path, metres.
        lateral: to the left of it, metres.
        speed: m/s.
    """

    arc: Float[Array, "step env proposal"]
    lateral: Float[Array, "step env proposal"]
    speed: Float[Array, "step env proposal"]


@flax.struct.dataclass
class Oracle(Unseeing):
    """The planner.

    Attributes:
        desired: (scene,) cruising speed, m/s, see ``drivers.cruise_speeds``.
        params: how proposals follow.
        config: what is considered.
    """

    desired: Float[Array, " scene"]
    params: IdmParams = IDM
    config: OracleConfig = flax.struct.field(pytree_node=False, default=OracleConfig())

    def act(
        self, simulator: Simulator, state: State, observation: Observation, memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "env 2"], Any]:
        """Drive the best proposal for a step."""
        world, config, speed = simulator.world, self.config, state.vehicle.speed
        path, places, actors = surroundings_on_path(world, state)
        shape = world.vehicle.at(state.scene)
        offsets, shares = (jnp.asarray(v.ravel()) for v in np.meshgrid(config.offsets, config.speeds, indexing="ij"))
        point, heading = path.point[:, 0], path.heading[:, 0]
        _, aside = in_frame(state.vehicle.position - point, heading)
        desired = jnp.minimum(self.desired[state.scene], bend_speed(path))[:, None] * shares
        driven, first = _propose(places, actors, shape, speed, aside, desired, offsets, self.params, config)
        clear = _clear_seconds(simulator, state, places, actors, shape, driven, config)
        merit = driven.arc[-1] - config.aside * jnp.abs(offsets) - config.brake * jnp.maximum(-first, 0.0)
        merit += config.later * jnp.maximum(clear - config.urgent, 0.0)
        # Urgent seconds come first: no progress within the horizon outweighs one step of them.
        best = jnp.argmax(1e3 * jnp.minimum(clear, config.urgent) / config.step_seconds + merit, axis=-1)
        chosen = jnp.take_along_axis(first, best[:, None], axis=-1)[:, 0]
        return jnp.stack([chosen, steer_for(simulator, state, offsets[best])], axis=-1), memory


def _propose(
    places: Places, actors: Actors, shape: EgoShape, speed: Array, aside: Array, desired: Array, offsets: Array,
    params: IdmParams, config: OracleConfig,
) -> tuple[Proposals, Array]:  # fmt: skip
    """All proposals driven to the horizon, and the acceleration (m/s2) with which each begins."""
    environments, proposals = desired.shape
    front = (shape.centre_ahead + 0.5 * shape.length)[:, None]
    half_width = jnp.broadcast_to((0.5 * shape.width + SIDE_MARGIN)[:, None], desired.shape)
    valid = jnp.broadcast_to(actors.valid[:, None], (environments, proposals, actors.valid.shape[-1]))

    def lateral_at(time: Array) -> Array:
        return offsets + (aside[:, None] - offsets) * jnp.exp(-3.0 * time / config.settling)

    def body(carry: Any, number: Array) -> tuple[Any, Any]:
        arc, speed = carry
        time = number * config.step_seconds
        now = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], valid.shape), _moved(places, time))
        gap, closing = path_leader(now, valid, arc + front, speed, half_width, lateral_at(time))
        acceleration = _follow(speed, desired, gap, closing, params)
        distance, speed = travel(speed, acceleration, config.step_seconds, TOP_SPEED)
        return (arc + distance, speed), (arc + distance, lateral_at(time + config.step_seconds), speed, acceleration)

    start = (jnp.zeros(desired.shape), jnp.broadcast_to(speed[:, None], desired.shape))
    _, (arc, lateral, speeds, accelerations) = jax.lax.scan(body, start, jnp.arange(config.steps))
    return Proposals(arc, lateral, speeds), accelerations[0]


def _follow(speed: Array, desired: Array, gap: Array, closing: Array, params: IdmParams) -> Array:
    """IDM that slows down to a lower speed no harder than is comfortable, and stops as hard as it can."""
    held = idm_acceleration(speed, jnp.maximum(desired, speed), gap, closing, params)
    free = idm_acceleration(speed, desired, jnp.full_like(gap, FREE), closing, params)
    slower = held + jnp.where(desired > 0, jnp.maximum(free, -params.braking), -params.hardest)
    return jnp.where(speed > desired, jnp.maximum(slower, -params.hardest), held)


def _moved(places: Places, seconds: Array) -> Places:
    """Boxes some seconds later: they keep their speed; who drives along the road soon keeps to its lane, too."""
    along = jnp.abs(places.drift) < LANE_KEEPING * jnp.abs(places.speed)
    drifting = jnp.where(along, DRIFT_SECONDS * -jnp.expm1(-seconds / DRIFT_SECONDS), seconds)
    return dataclasses.replace(
        places, arc=places.arc + seconds * places.speed, lateral=places.lateral + drifting * places.drift
    )


def _clear_seconds(
    simulator: Simulator, state: State, places: Places, actors: Actors, shape: EgoShape, driven: Proposals,
    config: OracleConfig,
) -> Float[Array, "env proposal"]:  # fmt: skip
    """How long each proposal meets nothing, at most the horizon; what was behind at first does not count."""
    time = config.step_seconds * (1 + jnp.arange(config.steps))
    later = jax.vmap(lambda seconds: _moved(places, seconds))(time)
    middle = driven.arc + shape.centre_ahead[:, None]
    rear = shape.centre_ahead - 0.5 * shape.length
    ahead = actors.valid & (places.arc + places.half_along > rear[:, None])

    def spread(values: Array) -> Array:
        return values[None, :, None]

    along = jnp.abs(later.arc[:, :, None] - middle[..., None])
    across = jnp.abs(later.lateral[:, :, None] - driven.lateral[..., None])
    reach = spread(places.half_along) + 0.5 * shape.length[:, None, None] + config.margin
    width = spread(places.half_across) + 0.5 * shape.width[:, None, None] + config.margin
    hit = jnp.any((along < reach) & (across < width) & spread(ahead), axis=-1)
    hit |= _obstructed(simulator, state, driven, shape)
    hit &= driven.speed > STANDING
    free = jnp.cumsum(hit, axis=0) == 0
    return config.step_seconds * jnp.sum(free, axis=0)


def _obstructed(simulator: Simulator, state: State, driven: Proposals, shape: EgoShape) -> Array:
    """Whether discs at the car's front, middle and rear touch an obstacle."""
    discs = jnp.asarray([-1.0, 0.0, 1.0]) * (0.5 * (shape.length - shape.width))[:, None]
    arc = driven.arc[..., None] + (shape.centre_ahead[:, None] + discs)[None, :, None]
    reference, scene = simulator.world.reference, state.scene[None, :, None, None]
    scene = jnp.broadcast_to(scene, arc.shape)
    point, heading = reference.at_route(scene, state.route[None, :, None, None] + arc)
    left = jnp.stack([-jnp.sin(heading), jnp.cos(heading)], axis=-1)
    spots = point + driven.lateral[..., None, None] * left
    clearance = simulator.world.obstacles(scene[..., 0], spots)
    # Not the margin on top: what the recorded car passed closely is passable.
    return jnp.any(clearance < 0.5 * shape.width[:, None, None], axis=-1)
