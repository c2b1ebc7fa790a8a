"""Corner cases judged: driven by the simulator's own rules and checked; in place of the unsound others are drawn."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from tqdm import tqdm

from jaxrecon.logs.driving_log import CATEGORIES, PEDESTRIAN
from jaxrecon.simulator.casting import Casting, Draw, draw, plan_of
from jaxrecon.simulator.escapes import (
    FIRST,
    FURTHER,
    REACTION,
    Escaping,
    controls,
    detour_of,
    escaping_by,
    manoeuvres,
    nothing_done,
    tile,
)
from jaxrecon.simulator.sight import seen
from jaxrecon.simulator.state import SimulatorParams, Start, State
from jaxrecon.traffic import checks
from jaxrecon.traffic.adversary import Plan, limits_in
from jaxrecon.traffic.behaviours import BEHAVIOURS
from jaxrecon.traffic.cast import actors_at

UNSEEN = 1 << 20  # step of the clip at which a threat is seen that never is
T = TypeVar("T")
Rows = tuple[tuple[float, float, float], ...]  # manoeuvres, see ``escapes.MANOEUVRES``


@flax.struct.dataclass
class Judged:
    """Cases and what is known of them; every field is (case, ...).

    Attributes:
        start, plan, detour: as in ``Challenges``.
        unit: (case, adversary, PARAMETERS) where the parameters are in their ranges.
        checks: (case, check) bool, in the order of ``traffic.checks.CHECKS``.
        hits: the recorded drive collides with somebody.
        reaction: int32, step in which the ego may first do something.
        manoeuvre: (case,) int32, which gets it out, of ``MANOEUVRES``.
    """

    start: Start
    plan: Plan
    detour: Float[Array, "case 3"]
    unit: Float[Array, "case adversary parameter"]
    checks: Bool[Array, "case check"]
    hits: Bool[Array, " case"]
    reaction: Int[Array, " case"]
    manoeuvre: Int[Array, " case"]

    @property
    def escaping(self) -> Escaping:
        """Egos at the start of the cases, each of which will take its way out."""
        return escaping_by(self.reaction, self.manoeuvre)

    @property
    def sound(self) -> Bool[Array, " case"]:
        """Which pass every check."""
        return jnp.all(self.checks, axis=-1)

    def rows(self, rows: np.ndarray) -> "Judged":
        """Some of them."""
        return jax.tree.map(lambda leaf: leaf[rows], self)


@flax.struct.dataclass
class _Ride:
    """What came of driving cases once; fields (case, ...)."""

    checks: Bool[Array, "case 5"]
    hits: Bool[Array, " case"]
    ends: Bool[Array, " case"]
    sight: Int[Array, " case"]
    route: Float[Array, " case"]
    speed: Float[Array, " case"]


@partial(jax.jit, static_argnames="quick")
def ride(
    casting: Casting,
    start: Start,
    plan: Plan,
    detour: Array,
    escaping: Escaping,
    params: SimulatorParams,
    quick: bool = False,
) -> _Ride:
    """Drive each case once by the simulator's own rules and check what its adversaries do, until the clip ends.

    With few probes of the ego if ``quick``, which may find static collisions that there are not.
    """
    chosen = casting.quick if quick else casting.simulator
    simulator = dataclasses.replace(chosen, challenges=casting.challenges(start, plan, detour))
    world, count = simulator.world, start.frame.shape[0]
    state, _ = simulator.reset_at(
        jax.random.key(0), start.frame, start.perturbation, params, False, start.scene, jnp.arange(count)
    )
    limits, _ = limits_in(world.traffic, start.scene, plan)

    def look(state: State) -> tuple:
        cast, moment = state.cast, simulator.moment(state)
        assert cast is not None
        actors = actors_at(world.traffic, state.scene, moment.frame, cast)
        box = checks.boxes_of(plan, cast.acting, world.traffic, state.scene)
        shown = seen(world, moment, box.centre, actors)
        free = checks.clear(plan, cast.acting, world.traffic, state.scene, actors, world.obstacles)
        at = jnp.broadcast_to(state.scene[:, None], plan.slot.shape)
        _, left, _ = casting.course.follow(at, box.centre, cast.acting.arc)
        beyond = checks.off_ground(world.roads, state.scene, box, left)
        when = jnp.minimum(moment.frame, world.traffic.frames - 1)[:, None]
        velocity = world.traffic.velocity[at, when, plan.slot]
        logged = (world.traffic.centre[at, when, plan.slot], world.traffic.heading[at, when, plan.slot],
                  jnp.linalg.norm(velocity, axis=-1))  # fmt: skip
        user = cast.acting.user
        route = state.route, state.vehicle.speed
        return box.centre, user.yaw, user.speed, cast.acting.active & plan.valid, shown, free, beyond, logged, route

    def body(carry: tuple, _: None) -> tuple:
        state, escaping = carry
        action, escaping = controls(world, state, escaping, simulator.config.limits)
        state, result = simulator.step(state, action, params, draw=False, auto_reset=False)
        return (state, escaping), (look(state), result.events, result.valid)

    first = look(state)
    rode: tuple[tuple, Array, Array] = jax.lax.scan(body, (state, escaping), None, simulator.clip_steps)[1]
    later, events, valid = rode
    told = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, later)
    centre, heading, speed, active, shown, free, beyond, logged, (route, pace) = told
    # What happens after the clip has ended happens to nobody.
    during = jnp.concatenate([jnp.ones((1, count), bool), valid])[..., None]
    active &= during
    walks = world.traffic.category[start.scene[:, None], plan.slot] == CATEGORIES.index(PEDESTRIAN)
    passed = {
        "happens": jnp.any(active, axis=0),
        "kinematic": checks.kinematic(centre, heading, active, limits, world.dt),
        "clear": jnp.all(free | ~active, axis=0),
        "on_ground": checks.on_ground(beyond, active, walks),
        "continuous": checks.continuous(centre, heading, speed, active, logged, plan.staged),
    }
    named = [jnp.all(passed[name] | ~plan.valid, axis=-1) & plan.valid[:, 0] for name in checks.CHECKS[:-1]]
    # The last of the threats to be seen decides when the ego may know.
    sighted = active & shown
    sight = jnp.where(jnp.any(sighted, axis=0), jnp.argmax(sighted, axis=0), UNSEEN)
    sight = jnp.max(jnp.where(plan.valid, sight, 0), axis=-1).astype(jnp.int32)
    at_sight = jnp.minimum(sight + round(REACTION / world.dt), route.shape[0] - 1)[None]
    return _Ride(
        checks=jnp.stack(named, axis=-1),
        hits=jnp.any(events[..., 0], axis=0),
        ends=jnp.any(events, axis=(0, 2)),
        sight=sight,
        route=jnp.take_along_axis(route, at_sight, axis=0)[0],
        speed=jnp.take_along_axis(pace, at_sight, axis=0)[0],
    )


@partial(jax.jit, static_argnames="rows")
def search(
    casting: Casting,
    start: Start,
    plan: Plan,
    reaction: Array,
    route: Array,
    speed: Array,
    params: SimulatorParams,
    rows: Rows,
) -> tuple[Int[Array, " case"], Bool[Array, " case"], Float[Array, "case 3"]]:
    """Which manoeuvre of some gets each case's ego out, whether any does, and its detour."""
    many, count = len(rows), reaction.shape[0]
    each = jax.tree.map(lambda leaf: jnp.tile(leaf, count), manoeuvres(rows))
    starts, plans, reactions = tile((start, plan, reaction), many)
    routes, speeds = tile((route, speed), many)
    detour = detour_of(routes, speeds, each)
    simulator = dataclasses.replace(casting.quick, challenges=casting.challenges(starts, plans, detour))
    state, _ = simulator.reset_at(
        jax.random.key(0), starts.frame, starts.perturbation, params, False, starts.scene, jnp.arange(count * many)
    )

    def body(carry: tuple, _: None) -> tuple:
        state, escaping, out = carry
        action, escaping = controls(simulator.world, state, escaping, simulator.config.limits)
        state, result = simulator.step(state, action, params, draw=False, auto_reset=False)
        return (state, escaping, out & ~result.terminated), None

    escaping = Escaping(reactions, each, jnp.zeros(count * many))
    carry = (state, escaping, jnp.ones(count * many, bool))
    (_, _, out), _ = jax.lax.scan(body, carry, None, simulator.clip_steps)
    out = out.reshape(count, many)
    best = jnp.argmax(out, axis=1).astype(jnp.int32)
    return best, jnp.any(out, axis=1), detour.reshape(count, many, 3)[jnp.arange(count), best]


