"""Corner cases made harder by gradient: their parameters climb until the way out is as narrow as it may be.

The gradient goes through the state-only rollout, adversaries included. What jumps has none: when a behaviour begins, a
phase follows another, or whom it is done to, stays as it was drawn.
"""

import dataclasses
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxrecon.simulator.casting import Casting, Draw, parameters_of
from jaxrecon.simulator.costs import CostScales, rollout_costs
from jaxrecon.simulator.escapes import controls
from jaxrecon.simulator.judging import Judged, judge
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.starts import select
from jaxrecon.simulator.state import SimulatorParams, State
from jaxrecon.traffic.adversary import Plan

NEAR = CostScales(margin=1.5, softness=0.5)
SHARES = (1.0, 0.5, 0.25)  # of the way that was climbed, that are tried for soundness, the farthest first


@flax.struct.dataclass
class Hardened:
    """Cases and how critical they are; every field is (case, ...).

    Attributes:
        cases: sound ones, those as they were for which nothing harder is sound.
        before, after: criticality, see ``criticality``, beside the way out of the case as it was.
        moved: (case,) bool, which are harder than they were.
    """

    cases: Judged
    before: Float[Array, " case"]
    after: Float[Array, " case"]
    moved: Bool[Array, " case"]


def way_out(
    casting: Casting, cases: Judged, params: SimulatorParams
) -> tuple[Simulator, State, Float[Array, "step case 2"]]:
    """Cases at their start, and accelerations (m/s2) and steering angles (rad) by which the ego gets out of each."""
    simulator = dataclasses.replace(
        casting.simulator, challenges=casting.challenges(cases.start, cases.plan, cases.detour)
    )
    start, all_cases = cases.start, jnp.arange(cases.reaction.shape[0])
    begin, _ = simulator.reset_at(
        jax.random.key(0), start.frame, start.perturbation, params, False, start.scene, all_cases
    )

    def step(carry: tuple, _: None) -> tuple[tuple, Array]:
        state, escaping = carry
        action, escaping = controls(simulator.world, state, escaping, simulator.config.limits)
        state = simulator.step(state, action, params, draw=False, auto_reset=False)[0]
        return (state, escaping), action

    return simulator, begin, jax.lax.scan(step, (begin, cases.escaping), None, simulator.clip_steps)[1]


def criticality(
    simulator: Simulator, begin: State, actions: Float[Array, "step case 2"], plan: Plan, scales: CostScales = NEAR
) -> Float[Array, " case"]:
    """How near road users come to an ego that drives so: metres short of a margin, softly, summed over the steps."""
    assert begin.cast is not None
    state = dataclasses.replace(begin, cast=dataclasses.replace(begin.cast, plan=plan))
    return rollout_costs(simulator, state, actions, scales).actors


@partial(jax.jit, static_argnames="steps")
def climb(
    casting: Casting, cases: Judged, params: SimulatorParams, steps: int, rate: Array | float
) -> tuple[Float[Array, "case adversary parameter"], Float[Array, " case"], Float[Array, " case"]]:
    """Places of the parameters in their ranges that are most critical beside each way out, and the criticality.

    Normalised gradient ascent within the ranges; the best place on the way counts.

    Returns:
        The places, and the criticality at first and there.
    """
    simulator, begin, actions = way_out(casting, cases, params)

    def at(unit: Array) -> Array:
        plan = dataclasses.replace(cases.plan, parameters=parameters_of(cases.plan.behaviour, unit))
        return criticality(simulator, begin, actions, plan)

    def step(carry: tuple, _: None) -> tuple[tuple, Array]:
        unit, best, most = carry
        value, back = jax.vjp(at, unit)
        (gradient,) = back(jnp.ones_like(value))
        better = value > most
        best, most = jnp.where(better[:, None, None], unit, best), jnp.where(better, value, most)
        size = jnp.max(jnp.abs(gradient), axis=(1, 2), keepdims=True)
        unit = jnp.clip(unit + rate * gradient / jnp.maximum(size, 1e-9), 0.0, 1.0)
        return (unit, best, most), value

    carry = (cases.unit, cases.unit, jnp.full(cases.reaction.shape, -jnp.inf))
    (_, best, most), values = jax.lax.scan(step, carry, None, steps + 1)
    return best, values[0], most


def harden(
    casting: Casting, cases: Judged, params: SimulatorParams, steps: int = 10, rate: float = 0.1, together: int = 64
) -> Hardened:
    """Make sound cases harder, as far as they stay sound.

    Args:
        casting: that made them.
        cases: sound ones.
        params: thresholds.
        steps: of the ascent.
        rate: share of its range by which the parameter that matters most moves in a step.
        together: see ``judge``.
    """
    best, before, _ = climb(casting, cases, params, steps, rate)
    kept, moved = cases, np.zeros(cases.reaction.shape[0], bool)
    for share in SHARES:
        unit = cases.unit + share * (best - cases.unit)
        plan = dataclasses.replace(cases.plan, parameters=parameters_of(cases.plan.behaviour, unit))
        drawn = Draw(cases.start, plan.behaviour, unit, plan.begin, plan.reactive[:, 0], plan.valid)
        told = judge(casting, drawn, plan, params, together)
        taken = np.asarray(told.sound) & ~moved & np.asarray(jnp.any(unit != cases.unit, axis=(1, 2)))
        kept, moved = select(jnp.asarray(taken), told, kept), moved | taken
    simulator, begin, actions = _way_out(casting, cases, params)
    return Hardened(kept, before, _criticality(simulator, begin, actions, kept.plan), jnp.asarray(moved))


_way_out, _criticality = jax.jit(way_out), jax.jit(criticality)
