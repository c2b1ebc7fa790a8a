"""Corner cases in the environment: a bank of sound ones on the device, from which clips are begun and played."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxrecon.dynamics import VehicleState
from jaxrecon.simulator.state import SimulatorParams, Start, State
from jaxrecon.simulator.world import World
from jaxrecon.traffic.adversary import OUT_OF_ROOM, Acting, Ego, Plan, advance, begin
from jaxrecon.traffic.cast import Cast, actors_at
from jaxrecon.traffic.course import SPACING, Course, make_course
from jaxrecon.traffic.reacting import as_recorded, follow
from jaxrecon.traffic.replay import Replay

HARMLESS = -1  # number of the case of a clip in which nothing happens


@flax.struct.dataclass
class Challenges:
    """Corner cases that clips may be, see ``make_challenges``.

    Attributes:
        course: the expert's paths, for the adversaries to find their way by.
        start: where each case's clip starts; fields (case, ...).
        plan: who does what in it; fields (case, adversary, ...).
        detour: (case, 3) see ``Cast``.
        acting: the adversaries when each case's clip starts, by its start and plan; fields (case, adversary, ...).
        reacting: whether the other traffic brakes for whoever is new on its way; otherwise it repeats the recording.
    """

    course: Course
    start: Start
    plan: Plan
    detour: Float[Array, "case 3"]
    acting: Acting
    reacting: bool = flax.struct.field(pytree_node=False, default=False)

    @property
    def count(self) -> int:
        """How many cases there are."""
        return self.detour.shape[0]

    def draw(self, keys: Key[Array, " env"], params: SimulatorParams) -> Int[Array, " env"]:
        """A case for each key by the parameters' weights, or ``HARMLESS``, as often as they say."""
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        if params.case_weights is None:
            case = (uniform[:, 0] * self.count).astype(jnp.int32)
        else:
            share = jnp.cumsum(params.case_weights)
            case = jnp.searchsorted(share, uniform[:, 0] * share[-1], side="right").astype(jnp.int32)
        return jnp.where(uniform[:, 1] < params.case_share, jnp.minimum(case, self.count - 1), HARMLESS)

    def begin(self, world: World, case: Int[Array, " env"]) -> Cast:
        """The cast of clips that start now, each where its case does."""
        row, played = jnp.maximum(case, 0), case != HARMLESS
        plan, acting = jax.tree.map(lambda leaf: leaf[row], (self.plan, self.acting))
        plan = dataclasses.replace(plan, valid=plan.valid & played[:, None])
        # Whoever has not begun is where the log has it, whatever else is said of it here.
        acting = dataclasses.replace(acting, steps=jnp.where(played[:, None], acting.steps, OUT_OF_ROOM))
        following = as_recorded(case.shape, world.traffic.capacity) if self.reacting else None
        return Cast(
            plan=plan,
            acting=acting,
            following=following,
            detour=jnp.where(played[:, None], self.detour[row], 0.0),
            case=case,
        )

    def check(
        self, scene: Int[np.ndarray, " env"], frame: Int[np.ndarray, " env"], case: Int[np.ndarray, " env"]
    ) -> None:
        """Refuse cases that there are not, or that start elsewhere than their clips; on the host.

        Raises:
            ValueError: naming the first such clip.
        """
        starts = np.asarray(self.start.scene), np.asarray(self.start.frame)
        for clip, one in enumerate(case.tolist()):
            if not HARMLESS <= one < self.count:
                raise ValueError(
                    f"clip {clip} plays case {one} of a bank of {self.count}; expected 0 to {self.count - 1}, or "
                    f"{HARMLESS} for none"
                )
            begins = (int(starts[0][one]), int(starts[1][one]))
            if one != HARMLESS and begins != (int(scene[clip]), int(frame[clip])):
                raise ValueError(
                    f"clip {clip} starts in scene {scene[clip]} at frame {frame[clip]}, but its case {one} in scene "
                    f"{begins[0]} at frame {begins[1]}; start the clip there, or give the bank of these clips"
                )


def make_challenges(
    course: Course, traffic: Replay, start: Start, plan: Plan, detour: Float[Array, "case 3"], reacting: bool = False
) -> Challenges:
    """A bank of corner cases; how each begins is found once, here, and not whenever one is played.

    Args:
        course: see ``Challenges``, as for the other arguments.
        traffic: of the same scenes, to which the adversaries belong.
        start: of each case.
        plan: of each case.
        detour: of each case.
        reacting: of the traffic.

    Raises:
        ValueError: if there are no cases.
    """
    if not detour.shape[0]:
        raise ValueError(
            "a bank of challenges got no cases; expected at least one: draw more, or leave Simulator.challenges None"
        )
    scene, frame = jnp.asarray(start.scene, jnp.int32), jnp.asarray(start.frame, jnp.int32)
    return Challenges(course, start, plan, detour, _begun(course, traffic, scene, frame, plan), reacting)


_begun = jax.jit(begin)


def cast_step(course: Course, world: World, state: State, cast: Cast) -> Cast:
    """A cast one step on; everyone sees what was there before the step."""
    scene, traffic = state.scene, world.traffic
    frame = jnp.minimum(state.start_frame + state.elapsed, world.frames[scene] - 1)
    shape = world.vehicle.at(scene)
    recorded = world.reference.motion_at(scene, frame)
    with jax.named_scope("adversaries"):
        acting = advance(
            course, traffic, scene, frame, state.elapsed, cast.plan, cast.acting,
            _seen(world, scene, state.vehicle, state.route),
            _seen(world, scene, recorded, world.reference.route[scene, frame]),
            world.dt,
        )  # fmt: skip
    following = cast.following
    if following is not None:
        actors = actors_at(traffic, scene, frame, cast)
        slots = jnp.arange(traffic.capacity)
        planned = jnp.any((slots == cast.plan.slot[..., None]) & cast.plan.valid[..., None], axis=-2)
        forward = jnp.stack([jnp.cos(state.vehicle.yaw), jnp.sin(state.vehicle.yaw)], axis=-1)
        velocity = state.vehicle.speed[..., None] * forward
        with jax.named_scope("reacting_traffic"):
            following = follow(
                traffic, scene, frame, following, actors, planned, shape.box(state.vehicle), velocity, world.dt
            )
    return dataclasses.replace(cast, acting=acting, following=following)


def _seen(world: World, scene: Array, vehicle: VehicleState, route: Array) -> Ego:
    shape = world.vehicle.at(scene)
    return Ego(
        centre=shape.box(vehicle).centre,
        speed=vehicle.speed,
        near=route + shape.centre_ahead,
        half_length=0.5 * shape.length,
    )


def course_of(world: World) -> Course:
    """The expert's paths of all scenes, by the same arc lengths as the reference's."""
    reference = world.reference
    last = jnp.take_along_axis(reference.paths.arc, reference.paths.count[:, None] - 1, axis=1)
    longest = float(jnp.max(last))
    arc = jnp.minimum(SPACING * jnp.arange(int(longest / SPACING) + 1), last)
    scene = jnp.broadcast_to(jnp.arange(world.scenes)[:, None], arc.shape)
    segment, fraction = reference.paths.locate(scene, arc)
    low = reference.vertex_position[scene, segment]
    high = reference.vertex_position[scene, segment + 1]
    return make_course(low + fraction[..., None] * (high - low))
