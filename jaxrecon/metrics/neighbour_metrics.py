"""The metrics of Waymax, nuPlan, NAVSIM and HUGSIM over the same clips as RAD's, as pure functions of rollouts.

A clip is the leading run of valid steps of its column, up to and with its first step with an event of RAD's, as in
``closed_loop.per_clip``. Two things are taken from this simulator where the originals have their own: the expert's path
is the route, and the recorded driver's way along it stands for that of NAVSIM's reference planner.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.geometry.transforms import wrap_angle
from jaxrecon.metrics.closed_loop import EVENTS, Measure, Trace, clip_steps, mean_over_steps
from jaxrecon.metrics.comfort import COMFORT, discomfort, motion_of
from jaxrecon.metrics.surroundings import STANDING, Surroundings

OFF_ROUTE = 5.0  # metres from the route
LARGEST_ACCELERATION, LARGEST_CURVATURE = 10.4, 0.3  # m/s2 and 1/m beyond which a motion is no car's
SLACK = 1e-3  # on both, Waymax's own
SLOW = 0.6  # m/s below which Waymax takes a path to be straight
SHORTEST_TIME = 0.95  # seconds to a collision that are enough
SHORTEST_ROUTE = 5.0  # metres below which NAVSIM asks for no progress
MOVED = 1.0  # metres below which a route has no share that was completed


@flax.struct.dataclass
class _Clips:
    """A rollout whose clips were found: ``valid`` holds the steps of each clip, ``driven`` whether it has any."""

    trace: Trace
    around: Surroundings
    events: Bool[Array, "step clip 4"]
    valid: Bool[Array, "step clip"]

    @property
    def driven(self) -> Array:
        return jnp.any(self.valid, axis=0)

    @property
    def last(self) -> Array:
        return jnp.maximum(jnp.sum(self.valid, axis=0) - 1, 0)[None]

    def ever(self, happened: Array, known: Array | None = None) -> Measure:
        """One where it happened in any step of a clip; valid where it was always known."""
        valid = self.driven if known is None else self.driven & jnp.all(known | ~self.valid, axis=0)
        value = jnp.any(happened & self.valid, axis=0) & valid
        return Measure(value.astype(jnp.float32), valid)

    def at_end(self, values: Array) -> Array:
        return jnp.take_along_axis(values, self.last, axis=0)[0]


def neighbours(
    trace: Trace,
    surroundings: Surroundings,
    events: Bool[Array, "step clip 4"],
    valid: Bool[Array, "step clip"],
) -> dict[str, Measure]:
    """All metrics of the neighbours, clip by clip: those of ``waymax``, ``nuplan`` and ``navsim``.

    Args:
        trace: the ride, fields (step, clip, ...).
        surroundings: the rest, fields (step, clip).
        events: RAD's, in the order of ``EVENTS``.
        valid: steps that were driven.
    """
    return {
        **waymax(trace, surroundings, events, valid),
        **nuplan(trace, surroundings, events, valid),
        **navsim(trace, surroundings, events, valid),
    }


def waymax(
    trace: Trace, surroundings: Surroundings, events: Bool[Array, "step clip 4"], valid: Bool[Array, "step clip"]
) -> dict[str, Measure]:
    """Waymax's metrics of a clip.

    Returns:
        waymax_overlap, waymax_offroad, waymax_wrong_way, waymax_off_route, waymax_kinematic_infeasibility: 1 where it
        happened in any step, as the paper's rates count scenarios. Off route is more than 5 m from the route.
        waymax_log_divergence: mean distance to the recorded pose of the same time, metres.
        waymax_progression: way along the route over the recorded driver's in the whole clip; may exceed one. Valid
        where that is longer than a metre.

    Source: Waymax (arXiv 2310.08710), section 3.4, and its definitions of each metric.
    """
    clips = _clips(trace, surroundings, events, valid)
    infeasible, known = kinematically_infeasible(trace, clips.valid)
    route = clips.at_end(surroundings.clip_route)
    moved = clips.driven & (route > MOVED)
    ratio = jnp.where(moved, clips.at_end(trace.progress) / jnp.where(moved, route, 1.0), 0.0)
    impossible = jnp.any(infeasible & known, axis=0).astype(jnp.float32)
    return {
        "waymax_overlap": clips.ever(surroundings.overlap),
        "waymax_offroad": clips.ever(surroundings.off_road, surroundings.surface_known),
        "waymax_wrong_way": clips.ever(surroundings.wrong_way, surroundings.lanes_known),
        "waymax_off_route": clips.ever(trace.path_distance > OFF_ROUTE),
        "waymax_kinematic_infeasibility": Measure(impossible, jnp.any(known, axis=0)),
        "waymax_log_divergence": mean_over_steps(surroundings.log_divergence, clips.valid),
        "waymax_progression": Measure(ratio, moved),
    }


def nuplan(
    trace: Trace, surroundings: Surroundings, events: Bool[Array, "step clip 4"], valid: Bool[Array, "step clip"]
) -> dict[str, Measure]:
    """nuPlan's judgements of a clip, and red lights.

    Returns:
        at_fault_collision: 1 where the ego collided by its own fault; collision_not_at_fault: where it only ever did by
        that of others.
        time_to_collision_within_bound: 1 where it never fell to 0.95 s or below while the ego moved.
        comfort_NAME for every name in ``COMFORT``, and comfort: 1 where the bound was never broken.
        red_light: 1 where the ego ran one; valid where the log has lights.

    Source: nuPlan (arXiv 2106.11810), closed-loop metrics of nuplan-devkit.
    """
    clips = _clips(trace, surroundings, events, valid)
    broken, known = _discomfort(clips)
    fault = clips.ever(surroundings.at_fault)
    innocent = clips.ever(surroundings.overlap).value * (1 - fault.value)
    comfort = {
        f"comfort_{name}": Measure(
            jnp.where(jnp.any(known[..., i], axis=0), 1.0 - jnp.any(broken[..., i], axis=0), 0.0),
            jnp.any(known[..., i], axis=0),
        )
        for i, name in enumerate(COMFORT)
    }
    return {
        "at_fault_collision": fault,
        "collision_not_at_fault": Measure(innocent, fault.valid),
        "time_to_collision_within_bound": _never(clips, _too_near(clips)),
        **comfort,
        "comfort": _never(clips, jnp.any(broken, axis=-1)),
        "red_light": clips.ever(surroundings.red_light, surroundings.lights_known),
    }


def navsim(
    trace: Trace, surroundings: Surroundings, events: Bool[Array, "step clip 4"], valid: Bool[Array, "step clip"]
) -> dict[str, Measure]:
    """NAVSIM's score of a clip with its parts, and HUGSIM's.

    Returns:
        NC: no collision by the ego's fault; a half where it was one with an obstacle that is no road user.
        DAC: on the drivable surface throughout. TTC: time to collision never 0.95 s or less. C: comfort.
        EP: way along the route over the recorded driver's in the whole clip, clipped to [0, 1]; 1 where that is no
        longer than 5 m.
        PDMS: NC x DAC x (5 TTC + 5 EP + 2 C) / 12.
        HD_score: route completion (EP without the exception) times the mean over the clip's steps of
        NC x DAC x (5 TTC + 2 C) / 7, each of that step alone. Valid where the route is longer than a metre.
        PDMS, DAC and HD_score are valid where the drivable surface is known.

    Source: NAVSIM (arXiv 2406.15349), equation 1, and navsim's PDM scorer; HUGSIM (arXiv 2412.01718), HD-Score.
    """
    clips = _clips(trace, surroundings, events, valid)
    broken = jnp.any(_discomfort(clips)[0], axis=-1)
    near, contact = _too_near(clips), _contact(clips)
    route, progress = clips.at_end(surroundings.clip_route), clips.at_end(trace.progress)
    share = jnp.clip(progress / jnp.maximum(route, MOVED), 0.0, 1.0)
    parts = {
        "NC": Measure(jnp.where(clips.driven, jnp.min(contact, axis=0), 0.0), clips.driven),
        "DAC": _never(clips, surroundings.off_road, surroundings.surface_known),
        "TTC": _never(clips, near),
        "EP": Measure(jnp.where(clips.driven, jnp.where(route > SHORTEST_ROUTE, share, 1.0), 0.0), clips.driven),
        "C": _never(clips, broken),
    }
    weighted = (5 * parts["TTC"].value + 5 * parts["EP"].value + 2 * parts["C"].value) / 12
    step_score = contact * (1.0 - surroundings.off_road) * (5 * (1.0 - near) + 2 * (1.0 - broken)) / 7
    mean = mean_over_steps(step_score, clips.valid)
    moved = parts["DAC"].valid & (route > MOVED)
    return {
        **parts,
        "PDMS": Measure(parts["NC"].value * parts["DAC"].value * weighted, parts["DAC"].valid),
        "HD_score": Measure(jnp.where(moved, share * mean.value, 0.0), moved),
    }


def kinematically_infeasible(
    trace: Trace, valid: Bool[Array, "step clip"]
) -> tuple[Bool[Array, "step clip"], Bool[Array, "step clip"]]:
    """Whether no car could have got from the step before to this one, and whether there is a step before.

    Acceleration and curvature come from the inverse of Waymax's bicycle: a = (v' - v) / dt and
    kappa = (psi' - psi) / (v dt + a dt^2 / 2), taken as zero at speeds below 0.6 m/s.
    """
    both = valid[1:] & valid[:-1]
    seconds = jnp.where(both, jnp.diff(trace.time, axis=0), 1.0)
    before = trace.speed[:-1]
    acceleration = jnp.diff(trace.speed, axis=0) / seconds
    way = before * seconds + 0.5 * acceleration * seconds**2
    moving = (before >= SLOW) & (jnp.abs(way) > 1e-6)
    turned = wrap_angle(jnp.diff(trace.heading, axis=0))
    curvature = jnp.where(moving, turned / jnp.where(moving, way, 1.0), 0.0)
    beyond = jnp.abs(acceleration) > LARGEST_ACCELERATION + SLACK
    beyond |= jnp.abs(curvature) > LARGEST_CURVATURE + SLACK
    first = jnp.zeros_like(valid[:1])
    return jnp.concatenate([first, beyond & both]), jnp.concatenate([first, both])


def _clips(trace: Trace, surroundings: Surroundings, events: Array, valid: Array) -> _Clips:
    within, _ = clip_steps(events, valid)
    return _Clips(trace=trace, around=surroundings, events=events, valid=within)


def _never(clips: _Clips, happened: Array, known: Array | None = None) -> Measure:
    """One where it happened in no step of a clip."""
    measure = clips.ever(happened, known)
    return Measure(jnp.where(measure.valid, 1.0 - measure.value, 0.0), measure.valid)


def _too_near(clips: _Clips) -> Bool[Array, "step clip"]:
    """A collision lies no further ahead than 0.95 s, as the ego moves; one by its own fault is there already."""
    soon = (clips.around.time_to_collision <= SHORTEST_TIME) & (clips.trace.speed > STANDING)
    return (soon | clips.around.at_fault) & clips.valid


def _contact(clips: _Clips) -> Float[Array, "step clip"]:
    """NAVSIM's factor of each step: zero for a road user hit by the ego's fault, a half for anything else hit."""
    static = clips.events[..., EVENTS.index("static")] & ~clips.around.overlap
    factor = jnp.where(clips.around.at_fault, 0.0, jnp.where(static, 0.5, 1.0))
    return jnp.where(clips.valid, factor, 1.0)


def _discomfort(clips: _Clips) -> tuple[Bool[Array, "step clip 6"], Bool[Array, "step clip 6"]]:
    motion, known = motion_of(clips.trace, clips.valid)
    return discomfort(motion) & known, known
