"""The simulator as Gymnasium's environments: NumPy at the boundary, one compiled call a step within."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxrecon.dynamics.anchors import LATERAL, LONGITUDINAL
from jaxrecon.simulator.adapters.figures import (
    STATE_SIZE,
    check_shown,
    figures,
    required,
    scalar_reward,
    state_vector,
)
from jaxrecon.simulator.config import default_params
from jaxrecon.simulator.simulator import Simulator
from jaxrecon.simulator.state import Observation, SimulatorParams, State
from jaxrecon.simulator.world import World

REMEDY = "run `pip install 'gymnasium>=1.1'`, or install jaxrecon[gymnasium]"
gymnasium: Any = required("gymnasium", "gymnasium", REMEDY)
vector: Any = required("gymnasium.vector", "gymnasium", REMEDY)
OPTIONS = ("scenes",)
LARGEST_SEED = 2**31


class DrivingVectorEnv(vector.VectorEnv):
    """Environments that step together on the device.

    The step after a clip's last starts another clip, in another scene and start: it ignores the action and has no
    reward (Gymnasium's next-step autoreset, as ``metadata`` says). Observations are the state vector (see
    ``figures.state_vector``), the frames (camera, height, width, 3) uint8, or a dictionary of both, ``state`` and
    ``frames``. Actions are acceleration (m/s2) and steering (rad), or the indices of anchors, as configured.
    ``info`` holds ``scene`` and all of ``figures.figures``, an array each over the environments, and beside each of
    these ``_name``: where it says anything, that is not where a step started a clip.

    ``reset`` takes ``options={"scenes": [...]}``: names or indices of the scenes in which clips start from now on.

    Args:
        simulator: rules and world.
        num_envs: how many.
        params: weights, thresholds and start distribution; the defaults by default.
        observation: "state", "frames" or "both".

    Raises:
        ValueError: if there are none, or the world cannot show what is asked for.
    """

    metadata: dict[str, Any] = {"autoreset_mode": vector.AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        simulator: Simulator,
        num_envs: int,
        params: SimulatorParams | None = None,
        observation: str = "both",
        auto_reset: bool = True,
    ):
        check_shown(observation, simulator)
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; expected at least 1")
        self.simulator, self.num_envs, self.observation, self.auto_reset = simulator, num_envs, observation, auto_reset
        self.params = self._drawn_from = default_params() if params is None else params
        self.single_observation_space = observation_space(simulator, observation)
        self.single_action_space = action_space(simulator)
        self.observation_space = vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = vector.utils.batch_space(self.single_action_space, num_envs)
        self._state: State | None = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a clip in every environment; ``options`` as the class says.

        Raises:
            ValueError: naming an option or a scene that there is not.
        """
        super().reset(seed=seed)
        self._drawn_from = _among_scenes(self.simulator.world, self.params, options or {})
        key = jax.random.key(int(self.np_random.integers(LARGEST_SEED)))
        self._state, shown = _reset(self.simulator, key, self._drawn_from, self.num_envs, self.observation)
        return jax.device_get(shown), self._with_scenes({})

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Drive one step in every environment.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("step came before the first reset; call reset")
        given = jnp.asarray(np.asarray(actions, self.single_action_space.dtype))
        self._state, answer = _step(
            self.simulator, self._state, given, self._drawn_from, self.observation, self.auto_reset
        )
        shown, reward, terminated, truncated, valid, named = jax.device_get(answer)
        info = {**named, **{f"_{name}": valid for name in named}}
        return shown, reward.astype(np.float64), terminated, truncated, self._with_scenes(info)

    def _with_scenes(self, info: dict[str, Any]) -> dict[str, Any]:
        assert self._state is not None
        return {**info, "scene": np.asarray(self._state.scene), "_scene": np.ones(self.num_envs, bool)}


class DrivingEnv(gymnasium.Env):
    """One environment, for what knows no vectors of them; it is reset by hand. Arguments as of ``DrivingVectorEnv``."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, simulator: Simulator, params: SimulatorParams | None = None, observation: str = "both"):
        self.vector = DrivingVectorEnv(simulator, 1, params, observation, auto_reset=False)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a clip; ``options`` as for ``DrivingVectorEnv``."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(LARGEST_SEED))
        shown, info = self.vector.reset(seed=drawn, options=options)
        return _first(shown), _scalars(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive one step; after the clip's end, nothing moves any more."""
        shown, reward, terminated, truncated, info = self.vector.step(np.asarray(action)[None])
        return _first(shown), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _scalars(info)


def observation_space(simulator: Simulator, shown: str) -> Any:
    """Space of one environment's observations."""
    rig, spaces = simulator.world.rig, gymnasium.spaces
    state = spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float32)
    if shown == "state":
        return state
    frames = spaces.Box(0, 255, (rig.count, rig.height, rig.width, 3), np.uint8)
    return frames if shown == "frames" else spaces.Dict({"frames": frames, "state": state})


def action_space(simulator: Simulator) -> Any:
    """Space of one environment's actions."""
    if simulator.config.action == "anchors":
        return gymnasium.spaces.MultiDiscrete([len(LATERAL), len(LONGITUDINAL)], dtype=np.int32)
    limits = simulator.config.limits
    low = np.array([-limits.braking, -limits.steering], np.float32)
    return gymnasium.spaces.Box(low, np.array([limits.acceleration, limits.steering], np.float32))


@partial(jax.jit, static_argnames=("environments", "shown"))
def _reset(
    simulator: Simulator, key: PRNGKeyArray, params: SimulatorParams, environments: int, shown: str
) -> tuple[State, Any]:
    state, observation = simulator.reset(key, environments, params, shown != "state")
    return state, _observed(observation, shown)


@partial(jax.jit, static_argnames=("shown", "auto_reset"))
def _step(
    simulator: Simulator, state: State, action: Array, params: SimulatorParams, shown: str, auto_reset: bool
) -> tuple[State, Any]:
    state, result = simulator.step(state, action, params, shown != "state", auto_reset)
    named = figures(simulator, result)
    seen = _observed(result.observation, shown)
    return state, (seen, scalar_reward(result), result.terminated, result.truncated, result.valid, named)


def _observed(observation: Observation, shown: str) -> Any:
    if shown == "frames":
        return observation.frames
    state = state_vector(observation)
    return state if shown == "state" else {"frames": observation.frames, "state": state}


def _among_scenes(world: World, params: SimulatorParams, options: Mapping[str, Any]) -> SimulatorParams:
    """Parameters by which clips start in the chosen scenes alone."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"reset got the options {unknown}; expected some of {OPTIONS}")
    weights = jnp.ones(world.scenes) if params.scene_weights is None else params.scene_weights
    if "scenes" in options:
        chosen = np.zeros(world.scenes, np.float32)
        chosen[_scene_indices(world, options["scenes"])] = 1.0
        weights = weights * chosen
    return dataclasses.replace(params, scene_weights=weights)


def _scene_indices(world: World, scenes: Sequence[str | int]) -> list[int]:
    known: dict[str | int, int] = {name: index for index, name in enumerate(world.names)}
    known |= {index: index for index in range(world.scenes)}
    missing = [scene for scene in scenes if scene not in known]
    if missing or not len(scenes):
        raise ValueError(
            f"reset got the scenes {list(scenes)}; expected some of {list(world.names)}, or indices from 0 to "
            f"{world.scenes - 1}"
        )
    return [known[scene] for scene in scenes]


def _scalars(info: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value[0].item() for name, value in info.items() if not name.startswith("_")}


def _first(shown: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], shown)
