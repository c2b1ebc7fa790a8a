"""Cousins of a recorded drive: drawn, driven, checked, and drawn again where they were rejected."""

import dataclasses
import functools
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from tqdm import tqdm

from jaxrecon.dynamics import VehicleLimits, VehicleState
from jaxrecon.logs.driving_log import DrivingLog
from jaxrecon.simulator import World
from jaxrecon.simulator.starts import select
from jaxrecon.trajectories import checks
from jaxrecon.trajectories.adapted import Adapted, adapt, as_logged, others
from jaxrecon.trajectories.checks import CHECKS, CheckLimits
from jaxrecon.trajectories.choosing import choose, kinds_of
from jaxrecon.trajectories.confidence import Confidence
from jaxrecon.trajectories.cousins import (
    DEFAULT_CONFIG,
    KEPT_REJECTED,
    NAMES,
    ONWARD,
    PARAMETERS,
    CousinConfig,
    CousinError,
    Cousins,
    Generated,
)
from jaxrecon.trajectories.curves import SPACING
from jaxrecon.trajectories.diversity import KINDS, WINDOW
from jaxrecon.trajectories.driving import Driven, drive, first_state, places
from jaxrecon.trajectories.families import FUNCTIONS, Beginning, Plan, ease, turn_frame
from jaxrecon.trajectories.ranges import Ranges, draw
from jaxrecon.trajectories.recorded import Recorded, recorded_drive

LEAST_STEPS = 12  # of a cousin; a window of its manoeuvres must fit too


def generate(
    log: DrivingLog,
    world: World,
    key: PRNGKeyArray,
    config: CousinConfig = DEFAULT_CONFIG,
    confidence: Confidence | None = None,
    progress: bool = True,
) -> Generated:
    """Cousins of a log's drive.

    Args:
        log: the recording.
        world: of that log alone; with or without cameras.
        key: determines all of them.
        config: how many, and which.
        confidence: share of what a cousin's cameras show that was never recorded, at its worst place, from its states
            (cousin, step) and log frames: see ``confidence.unsupported``; None: nothing is known of that.
        progress: show a bar with the share that passes.

    Raises:
        CousinError: if the log is too short, or nothing passes the checks.
    """
    if world.scenes != 1 or world.names != (log.name,):
        raise CousinError(f"the world holds {world.names}; expected that of log {log.name} alone")
    steps = min(round(config.seconds / world.dt) + 1, log.frames)
    least = max(LEAST_STEPS, round(WINDOW / world.dt) + 1)
    if steps < least:
        raise CousinError(
            f"a cousin of log {log.name} would last {steps} frames of {world.dt:.2f} s, of {log.frames}; it needs at "
            f"least {least}: take a longer log, or a larger CousinConfig.seconds"
        )
    recorded = recorded_drive(log, np.asarray(world.reference.motion.speed[0]), config.recorded)
    first = jnp.asarray(np.arange(log.frames - steps + 1), jnp.int32)
    path = np.asarray(recorded.own.points)[: int(float(recorded.own.length) / SPACING)]
    accepted, rejected, tallies = [], [], {}
    shown = np.zeros(KINDS, int)
    with tqdm(config.families, desc="cousins", unit="family", disable=not progress) as bar:
        for name, ranges in bar:
            number = jax.random.fold_in(key, NAMES.index(name))
            passed, refused, tally = _family(world, recorded, first, steps, name, ranges, number, config, confidence)
            if passed:
                some = _join(passed)
                chosen, shown = choose(kinds_of(some, path, world.dt), shown, config.per_family)
                accepted.append(some.take(chosen))
            rejected += refused
            tallies[name] = tally
            bar.set_postfix(accepted=f"{sum(t[1] for t in tallies.values()) / sum(t[0] for t in tallies.values()):.0%}")
    if not accepted:
        worst = {name: _worst(failed) for name, (_, _, failed) in tallies.items()}
        raise CousinError(f"no cousin of log {log.name} passed all checks; most failed, by family: {worst}")
    known = dict.fromkeys(CHECKS, True) | {
        "drivable": checks.ground_known(world),
        "right_way": bool(world.roads.lanes_known[0]),
        "lights": bool(world.roads.lights_known[0]),
        "confidence": confidence is not None,
    }
    return Generated(
        cousins=_join(accepted),
        rejected=_join(rejected) if rejected else _join(accepted).take(slice(0)),
        drawn={name: tally[0] for name, tally in tallies.items()},
        passed={name: tally[1] for name, tally in tallies.items()},
        failed={name: tally[2] for name, tally in tallies.items()},
        path=path,
        known=known,
    )


