"""Which corner cases to play next: those that the current policy fails sometimes, but not always.

The criterion is learnability, p (1 - p), with p the rate at which the policy fails a case: the variance of the outcome,
largest where it fails half the time and zero where it always or never does.

Source: Rutherford et al., "No Regrets: Investigating and Improving Regret Approximations for Curriculum Discovery"
(Sampling For Learnability), NeurIPS 2024, arXiv 2408.15099; Tzannetos et al., "Proximal Curriculum for Reinforcement
Learning Agents", TMLR 2023.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


@flax.struct.dataclass
class CurriculumParams:
    """How a curriculum samples and remembers; traced.

    Attributes:
        uniform: share of plays that are drawn from all cases alike, so that none is forgotten.
        memory: plays of a case after which an outcome counts for 1/e.
        prior: plays of a case that its behaviour's rate counts for.
        sharpness: exponent of the learnability.
    """

    uniform: Float[Array, ""] | float = 0.2
    memory: Float[Array, ""] | float = 30.0
    prior: Float[Array, ""] | float = 4.0
    sharpness: Float[Array, ""] | float = 1.0


CURRICULUM = CurriculumParams()


@flax.struct.dataclass
class Curriculum:
    """What is known of how the current policy fares; arrays on the device.

    Attributes:
        behaviour: (case,) int32, whose rate informs what is not known of a case.
        difficulty: (case,) in [0, 1], mean place of its parameters in their ranges, for the record.
        failures: (case,) that happened, older ones counting less.
        plays: (case,) likewise.
        played: (case,) int32, all plays, none forgotten.
        behaviours: how many behaviours there are.
    """

    behaviour: Int[Array, " case"]
    difficulty: Float[Array, " case"]
    failures: Float[Array, " case"]
    plays: Float[Array, " case"]
    played: Int[Array, " case"]
    behaviours: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class BehaviourReport:
    """How each behaviour stands; every field is (behaviour,).

    Attributes:
        failure_rate: of the plays that are remembered; NaN without any.
        difficulty: mean of the cases, weighted by how often they will be drawn; NaN without any.
        share: of the draws to come.
        learnability: mean p (1 - p) of its cases; NaN without any.
        played: plays so far.
    """

    failure_rate: Float[Array, " behaviour"]
    difficulty: Float[Array, " behaviour"]
    share: Float[Array, " behaviour"]
    learnability: Float[Array, " behaviour"]
    played: Int[Array, " behaviour"]


def begin_curriculum(behaviour: Int[Array, " case"], difficulty: Float[Array, " case"], behaviours: int) -> Curriculum:
    """A curriculum over cases of which nothing is known yet."""
    nothing = jnp.zeros(behaviour.shape)
    return Curriculum(
        behaviour, difficulty, nothing, nothing, jnp.zeros(behaviour.shape, jnp.int32), behaviours=behaviours
    )


def failure_rate(state: Curriculum, params: CurriculumParams = CURRICULUM) -> Float[Array, " case"]:
    """Estimated rate at which the policy fails each case: its own plays, drawn towards its behaviour's rate.

    A behaviour that was never played counts as failed half the time, so that it is tried.
    """
    plays = _by_behaviour(state, state.plays)
    rate = (_by_behaviour(state, state.failures) + 1.0) / (plays + 2.0)
    prior = rate[state.behaviour]
    return (state.failures + params.prior * prior) / (state.plays + params.prior)


def weights(state: Curriculum, params: CurriculumParams = CURRICULUM) -> Float[Array, " case"]:
    """Probability of each case to be drawn next."""
    rate = failure_rate(state, params)
    worth = jnp.maximum(rate * (1 - rate), 1e-6) ** params.sharpness
    return params.uniform / worth.shape[0] + (1 - params.uniform) * worth / jnp.sum(worth)


def sample(
    state: Curriculum, key: PRNGKeyArray, count: int, params: CurriculumParams = CURRICULUM
) -> Int[Array, " draw"]:
    """So many cases, drawn with replacement."""
    return jax.random.categorical(key, jnp.log(weights(state, params)), shape=(count,)).astype(jnp.int32)


def update(
    state: Curriculum,
    case: Int[Array, " env"],
    failed: Bool[Array, " env"],
    ended: Bool[Array, " env"],
    params: CurriculumParams = CURRICULUM,
) -> Curriculum:
    """Take note of how clips ended.

    Args:
        state: before.
        case: that each environment played; negative for none.
        failed: whether it ended in an event.
        ended: whether it ended at all; what others say is not looked at.
        params: how fast to forget.
    """
    counts = ended & (case >= 0)
    cases = state.plays.shape[0]
    slot = jnp.where(counts, case, cases)

    def summed(values: Array) -> Array:
        return jnp.zeros(cases + 1).at[slot].add(values.astype(jnp.float32))[:cases]

    new = summed(counts)
    kept = jnp.exp(-new / params.memory)
    return state.replace(  # type: ignore[attr-defined]
        failures=kept * state.failures + summed(counts & failed),
        plays=kept * state.plays + new,
        played=state.played + new.astype(jnp.int32),
    )


def report(state: Curriculum, params: CurriculumParams = CURRICULUM) -> BehaviourReport:
    """How each behaviour stands, for a log."""
    share, rate = weights(state, params), failure_rate(state, params)
    ones = _by_behaviour(state, jnp.ones_like(share))
    plays, shares = _by_behaviour(state, state.plays), _by_behaviour(state, share)
    missing = jnp.where(ones > 0, 0.0, jnp.nan)
    return BehaviourReport(
        failure_rate=jnp.where(plays > 0, _by_behaviour(state, state.failures) / jnp.maximum(plays, 1e-6), jnp.nan),
        difficulty=missing + _by_behaviour(state, share * state.difficulty) / jnp.maximum(shares, 1e-12),
        share=shares,
        learnability=missing + _by_behaviour(state, rate * (1 - rate)) / jnp.maximum(ones, 1.0),
        played=_by_behaviour(state, state.played.astype(jnp.float32)).astype(jnp.int32),
    )


def _by_behaviour(state: Curriculum, values: Array) -> Array:
    return jnp.zeros(state.behaviours).at[state.behaviour].add(values)
