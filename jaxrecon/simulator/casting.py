"""Corner cases drawn: what happens, where and when, and who in the log does it. ``judging`` says which are sound."""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.simulator.challenges import Challenges, course_of, make_challenges
from jaxrecon.simulator.escapes import covering_probes
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.starts import StartTable, draw_start, start_table
from jaxrecon.simulator.state import SimulatorParams, Start
from jaxrecon.traffic.adversary import Plan
from jaxrecon.traffic.behaviours import BEHAVIOURS, PARAMETERS
from jaxrecon.traffic.course import Course
from jaxrecon.traffic.targets import Lanes, choose, in_place, lanes_of, may_be_staged

EARLIEST, LATEST = 3, 25  # steps of the clip in which an adversary may begin
SEEN_SHARE = 0.8  # of each parameter's range, from its mild end, that training draws from
_RANGES = np.zeros((len(BEHAVIOURS), PARAMETERS, 2), np.float32)
for _number, _behaviour in enumerate(BEHAVIOURS):
    for _place, _parameter in enumerate(_behaviour.parameters):
        _RANGES[_number, _place] = _parameter.mild, _parameter.severe


@flax.struct.dataclass
class Draw:
    """What is drawn before anyone is chosen; every field is (case, ...).

    Attributes:
        start: where the clips start.
        behaviour: (case, adversary) int32.
        unit: (case, adversary, PARAMETERS) in [0, 1], from each parameter's mild end to its severe one.
        begin: (case, adversary) int32, first step in which it may begin.
        reactive: (case,) bool.
        acts: (case, adversary) bool, whether there is this adversary.
    """

    start: Start
    behaviour: Int[Array, "case adversary"]
    unit: Float[Array, "case adversary parameter"]
    begin: Int[Array, "case adversary"]
    reactive: Bool[Array, " case"]
    acts: Bool[Array, "case adversary"]


@flax.struct.dataclass
class Casting:
    """What making corner cases for a simulator needs, made once.

    Attributes:
        simulator: whose rules judge; its actions are continuous and nothing is drawn.
        quick: the same with few probes, for the search.
        course: the expert's paths.
        lanes: where actors are along them.
        starts: where clips start.
        reacting: whether the other traffic brakes for whoever is new on its way.
    """

    simulator: Simulator
    quick: Simulator
    course: Course
    lanes: Lanes
    starts: StartTable
    reacting: bool = flax.struct.field(pytree_node=False, default=False)

    def challenges(self, start: Start, plan: Plan, detour: Array) -> Challenges:
        """A bank of such cases.

        Raises:
            ValueError: if there are none.
        """
        return make_challenges(self.course, self.simulator.world.traffic, start, plan, detour, self.reacting)


def casting_of(simulator: Simulator, reacting: bool = False) -> Casting:
    """Prepare a simulator's scenes, for traffic that reacts or repeats the recording."""
    config = dataclasses.replace(simulator.config, action="continuous", render=False)
    # What draws the frames does not matter, but where the cameras look does.
    world = dataclasses.replace(simulator.world, source=None)
    plain = Simulator(world, config)
    course = course_of(world)
    return Casting(
        simulator=plain,
        quick=dataclasses.replace(plain, world=covering_probes(world)),
        course=course,
        lanes=lanes_of(course, world.traffic),
        starts=start_table(world, plain.clip_steps),
        reacting=reacting,
    )


@partial(jax.jit, static_argnames=("count", "adversaries"))
def draw(
    casting: Casting,
    key: PRNGKeyArray,
    weights: Float[Array, " behaviour"],
    params: SimulatorParams,
    count: int,
    adversaries: int = 2,
    second_share: Float[Array, ""] | float = 0.25,
    reactive_share: Float[Array, ""] | float = 0.5,
    hardest: Float[Array, ""] | float = SEEN_SHARE,
) -> Draw:
    """Draw cases from the ranges that training knows.

    Args:
        casting: the scenes.
        key: of everything.
        weights: how often each of ``BEHAVIOURS`` is drawn, up to a factor.
        params: distribution of the starts.
        count: how many.
        adversaries: room for so many in a case.
        second_share: of the cases that have each adversary after the first.
        reactive_share: of the cases whose adversaries see the ego.
        hardest: share of each range, from its mild end, that is drawn from.
    """
    names = ("start", "behaviour", "unit", "begin", "reactive", "acts")
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    shape = (count, adversaries)
    logits = jnp.log(jnp.maximum(weights, 1e-30))
    acts = jax.random.uniform(keys["acts"], shape) < jnp.where(jnp.arange(adversaries) > 0, second_share, 1.0)
    return Draw(
        start=draw_start(casting.starts, jax.random.split(keys["start"], count), params),
        behaviour=jax.random.categorical(keys["behaviour"], logits, shape=shape).astype(jnp.int32),
        unit=hardest * jax.random.uniform(keys["unit"], (*shape, PARAMETERS)),
        begin=jax.random.randint(keys["begin"], shape, EARLIEST, LATEST),
        reactive=jax.random.uniform(keys["reactive"], (count,)) < reactive_share,
        acts=acts,
    )


