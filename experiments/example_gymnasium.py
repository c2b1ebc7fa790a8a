"""A street as a Gymnasium vector environment, driven by random actions."""

from street_worlds import small_street

from jaxrecon.simulator import Simulator, SimulatorConfig
from jaxrecon.simulator.adapters.gymnasium_env import DrivingVectorEnv

simulator = Simulator(small_street(), SimulatorConfig(action="continuous", clip_seconds=2.0))
envs = DrivingVectorEnv(simulator, num_envs=8)
envs.action_space.seed(0)
observation, info = envs.reset(seed=0, options={"scenes": [simulator.world.names[0]]})
ended = 0
for _ in range(30):
    observation, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    ended += int((terminated | truncated).sum())
print({name: (shown.shape, shown.dtype) for name, shown in observation.items()})
print(f"{ended} clips ended; the last step's events {[name for name in ('dynamic', 'static') if info[name].any()]}")
envs.close()
