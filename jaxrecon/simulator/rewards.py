"""Rewards as sums of named terms: what a step is judged by is code, how much each counts is a traced number."""

from collections.abc import Callable, Mapping

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxrecon.metrics.closed_loop import EVENTS
from jaxrecon.metrics.comfort import discomfort
from jaxrecon.metrics.surroundings import STANDING
from jaxrecon.simulator.situation import Situation

Term = Callable[[Situation], Float[Array, "*b"]]
Terms = tuple[tuple[str, Term], ...]
SAFE_TIME = 0.95  # seconds to a collision from which on nothing is lost


def _penalty(happened: Bool[Array, "*b"]) -> Float[Array, "*b"]:
    return -happened.astype(jnp.float32)


def dynamic(situation: Situation) -> Float[Array, "*b"]:
    """-1 for a collision with a road user that moves."""
    return _penalty(situation.events[..., EVENTS.index("dynamic")])


def static(situation: Situation) -> Float[Array, "*b"]:
    """-1 for a collision with an obstacle."""
    return _penalty(situation.events[..., EVENTS.index("static")])


def position(situation: Situation) -> Float[Array, "*b"]:
    """-1 for leaving the expert's path."""
    return _penalty(situation.events[..., EVENTS.index("position")])


def heading(situation: Situation) -> Float[Array, "*b"]:
    """-1 for turning away from the expert's heading."""
    return _penalty(situation.events[..., EVENTS.index("heading")])


def at_fault(situation: Situation) -> Float[Array, "*b"]:
    """-1 for a collision by the ego's own fault."""
    return _penalty(situation.surroundings.at_fault)


def off_road(situation: Situation) -> Float[Array, "*b"]:
    """-1 while any corner is off the road."""
    return _penalty(situation.surroundings.off_road)


def wrong_way(situation: Situation) -> Float[Array, "*b"]:
    """-1 while no lane nearby leads the ego's way."""
    return _penalty(situation.surroundings.wrong_way)


def red_light(situation: Situation) -> Float[Array, "*b"]:
    """-1 for crossing a stop line whose light says stop."""
    return _penalty(situation.surroundings.red_light)


def progress(situation: Situation) -> Float[Array, "*b"]:
    """Metres along the expert's path."""
    return situation.progress


def expert_progress(situation: Situation) -> Float[Array, "*b"]:
    """Metres along the expert's path, none while the recorded driver is behind: nothing is won by driving faster."""
    ahead = situation.trace.progress > situation.trace.expert_progress
    return jnp.where(ahead, 0.0, situation.progress)


def comfort(situation: Situation) -> Float[Array, "*b"]:
    """Minus the share of nuPlan's comfort bounds that are broken."""
    return -jnp.mean(discomfort(situation.motion).astype(jnp.float32), axis=-1)


def time_to_collision(situation: Situation) -> Float[Array, "*b"]:
    """From 0, where 0.95 s or more are left or the ego stands, evenly down to -1 at contact."""
    shortfall = jnp.clip(1.0 - situation.surroundings.time_to_collision / SAFE_TIME, 0.0, 1.0)
    return -jnp.where(situation.trace.speed > STANDING, shortfall, 0.0)


RAD_TERMS: Terms = (("dynamic", dynamic), ("static", static), ("position", position), ("heading", heading))
ALL_TERMS: Terms = (
    *RAD_TERMS,
    ("off_road", off_road),
    ("wrong_way", wrong_way),
    ("red_light", red_light),
    ("progress", progress),
    ("comfort", comfort),
    ("time_to_collision", time_to_collision),
    ("at_fault", at_fault),
    ("expert_progress", expert_progress),
)


@flax.struct.dataclass
class RewardWeights:
    """How much each term counts: a pytree, so that weights may be swept or scheduled without a new compilation.

    Attributes:
        values: (term,) factors; terms that are penalties are negative themselves.
        names: of the terms, in the same order.
    """

    values: Float[Array, " term"]
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)


def reward_weights(weights: Mapping[str, float] | None = None, terms: Terms = RAD_TERMS) -> RewardWeights:
    """Weights of terms by name; what is not named counts once.

    Raises:
        ValueError: naming a weight that belongs to no term, or a term that comes twice.
    """
    names = tuple(name for name, _ in terms)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the reward has several terms named {twice}; give each a name of its own")
    unknown = sorted(set(weights or {}) - set(names))
    if unknown:
        raise ValueError(f"no term of the reward is named {unknown}; its terms are {list(names)}")
    values = [1.0 if weights is None else weights.get(name, 1.0) for name in names]
    return RewardWeights(values=jnp.asarray(values, jnp.float32), names=names)


def rewards(situation: Situation, weights: RewardWeights, terms: Terms = RAD_TERMS) -> Float[Array, "*b term"]:
    """The weighted terms of a step, one by one; their sum is the scalar reward.

    With the default terms this is RAD's reward: minus the weight of each event that happened.

    Args:
        situation: of the step.
        weights: one a term.
        terms: (name, function) pairs; any function of a ``Situation`` will do. Static under jit.

    Raises:
        ValueError: if the weights are of other terms.

    Source: RAD (arXiv 2502.13144), reward modelling.
    """
    names = tuple(name for name, _ in terms)
    if weights.names != names:
        raise ValueError(
            f"the weights are of the terms {list(weights.names)} but the reward has {list(names)}; make them with "
            "reward_weights({...}, terms)"
        )
    return weights.values * jnp.stack([term(situation) for _, term in terms], axis=-1)