def _family(
    world: World,
    recorded: Recorded,
    first: Int[Array, " frame"],
    steps: int,
    name: str,
    ranges: Ranges,
    key: PRNGKeyArray,
    config: CousinConfig,
    confidence: Confidence | None,
) -> tuple[list[Cousins], list[Cousins], tuple[int, int, dict[str, int]]]:
    """One family's cousins that passed, some that did not, and how many were drawn, passed, and failed each check."""
    kept: list[Cousins] = []
    refused: list[Cousins] = []
    drawn, passed = 0, 0
    failed = dict.fromkeys(CHECKS, 0)
    for number in range(config.rounds):
        some = candidates(world, recorded, first, jax.random.fold_in(key, number), name, ranges, steps, config)
        some = _with_adapted_traffic(world, some, config) if config.adapt else some
        some = jax.device_get(some)
        some = some if confidence is None else _with_confidence(some, confidence, config.limits)
        good = some.checks.all(axis=1)
        drawn, passed = drawn + len(good), passed + int(good.sum())
        for check, count in zip(CHECKS, (~some.checks).sum(axis=0), strict=True):
            failed[check] += int(count)
        kept.append(some.take(np.flatnonzero(good)))
        seen = KEPT_REJECTED - sum(one.count for one in refused)
        refused.append(some.take(np.flatnonzero(~good)[: max(seen, 0)]))
        if passed >= config.choice * config.per_family:
            break
    return [one for one in kept if one.count], [one for one in refused if one.count], (drawn, passed, failed)


def candidates(
    world: World,
    recorded: Recorded,
    first: Int[Array, " frame"],
    key: PRNGKeyArray,
    name: str,
    ranges: Ranges,
    steps: int,
    config: CousinConfig,
) -> Cousins:
    """A round of one family, driven and checked against the traffic as it was recorded.

    Args:
        world: of one scene.
        recorded: its drive.
        first: log frames at which cousins may start.
        key: of the round.
        name: of the family.
        ranges: of its parameters.
        steps: of each cousin.
        config: how many, and the checks.
    """
    key_parameters, key_frame = jax.random.split(key)
    parameters = draw(ranges, key_parameters, config.candidates)
    frame = first[jax.random.randint(key_frame, (config.candidates,), 0, first.shape[0])]
    if name == "turn":
        frame = jnp.minimum(turn_frame(recorded, frame, parameters), first[-1])
    at = frame[:, None] + jnp.arange(steps)
    wanted = _planned(recorded, at, parameters, name, jnp.asarray(world.dt), world.vehicle.wheelbase[0])
    driven, passed = _judged(world, wanted, at, config.limits, config.vehicle)
    zeros = jnp.zeros(config.candidates)
    return Cousins(
        family=jnp.full(frame.shape, NAMES.index(name), jnp.int32),
        frame=at,
        vehicle=driven.vehicle,
        acceleration=driven.acceleration,
        steering=driven.steering,
        onward=wanted.onward,
        others=as_logged(world.traffic, at),
        checks=passed,
        parameters={field: parameters.get(field, zeros) for field in PARAMETERS},
    )


@flax.struct.dataclass
class _Wanted:
    """What plans come to: (cousin, ...) where to be, the state to start in, the way on, and two of the checks."""

    places: Float[Array, "cousin step 2"]
    start: VehicleState
    onward: Float[Array, "cousin onward 2"]
    done: Bool[Array, " cousin"]
    inside: Bool[Array, " cousin"]


