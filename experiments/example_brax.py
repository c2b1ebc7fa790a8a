"""A street as a brax environment: brax's own networks act in it, and its own unroll collects their experience."""

import jax
from brax.training.acting import generate_unroll
from brax.training.agents.ppo import networks, networks_vision
from street_worlds import small_street

from jaxrecon.simulator import Simulator, SimulatorConfig
from jaxrecon.simulator.adapters.brax_env import BraxEnv, wrap

simulator = Simulator(small_street(), SimulatorConfig(action="continuous", clip_seconds=2.0))
env = wrap(BraxEnv(simulator, observation="both"))
ppo = networks_vision.make_ppo_networks_vision(env.observation_size, env.action_size)
parameters = None, ppo.policy_network.init(jax.random.PRNGKey(0))
policy = networks.make_inference_fn(ppo)(parameters)


@jax.jit
def unroll(key):
    """Thirty steps of eight environments."""
    state = env.reset(jax.random.split(key, 8))  # brax's wrappers take keys of the old kind
    return generate_unroll(env, state, policy, key, 30, ("truncation", "episode_metrics"))


state, data = unroll(jax.random.PRNGKey(1))
print({name: shown.shape for name, shown in data.observation.items()})
print(f"reward {data.reward.sum()}, {(data.discount == 0).sum()} clips ended, metrics {list(state.metrics)}")
