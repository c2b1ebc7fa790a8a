"""An environment that looks different in every clip, so that a policy does not learn its scenes by heart."""

from typing import Any

import flax.struct
import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxrecon.agents.augment import AugmentConfig, Look, draw_look, mirror_action, observation_in
from jaxrecon.agents.auxiliary import event_sides, mirrored_sides
from jaxrecon.simulator.starts import select


@flax.struct.dataclass
class VariedState:
    """What the next step depends on.

    Attributes:
        inner: of the environment.
        look: of each clip that is driven.
        key: of the looks to come.
    """

    inner: Any
    look: Look
    key: Any


@flax.struct.dataclass
class VariedEnvironment:
    """Any environment with frames, whose light, colours and mount differ from clip to clip, and whose world is mirrored
    in half of them: an ``agents.environment.Environment``.

    Observations are changed before anyone sees them, so that rollout and update see the same.

    Attributes:
        inner: a simulator, or a ``ChallengedEnvironment``.
        config: which changes are made.

    Source:
        Laskin et al. 2020 (reinforcement learning with augmented data), Tobin et al. 2017 (domain randomisation).
    """

    inner: Any
    config: AugmentConfig = flax.struct.field(pytree_node=False)

    def reset(self, key: PRNGKeyArray, environments: int, params: Any) -> tuple[VariedState, Any]:
        """Start a clip in every environment."""
        key_inner, key_look, key = jax.random.split(key, 3)
        inner, observation = self.inner.reset(key_inner, environments, params)
        look = draw_look(key_look, environments, self.config)
        return VariedState(inner, look, key), observation_in(look, observation, self.config)

    def step(
        self, state: VariedState, action: Int[Array, "env 2"] | Float[Array, "env 2"], params: Any
    ) -> tuple[VariedState, Any]:
        """Drive one step; a clip that starts with it has a look of its own."""
        action = select(state.look.mirrored, mirror_action(action), action)
        inner, result = self.inner.step(state.inner, action, params)
        key_look, key = jax.random.split(state.key)
        look = select(~result.valid, draw_look(key_look, action.shape[0], self.config), state.look)
        seen = observation_in(look, result.observation, self.config)
        return VariedState(inner, look, key), result.replace(observation=seen)

    def event_sides(self, state: VariedState) -> Float[Array, "env reward"] | None:
        """From where each event threatens in the world as it is seen, see ``agents.auxiliary``."""
        sides = event_sides(self.inner, state.inner)
        if sides is None:
            return None
        return select(state.look.mirrored, mirrored_sides(sides, self.inner.config.terms), sides)

    def figures(self, state: VariedState) -> dict[str, Array]:
        """What the environment says of itself."""
        return self.inner.figures(state.inner) if hasattr(self.inner, "figures") else {}