@functools.partial(jax.jit, static_argnames="name")
def _planned(
    recorded: Recorded,
    at: Int[Array, "cousin step"],
    parameters: Mapping[str, Array],
    name: str,
    dt: Float[Array, ""],
    wheelbase: Float[Array, ""],
) -> _Wanted:
    def one(frames: Array, parameters: Mapping[str, Array]) -> _Wanted:
        plan = FUNCTIONS[name](Beginning(recorded, frames[0], recorded.speed[frames], dt), parameters)
        inside = (plan.arc[-1] + ONWARD < plan.curve.length) & (plan.arc[0] >= 0)
        return _Wanted(places(plan), first_state(plan, dt, wheelbase), onward(plan), plan.done, inside)

    return jax.vmap(one)(at, parameters)


# One program for all families: only what is planned differs.
@functools.partial(jax.jit, static_argnames=("limits", "vehicle"))
def _judged(
    world: World, wanted: _Wanted, frame: Int[Array, "cousin step"], limits: CheckLimits, vehicle: VehicleLimits
) -> tuple[Driven, Bool[Array, "cousin check"]]:
    """The plans as they are driven, and all checks; nothing is known of the confidence yet."""
    driven = drive(wanted.places, wanted.start, world.dt, world.vehicle.wheelbase[0], vehicle)
    found = {
        "complete": wanted.done,
        "on_course": wanted.inside,
        "trackable": jnp.all(driven.error < limits.tracking, axis=1),
        "kinematic": checks.kinematic(driven, vehicle, world.dt),
        "comfort": checks.comfort(driven.vehicle, world.vehicle.wheelbase[0], world.dt, limits),
        "drivable": checks.drivable(world, driven.vehicle, limits),
        "right_way": checks.right_way(world, driven.vehicle, limits),
        "lights": checks.lights(world, driven.vehicle, frame),
        "obstacles": checks.obstacles(world, driven.vehicle),
        "traffic": _clear(world, driven.vehicle, frame, as_logged(world.traffic, frame), limits),
        "confidence": jnp.ones_like(wanted.done),
    }
    return driven, jnp.stack([found[name] for name in CHECKS], axis=-1)


def onward(plan: Plan) -> Float[Array, "onward 2"]:
    """Where one plan's way goes on after its last step, a point a metre; the offset settles at what it ends with."""
    ahead = 1.0 + jnp.arange(ONWARD)
    lateral = plan.lateral[-1] + (plan.final - plan.lateral[-1]) * ease(ahead / 20.0)
    return plan.curve.beside(plan.arc[-1] + ahead, lateral)


def _clear(world: World, vehicle: VehicleState, frame: Array, adapted: Adapted, limits: CheckLimits) -> Array:
    actors = others(world.traffic, adapted, frame)
    return checks.traffic(checks.outline(world, vehicle), actors, limits.clearance) & adapted.sound


def _with_adapted_traffic(world: World, some: Cousins, config: CousinConfig) -> Cousins:
    """Cousins that fail nothing but the recorded traffic again, with others who brake for them."""
    column = CHECKS.index("traffic")
    only = np.asarray(~some.checks[:, column] & (some.checks.sum(axis=1) == len(CHECKS) - 1))
    if not only.any():
        return some
    adapted, clear = _adapted(world, some.vehicle, some.frame, config.limits)
    helped = jnp.asarray(only) & clear
    return dataclasses.replace(
        some,
        others=select(helped, adapted, some.others),
        checks=some.checks.at[:, column].set(some.checks[:, column] | helped),
    )


@functools.partial(jax.jit, static_argnames="limits")
def _adapted(
    world: World, vehicle: VehicleState, frame: Int[Array, "cousin step"], limits: CheckLimits
) -> tuple[Adapted, Array]:
    adapted = adapt(world, vehicle, frame)
    return adapted, _clear(world, vehicle, frame, adapted, limits)


def _with_confidence(some: Cousins, confidence: Confidence, limits: CheckLimits) -> Cousins:
    """The same with the last check, which draws images, made for those that pass all others."""
    good = np.flatnonzero(some.checks.all(axis=1))
    if not len(good):
        return some
    passed = np.array(some.checks)
    share = np.asarray(confidence(jax.tree.map(lambda leaf: leaf[good], some.vehicle), some.frame[good]))
    passed[good, CHECKS.index("confidence")] = share <= limits.unsupported
    return some.replace(checks=passed)  # type: ignore[attr-defined]


def _join(parts: list[Cousins]) -> Cousins:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _worst(failed: Mapping[str, int]) -> str:
    return max(failed, key=lambda check: failed[check])