@jax.jit
def plan_of(casting: Casting, drawn: Draw, key: PRNGKeyArray) -> Plan:
    """Choose who does it; an adversary for which there is nobody is not valid."""
    world, scene = casting.simulator.world, drawn.start.scene
    traffic, reference = world.traffic, world.reference
    shape = world.vehicle.at(scene)
    taken = jnp.zeros((scene.shape[0], traffic.capacity), bool)
    plans = []
    for number, key_one in enumerate(jax.random.split(key, drawn.behaviour.shape[1])):
        behaviour = drawn.behaviour[:, number]
        first = drawn.start.frame
        begin = jnp.minimum(first + drawn.begin[:, number], world.frames[scene] - 1)
        arc = reference.route[scene, begin] + shape.centre_ahead
        allowed, distance = in_place(traffic, casting.lanes, scene, begin, behaviour, arc)
        # Who begins later is there from the start.
        allowed &= traffic.valid[scene, first] & ~taken
        key_log, key_stage, key_place = jax.random.split(key_one, 3)
        slot, found = choose(jax.random.split(key_log, scene.shape[0]), allowed, distance)
        place, spare, stageable = _staged(casting, scene, first, behaviour, taken, key_stage, key_place)
        staged = ~found & stageable
        slot = jnp.where(staged, spare, slot)
        taken |= jnp.arange(traffic.capacity) == slot[:, None]
        plans.append(Plan(
            slot=slot, behaviour=behaviour, parameters=parameters_of(behaviour, drawn.unit[:, number]),
            begin=jnp.where(staged, 0, drawn.begin[:, number]), reactive=drawn.reactive, staged=staged, place=place,
            valid=drawn.acts[:, number] & (found | staged),
        ))  # fmt: skip
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *plans)


def parameters_of(behaviour: Int[Array, " *b"], unit: Float[Array, "*b parameter"]) -> Float[Array, "*b parameter"]:
    """Parameters (SI) at places in [0, 1] of their ranges, from the mild end to the severe one."""
    ranges = jnp.asarray(_RANGES)[behaviour]
    return ranges[..., 0] + unit * (ranges[..., 1] - ranges[..., 0])


def _staged(
    casting: Casting, scene: Array, frame: Array, behaviour: Array, taken: Array, key: Array, key_place: Array
) -> tuple[Array, Array, Array]:
    """Place (x, y, heading, speed), actor and whether there is one, for a behaviour that nobody of the log can do."""
    world = casting.simulator.world
    shape, recorded = world.vehicle.at(scene), world.reference.motion_at(scene, frame)
    where = np.array([one.staged if one.staged else (0.0, 0.0) for one in BEHAVIOURS], np.float32)
    behind, left = jnp.asarray(where)[behaviour].T
    stageable = jnp.asarray(np.array([one.staged is not None for one in BEHAVIOURS]))[behaviour]
    arc = world.reference.route[scene, frame] + shape.centre_ahead
    spare = may_be_staged(world.traffic, casting.lanes, scene, frame, arc) & ~taken
    slot, found = choose(jax.random.split(key, scene.shape[0]), spare, jnp.ones(spare.shape))
    noise = jax.random.uniform(key_place, (2, scene.shape[0]))
    length = 0.5 * (world.traffic.sizes[scene, slot, 0] + shape.length)
    at = arc - length - behind * (0.7 + 0.5 * noise[0])
    _, direction, _ = casting.course.at(scene, at)
    speed = recorded.speed + 3.0 + 3.0 * noise[1]
    place = jnp.concatenate([casting.course.beside(scene, at, left), direction[:, None], speed[:, None]], axis=-1)
    return place, slot, found & stageable