def judge(casting: Casting, drawn: Draw, plan: Plan, params: SimulatorParams, together: int = 64) -> Judged:
    """Check cases, and look for the way out of those that pass what costs less.

    The way out that is found is driven again with every probe of the ego, and the adversaries are checked on that drive
    too.

    Args:
        casting: the scenes.
        drawn: what was drawn.
        plan: who does it.
        params: thresholds.
        together: cases whose manoeuvres are driven side by side, on each core of a CPU, which bounds the memory.
    """
    start, count = drawn.start, drawn.reactive.shape[0]
    size = -(-count // _workers())

    def as_recorded(chosen: np.ndarray) -> _Ride:
        here = jax.tree.map(lambda leaf: leaf[chosen], (start, plan))
        return ride(casting, *here, jnp.zeros((size, 3)), nothing_done(size), params, quick=True)

    rides = _side_by_side(as_recorded, _chunks(np.arange(count), size))
    first = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *rides)
    sight = np.asarray(first.sight)
    reaction = np.where(sight < UNSEEN, sight + round(REACTION / casting.simulator.world.dt), UNSEEN).astype(np.int32)
    passed = np.asarray(first.checks)
    manoeuvre, detour = np.zeros(count, np.int32), np.zeros((count, 3), np.float32)
    avoidable = np.zeros(count, bool)
    for offset, some in ((0, FIRST), (len(FIRST), FURTHER)):
        open_ones = np.flatnonzero(passed.all(axis=1) & (sight < UNSEEN) & ~avoidable)
        chunks = _chunks(open_ones, max(1, together * len(FURTHER) // len(some)))

        def searched(chosen: np.ndarray, some: Rows = some) -> tuple[np.ndarray, ...]:
            here = jax.tree.map(
                lambda leaf: leaf[chosen], (start, plan, jnp.asarray(reaction), first.route, first.speed)
            )
            return jax.device_get(search(casting, *here, params, some))

        for chosen, (best, found, way) in zip(chunks, _side_by_side(searched, chunks), strict=True):
            manoeuvre[chosen], avoidable[chosen], detour[chosen] = best + offset, found, way

    def again(chosen: np.ndarray) -> np.ndarray:
        here = jax.tree.map(lambda leaf: leaf[chosen], (start, plan, jnp.asarray(detour)))
        escaping = escaping_by(jnp.asarray(reaction[chosen]), jnp.asarray(manoeuvre[chosen]))
        rode = ride(casting, *here, escaping, params)
        # A way out on which an adversary itself does the impossible is none; one that then never begins is fine.
        return np.asarray(~rode.ends & jnp.all(rode.checks[:, 1:], axis=-1))

    chunks = _chunks(np.flatnonzero(avoidable), max(1, count // 4))
    for chosen, found in zip(chunks, _side_by_side(again, chunks), strict=True):
        avoidable[chosen] = found
    told = np.concatenate([passed, avoidable[:, None]], axis=1)
    detour = np.where(avoidable[:, None], detour, 0.0)
    return Judged(
        start, plan, jnp.asarray(detour), drawn.unit, jnp.asarray(told), first.hits, jnp.asarray(reaction),
        jnp.asarray(manoeuvre),
    )  # fmt: skip


def _workers() -> int:
    """Chunks worked at side by side: a CPU's cores, which programs of so small arrays do not fill."""
    return os.cpu_count() or 1 if jax.default_backend() == "cpu" else 1


def _side_by_side(work: Callable[[np.ndarray], T], chunks: list[np.ndarray]) -> list[T]:
    """What each chunk gives, in order."""
    with ThreadPoolExecutor(_workers()) as pool:
        return list(pool.map(work, chunks))


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in chunks of one size, the last filled up with its last row, so that all have one shape."""
    return [rows[np.minimum(np.arange(at, at + size), len(rows) - 1)] for at in range(0, len(rows), size)]


@dataclasses.dataclass(frozen=True)
class Tally:
    """How many cases of each behaviour (of the first adversary) were drawn, and what became of them.

    Attributes:
        drawn: (behaviour,).
        cast: (behaviour,) for which there was somebody.
        passed: (behaviour, check).
        sound: (behaviour,) that passed all.
        hits: (behaviour,) sound ones in which the recorded drive collides with somebody.
    """

    drawn: Int[np.ndarray, " behaviour"]
    cast: Int[np.ndarray, " behaviour"]
    passed: Int[np.ndarray, "behaviour check"]
    sound: Int[np.ndarray, " behaviour"]
    hits: Int[np.ndarray, " behaviour"]

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))


def tally(judged: Judged) -> Tally:
    """Count cases."""
    behaviour = np.asarray(judged.plan.behaviour)[:, 0]
    some = np.asarray(judged.plan.valid)[:, 0]
    told, sound, hits = np.asarray(judged.checks), np.asarray(judged.sound), np.asarray(judged.hits)

    def of(mask: np.ndarray) -> np.ndarray:
        return np.bincount(behaviour[mask], minlength=len(BEHAVIOURS))

    passed = np.stack([of(some & told[:, check]) for check in range(told.shape[1])], axis=1)
    return Tally(of(np.ones_like(some)), of(some), passed, of(sound), of(sound & hits))


def generate(
    casting: Casting,
    key: PRNGKeyArray,
    weights: Float[Array, " behaviour"],
    params: SimulatorParams,
    count: int,
    batch: int = 1024,
    together: int = 64,
    rounds: int = 200,
    progress: bool = True,
    fewer: bool = False,
    **drawing: Any,
) -> tuple[Judged, Tally]:
    """Sound cases, drawn until there are enough.

    Args:
        casting: the scenes.
        key: of everything.
        weights: how often each behaviour is drawn.
        params: distribution of the starts, thresholds.
        count: sound cases wanted.
        batch: cases drawn together.
        together: see ``judge``.
        rounds: at most so many batches.
        progress: show a bar with the share that is sound.
        fewer: whether fewer will do, if that is all there are.
        drawing: further arguments of ``draw``.

    Raises:
        ValueError: if there are too few sound ones among all that were drawn.
    """
    kept: list[Judged] = []
    found, total = 0, None
    with tqdm(total=count, desc="corner cases", unit="case", disable=not progress) as bar:
        for number in range(rounds):
            key_draw, key_plan = jax.random.split(jax.random.fold_in(key, number))
            drawn = draw(casting, key_draw, weights, params, batch, **drawing)
            # Rows are taken on the host: on a device, every other number of them would be compiled anew.
            judged = jax.device_get(judge(casting, drawn, plan_of(casting, drawn, key_plan), params, together))
            rows = np.flatnonzero(np.asarray(judged.sound))
            one = tally(judged)
            total = one if total is None else total + one
            kept.append(judged.rows(rows))
            found += len(rows)
            bar.set_postfix(sound=f"{total.sound.sum() / total.drawn.sum():.3f}")
            bar.update(min(len(rows), count - bar.n))
            if found >= count:
                break
    if total is None or (found < count and not fewer):
        raise ValueError(
            f"{found} of {count} corner cases were found in {rounds} batches of {batch}; allow more rounds, other "
            "behaviours or more scenes"
        )
    whole = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)[:count]), *kept)
    return whole, total
