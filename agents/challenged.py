"""An environment in which corner cases are played, those most often from which the current policy learns most."""

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.agents.auxiliary import simulator_sides
from jaxrecon.simulator import Simulator, SimulatorParams, State, StepResult
from jaxrecon.simulator.casting import Casting
from jaxrecon.simulator.judging import Judged
from jaxrecon.traffic import curriculum
from jaxrecon.traffic.behaviours import BEHAVIOURS
from jaxrecon.traffic.curriculum import CURRICULUM, Curriculum, CurriculumParams


@flax.struct.dataclass
class ChallengedState:
    """What the next step depends on.

    Attributes:
        inner: of the simulator.
        curriculum: what is known of how the policy fares; the batch shares it.
    """

    inner: State
    curriculum: Curriculum


@flax.struct.dataclass
class ChallengedEnvironment:
    """A simulator whose corner cases a curriculum draws: an ``agents.environment.Environment``.

    Attributes:
        simulator: with challenges.
        curriculum: to begin with.
        params: how it samples and remembers.
    """

    simulator: Simulator
    curriculum: Curriculum
    params: CurriculumParams = CURRICULUM

    @property
    def config(self) -> Any:
        """The simulator's."""
        return self.simulator.config

    def reset(self, key: PRNGKeyArray, environments: int, params: SimulatorParams) -> tuple[ChallengedState, Any]:
        """Start a clip in every environment."""
        inner, observation = self.simulator.reset(key, environments, self._weighed(self.curriculum, params))
        return ChallengedState(inner, self.curriculum), observation

    def step(
        self, state: ChallengedState, action: Int[Array, "env 2"] | Float[Array, "env 2"], params: SimulatorParams
    ) -> tuple[ChallengedState, StepResult]:
        """Drive one step, and take note of the clips that ended with it."""
        inner, result = self.simulator.step(state.inner, action, self._weighed(state.curriculum, params))
        assert inner.cast is not None
        ended = result.terminated | result.truncated
        noted = curriculum.update(state.curriculum, inner.cast.case, result.terminated, ended, self.params)
        return ChallengedState(inner, noted), result

    def event_sides(self, state: ChallengedState) -> Float[Array, "env reward"]:
        """From where each event threatens, see ``agents.auxiliary``."""
        return simulator_sides(self.simulator, state.inner)

    def figures(self, state: ChallengedState) -> dict[str, Float[Array, " behaviour"]]:
        """How each behaviour stands, for the figures of an update; NaN where there is nothing to tell."""
        told = curriculum.report(state.curriculum, self.params)
        return {f"case_{field.name}": getattr(told, field.name) for field in dataclasses.fields(told)}

    def _weighed(self, known: Curriculum, params: SimulatorParams) -> SimulatorParams:
        return dataclasses.replace(params, case_weights=curriculum.weights(known, self.params))


def challenged(simulator: Simulator, casting: Casting, cases: Judged) -> ChallengedEnvironment:
    """Put sound cases into a simulator, with a curriculum that knows nothing yet.

    Args:
        simulator: of the casting's world, with whatever draws its frames.
        casting: that made the cases.
        cases: all of them are played.
    """
    bank = casting.challenges(cases.start, cases.plan, cases.detour)
    return ChallengedEnvironment(dataclasses.replace(simulator, challenges=bank), curriculum_of(cases))


def curriculum_of(cases: Judged) -> Curriculum:
    """A curriculum over cases, told apart by what their first adversary does."""
    behaviour = cases.plan.behaviour[:, 0]
    counts = jnp.asarray([len(one.parameters) for one in BEHAVIOURS])[behaviour]
    used = jnp.arange(cases.unit.shape[-1]) < counts[:, None]
    difficulty = jnp.sum(jnp.where(used, cases.unit[:, 0], 0.0), axis=-1) / counts
    return curriculum.begin_curriculum(behaviour, difficulty, len(BEHAVIOURS))
