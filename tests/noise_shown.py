"""What a policy may be shown in tests: noise of the right shapes."""

import jax.numpy as jnp
import numpy as np

from jaxrecon.agents import PolicyConfig
from jaxrecon.simulator import Observation


def observation(config: PolicyConfig, rows: int) -> Observation:
    """Rows of noise, at speeds from standing to 30 m/s."""
    rng = np.random.default_rng(0)
    slots = () if config.history == 1 else (config.history,)
    shape = (rows, *slots, config.cameras, config.height, config.width, 3)
    return Observation(
        frames=jnp.asarray(rng.integers(0, 256, shape), jnp.uint8),
        ego=jnp.asarray(np.c_[np.linspace(0, 30, rows), rng.normal(size=(rows, 3))], jnp.float32),
        navigation=jnp.asarray(rng.normal(size=(rows, 6)), jnp.float32),
    )
