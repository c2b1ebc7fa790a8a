"""A street driven by the plain interface: pure functions, one compiled scan over steps of many environments."""

import jax
import jax.numpy as jnp
from street_worlds import small_street

from jaxrecon.simulator import Simulator, SimulatorConfig, default_params


@jax.jit
def drive(simulator, key, params):
    """Thirty steps of eight environments straight on, every frame drawn; clips that end are followed by others."""
    state, _ = simulator.reset(key, 8, params)
    return jax.lax.scan(lambda state, action: simulator.step(state, action, params), state, jnp.zeros((30, 8, 2)))


simulator = Simulator(small_street(), SimulatorConfig(action="continuous", clip_seconds=2.0))
state, result = drive(simulator, jax.random.key(1), default_params())
print(f"frames {result.observation.frames.shape}, {result.valid.sum()} steps driven")
print(
    f"{result.terminated.sum()} clips ended by an event, {result.truncated.sum()} by time; reward {result.reward.sum()}"
)
